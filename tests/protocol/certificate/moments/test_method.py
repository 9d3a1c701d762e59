"""The moment certificate as a session meets it: words, rounds that are refused, and judges from pilot to verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from protocol.certificate.method import Answered
from protocol.certificate.moments import bound, plan
from protocol.certificate.moments.certificate import GAP_SHARE, MomentsCertificate
from protocol.certificate.moments.method import (
    KURTOSIS,
    KURTOSIS_DELEGATED,
    KURTOSIS_TILTED,
    PILOT,
    Moments,
    MomentsJudge,
)
from protocol.certificate.moments.plan import FLOOR, pilot_design
from protocol.certificate.moments.plan_delegated import CHECK_SHARE
from protocol.certificate.planning import Budget
from protocol.certificate.readings import read
from protocol.certificate.spot_check import compare
from protocol.certificate.terms import Across, Answers, Rounds, Terms
from protocol.claim import Claim, Figures
from protocol.encoding import Seed
from protocol.errors import ArgumentError, InternalError
from protocol.game import Measure, SeedPolicy, Statement
from protocol.game.known import Known, Linear, Majority, Polynomial, statement_of
from protocol.game.sampling import Bases, Design, Draw, pairs
from protocol.game.tilting import LARGEST_RATIO, Tilts
from protocol.session.effects import (
    ChooseRounds,
    Chosen,
    DrawEntropy,
    Drawn,
    Effect,
    Finish,
    OfferStop,
    Received,
    Settled,
    Train,
    Trained,
)
from protocol.session.messages import ClaimCommitted, Outcome
from protocol.session.verdict import Verdict
from protocol.session.verifier import VerifierSession
from tests.protocol.session.stage import signed

MOMENTS = Moments()
FIGURES = Figures(relative_gap=0.0, odd_residual=0.01, r2=0.98, n_retrainings=100)
GAME = Polynomial(12, 0.985, 0.01, 0.005)
STATEMENT = statement_of(GAME)
QUARTER = statement_of(Polynomial(12, 0.985, 0.01, 0.005, p=0.25))
SEEDED = statement_of(GAME, per_subset=True)
TILTED = Design(n_families=FLOOR, n_siblings=1, keep_16=65535, complements=True, bases=Bases.TILTED)


def terms_of(
    answers: Answers = Answers.OWN, game: Statement = STATEMENT, *, kurtosis: float | None = None, **change: Any
) -> Terms:
    usual = MOMENTS.kurtosis_of(answers, game.measure)
    given = {"epsilon": 0.1, "delta": 0.05, "across": Across.POOLED, "method": "moments", **change}
    return Terms(answers=answers, kurtosis=usual if kurtosis is None else kurtosis, **given)


OWN, DELEGATED = terms_of(), terms_of(Answers.DELEGATED)
OWN_ROUNDS = Rounds(looks=(pilot_design(STATEMENT), TILTED, replace(TILTED, n_families=5)))
DELEGATED_ROUNDS = Rounds(looks=(pilot_design(STATEMENT), pairs(100)), n_checks=60)


def claim_of(scores: np.ndarray, game: Statement = STATEMENT) -> Claim:
    return Claim(task_digest=game.digest, intercepts=-game.measure.p * scores.sum(axis=1), scores=scores)


# ---------------------------------------------------------------- words


def test_what_is_assumed_stands_in_the_verdicts_words() -> None:
    assert MOMENTS.describe(OWN) == "moments (kurtosis at most 6), own"
    assert MOMENTS.describe(DELEGATED) == f"moments (kurtosis at most {KURTOSIS_DELEGATED:g}), delegated"
    assert MOMENTS.describe(terms_of(kurtosis=4.5)) == "moments (kurtosis at most 4.5), own"
    assert MOMENTS.name == "moments"
    assert MOMENTS.weighs_units
    assert not MOMENTS.takes_looks


def test_the_kurtosis_assumed_depends_on_who_answers_and_on_p() -> None:
    half, quarter, rare = (Measure(p_16=p_16) for p_16 in (1 << 15, 1 << 14, 655))
    assert MOMENTS.kurtosis_of(Answers.OWN, half) == KURTOSIS_TILTED
    assert MOMENTS.kurtosis_of(Answers.OWN, quarter) == KURTOSIS
    assert MOMENTS.kurtosis_of(Answers.DELEGATED, half) == KURTOSIS_DELEGATED
    assert MOMENTS.kurtosis_of(Answers.DELEGATED, quarter) == KURTOSIS_DELEGATED
    for answers in Answers:
        assert MOMENTS.kurtosis_of(answers, rare) == rare.linear_kurtosis > 100, "what one rare unit's error has"


@pytest.mark.parametrize("answers", list(Answers))
@pytest.mark.parametrize("game", [STATEMENT, QUARTER], ids=["half", "quarter"])
def test_no_kurtosis_below_that_of_a_linear_error_is_taken(answers: Answers, game: Statement) -> None:
    """A claim can be wrong along itself, or along one rare unit, as it likes."""
    weighted = LARGEST_RATIO if answers is Answers.OWN and game is STATEMENT else 1.0
    least = game.measure.linear_kurtosis * weighted
    MOMENTS.check_terms(game, terms_of(answers, game, kurtosis=least))
    for kurtosis in (least * 0.999, 1.0):
        with pytest.raises(ArgumentError, match="kurtosis: a claim's own linear error can reach"):
            MOMENTS.check_terms(game, terms_of(answers, game, kurtosis=kurtosis))


def test_terms_without_a_kurtosis_are_refused() -> None:
    with pytest.raises(ArgumentError, match="kurtosis: moments needs a bound on it"):
        MOMENTS.check_terms(STATEMENT, replace(OWN, kurtosis=None))


# ---------------------------------------------------------------- rounds


def own(*looks: Design, n_checks: int = 0) -> Rounds:
    return Rounds(looks=(pilot_design(STATEMENT), *looks), n_checks=n_checks)


def delegated(*looks: Design, n_checks: int = 60) -> Rounds:
    return Rounds(looks=(pilot_design(STATEMENT), *looks), n_checks=n_checks)


@pytest.mark.parametrize(
    ("terms", "rounds", "message"),
    [
        (OWN, Rounds(looks=(TILTED, TILTED)), "expected the pilot as the first round"),
        (OWN, Rounds(looks=(pairs(11), TILTED)), "expected the pilot as the first round"),
        (OWN, own(), "expected a look after the pilot"),
        (OWN, own(replace(TILTED, n_families=FLOOR - 1)), "a first look of at least 80 families"),
        (OWN, own(TILTED, n_checks=1), "expected no checks"),
        (OWN, own(TILTED, replace(TILTED, n_siblings=2)), "the same siblings, correlation and bases"),
        (OWN, own(TILTED, replace(TILTED, keep_16=60000)), "the same siblings, correlation and bases"),
        (OWN, own(TILTED, pairs(10)), "the same siblings, correlation and bases"),
        (OWN, own(replace(TILTED, n_siblings=2, keep_16=0)), "siblings with a correlation above 0"),
        (OWN, own(replace(TILTED, complements=False, bases=Bases.DRAWN)), "complements exactly where p = 1/2"),
        (DELEGATED, delegated(pairs(100), n_checks=0), "expected 1 to 100 checks, got 0"),
        (DELEGATED, delegated(pairs(100), n_checks=101), "expected 1 to 100 checks, got 101"),
        (DELEGATED, delegated(pairs(FLOOR - 1)), "one answered round of at least 80 independent subsets"),
        (DELEGATED, delegated(pairs(100), pairs(100)), "one answered round of at least 80 independent subsets"),
        (
            DELEGATED,
            delegated(Design(n_families=100, n_siblings=2, keep_16=60000, complements=True)),
            "one answered round of at least 80 independent subsets",
        ),
        (DELEGATED, delegated(TILTED), "tilted bases exactly where the verifier trains everything"),
    ],
    ids=[
        "no pilot", "another pilot", "nothing but a pilot", "a look below the floor", "checks of one's own",
        "other siblings", "another correlation", "other bases", "siblings apart", "no complements", "no checks",
        "more checks than pairs", "a round below the floor", "two answered rounds", "answered families",
        "answered tilts",
    ],
)  # fmt: skip
def test_rounds_that_cannot_be_judged_are_refused(terms: Terms, rounds: Rounds, message: str) -> None:
    with pytest.raises(ArgumentError, match=f"moments: .*{message}"):
        MOMENTS.check_rounds(STATEMENT, terms, rounds)


def test_rounds_without_tilts_are_refused_where_products_do_not_apply() -> None:
    """They are groups of products across pairs for few units; for many they are a certificate without its tilts."""
    many = Statement(
        name="many", n_units=5000, lo=-np.ones(1), hi=np.ones(1), measure=STATEMENT.measure
    )  # fmt: skip
    MOMENTS.check_rounds(many, OWN, own(TILTED))
    with pytest.raises(ArgumentError, match="tilted bases exactly where the verifier trains everything"):
        MOMENTS.check_rounds(many, OWN, own(pairs(200)))


def test_away_from_one_half_no_base_is_tilted_and_nothing_has_a_complement() -> None:
    terms, look = terms_of(game=QUARTER), pairs(FLOOR, complements=False)
    MOMENTS.check_rounds(QUARTER, terms, Rounds(looks=(pilot_design(QUARTER), look)))
    with pytest.raises(ArgumentError, match="complements exactly where p = 1/2"):
        MOMENTS.check_rounds(QUARTER, terms, Rounds(looks=(pilot_design(QUARTER), pairs(FLOOR))))
    assert pilot_design(QUARTER).n_sides == 1


def test_only_what_follows_the_pilot_is_answered_and_replanned() -> None:
    assert [MOMENTS.is_answered(DELEGATED, r) for r in range(3)] == [False, True, True]
    assert not any(MOMENTS.is_answered(OWN, r) for r in range(3))
    assert [MOMENTS.replans_after(STATEMENT, r) for r in range(3)] == [True, False, False]
    assert MOMENTS.check_size(pairs(5)) == 2
    assert MOMENTS.check_size(pairs(5, complements=False)) == 1
    assert MOMENTS.check_delta(DELEGATED, DELEGATED_ROUNDS) == CHECK_SHARE * 0.05


# ---------------------------------------------------------------- judges


def draw_of(design: Design, claim: Claim, round_: int) -> Draw:
    along = Tilts(claim.scores) if design.bases is Bases.TILTED else None
    return Draw(seed=Seed(bytes([round_ + 1]) * 32), design=design, along=along)


def trained(game: Known, statement: Statement, draw: Draw) -> np.ndarray:
    outputs = game.outputs(draw.subsets(statement, np.arange(draw.n_evaluations)))
    return np.asarray(np.clip(outputs, statement.lo, statement.hi))


def answered_of(
    terms: Terms, rounds: Rounds, round_: int, claim: Claim, *, lie: Callable[[np.ndarray], np.ndarray] | None = None,
    statement: Statement = STATEMENT,
) -> Answered:  # fmt: skip
    """One round: the verifier's own, or answered and the first pairs rechecked."""
    draw = draw_of(rounds.looks[round_], claim, round_)
    truth = trained(GAME, statement, draw)
    everything = np.arange(len(truth))
    if not MOMENTS.is_answered(terms, round_):
        return Answered(draw=draw, outputs=truth, trained=everything, spot_check=None)
    redone, told = everything[: 2 * rounds.n_checks], truth if lie is None else lie(truth)
    check = compare(
        evaluations=redone, answered=told[redone], retrained=truth[redone], tolerance=statement.tolerance,
        n_answers=len(truth), delta=MOMENTS.check_delta(terms, rounds), size=MOMENTS.check_size(draw.design),
    )  # fmt: skip
    merged = told.copy()
    merged[redone] = truth[redone]
    return Answered(draw=draw, outputs=merged, trained=redone, spot_check=check)


