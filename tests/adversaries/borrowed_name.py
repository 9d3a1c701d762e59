"""A claim in the name of a prover that never made it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from protocol.certificate.terms import Answers as Who
from protocol.commitments import SigningKey
from protocol.game.sampling import Draw
from protocol.session.messages import ClaimCommitted, Message, SignedClaim
from protocol.session.transcript import Transcript
from tests.adversaries.cheat import Cheat, Defence, Scene, broken_protocol


@dataclass(frozen=True)
class BorrowedName(Cheat):
    """Gives the named prover's key and signs with its own."""

    name = "borrowed-name"
    stopped_by = (Defence.V4,)
    fate = broken_protocol("claim: the signature does not fit", Who.OWN)

    def said(self, message: Message, draw: Draw | None, heard: Transcript, scene: Scene) -> Message:
        if not isinstance(message, ClaimCommitted):
            return message
        return resigned(message, named=scene.key, signer=SigningKey(scene.rng.bytes(32)))


def resigned(message: ClaimCommitted, *, named: SigningKey, signer: SigningKey) -> ClaimCommitted:
    """Return the same claim in the name of ``named``, signed by ``signer``."""
    signed = replace(message.signed, public_key=named.public)
    digest = SignedClaim.digest_of(signed.task_digest, signed.root, signed.figures, signed.public_key)
    return replace(message, signed=replace(signed, signature=signer.sign(digest)))
