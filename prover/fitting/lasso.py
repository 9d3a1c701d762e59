"""LASSO of many targets on packed subsets, down a path of penalties: scikit-learn's solver on small working sets.

Letters: n subsets, N units, T targets, Phi their characters, c coefficients, alpha_t = kappa sd_t the penalty of target
t: c minimises |y - Phi c|^2 / (2 n) + alpha |c|_1. kappa is one for all targets, sd_t the root mean square of y.

Of N units a sparse claim uses few. For each penalty and target a working set W of units is solved by coordinate descent
(``sklearn.linear_model.lasso_path``, on the Gram matrix of W), from the coefficients of the penalty before; then one
pass over Phi, for all targets at once, gives every unit's correlation with the residual, and units outside W that break
the optimality condition |phi_i . r| / n <= alpha join it, until none does. So what is returned is the LASSO of all N
units, not of a selection. W begins with what breaks it at the coefficients of the penalty before. The strong
rule (Tibshirani et al., JRSS B 74, 2012) would save passes, but keeps many noisy units for each that matters.

Memory is that of the Gram matrices, which are kept between penalties: 4 bytes times |W|^2 for each target (8 in small
problems, where the design is float64); and 16 times the largest |W|^2 while that one is solved, for a float64 copy and
its Cholesky factor, which is more than growing it takes. Of all paths that are walked at once that is at most
``MAX_GRAM_BYTES``. Past it a path is an error: scores so dense are ridge's.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.linalg
import torch
from jaxtyping import Float, Float64, Int64
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import lasso_path
from torch import Tensor

from protocol.errors import ArgumentError
from prover.fitting.design import Design

MAX_GRAM_BYTES = 4 << 30
_SOLVER_BYTES = 16  # an entry of the largest Gram matrix, while it is solved
PENALTIES = tuple(2.0 ** (-k / 2) for k in range(6)) + tuple(2.0 ** (-k / 4) for k in range(12, 41))
"""Shares of the penalty at which every score is 0, to a 1024th: working sets grow faster the further down they are."""

EXACT, ROUGH = 3e-3, 0.1
"""A unit joins when its correlation is beyond alpha by this share; its score would be about that share of alpha.

