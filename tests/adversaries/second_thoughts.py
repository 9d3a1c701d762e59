"""Another claim, once the challenge is known."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.game.sampling import Draw
from protocol.session.messages import Answers, ClaimCommitted, Message
from protocol.session.transcript import Transcript
from tests.adversaries.cheat import Cheat, Defence, Scene, broken_protocol


@dataclass(frozen=True)
class SecondThoughts(Cheat):
    """Sends its claim a second time instead of answers: a challenge that it does not like would be drawn again."""

    name = "second-thoughts"
    stopped_by = (Defence.V1, Defence.V6)
    fate = broken_protocol("session is challenged: expected .*answers.*, got claim-committed")

    def said(self, message: Message, draw: Draw | None, heard: Transcript, scene: Scene) -> Message:
        return first_claim(heard) if isinstance(message, Answers) else message


def first_claim(heard: Transcript) -> ClaimCommitted:
    """Return the claim that this session began with."""
    return next(entry.message for entry in heard.entries if isinstance(entry.message, ClaimCommitted))
