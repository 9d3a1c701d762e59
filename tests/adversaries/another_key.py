"""A claim signed with a key that nobody named."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.certificate.terms import Answers as Who
from protocol.commitments import SigningKey
from protocol.game.sampling import Draw
from protocol.session.messages import ClaimCommitted, Message
from protocol.session.transcript import Transcript
from tests.adversaries.borrowed_name import resigned
from tests.adversaries.cheat import Cheat, Defence, Scene, broken_protocol


@dataclass(frozen=True)
class AnotherKey(Cheat):
    """Signs with a key of its own and gives that key, where the verifier named the prover that it wants to hear."""

    name = "another-key"
    stopped_by = (Defence.V2,)
    fate = broken_protocol("expected the signature of the prover that was named", Who.OWN)

    def said(self, message: Message, draw: Draw | None, heard: Transcript, scene: Scene) -> Message:
        if not isinstance(message, ClaimCommitted):
            return message
        own = SigningKey(scene.rng.bytes(32))
        return resigned(message, named=own, signer=own)
