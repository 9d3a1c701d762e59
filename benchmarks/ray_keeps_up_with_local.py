"""Ray on one machine retrains at 90% or more of the rate of local worker processes, at two workers.

    python -m benchmarks.ray_keeps_up_with_local [--rounds 5] [--perceptrons 1536] [--warm 384] [--json PATH]

Digits, 1,000 training rows, 200 margins, uniform subsets; two workers of one thread on either side, each chunk kept by
a callback, as a campaign's is. Perceptrons (11 ms of a core each) have little to move for their work; ridge (0.2 ms)
has the most of all recipes, 1.6 kB of outputs each. Starting is reported apart: the engine, and its first training.
Both are warmed until their chunks are as large as they become. A side is stopped before the other starts; sides
alternate, and the share is that of the medians over rounds. Ray's own processes take 0.04 of a core all the time, so on
a machine that others use its share of processor time looks worse.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.digits_task import digits_task, seed_of
from benchmarks.many_models_are_ten_times_a_loop import RECIPE, sgd_task
from benchmarks.processor_time import Stopwatch, Taken
from protocol.game.sampling import Draw, pairs
from protocol.task import Task
from protocol.training import Dataset, load
from prover.engines import Done
from prover.engines.processes import ProcessEngine
from prover.engines.ray_engine import RayEngine

ROUNDS, N_WORKERS = 5, 2
SHARE = 0.9
TOLERANCE = 1e-9
"""On the outputs of the two sides: the same subsets, in chunks of other sizes."""

SomeEngine = ProcessEngine | RayEngine


@dataclass(frozen=True, kw_only=True)
class Size:
    """Retrainings of a run that warms an engine, and of the one that is timed."""

    n_warm: int
    n_timed: int


RIDGE, PERCEPTRONS = Size(n_warm=20_000, n_timed=40_000), Size(n_warm=384, n_timed=1536)


@dataclass(frozen=True, kw_only=True)
class Round:
    """One start of one side, in seconds, and what a timed run took of each retraining."""

    start_s: float
    each: Taken


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one recipe comes to, medians over rounds: milliseconds a retraining, wall-clock and of a core.

    starts are in seconds. difference : the largest, of an output.
    """

    recipe: str
    n: int
    local_ms: float
    ray_ms: float
    local_core_ms: float
    ray_core_ms: float
    local_start_s: float
    ray_start_s: float
    difference: float

    @property
    def share(self) -> float:
        """Ray's rate as a share of local's."""
        return self.local_ms / self.ray_ms

    @property
    def core_share(self) -> float:
        """The same of processor time, Ray's own processes included: what it would be if nobody ever waited."""
        return self.local_core_ms / self.ray_core_ms

    @property
    def holds(self) -> bool:
        """Whether Ray keeps up, and both sides say the same."""
        return self.share >= SHARE and self.difference <= TOLERANCE


def local(task: Task, dataset: Dataset) -> ProcessEngine:
    """Start the local side."""
    return ProcessEngine(task, dataset, devices=("cpu",) * N_WORKERS, n_threads=1)


def ray(task: Task, dataset: Dataset) -> RayEngine:
    """Start a cluster of this machine, and the other side on it."""
    return RayEngine(task, dataset, n_workers=N_WORKERS, n_threads=1)


def timed(start: Callable[[], AbstractContextManager[SomeEngine]], task: Task, size: Size) -> tuple[Round, np.ndarray]:
    """Start an engine, warm it, time a run, and return its outputs, shape (n, T)."""
    draw = Draw(seed=seed_of("ray", 0), design=pairs(size.n_warm + size.n_timed, complements=False))
    outputs = np.empty((draw.n_evaluations, task.n_targets))

    def keep(done: Done) -> None:
        outputs[done.evaluations] = done.outputs

    numbers = np.arange(draw.n_evaluations, dtype=np.int64)
    begun = time.perf_counter()
    with start() as engine:
        engine.run(draw, numbers[:1], keep)
        started = time.perf_counter()
        engine.run(draw, numbers[: size.n_warm], keep)
        watch = Stopwatch(os.getpid())
        engine.run(draw, numbers[size.n_warm :], keep)
        taken = watch.read()
    return Round(start_s=started - begun, each=taken.each(size.n_timed)), outputs


def measure(task: Task, dataset: Dataset, size: Size, rounds: int) -> Row:
    """Alternate the sides."""
    locals_, rays, difference = [], [], 0.0
    for _ in range(rounds):
        ours, expected = timed(lambda: local(task, dataset), task, size)
        theirs, outputs = timed(lambda: ray(task, dataset), task, size)
        locals_.append(ours)
        rays.append(theirs)
        difference = max(difference, float(np.abs(outputs - expected).max()))
    return Row(
        recipe=task.recipe.name,
        n=size.n_timed,
        local_ms=1e3 * median(r.each.wall_s for r in locals_),
        ray_ms=1e3 * median(r.each.wall_s for r in rays),
        local_core_ms=1e3 * median(r.each.core_s for r in locals_),
        ray_core_ms=1e3 * median(r.each.core_s for r in rays),
        local_start_s=median(r.start_s for r in locals_),
        ray_start_s=median(r.start_s for r in rays),
        difference=difference,
    )


def report(rows: list[Row]) -> Table:
    """Return the figures as a table, each beside its bound."""
    table = Table(title=f"{N_WORKERS} workers of one thread, load {os.getloadavg()[0]:.1f}; at least {SHARE:g}")
    columns = ("recipe", "n", "local, ms", "ray, ms", "share", "core ms", "core ms", "share", "starts, s", "apart")
    for column in columns:
        table.add_column(column, justify="right")
    for r in rows:
        wall = (f"{r.local_ms:.3g}", f"{r.ray_ms:.3g}", f"{r.share:.2f}")
        core = (f"{r.local_core_ms:.3g}", f"{r.ray_core_ms:.3g}", f"{r.core_share:.2f}")
        starts = f"{r.local_start_s:.1f}, {r.ray_start_s:.1f}"
        table.add_row(r.recipe, f"{r.n:,}", *wall, *core, starts, f"{r.difference:.0e}")
    return table


def main() -> int:
    """Measure, print, and return 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--perceptrons", type=int, default=PERCEPTRONS.n_timed, help="timed retrainings of sgd")
    parser.add_argument("--warm", type=int, default=PERCEPTRONS.n_warm, help="those before them")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    arguments = parser.parse_args()
    ridge, _ = digits_task()
    perceptrons = Size(n_warm=arguments.warm, n_timed=arguments.perceptrons)
    rows = [
        measure(*sgd_task(RECIPE), perceptrons, arguments.rounds),
        measure(ridge, load(ridge), RIDGE, arguments.rounds),
    ]
    Console(width=120).print(report(rows))
    holds = all(r.holds for r in rows)
    if arguments.json:
        found = {"rows": [asdict(r) | {"share": r.share, "core_share": r.core_share} for r in rows], "holds": holds}
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
