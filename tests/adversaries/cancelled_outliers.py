"""Outliers that cancel within a family: its mean falls to nothing, and what is left looks like noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocol.certificate.readings import read
from protocol.claim import Claim
from protocol.sampling import Draw
from tests.adversaries.cheat import FALSE_ANSWERS, Cheat, Defence, Scene


@dataclass(frozen=True)
class CancelledOutliers(Cheat):
    """In a ``share`` of the families, gives one sibling a large residual and the next its opposite.

    The family's mean falls to 0, and the estimate with it: MSB less MSW. The bound, from MSB alone, falls more slowly.
    """

    gap: float = 0.3
    share: float = 0.5

    name = "cancelled-outliers"
    stopped_by = (Defence.V11,)
    fate = FALSE_ANSWERS

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return scene.moved(honest, scene.rng.standard_normal(honest.scores.shape), self.gap)

    def answers(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        design = draw.design
        residual = read(scene.task, claim, draw, honest).residual
        chosen = scene.rng.permutation(design.n_families)[: max(1, round(self.share * design.n_families))]
        size = 2 * np.sqrt(scene.variance)
        out = honest.reshape(design.n_families, design.n_siblings, design.n_sides, -1).copy()
        out[chosen, 0, 0] += design.n_sides * (size - residual[chosen, 0])
        out[chosen, 1, 0] += design.n_sides * (-size - residual[chosen, 1])
        return scene.clipped(out.reshape(honest.shape))
