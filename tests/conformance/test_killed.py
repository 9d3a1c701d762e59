"""kill -9 of a driver at any moment: no finished chunk is lost, nothing is corrupt, and the end is the same.

A child process runs a campaign with a real engine and prints every chunk when the store has taken it.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from prover.campaign import TRAIN
from prover.database import DATABASE
from prover.store import Store
from tests.conformance.worlds import DRAW, ENGINES, N_TARGETS, ONE, RAY, TWO, descendants, reference, wine

MOST = 30_000
CLOSE = 1e-9

CHILD = """
import sys
from pathlib import Path
from prover.campaign import TRAIN, Campaign, Goal
from prover.store import Store
from tests.conformance.worlds import DRAW, engine_of, wine

class Telling(Store):
    def save_outputs(self, series, first, outputs, *rest):
        super().save_outputs(series, first, outputs, *rest)
        print(first, len(outputs), flush=True)

if __name__ == "__main__":
    task, dataset = wine()
    with Telling(Path(sys.argv[1])) as store, engine_of(sys.argv[2], task, dataset) as engine:
        store.set_task(task, None)
        if store.campaign(TRAIN) is None:
            store.add_campaign(TRAIN, DRAW)
        Campaign(store, task, engine).run(Goal(gap=1e-9, max_retrainings=int(sys.argv[3])))
"""


class Child:
    """A campaign in a process of its own."""

    def __init__(self, directory: Path, engine: str, most: int = MOST) -> None:
        script = directory.parent / "campaign.py"
        script.write_text(CHILD)
        path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(directory), engine, str(most)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        self.saved: set[tuple[int, int]] = set()

    def hear(self, n_chunks: int) -> None:
        """Wait until so many chunks are saved, or the campaign is done."""
        assert self.process.stdout is not None
        while len(self.saved) < n_chunks and (line := self.process.stdout.readline()):
            if line.endswith(b"\n"):
                first, n = line.split()
                self.saved.add((int(first), int(n)))

    def kill(self) -> list[int]:
        """Kill it, hear its last words, and return the workers that it had started."""
        started = [pid for pid in descendants(self.process.pid) if is_worker(pid)]
        self.process.send_signal(signal.SIGKILL)
        self.hear(sys.maxsize)
        self.process.communicate()
        assert self.process.returncode == -signal.SIGKILL
        return started

    def finish(self) -> None:
        self.hear(sys.maxsize)
        _, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, err.decode()


def check_intact(directory: Path, promised: set[tuple[int, int]]) -> None:
    """Hold a store to what was promised of it, and its outputs to those of an undisturbed trainer."""
    db = sqlite3.connect(directory / DATABASE)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
    with Store(directory) as store:
        assert store.task() == wine()[0]
        assert store.campaign(TRAIN) == DRAW
        chunks = store.chunks(TRAIN)
        assert promised <= {(chunk.first, chunk.n) for chunk in chunks}
        for chunk in chunks:
            stop = chunk.first + chunk.n
            held = store.outputs(TRAIN, chunk.first, stop, N_TARGETS)
            assert np.abs(held - reference(np.arange(chunk.first, stop))).max() <= CLOSE


def until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 60
    while alive := [pid for pid in pids if is_running(pid)]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.1)


def is_worker(pid: int) -> bool:
    """Whether a process trains: all do but Ray's own agents, which end a minute later."""
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    return command.startswith((b"ray::train", b"ray::IDLE")) or not (
        command.startswith(b"ray::") or b"/ray/" in command
    )


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_a_driver_killed_loses_nothing_and_goes_on_to_the_same_end(engine: str, tmp_path: Path) -> None:
    if engine == RAY:
        pytest.importorskip("ray", reason="Ray is optional")
    directory = tmp_path / "state"
    killed = Child(directory, engine)
    killed.hear(3)
    workers = killed.kill()
    assert (len(workers) >= 2) == (engine != ONE)
    until_gone(workers)  # none goes on without its driver
    check_intact(directory, killed.saved)
    assert 0 < sum(n for _, n in killed.saved) < MOST
    again = Child(directory, engine)
    again.finish()
    assert again.saved.isdisjoint(killed.saved)  # nothing is trained twice
    check_intact(directory, killed.saved | again.saved)
    with Store(directory, read_only=True) as store:
        assert store.missing(TRAIN, MOST) == []
        assert store.n_done(TRAIN) == MOST
        assert np.abs(store.outputs(TRAIN, 0, MOST, N_TARGETS) - reference(np.arange(MOST))).max() <= CLOSE


WRITER = """
import sys
from pathlib import Path
import numpy as np
from prover.store import Store
store = Store(Path(sys.argv[1]))
for gap in store.missing("train", 10**9):
    for first in range(gap.start, gap.stop, 3):
        store.save_outputs("train", first, np.full((3, 500), float(first)), 0, 0.1)
        print(first, 3, flush=True)
"""


def test_the_stores_process_killed_at_any_moment_has_saved_whole_chunks(tmp_path: Path) -> None:
    """Ten kills at moments that no line of the code chose."""
    rng, directory, promised = np.random.default_rng(3), tmp_path / "state", []
    script = f"import sys; sys.argv = ['', {str(directory)!r}]\n{WRITER}"
    for _ in range(10):
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=Path.cwd())
        assert process.stdout is not None
        promised.append(process.stdout.readline())
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        promised += process.stdout.read().splitlines(keepends=True)
        process.stdout.close()
        process.wait()
        saved = [int(line.split()[0]) for line in promised if line.endswith(b"\n")]
        assert saved == sorted(set(saved))
        with Store(directory) as store:
            n = store.n_done(TRAIN)
            assert saved[-1] + 3 <= n <= saved[-1] + 6  # one more may be on the disk and not yet told of
            assert store.missing(TRAIN, n) == []
            held = store.outputs(TRAIN, 0, n, 500)
        assert np.array_equal(held, np.repeat(3.0 * np.arange(n // 3), 3)[:, None] * np.ones(500))


def test_a_larger_budget_keeps_what_is_there_on_another_engine(tmp_path: Path) -> None:
    """Pause, and go on larger with two workers: the first 300 stay, and only the others are trained."""
    directory = tmp_path / "state"
    first = Child(directory, ONE, 300)
    first.finish()
    second = Child(directory, TWO, 900)
    second.finish()
    assert sum(n for _, n in first.saved) == 300
    assert sum(n for _, n in second.saved) == 600
    assert min(number for number, _ in second.saved) == 300
    check_intact(directory, first.saved | second.saved)
