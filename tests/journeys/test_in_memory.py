"""Whole sessions in one process: what both parties agree on, in which order, and what is done with anything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.certificate.terms import Assurance, Terms
from protocol.commitments import SigningKey
from protocol.encoding import Seed
from protocol.errors import CommitmentError, PeerError, Reason
from protocol.sampling import Draw
from protocol.session.effects import DrawEntropy, Drawn, Effect, Event, Finish, Lost, Received, Send, Train, Trained
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
    Sender,
)
from protocol.session.prover import ProverSession
from protocol.session.transcript import Entry, Transcript, sign_transcript
from protocol.session.verifier import VerifierSession
from prover.claiming import commit
from tests.adversaries import registry
from tests.adversaries.cheat import HONEST
from tests.adversaries.terms import terms
from tests.games import Polynomial
from tests.journeys.in_memory import Entropy, Journey, meet, run, trained
from tests.journeys.worlds import World, of_game

WORLD = of_game(Polynomial(n_units=32, w1=0.97, w2=0.02, w3=0.01), n_targets=1)
SEED = 3


def asked(assurance: Assurance, n_looks: int = 1) -> Terms:
    one = terms(assurance, n_families=8, n_siblings=2, rho=0.5, n_checks=20, epsilon=0.2)
    return replace(one, looks=one.looks * n_looks)


def honest(world: World = WORLD) -> ProverSession:
    committed = commit(world.claim, world.figures, world.key)
    return ProverSession(
        task=world.task, claim=world.claim, signed=committed.signed, key=world.key, max_evaluations=10_000
    )


def names(journey: Journey) -> list[str]:
    return [type(entry.message).__name__ for entry in journey.transcript.entries]


# ------------------------------------------------------------------------------------------------------ whole journeys


def test_a_proved_journey_asks_the_prover_for_its_claim_alone() -> None:
    journey = meet(WORLD, asked(Assurance.PROVED), seed=SEED)
    assert journey.verdict.outcome is Outcome.ACCEPT
    assert names(journey) == ["Opening", "ClaimCommitted", "Challenge", "Retrained", "Closing"]
    assert [entry.private for entry in journey.transcript.entries] == [False, False, True, True, False]
    assert (journey.n_trained_by_prover, journey.verdict.n_retrainings) == (0, 32)


def test_an_audited_journey_has_the_prover_train_and_rechecks_some() -> None:
    journey = meet(WORLD, asked(Assurance.AUDITED), seed=SEED)
    assert journey.verdict.outcome is Outcome.ACCEPT
    assert names(journey) == ["Opening", "ClaimCommitted", "Challenge", "Answers", "Retrained", "Closing"]
    assert (journey.n_trained_by_prover, journey.verdict.n_retrainings) == (32, 20)


@pytest.mark.parametrize("assurance", list(Assurance))
def test_both_parties_chain_the_same_words(assurance: Assurance) -> None:
    prover, verifier = honest(), VerifierSession(task=WORLD.task, terms=asked(assurance))
    run(verifier=verifier, prover=prover, task=WORLD.task, outputs=WORLD.outputs, entropy=Entropy(SEED))
    assert prover.transcript.spoken == verifier.transcript.spoken
    assert prover.is_over
    assert verifier.is_over


def test_one_seed_gives_one_journey_and_another_seed_another() -> None:
    heads = [meet(WORLD, asked(Assurance.AUDITED), seed=seed).transcript.head for seed in (1, 1, 2)]
    assert heads[0] == heads[1] != heads[2]


@pytest.mark.parametrize("assurance", list(Assurance))
def test_entropy_is_drawn_when_it_is_due_and_no_earlier(assurance: Assurance) -> None:
    """The challenge's after the claim is in, the spot check's after the answers are; and each is 32 fresh bytes."""
    verifier, entropy = VerifierSession(task=WORLD.task, terms=asked(assurance)), Entropy(SEED)
    drawn_after: list[str | None] = []

    def watched(n_bytes: int) -> bytes:
        entries = verifier.transcript.entries
        drawn_after.append(type(entries[-1].message).__name__ if entries else None)
        return entropy(n_bytes)

    run(verifier=verifier, prover=honest(), task=WORLD.task, outputs=WORLD.outputs, entropy=watched)
    checks = ["Answers"] if assurance is Assurance.AUDITED else []
    assert drawn_after == [None, "ClaimCommitted", *checks]


def test_several_looks_are_taken_until_one_decides() -> None:
    three = replace(asked(Assurance.AUDITED, n_looks=3), epsilon=0.02)
    journey = meet(WORLD, three, seed=SEED)
    n_looks = names(journey).count("Challenge")
    assert 2 <= n_looks <= 3
    assert journey.verdict.certificate is not None
    assert journey.verdict.certificate.n_families == 8 * n_looks
    assert len(journey.verdict.spot_checks) == n_looks


def test_a_prover_that_falls_silent_is_rejected() -> None:
    silent = replace(registry.BY_NAME["leaves-when-unlucky"], silently=True)  # type: ignore[type-var]
    verdict = meet(WORLD, asked(Assurance.AUDITED), silent, seed=SEED).verdict
    assert verdict.outcome is Outcome.REJECT
    assert "nothing came within the deadline" in verdict.reasons[0]


def test_a_real_task_is_proved_and_its_cheats_are_rejected() -> None:
    from tests.journeys.loopback import wine
    from tests.journeys.trainings import trained_world

    world = trained_world(wine(), n_pairs=500)
    strict = {kind: terms(kind, n_families=30, n_siblings=2, rho=0.5, n_checks=20) for kind in Assurance}
    for cheat in (HONEST, *(registry.BY_NAME[name] for name in ("scaled", "stale", "cut-short"))):
        verdict = meet(world, strict[cheat.fate.assurance], cheat, seed=SEED).verdict
        assert verdict.outcome is cheat.fate.outcome, cheat.name


# ------------------------------------------------------------------------------------------ every state, every message


def genuine(assurance: Assurance) -> dict[type, Message]:
    """One of each message, from an honest journey that goes as ``verifier_in`` does."""
    return {type(entry.message): entry.message for entry in meet(WORLD, asked(assurance), seed=SEED).transcript.entries}


def messages() -> dict[type, Message]:
    nobody = Aborted(reason=Reason.FAILED, text="no")
    return {**genuine(Assurance.AUDITED), Aborted: nobody}


MESSAGES = messages()
KIND_OF = {
    Opening: Kind.OPENING, ClaimCommitted: Kind.CLAIM_COMMITTED, Challenge: Kind.CHALLENGE, Answers: Kind.ANSWERS,
    Retrained: Kind.RETRAINED, Closing: Kind.CLOSING, Aborted: Kind.ABORTED,
}  # fmt: skip


def verifier_in(state: State) -> VerifierSession:
    """Return a verifier's session driven to ``state`` by an honest prover."""
    assurance = Assurance.PROVED if state is State.SELF_CHALLENGED else Assurance.AUDITED
    looks = asked(assurance, n_looks=2 if state is State.CHECKED else 1)
    if state is State.CHECKED:
        looks = replace(looks, epsilon=1e-3)
    session, prover, entropy = VerifierSession(task=WORLD.task, terms=looks), honest(), Entropy(SEED)
    effects = session.start()
    while session._machine.state is not state:
        effects = session.handle(next(_events(effects, prover, entropy, closing=state)))
    return session


