"""A prover's answers under the moment certificate: lies anywhere, drift within the tolerance, plans and their promise.

Levels are simulated with a stated binomial margin: a true one fails a test with probability below FALSE_ALARM.
"""

from __future__ import annotations

import itertools
import math
import re
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from protocol.certificate import betting, spot_check
from protocol.certificate.moments import bound, delegated, plan_delegated
from protocol.certificate.moments.certificate import (
    MomentsCertificate,
    certify,
    squares_shown,
    variance_shown,
)
from protocol.certificate.moments.method import Moments
from protocol.certificate.moments.plan import FLOOR, pilot_design
from protocol.certificate.moments.plan_delegated import (
    CHECK_SHARE,
    GAP_SHARE,
    VARIANCE_SHARE,
    cutoff_of,
    despite_lies,
)
from protocol.certificate.moments.tally import Rows, Tally
from protocol.certificate.planning import Budget, Outlook, Plan
from protocol.certificate.terms import Across, Answers, Terms
from protocol.claim import Figures
from protocol.errors import ArgumentError, BudgetError
from protocol.game import Measure, SeedPolicy, Statement
from protocol.game.known import Linear, Polynomial, Stack
from protocol.game.sampling import Bases
from tests.protocol.certificate.moments.worlds import World, first, tallied

FALSE_ALARM = 1e-4
MOMENTS = Moments()
FIGURES = Figures(relative_gap=0.005, odd_residual=0.0145, r2=0.98, n_retrainings=100)
KURTOSIS = 9.0


def game_of(*, n_targets: int = 1, p: float = 0.5, per_subset: bool = False) -> Statement:
    return Statement(
        name="planned", n_units=50, lo=-np.ones(n_targets), hi=np.ones(n_targets),
        measure=Measure(p_16=round(65536 * p)),
        seed_policy=SeedPolicy.PER_SUBSET if per_subset else SeedPolicy.SHARED,
    )  # fmt: skip


def terms_of(*, epsilon: float = 0.05, kurtosis: float = KURTOSIS, across: Across = Across.POOLED) -> Terms:
    return Terms(
        epsilon=epsilon, delta=0.05, across=across, answers=Answers.DELEGATED, method="moments", kurtosis=kurtosis
    )  # fmt: skip


def planned(
    budget: Budget, figures: Figures | None = FIGURES, *, game: Statement | None = None, terms: Terms | None = None
) -> Plan:
    return MOMENTS.plan(game or game_of(), None, figures, terms or terms_of(), budget, None)


# ---------------------------------------------------------------- lies


def certified(tally: Tally, rows: Rows, across: Across = Across.POOLED, delta: float = 0.05) -> MomentsCertificate:
    return certify(
        tally, rows, across=across, kurtosis=KURTOSIS, delta=delta, horizon=tally.n_families, n_siblings=1, rho=1.0,
        n_pilot=20,
    )  # fmt: skip


def judged(
    tally: Tally, rows: Rows, n_checks: int, n_false: int, *, shift: float = 0.0, across: Across = Across.POOLED,
    delta: float = 0.05,
) -> MomentsCertificate:  # fmt: skip
    """The first families are those that were retrained."""
    found = certified(tally, rows, across, delta)
    return despite_lies(
        found, tally, rows, first(tally, n_checks), n_false=n_false, shift=np.full(rows.n_rows, shift)
    )  # fmt: skip


POLYNOMIAL = Polynomial(20, 0.8, 0.05, 0.15)
WORLD = World(game=POLYNOMIAL, scores=0.8 * POLYNOMIAL.best)
N_PAIRS, N_CHECKS = 150, 60


def drawn(seed: int = 1) -> tuple[Tally, Rows]:
    rng = np.random.default_rng(seed)
    return tallied(WORLD, WORLD.pilot(rng), *WORLD.readings(rng, N_PAIRS))


def bound_of_truth(tally: Tally, n_false: int) -> float:
    """What the true values would be bounded by with the cut-off that allows for so many lies."""
    cutoff = cutoff_of(N_PAIRS, n_false, KURTOSIS, GAP_SHARE * 0.05, is_one=True)
    return delegated.upper_despite_lies(tally.squares[:, 0], 0, KURTOSIS, GAP_SHARE * 0.05, 0.0, cutoff=cutoff)


