"""The Gaussian quick look as a session drives it: plans, looks, products where units are few, and the noise pilot.

Fixed seeds. A rate fails its test when its exact binomial probability under what is promised is below 1 in 10,000.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from protocol.certificate.gaussian.families import MIN_FAMILIES
from protocol.certificate.gaussian.method import MIN_PAIRS, Gaussian, has_pilot
from protocol.certificate.gaussian.report import FamiliesReport, ProductsCertificate
from protocol.certificate.moments.plan import pilot_design
from protocol.certificate.planning import Budget
from protocol.certificate.terms import Across, Rounds
from protocol.errors import ArgumentError, BudgetError
from protocol.game.known import Alike, Linear, Polynomial, Stack
from protocol.game.sampling import Bases, families, pairs
from tests.protocol.certificate.judging import (
    Played,
    assert_reportable,
    judged,
    last,
    planned,
    played,
    terms_of,
    with_look,
)

METHOD = Gaussian()
FALSE_ALARM = 1e-4
BUDGET = Budget(max_retrainings=1500)
MANY_UNITS = played(Polynomial(n_units=3000, w1=0.97, w2=0.01, w3=0.02), bound=6.0)
FEW_UNITS = played(Polynomial(n_units=20, w1=0.97, w2=0.01, w3=0.02))
RARE = played(Polynomial(n_units=60, w1=0.97, w2=0.02, w3=0.01, p=0.3), bound=8.0)
NOISY = played(Polynomial(n_units=60, w1=0.97, w2=0.01, w3=0.02), noise=0.3)
STACKED = played(Stack((Polynomial(30, 0.97, 0.01, 0.02), Polynomial(30, 0.95, 0.02, 0.03))), n_targets=2)


def variances(game: Played) -> np.ndarray:
    """Var f of every target, noise included; all the known games here have variance 1."""
    return np.ones(game.statement.n_targets) + game.noise**2


def test_it_says_what_it_assumes_and_who_answered() -> None:
    assert METHOD.describe(terms_of(METHOD)) == "gaussian (Gaussian residuals), own"


@pytest.mark.parametrize(("game", "epsilon"), [(MANY_UNITS, 0.05), (RARE, 0.2), (STACKED, 0.05), (NOISY, 0.1)])
def test_an_honest_claim_is_accepted_and_its_half_is_not(game: Played, epsilon: float) -> None:
    terms = terms_of(METHOD, epsilon=epsilon)
    found = planned(METHOD, game, terms, BUDGET)
    assert found.sufficient
    honest = judged(METHOD, game, terms, found.rounds)
    uppers = [one.upper_bound for one in honest if one is not None]
    assert min(uppers) <= epsilon
    half = judged(METHOD, game, terms, found.rounds, claim=game.claim(0.5))
    assert min(one.upper_bound for one in half if one is not None) > epsilon
    gap = float((game.gap(game.claim(0.5)) / variances(game)).mean())
    assert 0.2 < gap < 0.25
    assert 0 < last(half).lower_bound < gap < last(half).upper_bound
    if game is MANY_UNITS:
        assert last(half).lower_bound > epsilon, "REJECT"
    for one in (last(honest), last(half)):
        assert one.undecided is None
        assert_reportable(one, game)


def test_looks_pool_their_families_and_the_bound_tightens() -> None:
    terms = terms_of(METHOD)
    rounds = planned(METHOD, MANY_UNITS, terms, BUDGET).rounds
    assert len(rounds.looks) > 2
    found = judged(METHOD, MANY_UNITS, terms, rounds)
    counts = [one.found.n_families for one in found if isinstance(one, FamiliesReport)]
    assert counts == np.cumsum([look.n_families for look in rounds.looks]).tolist()
    assert last(found).upper_bound < 0.5 * last(found[:1]).upper_bound
    levels = {one.found.level for one in found if isinstance(one, FamiliesReport)}
    assert len(levels) == 1
    assert 0.05 / len(counts) < levels.pop() < 0.05


def test_pooled_is_the_mean_and_every_has_a_row_a_target() -> None:
    rounds = Rounds(looks=(families(n_families=60, n_siblings=2, rho=0.6, complements=True),))
    by_across = {across: last(judged(METHOD, STACKED, terms_of(METHOD, across=across), rounds)) for across in Across}
    pooled, mean, every = (by_across[across] for across in Across)
    assert pooled.upper_bound == mean.upper_bound
    assert isinstance(every, FamiliesReport)
    assert every.found.upper.shape == (2,)
    assert every.upper_bound > mean.upper_bound
    assert "target" in {name: under for name, _, under in every.parts(STACKED.statement)}["relative gap, estimate"]


# ------------------------------------------------------------------------------------------- products across pairs


def test_few_units_are_judged_by_products_across_one_look_of_pairs() -> None:
    terms = terms_of(METHOD, epsilon=0.01)
    found = planned(METHOD, FEW_UNITS, terms, BUDGET)
    (look,) = found.rounds.looks
    assert (look.n_siblings, look.complements) == (1, True)
    assert found.n_retrained == (2 * look.n_families, 2 * look.n_families)
    one = last(judged(METHOD, FEW_UNITS, terms, found.rounds))
    assert isinstance(one, ProductsCertificate)
    assert one.n_pairs == look.n_families
    assert_reportable(one, FEW_UNITS)
    many = planned(METHOD, MANY_UNITS, terms, Budget(max_retrainings=20_000))
    assert many.rounds.looks[0].n_siblings > 1, "products would cost the root of so many units"


def test_products_accept_an_honest_claim_as_often_as_planned_and_one_beyond_epsilon_hardly() -> None:
    epsilon, runs = 0.02, 100
    terms = terms_of(METHOD, epsilon=epsilon)
    rounds = planned(METHOD, FEW_UNITS, terms, BUDGET).rounds
    off = FEW_UNITS.claim(1 - 1.05 * np.sqrt(epsilon / 0.97))
    assert 1.05 * epsilon < FEW_UNITS.gap(off)[0] < 1.2 * epsilon
    accepted = [
        sum(
            last(judged(METHOD, FEW_UNITS, terms, rounds, claim=claim, run=run)).upper_bound <= epsilon
            for run in range(runs)
        )
        for claim in (FEW_UNITS.claim(), off)
    ]
    assert accepted[0] >= stats.binom.ppf(FALSE_ALARM, runs, 0.9)
    assert accepted[1] <= stats.binom.isf(FALSE_ALARM, runs, terms.delta)


@pytest.mark.parametrize("factor", [0.5, 0.0, 3.0])
def test_products_and_the_residual_along_the_claim_bracket_the_gap_of_a_bad_claim(factor: float) -> None:
    """Both bounds fail in at most delta of the runs."""
    terms, runs = terms_of(METHOD), 60
    rounds = Rounds(looks=(pairs(60),))
    METHOD.check_rounds(FEW_UNITS.statement, terms, rounds)
    claim = FEW_UNITS.claim(factor)
    gap = float(FEW_UNITS.gap(claim)[0])
    found = [last(judged(METHOD, FEW_UNITS, terms, rounds, claim=claim, run=run)) for run in range(runs)]
    most = stats.binom.isf(FALSE_ALARM, runs, terms.delta)
    assert sum(one.upper_bound < gap for one in found) <= most
    assert sum(one.lower_bound > gap for one in found) <= most
    if factor:  # a claim of nothing has no direction to look along
        assert np.median([one.lower_bound for one in found]) > 0.1 * gap, (
            "Var f from above is wide, the range being several sd"
        )
    else:
        assert all(one.lower_bound == 0.0 for one in found)


def test_a_claim_without_error_has_gap_0_by_products() -> None:
    exact = played(Polynomial(n_units=20, w1=1.0, w2=0.0, w3=0.0))
    found = last(judged(METHOD, exact, terms_of(METHOD), Rounds(looks=(pairs(30),))))
    assert found.upper_bound == pytest.approx(0.0, abs=1e-12)
    assert found.lower_bound == pytest.approx(0.0, abs=1e-12)


def test_products_are_no_bound_for_every_target_at_once() -> None:
    rounds, every = Rounds(looks=(pairs(60),)), terms_of(METHOD, across=Across.EVERY)
    METHOD.check_rounds(FEW_UNITS.statement, every, rounds)  # of one target the mean is every
    with pytest.raises(ArgumentError, match="products across pairs bound the mean over targets"):
        METHOD.check_rounds(STACKED.statement, every, rounds)
    assert planned(METHOD, STACKED, every, BUDGET).rounds.looks[0].n_siblings > 1


# ------------------------------------------------------------------------------------------- a pilot for the noise


def test_with_seeds_per_subset_a_pilot_comes_first_and_tells_the_noise() -> None:
    terms, game = terms_of(METHOD, epsilon=0.1), NOISY
    assert has_pilot(game.statement)
    first = planned(METHOD, game, terms, BUDGET)
    assert first.rounds.looks[0] == pilot_design(game.statement)
    assert METHOD.replans_after(game.statement, 0)
    assert not METHOD.replans_after(game.statement, 1)
    seen = []
    for run in range(30):
        judge = METHOD.judge(game.statement, game.claim(), terms, first.rounds)
        assert judge.seen() is None
        pilot = replace(first.rounds, looks=first.rounds.looks[:1])
        assert judged(METHOD, game, terms, pilot, run=run, judge=judge) == [None]
        found = judge.seen()
        assert found is not None
        seen.append(found)
    # The odd part halves the noise. 30 pilots, whose noise has a coefficient of variation of about a half each.
    assert np.mean([one.noise for one in seen]) == pytest.approx(0.045 / 1.09, rel=0.4)
    second = planned(METHOD, game, terms, BUDGET, seen=seen[0])
    assert second.rounds.looks[0] == first.rounds.looks[0], "it has been drawn"


def test_rounds_chosen_after_the_pilot_are_the_ones_that_are_judged() -> None:
    terms, game = terms_of(METHOD, epsilon=0.1), NOISY
    first = planned(METHOD, game, terms, BUDGET).rounds
    chosen = Rounds(
        looks=(first.looks[0], *(families(n_families=n, n_siblings=4, rho=0.7, complements=True) for n in (30, 20)))
    )
    METHOD.check_rounds(game.statement, terms, chosen)
    judge = METHOD.judge(game.statement, game.claim(), terms, first)
    judge.replan(chosen)
    pilot, *found = judged(METHOD, game, terms, chosen, judge=judge)
    assert pilot is None
    assert [one.found.n_families for one in found if isinstance(one, FamiliesReport)] == [30, 50]
    assert last(found).upper_bound <= 0.1


def test_a_shared_seed_needs_no_pilot() -> None:
    assert not has_pilot(MANY_UNITS.statement)
    assert not METHOD.replans_after(MANY_UNITS.statement, 0)


def test_the_pilot_counts_in_the_budget_that_would_do() -> None:
    """Of 60 retrainings 40 are the pilot's; the smallest look has 100."""
    terms = terms_of(METHOD, epsilon=0.1)
    assert pilot_design(NOISY.statement).n_evaluations == 40
    with pytest.raises(BudgetError, match="at least 140 retrainings, got 139: raise --max-retrainings to 140"):
        METHOD.plan(NOISY.statement, None, None, terms, Budget(max_retrainings=139), None)
    assert planned(METHOD, NOISY, terms, Budget(max_retrainings=140)).n_retrained == (140, 140)


