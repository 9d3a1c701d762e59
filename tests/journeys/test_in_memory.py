"""Whole sessions in one process: what both parties agree on, in which order, and what is done with anything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.certificate.planning import Budget
from protocol.certificate.terms import Answers as Who
from protocol.certificate.terms import Rounds
from protocol.commitments import SigningKey
from protocol.encoding import Seed
from protocol.errors import CommitmentError, PeerError, Reason
from protocol.game.known import Polynomial
from protocol.game.sampling import Draw
from protocol.session.effects import (
    ChooseRounds,
    Chosen,
    DrawEntropy,
    Drawn,
    Effect,
    Event,
    Finish,
    Lost,
    OfferStop,
    Received,
    Send,
    Settled,
    Train,
    Trained,
)
from protocol.session.machine import TABLE, Kind, State
from protocol.session.messages import (
    Aborted,
    Answers,
    Challenge,
    ClaimCommitted,
    Closing,
    Message,
    Opening,
    Outcome,
    Retrained,
    RoundsChosen,
    Sender,
)
from protocol.session.prover import ProverSession
from protocol.session.transcript import Entry, Transcript, sign_transcript
from protocol.session.verifier import VerifierSession
from prover.claiming import commit
from tests.adversaries import registry
from tests.adversaries.cheat import HONEST
from tests.adversaries.terms import BUDGET, delegated_rounds, own_rounds, quick
from tests.journeys.in_memory import Entropy, Journey, meet, planned, run, trained
from tests.journeys.worlds import World, of_game

WORLD = of_game(Polynomial(n_units=32, w1=0.985, w2=0.01, w3=0.005), n_targets=1)
SEED = 3
N_PAIRS, N_CHECKS = 200, 100


def rounds_of(who: Who, *sizes: int) -> Rounds:
    """The fewest families that the certificate looks at, or ``sizes``; or pairs of which half are rechecked."""
    if who is Who.OWN:
        return own_rounds(WORLD.task, *(sizes or (80,)))
    return delegated_rounds(WORLD.task, N_PAIRS, N_CHECKS)


def session(who: Who, *, seed: int = SEED, rounds: Rounds | None = None) -> Journey:
    return meet(WORLD, quick(who), seed=seed, rounds=rounds or rounds_of(who))


def honest(world: World = WORLD) -> ProverSession:
    committed = commit(world.claim, world.figures, world.key)
    return ProverSession(
        game=world.task, claim=world.claim, signed=committed.signed, key=world.key, max_evaluations=10_000
    )


def names(journey: Journey) -> list[str]:
    return [type(entry.message).__name__ for entry in journey.transcript.entries]


# ------------------------------------------------------------------------------------------------------ whole journeys

PILOT = ["RoundsChosen", "Challenge", "Retrained"]


def test_a_journey_of_the_verifiers_own_asks_the_prover_for_its_claim_alone() -> None:
    journey = session(Who.OWN)
    assert journey.verdict.outcome is Outcome.ACCEPT
    look = ["RoundsChosen", "Challenge", "Retrained"]
    assert names(journey) == ["Opening", "ClaimCommitted", *PILOT, *look, "Closing"]
    assert [entry.private for entry in journey.transcript.entries] == [False, False, *[True] * 6, False]
    assert (journey.n_trained_by_prover, journey.verdict.n_retrainings) == (0, 40 + 160)


def test_a_delegated_journey_has_the_prover_train_and_rechecks_some() -> None:
    journey = session(Who.DELEGATED)
    assert journey.verdict.outcome is Outcome.ACCEPT
    answered = ["RoundsChosen", "Challenge", "Answers", "Retrained"]
    assert names(journey) == ["Opening", "ClaimCommitted", *PILOT, *answered, "Closing"]
    private = [entry.private for entry in journey.transcript.entries]
    assert private == [False, False, True, True, True, True, False, False, True, False]
    assert (journey.n_trained_by_prover, journey.verdict.n_retrainings) == (2 * N_PAIRS, 40 + 2 * N_CHECKS)


@pytest.mark.parametrize("who", list(Who))
def test_both_parties_chain_the_same_words(who: Who) -> None:
    prover, verifier = honest(), VerifierSession(game=WORLD.task, terms=quick(who))
    run(
        verifier=verifier, prover=prover, task=WORLD.task, outputs=WORLD.outputs, entropy=Entropy(SEED),
        choose=lambda _: rounds_of(who),
    )  # fmt: skip
    assert prover.transcript.spoken == verifier.transcript.spoken
    assert prover.is_over
    assert verifier.is_over


def test_one_seed_gives_one_journey_and_another_seed_another() -> None:
    heads = [session(Who.DELEGATED, seed=seed).transcript.head for seed in (1, 1, 2)]
    assert heads[0] == heads[1] != heads[2]


@pytest.mark.parametrize("who", list(Who))
def test_entropy_is_drawn_when_it_is_due_and_no_earlier(who: Who) -> None:
    """A challenge's after the rounds are chosen, the spot check's after the answers are in; each is fresh bytes."""
    verifier, entropy = VerifierSession(game=WORLD.task, terms=quick(who)), Entropy(SEED)
    drawn_after: list[str | None] = []

    def watched(n_bytes: int) -> bytes:
        entries = verifier.transcript.entries
        drawn_after.append(type(entries[-1].message).__name__ if entries else None)
        return entropy(n_bytes)

    run(
        verifier=verifier, prover=honest(), task=WORLD.task, outputs=WORLD.outputs, entropy=watched,
        choose=lambda _: rounds_of(who),
    )  # fmt: skip
    checks = ["Answers"] if who is Who.DELEGATED else []
    assert drawn_after == [None, "RoundsChosen", "RoundsChosen", *checks]


@pytest.mark.parametrize("who", list(Who))
def test_rounds_are_chosen_with_the_claim_at_hand_and_again_with_the_pilot(who: Who) -> None:
    """By the real planner: a second choice keeps the pilot, and what was seen in it decides the rest."""
    asked: list[ChooseRounds] = []
    plan = planned(WORLD.task, quick(who), BUDGET)

    def choose(question: ChooseRounds) -> Rounds:
        asked.append(question)
        return plan(question)

    journey = run(
        verifier=VerifierSession(game=WORLD.task, terms=quick(who)), prover=honest(), task=WORLD.task,
        outputs=WORLD.outputs, entropy=Entropy(SEED), choose=choose,
    )  # fmt: skip
    assert [question.n_drawn for question in asked] == [0, 1]
    assert [question.seen is None for question in asked] == [True, False]
    assert all(question.figures == WORLD.figures for question in asked)
    np.testing.assert_array_equal(asked[0].claim.scores, WORLD.claim.scores)
    chosen = [e.message.rounds for e in journey.transcript.entries if isinstance(e.message, RoundsChosen)]
    assert chosen[0].looks[0] == chosen[1].looks[0]
    assert journey.verdict.rounds == chosen[1]


def test_several_looks_are_taken_until_one_decides() -> None:
    strict = replace(quick(Who.OWN), epsilon=0.015)
    journey = meet(WORLD, strict, seed=SEED, rounds=rounds_of(Who.OWN, 80, 20, 40, 80, 160))
    n_looks = names(journey).count("Challenge") - 1
    assert journey.verdict.outcome is Outcome.ACCEPT
    assert 2 <= n_looks <= 4
    assert journey.verdict.certificate is not None
    assert journey.verdict.certificate.values()["n_families"] == [80, 100, 140, 220][n_looks - 1]
    assert journey.verdict.n_retrainings == 40 + 2 * [80, 100, 140, 220][n_looks - 1]


def test_whoever_wants_more_than_a_verdict_may_go_on_when_the_bounds_decide() -> None:
    session_, offered = VerifierSession(game=WORLD.task, terms=quick(Who.OWN)), []

    def is_enough(transcript: Transcript) -> bool:
        offered.append(len(transcript.entries))
        return len(offered) == 3

    journey = run(
        verifier=session_, prover=honest(), task=WORLD.task, outputs=WORLD.outputs, entropy=Entropy(SEED),
        choose=lambda _: rounds_of(Who.OWN, 80, 10, 10, 10, 10), is_enough=is_enough,
    )  # fmt: skip
    assert journey.verdict.outcome is Outcome.ACCEPT
    assert len(offered) == 3
    assert names(journey).count("Challenge") == 1 + 3


def test_a_prover_that_falls_silent_is_rejected() -> None:
    silent = replace(registry.BY_NAME["leaves-when-unlucky"], silently=True)  # type: ignore[type-var]
    verdict = meet(WORLD, quick(Who.DELEGATED), silent, seed=SEED, rounds=rounds_of(Who.DELEGATED)).verdict
    assert verdict.outcome is Outcome.REJECT
    assert "nothing came within the deadline" in verdict.reasons[0]


def test_a_real_task_is_proved_and_its_cheats_are_rejected() -> None:
    from tests.journeys.loopback import wine
    from tests.journeys.trainings import trained_world

    world, enough = trained_world(wine(), n_pairs=500), Budget(max_retrainings=2000)
    for cheat in (HONEST, *(registry.BY_NAME[name] for name in ("scaled", "stale", "cut-short"))):
        rounds = delegated_rounds(world.task, 200, 50) if cheat.fate.who is Who.DELEGATED else None
        verdict = meet(world, quick(cheat.fate.who), cheat, seed=SEED, rounds=rounds, budget=enough).verdict
        assert verdict.outcome is cheat.fate.outcome, (cheat.name, verdict.reasons)


# ------------------------------------------------------------------------------------------ every state, every message


def messages() -> dict[type, Message]:
    """One of each message, the last of its kind in an honest journey that goes as ``verifier_in`` does."""
    nobody = Aborted(reason=Reason.FAILED, text="no")
    said = {type(entry.message): entry.message for entry in session(Who.DELEGATED).transcript.entries}
    return {**said, Aborted: nobody}


MESSAGES = messages()
KIND_OF = {
    Opening: Kind.OPENING, ClaimCommitted: Kind.CLAIM_COMMITTED, RoundsChosen: Kind.ROUNDS_CHOSEN,
    Challenge: Kind.CHALLENGE, Answers: Kind.ANSWERS, Retrained: Kind.RETRAINED, Closing: Kind.CLOSING,
    Aborted: Kind.ABORTED,
}  # fmt: skip


def verifier_in(state: State) -> VerifierSession:
    """Return a verifier's session driven to ``state`` by an honest prover; a delegated one goes through them all."""
    verifier, prover, entropy = VerifierSession(game=WORLD.task, terms=quick(Who.DELEGATED)), honest(), Entropy(SEED)
    effects = verifier.start()
    while verifier._machine.state is not state:
        effects = verifier.handle(next(_events(effects, prover, entropy, closing=state)))
    return verifier


