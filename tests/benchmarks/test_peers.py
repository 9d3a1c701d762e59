"""The instruments of the benchmarks beside peers: what tells readings apart, and processor time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

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
