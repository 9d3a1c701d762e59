"""How far honest computations of one output lie apart, and the tolerance that covers them (THEORY 7).

Owns the ways in which the same training is done again: other batches, fewer threads, another
device, and what stands for machines that are not here. For an optimum that is the rows added up
the other way round, and a stop nearer to it. For gradient descent it is every feature moved by
about the rounding of a float32: training amplifies a rounding wherever it happens, so the largest
difference that this makes is what another order of additions could make. That has a heavy tail: few
subsets make the largest, where a rounding puts a ReLU on its other side. So it takes hundreds of
subsets, and the profile ``exact``, which has no tolerance and where any difference is a fault, is the
better choice.

An estimator of scikit-learn is trained on one thread on every machine, so that only another processor's
linear algebra is left: it is trained again as on an older one. Its features are not moved, as they are on
no other machine: trees that split between equal values, or half way between two, where a test row lies,
would split elsewhere. (Boosting breast cancer with whole columns moved by 2^-48 asked for a tolerance of
67 where the outputs' range is 5; on three kinds of processor it gives the same bits.)
"""

from __future__ import annotations

import dataclasses
import math
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float64

from protocol.errors import TrainingError
from protocol.game.sampling import Draw, pairs, seed_from_integer
from protocol.numerics import Exact
from protocol.recipes import Logistic, Sgd, Sklearn
from protocol.task import Task
from protocol.training import Dataset, Trainer
from protocol.training.descent.networks import OwnFactory, own_factory
from protocol.training.scikit import end_processes
from prover.progress import Watcher, unwatched

N_REPEATED = 20
"""Subsets trained again in every way."""

SAFETY = 100.0
"""Tolerance over the largest difference seen on this machine, where a model is an optimum."""

SAFETY_OF_STEPS = 10.0
"""Likewise for gradient descent, whose differences are those of a rounding amplified, on hundreds of subsets."""

LEAST_TOLERANCE = 1e-9
"""As a share of the ranges' median width; its price in the gap is its square, about 1e-16 of Var f."""

_ROUNDING = 2.0**-23


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """Subsets of a task to be trained again and again: the first ``n`` of ``draw``."""

    task: Task
    dataset: Dataset
    draw: Draw
    n: int
    device: str = "cpu"
    factory: OwnFactory | None = None

    def outputs(self, **changes: Any) -> Float64[np.ndarray, "m t"]:
        """Return the outputs before clipping, of a trainer with these arguments changed."""
        task: Task = changes.get("task", self.task)
        given: dict[str, Any] = {"task": task, "dataset": self.dataset, "device": self.device, "factory": self.factory}
        evaluations = np.arange(self.n, dtype=np.int64)
        trainer = Trainer(**(given | changes))
        return trainer.raw_outputs(self.draw.subsets(task, evaluations), self.draw.training_seeds(task, evaluations))


