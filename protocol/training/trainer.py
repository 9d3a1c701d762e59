"""The trainer: (subsets, seeds) to outputs, on one device.

Owns the batching, the device and the clipping. Refuses to know where subsets come from and what
outputs are for. A recipe's solver is made here, by its type: the one place to add another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from protocol.errors import InternalError, TrainingError
from protocol.numerics import Exact
from protocol.recipes import Kernel, Logistic, Ridge, Sgd, Sklearn
from protocol.task import Task
from protocol.training.data.datasets import Dataset
from protocol.training.descent.networks import OwnFactory
from protocol.training.descent.sgd import SgdSolver
from protocol.training.exact.solver import ExactSolver
from protocol.training.losses import coded
from protocol.training.memory import is_memory
from protocol.training.optima.kernels import KernelSolver
from protocol.training.optima.logistic import LogisticSolver
from protocol.training.optima.ridge import RidgeSolver
from protocol.training.scikit import SklearnSolver
from protocol.training.targets import outputs_from_scores

BATCH_BYTES = 1 << 27
"""Working memory of a default batch: larger ones gain nothing on a processor's caches."""

MAX_BATCH = 4096

_LESS_MEMORY = {
    Ridge.name: "fewer columns or a lower data.n_train",
    Logistic.name: "fewer columns or a lower data.n_train",
    Kernel.name: "a lower data.n_train",
    Sgd.name: "a smaller recipe.batch_size",
    Sklearn.name: "a smaller recipe.estimator or a lower data.n_train",
}
"""What makes one model of a recipe take less memory."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Outputs:
    """What a trainer returns.

    values : shape (m, T), float64, clipped into the targets' ranges.
    n_clipped : how many of the m T values lay outside.
    """

    values: Float64[np.ndarray, "m t"]
    n_clipped: int


class Solver(Protocol):
    """A recipe on a data set: many subsets to many models' scores.

    advice : what to do when a score came back NaN; about the last batch of scores.
    bytes_per_subset : working memory that one more subset in a batch takes, about.
    """

    @property
    def advice(self) -> str: ...

    @property
    def bytes_per_subset(self) -> int: ...


class UniqueOptimum(Solver, Protocol):
    """A recipe whose model is the optimum of its subset: it takes no seed."""

    def scores(self, subsets: Bool[Tensor, "m n"]) -> Float64[Tensor, "m q c"]:
        """Return the scores at the target rows of a model per subset; NaN where training failed."""
        ...


class Seeded(Solver, Protocol):
    """A recipe whose model depends on a training seed, too."""

    def scores(self, subsets: Bool[Tensor, "m n"], seeds: Int64[np.ndarray, " m"]) -> Float64[Tensor, "m q c"]:
        """Return the scores at the target rows of a model per subset; not finite where training failed."""
        ...


Scores: TypeAlias = Callable[[Tensor, np.ndarray], Tensor]
"""Subsets (m, N) and training seeds (m,) to scores (m, q, C)."""


class Trainer:
    """Trains a task's recipe on subsets of its units and reads its targets.

    Parameters
    ----------
    task : Task
    dataset : Dataset
        The task's own, from ``datasets.load``.
    device : str
        ``cpu``, ``cuda`` or ``cuda:1``. Does not affect outputs beyond the task's tolerance.
    batch_size : int or None
        Subsets trained at once, at least 1; None takes as many as ``BATCH_BYTES`` holds, or half of
        a GPU's free memory. Halves itself where memory does not hold it. Does not affect outputs.
    n_threads : int or None
        Sets torch's threads, for the whole process; None leaves them. Does not affect outputs.
    factory : OwnFactory or None
        Where the user's own network is, for a recipe that has one. Does not affect outputs: the
        digest in the recipe decides, of the file and of the function in it.

    Raises
    ------
    TrainingError
        The device is not there or its memory too small, or a network has a layer that cannot be trained so.
    ArgumentError, TaskFileError
        The recipe's network is the user's own and not given, or the data do not fit it.
    """

    def __init__(
        self,
        task: Task,
        dataset: Dataset,
        *,
        device: str = "cpu",
        batch_size: int | None = None,
        n_threads: int | None = None,
        factory: OwnFactory | None = None,
    ) -> None:
        if dataset.n_units != task.n_units:
            raise InternalError(f"trainer: expected a data set of {task.n_units} units, got {dataset.n_units}")
        if batch_size is not None and batch_size < 1:
            raise InternalError(f"trainer: expected a batch of at least 1 subset, got {batch_size}")
        if n_threads is not None:
            torch.set_num_threads(n_threads)
        self._task, self._device = task, _device(device)
        try:
            self._labels = self._tensor(dataset.y_test[list(task.targets.rows)])
            self._solver, self._scores = self._make_solver(dataset, factory)
        except (MemoryError, RuntimeError) as error:
            if not is_memory(error):
                raise
            raise TrainingError(
                f"recipe {task.recipe.name}: expected memory for the data and what it sets up on {self._device}, found "
                "less; use a device with more, or a lower data.n_train in a new task"
            ) from error
        held = _batch_bytes(self._device) // self._solver.bytes_per_subset
        self._batch_size = batch_size or min(max(held, 1), MAX_BATCH)

    def outputs(self, subsets: Bool[np.ndarray, "m n"], seeds: Int64[np.ndarray, " m"]) -> Outputs:
        """Return the clipped outputs of a model per subset.

        Parameters
        ----------
        subsets : shape (m, N), True where a unit is in.
        seeds : shape (m,), training seeds.

        Raises
        ------
        TrainingError
            A training gave no number; the message names the subset's row and its seed.
        """
        raw = self.raw_outputs(subsets, seeds)
        lo, hi = self._task.targets.lo, self._task.targets.hi
        n_clipped = int(np.count_nonzero((raw < lo) | (raw > hi)))
        return Outputs(values=np.clip(raw, lo, hi), n_clipped=n_clipped)

    def raw_outputs(
        self, subsets: Bool[np.ndarray, "m n"], seeds: Int64[np.ndarray, " m"]
    ) -> Float64[np.ndarray, "m t"]:
        """Return the outputs before clipping, shape (m, T); arguments and errors as :meth:`outputs`."""
        m, n = subsets.shape
        if n != self._task.n_units or seeds.shape != (m,):
            raise InternalError(
                f"trainer: expected subsets (m, {self._task.n_units}) and seeds (m,), got {subsets.shape}"
            )
        raw = np.empty((m, self._task.n_targets), dtype=np.float64)
        done, advice = 0, ""
        while done < m:
            rows = slice(done, min(done + self._batch_size, m))
            values = self._values(subsets[rows], seeds[rows])
            if values is None:
                continue  # with half the batch
            raw[rows] = values
            done = rows.stop
            if not advice and not np.isfinite(values).all():
                advice = self._solver.advice
        lost = np.flatnonzero(~np.isfinite(raw).all(axis=1))
        if lost.size:
            row = int(lost[0])
            which = f"subset {row} (seed {int(seeds[row])}, {int(subsets[row].sum())} of {n} units)"
            raise TrainingError(
                f"recipe {self._task.recipe.name}: expected a number from {which}, "
                f"got none ({lost.size} of {m} subsets); {advice}",
                row=row,
            )
        return raw

    def _values(
        self, subsets: Bool[np.ndarray, "m n"], seeds: Int64[np.ndarray, " m"]
    ) -> Float64[np.ndarray, "m t"] | None:
        """Return the outputs of a batch; None, and half the size for the next, where memory did not hold it."""
        try:
            scores = self._scores(self._tensor(subsets), seeds)
            values = outputs_from_scores(scores, self._labels, self._task.targets, self._task.recipe)
            return np.asarray(values.cpu().numpy())
        except (MemoryError, RuntimeError) as error:
            if not is_memory(error):
                raise
            if len(subsets) == 1:
                raise TrainingError(
                    f"recipe {self._task.recipe.name}: expected memory for one model on {self._device}, found less; "
                    f"use a device with more, or {_LESS_MEMORY[self._task.recipe.name]} in a new task"
                ) from error
        self._batch_size = -(-len(subsets) // 2)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.tensor(array, device=self._device)

    def _make_solver(self, dataset: Dataset, factory: OwnFactory | None) -> tuple[Solver, Scores]:
        task, recipe = self._task, self._task.recipe
        x_train, x_target = self._tensor(dataset.x_train), self._tensor(dataset.x_test[list(task.targets.rows)])
        labels, unit_of_row = self._tensor(dataset.y_train), self._tensor(dataset.unit_of_row)
        n_classes = task.data.n_classes
        match recipe:
            case Ridge():
                y = coded(labels, n_classes) if n_classes else labels.unsqueeze(1)
                return _unique(RidgeSolver(recipe, x_train, y, unit_of_row, task.n_units, x_target))
            case Logistic():
                return _unique(
                    LogisticSolver(
                        recipe, x_train, labels, n_classes, unit_of_row, task.n_units, x_target, task.measure.p
                    )
                )
            case Kernel():
                n_units, p = task.n_units, task.measure.p
                return _unique(
                    KernelSolver(recipe, x_train, labels, n_classes, unit_of_row, n_units, x_target, p, factory)
                )
            case Sgd() if isinstance(task.numerics, Exact):
                return _seeded(ExactSolver(recipe, task.numerics, x_train, labels, n_classes, unit_of_row, x_target))
            case Sgd():
                return _seeded(SgdSolver(recipe, x_train, labels, n_classes, unit_of_row, x_target, factory))
            case Sklearn():
                return _seeded(SklearnSolver(recipe, dataset, n_classes, task.targets.rows, torch.get_num_threads()))


def _unique(solver: UniqueOptimum) -> tuple[Solver, Scores]:
    return solver, lambda subsets, _: solver.scores(subsets)


def _seeded(solver: Seeded) -> tuple[Solver, Scores]:
    return solver, solver.scores


def _batch_bytes(device: torch.device) -> int:
    if device.type != "cuda":
        return BATCH_BYTES
    free, _ = torch.cuda.mem_get_info(device)
    return int(free) // 2


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # a torch built without CUDA asserts
        raise TrainingError(
            f"device {name!r}: expected one that torch can use here, got {' '.join(str(error).split())[:120]}; "
            "use device cpu"
        ) from error
    return device
