"""A claim off by a given gap in a direction that means nothing: what every statistical promise is tested with."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.claim import Claim
from tests.adversaries.cheat import GAP_FOUND, Cheat, Defence, Scene


@dataclass(frozen=True)
class RandomDirection(Cheat):
    """Adds Gaussian noise to every score, as much as costs ``gap``: noise spread thin over all units."""

    gap: float = 1.0

    name = "random-direction"
    stopped_by = (Defence.V13, Defence.V12)
    fate = GAP_FOUND

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return scene.moved(honest, scene.rng.standard_normal(honest.scores.shape), self.gap)
