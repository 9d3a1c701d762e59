"""Retrainings take a fraction of the time that dattri, pyDVL and scikit-learn with joblib take for the same models.

    python -m venv .venv-peers
    .venv-peers/bin/pip install -r benchmarks/peers/requirements.txt
    python -m benchmarks.retrainings_beat_their_peers [--peers .venv-peers/bin/python] [--json PATH]

Digits, 1,000 training rows, 200 margins, uniform subsets, the same for every side that takes them; on every side two
processes of one thread, started before the clock. Ours is the engine of ``prover train --workers 2``, which derives the
subsets. The sides alternate, and a ratio is the median over rounds, once of wall-clock time and once of processor time,
which other work on the machine moves less. How each peer is used: benchmarks/peers/loops.py.

Not the same: pyDVL reads one number off a model, the mean of the margins. dattri draws its own subsets, of exactly half
of the rows, and an order of rows for each model. It takes as many steps as we do with 25 rows each, or half as many
with 50; it writes every model to disk and leaves reading them to a later step, which is not timed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TypeAlias

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.digits_task import digits_task, seed_of
from benchmarks.logistic_is_five_times_sklearn import logistic_task
from benchmarks.many_models_are_ten_times_a_loop import RECIPE, sgd_task
from benchmarks.processor_time import Stopwatch, Taken
from protocol.game.sampling import Draw, pairs
from protocol.task import Logistic, Ridge, Task
from protocol.training import Dataset, load
from prover.engines import Done
from prover.engines.processes import ProcessEngine

ROUNDS, N_WORKERS = 5, 2
PEERS = Path(".venv-peers/bin/python")
LOOPS = Path(__file__).parent / "peers" / "loops.py"

Difference: TypeAlias = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
"""What a peer read, our margins (n, T) and the subsets (n, N), to how far the two readings lie apart."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """A peer's loop: the recipe it is held against, models a round, and how its reading is compared.

    bound : on the difference.
    """

    loop: str
    recipe: str
    n: int
    difference: Difference
    bound: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is measured of one side, medians over rounds: milliseconds a retraining, wall-clock and of a core."""

    loop: str
    recipe: str
    theirs_ms: float
    ours_ms: float
    ratio: float
    theirs_core_ms: float
    ours_core_ms: float
    core_ratio: float
    difference: float
    bound: float

    @property
    def holds(self) -> bool:
        """Whether ours is faster, and both read the same."""
        return self.ratio > 1 and self.core_ratio > 1 and self.difference <= self.bound


def of_margins(theirs: np.ndarray, ours: np.ndarray, subsets: np.ndarray) -> float:
    """Compare every margin."""
    return float(np.abs(theirs - ours).max())


def of_utilities(theirs: np.ndarray, ours: np.ndarray, subsets: np.ndarray) -> float:
    """Compare the mean margin of every model."""
    return float(np.abs(theirs - ours.mean(axis=1)).max())


def of_values(theirs: np.ndarray, ours: np.ndarray, subsets: np.ndarray) -> float:
    """Compare every row's value: the mean utility of the subsets with it less that of those without."""
    utility, both = ours.mean(axis=1), subsets.any(axis=0) & ~subsets.all(axis=0)  # else a row has no value yet
    values = [utility[inside].mean() - utility[~inside].mean() for inside in subsets.T[both]]
    return float(np.abs(theirs[both] - np.array(values)).max())


def of_accuracies(theirs: np.ndarray, ours: np.ndarray, subsets: np.ndarray) -> float:
    """Compare the share of positive margins over all models: for models that are not the same."""
    return float(abs((theirs > 0).mean() - (ours > 0).mean()))


