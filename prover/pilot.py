"""A few hundred trainings that propose a task's ranges and tolerance.

A range is wide enough that hardly any output is clipped, so that the clipped function, which is
what scores attribute, is the one that was meant; and no wider than it must be, since a range is
what a false answer may use. A tolerance covers what another batch size, thread count or order of
additions does to an output, with room for other machines (THEORY 7).

The pilot's subsets come from a fixed seed: the same command proposes the same task.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy import special

from protocol.game.sampling import Draw, pairs, seed_from_integer
from protocol.task import TargetKind, Task
from protocol.training import Dataset, Trainer
from protocol.training.descent.networks import OwnFactory
from prover import calibration
from prover.progress import Watcher, unwatched

N_PILOT = 300
DEVIATIONS = 5.0
MARGIN = 0.1
"""Beyond the outputs seen, as a share of their spread."""

_CHUNK = 50
_FLOOR = {TargetKind.PROBABILITY: 0.0, TargetKind.LOSS: 0.0, TargetKind.SQUARED_ERROR: 0.0}
_CEILING = {TargetKind.PROBABILITY: 1.0}


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
    draw = Draw(seed=seed_from_integer("pilot", task.data.split_seed), design=pairs(N_PILOT, complements=False))
    outputs = np.empty((N_PILOT, task.n_targets))
    trainer = Trainer(task, dataset, device=device, factory=factory)
    for start in range(0, N_PILOT, _CHUNK):
        evaluations = np.arange(start, min(start + _CHUNK, N_PILOT), dtype=np.int64)
        subsets, seeds = draw.subsets(task, evaluations), draw.training_seeds(task, evaluations)
        outputs[evaluations] = trainer.raw_outputs(subsets, seeds)
        watch("pilot", len(evaluations) + start, N_PILOT)
    lo, hi = _ranges(outputs, task.targets.kind)
    trial = calibration.Trial(
        task=task, dataset=dataset, draw=draw, n=min(calibration.N_REPEATED, N_PILOT), device=device, factory=factory
    )
    heavy_tailed = calibration.heavy_tailed(task)
    others = {name: way for name, way in calibration.ways(task, device).items() if name not in heavy_tailed}
    differences = calibration.differences(trial, outputs[: trial.n], watch, others)
    if heavy_tailed:
        every = dataclasses.replace(trial, n=N_PILOT)
        differences += calibration.differences(every, outputs, watch, heavy_tailed)
    tolerance = calibration.tolerance(task, differences, float(np.median(hi - lo)))
    return Proposal(
        lo=lo,
        hi=hi,
        tolerance=tolerance,
        difference=max((difference.largest for difference in differences), default=0.0),
        n_constant=int((outputs.std(axis=0) <= tolerance).sum()),
    )


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
