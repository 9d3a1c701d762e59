"""A prover's server for tests: in this process, or in one of its own that can be killed.

A world's outputs stand in for training where training is not the point, so that a whole session takes milliseconds;
``WINE`` trains a real recipe. A served directory holds all there is to know of a prover, so that the process that
serves it can die and another one go on.

    python -m tests.journeys.loopback DIR --address 127.0.0.1:0 --pause 0.01 --log FILE

prints the address when it answers, writes to FILE each run of evaluations before it is trained, and pauses before each.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import numpy as np

from protocol.certificate.planning import Budget
from protocol.certificate.terms import Answers, Rounds, Terms
from protocol.claim import Claim, Figures
from protocol.game import Measure
from protocol.game.known import Polynomial
from protocol.game.sampling import Draw, pairs
from protocol.session.effects import ChooseRounds, Train
from protocol.session.messages import ClaimCommitted
from protocol.session.verdict import Verdict
from protocol.session.verifier import VerifierSession
from protocol.task import Task
from prover.claiming import commit
from prover.engines import Done, Engine, OnDone
from prover.serving.limits import Limits
from prover.serving.live import Served
from prover.serving.server import ProverServer, honest, serve
from prover.store import Store
from tests.adversaries import terms as adversaries
from tests.journeys import in_memory, worlds
from verifier import loop
from verifier.client import ProverClient
from verifier.config import Patience

WORLD = worlds.of_game(Polynomial(n_units=60, w1=0.985, w2=0.01, w3=0.005), n_targets=2)
"""A game of 60 units and 2 targets, seeds per subset, whose honest claim has gap 0."""

QUICK = Patience(
    connect_s=0.5, reconnect_s=20.0, call_s=5.0, stream_s=5.0, claim_s=20.0, answers_s=30.0, last_word_s=1.0,
    pause_s=0.02, max_pause_s=0.2,
)  # fmt: skip

READY = "serving at "


@dataclasses.dataclass(kw_only=True)
class GameEngine:
    """Plays the world's game, ``chunk`` evaluations at a time, and tells ``log`` of each run before it begins."""

    chunk: int = 16
    pause_s: float = 0.0
    log: Path | None = None

    def run(self, draw: Draw, evaluations: np.ndarray, on_done: OnDone) -> None:
        for start in range(0, len(evaluations), self.chunk):
            some = evaluations[start : start + self.chunk]
            if self.log is not None:
                with self.log.open("a", encoding="utf-8") as log:
                    log.write(f"{some[0]} {some[-1]}\n")
            time.sleep(self.pause_s)
            on_done(Done(evaluations=some, outputs=played(WORLD.task, draw, some), n_clipped=0))


def played(task: Task, draw: Draw, evaluations: np.ndarray) -> np.ndarray:
    values = WORLD.outputs(draw.subsets(task, evaluations), draw.training_seeds(task, evaluations))
    return np.clip(values, task.lo, task.hi)


def rounds_of(terms: Terms, *, n_pairs: int = 300, n_checks: int = 150, task: Task = WORLD.task) -> Rounds:
    """Return the fewest pairs that the certificate looks at; or pairs that the prover answers, half of them redone."""
    if terms.answers is Answers.OWN:
        return adversaries.own_rounds(task, 80)
    return adversaries.delegated_rounds(task, n_pairs, n_checks)


def fill(directory: Path, task: Task, claim: Claim, figures: Figures) -> ClaimCommitted:
    """Write a prover's store; return what it commits to."""
    with Store(directory) as store:
        store.set_task(task, None)
        committed = commit(claim, figures, store.signing_key())
        store.save_claim(committed)
    return committed


def fill_with_game(directory: Path) -> ClaimCommitted:
    return fill(directory, WORLD.task, WORLD.claim, WORLD.figures)


def served_from(store: Store, engine: Engine, limits: Limits) -> Served:
    committed = store.claim()
    assert committed is not None
    return honest(task=store.task(), committed=committed, key=store.signing_key(), engine=engine, limits=limits)


@contextmanager
def server(
    directory: Path, *, engine: Engine | None = None, limits: Limits | None = None, served: Served | None = None
) -> Iterator[ProverServer]:
    """Serve a filled directory from this process."""
    limits = limits or Limits(heartbeat_s=0.1, shutdown_grace_s=5.0)
    with Store(directory) as store:
        running = ProverServer(
            served or served_from(store, engine or GameEngine(), limits), store, address="127.0.0.1:0", limits=limits
        )
        running.start()
        try:
            yield running
        finally:
            running.stop()