def _events(effects: list[Effect], prover: ProverSession, entropy: Entropy, closing: State) -> Iterator[Event]:
    for effect in effects:
        match effect:
            case Send() if closing is State.ABORTED:
                yield Lost("gone")
            case Send(message=message):
                yield from _replies(prover, message)
            case other:
                yield _own_event(other, entropy)


def _own_event(effect: Effect, entropy: Entropy) -> Event:
    """What the verifier's own shell answers."""
    match effect:
        case DrawEntropy(n_bytes=n):
            return Drawn(entropy(n))
        case ChooseRounds():
            return Chosen(rounds_of(Who.DELEGATED))
        case OfferStop():
            return Settled(stop=True)
        case Train(draw=draw, evaluations=evaluations):
            return Trained(trained(WORLD.task, WORLD.outputs, draw, evaluations))
        case _:
            raise AssertionError(effect)


def _replies(prover: ProverSession, message: Message) -> Iterator[Event]:
    for reply in prover.handle(Received(message)):
        match reply:
            case Send(message=said):
                yield Received(said)
            case Train(draw=draw, evaluations=evaluations):
                outputs = trained(WORLD.task, WORLD.outputs, draw, evaluations)
                yield from (Received(e.message) for e in prover.handle(Trained(outputs)) if isinstance(e, Send))