def lied(tally: Tally, pairs: list[int] | np.ndarray, value: float = 0.0) -> Tally:
    squares = tally.squares.copy()
    squares[pairs] = value
    return replace(tally, squares=squares)


def test_no_one_lie_takes_the_bound_below_that_of_the_truth() -> None:
    """Each pair in turn, answered so that it says nothing is wrong: the bound allows for it wherever it is."""
    tally, rows = drawn()
    truth, gap = bound_of_truth(tally, 1), float(rows.of(WORLD.gap)[0])
    assert truth > gap
    for pair in range(N_CHECKS, N_PAIRS):
        assert judged(lied(tally, [pair]), rows, N_CHECKS, 1).gap_upper[0] >= truth


@pytest.mark.parametrize("n_false", [1, 2, 4, 6])
def test_greedy_lies_do_not_take_the_bound_below_that_of_the_truth(n_false: int) -> None:
    tally, rows = drawn()
    worst = np.argsort(-tally.squares[:, 0])[:n_false]
    found = judged(lied(tally, worst), rows, N_CHECKS, n_false)
    assert found.gap_upper[0] >= bound_of_truth(tally, n_false)
    assert found.n_false == n_false
    assert found.gap_upper[0] > judged(tally, rows, N_CHECKS, 0).gap_upper[0], "and lies cost the prover something"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, N_PAIRS - 1), st.sampled_from([0.0, 1e-9, 0.1, 1.0, 50.0])), max_size=5))
def test_no_few_lies_of_any_kind_take_the_bound_below_that_of_the_truth(lies: list[tuple[int, float]]) -> None:
    tally, rows = drawn()
    told = tally
    for pair, value in lies:
        told = lied(told, [pair], value)
    assert judged(told, rows, N_CHECKS, 5).gap_upper[0] >= bound_of_truth(tally, 5)


def test_a_lie_more_than_allowed_for_can_take_it_below() -> None:
    """So that the tests above hold a bound that lies could break."""
    tally, rows = drawn()
    worst = np.argsort(-tally.squares[:, 0])
    for n_false, told in ((0, 1), (4, 40)):
        assert judged(lied(tally, worst[:told]), rows, N_CHECKS, n_false).gap_upper[0] < bound_of_truth(tally, n_false)


@pytest.mark.parametrize("n_false", [0, 3])
def test_answers_that_all_drift_by_the_tolerance_do_not_take_it_below(n_false: int) -> None:
    """Every root of a square is smaller by what nobody can catch, and a few pairs are false besides."""
    tally, rows = drawn()
    shift = 0.2 * math.sqrt(float(tally.squares.mean()))
    drifted = np.maximum(np.sqrt(tally.squares) - shift, 0.0) ** 2
    told = lied(replace(tally, squares=drifted), np.argsort(-tally.squares[:, 0])[:n_false])
    assert judged(told, rows, N_CHECKS, n_false, shift=shift).gap_upper[0] >= bound_of_truth(tally, n_false)
    assert (
        judged(told, rows, N_CHECKS, n_false).gap_upper[0]
        < judged(told, rows, N_CHECKS, n_false, shift=shift).gap_upper[0]
    )


def test_the_variance_is_shown_by_what_was_retrained_here_alone() -> None:
    """Answers that nobody checked may say anything of the residual along the claim."""
    tally, rows = drawn()
    honest = judged(tally, rows, N_CHECKS, 0)
    along, below = tally.along.copy(), tally.below.copy()
    along[N_CHECKS:], below[N_CHECKS:] = 5.0, 1.0
    told = judged(replace(tally, along=along, below=below), rows, N_CHECKS, 0)
    assert told.variance_lower == pytest.approx(honest.variance_lower, rel=1e-12)
    assert told.upper == pytest.approx(honest.upper, rel=1e-12)
    ours, delta = first(tally, N_CHECKS), VARIANCE_SHARE * 0.05
    squares = squares_shown(ours, rows, delta=delta)
    own = variance_shown(ours, rows, squares, kurtosis=KURTOSIS, delta=delta)
    assert honest.variance_lower[0] >= own[0]


