"""False answers where they help most: greedy on the verifier's own statistic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocol.certificate.moments.plan_delegated import CHECK_SHARE
from protocol.certificate.readings import read
from protocol.certificate.spot_check import most_false
from protocol.claim import Claim
from protocol.game.sampling import Draw
from tests.adversaries.cheat import FALSE_ANSWERS, Cheat, Defence, Scene


@dataclass(frozen=True)
class GreedyAnswers(Cheat):
    """Silences the pairs that speak loudest against its claim, with one false answer each.

    The gap is bounded by the mean square of the pairs' residuals; one answer moved by twice a pair's residual brings it
    to 0. It does so in the ``share`` of pairs with the largest squares, or, with no share, in as many as clean checks
    leave possible: then it is nearly always found, and otherwise gains all that there is to gain.
    """

    gap: float = 0.3
    share: float | None = 1.0

    name = "greedy-answers"
    stopped_by = (Defence.V11, Defence.PRICED)
    fate = FALSE_ANSWERS

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return scene.moved(honest, scene.rng.standard_normal(honest.scores.shape), self.gap)

    def answers(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        return self.silenced(self.loudest(draw, honest, claim, scene), draw, honest, claim, scene)

    def loudest(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        """Return the numbers of the pairs that are answered falsely."""
        residual = read(scene.task, claim, draw, honest).residual[:, 0]
        squares = (residual**2 / scene.variance).mean(axis=1)
        return np.argsort(-squares)[: self.n_false(draw, scene)]

    def silenced(self, chosen: np.ndarray, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        """Return the answers with no residual left in the pairs ``chosen``."""
        sides = draw.design.n_sides
        residual = read(scene.task, claim, draw, honest).residual[:, 0]
        out = honest.reshape(-1, sides, scene.task.n_targets).copy()
        out[chosen, 0] -= sides * residual[chosen]
        return scene.clipped(out.reshape(honest.shape))

    def n_false(self, draw: Draw, scene: Scene) -> int:
        """Return how many answers are false: one in each pair that is silenced."""
        n = draw.design.n_families
        if self.share is not None:
            return max(1, round(self.share * n))
        return most_false(n, scene.n_checks, CHECK_SHARE * scene.terms.delta)
