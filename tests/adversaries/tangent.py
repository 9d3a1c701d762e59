"""A claim that follows f where most subsets are, and leaves it where few are: the tails along its own direction."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.claim import Claim
from tests.adversaries.cheat import GAP_FOUND, Cheat, Defence, Scene


@dataclass(frozen=True)
class Tangent(Cheat):
    """Over-scales the honest scores by as much as costs ``gap``.

    Where f saturates along one count (``protocol.game.known.Bent``), the over-scaled claim is the tangent: it is almost
    right but for subsets far out along it, which independent draws hardly ever bring. Its residual has a kurtosis of 16
    and more, far beyond what the certificate assumes. Where f is linear it is simply too large, and rejected.
    """

    gap: float = 0.3

    name = "tangent"
    stopped_by = (Defence.TILTED, Defence.V13, Defence.V12)
    fate = GAP_FOUND

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return scene.moved(honest, honest.scores, self.gap)