# ------------------------------------------------------------------------------------------- what is refused

LOOK = families(n_families=30, n_siblings=2, rho=0.5, complements=True)


@pytest.mark.parametrize(
    ("rounds", "message"),
    [
        (Rounds(looks=(LOOK,), n_checks=1), "no checks"),
        (Rounds(looks=(replace(LOOK, n_families=MIN_FAMILIES - 1),)), f"at least {MIN_FAMILIES} families"),
        (Rounds(looks=(replace(LOOK, keep_16=0),)), "correlation above 0"),
        (Rounds(looks=(replace(LOOK, complements=False),)), "complements exactly where p = 1/2"),
        (Rounds(looks=(replace(LOOK, bases=Bases.TILTED),)), "same siblings, correlation and sides"),
        (Rounds(looks=(LOOK, replace(LOOK, n_siblings=3))), "same siblings, correlation and sides"),
        (Rounds(looks=(LOOK, replace(LOOK, keep_16=60_000))), "same siblings, correlation and sides"),
        (Rounds(looks=(LOOK, replace(LOOK, n_families=1))), "at least 1.05 times the families before"),
        (Rounds(looks=(pairs(MIN_PAIRS - 1),)), f"one look of at least {MIN_PAIRS} pairs"),
        (Rounds(looks=(pairs(40), pairs(40))), f"one look of at least {MIN_PAIRS} pairs"),
    ],
)  # fmt: skip
def test_rounds_that_it_cannot_judge_are_refused(rounds: Rounds, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        METHOD.check_rounds(FEW_UNITS.statement, terms_of(METHOD), rounds)


def test_pairs_without_complements_and_rounds_without_their_pilot_are_refused() -> None:
    with pytest.raises(ArgumentError, match="pairs at p = 1/2"):
        METHOD.check_rounds(RARE.statement, terms_of(METHOD), Rounds(looks=(pairs(40, complements=False),)))
    with pytest.raises(ArgumentError, match="the pilot as the first round"):
        METHOD.check_rounds(NOISY.statement, terms_of(METHOD), Rounds(looks=(LOOK,)))
    with pytest.raises(ArgumentError, match="at least one look"):
        METHOD.check_rounds(NOISY.statement, terms_of(METHOD), Rounds(looks=(pilot_design(NOISY.statement),)))
    good = Rounds(looks=(pilot_design(NOISY.statement), LOOK))
    METHOD.check_rounds(NOISY.statement, terms_of(METHOD), good)
    with pytest.raises(ArgumentError, match="the pilot as the first round"):
        METHOD.check_rounds(NOISY.statement, terms_of(METHOD), with_look(good, 0, n_families=11))


@pytest.mark.parametrize("p", [0.29, 0.71, 0.05])
def test_a_p_far_from_one_half_is_refused(p: float) -> None:
    game = played(Polynomial(n_units=12, w1=0.9, w2=0.1, w3=0.0, p=p))
    with pytest.raises(ArgumentError, match=r"p from 0\.3 to 0\.7 is needed"):
        METHOD.check_terms(game.statement, terms_of(METHOD))


@pytest.mark.parametrize("rounds", [Rounds(looks=(LOOK,)), Rounds(looks=(pairs(40),))])
def test_a_constant_target_is_never_accepted_and_the_reason_is_said(rounds: Rounds) -> None:
    """Units 8 to 19 do not matter and neither do the others, but for a spike in a million that no draw meets."""
    still = played(Alike(n_units=40, width=40), bound=1.0)
    found = last(judged(METHOD, still, terms_of(METHOD), rounds))
    assert found.upper_bound == np.inf
    assert found.lower_bound == 0.0
    assert found.undecided is not None
    assert "vary" in found.undecided
    assert_reportable(found, still)


@pytest.mark.parametrize("design", [LOOK, pairs(60)])
def test_one_unit_is_judged(design: object) -> None:
    one = played(Linear(n_units=1))
    rounds = Rounds(looks=(design,))  # type: ignore[arg-type]
    METHOD.check_rounds(one.statement, terms_of(METHOD), rounds)
    assert last(judged(METHOD, one, terms_of(METHOD), rounds)).upper_bound <= 0.05
    half = last(judged(METHOD, one, terms_of(METHOD), rounds, claim=one.claim(0.5)))
    assert half.lower_bound <= 0.25 <= half.upper_bound
