"""A few hundred trainings that propose a task's ranges and tolerance.

A range is wide enough that hardly any output is clipped, so that the clipped function, which is
what scores attribute, is the one that was meant; and no wider than it must be, since a range is
what a false answer may use. A tolerance covers what another batch size, thread count or order of
additions does to an output, with room for other machines (THEORY 7).

The pilot's subsets come from a fixed seed: the same command proposes the same task.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float64
from scipy import special

from protocol.recipes import Logistic, Sgd
from protocol.sampling import Draw, pairs, seed_from_integer
from protocol.task import TargetKind, Task
from protocol.training import Dataset, Trainer
from protocol.training.networks import OwnFactory
from prover.progress import Watcher, unwatched

N_PILOT = 300
N_REPEATED = 20
"""Subsets trained again in other ways, for the tolerance."""

DEVIATIONS = 5.0
MARGIN = 0.1
"""Beyond the outputs seen, as a share of their spread."""

SAFETY = 100.0
"""Tolerance over the largest difference seen on this machine."""

LEAST_TOLERANCE = 1e-9
"""As a share of the ranges' median width; its price in the gap is its square, about 1e-16 of Var f."""

_CHUNK = 50
_FLOOR = {TargetKind.PROBABILITY: 0.0, TargetKind.LOSS: 0.0, TargetKind.SQUARED_ERROR: 0.0}
_CEILING = {TargetKind.PROBABILITY: 1.0}