SIDES = (
    Side(loop="sklearn ridge", recipe="ridge", n=400, difference=of_margins, bound=1e-8),
    Side(loop="pydvl ridge", recipe="ridge", n=16, difference=of_values, bound=1e-8),
    Side(loop="pydvl ridge, retraining alone", recipe="ridge", n=400, difference=of_utilities, bound=1e-8),
    Side(loop="sklearn logistic", recipe="logistic", n=64, difference=of_margins, bound=1e-5),
    Side(loop="pydvl logistic", recipe="logistic", n=16, difference=of_values, bound=1e-5),
    Side(loop="pydvl logistic, retraining alone", recipe="logistic", n=64, difference=of_utilities, bound=1e-5),
    Side(loop="dattri", recipe="sgd", n=8, difference=of_accuracies, bound=0.02),
    Side(loop="dattri, half the steps", recipe="sgd", n=8, difference=of_accuracies, bound=0.02),
)

N_OURS = {"ridge": 4000, "logistic": 400, "sgd": 128}


class Peers:
    """The process that runs the peers' loops, and the folder by which arrays reach it."""

    def __init__(self, process: subprocess.Popen[str], directory: Path) -> None:
        self._process, self._directory = process, directory
        self.versions: dict[str, str] = self._answer()

    def run(self, side: Side) -> tuple[Taken, np.ndarray]:
        """Return what a round took of each model, and what was read off its models."""
        asked = {"loop": side.loop, "n": side.n, "work": f"{side.recipe}.npz", "as": "read.npy"}
        if self._process.stdin is None:
            raise SystemExit("expected a pipe to the peers, found none")
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        found = self._answer()  # its own clocks: reading the work and writing what was read are not in them
        taken = Taken(wall_s=float(found["seconds"]), core_s=float(found["core_seconds"]))
        return taken.each(side.n), np.load(self._directory / "read.npy")

    def _answer(self) -> dict[str, str]:
        line = "" if self._process.stdout is None else self._process.stdout.readline()
        if not line:
            raise SystemExit("the peers' process ended; what it said is above")
        answer: dict[str, str] = json.loads(line)
        return answer


@contextmanager
def peers(python: Path, directory: Path) -> Iterator[Peers]:
    """Hold the peers' process; it ends with its stdin."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [str(python), str(LOOPS), str(directory)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield Peers(process, directory)


class Ours:
    """One recipe on our side: its task, data and draw, and the engine that trains it."""

    def __init__(self, task: Task, dataset: Dataset, engine: ProcessEngine, n: int) -> None:
        self.task, self.dataset, self._engine = task, dataset, engine
        self.draw = Draw(seed=seed_of("peers", 0), design=pairs(n, complements=False))
        self._evaluations = np.arange(n, dtype=np.int64)
        self.subsets = self.draw.subsets(task, self._evaluations)

    def run(self) -> tuple[Taken, np.ndarray]:
        """Return what a round took of each model, and its margins, shape (n, T)."""
        outputs = np.empty((len(self._evaluations), self.task.n_targets))

        def keep(done: Done) -> None:
            outputs[done.evaluations] = done.outputs

        watch = Stopwatch(os.getpid())  # the peers' process, which waits meanwhile, included
        self._engine.run(self.draw, self._evaluations, keep)
        return watch.read().each(len(outputs)), outputs

    def save(self, path: Path) -> None:
        """Write the data and the subsets for the peers, rows as units."""
        rows, recipe = list(self.task.targets.rows), self.task.recipe
        x, x_test = self.dataset.x_train, self.dataset.x_test[rows]
        if isinstance(recipe, Logistic):  # the intercept is the penalised weight of a constant 1
            x, x_test = (np.column_stack([a, np.ones(len(a))]) for a in (x, x_test))
        training = {
            "sizes": [x.shape[1], RECIPE.widths[0], self.task.data.n_classes], "learning_rate": RECIPE.learning_rate,
            "momentum": RECIPE.momentum, "epochs": RECIPE.epochs,
        }  # fmt: skip
        np.savez(
            path, x=x, y=self.dataset.y_train, x_test=x_test, y_test=self.dataset.y_test[rows], subsets=self.subsets,
            l2=recipe.l2 if isinstance(recipe, Ridge | Logistic) else 1.0, recipe=json.dumps(training),
        )  # fmt: skip


def tasks() -> dict[str, tuple[Task, Dataset]]:
    """Return the three tasks by their recipe's name."""
    ridge, _ = digits_task()
    return {"ridge": (ridge, load(ridge)), "logistic": logistic_task(), "sgd": sgd_task(RECIPE)}


