"""Cross-fit as a session drives it: round B answered or trained, round A always the verifier's own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from protocol.certificate import spot_check
from protocol.certificate.crossfit.bound import CHECK_SHARE, MIN_PAIRS, CrossfitCertificate, certify
from protocol.certificate.crossfit.method import Crossfit
from protocol.certificate.crossfit.rounds import Round
from protocol.certificate.planning import Budget
from protocol.certificate.terms import Across, Answers, Rounds
from protocol.errors import ArgumentError, BudgetError
from protocol.game.known import Alike, Linear, Polynomial, Stack
from protocol.game.sampling import Bases, pairs
from tests.protocol.certificate.judging import (
    Played,
    answered,
    assert_reportable,
    judged,
    last,
    planned,
    played,
    terms_of,
    with_look,
)

METHOD = Crossfit()
FALSE_ALARM = 1e-4
BUDGET = Budget(max_retrainings=6000, max_answers=6000)
GAME = played(Polynomial(n_units=60, w1=0.98, w2=0.01, w3=0.01), bound=4.0)
RARE = played(Polynomial(n_units=40, w1=0.98, w2=0.01, w3=0.01, p=0.3), bound=6.0)
NOISY = played(Polynomial(n_units=60, w1=0.98, w2=0.01, w3=0.01), bound=4.0, noise=0.1)
STACKED = played(Stack((Polynomial(30, 0.97, 0.01, 0.02), Linear(30, seed=8))), n_targets=2, bound=4.0)


@pytest.mark.parametrize("answers", METHOD.answers)
def test_it_assumes_nothing_and_says_who_answered(answers: Answers) -> None:
    assert METHOD.describe(terms_of(METHOD, answers=answers)) == f"crossfit, {answers.value}"


@pytest.mark.parametrize("answers", METHOD.answers)
@pytest.mark.parametrize(("game", "epsilon"), [(GAME, 0.15), (RARE, 0.3), (NOISY, 0.2), (STACKED, 0.2)])
def test_an_honest_claim_is_accepted_and_its_half_is_not(game: Played, epsilon: float, answers: Answers) -> None:
    terms = terms_of(METHOD, epsilon=epsilon, answers=answers)
    found = planned(METHOD, game, terms, BUDGET)
    assert found.sufficient
    delegated = answers is Answers.DELEGATED
    assert (found.rounds.n_checks > 0, found.n_answered[1] > 0) == (delegated, delegated)
    first, honest = judged(METHOD, game, terms, found.rounds)
    assert first is None, "round B alone bounds nothing"
    half = last(judged(METHOD, game, terms, found.rounds, claim=game.claim(0.5)))
    assert honest is not None
    assert honest.upper_bound <= epsilon
    assert half.lower_bound < 0.25 < half.upper_bound
    for one in (honest, half):
        assert one.undecided is None
        assert_reportable(one, game)


def test_the_certificate_is_that_of_the_two_rounds_in_their_order() -> None:
    terms = terms_of(METHOD)
    rounds = Rounds(looks=(pairs(60), pairs(90)))
    found = last(judged(METHOD, GAME, terms, rounds))
    b, a = (
        Round(
            draw=one.draw, outputs=one.outputs, trained=np.arange(one.draw.design.n_families), n_false=0, tolerance=0.0
        )
        for one in (answered(METHOD, GAME, GAME.claim(), terms, rounds, round_, 0, None) for round_ in (0, 1))
    )
    same = certify(GAME.statement, GAME.claim(), a, b, delta=0.05)
    assert isinstance(found, CrossfitCertificate)
    assert found.n_pairs == (90, 60)
    assert found.values() == same.values()
    assert (found.upper_bound, found.lower_bound) == (same.upper_bound, same.lower_bound)


def test_only_round_b_is_answered_pairs_are_checked_whole_and_both_parts_of_delta_add_up() -> None:
    own, delegated = (terms_of(METHOD, answers=answers) for answers in METHOD.answers)
    assert [METHOD.is_answered(own, round_) for round_ in (0, 1)] == [False, False]
    assert [METHOD.is_answered(delegated, round_) for round_ in (0, 1)] == [True, False]
    assert [METHOD.check_size(pairs(40, complements=sides)) for sides in (True, False)] == [2, 1]
    rounds = Rounds(looks=(pairs(400), pairs(100)), n_checks=100)
    found = last(judged(METHOD, GAME, delegated, rounds))
    assert isinstance(found, CrossfitCertificate)
    assert found.delta + METHOD.check_delta(delegated, rounds) == pytest.approx(delegated.delta)
    assert found.n_false == spot_check.most_false(400, 100, delegated.delta * CHECK_SHARE) > 0
    assert last(judged(METHOD, GAME, own, replace(rounds, n_checks=0))).values()["n_false"] == 0


def test_false_answers_that_no_check_met_are_priced_in() -> None:
    """A claim whose gap is above epsilon; as many pairs as clean checks leave possible are false, none of them checked.

    They are the ones that show most of the error, and say what the claim predicts.
    """
    epsilon, runs = 0.15, 25
    terms = terms_of(METHOD, epsilon=epsilon, answers=Answers.DELEGATED)
    rounds = planned(METHOD, GAME, terms, BUDGET).rounds
    factor = 1 - 1.05 * np.sqrt(epsilon / 0.98)
    off = GAME.claim(factor)
    assert epsilon < GAME.gap(off)[0] < 1.2 * epsilon
    accepted, priced, unpriced = 0, [], []
    for run in range(runs):
        b = answered(METHOD, GAME, off, terms, rounds, 0, run, None)
        assert b.spot_check is not None
        assert b.spot_check.most_false is not None
        by_pair = b.outputs.copy().reshape(rounds.looks[0].n_families, 2, -1)
        size = np.abs(by_pair[:, 0, 0] - by_pair[:, 1, 0])
        size[np.unique(b.trained // 2)] = -1.0
        by_pair[np.argsort(-size)[: b.spot_check.most_false]] *= factor
        b = replace(b, outputs=by_pair.reshape(b.outputs.shape))
        a = answered(METHOD, GAME, off, terms, rounds, 1, run, None)
        for check, uppers in ((b.spot_check, priced), (replace(b.spot_check, most_false=0), unpriced)):
            judge = METHOD.judge(GAME.statement, off, terms, rounds)
            assert judge.take(replace(b, spot_check=check)) is None
            found = judge.take(a)
            assert found is not None
            uppers.append(found.upper_bound)
        accepted += priced[-1] <= epsilon
    assert accepted <= stats.binom.isf(FALSE_ALARM, runs, terms.delta)
    assert np.median(priced) > 1.01 * np.median(unpriced), "room for false answers costs something"


def test_every_target_has_a_row_of_its_own() -> None:
    rounds = Rounds(looks=(pairs(300), pairs(300)))
    pooled, mean, every = (last(judged(METHOD, STACKED, terms_of(METHOD, across=across), rounds)) for across in Across)
    assert [one.values()["n_rows"] for one in (pooled, mean, every)] == [1, 1, 2]
    assert every.upper_bound > mean.upper_bound


# ------------------------------------------------------------------------------------------- what is refused

GOOD = Rounds(looks=(pairs(40), pairs(40)))


@pytest.mark.parametrize(
    ("rounds", "message"),
    [
        (Rounds(looks=(pairs(40),)), "two rounds are needed, got 1"),
        (Rounds(looks=(pairs(40),) * 3), "two rounds are needed, got 3"),
        (with_look(GOOD, 0, n_siblings=2, keep_16=40_000), "independent subsets"),
        (with_look(GOOD, 1, bases=Bases.TILTED), "independent subsets"),
        (with_look(GOOD, 1, complements=False), "complements are needed exactly where p = 1/2"),
        (with_look(GOOD, 0, n_families=MIN_PAIRS - 1), f"at least {MIN_PAIRS} independent subsets a round"),
        (with_look(GOOD, 1, n_families=MIN_PAIRS - 1), f"at least {MIN_PAIRS} independent subsets a round"),
        (replace(GOOD, n_checks=1), "n_checks: expected 0 to 0"),
    ],
)  # fmt: skip
def test_rounds_that_it_cannot_judge_are_refused(rounds: Rounds, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        METHOD.check_rounds(GAME.statement, terms_of(METHOD), rounds)


def test_delegated_rounds_need_checks_and_no_more_of_them_than_pairs() -> None:
    terms = terms_of(METHOD, answers=Answers.DELEGATED)
    for n_checks in (1, 40):
        METHOD.check_rounds(GAME.statement, terms, replace(GOOD, n_checks=n_checks))
    for n_checks in (0, 41):
        with pytest.raises(ArgumentError, match=f"n_checks: expected 1 to 40 of round B's pairs, got {n_checks}"):
            METHOD.check_rounds(GAME.statement, terms, replace(GOOD, n_checks=n_checks))


def test_a_budget_beyond_any_challenge_is_spent_as_far_as_a_challenge_goes() -> None:
    terms = terms_of(METHOD, epsilon=1e-9)
    found = planned(METHOD, GAME, terms, Budget(max_retrainings=10**15))
    assert not found.sufficient
    assert found.n_retrained[1] <= 50_000_000


@pytest.mark.parametrize("answers", METHOD.answers)
def test_what_the_budget_lacks_is_said(answers: Answers) -> None:
    terms = terms_of(METHOD, answers=answers)
    least = 4 * MIN_PAIRS if answers is Answers.OWN else 2 * (MIN_PAIRS + 1)
    with pytest.raises(BudgetError, match=f"at least {least} retrainings for crossfit, got {least - 2}"):
        METHOD.plan(GAME.statement, None, None, terms, Budget(max_retrainings=least - 2), None)
    assert planned(METHOD, GAME, terms, Budget(max_retrainings=least)).n_retrained[1] <= least


@pytest.mark.parametrize("answers", METHOD.answers)
def test_a_constant_target_is_never_accepted_and_the_reason_is_said(answers: Answers) -> None:
    still = played(Alike(n_units=40, width=40), bound=1.0)
    rounds = replace(GOOD, n_checks=20 if answers is Answers.DELEGATED else 0)
    found = last(judged(METHOD, still, terms_of(METHOD, answers=answers), rounds))
    assert (found.upper_bound, found.lower_bound) == (np.inf, 0.0)
    assert found.undecided is not None
    assert "cannot be told from 0" in found.undecided
    assert_reportable(found, still)


def test_one_unit_is_judged() -> None:
    one = played(Linear(n_units=1))
    rounds = Rounds(looks=(pairs(400), pairs(400)))
    assert last(judged(METHOD, one, terms_of(METHOD), rounds)).upper_bound <= 0.05
    half = last(judged(METHOD, one, terms_of(METHOD), rounds, claim=one.claim(0.5)))
    assert half.lower_bound <= 0.25 <= half.upper_bound