MakeTrainer: TypeAlias = Callable[..., Trainer]
"""The pilot's trainer, but for the arguments that are changed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Proposal:
    """What a pilot proposes.

    lo, hi : shape (T,), in the targets' unit. tolerance : likewise.
    difference : largest |difference| seen between two computations of one output.
    n_constant : targets that did not vary beyond the tolerance: nothing can be attributed there.
    """

    lo: Float64[np.ndarray, " t"]
    hi: Float64[np.ndarray, " t"]
    tolerance: float
    difference: float
    n_constant: int


def propose(
    task: Task,
    dataset: Dataset,
    *,
    device: str = "cpu",
    watch: Watcher = unwatched,
    factory: OwnFactory | None = None,
) -> Proposal:
    """Return ranges and a tolerance from a pilot on ``task``, whose own are not looked at.

    Raises
    ------
    TrainingError
        A training gave no number, or the device is not there. ArgumentError: as of ``training.Trainer``.
    """
    variants = _VARIANTS if isinstance(task.recipe, Sgd) else _VARIANTS + _VARIANTS_OF_AN_OPTIMUM
    total = N_PILOT + N_REPEATED * len(variants)
    draw = Draw(seed=seed_from_integer("pilot", task.data.split_seed), design=pairs(N_PILOT, complements=False))
    outputs = np.empty((N_PILOT, task.n_targets))
    trainer = functools.partial(Trainer, task=task, dataset=dataset, device=device, factory=factory)
    plain = trainer()
    for start in range(0, N_PILOT, _CHUNK):
        outputs[start : start + _CHUNK] = _raw(plain, task, draw, start, min(start + _CHUNK, N_PILOT))
        watch("pilot", min(start + _CHUNK, N_PILOT), total)
    lo, hi = _ranges(outputs, task.targets.kind)
    difference = 0.0
    for k, variant in enumerate(variants):
        again = variant(task, dataset, trainer, draw)
        difference = max(difference, float(np.abs(again - outputs[:N_REPEATED]).max()))
        watch("pilot", N_PILOT + (k + 1) * N_REPEATED, total)
    tolerance = _rounded_up(max(SAFETY * difference, LEAST_TOLERANCE * float(np.median(hi - lo))))
    n_constant = int((outputs.std(axis=0) <= tolerance).sum())
    return Proposal(lo=lo, hi=hi, tolerance=tolerance, difference=difference, n_constant=n_constant)


def _raw(trainer: Trainer, task: Task, draw: Draw, start: int, stop: int) -> Float64[np.ndarray, "m t"]:
    evaluations = np.arange(start, stop, dtype=np.int64)
    return trainer.raw_outputs(draw.subsets(task, evaluations), draw.training_seeds(task, evaluations))


def _in_sevens(task: Task, dataset: Dataset, trainer: MakeTrainer, draw: Draw) -> Float64[np.ndarray, "m t"]:
    return _raw(trainer(batch_size=7), task, draw, 0, N_REPEATED)


def _one_by_one(task: Task, dataset: Dataset, trainer: MakeTrainer, draw: Draw) -> Float64[np.ndarray, "m t"]:
    return _raw(trainer(batch_size=1), task, draw, 0, N_REPEATED)


def _on_one_thread(task: Task, dataset: Dataset, trainer: MakeTrainer, draw: Draw) -> Float64[np.ndarray, "m t"]:
    n_threads = torch.get_num_threads()
    try:
        return _raw(trainer(n_threads=1), task, draw, 0, N_REPEATED)
    finally:
        torch.set_num_threads(n_threads)


def _rows_reversed(task: Task, dataset: Dataset, trainer: MakeTrainer, draw: Draw) -> Float64[np.ndarray, "m t"]:
    """Add the training rows up in the other order."""
    backwards = dataclasses.replace(
        dataset,
        x_train=dataset.x_train[::-1].copy(),
        y_train=dataset.y_train[::-1].copy(),
        unit_of_row=dataset.unit_of_row[::-1].copy(),
    )
    return _raw(trainer(dataset=backwards), task, draw, 0, N_REPEATED)


def _closer_to_the_optimum(
    task: Task, dataset: Dataset, trainer: MakeTrainer, draw: Draw
) -> Float64[np.ndarray, "m t"]:
    """Stop a tenth as far from the optimum: rounding may cost another machine, or save it, a step."""
    recipe = task.recipe
    if isinstance(recipe, Logistic):
        recipe = dataclasses.replace(recipe, gradient_tolerance=recipe.gradient_tolerance / 10)
    return _raw(trainer(task=dataclasses.replace(task, recipe=recipe)), task, draw, 0, N_REPEATED)


_VARIANTS = (_in_sevens, _one_by_one, _on_one_thread)
_VARIANTS_OF_AN_OPTIMUM = (_rows_reversed, _closer_to_the_optimum)
"""For recipes whose model is an optimum; the order of rows is part of what sgd trains."""


def _ranges(
    outputs: Float64[np.ndarray, "m t"], kind: TargetKind
) -> tuple[Float64[np.ndarray, " t"], Float64[np.ndarray, " t"]]:
    """Return DEVIATIONS on each side of the mean, where the kind is least skewed, and never less than was seen."""
    spread, back = _SYMMETRIC.get(kind, (_same, _same))
    even = spread(outputs)
    mean, deviation = even.mean(axis=0), DEVIATIONS * even.std(axis=0)
    least, most = outputs.min(axis=0), outputs.max(axis=0)
    margin = MARGIN * (most - least)
    # A target that never varies still needs a range that is one.
    pad = np.where(most > least, 0.0, np.maximum(1e-3 * np.abs(least), 1e-3))
    lo = np.minimum(back(mean - deviation), least - margin) - pad
    hi = np.maximum(back(mean + deviation), most + margin) + pad
    lo = np.maximum(lo, _FLOOR.get(kind, -np.inf))
    hi = np.minimum(hi, _CEILING.get(kind, np.inf))
    rounded = [_outwards(low, high) for low, high in zip(lo.tolist(), hi.tolist(), strict=True)]
    return np.array([low for low, _ in rounded]), np.array([high for _, high in rounded])


def _same(values: Float64[np.ndarray, "*m t"]) -> Float64[np.ndarray, "*m t"]:
    return values


def _root(values: Float64[np.ndarray, "*m t"]) -> Float64[np.ndarray, "*m t"]:
    return np.asarray(np.sqrt(np.maximum(values, 0.0)))


def _square(values: Float64[np.ndarray, "*m t"]) -> Float64[np.ndarray, "*m t"]:
    return np.asarray(np.square(np.maximum(values, 0.0)))


def _logit(values: Float64[np.ndarray, "*m t"]) -> Float64[np.ndarray, "*m t"]:
    return np.asarray(special.logit(np.clip(values, 1e-15, 1 - 1e-15)))


def _expit(values: Float64[np.ndarray, "*m t"]) -> Float64[np.ndarray, "*m t"]:
    return np.asarray(special.expit(values))


_SYMMETRIC = {
    TargetKind.PROBABILITY: (_logit, _expit),
    TargetKind.LOSS: (_root, _square),
    TargetKind.SQUARED_ERROR: (_root, _square),
}
"""Where a kind that cannot pass 0 or 1 is spread about its mean most evenly, and the way back."""


def _outwards(lo: float, hi: float) -> tuple[float, float]:
    """Return a range around [lo, hi] that is shorter to write: three digits of its width."""
    digits = 2 - math.floor(math.log10(hi - lo))
    step = 10.0**digits
    low, high = round(math.floor(lo * step) / step, digits), round(math.ceil(hi * step) / step, digits)
    return min(low, lo), max(high, hi)


def _rounded_up(value: float) -> float:
    """Return the least number of two digits that is no smaller than ``value``."""
    if value == 0:
        return 0.0
    digits = 1 - math.floor(math.log10(value))
    return max(round(math.ceil(value * 10.0**digits) / 10.0**digits, digits), value)
