"""Next to nothing matters, says the claim, in the hope of a bound that is sized by the claim."""

from __future__ import annotations

from dataclasses import dataclass, replace

from protocol.claim import Claim
from tests.adversaries.cheat import GAP_FOUND, Cheat, Defence, Scene


@dataclass(frozen=True)
class Tiny(Cheat):
    """Claims ``factor`` times every honest score: the right order, the right ratios, and R^2 of 0.

    A bound whose scale came from the claim would cut off every square that shows the gap.
    """

    factor: float = 1e-3

    name = "tiny"
    stopped_by = (Defence.PILOT, Defence.V13, Defence.V12)
    fate = GAP_FOUND

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return replace(honest, scores=self.factor * honest.scores)
