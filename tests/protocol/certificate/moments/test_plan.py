"""Plans of the verifier's own trainings: within budget, admissible whatever the figures, and as cheap as expected."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from protocol.certificate.moments import bound
from protocol.certificate.moments.certificate import GAP_SHARE, certify
from protocol.certificate.moments.method import Moments, least_kurtosis
from protocol.certificate.moments.plan import (
    FLOOR,
    PILOT_FAMILIES,
    RHOS,
    SIBLINGS,
    Shape,
    first_look,
    pilot_design,
    plan_own,
)
from protocol.certificate.planning import Budget, Outlook, Plan, Seen
from protocol.certificate.terms import MAX_KURTOSIS, MAX_LOOKS, Across, Answers, Terms
from protocol.claim import Figures
from protocol.errors import BudgetError
from protocol.game import Measure, SeedPolicy, Statement
from protocol.game.known import Polynomial
from protocol.game.sampling import Bases
from tests.protocol.certificate.moments.worlds import World, columns, first

FALSE_ALARM = 1e-4
MOMENTS = Moments()
FIGURES = Figures(relative_gap=0.005, odd_residual=0.0145, r2=0.98, n_retrainings=100)


def game_of(*, n_targets: int = 1, p: float = 0.5, n_units: int = 5000, per_subset: bool = False) -> Statement:
    """Too many units for products across pairs, unless fewer are asked for."""
    return Statement(
        name="planned", n_units=n_units, lo=-np.ones(n_targets), hi=np.ones(n_targets),
        measure=Measure(p_16=round(65536 * p)),
        seed_policy=SeedPolicy.PER_SUBSET if per_subset else SeedPolicy.SHARED,
    )  # fmt: skip


def terms_of(
    game: Statement, *, epsilon: float = 0.05, kurtosis: float | None = None, across: Across = Across.POOLED
) -> Terms:
    usual = MOMENTS.kurtosis_of(Answers.OWN, game.measure)
    return Terms(
        epsilon=epsilon, delta=0.05, across=across, answers=Answers.OWN, method="moments",
        kurtosis=usual if kurtosis is None else kurtosis,
    )  # fmt: skip


def planned(
    game: Statement, terms: Terms, max_retrainings: int, figures: Figures | None = FIGURES, seen: Seen | None = None
) -> Plan:
    return MOMENTS.plan(game, None, figures, terms, Budget(max_retrainings=max_retrainings), seen)


def seen_of(residual: float, noise: float = 0.0, **change: Any) -> Seen:
    sd = math.sqrt(2)
    seen = Seen(
        n_subsets=10, residual=residual, noise=noise, explained=1 - residual, odd=1.0, residual_sd=sd, output_sd=sd
    )  # fmt: skip
    return replace(seen, **change)


def n_retrained(plan: Plan) -> int:
    return sum(look.n_evaluations for look in plan.rounds.looks)


# ---------------------------------------------------------------- the pilot


@pytest.mark.parametrize("p", [0.5, 0.25])
def test_the_pilot_is_ten_subsets_each_trained_twice_where_seeds_differ(p: float) -> None:
    shared, own = (pilot_design(game_of(p=p, per_subset=per_subset)) for per_subset in (False, True))
    sides = 2 if p == 0.5 else 1
    assert (shared.n_families, shared.n_siblings, shared.n_evaluations) == (10, 1, 10 * sides)
    assert (own.n_families, own.n_siblings, own.n_evaluations) == (PILOT_FAMILIES, 2, 20 * sides)
    assert own.rho > 0.9999
    assert shared.bases is own.bases is Bases.DRAWN


# ---------------------------------------------------------------- budgets


def least_of(error: BudgetError) -> int:
    """The number behind the option that the message names."""
    found = re.search(r"--max-retrainings (\d+)", str(error))
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("p", [0.5, 0.25])
@pytest.mark.parametrize("across", list(Across))
@pytest.mark.parametrize("kurtosis", [None, 40.0, 300.0, MAX_KURTOSIS])
def test_a_budget_that_is_too_small_is_told_which_would_do(p: float, across: Across, kurtosis: float | None) -> None:
    """And it does: with one retraining less there is no plan, whatever design the figures ask for."""
    game = game_of(p=p, n_targets=4)
    terms = terms_of(game, kurtosis=kurtosis, across=across)
    for figures in (FIGURES, replace(FIGURES, relative_gap=0.0, odd_residual=0.5, r2=0.5)):
        with pytest.raises(BudgetError, match="moments: 1 retrainings leave no bound at kurtosis") as caught:
            planned(game, terms, 1, figures)
        least = least_of(caught.value)
        plan = planned(game, terms, least, figures)
        MOMENTS.check_rounds(game, terms, plan.rounds)
        assert n_retrained(plan) == least
        with pytest.raises(BudgetError) as caught:
            planned(game, terms, least - 1, figures)
        assert least_of(caught.value) == least


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 10**5), st.sampled_from([6.0, 20.0, 100.0, 1000.0]), st.sampled_from([0.02, 0.2, 1.0, 2.0]))
def test_no_refusal_asks_for_less_than_there_is(budget: int, kurtosis: float, residual: float) -> None:
    """Large families must not be insisted on where small ones fit: a plan, or a number above the budget."""
    game = game_of()
    terms, figures = terms_of(game, kurtosis=kurtosis), replace(FIGURES, odd_residual=residual, r2=0.5)
    plan, least = None, 0
    try:
        plan = planned(game, terms, budget, figures)
    except BudgetError as error:
        least = least_of(error)
    assert n_retrained(plan) <= budget if plan else least > budget


def test_a_budget_for_small_families_only_is_not_called_sufficient() -> None:
    """Families of many siblings were wanted, and are out of reach; as many lone subsets do not do as well."""
    game = game_of()
    terms, figures = terms_of(game), replace(FIGURES, relative_gap=0.001, odd_residual=0.2, r2=0.8)
    shape = Shape(game=game, terms=terms, outlook=Outlook.of(figures))
    n_siblings, _, needed = shape.cheapest()
    assert n_siblings > 1
    assert needed is not None
    short = planned(game, terms, 20 + 2 * needed, figures)
    assert short.rounds.looks[1].n_siblings == 1
    assert not short.sufficient
    assert short.last.power < 0.5
    assert planned(game, terms, 20 + 2 * n_siblings * needed, figures).sufficient


# ---------------------------------------------------------------- looks


@pytest.mark.parametrize("budget", [180, 181, 182, 199, 500, 1000, 9999, 10**5, 10**6, 10**7])
@pytest.mark.parametrize("p", [0.5, 0.25])
def test_looks_sum_to_the_budget_and_are_no_more_than_a_session_holds(p: float, budget: int) -> None:
    game = game_of(p=p)
    terms = terms_of(game)
    plan = plan_own(game, terms, Budget(max_retrainings=budget), Outlook.of(FIGURES), is_seen=False)
    MOMENTS.check_rounds(game, terms, plan.rounds)
    looks = plan.rounds.looks[1:]
    sizes = [look.n_families for look in looks]
    each = looks[0].n_siblings * looks[0].n_sides
    assert len(plan.rounds.looks) <= MAX_LOOKS
    assert sizes[0] == first_look(terms.kurtosis or 0.0, GAP_SHARE * terms.delta) >= FLOOR
    assert 0 <= budget - n_retrained(plan) < each
    assert min(sizes) >= 1
    totals = list(itertools.accumulate(sizes))
    growth = max(0.05, (totals[-1] / sizes[0]) ** (1 / (MAX_LOOKS - 2)) - 1)
    for before, more in itertools.pairwise(totals):
        assert more - before <= math.ceil(growth * before) + 1, "no look is far from the one before"
    assert plan.n_retrained == (10 * looks[0].n_sides + sizes[0] * each, n_retrained(plan))
    assert looks[0].bases is (Bases.TILTED if p == 0.5 else Bases.DRAWN)


@pytest.mark.parametrize("budget", [10**9, 10**12])
def test_a_budget_beyond_what_rounds_hold_is_planned_as_far_as_they_do(budget: int) -> None:
    game = game_of()
    figures = replace(FIGURES, relative_gap=0.0, odd_residual=0.1, r2=0.9)
    plan = planned(game, terms_of(game), budget, figures)
    assert plan.rounds.looks[1].n_siblings > 1
    assert 10**7 < n_retrained(plan) < budget
    MOMENTS.check_rounds(game, terms_of(game), plan.rounds)


def test_the_first_look_is_the_first_that_may_accept() -> None:
    for kurtosis, alpha in ((3.75, 0.04), (6.0, 0.04), (9.0, 1e-6), (40.0, 0.04), (1e4, 0.04)):
        n = first_look(kurtosis, alpha)
        assert n >= FLOOR
        assert bound.anytime_quantile(n, kurtosis, alpha) > 0
        assert n == FLOOR or bound.anytime_quantile(n - 1, kurtosis, alpha) <= 0


# ---------------------------------------------------------------- figures from anywhere


EXTREME = st.sampled_from([0.0, 5e-324, 1e-300, 1e-9, 0.01, 0.5, 1.0, 2.0, 1e300, 1.7e308])
SQUARE = st.sampled_from([0.0, 5e-324, 1e-300, 1e-9, 0.01, 0.5, 1.0, 2.0, 1e150])
"""Of a pilot: a mean square whose own square is finite, as scores and ranges are bounded for."""


@settings(max_examples=80, deadline=None)
@given(
    EXTREME, EXTREME, st.sampled_from([-1.7e308, -1.0, 0.0, 0.5, 1.0]), st.booleans(), SQUARE, SQUARE, SQUARE,
    st.sampled_from([(0.5, 1, False), (0.5, 3, True), (0.25, 1, True), (0.25, 3, False)]),
    st.sampled_from(list(Across)), st.sampled_from([5, 5000]), st.sampled_from([400, 10**4, 10**12]),
)  # fmt: skip
def test_every_plan_is_admissible(
    gap: float, residual: float, r2: float, has_seen: bool, seen_residual: float, noise: float, explained: float,
    kind: tuple[float, int, bool], across: Across, n_units: int, budget: int,
) -> None:  # fmt: skip
    """Figures are the prover's, a pilot may be anything; a plan is refused by nothing, and stays within its budget."""
    p, n_targets, per_subset = kind
    game = game_of(p=p, n_targets=n_targets, per_subset=per_subset, n_units=n_units)
    terms = terms_of(game, across=across)
    figures = Figures(relative_gap=gap, odd_residual=residual, r2=r2, n_retrainings=0)
    seen = seen_of(seen_residual, noise, explained=explained) if has_seen else None
    plan = planned(game, terms, budget, figures, seen)
    MOMENTS.check_rounds(game, terms, plan.rounds)
    assert n_retrained(plan) <= budget
    assert plan.rounds.n_checks == 0
    assert plan.n_retrained[0] <= plan.n_retrained[1] == n_retrained(plan)
    assert 0 < plan.expected_retrained <= n_retrained(plan)
    for forecast in (plan.first, plan.last):
        assert forecast.median_bound >= 0
        assert 0 <= forecast.power <= 1