def judged(
    terms: Terms, rounds: Rounds, claim: Claim, *, lie: Callable[[np.ndarray], np.ndarray] | None = None,
    statement: Statement = STATEMENT,
) -> tuple[MomentsJudge, list[MomentsCertificate | None]]:  # fmt: skip
    judge = MOMENTS.judge(statement, claim, terms, rounds)
    found = [
        judge.take(answered_of(terms, rounds, r, claim, lie=lie, statement=statement)) for r in range(len(rounds.looks))
    ]
    return judge, found  # type: ignore[return-value]


HONEST = claim_of(GAME.best)


def test_the_pilot_says_what_to_expect_and_counts_for_nothing() -> None:
    judge = MOMENTS.judge(STATEMENT, HONEST, OWN, OWN_ROUNDS)
    assert judge.seen() is None
    assert judge.take(answered_of(OWN, OWN_ROUNDS, PILOT, HONEST)) is None
    seen = judge.seen()
    assert seen is not None
    assert 0 < seen.residual < 0.05
    first = judge.take(answered_of(OWN, OWN_ROUNDS, 1, HONEST))
    assert isinstance(first, MomentsCertificate)
    assert (first.n_families, first.n_pilot, first.n_false) == (FLOOR, 20, 0)


def test_families_before_a_pilot_are_a_bug() -> None:
    """A round is the pilot because it comes first, so only the judge's own error could do it."""
    judge = MOMENTS.judge(STATEMENT, HONEST, OWN, OWN_ROUNDS)
    answered = answered_of(OWN, OWN_ROUNDS, 1, HONEST)
    with pytest.raises(InternalError, match="families came before the pilot"):
        judge._tally(answered, read(STATEMENT, HONEST, answered.draw, answered.outputs))


