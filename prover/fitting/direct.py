"""Ridge on small problems, solved exactly: a Gram matrix, and a Cholesky factorisation for each penalty and fold.

Letters: n independent evaluations, N units, T targets, d = min(n, N), lambda the penalty on
Fourier coefficients (so that the best is about v N / W_1 whatever n is; ``prover.fitting.curve``).

The characters' n x N matrix is replaced, for n < N, by its image under an isometry, n x n, made a
block of units at a time. Each penalty is one Cholesky factorisation a fold (measured at d = 1000:
0.03 s, a diagonalisation 1.2 s), and few are tried, since the gap falls and then rises along the
path. Memory is about 8 (n d + (K + 2) d^2) bytes for K folds.

The scores are the mean of the K folds' scores. A gap is convex in the scores, so theirs is at most the mean of
the folds', which is what was measured. A fit to all n with the same penalty has no such promise: where n is
about N and there is little noise, a penalty that n (1 - 1/K) evaluations forgive lets it fit the noise (measured
at n = N = 100: a gap of 0.95 for a held-out 0.25). For n of several N the two are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from protocol.game.harmonic import characters, weights_from_coefficients
from prover.fitting.blockwise import Progress, Solution
from prover.fitting.heldout import Dense, Spread, gap_estimate, quality
from prover.fitting.method import N_FOLDS
from prover.fitting.solvers import PENALTIES_PER_UNIT

_FIRST_PENALTY = PENALTIES_PER_UNIT.index(1e-2)
_BLOCK_VALUES = 1 << 25
_MOST_DIMENSIONS, _MOST_VALUES = 2048, 1 << 27  # at 4,000 units products take a fifth of the time; 1 GB of characters


def is_small(n: int, n_units: int) -> bool:
    """Whether n subsets of so many units are few enough to be solved here."""
    d = min(n, n_units)
    return d <= _MOST_DIMENSIONS and n * d <= _MOST_VALUES


def fit_direct(
    subsets: Bool[np.ndarray, "n n_units"],
    p: float,
    y: Float64[Tensor, "n t"],
    spread_: Spread,
    on_progress: Progress,
) -> Solution:
    """Return the scores of the penalty of least cross-validated gap, with y's device for the linear algebra.

    Parameters
    ----------
    y : shape (n, T), what is fitted.
    on_progress : told (tried, at most) after each penalty.
    """
    features, to_weights = _features(subsets, p, y.device)
    folds = _Folds(features, y, subsets.shape[1])
    step = _best_step(folds, spread_, on_progress)
    return Solution(
        scores=to_weights(folds.mean(step)),
        penalty=folds.penalty(step),
        quality=quality(folds.heldout(step), spread_, y.shape[1]),
        n_fitted=len(subsets) * (1 - 1 / N_FOLDS),
    )


def _features(
    subsets: Bool[np.ndarray, "n n_units"], p: float, device: torch.device
) -> tuple[Float64[Tensor, "n d"], Callable[[Float64[Tensor, "d t"]], Float64[np.ndarray, "t n_units"]]]:
    """Return the characters, or for n < N their image under an isometry, and the way back to inclusion weights."""
    n, n_units = subsets.shape
    if n >= n_units:
        phi = torch.tensor(characters(subsets, p), device=device)
        return phi, lambda c: np.ascontiguousarray(weights_from_coefficients(c.T.cpu().numpy(), p))
    gram = torch.zeros((n, n), dtype=torch.float64, device=device)
    for units in _blocks(n_units, n):
        block = torch.tensor(characters(subsets[:, units], p), device=device)
        gram += block @ block.T
    values, vectors = torch.linalg.eigh(gram)
    keep = values > values[-1] * n * torch.finfo(torch.float64).eps  # a subset drawn twice adds no direction
    roots, vectors = values[keep].sqrt(), vectors[:, keep]

    def to_weights(c: Float64[Tensor, "d t"]) -> Float64[np.ndarray, "t n_units"]:
        dual = ((vectors / roots) @ c).T.cpu().numpy()
        weights = np.empty((len(dual), n_units))
        for units in _blocks(n_units, n):
            weights[:, units] = weights_from_coefficients(dual @ characters(subsets[:, units], p), p)
        return weights

    return vectors * roots, to_weights


class _Folds:
    """K interleaved folds and the moments of all that is outside each."""

    def __init__(self, features: Float64[Tensor, "n d"], y: Float64[Tensor, "n t"], n_units: int) -> None:
        self._n_units = n_units
        self._held = [(features[k::N_FOLDS], y[k::N_FOLDS]) for k in range(N_FOLDS)]
        gram, self._moment = features.T @ features, features.T @ y
        self._grams = [gram - held.T @ held for held, _ in self._held]

    def penalty(self, step: int) -> float:
        """Return lambda at a step of the path."""
        return float(PENALTIES_PER_UNIT[step] * self._n_units)

    def heldout(self, step: int) -> list[tuple[Dense, Float64[Tensor, "_ t"]]]:
        """Return each fold's features, and its residuals about the fit to the other folds."""
        fits = zip(self._held, self._fits(step), strict=True)
        return [(Dense(held), y - held @ coefficients) for (held, y), coefficients in fits]

    def mean(self, step: int) -> Float64[Tensor, "d t"]:
        """Return the mean of the coefficients fitted to all but each fold."""
        return torch.stack(list(self._fits(step))).mean(dim=0)

    def _fits(self, step: int) -> Iterator[Float64[Tensor, "d t"]]:
        for (held, y), gram in zip(self._held, self._grams, strict=True):
            penalised = gram.clone()
            penalised.diagonal().add_(self.penalty(step))
            yield torch.cholesky_solve(self._moment - held.T @ y, torch.linalg.cholesky(penalised))


def _best_step(folds: _Folds, spread_: Spread, on_progress: Progress) -> int:
    """Return the step of least held-out relative gap, mean over targets and folds, walking downhill from the middle."""
    gaps: dict[int, float] = {}

    def gap(step: int) -> float:
        if step not in gaps:
            estimates = [gap_estimate(held, residuals) for held, residuals in folds.heldout(step)]
            gaps[step] = sum(float(spread_.relative(estimate.cpu().numpy()).sum()) for estimate in estimates)
            on_progress(len(gaps), len(PENALTIES_PER_UNIT))
        return gaps[step]

    best = _FIRST_PENALTY
    while True:
        nearby = [step for step in (best - 1, best, best + 1) if 0 <= step < len(PENALTIES_PER_UNIT)]
        least = min(nearby, key=gap)
        if least == best:
            return best
        best = least


def _blocks(n: int, width: int) -> Iterator[slice]:
    step = max(_BLOCK_VALUES // max(width, 1), 1)
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))
