"""Answers changed after they were committed to, so that no false one can be held against its maker."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.game.sampling import Draw
from protocol.session.messages import Answers, Message
from protocol.session.transcript import Transcript
from tests.adversaries.cheat import Cheat, Defence, Scene, broken_protocol, unchecked


@dataclass(frozen=True)
class ChangedAnswers(Cheat):
    """Signs the root of one set of answers and sends another, here off by less than the tolerance.

    The prover could later disown what it sent; a fraud proof needs the signature to cover the false answer.
    """

    name = "changed-answers"
    stopped_by = (Defence.V9,)
    fate = broken_protocol("the outputs that came are not those under the Merkle root")

    def said(self, message: Message, draw: Draw | None, heard: Transcript, scene: Scene) -> Message:
        if not isinstance(message, Answers):
            return message
        other = message.outputs.copy()
        other[0] += 0.5 * scene.task.tolerance
        return unchecked(Answers, round=message.round, outputs=other, root=message.root, signature=message.signature)
