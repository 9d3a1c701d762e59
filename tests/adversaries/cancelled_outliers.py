"""Outliers that cancel within a pair: no residual shows them, and f seems to vary so much that no gap is large."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from protocol.claim import Claim
from protocol.game.sampling import Draw
from tests.adversaries.cheat import FALSE_ANSWERS, Cheat, Defence, Scene


@dataclass(frozen=True)
class CancelledOutliers(Cheat):
    """Claims half of every score and raises both outputs of a ``share`` of the pairs alike, as far as the range lets.

    The half difference of a pair stays what it was, and so does the upper bound. What grows is Var f from above, a part
    of the lower bound: a claim that would be rejected is only not accepted.
    """

    share: float = 0.5

    name = "cancelled-outliers"
    stopped_by = (Defence.V11,)
    fate = FALSE_ANSWERS

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return replace(honest, scores=0.5 * honest.scores)

    def answers(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        sides = draw.design.n_sides
        out = honest.reshape(-1, sides, honest.shape[1]).copy()
        chosen = scene.rng.permutation(len(out))[: max(1, round(self.share * len(out)))]
        out[chosen] += scene.task.hi - out[chosen].max(axis=1, keepdims=True)
        return scene.clipped(out.reshape(honest.shape))
