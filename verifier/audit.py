"""The one effect loop: performs what a verifier's session asks for, and feeds back what came of it.

Owns the entropy (``os.urandom``, nothing else draws any) and the rule of THEORY 8 about leaving: before a challenge
was sent, a prover that cannot be reached is a fault of the network and raises; after it, it has failed the run.
Refuses to know how a prover is reached (``client``, ``offline``), how subsets are trained (``retrain``) and what a
verdict means to the user (``cli``).

A claim's own figures decide how many retrainings are worth asking for, so the opening is exchanged before the session
has its terms (:func:`open_claim`); the session then sends that very opening, and is given that very claim. Terms may
depend on the claim: soundness needs only the challenge to come after it.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from jaxtyping import Float64

from protocol.claim import Claim, Figures
from protocol.errors import InternalError, PeerError, Reason, Refused, TransportError
from protocol.sampling import Draw
from protocol.session.effects import DrawEntropy, Drawn, Effect, Event, Finish, Lost, Received, Send, Train, Trained
from protocol.session.messages import (
    NONCE_BYTES,
    PROTOCOL_VERSION,
    Aborted,
    Answers,
    Challenge,
    ClaimCommitted,
    Closing,
    Message,
    Opening,
    Retrained,
)
from protocol.session.transcript import Transcript
from protocol.session.verdict import Verdict
from protocol.session.verifier import VerifierSession
from protocol.task import Task

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


@dataclass(frozen=True, kw_only=True)
class OpenedProver:
    """A prover with whom a session was opened, and what it answered: its claim, or how it broke the protocol."""

    prover: Prover
    opening: Opening
    answer: ClaimCommitted | PeerError

    @property
    def figures(self) -> Figures | None:
        """What the prover says of its claim; None where there is no claim."""
        return self.answer.signed.figures if isinstance(self.answer, ClaimCommitted) else None

    @property
    def claim(self) -> Claim | None:
        """What was claimed, unchecked as yet; None where there is no claim."""
        return self.answer.claim if isinstance(self.answer, ClaimCommitted) else None

    def exchange(self, message: Spoken, *, on_progress: OnProgress) -> Message | None:
        """Give the answer that came already, or pass the message on."""
        if not isinstance(message, Opening):
            return self.prover.exchange(message, on_progress=on_progress)
        if message != self.opening:
            raise InternalError("a session was opened with one nonce and run with another")
        if isinstance(self.answer, PeerError):
            raise self.answer
        return self.answer


def open_claim(
    prover: Prover, task: Task, *, entropy: Entropy = os.urandom, on_event: OnEvent = unseen
) -> OpenedProver:
    """Open a session about ``task`` and take the prover's claim, nothing of it believed yet.

    Raises
    ------
    TransportError
        The prover cannot be reached, or has too much to do.
    """
    opening = Opening(version=PROTOCOL_VERSION, nonce=entropy(NONCE_BYTES), task_digest=task.digest)
    answer: Message | PeerError | None
    try:
        answer = prover.exchange(opening, on_progress=shown("claim", on_event))
    except PeerError as error:
        _raise_if_busy(error)
        answer = error
    if not isinstance(answer, ClaimCommitted | PeerError):
        raise InternalError(f"expected a claim in answer to an opening, got {type(answer).__name__}")
    return OpenedProver(prover=prover, opening=opening, answer=answer)


def run(
    session: VerifierSession,
    prover: Prover,
    retrain: Retrain,
    *,
    entropy: Entropy = os.urandom,
    on_event: OnEvent = unseen,
) -> Verdict:
    """Perform the session's effects until it ends, and return its verdict.

    Parameters
    ----------
    prover : an :class:`OpenedProver`, whose nonce the session is given, or one not opened yet.
    entropy : asked for every draw but the nonce of an opened session.

    Raises
    ------
    TransportError
        The prover could not be reached before a challenge was sent; later, that is a REJECT.
    TrainingError
        A training here gave no number.
    """
    loop = _Loop(session, prover, retrain, entropy, on_event)
    effects: deque[Effect] = deque(session.start())
    while effects:
        effect = effects.popleft()
        if isinstance(effect, Finish):
            if effect.verdict is None:
                raise InternalError("a verifier's session ended with no verdict")
            return effect.verdict
        event = loop.perform(effect)
        if event is not None:
            effects.extend(session.handle(event))
    raise InternalError("a verifier's session asked for nothing and has no verdict")


def leave(prover: Prover, text: str) -> None:
    """Tell the prover that the session ends with no verdict, so that it stops training; never raises for its faults.

    Not recorded: a transcript that stops short is not one of a session that the prover has failed.
    """
    try:
        prover.exchange(Aborted(reason=Reason.FAILED, text=text), on_progress=lambda _done, _total: None)
    except (TransportError, PeerError):
        return


def outputs_by_round(transcript: Transcript) -> list[tuple[Draw, Float64[np.ndarray, "_ t"]]]:
    """Return every challenge's draw and all its outputs: the verifier's own where it trained all, else the answers."""
    rounds: list[tuple[Draw, Float64[np.ndarray, "_ t"]]] = []
    draw: Draw | None = None
    for entry in transcript.entries:
        match entry.message:
            case Challenge(draw=drawn):
                draw = drawn
            case Answers(outputs=outputs) if draw is not None:
                rounds.append((draw, outputs))
            case Retrained(check_seed=None, outputs=outputs) if draw is not None:
                rounds.append((draw, outputs))
    return rounds


class _Loop:
    """One effect at a time."""

    def __init__(
        self, session: VerifierSession, prover: Prover, retrain: Retrain, entropy: Entropy, on_event: OnEvent
    ) -> None:
        self._session, self._prover, self._retrain = session, prover, retrain
        self._entropy, self._on_event = entropy, on_event
        self._nonce = prover.opening.nonce if isinstance(prover, OpenedProver) else None
        self._challenged = self._gone = False

    def perform(self, effect: Effect) -> Event | None:
        match effect:
            case DrawEntropy(n_bytes=n_bytes):
                return Drawn(self._draw(n_bytes))
            case Train() as train:
                return Trained(self._retrain(train, shown("retraining here", self._on_event)))
            case Send(message=Opening() | Challenge() as message):
                return self._ask(message)
            case Send(message=Closing() | Aborted() as message):
                self._say_last(message)
                return None
            case other:
                raise InternalError(f"a verifier's session asked for {type(other).__name__}")

    def _draw(self, n_bytes: int) -> bytes:
        nonce, self._nonce = self._nonce, None
        return self._entropy(n_bytes) if nonce is None else nonce

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
