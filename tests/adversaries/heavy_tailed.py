"""Noise on the scores, nearly all of it on a handful of units."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.claim import Claim
from tests.adversaries.cheat import GAP_FOUND, Cheat, Defence, Scene


@dataclass(frozen=True)
class HeavyTailed(Cheat):
    """Adds Cauchy noise to every score, as much as costs ``gap``.

    Residuals then hang on few coins and are far from Gaussian, which no bound here takes them to be.
    """

    gap: float = 1.0

    name = "heavy-tailed"
    stopped_by = (Defence.V13, Defence.V12)
    fate = GAP_FOUND

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return scene.moved(honest, scene.rng.standard_cauchy(honest.scores.shape), self.gap)
