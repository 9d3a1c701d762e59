"""The cheapest terms that will accept an honest claim (THEORY 2, 3).

The planner runs the certificate's own bound (``families.upper_bound_of``) over the distribution
that its mean squares have when the claim is as good as its figures say, and picks families,
siblings and correlation for the fewest retrainings. Figures come from the prover: a lie there
makes the plan too small or too large, which costs time, and never touches soundness, because
the terms alone decide what is accepted.

Letters: B families, s siblings, rho their correlation; g the relative gap expected of the claim,
v its odd residual's share of Var f.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Float64

from protocol.certificate import bounds, spot_check
from protocol.certificate.families import degrees_of_freedom, upper_bound_of
from protocol.certificate.terms import Across, Assurance, Terms
from protocol.claim import Figures
from protocol.errors import ArgumentError, BudgetError
from protocol.sampling import Design, families
from protocol.task import Task

MIN_FAMILIES = 10
"""Fewer make the Gaussian step of the certificate doubtful: see benchmarks/RESULTS.md for where coverage gives out."""
MAX_FAMILIES = 1 << 14
MAX_FALSE_SHARE = 0.05
"""Audited plans recheck enough answers that, all clean, at most this share can be false."""

_SIBLINGS = (2, 3, 4, 6, 8, 12, 16, 24, 32)
_RHOS = (0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
_GRID = (np.arange(48) + 0.5) / 48


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What is expected of a claim; see ``claim.Figures`` for the three numbers."""

    relative_gap: float
    residual: float
    r2: float

    @staticmethod
    def of(figures: Figures | None) -> Outlook:
        """Return the outlook that figures give, kept within what is possible; a guess when there are none."""
        if figures is None:
            return Outlook(relative_gap=0.01, residual=0.05, r2=0.9)
        gap = min(figures.relative_gap, 1.0)
        return Outlook(
            relative_gap=gap, residual=min(max(figures.odd_residual, gap, 1e-9), 2.0), r2=max(figures.r2, 0.0)
        )


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What one design is expected to give.

    median_bound : of the upper bound on the relative gap.
    power : least probability that the claim is accepted, if it is as good as the outlook says.
    """

    median_bound: float
    power: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Terms and what they are expected to cost and to give.

    first, last : forecasts at the first look and with every look taken.
    n_retrained : (first look, all looks) trainings done by the verifier.
    n_answered : (first look, all looks) trainings asked of the prover; 0 when proved.
    sufficient : whether the last look's power reaches what was asked for.
    """

    terms: Terms
    first: Forecast
    last: Forecast
    n_retrained: tuple[int, int]
    n_answered: tuple[int, int]
    sufficient: bool


