"""False answers where they help most: greedy on the verifier's own statistic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocol.certificate.readings import read
from protocol.claim import Claim
from protocol.sampling import Design, Draw
from tests.adversaries.cheat import FALSE_ANSWERS, Cheat, Defence, Scene


@dataclass(frozen=True)
class GreedyAnswers(Cheat):
    """Cancels the family means that speak loudest against its claim, with one false answer each.

    The gap is measured by the families' mean squares; one answer moved by 2 s times a family's mean residual brings
    that family's to 0. It does so in the ``share`` of families where the means are largest.
    """

    gap: float = 0.3
    share: float = 1.0

    name = "greedy-answers"
    stopped_by = (Defence.V11,)
    fate = FALSE_ANSWERS

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return scene.moved(honest, scene.rng.standard_normal(honest.scores.shape), self.gap)

    def answers(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        design = draw.design
        means = read(scene.task, claim, draw, honest).residual.mean(axis=1)
        loudest = np.argsort(-((means / np.sqrt(scene.variance)) ** 2).mean(axis=1))[: self.n_false(design)]
        out = honest.reshape(design.n_families, -1, scene.task.n_targets).copy()
        out[loudest, 0] -= design.n_sides * design.n_siblings * means[loudest]
        return scene.clipped(out.reshape(honest.shape))

    def n_false(self, design: Design) -> int:
        """Return how many answers are false: one in each family that is silenced."""
        return max(1, round(self.share * design.n_families))
