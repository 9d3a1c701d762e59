"""Kernel ridge regression of many subsets at once, in closed form.

The model of a subset S scores K_QS (K_SS + l2 I)^-1 y_S at the target rows Q. K is made once, of all
training rows, and each subset's system is solved in its own rows of it (``submatrices``).

A linear kernel has the same model in its features' weights, (X_S^T X_S + l2 I)^-1 X_S^T y_S: ridge
without an intercept, from sums over units. That route is taken where it is less arithmetic, or K too
large to keep. Which one follows from the task and the data alone, so that both parties take the same.

Memory: K and K_Q, (n + q + 1)(n + 1) numbers of 8 bytes, at most ``MAX_KERNEL_BYTES``: what a
verifier's machine holds, with the system of one large subset beside it.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from protocol.errors import InternalError, TaskFileError, TrainingError
from protocol.recipes import Kernel, KernelKind, Ridge
from protocol.training.descent.networks import OwnFactory
from protocol.training.descent.sgd import location_and_scale
from protocol.training.losses import coded
from protocol.training.memory import is_memory
from protocol.training.optima.ridge import RidgeSolver
from protocol.training.optima.submatrices import solve_submatrices
from protocol.training.optima.tangent_kernel import tangent_kernel

MAX_KERNEL_BYTES = 1 << 33

ADVICE = "raise recipe.l2: the kernel of the subset's rows is singular to working precision"

_BLOCK_BYTES = 1 << 25
_CANCELLED = 2.0**-10  # a squared distance below this share of the squares it is the difference of is made anew


class KernelSolver:
    """Recipe ``kernel`` on any subset of units.

    Parameters
    ----------
    x_train, labels : shapes (n, d) float64 and (n,), class ids, or values for a regression.
    n_classes : C, or 0 for a regression.
    unit_of_row : shape (n,), int64, from 0 to ``n_units`` - 1.
    x_target : shape (q, d), float64: the rows that are scored.
    p : probability that a unit is in; only says which route is less arithmetic.
    own : the user's own factory, where a tangent kernel's network is.

    Raises
    ------
    TaskFileError
        The kernel of so many rows is beyond ``MAX_KERNEL_BYTES``.
    TrainingError
        There is no memory for it here, or it is not finite.
    ArgumentError, TaskFileError, TrainingError
        As ``tangent_kernel`` says.
    """

    advice = ADVICE

    def __init__(
        self,
        recipe: Kernel,
        x_train: Float64[Tensor, "n d"],
        labels: Int64[Tensor, " n"] | Float64[Tensor, " n"],
        n_classes: int,
        unit_of_row: Int64[Tensor, " n"],
        n_units: int,
        x_target: Float64[Tensor, "q d"],
        p: float,
        own: OwnFactory | None,
    ) -> None:
        self._mean = 0.0 if n_classes else location_and_scale(labels)[0]
        y = coded(labels, n_classes) if n_classes else (labels - self._mean).unsqueeze(1)
        self._models: RidgeSolver | _InRows
        if recipe.kernel is KernelKind.LINEAR and _weights_are_cheaper(x_train, n_units, len(x_target), p):
            penalty = Ridge(l2=recipe.l2)
            self._models = RidgeSolver(penalty, x_train, y, unit_of_row, n_units, x_target, has_intercept=False)
        else:
            self._models = _InRows(recipe, x_train, y, unit_of_row, x_target, own)

    @property
    def bytes_per_subset(self) -> int:
        """Working memory that one more subset in a batch takes, about."""
        return self._models.bytes_per_subset

    def scores(self, subsets: Bool[Tensor, "m n"]) -> Float64[Tensor, "m q c"]:
        """Return the scores at the target rows of a model per subset; NaN where it cannot be solved."""
        return self._models.scores(subsets).add_(self._mean)


class _InRows:
    """The models of subsets in terms of their rows; parameters as of :class:`KernelSolver`, y less its mean."""

    def __init__(
        self,
        recipe: Kernel,
        x_train: Float64[Tensor, "n d"],
        y: Float64[Tensor, "n c"],
        unit_of_row: Int64[Tensor, " n"],
        x_target: Float64[Tensor, "q d"],
        own: OwnFactory | None,
    ) -> None:
        n, self._l2, self._unit_of_row = len(x_train), recipe.l2, unit_of_row
        _check_size(n, len(x_target))
        # Row n is nobody's, and its kernel with every row is 0: what fills up a smaller subset.
        x = torch.cat([x_train, torch.zeros_like(x_train[:1]), x_target])
        try:
            kernel = _kernel(recipe, x, n, own)
        except (MemoryError, RuntimeError) as error:
            if not is_memory(error):
                raise
            raise TrainingError(_no_memory(n, len(x_target), x.device)) from error
        self._matrix, self._of_target = kernel[: n + 1], kernel[n + 1 :]
        self._y = torch.nn.functional.pad(y, (0, 0, 0, 1))

    @property
    def bytes_per_subset(self) -> int:
        """Working memory that one more subset in a batch takes, about, beside a tile's systems."""
        n, c = len(self._y), self._y.shape[1]
        return 11 * n + 8 * n * c + 32 * c * len(self._of_target)

    def scores(self, subsets: Bool[Tensor, "m n"]) -> Float64[Tensor, "m q c"]:
        """Return the scores at the target rows of a model per subset; NaN where it cannot be solved."""
        inside = subsets.index_select(1, self._unit_of_row)
        alphas, failed = solve_submatrices(self._matrix, self._y, inside, self._l2)
        flat = alphas.flatten(0, 1) @ self._of_target.T
        scores = flat.view(*alphas.shape[:2], -1).mT.contiguous()
        scores[failed] = torch.nan
        return scores


