"""A claim with scores for fewer units than there are."""

from __future__ import annotations

from dataclasses import dataclass, replace

from protocol.certificate.terms import Answers as Who
from protocol.claim import Claim
from tests.adversaries.cheat import Cheat, Defence, Scene, broken_protocol


@dataclass(frozen=True)
class WrongShape(Cheat):
    """Leaves the last unit out of the claim."""

    name = "wrong-shape"
    stopped_by = (Defence.V3,)
    fate = broken_protocol(r"claim: expected (scores of shape|\(targets, units, bytes\))", Who.OWN)

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return replace(honest, scores=honest.scores[:, :-1])