def test_looks_add_up_whatever_is_planned_for_those_to_come() -> None:
    _, found = judged(OWN, OWN_ROUNDS, HONEST)
    assert found[0] is None
    first, last = found[1], found[2]
    assert first is not None
    assert last is not None
    assert (first.n_families, last.n_families) == (FLOOR, FLOOR + 5)
    assert last.upper_bound < 0.1
    assert last.gap_upper[0] == pytest.approx(
        last.mean_square[0] * (FLOOR + 5) / bound.anytime_quantile(FLOOR + 5, 6.0, GAP_SHARE * 0.05), rel=1e-12
    )
    replanned = MOMENTS.judge(
        STATEMENT, HONEST, OWN, Rounds(looks=(pilot_design(STATEMENT), replace(TILTED, n_families=200)))
    )
    replanned.take(answered_of(OWN, OWN_ROUNDS, PILOT, HONEST))
    replanned.replan(OWN_ROUNDS)
    same = [replanned.take(answered_of(OWN, OWN_ROUNDS, r, HONEST)) for r in (1, 2)]
    assert [c.values() for c in same if c is not None] == [first.values(), last.values()]


@pytest.mark.parametrize(
    ("terms", "rounds"), [(OWN, OWN_ROUNDS), (DELEGATED, DELEGATED_ROUNDS)], ids=["own", "delegated"]
)
def test_a_replay_gives_the_same_numbers_to_the_last_bit(terms: Terms, rounds: Rounds) -> None:
    for claim in (HONEST, claim_of(0.5 * GAME.best), claim_of(0 * GAME.best), claim_of(1e49 * GAME.best)):
        once, again = (judged(terms, rounds, claim)[1] for _ in range(2))
        assert [c and c.values() for c in once] == [c and c.values() for c in again]
        assert [c and c.upper.tolist() for c in once] == [c and c.upper.tolist() for c in again]


