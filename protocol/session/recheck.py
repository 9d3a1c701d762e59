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

from protocol.errors import ArgumentError, MalformedMessage
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
from protocol.session.messages import Aborted, Challenge, Closing, Opening, Retrained, RoundsChosen, Sender
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
    try:
        return _replayed(filed, retrain)
    except ArgumentError as error:  # terms or rounds that no honest verifier asks for
        raise MalformedMessage(f"transcript: {error}") from error


def _replayed(filed: SignedTranscript, retrain: Retrain | None) -> Verdict:
    session = VerifierSession(game=filed.task, terms=filed.terms)
    effects: deque[Effect] = deque(session.start())
    while True:
        effect = effects.popleft() if effects else None
        if isinstance(effect, Finish) and effect.verdict is not None:
            if len(session.transcript.entries) != len(filed.entries):
                raise MalformedMessage("transcript: expected nothing after the verdict, got more entries")
            return effect.verdict
        event = _event(effect, filed, len(session.transcript.entries), retrain, idle=not effects)
        if event is not None:
            before = len(session.transcript.entries)
            effects.extend(session.handle(event))
            _check_same(session.transcript.entries, filed.entries, before)
        elif effect is None:  # the session waits for the prover, and something else was filed
            raise MalformedMessage("transcript: expected what the prover said next, got the verifier's own entry")


def _event(
    effect: Effect | None, filed: SignedTranscript, position: int, retrain: Retrain | None, *, idle: bool
) -> Event | None:
    """What came of ``effect``, read off the entry that the live session recorded next."""
    if isinstance(effect, Send):
        return None  # recorded when it was said; it may have been the last word
    if position >= len(filed.entries):
        raise MalformedMessage("transcript: expected entries up to a verdict, got too few")
    entry = filed.entries[position]
    if isinstance(entry.message, Aborted) and entry.sender is Sender.VERIFIER:
        if effect is not None:  # nobody leaves a prover while its own work is due
            raise MalformedMessage("transcript: expected the verifier's own work, got that it left the session")
        return Lost(entry.message.text)
    event: Event | None = Received(entry.message) if idle and entry.sender is Sender.PROVER else None
    match effect, entry.message:
        case DrawEntropy(n_bytes=n), (
            Opening(nonce=entropy) | Challenge(draw=Draw(seed=entropy)) | Retrained(check_seed=bytes() as entropy)
        ) if len(entropy) == n:
            event = Drawn(entropy)
        case OfferStop(), message:
            event = Settled(stop=isinstance(message, Closing))
        case ChooseRounds(), RoundsChosen(rounds=rounds):
            event = Chosen(rounds)
        case Train() as train, Retrained() as recorded:
            _check_outputs(recorded, train, filed, retrain)
            event = Trained(recorded.outputs)
        case ((DrawEntropy() | ChooseRounds() | Train()), other):
            raise MalformedMessage(f"transcript: expected the verifier's own entry, got {type(other).__name__}")
    return event


def _check_same(ours: list[Entry], filed: tuple[Entry, ...], before: int) -> None:
    """The entries that the session just recorded, one or two of them, are those that were filed."""
    if len(ours) > len(filed):
        raise MalformedMessage("transcript: expected entries up to a verdict, got too few")
    for i in range(before, len(ours)):
        if _said(ours[i]) != _said(filed[i]):
            name = type(ours[i].message).__name__
            raise MalformedMessage(f"transcript: expected entry {i} to be the {name} that follows from the others")


def _said(entry: Entry) -> tuple[Sender, bool, str, object]:
    """What two records of one session agree on; the reason code of an abort is the shell's own."""
    message = entry.message
    content = message.text if isinstance(message, Aborted) else message.digest
    return entry.sender, entry.private, type(message).__name__, content


def _check_outputs(recorded: Retrained, train: Train, filed: SignedTranscript, retrain: Retrain | None) -> None:
    """The recorded outputs are of the evaluations due, within their ranges, and what training gives."""
    game, expected = filed.task, (len(train.evaluations), filed.task.n_targets)
    if recorded.outputs.shape != expected:
        raise MalformedMessage(f"transcript: expected outputs of shape {expected}, got {recorded.outputs.shape}")
    if not bool(((recorded.outputs >= game.lo) & (recorded.outputs <= game.hi)).all()):
        raise MalformedMessage("transcript: expected the verifier's outputs within their targets' ranges")
    if retrain is None:
        return
    false = ~(np.abs(retrain(train) - recorded.outputs) <= filed.task.tolerance).all(axis=1)
    if false.any():
        first = int(train.evaluations[np.argmax(false)])
        raise MalformedMessage(
            f"transcript: the verifier's own output of evaluation {first} is not what training gives"
        )
