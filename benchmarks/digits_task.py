"""The digits task that the benchmarks share: 1,000 training rows, ridge classifier, 200 margins, p = 1/2.

Pixels run from 0 to 16; a penalty of 256 on them is scikit-learn's default of 1 on pixels from 0 to 1.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from protocol.claim import Claim
from protocol.encoding import Seed, digest
from protocol.game import Measure
from protocol.game.sampling import Draw, pairs
from protocol.task import (
    ConstantColumns,
    Data,
    Numerics,
    Ridge,
    Scaling,
    SeedPolicy,
    TargetKind,
    Targets,
    Task,
    UnitKind,
    Units,
)
from protocol.training import Trainer, load, read_table

N_UNITS, N_TARGETS = 1000, 200


def digits_task(width_in_sd: float | None = None) -> tuple[Task, Trainer]:
    """Return the task and its trainer.

    Parameters
    ----------
    width_in_sd : the range of each target, mean +- this many standard deviations; by default wide enough never to clip.
    """
    table = read_table("sklearn:digits", path=None, target_column="", contributor_column="")
    data = Data(
        source="sklearn:digits", digest=table.digest, target_column="", contributor_column="", n_classes=10,
        n_train=N_UNITS, n_test=797, split_seed=0, constant_columns=ConstantColumns.DROP, scaling=Scaling.NONE,
    )  # fmt: skip
    targets = Targets(
        kind=TargetKind.MARGIN, rows=tuple(range(N_TARGETS)), average=False,
        lo=np.full(N_TARGETS, -20.0), hi=np.full(N_TARGETS, 20.0),
    )  # fmt: skip
    task = Task(
        data=data, units=Units(kind=UnitKind.ROW, n=N_UNITS), recipe=Ridge(l2=256.0), targets=targets,
        measure=Measure(p_16=1 << 15), seed_policy=SeedPolicy.SHARED, seed=0, numerics=Numerics(tolerance=1e-9),
    )  # fmt: skip
    dataset = load(task)
    if width_in_sd is not None:
        outputs = outputs_of(task, Trainer(task, dataset), seed_of("range", 0), 500)[1]
        middle, half = outputs.mean(axis=0), width_in_sd * outputs.std(axis=0)
        task = replace(task, targets=replace(targets, lo=middle - half, hi=middle + half))
    return task, Trainer(task, dataset)


def seed_of(label: str, number: int) -> Seed:
    """Return a benchmark's own 32-byte seed: repeatable, and unlike every other."""
    return Seed(digest("benchmark", label, number))


def outputs_of(task: Task, trainer: Trainer, seed: Seed, n_pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the subsets of ``n_pairs`` independent pairs, complements after them, and their outputs."""
    draw = Draw(seed=seed, design=pairs(n_pairs))
    evaluations = np.arange(draw.n_evaluations, dtype=np.int64)
    subsets = draw.subsets(task, evaluations)
    return subsets, trainer.outputs(subsets, draw.training_seeds(task, evaluations)).values


def independent_outputs_of(task: Task, trainer: Trainer, seed: Seed, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ``n`` independent subsets, no complements, and their outputs: what datamodels are fitted to."""
    draw = Draw(seed=seed, design=pairs(n, complements=False))
    evaluations = np.arange(n, dtype=np.int64)
    subsets = draw.subsets(task, evaluations)
    return subsets, trainer.outputs(subsets, draw.training_seeds(task, evaluations)).values


def least_squares_claim(task: Task, subsets: np.ndarray, outputs: np.ndarray) -> Claim:
    """Return the claim fitted by least squares to whole outputs, evens and all, as datamodels are (THEORY 10)."""
    centred = subsets - 0.5
    design = np.column_stack([np.ones(len(centred)), centred])
    fitted = np.linalg.solve(design.T @ design, design.T @ outputs)
    scores = np.ascontiguousarray(fitted[1:].T)
    return Claim(task_digest=task.digest, intercepts=fitted[0] - scores.sum(axis=1) / 2, scores=scores)


def true_gaps(
    task: Task, claims: list[Claim], subsets: np.ndarray, outputs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return each claim's gap for each target from many independent pairs, and Var f; shapes (claims, T) and (T,).

    The unbiased estimate of W_1 of the odd residual, |sum r phi|^2 with its diagonal removed; its own standard
    error is about sqrt(2 N) mse / n, below 1e-4 of Var f at 20,000 pairs.
    """
    odd = (outputs[::2] - outputs[1::2]) / 2
    phi = 2.0 * (subsets[::2] - 0.5)
    n, n_units = phi.shape
    gaps = []
    for claim in claims:
        residual = odd - phi @ claim.scores.T / 2
        total = ((phi.T @ residual) ** 2).sum(axis=0)
        gaps.append((total - n_units * (residual**2).sum(axis=0)) / (n * (n - 1)))
    return np.array(gaps), outputs.var(axis=0)