@pytest.mark.parametrize("message", MESSAGES.values(), ids=lambda message: type(message).__name__)
@pytest.mark.parametrize("state", list(State), ids=lambda state: state.value)
def test_a_verifier_takes_from_the_prover_what_the_table_lets_it_and_rejects_the_rest(
    state: State, message: Message
) -> None:
    verifier = verifier_in(state)
    n_before = len(verifier.transcript.entries)
    effects = verifier.handle(Received(message))
    after = TABLE.get((state, Sender.PROVER, KIND_OF[type(message)]))
    if state in (State.CLOSED, State.ABORTED):
        assert effects == []
        assert len(verifier.transcript.entries) == n_before
    elif after is None or isinstance(message, Aborted):
        verdicts = [effect.verdict for effect in effects if isinstance(effect, Finish)]
        assert [verdict.outcome for verdict in verdicts if verdict] == [Outcome.REJECT]
        assert verifier._machine.state is State.ABORTED
    else:
        assert verifier._machine.state is after
        assert verifier.transcript.entries[-1].message is message
        asked = ChooseRounds if isinstance(message, ClaimCommitted) else DrawEntropy
        assert [type(effect) for effect in effects] == [asked]


def prover_in(state: State) -> ProverSession | None:
    """Return a prover's session in ``state``, or None where it never rests."""
    prover, opening, challenge = honest(), MESSAGES[Opening], MESSAGES[Challenge]
    closing = Closing(outcome=Outcome.REJECT, reason="enough")
    said: dict[State, list[Event]] = {
        State.START: [],
        State.COMMITTED: [Received(opening)],
        State.CHALLENGED: [Received(opening), Received(challenge)],
        State.ANSWERED: [Received(opening), Received(challenge), Trained(np.zeros((2 * N_PAIRS, 1)))],
        State.CLOSED: [Received(opening), Received(closing)],
        State.ABORTED: [Received(MESSAGES[Aborted])],
    }
    if state not in said:
        return None
    for event in said[state]:
        prover.handle(event)
    return prover