def test_tilted_bases_are_weighted() -> None:
    """Without its weights a look would estimate something else: E Y of the tilted law."""
    claim = claim_of(0.5 * GAME.best)
    rounds = own(replace(TILTED, n_families=4000))
    _, (_, found) = judged(OWN, rounds, claim)
    assert found is not None
    weight = found.claim_variance[0] / claim_variance(claim)
    exact = claim_variance(claim) + GAME.w3  # half of the scores is left, and degree three
    assert found.mean_square[0] == pytest.approx(exact * weight, rel=0.1)


def claim_variance(claim: Claim) -> float:
    return float(0.25 * (claim.scores[0] ** 2).sum())


# ---------------------------------------------------------------- answered


def test_a_clean_check_leaves_lies_that_are_allowed_for() -> None:
    _, (_, honest) = judged(DELEGATED, DELEGATED_ROUNDS, HONEST)
    assert honest is not None
    assert honest.n_false > 0
    assert honest.n_families == 100
    every = replace(DELEGATED_ROUNDS, n_checks=100)
    _, (_, checked) = judged(DELEGATED, every, HONEST)
    assert checked is not None
    assert checked.n_false == 0
    assert checked.gap_upper[0] < honest.gap_upper[0]


def test_lies_about_what_was_not_checked_help_no_more_than_they_are_allowed_for() -> None:
    """As many false pairs as may be, each answered as the claim has it; the others drift by the tolerance."""
    tolerance = 0.02
    statement = statement_of(GAME, tolerance=tolerance)
    claim = claim_of(0.75 * GAME.best, statement)
    rounds = Rounds(looks=(pilot_design(statement), pairs(200)), n_checks=120)
    _, (_, honest) = judged(DELEGATED, rounds, claim, statement=statement)
    assert honest is not None
    assert honest.n_false > 0
    draw = draw_of(rounds.looks[1], claim, 1)
    subsets = draw.subsets(statement, np.arange(draw.n_evaluations))
    predicted = subsets @ claim.scores[0] + claim.intercepts[0]

    def lie(truth: np.ndarray) -> np.ndarray:
        residual = ((truth[::2] - truth[1::2])[:, 0] - (predicted[::2] - predicted[1::2])) / 2
        told = truth.copy()
        step = np.clip(residual, -tolerance, tolerance) * (1 - 1e-9)
        told[::2, 0] -= step
        told[1::2, 0] += step
        unchecked = np.arange(rounds.n_checks, len(residual))
        worst = unchecked[np.argsort(-np.abs(residual[unchecked]))][: honest.n_false]
        told[2 * worst, 0], told[2 * worst + 1, 0] = predicted[2 * worst], predicted[2 * worst + 1]
        return np.asarray(np.clip(told, statement.lo, statement.hi))

    _, (_, lied) = judged(DELEGATED, rounds, claim, lie=lie, statement=statement)
    assert lied is not None
    assert lied.n_false == honest.n_false, "nothing was caught"
    exact = 0.0625 * claim_variance(claim_of(GAME.best)) + GAME.w3
    assert lied.mean_square[0] < honest.mean_square[0]
    assert lied.gap_upper[0] / lied.claim_variance[0] * claim_variance(claim) > exact
    assert lied.upper_bound > 0.0625 * 0.985, "the relative gap"


