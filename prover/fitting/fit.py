"""Retrainings to a claim: scores by ridge, LASSO or least squares, their penalty chosen by its held-out gap.

At p = 1/2 the scores are fitted to odd parts, y = (f(x) - f(1-x))/2 on x - 1/2, which rids them
of the intercept and of every even interaction (THEORY 2); else to f less its mean on x - p.

Small ridge problems are solved exactly (``direct``), all others by products with packed subsets (``blockwise``).

Letters: n independent evaluations, N units, T targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64

from protocol.claim import Claim, Figures
from protocol.errors import ArgumentError
from protocol.game.harmonic import coefficients_from_weights
from protocol.task import Task
from prover.fitting import extrapolation
from prover.fitting.blockwise import Progress, Solution, fit_blockwise
from prover.fitting.design import Design
from prover.fitting.direct import fit_direct, is_small
from prover.fitting.extrapolation import Moments
from prover.fitting.heldout import Quality, Spread, fitted_part, quality, spread
from prover.fitting.method import MIN_EVALUATIONS, Method
from prover.fitting.packed import PackedSubsets
from prover.fitting.solvers import solver_for

__all__ = ["MIN_EVALUATIONS", "Fit", "Method", "Moments", "fit", "judge"]

_DOUBLE_VALUES = 1 << 24  # characters up to which float64 costs little


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """A claim and what is known of it.

    quality : held-out figures per target, of claims fitted to four fifths of the evaluations, so a little worse than
        the claim's own.
    figures : means over targets, moved to all evaluations where they are plenty (``prover.fitting.extrapolation``);
        the gap with its standard error added.
    penalty : lambda of ridge, kappa of LASSO, 0 of least squares. n_evaluations : n. n_fitted : those
        behind ``quality``. moments : for planning.
    """

    claim: Claim
    quality: Quality
    figures: Figures
    penalty: float
    n_evaluations: int
    n_fitted: float
    moments: Moments
    method: Method

    def evaluations_for(self, gap: float) -> float:
        """Return about how many independent evaluations it takes to state a relative gap of ``gap``, above 0."""
        return extrapolation.needed(
            self.method, self.moments, self.quality, self.figures,
            gap=gap, n_fitted=self.n_fitted, n=self.n_evaluations, n_units=self.claim.n_units,
        )  # fmt: skip


def fit(
    task: Task,
    subsets: PackedSubsets,
    outputs: Float64[np.ndarray, "n s t"],
    *,
    method: Method = Method.RIDGE,
    device: str = "cpu",
    on_progress: Progress = lambda done, total: None,
) -> Fit:
    """Return the claim that fits the outputs best, judged by its held-out gap.

    Parameters
    ----------
    subsets : n independent subsets, at least ``MIN_EVALUATIONS``, for least squares 1.5 a unit.
    outputs : shape (n, s, T); s = 2 at p = 1/2, the subset's outputs and its complement's; else s = 1.
    device : where the linear algebra runs.
    on_progress : told (tried, at most) after each penalty.

    Raises
    ------
    ArgumentError
        Too few evaluations, or scores that LASSO's memory does not hold.
    """
    n, sides = len(subsets), outputs.shape[1]
    method.check_enough(n, task.n_units, sides)
    spread_ = spread(outputs, task.tolerance)
    found = _solution(task, subsets, outputs, spread_, method, device, on_progress)
    known = extrapolation.moments(method, found.quality, spread_, n_fitted=found.n_fitted, n_units=task.n_units)
    figures = extrapolation.figures(
        method, found.quality, known, n_fitted=found.n_fitted, n=n, n_units=task.n_units, sides=sides
    )
    claim = Claim(
        task_digest=task.digest,
        intercepts=outputs.mean(axis=(0, 1)) - task.measure.p * found.scores.sum(axis=1),
        scores=found.scores,
    )
    return Fit(
        claim=claim, quality=found.quality, figures=figures, penalty=found.penalty, n_evaluations=n,
        n_fitted=found.n_fitted, moments=known, method=method,
    )  # fmt: skip


def judge(
    task: Task,
    claim: Claim,
    subsets: PackedSubsets,
    outputs: Float64[np.ndarray, "n s t"],
    *,
    device: str = "cpu",
) -> Quality:
    """Return the figures of a claim made elsewhere, from evaluations it has never seen; arguments as in :func:`fit`."""
    if len(subsets) < 2:
        raise ArgumentError(f"retrainings: expected at least {2 * outputs.shape[1]} to judge a claim by, got too few")
    design = _design(task, subsets, device)
    coefficients = torch.tensor(coefficients_from_weights(claim.scores, task.measure.p).T, device=device)
    residuals = torch.tensor(fitted_part(outputs), device=device) - design.times(coefficients)
    return quality([(design, residuals)], spread(outputs, task.tolerance), task.n_targets)


def _solution(
    task: Task,
    subsets: PackedSubsets,
    outputs: Float64[np.ndarray, "n s t"],
    spread_: Spread,
    method: Method,
    device: str,
    on_progress: Progress,
) -> Solution:
    y = torch.tensor(fitted_part(outputs), device=device)
    if method is Method.RIDGE and is_small(len(subsets), task.n_units):
        return fit_direct(subsets.unpacked(), task.measure.p, y, spread_, on_progress)
    design = _design(task, subsets, device)
    return fit_blockwise(design, y, spread_, solver_for(method, design, y), on_progress)


def _design(task: Task, subsets: PackedSubsets, device: str) -> Design:
    small = len(subsets) * task.n_units <= _DOUBLE_VALUES
    return Design(subsets, task.measure.p, device=device, precision=torch.float64 if small else torch.float32)
