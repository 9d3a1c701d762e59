"""The instruments of the benchmarks beside peers: what tells readings apart, and processor time."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import pytest

from benchmarks import retrainings_beat_their_peers as peers
from benchmarks.processor_time import Stopwatch, Taken

OURS = np.random.default_rng(0).standard_normal((6, 4))
SUBSETS = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 0], [0, 0, 1], [1, 0, 1], [0, 0, 0]], dtype=bool)


BURN = """
import sys, time
print(flush=True)
sys.stdin.readline()
end = time.process_time() + 0.5
while time.process_time() < end:
    pass
print(flush=True)
sys.stdin.read()
"""


ANSWER = """
import json, sys, time
import numpy as np
print(json.dumps({"torch": "2"}), flush=True)
for line in sys.stdin:
    end = time.process_time() + 0.3  # what neither clock of the loop has seen
    while time.process_time() < end:
        pass
    np.save(sys.argv[2] + "/read.npy", np.arange(4.0))
    print(json.dumps({"seconds": 2.0, "core_seconds": 3.0}), flush=True)
"""


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The peers' loops, without the peers: a retraining takes 0.3 s of a processor, in this process."""
    for name in ("dattri", "dattri.model_util", "dattri.model_util.retrain", "psutil", "pydvl", "pydvl.valuation"):
        monkeypatch.setitem(sys.modules, name, mock.MagicMock())
    monkeypatch.setitem(sys.modules, "pydvl.valuation.types", mock.MagicMock())
    spec = importlib.util.spec_from_file_location("loops_without_peers", peers.LOOPS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "Parallel", lambda n_jobs: lambda calls: [f(*args, **kw) for f, args, kw in calls])
    monkeypatch.setattr(module, "processor_seconds", time.process_time)
    monkeypatch.setattr(module, "dattri_part", lambda *_: burn(0.3))
    return module


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def values_of(utility: np.ndarray) -> np.ndarray:
    """Return the values of the three units by hand; the second is in no subset."""
    first = (utility[0] + utility[2] + utility[4]) / 3 - (utility[1] + utility[3] + utility[5]) / 3
    third = (utility[0] + utility[1] + utility[3] + utility[4]) / 4 - (utility[2] + utility[5]) / 2
    return np.array([first, np.nan, third])


@pytest.mark.parametrize(
    ("difference", "same"),
    [
        (peers.of_margins, OURS),
        (peers.of_utilities, OURS.mean(axis=1)),
        (peers.of_values, values_of(OURS.mean(axis=1))),
    ],
)
def test_one_reading_that_differs_is_seen(difference: Callable[..., float], same: np.ndarray) -> None:
    assert difference(same, OURS, SUBSETS) < 1e-15
    other = same.copy()
    other.flat[0] += 0.25
    assert difference(other, OURS, SUBSETS) == pytest.approx(0.25)


def test_accuracies_are_compared_over_all_models() -> None:
    read = np.full((3, 4), 1.0)
    assert peers.of_accuracies(read, OURS, SUBSETS) == pytest.approx(1 - (OURS > 0).mean())


def test_a_side_that_is_slower_than_its_peer_or_reads_something_else_does_not_hold() -> None:
    good = {"loop": "", "recipe": "", "theirs_ms": 2.0, "ours_ms": 1.0, "theirs_core_ms": 2.0, "ours_core_ms": 1.0}
    row = {**good, "ratio": 2.0, "core_ratio": 2.0, "difference": 0.0, "bound": 1e-8}
    assert peers.Row(**row).holds
    for defect in ({"ratio": 0.9}, {"core_ratio": 0.9}, {"difference": 1e-7}, {"difference": float("nan")}):
        assert not peers.Row(**{**row, **defect}).holds


def test_reading_the_models_is_in_neither_clock(loops: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_margins(*_: object) -> np.ndarray:
        burn(0.5)
        return np.zeros(4)

    monkeypatch.setattr(loops, "read_margins", read_margins)
    work = {"x": np.zeros((3, 2)), "y": np.zeros(3), "recipe": np.array("{}")}
    taken, read = loops.dattri_loop(25)(work, 2)
    assert read.shape == (2, 4)
    assert 0.6 <= taken.core <= 0.9
    assert taken.wall >= 0.6


def test_what_peers_took_is_what_their_own_clocks_say(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ANSWER, "loops", str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        theirs = peers.Peers(process, tmp_path)
        taken, read = theirs.run(dataclasses.replace(peers.SIDES[-1], n=4))
    assert taken == Taken(wall_s=0.5, core_s=0.75)
    assert read.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_processor_time_is_that_of_children_too_and_not_that_of_waiting() -> None:
    child = subprocess.Popen([sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdout.readline()
    watch = Stopwatch(os.getpid())
    child.stdin.write(b"\n")
    child.stdin.flush()
    child.stdout.readline()
    burnt = watch.read()
    child.communicate()
    assert 0.4 <= burnt.core_s <= 0.9
    assert burnt.wall_s >= 0.4
    assert burnt.each(4) == Taken(wall_s=burnt.wall_s / 4, core_s=burnt.core_s / 4)
