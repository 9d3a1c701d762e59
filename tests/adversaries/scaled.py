"""Every score is multiplied by one number, as after a change of units or a regularisation that went too far."""

from __future__ import annotations

from dataclasses import dataclass, replace

from protocol.claim import Claim
from tests.adversaries.cheat import GAP_FOUND, Cheat, Defence, Scene


@dataclass(frozen=True)
class Scaled(Cheat):
    """Claims ``factor`` times every honest score. The order of units stays right and the mean square error looks fine.

    The gap is (1 - factor)^2 W_1, all of it along the claim itself, where the bound from below looks.
    """

    factor: float = 0.5

    name = "scaled"
    stopped_by = (Defence.V13, Defence.V12)
    fate = GAP_FOUND

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return replace(honest, scores=self.factor * honest.scores)
