"""Retrainings to a claim: a ridge datamodel whose penalty is chosen by its held-out gap.

At p = 1/2 the scores are fitted to odd parts, y = (f(x) - f(1-x))/2 on x - 1/2, which rids them
of the intercept and of every even interaction (THEORY 2); else to f less its mean on x - p.

Letters: n independent evaluations, N units, T targets, d = min(n, N), lambda the penalty on
Fourier coefficients (so that the best is about v N / W_1 whatever n is; ``prover.fitting.curve``).

The characters' n x N matrix is replaced, for n < N, by its image under an isometry, n x n, made a
block of units at a time. Each penalty is one Cholesky factorisation a fold (measured at d = 1000:
0.03 s, a diagonalisation 1.2 s), and few are tried, since the gap falls and then rises along the
path. Memory is about 8 (n d + (K + 2) d^2) bytes for K folds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from protocol.claim import Claim, Figures
from protocol.errors import ArgumentError
from protocol.harmonic import characters, weights_from_coefficients
from protocol.task import Task
from prover.fitting.curve import noise_from_moments, ridge_gap
from prover.fitting.heldout import Quality, Spread, fitted_part, gap_estimate, quality, spread

N_FOLDS = 5
MIN_EVALUATIONS = 4 * N_FOLDS
"""Fewer leave a fold with too few to estimate a gap from."""

PENALTIES_PER_UNIT = tuple(10.0 ** (k / 2) for k in range(-10, 5))
"""lambda / N along the path, 1e-5 to 1e2: noise from 1e-5 to 100 times W_1, in steps of sqrt(10)."""

_FIRST_PENALTY = PENALTIES_PER_UNIT.index(1e-2)
_BLOCK_VALUES = 1 << 25

Progress = Callable[[int, int], None]
"""Told (done, total) as a long computation goes on."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """What planning needs, as shares of Var f and means over targets (``prover.fitting.curve``).

    signal : W_1. noise : v, the variance in what is fitted that no scores explain.
    """

    signal: float
    noise: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """A claim and what is known of it.

    quality : held-out figures per target, by cross-validation: those of claims fitted to
        1 - 1/K of the evaluations, so a little worse than the claim's own.
    figures : means over targets, moved from 1 - 1/K of the evaluations to all of them by ``prover.fitting.curve``.
    penalty : the lambda chosen. n_evaluations : n. moments : for planning.
    """

    claim: Claim
    quality: Quality
    figures: Figures
    penalty: float
    n_evaluations: int
    moments: Moments


def fit(
    task: Task,
    subsets: Bool[np.ndarray, "n n_units"],
    outputs: Float64[np.ndarray, "n s t"],
    *,
    device: str = "cpu",
    on_progress: Progress = lambda done, total: None,
) -> Fit:
    """Return the claim that fits the outputs best, judged by its held-out gap.

    Parameters
    ----------
    subsets : shape (n, N), n independent subsets, at least ``MIN_EVALUATIONS``.
    outputs : shape (n, s, T); s = 2 at p = 1/2, the subset's outputs and its complement's; else s = 1.
    device : where the linear algebra runs.
    on_progress : told (tried, at most) after each penalty.

    Raises
    ------
    ArgumentError
        Too few evaluations.
    """
    n = len(subsets)
    if n < MIN_EVALUATIONS:
        raise ArgumentError(f"retrainings: expected at least {MIN_EVALUATIONS * outputs.shape[1]} to fit, got too few")
    spread_, y = spread(outputs, task.numerics.tolerance), torch.tensor(fitted_part(outputs), device=device)
    features, to_weights = _features(subsets, task.p, device)
    folds = _Folds(features, y, task.n_units)
    step = _best_step(folds, spread_, on_progress)
    quality_ = quality(folds.heldout(step), spread_, task.n_targets)
    scores = to_weights(folds.fit_all(step))
    figures, moments = _extrapolated(quality_, spread_, n, task.n_units, outputs.shape[1])
    claim = Claim(
        task_digest=task.digest,
        intercepts=outputs.mean(axis=(0, 1)) - task.p * scores.sum(axis=1),
        scores=scores,
    )
    return Fit(
        claim=claim, quality=quality_, figures=figures, penalty=folds.penalty(step), n_evaluations=n, moments=moments
    )


def judge(
    task: Task,
    claim: Claim,
    subsets: Bool[np.ndarray, "n n_units"],
    outputs: Float64[np.ndarray, "n s t"],
    *,
    device: str = "cpu",
) -> Quality:
    """Return the figures of a claim made elsewhere, from evaluations it has never seen; arguments as in :func:`fit`."""
    if len(subsets) < 2:
        raise ArgumentError(f"retrainings: expected at least {2 * outputs.shape[1]} to judge a claim by, got too few")
    residuals = fitted_part(outputs)
    for rows in _blocks(len(subsets), task.n_units):
        residuals[rows] -= (subsets[rows] - task.p) @ claim.scores.T
    features, _ = _features(subsets, task.p, device)
    return quality(
        [(features, torch.tensor(residuals, device=device))], spread(outputs, task.numerics.tolerance), task.n_targets
    )


def _features(
    subsets: Bool[np.ndarray, "n n_units"], p: float, device: str
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
        self._gram, self._moment = features.T @ features, features.T @ y
        self._grams = [self._gram - held.T @ held for held, _ in self._held]

    def penalty(self, step: int) -> float:
        """Return lambda at a step of the path."""
        return float(PENALTIES_PER_UNIT[step] * self._n_units)

    def heldout(self, step: int) -> list[tuple[Float64[Tensor, "_ d"], Float64[Tensor, "_ t"]]]:
        """Return each fold's features, and its residuals about the fit to the other folds."""
        return [
            (held, y - held @ self._solve(gram, self._moment - held.T @ y, step))
            for (held, y), gram in zip(self._held, self._grams, strict=True)
        ]

    def fit_all(self, step: int) -> Float64[Tensor, "d t"]:
        """Return the coefficients fitted to all folds."""
        return self._solve(self._gram, self._moment, step)

    def _solve(self, gram: Float64[Tensor, "d d"], moment: Float64[Tensor, "d t"], step: int) -> Float64[Tensor, "d t"]:
        penalised = gram.clone()
        penalised.diagonal().add_(self.penalty(step))
        return torch.cholesky_solve(moment, torch.linalg.cholesky(penalised))


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


def _extrapolated(quality_: Quality, spread_: Spread, n: int, n_units: int, sides: int) -> tuple[Figures, Moments]:
    """Return the figures of the claim fitted to all n evaluations, from those of claims fitted to 1 - 1/K of them."""
    n_fold = n * (1 - 1 / N_FOLDS)
    total, residual = quality_.mean(spread_.relative(spread_.fitted)), quality_.mean(quality_.odd_residual)
    noise = noise_from_moments(n=n_fold, n_units=n_units, total=total, residual=residual)
    signal = max(total - noise, 0.0)
    moments = Moments(signal=signal, noise=noise)
    before = ridge_gap(n=n_fold, n_units=n_units, signal=signal, noise=noise)
    after = ridge_gap(n=n, n_units=n_units, signal=signal, noise=noise)
    heldout = quality_.figures(n * sides)
    figures = Figures(
        relative_gap=heldout.relative_gap * (after / before if before > 0 else 1.0),
        odd_residual=max(heldout.odd_residual - (before - after), 0.0),
        r2=min(heldout.r2 + (before - after), 1.0),
        n_retrainings=heldout.n_retrainings,
    )
    return figures, moments


def _blocks(n: int, width: int) -> Iterator[slice]:
    step = max(_BLOCK_VALUES // max(width, 1), 1)
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))
