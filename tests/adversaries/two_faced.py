"""A different claim for every verifier, all under one signed root."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from protocol.certificate.terms import Answers as Who
from protocol.game.sampling import Draw
from protocol.session.messages import ClaimCommitted, Message
from protocol.session.transcript import Transcript
from tests.adversaries.cheat import Cheat, Defence, Scene, broken_protocol


@dataclass(frozen=True)
class TwoFaced(Cheat):
    """Publishes the root of one claim and sends this verifier another, better for the favourite by a hair.

    Signing a root for each would pass, and leave two signatures by one key over two roots for one task: a proof.
    """

    gap: float = 1e-4

    name = "two-faced"
    stopped_by = (Defence.V5,)
    fate = broken_protocol("the scores that came are not those under the signed Merkle root", Who.OWN)

    def said(self, message: Message, draw: Draw | None, heard: Transcript, scene: Scene) -> Message:
        if not isinstance(message, ClaimCommitted):
            return message
        direction = np.zeros_like(message.claim.scores)
        direction[:, scene.favourite] = 1.0
        return replace(message, claim=scene.moved(message.claim, direction, self.gap))
