"""How many families the moment certificate needs, and of which design (THEORY 2.14).

Before the pilot, the claim's own figures say what to expect; after it, what the verifier saw itself.
Either decides only which families are drawn: the bound holds for every design, so a false figure
costs retrainings and nothing else.

Letters: s siblings, rho their correlation, v the odd residual's mean square with seed noise in it,
g the gap, nu the noise, all as shares of Var f; a = E Y / rho over what E Y may be for an ACCEPT.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from protocol.certificate.betting import RATES
from protocol.certificate.moments import bound
from protocol.certificate.moments.certificate import (
    ALONG_SHARE,
    GAP_SHARE,
    SQUARES_SHARE,
    without_own_squares,
)
from protocol.certificate.planning import Budget, Forecast, Outlook, Plan
from protocol.certificate.terms import MAX_LOOKS, Across, Answers, Rounds, Terms
from protocol.errors import BudgetError
from protocol.game import Game, SeedPolicy
from protocol.game.sampling import Bases, Design, families, pairs

PILOT_FAMILIES = 10
"""Subsets of the pilot, each with its complement; each is trained twice where every training has a seed of its own."""

FLOOR = 80
"""No verdict before so many families. A stop on fewer is too often luck where the kurtosis is above the assumption."""

SIBLINGS = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 48, 64, 96)
RHOS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)

_TWICE_16 = 65535  # siblings that keep every unit but one in 65,536: one subset trained twice
_GROWTH = 1.05  # of the families from one look to the next
_LIKELY_SD = 1.3  # nine runs in ten stay below so many standard deviations above the mean
_WIDTH, _WIDENS = 1.3, 0.85  # of bound.lower_of_mean over sqrt(-2 ln alpha) standard errors: many families, few
_WEIGHTS_SPREAD = 0.1  # variance of the weights of tilted bases
_LARGEST = 1 << 24  # families, and subsets of all looks; a larger budget is not worth stating, nor does a round hold it

COUNTS = tuple(math.ceil(FLOOR * 1.02**i) for i in range(int(math.log(_LARGEST / FLOOR, 1.02)) + 1))
"""Numbers of families that are planned with: from the floor, a fiftieth more each time."""


def pilot_design(game: Game) -> Design:
    """Return the pilot's design: what weights, centres and the noise are read from."""
    if game.seed_policy is SeedPolicy.SHARED:
        return pairs(PILOT_FAMILIES, complements=game.measure.has_complements)
    return Design(n_families=PILOT_FAMILIES, n_siblings=2, keep_16=_TWICE_16, complements=game.measure.has_complements)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The search for a design, and what it holds fixed."""

    game: Game
    terms: Terms
    outlook: Outlook

    @property
    def alpha(self) -> float:
        """The probability that one row's bound on the gap fails."""
        n_rows = 1 if self.terms.across is Across.POOLED else self.game.n_targets
        return GAP_SHARE * self.terms.delta / n_rows

    @property
    def kurtosis(self) -> float:
        """K."""
        return self.terms.kurtosis or 1.0

    def allowed(self, n: int, n_siblings: int = 1, rho: float = 1.0) -> float:
        """Return what E Y / rho may be for an ACCEPT on n families, as a share of Var f.

        By Minkowski's step, or by what the residual along the claim is expected to show of Var f.
        """
        explained, epsilon = min(max(self.outlook.r2, 0.0), 1.0), self.terms.epsilon
        return max(bound.largest_share(epsilon) * explained, epsilon * self.shown(n, n_siblings, rho, self.alpha))

    def shown(self, n: int, n_siblings: int, rho: float, alpha: float) -> float:
        """Return the share of Var f that the residual along the claim is expected to show on n families.

        Along the claim a family's residual is about as large as elsewhere. The bound on its mean needs one on its
        spread first, which is n / q too large, and widens by the root of that.
        """
        along = alpha * ALONG_SHARE / GAP_SHARE
        tilted = self.terms.answers is Answers.OWN and self.game.measure.has_complements
        assumed = self.kurtosis if tilted else max(self.kurtosis, self.game.measure.squared_linear_kurtosis)
        once = self.terms.answers is Answers.DELEGATED
        wider = bound.n_over_quantile(n, assumed, along / 4, once=once)
        if not math.isfinite(wider):
            return 0.0
        explained = min(max(self.outlook.r2, 0.0), 1.0)
        shared = rho if n_siblings > 1 else 1.0
        spread = self.mean(n_siblings, rho) * shared * min(self.outlook.residual_sd, 1.0)
        width = max(_WIDTH, _WIDENS * math.sqrt(wider))
        opposed = 2 * math.sqrt(explained) * width * math.sqrt(-2 * math.log(along) * spread / n)
        return min(max(explained - opposed, 0.0) + self.squares(n, n_siblings, rho, alpha), 1.0)

    def squares(self, n: int, n_siblings: int, rho: float, alpha: float) -> float:
        """Return the mean square of one residual that n families are expected to show, as a share of Var f.

        Betting shows the more the less a family's mean square varies: a Gaussian's, were its siblings independent, and
        the weights of tilted bases. The form is a fit to within .02 of what betting showed of 80 to 1,000 families of
        1 to 24 siblings.
        """
        v = self.outlook.residual
        shared = self.between(rho) / v if v > 0 else 0.0
        spread = self.outlook.residual_sd**2 * (1 + (n_siblings - 1) * shared**2) / n_siblings + _WEIGHTS_SPREAD
        return v * math.exp(-math.sqrt(2 * spread * math.log(len(RATES) * GAP_SHARE / (SQUARES_SHARE * alpha)) / n))

    def between(self, rho: float) -> float:
        """Return the expected covariance of two siblings' residuals, as a share of Var f."""
        above = max(self.outlook.residual - self.outlook.relative_gap - self.outlook.noise, 0.0)
        degree = 3 if self.game.measure.has_complements else 2
        return rho * self.outlook.relative_gap + rho**degree * above

    def mean(self, n_siblings: int, rho: float) -> float:
        """Return the expected E Y / rho, as a share of Var f."""
        v = self.outlook.residual
        return v if n_siblings == 1 else (v + (n_siblings - 1) * self.between(rho)) / n_siblings / rho

    def gap(self, n: int, n_siblings: int, rho: float, *, chance: float = 0.0) -> float:
        """Return the bound on the gap that n families are expected to leave, as a share of Var f.

        chance : by how many standard deviations the families' mean is above what is expected.
        """
        q = bound.anytime_quantile(n, self.kurtosis, self.alpha)
        if q <= 0:
            return math.inf
        mean = n * self.mean(n_siblings, rho) * (1 + chance * self.outlook.residual_sd / math.sqrt(n)) / q
        squares = self.squares(n, n_siblings, rho, self.alpha)
        gap = without_own_squares(np.array([mean]), np.array([squares]), n_siblings=n_siblings, rho=rho)
        return float(gap[0])

    def families_needed(
        self, n_siblings: int, rho: float, *, chance: float, fewer_than: float = math.inf
    ) -> int | None:
        """Return the fewest of COUNTS families whose bound is forecast to pass, or None when none below a limit do."""
        high = bisect_left(COUNTS, fewer_than)
        if not high or not self._passes(COUNTS[high - 1], n_siblings, rho, chance):
            return None
        first = bisect_left(COUNTS, 1, hi=high - 1, key=lambda n: int(self._passes(n, n_siblings, rho, chance)))
        return COUNTS[first]

    def _passes(self, n: int, n_siblings: int, rho: float, chance: float) -> bool:
        return self.gap(n, n_siblings, rho, chance=chance) <= self.allowed(n, n_siblings, rho)

    def kinds(self) -> Iterator[tuple[int, float]]:
        """Yield the designs tried: independent subsets, then families."""
        yield 1, 0.0
        for n_siblings in SIBLINGS[1:]:
            for rho in RHOS:
                yield n_siblings, rho

    def cheapest(self) -> tuple[int, float, int | None]:
        """Return (siblings, rho, families) of the fewest trainings in nine runs of ten; families None where none do."""
        best: tuple[int, float, int | None] = (1, 0.0, None)
        for n_siblings, rho in self.kinds():
            limit = math.inf if best[2] is None else best[2] * best[0] / n_siblings
            n = self.families_needed(n_siblings, rho, chance=_LIKELY_SD, fewer_than=limit)
            if n is not None:
                best = n_siblings, rho, n
        return best


