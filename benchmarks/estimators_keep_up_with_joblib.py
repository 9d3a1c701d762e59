"""Recipe sklearn retrains as fast as a plain joblib loop over the same estimators, to the same outputs.

    python -m benchmarks.estimators_keep_up_with_joblib [--rounds 3] [--json PATH]

Breast cancer, 379 training rows, 50 margins or probabilities; diabetes, 200 rows, 50 predictions; uniform subsets, the
same on both sides, and as many processes as cores, one thread each, started before the clock. The loop is
``joblib.Parallel`` of scikit-learn's own clone, fit and predict, a model a task. The sides alternate; a ratio is the
median over rounds of processor time, which other work on the machine moves less than the wall's. What ours adds to a
model are a copy of the rows that are scored and a look at which classes are there; what it saves is a task for each.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from joblib import Parallel, delayed
from rich.console import Console
from rich.table import Table
from sklearn.base import clone
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from benchmarks.processor_time import Stopwatch
from protocol.game import Measure
from protocol.recipes import Reading, Sklearn
from protocol.task import (
    ConstantColumns,
    Data,
    Numerics,
    Scaling,
    SeedPolicy,
    TargetKind,
    Targets,
    Task,
    UnitKind,
    Units,
)
from protocol.training import Dataset, Trainer, load, read_table

N_PROCESSES = os.cpu_count() or 1
N_TARGETS, ROUNDS = 50, 3
RATIO = 0.9
"""Least retrainings a second of ours over the loop's."""

DIFFERENCE = 1e-9
"""Largest difference of outputs."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An estimator, how it is read, and how many are trained in a round."""

    name: str
    estimator: Any
    source: str
    reading: Reading
    kind: TargetKind
    models: int


