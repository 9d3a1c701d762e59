"""The order of messages: one table, which knows no role (THEORY 8; proto/SPEC.md, section 6).

Soundness rests on two facts that can be read off the table:

- ``CHALLENGED`` and ``SELF_CHALLENGED`` are reached only after ``COMMITTED`` or a checked round,
  so no challenge exists before a signed claim is in; the choice of rounds stands between the two;
- when the prover answers, ``Retrained`` is taken only in ``ANSWERED``, so no spot check is drawn
  before the answers are committed.

Both parties step the same machine, with what they send and with what they receive. A prover
never sees ``RoundsChosen`` and ``Retrained``, so for it a round begins at ``COMMITTED`` and ends at
``ANSWERED``: the rows marked "unseen" let the next challenge or the closing follow from there.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from protocol.errors import OutOfOrder
from protocol.session.messages import (
    Aborted,
    Answers,
    Challenge,
    ClaimCommitted,
    Closing,
    Message,
    Opening,
    Retrained,
    RoundsChosen,
    Sender,
)


class State(enum.Enum):
    """Where a session stands."""

    START = "start"
    OPENED = "opened"
    COMMITTED = "committed"
    PLANNED = "planned"
    CHALLENGED = "challenged"
    SELF_CHALLENGED = "self-challenged"
    ANSWERED = "answered"
    CHECKED = "checked"
    CLOSED = "closed"
    ABORTED = "aborted"


class Kind(enum.Enum):
    """What the table distinguishes: a message's type, and who answers a challenge."""

    OPENING = "opening"
    CLAIM_COMMITTED = "claim-committed"
    ROUNDS_CHOSEN = "rounds-chosen"
    CHALLENGE = "challenge"
    OWN_CHALLENGE = "own-challenge"
    ANSWERS = "answers"
    RETRAINED = "retrained"
    CLOSING = "closing"
    ABORTED = "aborted"


_KIND_OF = {
    Opening: Kind.OPENING,
    ClaimCommitted: Kind.CLAIM_COMMITTED,
    RoundsChosen: Kind.ROUNDS_CHOSEN,
    Challenge: Kind.CHALLENGE,
    Answers: Kind.ANSWERS,
    Retrained: Kind.RETRAINED,
    Closing: Kind.CLOSING,
    Aborted: Kind.ABORTED,
}

_V, _P = Sender.VERIFIER, Sender.PROVER

TABLE: dict[tuple[State, Sender, Kind], State] = {
    (State.START, _V, Kind.OPENING): State.OPENED,
    (State.OPENED, _P, Kind.CLAIM_COMMITTED): State.COMMITTED,
    # The verifier chooses its rounds only now that a claim is in, and may choose later ones anew.
    (State.COMMITTED, _V, Kind.ROUNDS_CHOSEN): State.PLANNED,
    (State.CHECKED, _V, Kind.ROUNDS_CHOSEN): State.PLANNED,
    # A round that the prover answers: then the verifier draws what to recheck.
    (State.PLANNED, _V, Kind.CHALLENGE): State.CHALLENGED,
    (State.COMMITTED, _V, Kind.CHALLENGE): State.CHALLENGED,  # unseen
    (State.CHALLENGED, _P, Kind.ANSWERS): State.ANSWERED,
    (State.ANSWERED, _V, Kind.RETRAINED): State.CHECKED,
    (State.CHECKED, _V, Kind.CHALLENGE): State.CHALLENGED,
    (State.ANSWERED, _V, Kind.CHALLENGE): State.CHALLENGED,  # unseen
    # A round of the verifier's own: it answers its own challenge and sends nothing.
    (State.PLANNED, _V, Kind.OWN_CHALLENGE): State.SELF_CHALLENGED,
    (State.SELF_CHALLENGED, _V, Kind.RETRAINED): State.CHECKED,
    (State.CHECKED, _V, Kind.OWN_CHALLENGE): State.SELF_CHALLENGED,
    # The verifier may close whenever a claim is in, except while the prover owes answers.
    (State.COMMITTED, _V, Kind.CLOSING): State.CLOSED,  # unseen
    (State.PLANNED, _V, Kind.CLOSING): State.CLOSED,
    (State.ANSWERED, _V, Kind.CLOSING): State.CLOSED,
    (State.CHECKED, _V, Kind.CLOSING): State.CLOSED,
}
for _state in State:
    if _state not in (State.CLOSED, State.ABORTED):
        for _sender in Sender:
            TABLE[_state, _sender, Kind.ABORTED] = State.ABORTED


@dataclass
class Machine:
    """Where a session stands."""

    state: State = field(default=State.START)

    def step(self, sender: Sender, message: Message, *, own: bool = False) -> None:
        """Move on ``message``, or raise :class:`OutOfOrder` and stay.

        Parameters
        ----------
        own : bool
            For a challenge: the verifier answers it itself, and the prover is not told.
        """
        kind = Kind.OWN_CHALLENGE if own and isinstance(message, Challenge) else _KIND_OF[type(message)]
        after = TABLE.get((self.state, sender, kind))
        if after is None:
            expected = sorted({f"{k.value} from {s.value}" for (state, s, k) in TABLE if state is self.state})
            raise OutOfOrder(
                f"session is {self.state.value}: expected {' or '.join(expected) or 'nothing more'}, "
                f"got {kind.value} from {sender.value}"
            )
        self.state = after

    @property
    def is_over(self) -> bool:
        return self.state in (State.CLOSED, State.ABORTED)