def measure(python: Path, rounds: int) -> tuple[list[Row], dict[str, str]]:
    """Run every side once to warm it and to compare readings, then all of them in turn."""
    with ExitStack() as held:
        directory = Path(held.enter_context(tempfile.TemporaryDirectory()))
        ours = {}
        for name, (task, dataset) in tasks().items():
            engine = held.enter_context(ProcessEngine(task, dataset, devices=("cpu",) * N_WORKERS, n_threads=1))
            ours[name] = Ours(task, dataset, engine, N_OURS[name])
            ours[name].save(directory / f"{name}.npz")
        theirs = held.enter_context(peers(python, directory))
        outputs = {name: side.run()[1] for name, side in ours.items()}
        apart = {side.loop: difference(side, theirs.run(side)[1], ours[side.recipe], outputs) for side in SIDES}
        times: list[dict[str, Taken]] = []
        for _ in range(rounds):
            taken = {name: side.run()[0] for name, side in ours.items()}
            times.append(taken | {side.loop: theirs.run(side)[0] for side in SIDES})
        return [row(side, times, apart[side.loop]) for side in SIDES], theirs.versions


def difference(side: Side, read: np.ndarray, ours: Ours, outputs: dict[str, np.ndarray]) -> float:
    """Return how far a peer's reading lies from ours on the same subsets."""
    return side.difference(read, outputs[side.recipe][: side.n], ours.subsets[: side.n])


def row(side: Side, times: list[dict[str, Taken]], apart: float) -> Row:
    """Return the medians of one side."""
    theirs, ours = [taken[side.loop] for taken in times], [taken[side.recipe] for taken in times]
    both = list(zip(theirs, ours, strict=True))
    return Row(
        loop=side.loop,
        recipe=side.recipe,
        theirs_ms=1e3 * median(taken.wall_s for taken in theirs),
        ours_ms=1e3 * median(taken.wall_s for taken in ours),
        ratio=median(a.wall_s / b.wall_s for a, b in both),
        theirs_core_ms=1e3 * median(taken.core_s for taken in theirs),
        ours_core_ms=1e3 * median(taken.core_s for taken in ours),
        core_ratio=median(a.core_s / b.core_s for a, b in both),
        difference=apart,
        bound=side.bound,
    )


def report(rows: list[Row]) -> Table:
    """Return the figures as a table: a second, wall-clock; milliseconds of a core; their ratios."""
    table = Table(title=f"retrainings on {N_WORKERS} processes of one thread, load {os.getloadavg()[0]:.1f}")
    for column in ("loop", "recipe"):
        table.add_column(column)
    for column in ("theirs/s", "ours/s", "ratio", "theirs, core ms", "ours", "ratio", "apart", "at most"):
        table.add_column(column, justify="right")
    for r in rows:
        wall = (f"{1e3 / r.theirs_ms:,.3g}", f"{1e3 / r.ours_ms:,.3g}", f"{r.ratio:,.3g}")
        core = (f"{r.theirs_core_ms:,.3g}", f"{r.ours_core_ms:,.3g}", f"{r.core_ratio:,.3g}")
        table.add_row(r.loop, r.recipe, *wall, *core, f"{r.difference:.1e}", f"{r.bound:g}")
    return table


def main() -> int:
    """Measure, print, and return 1 if a peer is faster or reads something else."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, default=PEERS, help="the interpreter of the peers' environment")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    arguments = parser.parse_args()
    if not arguments.peers.is_file():
        print(f"not measured: {arguments.peers} is not there; make it with the commands at the head of this file")
        return 0
    rows, versions = measure(arguments.peers, arguments.rounds)
    Console(width=140).print(report(rows))
    print(f"theirs: {versions}; ours: torch {torch.__version__}, numpy {np.__version__}")
    holds = all(r.holds for r in rows)
    if arguments.json:
        found = {"rows": [asdict(r) for r in rows], "versions": versions, "holds": holds}
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
