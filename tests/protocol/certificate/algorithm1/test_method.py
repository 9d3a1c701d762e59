"""Algorithm 1 as a session drives it: three answered rounds, one of fresh subsets, and claims refused as they stand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocol.certificate.algorithm1.bound import counts
from protocol.certificate.algorithm1.method import Algorithm1
from protocol.certificate.planning import Budget
from protocol.certificate.terms import Across, Answers, Rounds, Terms
from protocol.errors import ArgumentError
from protocol.game.known import Linear, Majority, Stack
from protocol.game.sampling import Bases
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

METHOD = Algorithm1()
BUDGET = Budget(max_retrainings=10**7, max_answers=10**7)
GAME = played(Majority(3))
TERMS = terms_of(METHOD, epsilon=0.9, delta=0.5)


@pytest.fixture(scope="module")
def rounds() -> Rounds:
    """The counts of the honest claim: half a million trainings of three units."""
    return planned(METHOD, GAME, TERMS, BUDGET).rounds


def test_it_assumes_nothing_and_a_prover_answers() -> None:
    assert METHOD.describe(TERMS) == "algorithm1 (tolerance far below epsilon), delegated"
    assert METHOD.statement == "gap over the squared half range"


def test_the_first_three_rounds_are_answered_and_the_fresh_one_is_not(rounds: Rounds) -> None:
    assert [METHOD.is_answered(TERMS, round_) for round_ in range(4)] == [True, True, True, False]
    assert METHOD.check_delta(TERMS, rounds) == TERMS.delta / 12
    assert METHOD.check_size(rounds.looks[0]) == 1


def test_an_honest_claim_is_accepted_and_one_far_off_is_not(rounds: Rounds) -> None:
    """The theorem's promise, at counts in full: the bound is within epsilon/2 of the gap. Majority of 3 has W_1 3/4."""
    *none, honest = judged(METHOD, GAME, TERMS, rounds)
    assert none == [None] * 3
    assert honest is not None
    assert honest.upper_bound <= 0.9
    assert abs(honest.upper_bound - 0.45) < 0.45
    wrong = last(judged(METHOD, GAME, TERMS, rounds, claim=GAME.claim(-0.5)))
    assert wrong.upper_bound > 0.9
    assert wrong.lower_bound < 0.75 * 1.5**2 < wrong.upper_bound
    for one in (honest, wrong):
        assert one.undecided is None
        assert_reportable(one, GAME)


def test_a_constant_has_a_gap_since_no_variance_is_divided_by(rounds: Rounds) -> None:
    still = played(Linear(3, w1=0.0), bound=1.0)
    found = last(judged(METHOD, still, TERMS, rounds))
    assert 0 <= found.upper_bound <= 0.9


def test_a_claim_too_large_for_the_range_is_refused_before_any_challenge(rounds: Rounds) -> None:
    assert METHOD.refusal(GAME.statement, GAME.claim(), TERMS, rounds) is None
    said = METHOD.refusal(GAME.statement, GAME.claim(10.0), TERMS, rounds)
    assert said is not None
    assert said.startswith("gap over the squared half range is at least")
    few = with_look(rounds, 3, n_families=10)
    said = METHOD.refusal(GAME.statement, GAME.claim(), TERMS, few)
    assert said is not None
    assert said.startswith("the claim predicts up to")


def test_false_answers_are_seen_by_the_checks(rounds: Rounds) -> None:
    """A prover that answers with its claim wherever that suits it is caught in the first round already."""
    claim = GAME.claim(0.5)
    seen = answered(METHOD, GAME, claim, TERMS, rounds, 0, 0, lambda true: 0.5 * true)
    assert seen.spot_check is not None
    assert len(seen.spot_check.mismatches) == rounds.n_checks
    assert seen.spot_check.most_false is None


# ------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"at": 0, "n_siblings": 3}, "three rounds of pairs and one of fresh subsets"),
        ({"at": 3, "n_siblings": 2}, "three rounds of pairs and one of fresh subsets"),
        ({"at": 3, "complements": True}, "no complements"),
        ({"at": 0, "n_families": 10_000}, "in the round at rho"),
        ({"at": 1, "keep_16": 1}, "in the round at 2 rho"),
        ({"at": 2, "n_families": 1 << 22, "bases": Bases.ALL}, "three rounds of pairs and one of fresh subsets"),
        ({"at": 3, "n_families": 1 << 22, "bases": Bases.ALL}, "three rounds of pairs and one of fresh subsets"),
    ],
)  # fmt: skip
def test_rounds_that_prove_nothing_are_refused(rounds: Rounds, change: dict[str, object], message: str) -> None:
    """Of every subset taken once, siblings are copies: noise stability at 0 would be that at 1."""
    at = change["at"]
    assert isinstance(at, int)
    changed = with_look(rounds, at, **{name: value for name, value in change.items() if name != "at"})
    with pytest.raises(ArgumentError, match=message):
        METHOD.check_rounds(GAME.statement, TERMS, changed)


def test_fewer_rounds_or_checks_are_refused(rounds: Rounds) -> None:
    with pytest.raises(ArgumentError, match="expected 4 rounds, got 3"):
        METHOD.check_rounds(GAME.statement, TERMS, replace(rounds, looks=rounds.looks[:3]))
    with pytest.raises(ArgumentError, match="n_checks: expected 1 to"):
        METHOD.check_rounds(GAME.statement, TERMS, replace(rounds, n_checks=0))
    least = counts(epsilon=0.9, delta=0.5, b=1.0, largest=0.0).n_checks
    with pytest.raises(ArgumentError, match=f"expected {least} or more checks a round"):
        METHOD.check_rounds(GAME.statement, TERMS, replace(rounds, n_checks=least - 1))


@pytest.mark.parametrize(
    ("game", "terms", "message"),
    [
        (played(Stack((Majority(3), Majority(3))), n_targets=2), TERMS, "one target, got 2: average them"),
        (GAME, replace(TERMS, across=Across.EVERY), "works across pooled, got every"),
        (GAME, replace(TERMS, answers=Answers.OWN), "works with delegated answers, got own"),
        (GAME, replace(TERMS, kurtosis=9.0), "assumes no bound on it"),
    ],
)
def test_terms_that_it_cannot_meet_are_refused(game: Played, terms: Terms, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        METHOD.check_terms(game.statement, terms)


def test_one_unit_is_judged(rounds: Rounds) -> None:
    one = played(Linear(n_units=1))
    asked = planned(METHOD, one, TERMS, BUDGET).rounds
    assert last(judged(METHOD, one, TERMS, asked)).upper_bound <= 0.9
    assert last(judged(METHOD, one, TERMS, asked, claim=one.claim(-0.2))).upper_bound > 0.9
    assert np.isfinite(last(judged(METHOD, one, TERMS, rounds)).lower_bound)