def _events(effects: list[Effect], prover: ProverSession, entropy: Entropy, closing: State) -> Iterator[Event]:
    if closing is State.ABORTED:
        yield Lost("gone")
    for effect in effects:
        match effect:
            case DrawEntropy(n_bytes=n):
                yield Drawn(entropy(n))
            case Train(draw=draw, evaluations=evaluations):
                yield Trained(trained(WORLD.task, WORLD.outputs, draw, evaluations))
            case Send(message=message):
                yield from _replies(prover, message)


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
    session = verifier_in(state)
    n_before = len(session.transcript.entries)
    effects = session.handle(Received(message))
    after = TABLE.get((state, Sender.PROVER, KIND_OF[type(message)]))
    if state in (State.CLOSED, State.ABORTED):
        assert effects == []
        assert len(session.transcript.entries) == n_before
    elif after is None or isinstance(message, Aborted):
        verdicts = [effect.verdict for effect in effects if isinstance(effect, Finish)]
        assert [verdict.outcome for verdict in verdicts if verdict] == [Outcome.REJECT]
        assert session._machine.state is State.ABORTED
    else:
        assert session._machine.state is after
        assert session.transcript.entries[-1].message is message
        assert [type(effect) for effect in effects] == [DrawEntropy]


def prover_in(state: State) -> ProverSession | None:
    """Return a prover's session in ``state``, or None where it never rests."""
    session, opening, challenge = honest(), MESSAGES[Opening], MESSAGES[Challenge]
    closing = Closing(outcome=Outcome.REJECT, reason="enough")
    said: dict[State, list[Event]] = {
        State.START: [],
        State.COMMITTED: [Received(opening)],
        State.CHALLENGED: [Received(opening), Received(challenge)],
        State.ANSWERED: [Received(opening), Received(challenge), Trained(np.zeros((32, 1)))],
        State.CLOSED: [Received(opening), Received(closing)],
        State.ABORTED: [Received(MESSAGES[Aborted])],
    }
    if state not in said:
        return None
    for event in said[state]:
        session.handle(event)
    return session