def _weights_are_cheaper(x: Float64[Tensor, "n d"], n_units: int, q: int, p: float) -> bool:
    """Whether a linear kernel's subsets are solved in d weights rather than in their rows."""
    n, d = x.shape
    if d > n:
        return False
    in_weights = min(n_units, 2 * p * n) * d**2 + d**3 / 3
    return in_weights <= (p * n) ** 3 / 3 or _kernel_bytes(n, q) > MAX_KERNEL_BYTES


def _kernel(recipe: Kernel, x: Float64[Tensor, "r d"], n: int, own: OwnFactory | None) -> Float64[Tensor, "r n1"]:
    """Return k of every row and each of the first n + 1, those of row n set to 0."""
    match recipe.kernel:
        case KernelKind.LINEAR:
            kernel = x @ x[: n + 1].T
        case KernelKind.RBF:
            kernel = _radial(x - x[:n].mean(dim=0), n + 1, recipe.gamma)  # centred, so that few distances cancel
        case KernelKind.NTK:
            if recipe.network is None:
                raise InternalError("a tangent kernel without a network")
            kernel = tangent_kernel(recipe.network, x, n + 1, own)
    kernel[n] = 0.0
    kernel[:, n] = 0.0
    if not torch.isfinite(kernel).all():
        raise TrainingError(
            f"recipe.kernel: expected finite numbers from kernel {recipe.kernel.value}, got NaN or infinity; "
            'set data.scaling = "standard" in a new task'
        )
    return kernel


def _radial(x: Float64[Tensor, "r d"], n_columns: int, gamma: float) -> Float64[Tensor, "r n"]:
    """Return exp(-gamma |x - z|^2) of every row and each of the first ``n_columns``."""
    out = x.new_empty(len(x), n_columns)
    step = max(_BLOCK_BYTES // (8 * n_columns), 1)
    for start in range(0, len(x), step):
        squared = _squared_distances(x[start : start + step], x[:n_columns])
        torch.exp(squared.mul_(-gamma), out=out[start : start + step])
    return out


def _squared_distances(x: Float64[Tensor, "r d"], z: Float64[Tensor, "k d"]) -> Float64[Tensor, "r k"]:
    """Return |x - z|^2, right to about 2^-40 of itself whatever the rows' lengths.

    As |x|^2 + |z|^2 - 2<x, z>, one product of matrices, but from the differences where that cancels.
    """
    sums = x.square().sum(dim=1).unsqueeze(1) + z.square().sum(dim=1)
    squared = torch.addmm(sums, x, z.T, alpha=-2)
    near = torch.nonzero(~(squared > _CANCELLED * sums))
    for pairs in near.split(max(_BLOCK_BYTES // (8 * x.shape[1]), 1)):
        i, j = pairs.unbind(dim=1)
        squared[i, j] = (x[i] - z[j]).square().sum(dim=1)
    return squared


def _check_size(n: int, q: int) -> None:
    needed = _kernel_bytes(n, q)
    if needed > MAX_KERNEL_BYTES:
        raise TaskFileError(
            f"data.n_train: expected a kernel of at most {MAX_KERNEL_BYTES / 1e9:.1f} GB, got {needed / 1e9:.1f} GB of "
            f"{n} training and {q} target rows; lower data.n_train, or use recipe ridge or sgd"
        )


def _kernel_bytes(n: int, q: int) -> int:
    return 8 * (n + q + 1) * (n + 1)


def _no_memory(n: int, q: int, device: torch.device) -> str:
    return (
        f"recipe.kernel: expected memory for the kernel of {n} rows, {_kernel_bytes(n, q) / 1e9:.1f} GB and 1 GB "
        f"or so to make it, found less on {device}; use a device with more, or lower data.n_train in a new task"
    )
