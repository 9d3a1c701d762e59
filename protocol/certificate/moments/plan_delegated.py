"""A prover's answers under the moment certificate: how many are asked for, how many rechecked (THEORY 7.2, 7.3).

After the pilot, which the verifier trains itself, the prover answers one round of independent pairs.
Some pairs, drawn once the answers are committed, are retrained whole; if they are clean, at most c
pairs are false but for a share of delta. The bound then holds with c false pairs wherever they do
most harm, and with every other answer off by the tolerance: nothing is conditional on the answers.

Letters: n pairs, k of them rechecked, c false ones; u the cut-off.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
from jaxtyping import Float64
from scipy.special import ndtri

from protocol.certificate import spot_check
from protocol.certificate.moments import bound, delegated
from protocol.certificate.moments.certificate import (
    ALONG_SHARE,
    SQUARES_SHARE,
    MomentsCertificate,
    relative_upper,
    squares_shown,
    variance_shown,
)
from protocol.certificate.moments.certificate import GAP_SHARE as OWN_GAP_SHARE
from protocol.certificate.moments.plan import FLOOR, Shape, pilot_design
from protocol.certificate.moments.tally import Rows, Tally
from protocol.certificate.planning import Budget, Forecast, Outlook, Plan
from protocol.certificate.terms import Across, Rounds, Terms
from protocol.errors import ArgumentError, BudgetError
from protocol.game import Game
from protocol.game.sampling import pairs

CHECK_SHARE, GAP_SHARE = 0.75, 0.15
"""Of delta: that more pairs are false than clean checks say; that the gap's bound fails."""

VARIANCE_SHARE = (1 - CHECK_SHARE - GAP_SHARE) / (ALONG_SHARE + SQUARES_SHARE)
"""So much of delta is what ``squares_shown`` and ``variance_shown`` take their shares of: they spend what is left."""

_OWN_GAP = OWN_GAP_SHARE / GAP_SHARE

MOST_PAIRS = 1 << 20
"""More answers than these narrow no bound by as much as a hundredth."""

MORE_CHECKS = 1.1
"""Checks are planned for so many times the fewest that would do, where the budget allows it."""

MARGIN = 1.1
"""Bounds are planned to be smaller than asked: what the pairs trained here show of Var f varies, too."""

_LIKELY_SD = 1.3  # nine runs in ten stay below so many standard deviations above the mean
_GAUSSIAN = ndtri((1 + (np.arange(20) + 0.5) / 20) / 2) ** 2
_GAUSSIAN = _GAUSSIAN / _GAUSSIAN.mean()  # a Gaussian's squares, equally likely, of mean 1; for planning


def despite_lies(
    found: MomentsCertificate, tally: Tally, rows: Rows, own: Tally, *, n_false: int, shift: Float64[np.ndarray, " r"]
) -> MomentsCertificate:
    """Return the certificate of answered pairs: the upper bound made anew, everything else as it is.

    Parameters
    ----------
    found : the certificate that would hold if every answer were right. own : the families that the verifier trained.
    n_false : c. shift : shape (R,); by how much the root of a family's square may be off without being caught.
    """
    n, n_rows = tally.n_families, rows.n_rows
    alpha = GAP_SHARE * found.delta / n_rows
    cutoff = cutoff_of(n, n_false, found.kurtosis, alpha, is_one=len(rows.weights) == 1)
    gap = np.array([
        delegated.upper_despite_lies(squares, n_false, found.kurtosis, alpha, float(s), cutoff=cutoff)
        for squares, s in zip(tally.squares.T, shift, strict=True)
    ])  # fmt: skip
    delta = VARIANCE_SHARE * found.delta
    squares = squares_shown(own, rows, delta=delta)
    shown = variance_shown(own, rows, squares, kurtosis=found.kurtosis, delta=delta, once=True)
    upper, variance, by_minkowski = relative_upper(gap, rows, shown)
    return replace(
        found, n_false=n_false, upper=upper, gap_upper=gap, variance_lower=variance, by_minkowski=by_minkowski
    )


@lru_cache(maxsize=1024)
def cutoff_of(n: int, n_false: int, kurtosis: float, alpha: float, *, is_one: bool) -> float:
    """Return u, from what is fixed before the pairs are drawn or checked alone."""
    expected = _GAUSSIAN if is_one else None
    return delegated.best_cutoff(n, n_false, kurtosis, alpha, expected)