def best_within(
    task: Task,
    *,
    epsilon: float,
    delta: float,
    across: Across,
    assurance: Assurance,
    outlook: Outlook,
    max_retrainings: int,
    max_answers: int = 4000,
    n_checks: int | None = None,
    n_looks: int = 2,
    power: float = 0.9,
) -> Plan:
    """Return the plan with the fewest retrainings whose first look reaches ``power``; failing that, the strongest.

    Parameters
    ----------
    max_retrainings : most trainings that the verifier will do, over all looks.
    max_answers : most trainings asked of the prover, over all looks; audited only.
    n_checks : answers rechecked in each look; by default enough for MAX_FALSE_SHARE.
    n_looks : with more than one, the looks after the first share out the rest of the budget.
    power : probability, at least, with which an honest claim shall be accepted at the first look.

    Raises
    ------
    BudgetError
        The budget does not reach the smallest design, or the checks; it says what would.
    ArgumentError
        epsilon, delta, n_looks or n_checks out of range.
    """
    if not 1 <= n_looks <= 16:
        raise ArgumentError(f"looks: expected 1 to 16, got {n_looks}")
    audited = assurance is Assurance.AUDITED
    budget = max_answers if audited else max_retrainings
    first_delta = delta / 2 if n_looks > 1 else delta
    checks = _checks(n_looks, first_delta, n_checks, max_retrainings, max_answers) if audited else 0
    shape = _Shape(task, across, epsilon, first_delta, outlook, checks)
    design = shape.cheapest(budget, power) or shape.strongest(budget)
    if design.n_evaluations < checks:
        n_families = -(-checks * design.n_families // design.n_evaluations)
        design = replace(design, n_families=n_families)
    looks = (design, *_later_looks(design, budget - design.n_evaluations, n_looks - 1, checks))
    terms = Terms(epsilon=epsilon, delta=delta, across=across, assurance=assurance, looks=looks, n_checks=checks)
    shape_last = _Shape(task, across, epsilon, terms.delta_at(len(looks) - 1), outlook, checks * len(looks))
    last = shape_last.forecast(_pooled(looks))
    total = sum(look.n_evaluations for look in looks)
    retrained = (checks, checks * len(looks)) if audited else (design.n_evaluations, total)
    return Plan(
        terms=terms,
        first=shape.forecast(design),
        last=last,
        n_retrained=retrained,
        n_answered=(design.n_evaluations, total) if audited else (0, 0),
        sufficient=last.power >= power,
    )


def retrainings_needed(
    task: Task, *, epsilon: float, delta: float, across: Across, outlook: Outlook, power: float = 0.9
) -> int | None:
    """Return the fewest retrainings whose single look reaches ``power``, or None when no number would.

    None means that the claim's own figures put its gap at or above epsilon: ask for a better claim.
    """
    design = _Shape(task, across, epsilon, delta, outlook).cheapest(None, power)
    return None if design is None else design.n_evaluations


class _Shape:
    """What the search holds fixed; n_checks is 0 when everything is retrained."""

    def __init__(
        self, task: Task, across: Across, epsilon: float, delta: float, outlook: Outlook, n_checks: int = 0
    ) -> None:
        if not 0 < epsilon < 1:
            raise ArgumentError(f"epsilon: expected a relative gap above 0 and below 1, got {epsilon}")
        if not 0 < delta < 1:
            raise ArgumentError(f"delta: expected a probability strictly between 0 and 1, got {delta}")
        self.p, self.complements = task.p, task.has_complements
        self.n_rows = task.n_targets if across is Across.EVERY else 1
        self.epsilon, self.alpha, self.outlook = epsilon, delta / self.n_rows, outlook
        self.n_checks = n_checks

    def design(self, n_families: int, n_siblings: int, rho: float) -> Design:
        return families(n_families=n_families, n_siblings=n_siblings, rho=rho, complements=self.complements)

    def forecast(self, design: Design) -> Forecast:
        kind = (design.n_families, design.n_siblings, round(design.rho, 6))
        bound = _bounds(*kind, self.p, self.alpha, self.outlook, self.n_checks)
        accepted = float((bound <= self.epsilon).mean())
        return Forecast(median_bound=float(np.median(bound)), power=max(0.0, 1 - self.n_rows * (1 - accepted)))

    def cheapest(self, budget: int | None, power: float) -> Design | None:
        """The fewest evaluations that reach ``power``; ties go to more families, which are closer to Gaussian."""
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
            least = self.design(MIN_FAMILIES, min(_SIBLINGS), 0.5).n_evaluations
            raise BudgetError(f"expected a budget of at least {least} retrainings, got {budget}: raise it to {least}")
        forecasts = [self.forecast(design) for design in candidates]
        order = sorted(range(len(candidates)), key=lambda i: (-forecasts[i].power, forecasts[i].median_bound))
        return candidates[order[0]]

    def _kinds(self) -> Iterator[tuple[int, float]]:
        return ((n_siblings, rho) for n_siblings in _SIBLINGS for rho in _RHOS)

    def _fewest(self, n_siblings: int, rho: float, most: int, power: float) -> Design | None:
        low, high = MIN_FAMILIES, min(most, MAX_FAMILIES)
        if high < low or self.forecast(self.design(high, n_siblings, rho)).power < power:
            return None
        while low < high:
            middle = (low + high) // 2
            if self.forecast(self.design(middle, n_siblings, rho)).power >= power:
                high = middle
            else:
                low = middle + 1
        return self.design(low, n_siblings, rho)


@lru_cache(maxsize=4096)
def _bounds(
    n_families: int, n_siblings: int, rho: float, p: float, alpha: float, outlook: Outlook, n_checks: int
) -> Float64[np.ndarray, " q"]:
    """The upper bound at a grid of equally likely values of MSB and MSW, Var f's error at its expectation."""
    g, v, s = outlook.relative_gap, outlook.residual, n_siblings
    above = rho**3 if p == 0.5 else rho**2  # what a sibling shares of the weight above degree one, at most
    between = rho * g + above * (v - g)
    n_b, n_w = degrees_of_freedom(n_families, s, p)
    msb = (v + (s - 1) * between) * np.array([bounds.chi2_quantile(q, n_b) for q in _GRID]) / n_b
    msw = (v - between) * np.array([bounds.chi2_quantile(q, n_w) for q in _GRID]) / n_w
    rest = 1 - min(outlook.r2, 1.0)
    if n_checks:  # as families.certify has it: MSW is not taken off, and Var f comes from the checks
        msw, error = np.zeros_like(msw), np.sqrt((4 * rest + 2 * rest**2) / n_checks)
        error = -bounds.t_quantile(alpha, n_checks - 1) * error
    else:  # one subset's share in Var f varies by about 2 g~ r + (even part)^2; siblings share rho of it
        error = np.sqrt((4 * v + 2 * rest**2) * (1 + (s - 1) * rho) / (s * n_families))
        error = -bounds.t_quantile(alpha, n_families - 1) * error
    msb, msw = (axis.ravel() for axis in np.meshgrid(msb, msw))
    return upper_bound_of(
        msb, msw, np.full(len(msb), error), np.zeros(len(msb)), s=s, rho=rho, n_b=n_b, n_w=n_w, alpha=alpha
    )


def _later_looks(design: Design, left: int, n_looks: int, checks: int) -> list[Design]:
    """Share what is left of the budget among the later looks, each at least one family and all of its checks."""
    per_family = design.n_evaluations // design.n_families
    least = max(1, -(-checks // per_family))
    n_families = max(left, 0) // per_family
    n_looks = min(n_looks, n_families // least)
    sizes = [n_families // n_looks + (i < n_families % n_looks) for i in range(n_looks)] if n_looks else []
    return [replace(design, n_families=size) for size in sizes]


def _pooled(looks: tuple[Design, ...]) -> Design:
    return replace(looks[0], n_families=sum(look.n_families for look in looks))


def _checks(n_looks: int, delta: float, n_checks: int | None, max_retrainings: int, max_answers: int) -> int:
    """Answers to recheck in each look: what was asked for, or enough for MAX_FALSE_SHARE, within the budget."""
    if n_checks is None:
        wanted = spot_check.checks_needed(max_answers, int(MAX_FALSE_SHARE * max_answers), delta)
        n_checks = min(wanted, max(2, max_retrainings // n_looks))
    if n_checks < 2:
        raise ArgumentError(f"n_checks: expected at least 2 answers to recheck in each look, got {n_checks}")
    if n_checks * n_looks > max_retrainings:
        needed = n_checks * n_looks
        raise BudgetError(f"expected a budget of at least {needed} retrainings for the checks, got {max_retrainings}")
    return n_checks
