"""A signature from another session under today's answers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from protocol.game.sampling import Draw
from protocol.session.messages import Answers, Message
from protocol.session.transcript import Transcript
from tests.adversaries.cheat import Cheat, Defence, Scene, broken_protocol


@dataclass(frozen=True)
class Replayed(Cheat):
    """Signs its answers over another session's transcript: they bind it to nothing that was said in this one."""

    name = "replayed"
    stopped_by = (Defence.V10,)
    fate = broken_protocol("answers: the signature does not fit")

    def said(self, message: Message, draw: Draw | None, heard: Transcript, scene: Scene) -> Message:
        if not isinstance(message, Answers):
            return message
        other_session = Transcript(scene.task.digest)
        signed = Answers.digest_of(other_session.spoken, message.round, message.root)
        return replace(message, signature=scene.key.sign(signed))