class ServerProcess:
    """A server in a process of its own, to be killed."""

    def __init__(self, directory: Path, *options: str, address: str = "127.0.0.1:0") -> None:
        command = [sys.executable, "-m", "tests.journeys.loopback", str(directory), "--address", address, *options]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)}
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode()
        if not line.startswith(READY):
            self.kill()
            raise AssertionError(f"expected a server, got {line!r} {self.stderr!r}")
        self.address = line.removeprefix(READY).strip()

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._end()

    def terminate(self, timeout_s: float = 20.0) -> int:
        """Ask it to stop; return its exit status."""
        self._process.send_signal(signal.SIGTERM)
        self._end(timeout_s)
        return self._process.returncode

    def _end(self, timeout_s: float = 20.0) -> None:
        _, stderr = self._process.communicate(timeout=timeout_s)
        self.stderr = stderr.decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self.kill()


def verify(
    client: ProverClient, asked: Terms, *, rounds: Rounds | None = None, budget: Budget | None = None,
    on_progress: threading.Event | None = None, task: Task = WORLD.task, retrain: loop.Retrain | None = None,
) -> Verdict:  # fmt: skip
    """Run a verifier's session with the prover behind ``client``.

    Parameters
    ----------
    rounds : the verifier's; None for the planner's choice within ``budget``, or, without one, for few.
    on_progress : set when answers are under way.
    """

    def play(train: Train, on: loop.OnProgress) -> np.ndarray:
        on(len(train.evaluations), len(train.evaluations))
        return played(task, train.draw, train.evaluations)

    def watch(event: loop.Progressed) -> None:
        if on_progress is not None and event.what.startswith("answers") and event.done > 0:
            on_progress.set()

    def choose(question: ChooseRounds) -> Rounds:
        if budget is not None:
            return in_memory.planned(task, asked, budget)(question)
        return rounds or rounds_of(asked, task=task)

    session = VerifierSession(game=task, terms=asked)
    return loop.run(session, client, choose, retrain or play, on_event=watch)


def wine() -> Task:
    """A real task that trains in microseconds: 100 rows of wine, ridge, 6 margins.

    Their ranges are five standard deviations to either side of their means, as ``prover init`` makes them.
    """
    from protocol.task import (
        ConstantColumns,
        Data,
        Numerics,
        Ridge,
        Scaling,
        SeedPolicy,
        TargetKind,
        Targets,
        UnitKind,
        Units,
    )
    from protocol.training import read_table

    means, sds = np.array([1.83, 1.37, 0.94, 2.5, 1.62, 1.23]), np.array([0.13, 0.2, 0.14, 0.19, 0.17, 0.15])
    table = read_table("sklearn:wine", path=None, target_column="", contributor_column="")
    data = Data(
        source="sklearn:wine", digest=table.digest, target_column="", contributor_column="", n_classes=3, n_train=100,
        n_test=50, split_seed=1, constant_columns=ConstantColumns.REFUSE, scaling=Scaling.STANDARD,
    )  # fmt: skip
    return Task(
        data=data, units=Units(kind=UnitKind.ROW, n=100), recipe=Ridge(l2=10.0),
        targets=Targets(
            kind=TargetKind.MARGIN, rows=tuple(range(6)), average=False, lo=means - 5 * sds, hi=means + 5 * sds
        ),
        measure=Measure(p_16=1 << 15), seed_policy=SeedPolicy.SHARED, seed=0, numerics=Numerics(tolerance=1e-8),
    )  # fmt: skip


def fill_with_wine(directory: Path) -> ClaimCommitted:
    """Fit a claim to 3,000 pairs of trainings on odd parts, and write a prover's store with it."""
    from prover.engines.local import prepare

    task = wine()
    draw = Draw(seed=worlds.KEY.public.raw, design=pairs(3000))  # type: ignore[arg-type]
    outputs: list[np.ndarray] = []
    prepare(task, data=None).run(draw, np.arange(6000, dtype=np.int64), lambda done: outputs.append(done.outputs))
    values = np.concatenate(outputs)
    inside = draw.subsets(task, np.arange(0, 6000, 2, dtype=np.int64)) - 0.5
    odd = (values[::2] - values[1::2]) / 2
    scores = np.linalg.lstsq(inside, odd, rcond=None)[0].T
    claim = Claim(task_digest=task.digest, intercepts=values.mean(axis=0) - scores.sum(axis=1) / 2, scores=scores)
    return fill(directory, task, claim, Figures(relative_gap=0.01, odd_residual=0.02, r2=0.9, n_retrainings=6000))


def tell(address: str) -> None:
    sys.stdout.write(f"{READY}{address}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--address", required=True)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--log", type=Path)
    options = parser.parse_args()
    limits = Limits(heartbeat_s=0.2, shutdown_grace_s=10.0)
    with Store(options.directory) as store:
        engine: Engine = GameEngine(pause_s=options.pause, log=options.log)
        if store.task().data.source != "game":
            from prover.engines.local import prepare

            engine = prepare(store.task(), data=store.data_path())
        serve(
            served_from(store, engine, limits), store, address=options.address, limits=limits,
            on_ready=tell,
        )  # fmt: skip


if __name__ == "__main__":
    main()