@pytest.mark.parametrize("across", list(Across))
def test_several_targets_are_bounded_despite_lies(across: Across) -> None:
    game = Stack((Linear(8, 2.0), Polynomial(8, 0.5, 0.2, 0.3)))
    world = World(game=game, scores=0.9 * game.best)
    rng = np.random.default_rng(2)
    tally, rows = tallied(world, world.pilot(rng), *world.readings(rng, 400), across)
    honest = judged(tally, rows, 200, 0, across=across)
    assert np.isfinite(honest.gap_upper).all()
    for row in range(rows.n_rows):
        worst = np.argsort(-tally.squares[:, row])[:3]
        assert (judged(lied(tally, worst), rows, 200, 3, across=across).gap_upper >= honest.gap_upper * 0.999).all()


def test_whole_sessions_of_a_greedy_prover_keep_delta() -> None:
    """A gap just above epsilon, the most lies that the checks leave possible, each where it helps most, none caught.

    That none is caught is what CHECK_SHARE of delta is for; the rest is for these runs.
    """
    runs, delta, n, k = 120, 0.4, 200, 100
    game = Linear(16)
    world = World(game=game, scores=(1 - math.sqrt(0.0505)) * game.best)
    n_false = spot_check.most_false(n, k, CHECK_SHARE * delta)
    assert n_false > 0
    rng, accepted = np.random.default_rng(3), 0
    for _ in range(runs):
        tally, rows = tallied(world, world.pilot(rng), *world.readings(rng, n))
        worst = np.argsort(-tally.squares[:, 0])[:n_false]
        accepted += judged(lied(tally, worst), rows, k, n_false, delta=delta).upper_bound <= 0.05
    assert accepted <= stats.binom.isf(FALSE_ALARM, runs, (1 - CHECK_SHARE) * delta)


# ---------------------------------------------------------------- what is spent of delta


@pytest.mark.parametrize("across", list(Across))
@pytest.mark.parametrize("n_targets", [1, 2])
def test_checks_gap_and_variance_share_delta(monkeypatch: pytest.MonkeyPatch, across: Across, n_targets: int) -> None:
    """The probabilities that the bounds behind a verdict are asked at, and the checks', add up to delta."""
    game = Stack((Linear(8, 2.0), Polynomial(8, 0.5, 0.2, 0.3))) if n_targets == 2 else Linear(8)
    world = World(game=game, scores=0.9 * game.best)
    rng = np.random.default_rng(4)
    tally, rows = tallied(world, world.pilot(rng), *world.readings(rng, 100), across)
    found, own, spent = certified(tally, rows, across), first(tally, 90), {"gap": 0.0, "along": 0.0, "squares": 0.0}
    checks = MOMENTS.check_delta(terms_of(across=across), planned(Budget(max_retrainings=400)).rounds)

    def recorded(name: str, function: Any, place: int, columns: Any) -> Any:
        def called(*args: Any, **given_: Any) -> Any:
            spent[name] += args[place] * columns(args)
            return function(*args, **given_)

        return called

    upper = recorded("gap", delegated.upper_despite_lies, 3, lambda _: 1)
    monkeypatch.setattr(delegated, "upper_despite_lies", upper)
    lowers = recorded("along", bound.lowers_of_means, 4, lambda args: args[0].shape[1])
    monkeypatch.setattr(bound, "lowers_of_means", lowers)
    bets = recorded("squares", betting.lower_of_nonnegative, 1, lambda args: args[0].shape[1])
    monkeypatch.setattr(betting, "lower_of_nonnegative", bets)
    despite_lies(found, tally, rows, own, n_false=1, shift=np.zeros(rows.n_rows))
    total = checks + sum(spent.values())
    assert total == pytest.approx(0.05, rel=1e-12)


def test_the_cutoff_is_fixed_by_the_round_and_the_checks_alone() -> None:
    """Equal for any answers: it is looked up by number of pairs, of lies, K and alpha."""
    seen: set[float] = set()
    for seed, n_false in itertools.product((1, 2, 3), (0, 3)):
        tally, rows = drawn(seed)
        judged(lied(tally, [N_CHECKS], 100.0), rows, N_CHECKS, n_false)
        seen.add(cutoff_of(N_PAIRS, n_false, KURTOSIS, GAP_SHARE * 0.05, is_one=True))
    assert len(seen) == 2


# ---------------------------------------------------------------- budgets


def number_behind(option: str, error: BaseException) -> int:
    found = re.search(rf"{option} (\d+)", str(error))
    assert found is not None, str(error)
    return int(found[1])


