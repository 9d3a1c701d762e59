"""False answers where they help most against cross-fit: in the pairs that speak loudest along the claim's own error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocol.certificate.readings import read
from protocol.claim import Claim
from protocol.game.sampling import Draw
from tests.adversaries.cheat import FALSE_ANSWERS, Cheat, Defence, Scene


@dataclass(frozen=True)
class GreedyPairs(Cheat):
    """Claims noise of ``gap`` and turns round the residual of the ``share`` of pairs that gives it away most.

    Cross-fit tests the mean of r <u, phi> on round B, u a direction that is drawn when the answers are in. The liar
    knows what u will be near: its own claim's error, which is most of r. So it takes the pairs with the largest |r|
    and gives them the other sign, as large as the ball may let it count for. A false pair moves the mean by twice the
    ball at most, and the bound has room for as many as clean checks leave possible.
    """

    gap: float = 0.3
    share: float = 0.3

    name = "greedy-pairs"
    stopped_by = (Defence.V11, Defence.PRICED)
    fate = FALSE_ANSWERS

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return scene.moved(honest, scene.rng.standard_normal(honest.scores.shape), self.gap)

    def answers(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        return self.false_at(self.loudest(draw, honest, claim, scene), draw, honest, claim, scene)

    def loudest(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        """Return the numbers of the subsets (complements not counted) that are answered falsely."""
        residual = read(scene.task, claim, draw, honest).residual.reshape(-1, scene.task.n_targets)
        loud = (np.abs(residual) / np.sqrt(scene.variance)).mean(axis=1)
        return np.argsort(-loud)[: max(1, round(self.share * len(loud)))]

    def false_at(self, chosen: np.ndarray, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        """Return the answers with the residuals of ``chosen`` turned round, to twice the largest that there is."""
        sides, n_targets = draw.design.n_sides, scene.task.n_targets
        residual = read(scene.task, claim, draw, honest).residual.reshape(-1, n_targets)
        wanted = -np.sign(residual[chosen]) * 2 * np.abs(residual).max(axis=0)
        step = wanted - residual[chosen]
        out = honest.reshape(-1, sides, n_targets).copy()
        out[chosen, 0] += step
        if sides == 2:  # both ends of the pair, so that a range cuts off less
            out[chosen, 1] -= step
        return scene.clipped(out.reshape(honest.shape))