# ---------------------------------------------------------------- what it costs


def test_a_claim_like_digits_costs_180_retrainings() -> None:
    """Odd residual .0145, R^2 .98: the pilot and the floor, for one target and for 200."""
    for n_targets in (1, 200):
        plan = planned(game_of(n_targets=n_targets), terms_of(game_of()), 1000)
        assert plan.expected_retrained == 180 == plan.n_retrained[0]
        assert plan.sufficient
        assert 0.5 < plan.first.power < plan.last.power


@pytest.mark.parametrize(("residual", "epsilon", "most"), [(0.25, 0.05, 3500), (0.4, 0.02, 14_000)])
@pytest.mark.parametrize("n_units", [100, 5000])
def test_a_residual_of_noise_costs_what_knowing_it_saves(
    residual: float, epsilon: float, most: int, n_units: int
) -> None:
    """Siblings of nearly one subset average the noise out; not known to be noise, it costs far more."""
    game = game_of(per_subset=True, n_units=n_units)
    terms = terms_of(game, epsilon=epsilon)
    figures = replace(FIGURES, relative_gap=0.0, odd_residual=residual, r2=1 - residual)
    known = planned(game, terms, 10**6, figures, seen_of(residual, residual))
    assert known.sufficient
    assert known.expected_retrained <= most
    if n_units == 5000:
        unknown = planned(game, terms, 10**6, figures, seen_of(residual, 0.0))
        assert unknown.expected_retrained > 3 * known.expected_retrained
        assert known.rounds.looks[1].rho > 0.9