Rough is for choosing a penalty: it takes one pass for most, and changes no gap that is worth comparing."""

_JITTER = 1e-9  # added to a Gram's diagonal of 1, so that units that always come together do not make it singular
_SOLVER_TOLERANCE = 1e-7  # of the duality gap, as a share of the explained sum of squares
_MAX_SWEEPS = 20_000


def largest_penalty(design: Design, y: Float64[Tensor, "n t"]) -> float:
    """Return the least kappa at which every score of every target is 0; 0 where all of y is 0."""
    return _largest(design.transposed_times(y).double() / len(design), _scale(y))


def path(
    design: Design,
    y: Float64[Tensor, "n t"],
    penalties: Sequence[float],
    start: Float64[Tensor, "n_units t"] | None = None,
    *,
    slack: float = EXACT,
    n_paths: int = 1,
) -> Iterator[Float64[Tensor, "n_units t"]]:
    """Yield the coefficients of each penalty in turn.

    Parameters
    ----------
    y : shape (n, T), what is fitted, of mean 0.
    penalties : kappa, descending.
    start : coefficients near those of the first penalty.
    slack : by which share of alpha units outside a working set may break the optimality condition.
    n_paths : how many paths are walked at once, and share ``MAX_GRAM_BYTES`` evenly.

    Raises
    ------
    ArgumentError
        Working sets would need more than their share of memory, or coordinate descent does not end.
    """
    most = MAX_GRAM_BYTES // n_paths
    n, scale = len(design), _scale(y)
    moment = design.transposed_times(y).double() / n
    work = [_Target(design, moment[:, t].cpu().numpy()) for t in range(y.shape[1])]
    coefficients, correlations = torch.zeros_like(moment), moment
    if start is not None:
        coefficients, correlations = start.clone(), _correlations(design, moment, start)
        for t, target in enumerate(work):
            target.begin(start[:, t].cpu().numpy())
    for kappa in penalties:
        _join(work, correlations, kappa * scale, most)
        while True:
            for t, target in enumerate(work):
                coefficients[:, t] = torch.from_numpy(target.solve(kappa * float(scale[t])))
            correlations = _correlations(design, moment, coefficients)
            if not _join(work, correlations, kappa * (1 + slack) * scale, most):
                break
        yield coefficients.clone()


def _scale(y: Float64[Tensor, "n t"]) -> Float64[Tensor, " t"]:
    return y.square().mean(dim=0).sqrt()


def _largest(correlations: Float64[Tensor, "n_units t"], scale: Float64[Tensor, " t"]) -> float:
    return float(torch.where(scale > 0, correlations.abs().amax(dim=0) / scale, 0.0).max())


def _correlations(
    design: Design, moment: Float64[Tensor, "n_units t"], coefficients: Float64[Tensor, "n_units t"]
) -> Float64[Tensor, "n_units t"]:
    """Return phi_i . r / n of every unit and target, by one pass."""
    return moment - design.gram_times(coefficients).double() / len(design)


def _join(
    work: Sequence[_Target], correlations: Float64[Tensor, "n_units t"], threshold: Float64[Tensor, " t"], most: int
) -> bool:
    """Let units of large correlation join each target's working set; return whether any did that was not there.

    Raises :class:`ArgumentError` before any does, if all would take more than ``most`` bytes.
    """
    above = (correlations.abs() > threshold).cpu().numpy()
    sizes = [target.size_with(np.flatnonzero(above[:, t])) for t, target in enumerate(work)]
    kept = sum(target.entry_bytes * size**2 for target, size in zip(work, sizes, strict=True))
    n_bytes = kept + _SOLVER_BYTES * max(sizes) ** 2
    if n_bytes > most:
        raise ArgumentError(
            f"lasso: expected working sets of at most {most / 1e9:.1f} GB, got {max(sizes)} units for one "
            f"target and {n_bytes / 1e9:.1f} GB in all: the scores are not sparse, fit ridge"
        )
    joined = [target.join(np.flatnonzero(above[:, t])) for t, target in enumerate(work)]
    return any(joined)


class _Target:
    """One target's working set: units, the Gram matrix of their characters over n, and their coefficients."""

    def __init__(self, design: Design, moment: Float64[np.ndarray, " n_units"]) -> None:
        self._design, self._moment = design, moment
        self._units = np.zeros(0, dtype=np.int64)
        self._inside = np.zeros(design.n_units, dtype=bool)
        self._gram = np.zeros((0, 0), dtype=np.float32 if design.precision == torch.float32 else np.float64)
        self._values = np.zeros(0)
        self._solved: float | None = None  # the penalty that ``_values`` are the answer to

    @property
    def entry_bytes(self) -> int:
        """Bytes of an entry of the Gram matrix that is kept."""
        return self._gram.itemsize

    def begin(self, coefficients: Float64[np.ndarray, " n_units"]) -> None:
        """Take the units of given coefficients, and these as the point to start from."""
        self.join(np.flatnonzero(coefficients))
        self._values = coefficients[self._units]

    def size_with(self, units: Int64[np.ndarray, " k"]) -> int:
        return len(self._units) + int((~self._inside[units]).sum())

    def join(self, units: Int64[np.ndarray, " k"]) -> bool:
        """Add units that are not there yet; return whether there were any."""
        new = units[~self._inside[units]]
        if not len(new):
            return False
        together, old = np.concatenate([self._units, new]), len(self._units)
        gram = np.empty((len(together), len(together)), dtype=self._gram.dtype)
        gram[:old, :old] = self._gram
        rows = self._design.gram_of(new, together)
        rows /= len(self._design)
        gram[old:] = rows
        gram[:old, old:] = gram[old:, :old].T
        self._units, self._gram = together, gram
        self._values = np.concatenate([self._values, np.zeros(len(new))])
        self._inside[new] = True
        self._solved = None
        return True

    def solve(self, alpha: float) -> Float64[np.ndarray, " n_units"]:
        """Return the coefficients of all units, those outside the working set 0."""
        if self._solved != alpha and len(self._units):
            self._values = _coordinate_descent(self._gram, self._moment[self._units], alpha, self._values)
            self._solved = alpha
        out = np.zeros(len(self._inside))
        out[self._units] = self._values
        return out


def _coordinate_descent(
    gram: Float[np.ndarray, "w w"],
    moment: Float64[np.ndarray, " w"],
    alpha: float,
    start: Float64[np.ndarray, " w"],
) -> Float64[np.ndarray, " w"]:
    """Return the minimiser of c' G c / 2 - moment . c + alpha |c|_1.

    scikit-learn wants data, n x w of them; a Cholesky factor has the same Gram matrix and is w x w. Nothing else of
    that size is made: the factor lies as scikit-learn wants it, and may be written to.
    """
    gram = gram.astype(np.float64)
    np.fill_diagonal(gram, gram.diagonal() + _JITTER)
    try:
        factor = scipy.linalg.cholesky(gram, check_finite=False)
    except scipy.linalg.LinAlgError as error:
        raise ArgumentError(f"lasso: expected independent units, got {len(gram)} that are not: fit ridge") from error
    image = scipy.linalg.solve_triangular(factor, moment, trans=1, check_finite=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            _, values, _ = lasso_path(
                factor, image, alphas=[alpha / len(gram)], precompute=gram, Xy=moment, coef_init=start,
                tol=_SOLVER_TOLERANCE, max_iter=_MAX_SWEEPS, copy_X=False,
            )  # fmt: skip
        except ConvergenceWarning as error:
            raise ArgumentError(
                f"lasso: expected coordinate descent on {len(gram)} units to end within {_MAX_SWEEPS} sweeps: fit ridge"
            ) from error
    return np.asarray(values[:, 0])