@pytest.mark.parametrize("max_answers", [1, 159])
@pytest.mark.parametrize("max_served", [None, 100])
def test_too_few_answers_are_told_which_would_do(max_answers: int, max_served: int | None) -> None:
    with pytest.raises(BudgetError, match="answers are too few; the least is --max-answers 160") as caught:
        planned(Budget(max_retrainings=1000, max_answers=max_answers, max_served=max_served))
    enough = number_behind("--max-answers", caught.value)
    assert enough == 2 * FLOOR
    assert planned(Budget(max_retrainings=1000, max_answers=enough)).n_answered == (enough, enough)
    with pytest.raises(BudgetError, match="too few"):
        planned(Budget(max_retrainings=1000, max_answers=4000, max_served=159))


@pytest.mark.parametrize("n_checks", [None, 70, 300])
def test_too_few_retrainings_are_told_which_would_do(n_checks: int | None) -> None:
    with pytest.raises(BudgetError, match="the checks and the pilot take") as caught:
        planned(Budget(max_retrainings=21, n_checks=n_checks))
    enough = number_behind("take", caught.value)
    plan = planned(Budget(max_retrainings=enough, n_checks=n_checks))
    assert plan.n_retrained == (enough, enough)
    with pytest.raises(BudgetError):
        planned(Budget(max_retrainings=enough - 1, n_checks=n_checks))


def test_more_checks_than_answers_are_refused_whatever_the_budget() -> None:
    for max_retrainings in (10, 10**6):
        with pytest.raises(ArgumentError, match="n_checks: expected 1 to 100 pairs, as many as are answered, got 101"):
            planned(Budget(max_retrainings=max_retrainings, max_answers=200, n_checks=101))
    assert planned(Budget(max_retrainings=220, max_answers=200, n_checks=100)).rounds.n_checks == 100


@pytest.mark.parametrize(
    ("kurtosis", "budget"),
    [
        (1000.0, Budget(max_retrainings=1000, max_answers=4000)),
        (100.0, Budget(max_retrainings=300, max_answers=4000)),
        (9.0, Budget(max_retrainings=1000, max_answers=4000, n_checks=5)),
        (1e4, Budget(max_retrainings=200, max_answers=200)),
    ],
    ids=["few answers", "few checks", "few checks asked for", "few of everything"],
)
def test_where_no_bound_is_left_the_numbers_that_leave_one_are_said(kurtosis: float, budget: Budget) -> None:
    """Each refusal names an option and a number; taken in turn, they lead to a plan."""
    terms, options = terms_of(kurtosis=kurtosis), {"--max-retrainings", "--max-answers", "--n-checks"}
    for _ in range(6):
        try:
            plan = planned(budget, terms=terms)
            break
        except BudgetError as error:
            said = str(error)
        change = {
            option[2:].replace("-", "_"): int(found[1])
            for option in options
            if (found := re.search(rf"{option} (\d+)", said)) or (found := _of_the_checks(option, said))
        }
        assert change, said
        larger = replace(budget, **change)
        assert larger != budget, "a number that is there already would lead nowhere"
        budget = larger
    assert math.isfinite(plan.last.median_bound)
    MOMENTS.check_rounds(game_of(), terms, plan.rounds)


def _of_the_checks(option: str, said: str) -> re.Match[str] | None:
    return re.search(r"take (\d+) retrainings", said) if option == "--max-retrainings" else None


EXTREME = st.sampled_from([0.0, 5e-324, 1e-9, 0.01, 0.5, 1.0, 2.0, 1e300, 1.7e308])


