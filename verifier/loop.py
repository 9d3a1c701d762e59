"""The one effect loop: performs what a verifier's session asks for, and feeds back what came of it.

Owns the entropy (``os.urandom``, nothing else draws any) and the rule of THEORY 8 about leaving: a prover that cannot
be reached before any challenge was sent is a fault of the network and raises; afterwards it has failed the session.
Refuses to know how a prover is reached (``client``, ``offline``), how subsets are trained (``retrain``) and what a
verdict means to the user (``cli``).

The session asks for rounds once the claim is in and checked. The caller chooses them (``verification``), because it
knows the user's budget.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from jaxtyping import Float64

from protocol.certificate.terms import Rounds
from protocol.claim import Claim, Figures
from protocol.errors import InternalError, PeerError, Reason, Refused, TransportError
from protocol.game import Game
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
from protocol.session.messages import (
    NONCE_BYTES,
    PROTOCOL_VERSION,
    Aborted,
    Challenge,
    ClaimCommitted,
    Closing,
    Message,
    Opening,
)
from protocol.session.transcript import Transcript
from protocol.session.verdict import Verdict
from protocol.session.verifier import VerifierSession

Entropy: TypeAlias = Callable[[int], bytes]
"""From a number of bytes to that many fresh ones."""

OnProgress: TypeAlias = Callable[[int, int], None]
"""Called with what is done and the total; for display only."""

Spoken: TypeAlias = Opening | Challenge | Closing | Aborted
"""What a verifier says to a prover."""


@dataclass(frozen=True)
class Progressed:
    """Something that takes a while has come further. ``what`` names it, ``total`` may be 0 while unknown."""

    what: str
    done: int
    total: int


OnEvent: TypeAlias = Callable[[Progressed], None]


class Prover(Protocol):
    """Whoever answers: a server far away, or a claim file."""

    def exchange(self, message: Spoken, *, on_progress: OnProgress) -> Message | None:
        """Say ``message`` and return the answer, None where none is due.

        Raises
        ------
        TransportError
            The prover cannot be reached, or went away.
        PeerError
            It sent what no honest party sends, or declined.
        """
        ...


class Retrain(Protocol):
    """Trains on the evaluations it is given."""

    def __call__(self, train: Train, on_progress: OnProgress) -> Float64[np.ndarray, "k t"]:
        """Return their outputs, clipped, in their order."""
        ...


def unseen(_: Progressed) -> None:
    """Show no progress."""


Choose: TypeAlias = Callable[[ChooseRounds], Rounds]
"""From a session's question to the rounds for the claim at hand; raises BudgetError where the budget does not reach."""


def run(
    session: VerifierSession,
    prover: Prover,
    choose: Choose,
    retrain: Retrain,
    *,
    entropy: Entropy = os.urandom,
    on_event: OnEvent = unseen,
    on_opening: Callable[[bytes], None] = lambda _nonce: None,
    is_enough: Callable[[Transcript], bool] = lambda _transcript: True,
) -> Verdict:
    """Perform the session's effects until it ends, and return its verdict.

    Parameters
    ----------
    choose : asked for the rounds once the claim is checked, and again where the method plans anew.
    entropy : asked for every draw.
    on_opening : told the session's nonce before the opening is sent.
    is_enough : asked whether to stop where the bounds decide and rounds are left; by default, always.

    Raises
    ------
    TransportError
        The prover could not be reached, or is too busy, before a challenge was sent; later, that is a REJECT.
    BudgetError
        The user's budget does not reach.
    TrainingError
        A training here gave no number.
    """
    loop = _Loop(prover, choose, retrain, entropy, on_event, on_opening)
    effects: deque[Effect] = deque(session.start())
    while effects:
        effect = effects.popleft()
        if isinstance(effect, Finish):
            if effect.verdict is None:
                raise InternalError("a verifier's session ended with no verdict")
            return effect.verdict
        event = Settled(is_enough(session.transcript)) if isinstance(effect, OfferStop) else loop.perform(effect)
        if event is not None:
            effects.extend(session.handle(event))
    raise InternalError("a verifier's session asked for nothing and has no verdict")