Way: TypeAlias = Callable[[Trial], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The largest |difference| that a way of training makes to an output, in the targets' unit."""

    way: str
    largest: float


def ways(task: Task, device: str) -> Mapping[str, Way]:
    """Return the ways in which a task's trainings are done again, by what they are called."""
    found: dict[str, Way] = dict(_ANY)
    if not device.startswith("cpu"):
        found["on the processor"] = lambda trial: trial.outputs(device="cpu")
    elif torch.cuda.is_available():
        found["on cuda"] = lambda trial: trial.outputs(device="cuda")
    if isinstance(task.numerics, Exact):
        return found
    return found | dict(heavy_tailed(task) or _OPTIMUM)


def heavy_tailed(task: Task) -> Mapping[str, Way]:
    """Return those of a task's ways whose differences few subsets would miss; none where models are optima."""
    if isinstance(task.numerics, Exact):
        return {}
    match task.recipe:
        case Sgd():
            return _STEPS
        case Sklearn():
            return _ESTIMATOR
        case _:
            return {}


def differences(
    trial: Trial,
    reference: Float64[np.ndarray, "m t"],
    watch: Watcher = unwatched,
    chosen: Mapping[str, Way] | None = None,
) -> tuple[Difference, ...]:
    """Return what each way changes of the trial's outputs, ``reference``, shape (n, T), as trained the usual way.

    Parameters
    ----------
    chosen : the ways to take; by default all of :func:`ways`.

    Raises
    ------
    TrainingError
        A training gave no number; or the profile is exact, and a way changes a bit.
    """
    found = []
    chosen = ways(trial.task, trial.device) if chosen is None else chosen
    for k, (name, way) in enumerate(chosen.items()):
        largest = float(np.abs(way(trial) - reference).max())
        if isinstance(trial.task.numerics, Exact) and largest:
            raise TrainingError(f"profile exact: expected the same bits {name}, got {largest:g} apart; report it")
        found.append(Difference(way=name, largest=largest))
        watch("again", (k + 1) * trial.n, len(chosen) * trial.n)
    return tuple(found)


def calibrate(
    task: Task, dataset: Dataset, *, n: int, device: str, factory: str | None, watch: Watcher = unwatched
) -> tuple[tuple[Difference, ...], float]:
    """Return what every way changes on ``n`` subsets, and the tolerance to propose.

    Parameters
    ----------
    dataset : the task's own, from ``training.load``.
    factory : ``package.module:function`` of the user's own network, if the task has one.

    Raises
    ------
    ArgumentError, TrainingError
        As ``training.Trainer`` and :func:`differences` say.
    """
    draw = Draw(seed=seed_from_integer("pilot", task.data.split_seed), design=pairs(n, complements=False))
    own = own_factory(factory) if factory else None
    trial = Trial(task=task, dataset=dataset, draw=draw, n=n, device=device, factory=own)
    found = differences(trial, trial.outputs(), watch)
    return found, tolerance(task, found, float(np.median(task.targets.width)))


def tolerance(task: Task, found: tuple[Difference, ...], width: float) -> float:
    """Return the tolerance to propose for targets of a median range ``width``: two digits, rounded up."""
    if isinstance(task.numerics, Exact):
        return 0.0
    safety = SAFETY_OF_STEPS if isinstance(task.recipe, Sgd) else SAFETY
    largest = max((difference.largest for difference in found), default=0.0)
    return rounded_up(max(safety * largest, LEAST_TOLERANCE * width))


def rounded_up(value: float) -> float:
    """Return the least number of two digits that is no smaller than ``value``."""
    if value == 0:
        return 0.0
    digits = 1 - math.floor(math.log10(value))
    return max(round(math.ceil(value * 10.0**digits) / 10.0**digits, digits), value)


def _on_one_thread(trial: Trial) -> Float64[np.ndarray, "m t"]:
    n_threads = torch.get_num_threads()
    try:
        return trial.outputs(n_threads=1)
    finally:
        torch.set_num_threads(n_threads)


def _rows_reversed(trial: Trial) -> Float64[np.ndarray, "m t"]:
    """Add the training rows up in the other order."""
    dataset = trial.dataset
    backwards = dataclasses.replace(
        dataset,
        x_train=dataset.x_train[::-1].copy(),
        y_train=dataset.y_train[::-1].copy(),
        unit_of_row=dataset.unit_of_row[::-1].copy(),
    )
    return trial.outputs(dataset=backwards)


def _closer_to_the_optimum(trial: Trial) -> Float64[np.ndarray, "m t"]:
    """Stop a tenth as far from the optimum: rounding may cost another machine, or save it, a step."""
    recipe = trial.task.recipe
    if isinstance(recipe, Logistic):
        recipe = dataclasses.replace(recipe, gradient_tolerance=recipe.gradient_tolerance / 10)
    return trial.outputs(task=dataclasses.replace(trial.task, recipe=recipe))


def _features_moved(trial: Trial) -> Float64[np.ndarray, "m t"]:
    """Move every feature of every row by up to a rounding of float32, the same on every machine."""
    x = trial.dataset.x_train
    moves = np.random.default_rng(0).integers(-1, 2, size=x.shape)  # what it draws changes no output of the task
    return trial.outputs(dataset=dataclasses.replace(trial.dataset, x_train=x * (1 + _ROUNDING * moves)))


def _as_on_an_older_processor(trial: Trial) -> Float64[np.ndarray, "m t"]:
    """Train in a process whose OpenBLAS, if that is what numpy has, takes the processor for an older one."""
    older = _OLDER.get(platform.machine().lower(), "")
    with _environment("OPENBLAS_CORETYPE", older), ProcessPoolExecutor(1, mp_context=get_context("spawn")) as one:
        return one.submit(_outputs_in_a_process, trial, torch.get_num_threads()).result()


def _outputs_in_a_process(trial: Trial, n_threads: int) -> Float64[np.ndarray, "m t"]:
    try:
        return trial.outputs(n_threads=n_threads)
    finally:
        end_processes()


_OLDER = {"x86_64": "Prescott", "amd64": "Prescott", "aarch64": "ARMV8", "arm64": "ARMV8"}


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set a variable for processes that start meanwhile."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


_ANY: Mapping[str, Way] = {
    "in batches of 7": lambda trial: trial.outputs(batch_size=7),
    "one by one": lambda trial: trial.outputs(batch_size=1),
    "on one thread": _on_one_thread,
}
_OPTIMUM: dict[str, Way] = {
    "with rows in the other order": _rows_reversed,
    "closer to the optimum": _closer_to_the_optimum,
}
_STEPS: Mapping[str, Way] = {"with features moved by a rounding": _features_moved}
_ESTIMATOR: Mapping[str, Way] = {"as on an older processor": _as_on_an_older_processor}
