"""Small tasks for the training tests: a table made in memory, or a bundled set, and its task."""

from __future__ import annotations

import numpy as np

from protocol.game import Measure
from protocol.task import (
    ConstantColumns,
    Data,
    Numerics,
    Recipe,
    Ridge,
    Scaling,
    SeedPolicy,
    TargetKind,
    Targets,
    Task,
    UnitKind,
    Units,
)
from protocol.training import Dataset, Table, read_table, split


def table(
    n_rows: int = 60, d: int = 4, n_classes: int = 3, *, seed: int = 0, contributors: tuple[str, ...] | None = None
) -> Table:
    """Return overlapping Gaussian classes, or with ``n_classes`` 0 a noisy linear regression."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n_rows, d)) * np.arange(1, d + 1) + 3.0
    if n_classes:
        labels = rng.integers(n_classes, size=n_rows).astype(np.int64)
        labels[:n_classes] = np.arange(n_classes)
        features[:, 0] += 1.5 * labels
    else:
        labels = features @ rng.normal(size=d) + rng.normal(size=n_rows) + 50.0
    return Table(
        features=features,
        labels=labels,
        n_classes=n_classes,
        columns=tuple(f"x{i}" for i in range(d)),
        class_names=tuple(str(c) for c in range(n_classes)),
        contributors=contributors,
    )


def data_of(of: Table, n_train: int = 40, n_test: int = 10, **changes: object) -> Data:
    """Return the description of ``of`` with columns dropped and features as they are, but for ``changes``."""
    values: dict[str, object] = {
        "source": "made.csv",
        "digest": of.digest,
        "target_column": "y",
        "contributor_column": "who" if of.contributors else "",
        "n_classes": of.n_classes,
        "n_train": n_train,
        "n_test": n_test,
        "split_seed": 7,
        "constant_columns": ConstantColumns.DROP,
        "scaling": Scaling.NONE,
    }
    return Data(**(values | changes))  # type: ignore[arg-type]


def task_of(
    data: Data,
    recipe: Recipe,
    kind: TargetKind = TargetKind.MARGIN,
    *,
    n_units: int | None = None,
    rows: tuple[int, ...] | None = None,
    average: bool = False,
    bound: float = 1e6,
) -> Task:
    """Return a task at p = 1/2 whose targets are all test rows unless ``rows`` says which."""
    rows = tuple(range(data.n_test)) if rows is None else rows
    t = 1 if average else len(rows)
    return Task(
        data=data,
        units=Units(
            kind=UnitKind.ROW if n_units is None else UnitKind.CONTRIBUTOR,
            n=data.n_train if n_units is None else n_units,
        ),
        recipe=recipe,
        targets=Targets(kind=kind, rows=rows, average=average, lo=np.full(t, -bound), hi=np.full(t, bound)),
        measure=Measure(p_16=1 << 15),
        seed_policy=SeedPolicy.SHARED,
        seed=0,
        numerics=Numerics(tolerance=1e-6),
    )


def made(recipe: Recipe, n_classes: int = 3, **table_changes: object) -> tuple[Task, Dataset]:
    """Return a task by rows on a small made table, and its data set."""
    of = table(n_classes=n_classes, **table_changes)  # type: ignore[arg-type]
    data = data_of(of)
    kind = TargetKind.MARGIN if n_classes else TargetKind.PREDICTION
    return task_of(data, recipe, kind), split(of, data, UnitKind.ROW)


def digits(recipe: Recipe | None = None, scaling: Scaling = Scaling.NONE) -> tuple[Task, Dataset]:
    """Return the digits task: 1,000 training rows, 200 margins, p = 1/2."""
    of = read_table("sklearn:digits")
    data = data_of(of, 1000, 200, source="sklearn:digits", target_column="", scaling=scaling)
    return task_of(data, recipe or Ridge(l2=1.0)), split(of, data, UnitKind.ROW)


def subsets_of(n_units: int, m: int, seed: int = 0) -> np.ndarray:
    """Return m uniform subsets."""
    return np.random.default_rng(seed).random((m, n_units)) < 0.5


def seeds_of(subsets: np.ndarray) -> np.ndarray:
    """Return the seeds that a shared policy gives."""
    return np.zeros(len(subsets), dtype=np.int64)


def margins(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return margins one row at a time: the naive twin of ``targets``."""
    return np.array(
        [row[y] - max(score for c, score in enumerate(row) if c != y) for row, y in zip(scores, labels, strict=True)]
    )
