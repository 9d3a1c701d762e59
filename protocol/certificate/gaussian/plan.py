"""The cheapest terms whose Gaussian quick look will accept an honest claim (THEORY 10).

The planner asks how likely the certificate's bound (``families.upper_bound_of``) is to be at most
epsilon over the distribution that its mean squares have when the claim is as good as its
figures say, and picks siblings, correlation and the looks for the fewest retrainings expected.
Figures come from the prover: a false one makes the plan too small or too large. It does not reach the level of the
bound, which is the same for every design; what the bound takes for granted (Gaussian residuals) a prover that steers
the design may still make worse, which is one more reason why this is a quick look.

What is promised is "at least". Residuals are taken as Gaussian, all weight above degree one that is not known to be
noise as of the least degree that the certificate cannot tell from it, and targets, of whose joint distribution
figures say nothing, as erring together across the mean and apart across every: see ``Outlook``.
benchmarks/plans_keep_their_promise.py holds promises against what comes.

Letters: B families, s siblings, rho their correlation; T targets; g the relative gap expected of
the claim, v its odd residual's share of Var f; nu the residuals' effective rank over targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from protocol.certificate.gaussian.families import MIN_FAMILIES
from protocol.certificate.gaussian.forecast import missed, rows_of
from protocol.certificate.gaussian.looks import MIN_GROWTH, shared_level
from protocol.certificate.planning import Forecast, Outlook
from protocol.certificate.terms import Across
from protocol.errors import ArgumentError, BudgetError
from protocol.game import Game
from protocol.game.sampling import Design, families

MAX_FAMILIES = 1 << 14
MAX_PLANNED_LOOKS = 16
SIBLINGS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48)
RHOS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_SOME_POWER = 0.1
_FIRST_LOOKS = (0.15, 0.2, 0.3, 0.4, 0.55, 0.75, 1.0)  # shares of the families that a single look would need
_GROWTH = 1.25  # steps in which more than those families are tried for the last look but one
_USUAL_RATIO = 1.3  # of one look to the next, for the level that the search starts from


@dataclass(frozen=True, kw_only=True)
class Planned:
    """Looks and what they are expected to give: at the first, with all, and trainings on average, at most."""

    looks: tuple[Design, ...]
    first: Forecast
    last: Forecast
    expected: float


def best_within(
    game: Game,
    *,
    epsilon: float,
    delta: float,
    across: Across,
    outlook: Outlook,
    max_retrainings: int,
    n_looks: int = 10,
    power: float = 0.9,
) -> Planned:
    """Return the looks of fewest expected retrainings that reaches ``power``; failing that, the strongest.

    Looks share one level (``looks.shared_level``), so that looking early and often costs little: they grow by one
    factor from an early first look to the last but one, and the last takes what is left of the budget.

    Parameters
    ----------
    delta : of the whole session: all looks and, across every, all targets.
    max_retrainings : most trainings that the verifier will do, over all looks.
    n_looks : most looks, from 1 to MAX_PLANNED_LOOKS; fewer where the budget leaves no room between them.
    power : probability, at least, with which an honest claim shall be accepted by the last look.

    Raises
    ------
    BudgetError
        The budget does not reach the smallest design; it says what would.
    ArgumentError
        epsilon, delta or n_looks out of range.
    """
    _check_asked(epsilon, delta)
    if not 1 <= n_looks <= MAX_PLANNED_LOOKS:
        raise ArgumentError(f"looks: expected 1 to {MAX_PLANNED_LOOKS}, got {n_looks}")
    share = delta / _n_rows(game, across)
    usual = shared_level(_growing(MIN_FAMILIES, int(MIN_FAMILIES * _USUAL_RATIO ** (n_looks - 1)), n_looks), share)
    shape = Shape(game, across, epsilon, usual, outlook)
    design = shape.cheapest(max_retrainings, power) or shape.strongest(max_retrainings)
    totals = (design.n_families,) if n_looks == 1 else shape.looks(design, max_retrainings, n_looks)
    shape = Shape(game, across, epsilon, shared_level(totals, share), outlook)
    reached = shape.powers(design, totals)
    looks = [replace(design, n_families=after - before) for before, after in pairwise((0, *totals))]
    undecided = (1.0, *(1 - power for power in reached[:-1]))
    expected = sum(look.n_evaluations * share for look, share in zip(looks, undecided, strict=True))
    return Planned(
        looks=tuple(looks),
        first=Forecast(median_bound=shape.median_bound(looks[0]), power=reached[0]),
        last=Forecast(median_bound=shape.median_bound(replace(design, n_families=totals[-1])), power=reached[-1]),
        expected=expected,
    )


def _check_asked(epsilon: float, delta: float) -> None:
    if not 0 < epsilon < 1:
        raise ArgumentError(f"epsilon: expected a relative gap above 0 and below 1, got {epsilon}")
    if not 0 < delta < 1:
        raise ArgumentError(f"delta: expected a probability strictly between 0 and 1, got {delta}")


def least_retrainings(game: Game) -> int:
    """Return how many retrainings the smallest look takes."""
    return MIN_FAMILIES * min(SIBLINGS) * game.measure.n_sides


def _n_rows(game: Game, across: Across) -> int:
    return game.n_targets if across is Across.EVERY else 1


def retrainings_needed(
    game: Game, *, epsilon: float, delta: float, across: Across, outlook: Outlook, power: float = 0.9
) -> int | None:
    """Return the fewest retrainings whose single look reaches ``power``, or None when no number would.

    None means that the claim's own figures put its gap at or above epsilon: ask for a better claim.
    """
    _check_asked(epsilon, delta)
    design = Shape(game, across, epsilon, delta / _n_rows(game, across), outlook).cheapest(None, power)
    return None if design is None else design.n_evaluations


class Shape:
    """The search for a design, and what it holds fixed: alpha is what one row's bound spends at one look."""

    def __init__(self, game: Game, across: Across, epsilon: float, alpha: float, outlook: Outlook) -> None:
        self.p, self.complements = game.measure.p, game.measure.has_complements
        self.epsilon, self.alpha = epsilon, alpha
        self.outlook = replace(outlook, rank=1.0) if across is Across.EVERY else outlook
        self.rows = rows_of(_n_rows(game, across), outlook.spread)

    def design(self, n_families: int, n_siblings: int, rho: float) -> Design:
        """Families, with complements where the task has them."""
        return families(n_families=n_families, n_siblings=n_siblings, rho=rho, complements=self.complements)

    def power(self, design: Design, epsilon: float | None = None) -> float:
        """Least probability that every row's bound is at most epsilon: one less what all rows can miss."""
        expected = missed(
            design.n_families, design.n_siblings, round(design.rho, 6), self.p, self.alpha, self.outlook, self.rows,
            self.epsilon if epsilon is None else epsilon,
        )  # fmt: skip
        return max(0.0, 1 - expected)

    def powers(self, design: Design, totals: tuple[int, ...]) -> tuple[float, ...]:
        """Least probability of acceptance by each look: at least that of the best single look so far."""
        each = [self.power(replace(design, n_families=total)) for total in totals]
        return tuple(np.maximum.accumulate(each).tolist())

    def median_bound(self, design: Design) -> float:
        """The epsilon at which the power is a half; infinite where none below 100 is."""
        low, high = 1e-6, 100.0
        if self.power(design, high) < 0.5:
            return float("inf")
        while high > 1.002 * low:
            middle = (low * high) ** 0.5
            low, high = (low, middle) if self.power(design, middle) >= 0.5 else (middle, high)
        return high

    def cheapest(self, budget: int | None, power: float) -> Design | None:
        """The fewest evaluations whose single look reaches ``power``; ties go to more families."""
        best: Design | None = None
        for n_siblings, rho in self._kinds():
            most = MAX_FAMILIES if budget is None else budget // self.design(1, n_siblings, rho).n_evaluations
            if best is not None:
                most = min(most, best.n_evaluations // self.design(1, n_siblings, rho).n_evaluations)
            found = self._fewest(n_siblings, rho, most, power)
            if found is not None and (best is None or found.n_evaluations < best.n_evaluations):
                best = found
        return best

    def strongest(self, budget: int) -> Design:
        """The most power, then the least median bound, that the budget buys."""
        candidates = []
        for n_siblings, rho in self._kinds():
            most = min(MAX_FAMILIES, budget // self.design(1, n_siblings, rho).n_evaluations)
            if most >= MIN_FAMILIES:
                candidates.append(self.design(most, n_siblings, rho))
        if not candidates:
            least = MIN_FAMILIES * self.design(1, min(SIBLINGS), 0.5).n_evaluations
            raise BudgetError(
                f"gaussian: expected a budget of at least {least} retrainings, got {budget}: raise --max-retrainings "
                f"to {least}"
            )
        for doublings in range(20):  # where hardly any has power at epsilon, the most at the least multiple of it
            powers = [self.power(design, self.epsilon * 2**doublings) for design in candidates]
            if max(powers) >= _SOME_POWER:
                break
        return candidates[int(np.argmax(powers))]

    def looks(self, design: Design, budget: int, n_looks: int) -> tuple[int, ...]:
        """Families in all up to each look, for the fewest evaluations expected of ``budget``.

        ``design`` is what a single look would need. Tried are first looks at a share of it, and last looks but one from
        it up to the budget.
        """
        total = min(MAX_FAMILIES, budget // (design.n_evaluations // design.n_families))
        mains = [design.n_families]
        while mains[-1] * _GROWTH < total:
            mains.append(int(mains[-1] * _GROWTH))
        firsts = {max(MIN_FAMILIES, int(design.n_families * share)) for share in _FIRST_LOOKS}
        tried = {_up_to(first, main, total, n_looks) for first in sorted(firsts) for main in mains}
        return min(sorted(tried), key=lambda totals: self._expected(design, totals))

    def _expected(self, design: Design, totals: tuple[int, ...]) -> float:
        """Families expected to be trained, at most."""
        undecided = (1.0, *(1 - power for power in self.powers(design, totals)[:-1]))
        return sum(
            share * (after - before) for share, (before, after) in zip(undecided, pairwise((0, *totals)), strict=True)
        )

    def _kinds(self) -> Iterator[tuple[int, float]]:
        return ((n_siblings, rho) for n_siblings in SIBLINGS for rho in RHOS)

    def _fewest(self, n_siblings: int, rho: float, most: int, power: float) -> Design | None:
        low, high = MIN_FAMILIES, min(most, MAX_FAMILIES)
        if high < low or self.power(self.design(high, n_siblings, rho)) < power:
            return None
        while low < high:
            middle = (low + high) // 2
            if self.power(self.design(middle, n_siblings, rho)) >= power:
                high = middle
            else:
                low = middle + 1
        return self.design(low, n_siblings, rho)


def _growing(first: int, last: int, n_looks: int) -> tuple[int, ...]:
    """At most ``n_looks`` totals from ``first`` to ``last``, each by one factor larger, and by MIN_GROWTH at least."""
    if n_looks == 1:
        return (last,)
    ratio = max((last / first) ** (1 / (n_looks - 1)), MIN_GROWTH)
    totals = [first]
    while len(totals) < n_looks - 1 and totals[-1] * ratio < last:
        totals.append(-int(-totals[-1] * ratio // 1))
    while totals and totals[-1] * MIN_GROWTH > last:
        totals.pop()
    return (*totals, last)


def _up_to(first: int, main: int, total: int, n_looks: int) -> tuple[int, ...]:
    """Looks from ``first`` to ``main``, and one more for what is left of ``total`` families."""
    if n_looks == 1 or main * MIN_GROWTH > total:
        return _growing(min(first, total), total, n_looks)
    return (*_growing(min(first, main), main, n_looks - 1), total)
