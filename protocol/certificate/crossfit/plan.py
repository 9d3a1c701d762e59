"""How many pairs the cross-fit certificate needs (THEORY 5), from what the claim says of itself.

The forecast puts the expected value of every part into the certificate's own inequality; a plan is
sufficient if the bound of nine runs in ten is forecast to be small enough, with a margin for what the
forecast leaves out. Its figures are the prover's and its range a guess: a lie, or a bad guess, costs time.

Letters: m_a and m_b pairs in rounds A and B, N units, g and v the expected relative gap and odd
residual, b the radius that residuals are drawn in to, all in units of sd f; k pairs of B
rechecked, c those that can be false all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
from scipy.special import ndtr, ndtri

from protocol.certificate import concentration, spot_check
from protocol.certificate.crossfit import bound as crossfit
from protocol.certificate.crossfit.pilot import BEYOND, pilot_pairs
from protocol.certificate.gaussian.forecast import rows_of
from protocol.certificate.planning import Budget, Forecast, Outlook, Plan
from protocol.certificate.terms import Across, Answers, Rounds, Terms
from protocol.claim import Claim
from protocol.errors import BudgetError
from protocol.game import Game, harmonic
from protocol.game.sampling import MAX_EVALUATIONS, pairs

HALF_RANGE_SD = 5.0
"""Half a target's range in sd of f, as ``prover init`` proposes it."""
POWER, CHANCE_SD = 0.9, 1.3
"""What is planned for: the test's mean and Var f's so many standard errors on the wrong side."""
MARGIN = 1.03
"""Bounds are planned to be smaller than asked: residuals have heavier tails than the Gaussian ones of a forecast."""
_MIXTURE = 2.0  # by how much three strategies of betting divide alpha: between one that is right and all three
_OWN_SHARES = (0.5, 0.6, 0.7, 0.8)  # of the pairs that an audit's verifier trains, those of round A


def half_range_of(game: Game, claim: Claim | None) -> float:
    """Return half the targets' ranges in sd of the claim, root mean square; a guess where there is no usable claim."""
    if claim is None or claim.scores.shape != (game.n_targets, game.n_units):
        return HALF_RANGE_SD
    variance = harmonic.linear_variance(claim.scores, game.measure.p)
    if not bool((variance > 1e-200 * game.width**2).all()):
        return HALF_RANGE_SD
    return float(min(np.sqrt(((game.width / 2) ** 2 / variance).mean()), 1e3))


def rank_of(game: Game, claim: Claim | None) -> float:
    """Return the effective rank of the claim's targets, (tr S)^2 / tr S^2 of their correlations S, from 1 to T.

    It is what is expected of the residuals' rank (``Outlook.rank``); 1 where there is no usable claim.
    """
    if claim is None or claim.scores.shape != (game.n_targets, game.n_units):
        return 1.0
    norms = np.linalg.norm(claim.scores, axis=1)
    if not bool((norms > 0).all()):
        return 1.0
    unit = claim.scores / norms[:, None]
    gram = unit @ unit.T if len(unit) <= unit.shape[1] else unit.T @ unit
    return float(game.n_targets**2 / (gram**2).sum())


def best_within(game: Game, claim: Claim | None, terms: Terms, budget: Budget, outlook: Outlook) -> Plan:
    """Return the plan with the fewest retrainings whose forecast is at most epsilon; failing that, all the budget buys.

    Of plans that ask as much of the verifier, the one with the fewest answers.

    Raises
    ------
    BudgetError
        The budget does not reach the smallest rounds; it says what would.
    """
    sides, epsilon, across = game.measure.n_sides, terms.epsilon, terms.across
    n_rows = game.n_targets if across is Across.EVERY else 1
    worst = rows_of(n_rows, outlook.spread)[0][0]
    expected = replace(
        outlook, relative_gap=outlook.relative_gap * worst, residual=outlook.residual * worst,
        rank=1.0 if across is Across.EVERY else rank_of(game, claim),
    )  # fmt: skip
    shape = _Shape(game, terms.delta / n_rows, across, expected, half_range_of(game, claim))
    most = min(budget.max_retrainings, MAX_EVALUATIONS) // sides
    if terms.answers is Answers.OWN:
        m_a, m_b, checks = _proved(shape, epsilon, most, sides)
    else:
        m_a, m_b, checks = _audited(
            shape, epsilon, most, min(budget.answers, MAX_EVALUATIONS) // sides, sides, budget.n_checks
        )
    enough = shape.promised(m_a, m_b, checks) <= epsilon
    rounds = tuple(pairs(m, complements=game.measure.has_complements) for m in (m_b, m_a))
    forecast = Forecast(median_bound=shape.bound(m_a, m_b, checks), power=POWER if enough else 0.0)
    retrained, answered = sides * (m_a + (checks or m_b)), sides * m_b if checks else 0
    asked = f", {answered} trainings asked of the prover" if answered else ""
    return Plan(
        rounds=Rounds(looks=rounds, n_checks=checks),
        first=forecast,
        last=forecast,
        n_retrained=(retrained, retrained),
        n_answered=(answered, answered),
        expected_retrained=float(retrained),
        expected_answered=float(answered),
        sufficient=enough,
        summary=(
            f"cross-fit, rounds of {m_b} and {m_a} independent subsets{asked}, {retrained} retrainings here; "
            f"expected bound {forecast.median_bound:.4g}"
        ),
    )