def plan_own(game: Game, terms: Terms, budget: Budget, outlook: Outlook, *, is_seen: bool) -> Plan:
    """Return the pilot and looks whose expected number of trainings is least.

    Looks begin at the floor, or where an ACCEPT is first possible, and grow by a twentieth until the budget is spent;
    the certificate holds at all of them at once.

    Raises
    ------
    BudgetError
        The budget does not reach the floor, or no number of families within it leaves any bound; it says what would.
    """
    pilot = pilot_design(game)
    shape = Shape(game=game, terms=terms, outlook=outlook)
    n_siblings, rho, needed = shape.cheapest()
    sides, first = game.measure.n_sides, first_look(shape.kurtosis, shape.alpha)
    n_subsets = min((budget.max_retrainings - pilot.n_evaluations) // sides, _LARGEST)
    most = n_subsets // n_siblings
    if most < first and n_siblings > 1:  # smaller families, rather than none
        n_siblings, rho, most, needed = 1, 0.0, n_subsets, shape.families_needed(1, 0.0, chance=_LIKELY_SD)
    if most < first:
        enough = pilot.n_evaluations + first * sides
        raise BudgetError(
            f"moments: {budget.max_retrainings} retrainings leave no bound at kurtosis {shape.kurtosis:g}; "
            f"the least is --max-retrainings {enough}"
        )
    sizes = _sizes(first, most)
    one = families(n_families=1, n_siblings=n_siblings, rho=rho, complements=game.measure.has_complements)
    # A lone sibling is its base, but for a unit in 65,536, where the base is drawn along the claim.
    keep_16 = _TWICE_16 if n_siblings == 1 and one.complements else one.keep_16
    bases = Bases.TILTED if one.complements else Bases.DRAWN
    looks = tuple(
        Design(n_families=n, n_siblings=n_siblings, keep_16=keep_16, complements=one.complements, bases=bases)
        for n in sizes
    )
    kind, each = (n_siblings, rho), n_siblings * sides
    expected = shape.families_needed(*kind, chance=0.0)
    n_last = sum(sizes)
    spent = min(expected or n_last, n_last)
    power = _power(shape, n_last, *kind)
    enough_families = needed is not None and needed <= n_last
    said = "seen in the pilot" if is_seen else "expected"
    siblings = "independent subsets" if n_siblings == 1 else f"families of {n_siblings}, rho {rho:.3g}"
    sides_said = ", each with its complement" if sides > 1 else ""
    return Plan(
        rounds=Rounds(looks=(pilot, *looks)),
        first=Forecast(median_bound=_median(shape, first, *kind), power=_power(shape, first, *kind)),
        last=Forecast(median_bound=_median(shape, n_last, *kind), power=power),
        n_retrained=(pilot.n_evaluations + first * each, pilot.n_evaluations + n_last * each),
        n_answered=(0, 0),
        expected_retrained=pilot.n_evaluations + spent * each,
        expected_answered=0.0,
        sufficient=enough_families,
        summary=(
            f"a pilot of {pilot.n_evaluations}, then {siblings}{sides_said}: about "
            f"{pilot.n_evaluations + spent * each} retrainings here ({said}), "
            f"{pilot.n_evaluations + n_last * each} at most"
        ),
    )


def first_look(kurtosis: float, alpha: float) -> int:
    """Return the fewest families, the floor at least, that leave any bound at all."""
    low, high = FLOOR, FLOOR
    while bound.anytime_quantile(high, kurtosis, alpha) <= 0:
        low, high = high + 1, 2 * high
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if bound.anytime_quantile(middle, kurtosis, alpha) > 0 else (middle + 1, high)
    return low


def _sizes(first: int, most: int) -> list[int]:
    """Families of every look: ``first``, then a twentieth more each time, or as much as reaches ``most`` in time."""
    n_left = MAX_LOOKS - 2  # one round is the pilot's
    growth = max(_GROWTH, (most / first) ** (1 / n_left))
    sizes, total = [first], first
    while total < most and len(sizes) < MAX_LOOKS - 1:
        step = max(1, math.ceil(total * (growth - 1)))
        if len(sizes) == MAX_LOOKS - 2 or total + step > most:
            step = most - total
        sizes.append(step)
        total += step
    return sizes


def _median(shape: Shape, n: int, n_siblings: int, rho: float) -> float:
    """The bound that half of all runs stay below."""
    gap, allowed = shape.gap(n, n_siblings, rho), shape.allowed(n, n_siblings, rho)
    return shape.terms.epsilon * gap / allowed if allowed > 0 else math.inf


def _power(shape: Shape, n: int, n_siblings: int, rho: float) -> float:
    """The probability that the bound has passed by then, the mean square over n families taken as Gaussian."""
    q, mean, allowed = (
        bound.anytime_quantile(n, shape.kurtosis, shape.alpha), shape.mean(n_siblings, rho),
        shape.allowed(n, n_siblings, rho),
    )  # fmt: skip
    if q <= 0 or not mean > 0:
        return 0.0
    if n_siblings > 1:  # what families may show for the gap to be as large as allowed
        squares = shape.squares(n, n_siblings, rho, shape.alpha)
        allowed = max(allowed, ((n_siblings - 1) * rho * allowed + squares) / (n_siblings * rho))
    z = (q * allowed / (n * mean) - 1) * math.sqrt(n) / shape.outlook.residual_sd
    return float(0.5 * (1 + math.erf(z / math.sqrt(2.0))))