def test_what_is_caught_leaves_the_bound_of_no_lies() -> None:
    """The session is over then; the certificate beside its verdict is that of the answers as they came."""
    _, (_, found) = judged(DELEGATED, DELEGATED_ROUNDS, HONEST, lie=lambda truth: truth + 0.5)
    assert found is not None
    assert found.n_false == 0


# ---------------------------------------------------------------- whole sessions of one unit


def played(game: Known, statement: Statement, claim: Claim, terms: Terms, *, max_retrainings: int = 400) -> Verdict:
    """A session on plans of the method's own, stopped where the bounds decide."""
    session = VerifierSession(game=statement, terms=terms)
    effects: list[Effect] = session.start()
    rng, budget = np.random.default_rng(1), Budget(max_retrainings=max_retrainings)
    while True:
        match effects[-1]:
            case DrawEntropy(n_bytes=n):
                effects = session.handle(Drawn(rng.bytes(n)))
            case ChooseRounds(seen=seen):
                chosen = MOMENTS.plan(statement, claim, FIGURES, terms, budget, seen)
                effects = session.handle(Chosen(chosen.rounds))
            case Train(draw=draw, evaluations=evaluations):
                outputs = np.clip(game.outputs(draw.subsets(statement, evaluations)), statement.lo, statement.hi)
                effects = session.handle(Trained(outputs))
            case OfferStop():
                effects = session.handle(Settled(True))
            case Finish(verdict=verdict):
                assert verdict is not None
                return verdict
            case _:  # the opening was sent
                effects = session.handle(Received(ClaimCommitted(signed=signed(claim), claim=claim)))


@pytest.mark.parametrize(
    ("game", "factor", "outcome"),
    [
        (Majority(1), 1.0, Outcome.ACCEPT),
        (Majority(1), 0.95, Outcome.ACCEPT),
        (Majority(1), 0.5, Outcome.REJECT),
        (Majority(1), -1.0, Outcome.REJECT),
        (Majority(1), 0.0, Outcome.INCONCLUSIVE),
        (Linear(1, p=0.25), 1.0, Outcome.ACCEPT),
        (Linear(1, p=0.25), 0.0, Outcome.INCONCLUSIVE),
    ],
    ids=["right", "nearly", "half", "opposite", "zero", "rare and right", "rare and zero"],
)
def test_one_unit_is_judged_from_end_to_end(game: Any, factor: float, outcome: Outcome) -> None:
    statement = statement_of(game, bound=3.0)
    terms = terms_of(game=statement)
    verdict = played(game, statement, claim_of(factor * game.best, statement), terms)
    assert verdict.outcome is outcome
    assert verdict.rounds is not None
    assert verdict.basis == f"moments (kurtosis at most {terms.kurtosis:g}), own"
    most = sum(look.n_evaluations for look in verdict.rounds.looks)
    assert verdict.n_retrainings == most if outcome is Outcome.INCONCLUSIVE else verdict.n_retrainings <= most


def test_every_training_with_its_own_seed_is_planned_for_and_judged() -> None:
    assert pilot_design(SEEDED).n_siblings == 2
    assert SEEDED.seed_policy is SeedPolicy.PER_SUBSET
    verdict = played(GAME, SEEDED, claim_of(GAME.best, SEEDED), terms_of(game=SEEDED))
    assert verdict.outcome is Outcome.ACCEPT
    assert verdict.rounds is not None
    assert verdict.rounds.looks[0] == plan.pilot_design(SEEDED)