SUBJECTS = (
    Subject(
        name="histogram boosting, 20 rounds", estimator=HistGradientBoostingClassifier(max_iter=20),
        source="sklearn:breast_cancer", reading=Reading.LOG_PROBABILITY, kind=TargetKind.PROBABILITY, models=24,
    ),
    Subject(
        name="forest of 20", estimator=RandomForestClassifier(n_estimators=20, random_state=0),
        source="sklearn:breast_cancer", reading=Reading.LOG_PROBABILITY, kind=TargetKind.PROBABILITY, models=24,
    ),
    Subject(
        name="support vectors", estimator=make_pipeline(StandardScaler(), SVC()),
        source="sklearn:breast_cancer", reading=Reading.DECISION, kind=TargetKind.MARGIN, models=96,
    ),
    Subject(
        name="logistic regression", estimator=make_pipeline(StandardScaler(), LogisticRegression()),
        source="sklearn:breast_cancer", reading=Reading.LOG_PROBABILITY, kind=TargetKind.PROBABILITY, models=96,
    ),
    Subject(
        name="boosting, 20 rounds, regression", estimator=GradientBoostingRegressor(n_estimators=20, random_state=0),
        source="sklearn:diabetes", reading=Reading.PREDICTION, kind=TargetKind.PREDICTION, models=48,
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one subject measures; times are of processors, all processes together, per retraining."""

    name: str
    loop_ms: float
    ours_ms: float
    loop_per_s: float
    ours_per_s: float
    ratio: float
    largest_difference: float

    @property
    def holds(self) -> bool:
        """Whether every stated bound is met."""
        return self.ratio >= RATIO and self.largest_difference <= DIFFERENCE


def task_of(subject: Subject) -> tuple[Task, Dataset]:
    """Return a subject's task, with ranges that clip nothing, and its data."""
    table = read_table(subject.source)
    n_train = min(379, table.n_rows - 242)
    data = Data(
        source=subject.source, digest=table.digest, target_column="", contributor_column="",
        n_classes=table.n_classes, n_train=n_train, n_test=N_TARGETS, split_seed=0,
        constant_columns=ConstantColumns.DROP, scaling=Scaling.NONE,
    )  # fmt: skip
    text = " ".join(repr(without_seed(subject.estimator)).split())
    task = Task(
        data=data,
        units=Units(kind=UnitKind.ROW, n=n_train),
        recipe=Sklearn(estimator=text, version=sklearn.__version__, reading=subject.reading),
        targets=Targets(
            kind=subject.kind, rows=tuple(range(N_TARGETS)), average=False,
            lo=np.full(N_TARGETS, -1e9), hi=np.full(N_TARGETS, 1e9),
        ),
        measure=Measure(p_16=1 << 15),
        seed_policy=SeedPolicy.SHARED,
        seed=0,
        numerics=Numerics(tolerance=1e-9),
    )  # fmt: skip
    return task, load(task)


def without_seed(estimator: Any) -> Any:
    """Return the estimator as a task's text has it: its seed is the training's."""
    plain = clone(estimator)
    return plain.set_params(random_state=None) if "random_state" in plain.get_params() else plain


def one(estimator: Any, dataset: Dataset, subset: np.ndarray, kind: TargetKind) -> np.ndarray:
    """Return the outputs of one model of the loop."""
    fitted = clone(estimator).fit(dataset.x_train[subset], dataset.y_train[subset])
    x, y = dataset.x_test, dataset.y_test
    if kind is TargetKind.PREDICTION:
        return np.asarray(fitted.predict(x))
    if kind is TargetKind.MARGIN:
        return np.asarray(fitted.decision_function(x) * np.where(y == 1, 1.0, -1.0))
    kept = np.maximum(fitted.predict_proba(x), 1e-6)
    return np.asarray(kept[np.arange(len(x)), y] / kept.sum(axis=1))


def loop_of(subject: Subject, dataset: Dataset, subsets: np.ndarray) -> Callable[[], np.ndarray]:
    """Return the plain loop, giving outputs (m, T)."""
    estimator = subject.estimator
    if subject.kind is not TargetKind.MARGIN and "random_state" in estimator.get_params():
        estimator = clone(estimator).set_params(random_state=0)

    def loop() -> np.ndarray:
        calls = (delayed(one)(estimator, dataset, subset, subject.kind) for subset in subsets)
        return np.array(Parallel(n_jobs=N_PROCESSES)(calls))

    return loop


def measure(subject: Subject, rounds: int) -> Figures:
    """Time both sides in turn, their processes warm."""
    task, dataset = task_of(subject)
    trainer = Trainer(task, dataset, n_threads=N_PROCESSES)
    rng = np.random.default_rng(0)
    subsets, seeds = rng.random((subject.models, task.n_units)) < 0.5, np.zeros(subject.models, dtype=np.int64)
    loop = loop_of(subject, dataset, subsets)
    difference = float(np.abs(loop() - trainer.raw_outputs(subsets, seeds)).max())
    taken: list[tuple[float, float]] = []
    walls: list[tuple[float, float]] = []
    for _ in range(rounds):
        watch = Stopwatch(os.getpid())
        loop()
        theirs = watch.read().each(len(subsets))
        watch = Stopwatch(os.getpid())
        trainer.raw_outputs(subsets, seeds)
        ours = watch.read().each(len(subsets))
        taken.append((theirs.core_s, ours.core_s))
        walls.append((theirs.wall_s, ours.wall_s))
    return Figures(
        name=subject.name,
        loop_ms=1e3 * statistics.median(theirs for theirs, _ in taken),
        ours_ms=1e3 * statistics.median(ours for _, ours in taken),
        loop_per_s=1 / statistics.median(theirs for theirs, _ in walls),
        ours_per_s=1 / statistics.median(ours for _, ours in walls),
        ratio=statistics.median(theirs / ours for theirs, ours in taken),
        largest_difference=difference,
    )


def report(figures: list[Figures]) -> Table:
    """Return the figures as a table, each beside its bound."""
    title = f"scikit-learn {sklearn.__version__}, {N_PROCESSES} processes, {torch.get_num_threads()} threads, "
    table = Table(title=title + f"load {os.getloadavg()[0]:.1f}")
    columns = ("estimator", "loop, core ms", "ours, core ms", f"ratio (at least {RATIO:g})", "loop, models/s")
    for column in (*columns, "ours, models/s", f"difference (at most {DIFFERENCE:g})"):
        table.add_column(column)
    for row in figures:
        table.add_row(
            row.name, f"{row.loop_ms:.1f}", f"{row.ours_ms:.1f}", f"{row.ratio:.2f}", f"{row.loop_per_s:,.0f}",
            f"{row.ours_per_s:,.0f}", f"{row.largest_difference:.0e}",
        )  # fmt: skip
    return table


def main() -> int:
    """Measure, print, and return 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    arguments = parser.parse_args()
    figures = [measure(subject, arguments.rounds) for subject in SUBJECTS]
    Console(width=160).print(report(figures))
    if arguments.json:
        written = [asdict(row) | {"holds": row.holds} for row in figures]
        arguments.json.write_text(json.dumps(written, indent=2) + "\n")
    return 0 if all(row.holds for row in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
