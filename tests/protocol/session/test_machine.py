"""The transition table: every state against every message from either side, and the two facts soundness rests on."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.encoding import Digest
from protocol.errors import OutOfOrder, Reason
from protocol.game.sampling import Draw, pairs
from protocol.session.machine import TABLE, Kind, Machine, State
from protocol.session.messages import (
    Aborted,
    Answers,
    Challenge,
    Closing,
    Message,
    Opening,
    Outcome,
    Retrained,
    RoundsChosen,
    Sender,
)
from tests.protocol.session.stage import FIRST, NONCE, OWN_ROUNDS, TASK, committed, seed_of

V, P = Sender.VERIFIER, Sender.PROVER
MESSAGES: dict[Kind, Message] = {
    Kind.OPENING: Opening(version=1, nonce=NONCE, task_digest=TASK.digest),
    Kind.CLAIM_COMMITTED: committed(),
    Kind.ROUNDS_CHOSEN: RoundsChosen(rounds=OWN_ROUNDS),
    Kind.CHALLENGE: Challenge(round=0, draw=Draw(seed=seed_of(FIRST), design=pairs(2))),
    Kind.OWN_CHALLENGE: Challenge(round=0, draw=Draw(seed=seed_of(FIRST), design=pairs(2))),
    Kind.ANSWERS: Answers(round=0, outputs=np.zeros((4, 1)), root=Digest(bytes(32)), signature=bytes(64)),
    Kind.RETRAINED: Retrained(round=0, check_seed=None, evaluations=np.arange(1), outputs=np.zeros((1, 1))),
    Kind.CLOSING: Closing(outcome=Outcome.ACCEPT, reason="good"),
    Kind.ABORTED: Aborted(reason=Reason.FAILED, text="bad"),
}

# Written out a second time, from proto/SPEC.md's order of messages.
OPENED = {
    (State.START, V, Kind.OPENING): State.OPENED,
    (State.OPENED, P, Kind.CLAIM_COMMITTED): State.COMMITTED,
    (State.COMMITTED, V, Kind.ROUNDS_CHOSEN): State.PLANNED,
    (State.CHECKED, V, Kind.ROUNDS_CHOSEN): State.PLANNED,
}
ANSWERED = {
    (State.PLANNED, V, Kind.CHALLENGE): State.CHALLENGED,
    (State.CHALLENGED, P, Kind.ANSWERS): State.ANSWERED,
    (State.ANSWERED, V, Kind.RETRAINED): State.CHECKED,
    (State.CHECKED, V, Kind.CHALLENGE): State.CHALLENGED,
}
OWN = {
    (State.PLANNED, V, Kind.OWN_CHALLENGE): State.SELF_CHALLENGED,
    (State.SELF_CHALLENGED, V, Kind.RETRAINED): State.CHECKED,
    (State.CHECKED, V, Kind.OWN_CHALLENGE): State.SELF_CHALLENGED,
}
UNSEEN = {  # to a prover, who is told of neither choices of rounds nor retrainings
    (State.COMMITTED, V, Kind.CHALLENGE): State.CHALLENGED,
    (State.ANSWERED, V, Kind.CHALLENGE): State.CHALLENGED,
    (State.COMMITTED, V, Kind.CLOSING): State.CLOSED,
    (State.ANSWERED, V, Kind.CLOSING): State.CLOSED,
}
CLOSING = {(state, V, Kind.CLOSING): State.CLOSED for state in (State.PLANNED, State.CHECKED)}
OVER = (State.CLOSED, State.ABORTED)
LEAVING = {
    (state, sender, Kind.ABORTED): State.ABORTED for state in State if state not in OVER for sender in Sender
}  # fmt: skip
EXPECTED = OPENED | ANSWERED | OWN | UNSEEN | CLOSING | LEAVING
EVERY_STEP = list(itertools.product(State, Sender, Kind))


@pytest.mark.parametrize("step", EVERY_STEP, ids=lambda step: " ".join(part.value for part in step))
def test_every_state_takes_what_the_specification_says_and_nothing_else(step: tuple[State, Sender, Kind]) -> None:
    state, sender, kind = step
    machine = Machine(state)
    if step in EXPECTED:
        machine.step(sender, MESSAGES[kind], own=kind is Kind.OWN_CHALLENGE)
        assert machine.state is EXPECTED[step]
    else:
        message = f"session is {state.value}: expected "
        with pytest.raises(OutOfOrder, match=f"^{re.escape(message)}.*, got {kind.value} from {sender.value}$"):
            machine.step(sender, MESSAGES[kind], own=kind is Kind.OWN_CHALLENGE)
        assert machine.state is state
    assert machine.is_over == (machine.state in OVER)


def test_the_table_is_the_one_written_out_here() -> None:
    assert TABLE == EXPECTED


def test_a_refusal_names_what_would_have_been_taken() -> None:
    with pytest.raises(OutOfOrder, match="expected aborted from prover or aborted from verifier or claim-committed"):
        Machine(State.OPENED).step(V, MESSAGES[Kind.CHALLENGE])
    with pytest.raises(OutOfOrder, match="session is closed: expected nothing more, got opening from verifier"):
        Machine(State.CLOSED).step(V, MESSAGES[Kind.OPENING])
    assert OutOfOrder.reason is Reason.OUT_OF_ORDER


@given(st.lists(st.tuples(st.sampled_from(Sender), st.sampled_from(Kind)), max_size=12))
def test_no_challenge_before_a_claim_and_no_check_before_answers(said: list[tuple[Sender, Kind]]) -> None:
    """Whatever is said in whatever order, of what the machine takes (THEORY 8)."""
    machine, taken = Machine(), []
    for sender, kind in said:
        try:
            machine.step(sender, MESSAGES[kind], own=kind is Kind.OWN_CHALLENGE)
        except OutOfOrder:
            continue
        taken.append((sender, kind))
    kinds = [kind for _, kind in taken]
    challenges = [i for i, kind in enumerate(kinds) if kind in (Kind.CHALLENGE, Kind.OWN_CHALLENGE)]
    for i in challenges:
        assert (P, Kind.CLAIM_COMMITTED) in taken[:i]
    for i, kind in enumerate(kinds):
        if kind is Kind.RETRAINED:  # what it follows is the answers to the challenge, or a challenge of one's own
            assert kinds[i - 1] in (Kind.ANSWERS, Kind.OWN_CHALLENGE)
        if kind is Kind.ANSWERS:
            assert kinds[i - 1] is Kind.CHALLENGE
        if kind in (Kind.CLOSING, Kind.ABORTED):
            assert i == len(kinds) - 1
        if kind is Kind.ROUNDS_CHOSEN:  # no rounds before a claim, and none changed under a challenge
            assert kinds[i - 1] in (Kind.CLAIM_COMMITTED, Kind.RETRAINED)
        if kind is Kind.OWN_CHALLENGE:
            assert Kind.ROUNDS_CHOSEN in kinds[:i]
    assert kinds.count(Kind.CLAIM_COMMITTED) <= 1


@pytest.mark.parametrize("goal", [Kind.ROUNDS_CHOSEN, Kind.CHALLENGE, Kind.OWN_CHALLENGE, Kind.RETRAINED])
def test_the_prover_never_takes_the_verifiers_part(goal: Kind) -> None:
    assert not [key for key in TABLE if key[1] is P and key[2] is goal]