def read_claim(prover: Prover, game: Game, *, entropy: Entropy = os.urandom) -> tuple[Figures | None, Claim | None]:
    """Return what the prover says of its claim, and the claim, once its signature and shape are checked; then leave.

    For planning. (None, None) where what came is no claim that a session would take.

    Raises
    ------
    TransportError
        The prover cannot be reached, or has too much to do.
    """
    opening = Opening(version=PROTOCOL_VERSION, nonce=entropy(NONCE_BYTES), task_digest=game.digest)
    try:
        answer = prover.exchange(opening, on_progress=lambda _done, _total: None)
        if not isinstance(answer, ClaimCommitted):
            return None, None
        answer.check(game)
    except PeerError as error:
        _raise_if_busy(error)
        return None, None
    finally:
        leave(prover, "only a plan was asked for")
    return answer.signed.figures, answer.claim


def leave(prover: Prover, text: str) -> None:
    """Tell the prover that the session ends with no verdict, so that it stops training; never raises for its faults.

    Not recorded: a transcript that stops short is not one of a session that the prover has failed.
    """
    try:
        prover.exchange(Aborted(reason=Reason.FAILED, text=text), on_progress=lambda _done, _total: None)
    except (TransportError, PeerError):
        return


class _Loop:
    """One effect at a time."""

    def __init__(
        self,
        prover: Prover,
        choose: Choose,
        retrain: Retrain,
        entropy: Entropy,
        on_event: OnEvent,
        on_opening: Callable[[bytes], None],
    ) -> None:
        self._prover, self._choose, self._retrain = prover, choose, retrain
        self._entropy, self._on_event, self._on_opening = entropy, on_event, on_opening
        self._challenged = self._gone = False

    def perform(self, effect: Effect) -> Event | None:
        match effect:
            case DrawEntropy(n_bytes=n_bytes):
                return Drawn(self._entropy(n_bytes))
            case ChooseRounds() as asked:
                return Chosen(self._choose(asked))
            case Train() as train:
                return Trained(self._retrain(train, shown("retraining here", self._on_event)))
            case Send(message=Opening() as message):
                self._on_opening(message.nonce)
                return self._ask(message)
            case Send(message=Challenge() as message):
                return self._ask(message)
            case Send(message=Closing() | Aborted() as message):
                self._say_last(message)
                return None
            case other:
                raise InternalError(f"a verifier's session asked for {type(other).__name__}")

    def _ask(self, message: Opening | Challenge) -> Event:
        # From here on the prover may know the challenge, whatever becomes of the call.
        self._challenged = self._challenged or isinstance(message, Challenge)
        what = "answers from the prover" if isinstance(message, Challenge) else "claim"
        try:
            answer = self._prover.exchange(message, on_progress=shown(what, self._on_event))
        except TransportError as error:
            if not self._challenged:
                raise
            self._gone = True
            return Lost(f"the prover did not answer the challenge: {error}")
        except PeerError as error:
            if not self._challenged:
                _raise_if_busy(error)
            verb = "declined" if isinstance(error, Refused) else "broke the protocol"
            return Lost(f"the prover {verb}: {error}")
        if answer is None:
            raise InternalError(f"expected an answer to {type(message).__name__}, got none")
        return Received(answer)

    def _say_last(self, message: Closing | Aborted) -> None:
        """The verdict is made; whether the prover hears of it changes nothing."""
        if self._gone:
            return
        try:
            self._prover.exchange(message, on_progress=shown("last word", self._on_event))
        except (TransportError, PeerError):
            return


def _raise_if_busy(error: PeerError) -> None:
    """A prover that has too much to do and says so before it was challenged has broken nothing."""
    if isinstance(error, Refused) and error.reason is Reason.BUSY:
        raise TransportError(f"{error}; try again later") from error


def shown(what: str, on_event: OnEvent) -> OnProgress:
    """Return what turns (done, total) into events about ``what``."""

    def show(done: int, total: int) -> None:
        on_event(Progressed(what, done, total))

    return show
