"""Fitting at any size: products with packed subsets, and a penalty chosen by the gap on what was held out.

Of large problems the last fifth of the evaluations is held out once: there its gap is known to some
sqrt(2 N) / n_heldout of the residual's variance for each target, far less over many, and each further fold would cost
as much again. Small ones are cross-validated.

What is claimed is a last fit to all evaluations at the penalty chosen; but ridge of less than two evaluations a unit is
the mean of the folds' scores, as in ``direct`` and for its reason: that is no worse than what was measured. Where one
fold chose the penalty a second one, the first fifth, is held out for that: one more fit, from nothing. Started from
the first fold's coefficients it would have seen what it is measured on: below one evaluation a unit much of a start
lies where the other evaluations say nothing, and a small penalty lets it stay there.

Owns the walk down the path. Refuses to know what is regressed how (``prover.fitting.solvers``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Float64
from torch import Tensor

from protocol.errors import ArgumentError
from protocol.game.harmonic import weights_from_coefficients
from prover.fitting.design import Design
from prover.fitting.heldout import Characters, Quality, Spread, gap_estimate, quality
from prover.fitting.method import N_FOLDS, PLENTY_PER_UNIT
from prover.fitting.solvers import Solver, Start

_CHEAP_VALUES = 1 << 24  # characters up to which each fold is held out in turn

Progress = Callable[[int, int], None]
"""Told (done, total) as a long computation goes on."""

_Held = list[tuple[Characters, Float64[Tensor, "_ t"]]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Solution:
    """Scores fitted to all evaluations, and the held-out figures of those fitted to a part of them.

    scores : inclusion weights, shape (T, N). n_fitted : evaluations behind the scores that ``quality`` is of.
    """

    scores: Float64[np.ndarray, "t n_units"]
    penalty: float
    quality: Quality
    n_fitted: float


@dataclass(frozen=True, kw_only=True, eq=False)
class _Split:
    """A fold that is held out, and all others."""

    train: Design
    y: Float64[Tensor, "m t"]
    held: Design
    y_held: Float64[Tensor, "h t"]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Tried:
    """One penalty of the path: its summed held-out relative gap, and each split's coefficients and residuals."""

    step: int
    gap: float
    coefficients: Sequence[Float[Tensor, "n_units t"]]
    held: _Held


def fit_blockwise(
    design: Design, y: Float64[Tensor, "n t"], spread_: Spread, solver: Solver, on_progress: Progress
) -> Solution:
    """Return the scores of the penalty of least held-out gap.

    Parameters
    ----------
    y : shape (n, T), what is fitted.
    on_progress : told (tried, at most) after each penalty.

    Raises
    ------
    ArgumentError
        Not even the path's first penalty was solved.
    """
    splits = _splits(design, y)
    best = _walk(splits, spread_, solver, on_progress)
    n_first = len(splits[0].train)
    if solver.averages and n_first < PLENTY_PER_UNIT * design.n_units:
        found = _measured_twice(best, splits, solver, design, y) if len(splits) == 1 else best
        coefficients = sum(found.coefficients[1:], found.coefficients[0]) / len(found.coefficients)
    else:
        found = best
        coefficients = solver.refit(design, y, best.step, Start(coefficients=best.coefficients[0], n=n_first))
    weights = weights_from_coefficients(coefficients.T.double().cpu().numpy(), design.p)
    return Solution(
        scores=np.ascontiguousarray(weights),
        penalty=solver.penalties[best.step],
        quality=quality(found.held, spread_, y.shape[1]),
        n_fitted=len(design) - len(design) / N_FOLDS,
    )


def _measured_twice(
    best: _Tried, splits: Sequence[_Split], solver: Solver, design: Design, y: Float64[Tensor, "n t"]
) -> _Tried:
    """Return the penalty with a second fold's coefficients and residuals beside the first one's."""
    n, m = len(design), len(design) - len(splits[0].train)
    first, others = slice(0, m), slice(m, n)
    second = _Split(train=design.rows(others), y=y[others], held=design.rows(first), y_held=y[first])
    coefficients = solver.refit(second.train, second.y, best.step)
    residuals = second.y_held - second.held.times(coefficients).double()
    return replace(best, coefficients=[*best.coefficients, coefficients], held=[*best.held, (second.held, residuals)])


def _splits(design: Design, y: Float64[Tensor, "n t"]) -> list[_Split]:
    n = len(design)
    edges = [n * k // N_FOLDS for k in range(N_FOLDS + 1)]
    if n * design.n_units > _CHEAP_VALUES:
        m = edges[-2]
        first, last = slice(0, m), slice(m, n)
        return [_Split(train=design.rows(first), y=y[first], held=design.rows(last), y_held=y[last])]
    return [_cut(design, y, slice(start, stop)) for start, stop in pairwise(edges)]


def _cut(design: Design, y: Float64[Tensor, "n t"], held: slice) -> _Split:
    others = np.delete(np.arange(len(design)), held)
    return _Split(train=design.rows(others), y=y[others], held=design.rows(held), y_held=y[held])


def _walk(splits: Sequence[_Split], spread_: Spread, solver: Solver, on_progress: Progress) -> _Tried:
    """Return the penalty of least gap, walking down the path until it has risen or the path cannot go on."""
    best, step = None, -1
    paths = zip(*(solver.path(split.train, split.y, n_paths=len(splits)) for split in splits), strict=False)
    try:
        for step, coefficients in enumerate(paths):
            tried = _tried(step, splits, coefficients, spread_)
            on_progress(step + 1, len(solver.penalties))
            if best is None or tried.gap < best.gap:
                best = tried
            elif step - best.step >= solver.patience(step):
                break
    except ArgumentError:
        if best is None or best.step == step:  # else the gap has risen already, and what was found is good
            raise
    if best is None:
        raise ArgumentError("fit: expected the first penalty to be solved, got no end: train more, or fit ridge")
    return best


def _tried(
    step: int, splits: Sequence[_Split], coefficients: Sequence[Float[Tensor, "n_units t"]], spread_: Spread
) -> _Tried:
    held: _Held = [
        (split.held, split.y_held - split.held.times(c).double()) for split, c in zip(splits, coefficients, strict=True)
    ]
    gaps = [spread_.relative(gap_estimate(features, residuals).cpu().numpy()) for features, residuals in held]
    return _Tried(step=step, gap=float(np.sum(gaps)), coefficients=coefficients, held=held)