def test_a_wider_epsilon_or_a_better_claim_never_costs_more() -> None:
    game = game_of()
    costs = [
        [planned(game, terms_of(game, epsilon=e), 10**6, replace(FIGURES, odd_residual=v, r2=1 - v)).expected_retrained
         for e in (0.02, 0.05, 0.1, 0.3)]
        for v in (0.01, 0.03, 0.1, 0.3)
    ]  # fmt: skip
    assert (np.diff(costs, axis=1) <= 0).all()
    assert (np.diff(costs, axis=0) >= 0).all()


@pytest.mark.parametrize("p", [0.5, 0.25])
@pytest.mark.parametrize(("gap", "residual", "noise"), [(0.0, 0.1, 0.0), (0.005, 0.1, 0.05), (0.0, 0.25, 0.25)])
def test_no_design_tried_is_cheaper_than_the_one_taken(p: float, gap: float, residual: float, noise: float) -> None:
    game = game_of(p=p)
    outlook = Outlook(relative_gap=gap, residual=residual, r2=1 - residual, noise=noise)
    shape = Shape(game=game, terms=terms_of(game), outlook=outlook)
    n_siblings, rho, needed = shape.cheapest()
    assert needed is not None
    assert shape.families_needed(n_siblings, rho, chance=1.3) == needed
    kinds = [(1, 0.0), *itertools.product(SIBLINGS[1:], RHOS)]
    each = {kind: shape.families_needed(*kind, chance=1.3) for kind in kinds}
    assert needed * n_siblings == min(kind[0] * n for kind, n in each.items() if n is not None)


