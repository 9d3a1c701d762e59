"""Figures that no honest prover can mean, in the hope that a plan made from them is none."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from protocol.certificate.terms import Answers as Who
from protocol.claim import Figures
from protocol.game.sampling import Draw
from protocol.session.messages import ClaimCommitted, Message
from protocol.session.transcript import Transcript
from tests.adversaries.cheat import Cheat, Defence, Scene, broken_protocol, unchecked


@dataclass(frozen=True)
class ImpossibleFigures(Cheat):
    """Says ``value`` of its claim's ``figure``: no number, or one that the figure cannot be.

    No NaN can be signed over. Should it be taken nonetheless, the signature is no longer that of what was sent.
    """

    figure: str = "relative_gap"
    value: float = float("nan")

    name = "impossible-figures"
    stopped_by = (Defence.VALUES, Defence.V4)
    fate = broken_protocol("claim figures: expected", Who.OWN)

    def said(self, message: Message, draw: Draw | None, heard: Transcript, scene: Scene) -> Message:
        if not isinstance(message, ClaimCommitted):
            return message
        honest = message.signed.figures
        told = {field.name: getattr(honest, field.name) for field in fields(honest)} | {self.figure: self.value}
        return replace(message, signed=replace(message.signed, figures=unchecked(Figures, **told)))