class _Forecast:
    """What k checks of n pairs are expected to give."""

    def __init__(self, game: Game, terms: Terms, outlook: Outlook) -> None:
        self.game, self.terms = game, terms
        self.shape = Shape(game=game, terms=terms, outlook=outlook)
        n_rows = 1 if terms.across is Across.POOLED else game.n_targets
        self.alpha = GAP_SHARE * terms.delta / n_rows

    def bound(self, n: int, k: int) -> float:
        """The factor from the mean square to the bound on the gap."""
        c = spot_check.most_false(n, k, CHECK_SHARE * self.terms.delta)
        is_one = self.game.n_targets == 1
        cutoff = cutoff_of(n, c, self.shape.kurtosis, self.alpha, is_one=is_one)
        expected = np.resize(_GAUSSIAN, n) if is_one else np.ones(n)
        return delegated.upper_despite_lies(expected, c, self.shape.kurtosis, self.alpha, 0.0, cutoff=cutoff)

    def passes(self, n: int, k: int) -> bool:
        """Whether the bound of nine runs in ten is small enough."""
        chance = 1 + _LIKELY_SD * self.shape.outlook.residual_sd / math.sqrt(n)
        return MARGIN * self.bound(n, k) * self.shape.mean(1, 0.0) * chance <= self.allowed(k)

    def allowed(self, k: int) -> float:
        """What E Y may be for an ACCEPT, Var f being shown by the k pairs that are retrained here."""
        shown = self.shape.shown(k, 1, 1.0, self.alpha * VARIANCE_SHARE * _OWN_GAP)
        return max(bound.largest_share(self.terms.epsilon) * self.shape.outlook.r2, self.terms.epsilon * shown)


def plan_delegated(game: Game, terms: Terms, budget: Budget, outlook: Outlook, *, is_seen: bool) -> Plan:
    """Return the pilot and the round with the fewest checks, then the fewest answers; else all that the budget buys.

    Raises
    ------
    BudgetError
        The budget does not reach the smallest round, or its checks, or leaves no bound; it says what would.
    """
    pilot, sides = pilot_design(game), game.measure.n_sides
    most_pairs = min(budget.answers // sides, MOST_PAIRS)
    most_checks = (budget.max_retrainings - pilot.n_evaluations) // sides
    if most_pairs < FLOOR:
        raise BudgetError(
            f"moments: {budget.answers} answers are too few; the least is --max-answers {sides * FLOOR}, where the "
            "server answers as many"
        )
    if budget.n_checks is not None and budget.n_checks > most_pairs:
        raise ArgumentError(
            f"n_checks: expected 1 to {most_pairs} pairs, as many as are answered, got {budget.n_checks}"
        )
    if most_checks < (budget.n_checks or FLOOR):
        needed = pilot.n_evaluations + sides * (budget.n_checks or FLOOR)
        raise BudgetError(f"moments: the checks and the pilot take {needed} retrainings; raise --max-retrainings to it")
    forecast = _Forecast(game, terms, outlook)
    most_checks = min(most_checks, most_pairs)
    k = budget.n_checks or _fewest(min(FLOOR, most_checks), most_checks, lambda n: forecast.passes(most_pairs, n))
    if budget.n_checks is None:  # a few more checks save many answers
        k = min(math.ceil(MORE_CHECKS * k), most_checks)
    n = _fewest(max(FLOOR, k), most_pairs, lambda answered: forecast.passes(answered, k))
    enough, factor, allowed = forecast.passes(n, k), forecast.bound(n, k), forecast.allowed(k)
    if not math.isfinite(factor):
        raise BudgetError(_no_bound(forecast, n, k, pilot.n_evaluations, is_asked=budget.n_checks is not None))
    shown = Forecast(
        median_bound=terms.epsilon * factor * forecast.shape.mean(1, 0.0) / allowed if allowed > 0 else math.inf,
        power=0.9 if enough else 0.0,
    )
    retrained, answered = pilot.n_evaluations + sides * k, sides * n
    said = "seen in the pilot" if is_seen else "expected"
    return Plan(
        rounds=Rounds(looks=(pilot, pairs(n, complements=game.measure.has_complements)), n_checks=k),
        first=shown,
        last=shown,
        n_retrained=(retrained, retrained),
        n_answered=(answered, answered),
        expected_retrained=float(retrained),
        expected_answered=float(answered),
        sufficient=enough,
        summary=(
            f"a pilot of {pilot.n_evaluations}, then {answered} trainings asked of the prover, {sides * k} of them "
            f"redone here: {retrained} retrainings; bound {said} {shown.median_bound:.4g}"
        ),
    )


def _no_bound(forecast: _Forecast, n: int, k: int, n_pilot: int, *, is_asked: bool) -> str:
    """Say which checks of n pairs would leave a bound; how many answers would where none do."""
    sides, said = forecast.game.measure.n_sides, f"leave no bound at kurtosis {forecast.shape.kurtosis:g}"
    if math.isfinite(forecast.bound(n, n)):
        enough = _fewest(k, n, lambda checks: math.isfinite(forecast.bound(n, checks)))
        option = f"--n-checks {enough} with " if is_asked else ""
        needed = f"{option}--max-retrainings {n_pilot + sides * enough}"
        return f"moments: {k} of {n} pairs rechecked {said}; the least is {needed}"
    most = 2 * n
    while not math.isfinite(forecast.bound(most, most)):
        most *= 2
    enough = _fewest(n, most, lambda answered: math.isfinite(forecast.bound(answered, answered)))
    return f"moments: {sides * n} answers {said}; the least is --max-answers {sides * enough}"


def _fewest(low: int, high: int, enough: Callable[[int], bool]) -> int:
    """The least number from ``low`` to ``high`` that is enough, to 2%; ``high`` where none is."""
    high = max(low, high)
    while high - low > high // 50:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return high