@pytest.mark.parametrize("message", MESSAGES.values(), ids=lambda message: type(message).__name__)
@pytest.mark.parametrize("state", list(State), ids=lambda state: state.value)
def test_a_prover_takes_from_the_verifier_what_the_table_lets_it_and_stays_put_at_the_rest(
    state: State, message: Message
) -> None:
    prover = prover_in(state)
    if prover is None:
        assert state in (State.OPENED, State.PLANNED, State.SELF_CHALLENGED, State.CHECKED)
        return
    if state is State.ANSWERED and isinstance(message, Challenge):
        message = replace(message, round=2)
    before = (prover._machine.state, prover.transcript.head)
    kept_private = isinstance(message, Retrained | RoundsChosen)
    if (state, Sender.VERIFIER, KIND_OF[type(message)]) in TABLE and not kept_private:
        prover.handle(Received(message))
        assert prover.transcript.head != before[1]
    else:
        with pytest.raises(PeerError):
            prover.handle(Received(message))
        assert (prover._machine.state, prover.transcript.head) == before


SAID = st.sampled_from([*MESSAGES, "other claim", "other answers", "nothing"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(SAID, min_size=1, max_size=6))
def test_only_a_claim_and_then_its_answers_are_ever_accepted(words: list[type | str]) -> None:
    """Whatever a prover says, in whatever order: one verdict, no exception, and ACCEPT for the honest order alone."""
    verifier, entropy = VerifierSession(game=WORLD.task, terms=quick(Who.DELEGATED)), Entropy(SEED)
    verdicts: list[Outcome] = []

    def perform(effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send():
                    pass
                case Finish(verdict=verdict):
                    assert verdict is not None
                    verdicts.append(verdict.outcome)
                case other:
                    perform(verifier.handle(_own_event(other, entropy)))

    perform(verifier.start())
    for word in [*words, "nothing"]:
        perform(verifier.handle(_said(word)))
    assert len(verdicts) == 1
    assert (verdicts == [Outcome.ACCEPT]) == (words[:2] == [ClaimCommitted, Answers])


def _said(word: type | str) -> Event:
    claim, answers = MESSAGES[ClaimCommitted], MESSAGES[Answers]
    assert isinstance(claim, ClaimCommitted)
    assert isinstance(answers, Answers)
    match word:
        case "other claim":
            return Received(replace(claim, claim=replace(claim.claim, scores=2 * claim.claim.scores)))
        case "other answers":
            return Received(replace(answers, outputs=answers.outputs[::-1].copy()))
        case "nothing":
            return Lost("nothing came")
        case type():
            return Received(MESSAGES[word])
        case _:
            raise AssertionError(word)


# ---------------------------------------------------------------------------------------------------- transcripts bind


def _with(entries: tuple[Entry, ...], i: int, *new: Entry) -> tuple[Entry, ...]:
    return (*entries[:i], *new, *entries[i + 1 :])


def _earlier(entries: tuple[Entry, ...], i: int) -> tuple[Entry, ...]:
    rest = _with(entries, i)
    return (*rest[: i - 1], entries[i], *rest[i - 1 :]) if i else (*rest, entries[0])


def _by_the_other(entry: Entry) -> Entry:
    return replace(entry, sender=next(sender for sender in Sender if sender is not entry.sender))


ALTERED: dict[type, Callable[[Any], Message]] = {
    Opening: lambda m: replace(m, nonce=bytes(16)),
    ClaimCommitted: lambda m: replace(m, signed=replace(m.signed, signature=bytes(64))),
    RoundsChosen: lambda m: RoundsChosen(rounds=replace(m.rounds, n_checks=m.rounds.n_checks + 1)),
    Challenge: lambda m: replace(m, draw=Draw(seed=Seed(bytes(32)), design=m.draw.design)),
    Answers: lambda m: replace(m, signature=bytes(64)),
    Retrained: lambda m: replace(m, outputs=np.nextafter(m.outputs, 2 * np.abs(m.outputs) + 1)),
    Closing: lambda m: replace(m, outcome=Outcome.INCONCLUSIVE),
}

CHANGES: dict[str, Callable[[tuple[Entry, ...], int], tuple[Entry, ...]]] = {
    "left out": _with,
    "said twice": lambda all_, i: _with(all_, i, all_[i], all_[i]),
    "by the other party": lambda all_, i: _with(all_, i, _by_the_other(all_[i])),
    "kept private or not": lambda all_, i: _with(all_, i, replace(all_[i], private=not all_[i].private)),
    "said otherwise": lambda all_, i: _with(
        all_, i, replace(all_[i], message=ALTERED[type(all_[i].message)](all_[i].message))
    ),
    "before its turn": _earlier,
}


@pytest.mark.parametrize("change", CHANGES)
def test_no_entry_of_a_transcript_can_be_changed_under_its_signature(change: str) -> None:
    whole, key = session(Who.DELEGATED).transcript, SigningKey(bytes(32))
    filed = sign_transcript(WORLD.task, quick(Who.DELEGATED), whole, key)
    filed.check_signature()
    for i in range(len(filed.entries)):
        changed = CHANGES[change](filed.entries, i)
        assert Transcript(WORLD.task.digest, list(changed)).head != whole.head
        with pytest.raises(CommitmentError):
            replace(filed, entries=changed).check_signature()


def test_a_transcript_belongs_to_one_task_and_one_set_of_terms() -> None:
    whole, key = session(Who.DELEGATED).transcript, SigningKey(bytes(32))
    filed = sign_transcript(WORLD.task, quick(Who.DELEGATED), whole, key)
    other_task = replace(WORLD.task, numerics=replace(WORLD.task.numerics, tolerance=1.0))
    for changed in (
        replace(filed, task=other_task),
        replace(filed, terms=replace(filed.terms, epsilon=0.3)),
        replace(filed, public_key=SigningKey(bytes([1] * 32)).public),
    ):
        with pytest.raises(CommitmentError):
            changed.check_signature()