def _proved(shape: _Shape, epsilon: float, most: int, sides: int) -> tuple[int, int, int]:
    """Pairs in A and B, which are alike when all are the verifier's."""
    least = crossfit.MIN_PAIRS
    if most < 2 * least:
        raise _short(2 * sides * least, sides * most)
    m = _fewest(least, most // 2, lambda n: shape.promised(n, n, 0) <= epsilon)
    return m, m, 0


def _audited(
    shape: _Shape, epsilon: float, most: int, answers: int, sides: int, n_checks: int | None
) -> tuple[int, int, int]:
    """Pairs in A and B and checks: the fewest of the verifier's, then the fewest answers."""
    least = crossfit.MIN_PAIRS
    if answers < least:
        raise BudgetError(
            f"expected a budget of at least {sides * least} answers for crossfit, got {sides * answers}: raise "
            f"--max-answers to {sides * least}, where the server answers as many"
        )
    if n_checks is not None and not 1 <= n_checks <= answers:
        raise BudgetError(f"--n-checks: expected 1 to {answers} pairs, as many as are answered, got {n_checks}")
    fewest = least + (n_checks or 1)
    if most < fewest:
        raise _short(sides * fewest, sides * most)

    def split(own: int) -> tuple[int, int]:
        if n_checks is not None:
            return own - n_checks, n_checks
        parts = [max(least, min(int(share * own), own - 1)) for share in _OWN_SHARES]
        options = [(m_a, min(own - m_a, answers)) for m_a in parts]
        return min(options, key=lambda option: shape.promised(option[0], answers, option[1]))

    own = _fewest(fewest, most, lambda n: shape.promised(split(n)[0], answers, split(n)[1]) <= epsilon)
    m_a, checks = split(own)
    m_b = _fewest(max(least, checks), answers, lambda m: shape.promised(m_a, m, checks) <= epsilon)
    return m_a, m_b, checks


def _fewest(low: int, high: int, enough: Callable[[int], bool]) -> int:
    """The least n from ``low`` to ``high`` that is enough, to 1%; ``high`` where none is."""
    high = max(low, high)
    while low < high and high - low > high // 100:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return high


def _short(needed: int, got: int) -> BudgetError:
    return BudgetError(
        f"expected a budget of at least {needed} retrainings for crossfit, got {got}: "
        f"raise --max-retrainings to {needed}"
    )


class _Shape:
    """What the search holds fixed."""

    def __init__(self, game: Game, delta: float, across: Across, outlook: Outlook, half_range_sd: float) -> None:
        self.n_units, self.p, self.n_targets, self.across = game.n_units, game.measure.p, game.n_targets, across
        self.outlook, self.delta, self.half, self.rank = outlook, delta, half_range_sd, outlook.rank
        self.moments = concentration.moments(game.measure.p)
        equal = np.full(max(1, round(self.rank)), 1 / max(1, round(self.rank)))
        self.joint = self.moments if len(equal) == 1 else concentration.moments_of(equal, game.measure.p)
        self.bound = lru_cache(maxsize=None)(self._bound)

    def promised(self, m_a: int, m_b: int, checks: int) -> float:
        """What POWER of all runs are forecast to stay below: three independent errors, joined in the logarithm."""
        expected = self.bound(m_a, m_b, checks)
        unlucky = [self.bound(m_a, m_b, checks, **{part: CHANCE_SD}) for part in ("test", "spread", "radius")]
        if not np.isfinite([expected, *unlucky]).all():
            return float("inf")
        return float(MARGIN * expected * np.exp(np.linalg.norm(np.log(np.array(unlucky) / expected))))

    def _bound(
        self, m_a: int, m_b: int, checks: int, *, test: float = 0.0, spread: float = 0.0, radius: float = 0.0
    ) -> float:
        """The certificate's inequality, every part as expected but for the test, Var f and b, so many sd off."""
        g, v = self.outlook.relative_gap, self.outlook.residual
        spent = self.delta * (1 - crossfit.CHECK_SHARE if checks else 1.0)
        alpha = {name: share * spent for name, share in crossfit.SHARES.items()}
        n_pilot = pilot_pairs(m_a)
        rest = m_a - n_pilot
        own, n_all = rest + (checks or m_b), rest if checks else rest + m_b
        b = self._radius(n_pilot, radius)
        slack = self._slack(b, own, n_all, alpha)
        norm = float(np.sqrt(g + self.n_units * v / rest))
        along = self._along(b, norm, m_b, checks, alpha["S"], test)
        outside = concentration.share_upper(0, own, alpha["outside"])
        hidden = max(self.half - b, 0.0) * concentration.on_rare(self.moments, outside)
        hidden += concentration.product_on_rare(self.joint, self.moments, outside)
        size = (slack + np.sqrt(slack**2 + 4 * norm * along)) / 2 + hidden
        variance = self._variance(own, alpha["variance"], spread)
        return float(size**2 / variance) if variance > 0 else float("inf")

    def _largest(self, share: float) -> float:
        """The residual's norm below which this share of all pairs is, in its own root mean square, if Gaussian."""
        return concentration.norm_quantile(self.rank, share)

    def _radius(self, n_pilot: int, chance: float) -> float:
        """b, the median of the pilot's residuals as expected, and the largest at its median or so many sd above."""
        largest, typical = self._largest(float(ndtr(chance)) ** (1 / n_pilot)), self._largest(0.5)
        return float(np.sqrt(self.outlook.residual)) * (largest + BEYOND * (largest - typical))

    def _slack(self, radius: float, own: int, n_all: int, alpha: dict[str, float]) -> float:
        """t: the fourth moment of a Gaussian residual of this rank, and what betting adds to it."""
        v, k = self.outlook.residual, self.rank
        fourth = min(v**2 * (1 + 2 / k) / radius**4, 1.0)
        eighth = v**4 * (1 + 2 / k) * (1 + 4 / k) * (1 + 6 / k) / radius**8
        fourth += _excess(max(eighth - fourth**2, 0.0), alpha["fourth moment"] / _MIXTURE, own, 1 / (1 - fourth))
        return concentration.slack_of(
            radius**4 * min(fourth, 1.0), radius, self.moments, n_all, alpha["t"], alpha["tail"]
        )

    def _along(self, radius: float, norm: float, m_b: int, checks: int, alpha: float, chance: float) -> float:
        """S: what is there, chance, what clipping hides, and lies."""
        g, v = self.outlook.relative_gap, self.outlook.residual
        sides = 1 if checks else 2
        limit, cut = concentration.clipped_at(radius, self.joint, m_b, alpha / sides)
        second = v / self.rank
        # Two directions' tests are averaged, and each is nearly independent of the other.
        along = g / norm + cut + chance * float(np.sqrt(second / (sides * m_b)))
        if not checks:
            return along + _excess(second, alpha / sides / _MIXTURE, m_b, 1 / limit)
        n_false = spot_check.most_false(m_b, checks, self.delta * crossfit.CHECK_SHARE)
        move = radius + float(np.sqrt(v))
        if n_false:
            move *= self._largest(1 - n_false / (2 * m_b))
        _, excess = concentration.best_bet(
            alpha, m_b, spread=second / (2 * limit) ** 2, n_false=n_false, move=move / (2 * limit)
        )
        return along + 2 * limit * excess + n_false / m_b * min(move, limit)

    def _variance(self, own: int, alpha: float, chance: float) -> float:
        """Var f / scale^2 from below, of Gaussian outputs; across the mean, the least of all targets'."""
        n, second = own // 2, (1.0 if self.p == 0.5 else 2.0) / self.rank
        if self.across is Across.MEAN:
            second, alpha = second * self.rank, alpha / self.n_targets
            chance = max(chance, float(-ndtri(0.5 / max(self.rank, 1.0))))
        stake = _stake(second, alpha / _MIXTURE, n, 1.0)
        skew = 2 * second**2 * stake**2 / 3  # a gain: log(1 + lambda(x - mu)) to third order, squares being skewed
        return 1 - _excess(second, alpha / _MIXTURE, n, 1.0) + skew - chance * float(np.sqrt(second / n))


def _excess(variance: float, alpha: float, m: int, largest: float) -> float:
    """How far a betting bound is from the mean: L/(m lambda) + lambda variance/2, the best lambda below BET largest."""
    stake = _stake(variance, alpha, m, largest)
    return -float(np.log(alpha)) / (m * stake) + stake * variance / 2


def _stake(variance: float, alpha: float, m: int, largest: float) -> float:
    cap = concentration.BET * largest
    return min(float(np.sqrt(-2 * np.log(alpha) / (m * variance))), cap) if variance > 0 else cap