@settings(max_examples=60, deadline=None)
@given(
    EXTREME, EXTREME, st.sampled_from([-1.7e308, 0.0, 0.5, 1.0]), st.sampled_from(list(Across)),
    st.sampled_from([(0.5, 1, False), (0.5, 3, True), (0.25, 1, False)]), st.sampled_from([None, 1, 60, 200]),
    st.sampled_from([230, 1000, 10**5]), st.sampled_from([400, 4000]),
)  # fmt: skip
def test_every_plan_is_admissible_and_within_its_budget(
    gap: float, residual: float, r2: float, across: Across, kind: tuple[float, int, bool], n_checks: int | None,
    max_retrainings: int, max_answers: int,
) -> None:  # fmt: skip
    """Whatever the figures: a plan, or a refusal that does not depend on them."""
    p, n_targets, per_subset = kind
    game, terms = game_of(p=p, n_targets=n_targets, per_subset=per_subset), terms_of(across=across)
    figures = Figures(relative_gap=gap, odd_residual=residual, r2=r2, n_retrainings=0)
    budget = Budget(max_retrainings=max_retrainings, max_answers=max_answers, n_checks=n_checks)
    try:
        plan = planned(budget, figures, game=game, terms=terms)
    except (BudgetError, ArgumentError) as error:
        with pytest.raises(type(error)):
            planned(budget, FIGURES, game=game, terms=terms)
        return
    MOMENTS.check_rounds(game, terms, plan.rounds)
    pilot, answered = plan.rounds.looks
    assert pilot == pilot_design(game)
    assert answered.bases is Bases.DRAWN
    assert answered.n_evaluations == plan.n_answered[0] <= max_answers
    assert plan.n_retrained[0] == pilot.n_evaluations + answered.n_sides * plan.rounds.n_checks <= max_retrainings
    assert n_checks is None or plan.rounds.n_checks == n_checks
    assert plan.last.median_bound >= 0
    assert 0 <= plan.last.power <= 1


def test_a_zero_claim_is_planned_for_and_promises_nothing() -> None:
    """Its figures may say that it explains nothing: no division by that."""
    figures = Figures(relative_gap=0.0, odd_residual=1.0, r2=0.0, n_retrainings=0)
    for n_checks in (None, 40):
        plan = planned(Budget(max_retrainings=300, n_checks=n_checks), figures)
        assert not plan.sufficient
        assert plan.last.power == 0
        assert plan.last.median_bound > 0.05


def test_a_wide_budget_is_planned_in_seconds() -> None:
    """A million answers are what `verifier plan` looks at by default."""
    start = time.process_time()
    planned(Budget(max_retrainings=10**6, max_answers=10**6))
    assert time.process_time() - start < 20


def test_across_the_mean_more_is_asked_than_of_a_pool() -> None:
    """Ten targets, each at a tenth of delta: more is asked, or it is said not to be enough."""
    game, budget = game_of(n_targets=10), Budget(max_retrainings=2000, max_answers=10_000)
    pooled = planned(budget, game=game)
    mean = planned(budget, game=game, terms=terms_of(across=Across.MEAN))
    assert pooled.sufficient
    assert not mean.sufficient or mean.n_retrained > pooled.n_retrained
    assert mean.last.median_bound > pooled.last.median_bound


# ---------------------------------------------------------------- the promise


@pytest.mark.parametrize("share", [0.0145, 0.02])
def test_nine_honest_claims_in_ten_are_accepted_as_forecast(share: float) -> None:
    """Plans that call themselves sufficient, played with as many lies allowed for as their checks leave possible."""
    game, runs = Polynomial(30, 1 - share, 0.0, share), 40
    world = World(game=game, scores=game.best)
    figures = Figures(relative_gap=0.0, odd_residual=share, r2=1 - share, n_retrainings=100)
    plan = planned(Budget(max_retrainings=1000), figures)
    assert plan.sufficient
    assert plan.last.power >= 0.9
    n, k = plan.rounds.looks[1].n_families, plan.rounds.n_checks
    n_false = spot_check.most_false(n, k, CHECK_SHARE * 0.05)
    rng, accepted = np.random.default_rng(5), 0
    for _ in range(runs):
        tally, rows = tallied(world, world.pilot(rng), *world.readings(rng, n))
        accepted += judged(tally, rows, k, n_false).upper_bound <= 0.05
    assert accepted >= stats.binom.ppf(FALSE_ALARM, runs, 0.9)


def test_the_forecasts_bound_is_that_of_a_typical_run() -> None:
    """Gaussian squares of mean 1, as its values are taken to be."""
    forecast = plan_delegated._Forecast(game_of(), terms_of(), Outlook.of(FIGURES))
    rng, alpha = np.random.default_rng(6), GAP_SHARE * 0.05
    for n, k in ((100, 100), (400, 150), (2000, 300)):
        n_false = spot_check.most_false(n, k, CHECK_SHARE * 0.05)
        cutoff = cutoff_of(n, n_false, KURTOSIS, alpha, is_one=True)
        found = [
            delegated.upper_despite_lies(rng.chisquare(1, n), n_false, KURTOSIS, alpha, 0.0, cutoff=cutoff)
            for _ in range(25)
        ]
        assert forecast.bound(n, k) == pytest.approx(float(np.median(found)), rel=0.1)
