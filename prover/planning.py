"""What a campaign would cost before it runs: retrainings from a gap, time from a pilot on the engine, bytes.

Owns the pilot's length and the assumptions for a task of which nothing is known. Refuses to know
how a gap falls (``prover.fitting.curve``) and how a campaign goes on from there (``prover.campaign``),
which plans anew from its own figures after every fit.

Letters: W_1 the weight at degree one, v the variance of all else in what is fitted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from protocol.errors import ArgumentError
from protocol.game.sampling import MAX_EVALUATIONS, Draw, pairs, seed_from_integer
from protocol.task import Task
from protocol.training.chunks import FIRST_CHUNK
from prover.campaign import HEADROOM, TRAIN, pilot_size
from prover.engines import Done, Engine
from prover.fitting.curve import evaluations_needed
from prover.fitting.fit import MIN_EVALUATIONS, Method, Moments, fit
from prover.fitting.packed import PackedSubsets
from prover.progress import Watcher, unwatched
from prover.store import Store

GAPS = (0.05, 0.02, 0.01, 0.005)
"""What a verifier asks for as a rule, down to what ``prover train`` aims at."""

TIMED_S, MAX_TIMED = 2.0, 8192
"""A run this long, or of so many trainings, times an engine: chunks are then about as large as they come."""

_BYTES_AROUND = 1.05
"""What SQLite adds to outputs: 3% in chunks of 256 with 10 targets (benchmarks/RESULTS.md), 9% in those of 16."""


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What is taken of the function that is attributed.

    moments : of what is fitted at the task's p, as shares of Var f. whence : in words.
    """

    moments: Moments
    whence: str


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What an engine takes here.

    start_s : until its first training is done. each_s : a training, wall-clock, with every worker busy; of several
        runs the fastest, since other work on the machine only slows. n_timed : trainings of all runs.
    """

    start_s: float
    each_s: float
    n_timed: int


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a gap is expected to take.

    n : retrainings in all, at least a campaign's pilot. n_left : those that are not saved yet.
    seconds : wall-clock, to train these. n_bytes : the store's size in the end, of outputs alone.
    """

    gap: float
    n: int
    n_left: int
    seconds: float
    n_bytes: int

    @property
    def is_possible(self) -> bool:
        """Whether a campaign can hold as many."""
        return self.n <= MAX_EVALUATIONS


def assumed(task: Task) -> tuple[Expectation, Expectation]:
    """Return an easy and a hard function, which most lie between: what was measured on digits."""
    return (
        _assumed(task, Moments(signal=0.94, noise=0.01), "as ridge on digits"),
        _assumed(task, Moments(signal=0.32, noise=0.30), "as a perceptron on digits"),
    )


def _assumed(task: Task, moments: Moments, like: str) -> Expectation:
    """Return an expectation from moments at p = 1/2; without complements all that is not W_1 is noise."""
    if not task.measure.has_complements:
        moments = Moments(signal=moments.signal, noise=1 - moments.signal)
    return Expectation(moments=moments, whence=f"assumed: {like}")


def speed(task: Task, engine: Engine, *, opened_s: float = 0.0, watch: Watcher = unwatched) -> Speed:
    """Return what an engine takes, from runs that grow until one lasts ``TIMED_S``; their outputs are kept nowhere.

    Parameters
    ----------
    opened_s : what opening the engine took, which is part of starting.

    Raises
    ------
    TrainingError
        A training gave no number, or a worker was lost again and again.
    """
    draw = Draw(seed=seed_from_integer("plan", task.seed), design=pairs(MAX_TIMED, complements=False))
    started = time.perf_counter()
    _busy_s(engine, draw, 1)
    first_s = time.perf_counter() - started
    # Every worker has a whole chunk, unless a training takes so long that one each is all that there is time for.
    n = min(engine.n_workers * (FIRST_CHUNK if first_s < 10 * TIMED_S else 1), MAX_TIMED)
    each_s, n_timed = math.inf, 0
    while True:
        watch("timing", 0, n)
        busy_s = _busy_s(engine, draw, n)
        watch("timing", n, n)
        each_s, n_timed = min(each_s, busy_s / n / engine.n_workers), n_timed + n
        if busy_s / engine.n_workers >= TIMED_S or n >= MAX_TIMED:
            return Speed(start_s=opened_s + first_s, each_s=each_s, n_timed=n_timed)
        n = min(4 * n, MAX_TIMED)


def saved(store: Store, task: Task) -> int:
    """Return how many retrainings of a campaign are in a store; ArgumentError if they are another task's."""
    if store.task().digest != task.digest:
        raise ArgumentError(
            f"--store: expected retrainings of task {task.digest.hex()[:16]}, got those of "
            f"{store.task().digest.hex()[:16]}; name the store of this task"
        )
    return store.n_done(TRAIN)


def expected_of(store: Store, task: Task) -> Expectation | None:
    """Return what a store's retrainings say; None where they are fewer than a fit takes.

    Raises
    ------
    ArgumentError
        They are another task's. StoreError: the disk refuses.
    """
    sides, draw = task.measure.n_sides, store.campaign(TRAIN)
    n_saved = saved(store, task)
    missing = store.missing(TRAIN, n_saved)
    n = (missing[0].start if missing else n_saved) // sides  # with no hole among them
    if draw is None or n < MIN_EVALUATIONS:
        return None
    outputs = store.outputs(TRAIN, 0, n * sides, task.n_targets).reshape(n, sides, task.n_targets)
    subsets = PackedSubsets.drawn(draw, task, np.arange(0, n * sides, sides, dtype=np.int64))
    whence = f"from the store's first {n * sides:,} retrainings"
    if n < pilot_size(task.n_units, Method.RIDGE):
        whence += f", fewer than the {pilot_size(task.n_units, Method.RIDGE) * sides:,} of a pilot: vague"
    return Expectation(moments=fit(task, subsets, outputs).moments, whence=whence)


def estimates(
    task: Task, moments: Moments, gaps: Sequence[float], pace: Speed, *, n_saved: int = 0
) -> tuple[Estimate, ...]:
    """Return what each relative gap, mean over targets, takes by ridge.

    Raises
    ------
    ArgumentError
        A gap is not above 0 and below 1.
    """
    return tuple(_estimate(task, moments, gap, pace, n_saved) for gap in gaps)


def _estimate(task: Task, moments: Moments, gap: float, pace: Speed, n_saved: int) -> Estimate:
    if not 0 < gap < 1:
        raise ArgumentError(f"--gap: expected a relative gap above 0 and below 1, got {gap}")
    needed = evaluations_needed(gap=gap, n_units=task.n_units, signal=moments.signal, noise=moments.noise)
    n = max(math.ceil(HEADROOM * needed), pilot_size(task.n_units, Method.RIDGE)) * task.measure.n_sides
    n_left = max(n - n_saved, 0)
    return Estimate(
        gap=gap,
        n=n,
        n_left=n_left,
        seconds=pace.start_s + n_left * pace.each_s if n_left else 0.0,
        n_bytes=round(_BYTES_AROUND * 8 * task.n_targets * max(n, n_saved)),
    )


def _busy_s(engine: Engine, draw: Draw, n: int) -> float:
    """Return for how long workers were busy with n trainings."""
    busy_s = 0.0

    def add(done: Done) -> None:
        nonlocal busy_s
        busy_s += done.seconds

    engine.run(draw, np.arange(n, dtype=np.int64), add)
    return busy_s
