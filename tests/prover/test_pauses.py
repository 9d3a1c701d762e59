"""A campaign as its user sees it: paused by Ctrl-C or SIGTERM, gone on with, extended; nothing is trained twice.

Signals go to the whole process group, as a terminal's Ctrl-C and a service manager's SIGTERM do; with Ray to the
prover alone, since Ray's own processes, ending first, would end it with a status of theirs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from protocol.errors import StoreError
from prover import cli
from prover.campaign import TRAIN
from prover.store import Chunk, Store
from tests.conformance.worlds import descendants

pytestmark = pytest.mark.slow

ONE_LINE = "interrupted; what was saved is kept, and the same command goes on from there\n"
RAY_SAYS = "Token authentication is "
FOR_EVER = ("--gap", "1e-9", "--max-retrainings", "9000000")
DEADLINE_S = 300


STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def with_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begin in a folder with a task file, and leave no prover that would train for ever after a failure."""
    monkeypatch.chdir(tmp_path)
    assert cli.run(("init", "--data", "sklearn:breast_cancer", "--n-targets", "3", "-q")) == 0
    yield
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def train(*options: str) -> subprocess.Popen[str]:
    code = "from prover.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-c", code, "train", "task.toml", "--store", "state", "-q", *FOR_EVER, *options]
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    STARTED.append(process)
    return process


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def chunks() -> list[Chunk]:
    """Return what is saved, as another process beside the prover sees it."""
    try:
        with Store(Path("state"), read_only=True) as state:
            return state.chunks(TRAIN)
    except StoreError as error:
        if "found none; run prover train first" not in str(error):
            raise
        return []


def paused(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    """Send a signal to a process and its group; return its status and what it said itself, its workers gone."""
    workers = list(descendants(process.pid))
    (os.kill if "ray" in process.args else os.killpg)(process.pid, number)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert out == ""
    wait_until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in workers))
    return process.returncode, "".join(line for line in err.splitlines(keepends=True) if not line.startswith(RAY_SAYS))


@pytest.mark.parametrize(
    ("number", "options", "status"),
    [
        (signal.SIGINT, ("--workers", "2", "--threads", "1"), cli.INTERRUPTED),
        (signal.SIGTERM, ("--workers", "2", "--threads", "1"), cli.TERMINATED),
        (signal.SIGTERM, (), cli.TERMINATED),
        pytest.param(
            signal.SIGTERM, ("--engine", "ray", "--workers", "2"), cli.TERMINATED, marks=pytest.mark.ray, id="ray"
        ),
    ],
)
def test_a_pause_keeps_what_was_saved_and_the_same_command_goes_on(
    number: signal.Signals, options: tuple[str, ...], status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    if "ray" in options:
        pytest.importorskip("ray", reason="Ray is optional")
    process = train(*options)
    wait_until(lambda: len(chunks()) >= 5)
    before = chunks()
    assert paused(process, number) == (status, ONE_LINE)
    kept = chunks()
    assert set(before) <= set(kept)
    n_kept = sum(chunk.n for chunk in kept)
    extended = ("--gap", "1e-9", "--max-retrainings", str(n_kept + 200))
    assert cli.run(("train", "task.toml", "--store", "state", "-q", *extended)) == 0
    assert set(kept) <= set(chunks())
    capfd.readouterr()
    assert cli.run(("status", "--store", "state", "--json")) == 0
    state = json.loads(capfd.readouterr().out)
    assert state["n_retrainings_saved"] == state["claim"]["n_retrainings"] == (n_kept + 200) // 2 * 2
    assert state["n_retrainings_timed"] == state["n_retrainings_saved"]
    assert 8 * 3 <= state["bytes_per_retraining"] < 8 * 3 + 1


def test_ctrl_c_while_workers_start_is_one_line() -> None:
    process = train("--workers", "2", "--threads", "1")
    wait_until(lambda: len(list(descendants(process.pid))) >= 3 or process.poll() is not None)  # a tracker is the third
    assert paused(process, signal.SIGINT) == (cli.INTERRUPTED, ONE_LINE)
    assert chunks() == []


def test_a_claim_after_pauses_is_the_claim_without(capfd: pytest.CaptureFixture[str]) -> None:
    """Of the same draw: chunks end elsewhere, and outputs stay within the rounding of other batches."""
    process = train()
    wait_until(lambda: len(chunks()) >= 3)
    paused(process, signal.SIGTERM)
    n = (sum(chunk.n for chunk in chunks()) + 100) // 2 * 2
    goal = ("--gap", "1e-9", "--max-retrainings", str(n), "-q")
    assert cli.run(("train", "task.toml", "--store", "state", *goal)) == 0
    with Store(Path("state")) as state, Store(Path("other")) as other:
        draw, task = state.campaign(TRAIN), state.task()
        assert draw is not None
        other.set_task(task, None)
        other.add_campaign(TRAIN, draw)
    assert cli.run(("train", "task.toml", "--store", "other", *goal)) == 0
    claims = []
    for directory in ("state", "other"):
        with Store(Path(directory), read_only=True) as store:
            committed = store.claim()
            assert committed is not None
            claims.append(committed.claim)
    np.testing.assert_allclose(claims[0].scores, claims[1].scores, rtol=0, atol=1e-9)
