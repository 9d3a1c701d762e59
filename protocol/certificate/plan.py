"""The cheapest terms that will accept an honest claim (THEORY 2.9).

The planner asks how likely the certificate's bound (``families.upper_bound_of``) is to be at most
epsilon over the distribution that its mean squares have when the claim is as good as its
figures say, and picks families, siblings and correlation for the fewest retrainings expected.
Figures come from the prover: a lie there makes the plan too small or too large, which costs time,
and never touches soundness, because the terms alone decide what is accepted.

What is promised is "at least". Residuals are taken as Gaussian, all weight above degree one as of
the least degree that the certificate cannot tell from it, and targets, of whose joint distribution
figures say nothing, as erring together across the mean and apart across every: see ``Outlook``.
benchmarks/plans_keep_their_promise.py holds promises against what comes.

Letters: B families, s siblings, rho their correlation; T targets; g the relative gap expected of
the claim, v its odd residual's share of Var f; nu the residuals' effective rank over targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from protocol.certificate import spot_check
from protocol.certificate.forecast import Forecast, Outlook, missed, rows_of
from protocol.certificate.terms import Across, Assurance, Terms
from protocol.errors import ArgumentError, BudgetError
from protocol.sampling import Design, families
from protocol.task import Task

__all__ = ["Forecast", "Outlook", "Plan", "Shape", "best_within", "retrainings_needed"]

MIN_FAMILIES = 10
"""Fewer make the Gaussian step of the certificate doubtful: see benchmarks/RESULTS.md for where coverage gives out."""
MAX_FAMILIES = 1 << 14
MAX_FALSE_SHARE = 0.05
"""Audited plans recheck enough answers that, all clean, at most this share can be false."""
SIBLINGS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48)
RHOS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8)
_SOME_POWER = 0.1
_LARGER = 1.15  # steps in which a first look larger than the least is tried


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Terms and what they are expected to cost and to give.

    first, last : forecasts at the first look and with every look taken.
    n_retrained : (first look, all looks) trainings done by the verifier.
    n_answered : (first look, all looks) trainings asked of the prover; 0 when proved.
    sufficient : whether the last look's power reaches what was asked for.
    undecided : probability, at most, that each look is taken; () when every round always is.
    """

    terms: Terms
    first: Forecast
    last: Forecast
    n_retrained: tuple[int, int]
    n_answered: tuple[int, int]
    sufficient: bool
    undecided: tuple[float, ...] = ()

    @property
    def expected_retrained(self) -> float:
        """Trainings done by the verifier on average, at most, if the claim is as good as the outlook says."""
        if not self.undecided:
            return float(self.n_retrained[1])
        if self.terms.assurance is Assurance.AUDITED:
            return self.terms.n_checks * sum(self.undecided)
        return self._expected_evaluations()

    @property
    def expected_answered(self) -> float:
        """Trainings asked of the prover on average, likewise; 0 when proved."""
        if not self.undecided or self.terms.assurance is Assurance.PROVED:
            return float(self.n_answered[1])
        return self._expected_evaluations()

    def _expected_evaluations(self) -> float:
        looks = zip(self.terms.looks, self.undecided, strict=True)
        return float(sum(look.n_evaluations * share for look, share in looks))


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
    """Return the plan of fewest expected trainings whose first look reaches ``power``; failing that, the strongest.

    Trainings are the verifier's when proved and the prover's when audited. A larger first look is preferred where it
    saves more of the later ones than it takes.

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
    _check_asked(epsilon, delta)
    if not 1 <= n_looks <= 16:
        raise ArgumentError(f"looks: expected 1 to 16, got {n_looks}")
    audited = assurance is Assurance.AUDITED
    budget = max_answers if audited else max_retrainings
    first_delta = delta / 2 if n_looks > 1 else delta
    checks = _checks(n_looks, first_delta, n_checks, max_retrainings, max_answers) if audited else 0
    shape = Shape(task, across, epsilon, first_delta, outlook, checks)
    design = shape.cheapest(budget, power) or shape.strongest(budget)
    if n_looks > 1:
        design = shape.enlarged(design, budget)
    if design.n_evaluations < checks:
        n_families = -(-checks * design.n_families // design.n_evaluations)
        design = replace(design, n_families=n_families)
    looks = (design, *_later_looks(design, budget - design.n_evaluations, n_looks - 1, checks))
    terms = Terms(epsilon=epsilon, delta=delta, across=across, assurance=assurance, looks=looks, n_checks=checks)
    shapes = [
        Shape(task, across, epsilon, terms.delta_at(look), outlook, checks * (look + 1)) for look in range(len(looks))
    ]
    powers = [shape.power(_pooled(looks[: look + 1])) for look, shape in enumerate(shapes)]
    power_at = np.maximum.accumulate(powers).tolist()  # accepted by then, at least
    total = sum(look.n_evaluations for look in looks)
    retrained = (checks, checks * len(looks)) if audited else (design.n_evaluations, total)
    return Plan(
        terms=terms,
        first=Forecast(median_bound=shapes[0].median_bound(design), power=power_at[0]),
        last=Forecast(median_bound=shapes[-1].median_bound(_pooled(looks)), power=power_at[-1]),
        n_retrained=retrained,
        n_answered=(design.n_evaluations, total) if audited else (0, 0),
        sufficient=power_at[-1] >= power,
        undecided=(1.0, *(1 - reached for reached in power_at[:-1])),
    )


def _check_asked(epsilon: float, delta: float) -> None:
    if not 0 < epsilon < 1:
        raise ArgumentError(f"epsilon: expected a relative gap above 0 and below 1, got {epsilon}")
    if not 0 < delta < 1:
        raise ArgumentError(f"delta: expected a probability strictly between 0 and 1, got {delta}")


def retrainings_needed(
    task: Task, *, epsilon: float, delta: float, across: Across, outlook: Outlook, power: float = 0.9
) -> int | None:
    """Return the fewest retrainings whose single look reaches ``power``, or None when no number would.

    None means that the claim's own figures put its gap at or above epsilon: ask for a better claim.
    """
    design = Shape(task, across, epsilon, delta, outlook).cheapest(None, power)
    return None if design is None else design.n_evaluations


class Shape:
    """The search for a design, and what it holds fixed; n_checks is 0 when everything is retrained."""

    def __init__(
        self, task: Task, across: Across, epsilon: float, delta: float, outlook: Outlook, n_checks: int = 0
    ) -> None:
        _check_asked(epsilon, delta)
        self.p, self.complements = task.p, task.has_complements
        n_rows = task.n_targets if across is Across.EVERY else 1
        self.epsilon, self.alpha = epsilon, delta / n_rows
        self.outlook = outlook if across is Across.MEAN else replace(outlook, rank=1.0)
        self.rows = rows_of(n_rows, outlook.spread)
        self.n_checks = n_checks

    def design(self, n_families: int, n_siblings: int, rho: float) -> Design:
        """Families, with complements where the task has them."""
        return families(n_families=n_families, n_siblings=n_siblings, rho=rho, complements=self.complements)

    def power(self, design: Design, epsilon: float | None = None) -> float:
        """Least probability that every row's bound is at most epsilon: one less what all rows can miss."""
        expected = missed(
            design.n_families, design.n_siblings, round(design.rho, 6), self.p, self.alpha, self.outlook, self.rows,
            self.n_checks, self.epsilon if epsilon is None else epsilon,
        )  # fmt: skip
        return max(0.0, 1 - expected)

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
            least = self.design(MIN_FAMILIES, min(SIBLINGS), 0.5).n_evaluations
            what, where = ("answers", ", where the server answers as many") if self.n_checks else ("retrainings", "")
            raise BudgetError(
                f"expected a budget of at least {least} {what}, got {budget}: raise --max-{what} to {least}{where}"
            )
        for doublings in range(20):  # where hardly any has power at epsilon, the most at the least multiple of it
            powers = [self.power(design, self.epsilon * 2**doublings) for design in candidates]
            if max(powers) >= _SOME_POWER:
                break
        return candidates[int(np.argmax(powers))]

    def enlarged(self, design: Design, budget: int) -> Design:
        """The first look, no smaller than ``design``, that leaves the fewest evaluations to expect of ``budget``.

        Of the looks after the first all is counted, which is at most what a third or later one saves.
        """
        best, least = design, float(budget)
        grown = design
        while grown.n_evaluations <= budget:
            left = budget - grown.n_evaluations
            expected = grown.n_evaluations + (1 - self.power(grown)) * left
            if expected < least:
                best, least = grown, expected
            grown = replace(grown, n_families=max(grown.n_families + 1, int(grown.n_families * _LARGER)))
        return best

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
        raise BudgetError(
            f"expected a budget of at least {needed} retrainings for the checks, got {max_retrainings}: raise "
            f"--max-retrainings to {needed}"
        )
    return n_checks