@pytest.mark.parametrize("message", MESSAGES.values(), ids=lambda message: type(message).__name__)
@pytest.mark.parametrize("state", list(State), ids=lambda state: state.value)
def test_a_prover_takes_from_the_verifier_what_the_table_lets_it_and_stays_put_at_the_rest(
    state: State, message: Message
) -> None:
    session = prover_in(state)
    if session is None:
        assert state in (State.OPENED, State.SELF_CHALLENGED, State.CHECKED)
        return
    if state is State.ANSWERED and isinstance(message, Challenge):
        message = replace(message, round=1)
    before = (session._machine.state, session.transcript.head)
    if (state, Sender.VERIFIER, KIND_OF[type(message)]) in TABLE and not isinstance(message, Retrained):
        session.handle(Received(message))
        assert session.transcript.head != before[1]
    else:
        with pytest.raises(PeerError):
            session.handle(Received(message))
        assert (session._machine.state, session.transcript.head) == before


SAID = st.sampled_from([*MESSAGES, "other claim", "other answers", "nothing"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(SAID, min_size=1, max_size=6))
def test_only_a_claim_and_then_its_answers_are_ever_accepted(words: list[type | str]) -> None:
    """Whatever a prover says, in whatever order: one verdict, no exception, and ACCEPT for the honest order alone."""
    session, entropy = VerifierSession(task=WORLD.task, terms=asked(Assurance.AUDITED)), Entropy(SEED)
    verdicts: list[Outcome] = []

    def perform(effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case DrawEntropy(n_bytes=n):
                    perform(session.handle(Drawn(entropy(n))))
                case Train(draw=draw, evaluations=evaluations):
                    perform(session.handle(Trained(trained(WORLD.task, WORLD.outputs, draw, evaluations))))
                case Finish(verdict=verdict) if verdict is not None:
                    verdicts.append(verdict.outcome)

    perform(session.start())
    for word in [*words, "nothing"]:
        perform(session.handle(_said(word)))
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
    whole, key = meet(WORLD, asked(Assurance.AUDITED), seed=SEED).transcript, SigningKey(bytes(32))
    filed = sign_transcript(WORLD.task, asked(Assurance.AUDITED), whole, key)
    filed.check_signature()
    for i in range(len(filed.entries)):
        changed = CHANGES[change](filed.entries, i)
        assert Transcript(WORLD.task.digest, list(changed)).head != whole.head
        with pytest.raises(CommitmentError):
            replace(filed, entries=changed).check_signature()


def test_a_transcript_belongs_to_one_task_and_one_set_of_terms() -> None:
    whole, key = meet(WORLD, asked(Assurance.AUDITED), seed=SEED).transcript, SigningKey(bytes(32))
    filed = sign_transcript(WORLD.task, asked(Assurance.AUDITED), whole, key)
    other_task = replace(WORLD.task, numerics=replace(WORLD.task.numerics, tolerance=1.0))
    for changed in (
        replace(filed, task=other_task),
        replace(filed, terms=replace(filed.terms, epsilon=0.3)),
        replace(filed, public_key=SigningKey(bytes([1] * 32)).public),
    ):
        with pytest.raises(CommitmentError):
            changed.check_signature()
