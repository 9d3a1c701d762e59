"""Deciding a filed transcript again, without the other party (THEORY 4, 8).

A transcript holds every message and every draw of entropy, so a fresh verifier session fed with
them must record the same entries and come to the same verdict. What remains to be trusted is
the verifier's own retrainings and that its entropy was fresh; pass ``retrain`` to do the
retrainings again, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from jaxtyping import Float64

from protocol.errors import MalformedMessage
from protocol.session.effects import DrawEntropy, Drawn, Effect, Event, Finish, Lost, Received, Train, Trained
from protocol.session.messages import Aborted, Challenge, Opening, Retrained, Sender
from protocol.session.transcript import Entry, SignedTranscript
from protocol.session.verdict import Verdict
from protocol.session.verifier import VerifierSession

Retrain = Callable[[Train], Float64[np.ndarray, "k t"]]


def recheck(filed: SignedTranscript, retrain: Retrain | None = None) -> Verdict:
    """Return the verdict that the transcript supports.

    Parameters
    ----------
    retrain : callable, optional
        Trains on the evaluations it is given and returns their outputs, shape (k, T). By
        default the outputs that the verifier recorded are believed.

    Raises
    ------
    CommitmentError
        The verifier's signature does not fit.
    MalformedMessage
        The entries are not what an honest verifier records on these terms, or its recorded
        outputs are not what ``retrain`` finds.
    """
    filed.check_signature()
    session = VerifierSession(task=filed.task, terms=filed.terms)
    effects: deque[Effect] = deque(session.start())
    while True:
        effect = effects.popleft() if effects else None
        if isinstance(effect, Finish) and effect.verdict is not None:
            if len(session.transcript.entries) != len(filed.entries):
                raise MalformedMessage("transcript: expected nothing after the verdict, got more entries")
            return effect.verdict
        event = _event(effect, filed, len(session.transcript.entries), retrain, idle=not effects)
        if event is not None:
            effects.extend(session.handle(event))
            _check_same(session.transcript.entries, filed.entries)


def _event(
    effect: Effect | None, filed: SignedTranscript, position: int, retrain: Retrain | None, *, idle: bool
) -> Event | None:
    """What came of ``effect``, read off the entry that the live session recorded next."""
    if position >= len(filed.entries):
        raise MalformedMessage("transcript: expected entries up to a verdict, got too few")
    entry = filed.entries[position]
    match effect, entry.message:
        case _, Aborted(text=text) if entry.sender is Sender.VERIFIER:
            return Lost(text)
        case DrawEntropy(), Opening(nonce=nonce):
            return Drawn(nonce)
        case DrawEntropy(), Challenge(draw=draw):
            return Drawn(draw.seed)
        case DrawEntropy(), Retrained(check_seed=bytes() as seed):
            return Drawn(seed)
        case Train() as train, Retrained() as recorded:
            _check_outputs(recorded, train, filed, retrain)
            return Trained(recorded.outputs)
        case ((DrawEntropy() | Train()), other):
            raise MalformedMessage(f"transcript: expected the verifier's own entry, got {type(other).__name__}")
    return Received(entry.message) if idle and entry.sender is Sender.PROVER else None


def _check_same(ours: list[Entry], filed: tuple[Entry, ...]) -> None:
    if len(ours) > len(filed):
        raise MalformedMessage("transcript: expected entries up to a verdict, got too few")
    last = len(ours) - 1
    mine, theirs = ours[last], filed[last]
    if isinstance(mine.message, Aborted) and isinstance(theirs.message, Aborted):
        return  # its reason code is the shell's
    same = (mine.sender, mine.private, mine.message.digest) == (theirs.sender, theirs.private, theirs.message.digest)
    if not same:
        raise MalformedMessage(
            f"transcript: expected entry {last} to be the {type(mine.message).__name__} that follows from the others"
        )


def _check_outputs(recorded: Retrained, train: Train, filed: SignedTranscript, retrain: Retrain | None) -> None:
    """The recorded outputs are of the evaluations due, within their ranges, and what training gives."""
    targets, k = filed.task.targets, len(train.evaluations)
    if recorded.outputs.shape != (k, targets.n):
        raise MalformedMessage(f"transcript: expected outputs of shape {(k, targets.n)}, got {recorded.outputs.shape}")
    if not bool(((recorded.outputs >= targets.lo) & (recorded.outputs <= targets.hi)).all()):
        raise MalformedMessage("transcript: expected the verifier's outputs within their targets' ranges")
    if retrain is None:
        return
    false = ~(np.abs(retrain(train) - recorded.outputs) <= filed.task.numerics.tolerance).all(axis=1)
    if false.any():
        first = int(train.evaluations[np.argmax(false)])
        raise MalformedMessage(
            f"transcript: the verifier's own output of evaluation {first} is not what training gives"
        )