def test_the_expected_square_is_that_of_theory_2() -> None:
    """(v + (s-1) A) / (s rho), A = rho g + rho^3 (v - g - noise) at p = 1/2, where degree 2 is no part of it."""
    outlook = Outlook(relative_gap=0.02, residual=0.3, r2=0.7, noise=0.1)
    for p, degree in ((0.5, 3), (0.25, 2)):
        shape = Shape(game=game_of(p=p), terms=terms_of(game_of(p=p)), outlook=outlook)
        between = 0.6 * 0.02 + 0.6**degree * 0.18
        assert shape.mean(4, 0.6) == pytest.approx((0.3 + 3 * between) / 4 / 0.6, rel=1e-12)
        assert shape.mean(1, 0.0) == 0.3


def test_across_the_mean_each_target_has_its_own_share_of_delta() -> None:
    game = game_of(n_targets=10)
    outlook = Outlook.of(FIGURES)
    pooled, mean, every = (
        Shape(game=game, terms=terms_of(game, across=across), outlook=outlook)
        for across in (Across.POOLED, Across.MEAN, Across.EVERY)
    )
    assert mean.alpha == every.alpha == pytest.approx(pooled.alpha / 10)
    assert mean.allowed(1000) == every.allowed(1000) < pooled.allowed(1000) <= 0.05


@pytest.mark.parametrize("share", [0.0145, 0.03])
def test_nine_claims_in_ten_are_accepted_as_forecast(share: float) -> None:
    """A claim as good as its outlook, judged at the number of families that the planner needs."""
    game = Polynomial(30, 1 - share, 0.0, share)
    world = World(game=game, scores=game.best)
    statement = game_of()
    terms = terms_of(statement)
    outlook = Outlook(relative_gap=0.0, residual=share, r2=1 - share)
    shape = Shape(game=statement, terms=terms, outlook=outlook)
    n = shape.families_needed(1, 0.0, chance=1.3)
    assert n is not None
    runs = 60
    tally, rows = columns(world, np.random.default_rng(1), runs, n, tilted=True)
    found = certify(
        first(tally, n), rows, across=Across.EVERY, kurtosis=6.0, delta=0.05 * runs, horizon=n, n_siblings=1, rho=1.0,
        n_pilot=20,
    )  # fmt: skip
    accepted = int((found.upper <= terms.epsilon).sum())
    assert accepted >= stats.binom.ppf(FALSE_ALARM, runs, 0.9)


def test_the_least_kurtosis_is_the_linear_ones_with_the_weights() -> None:
    half, quarter = game_of().measure, game_of(p=0.25).measure
    assert least_kurtosis(Answers.DELEGATED, half) == half.linear_kurtosis == 3
    assert least_kurtosis(Answers.OWN, half) == pytest.approx(3 * 65536 / 52429)
    assert least_kurtosis(Answers.OWN, quarter) == least_kurtosis(Answers.DELEGATED, quarter) == quarter.linear_kurtosis
