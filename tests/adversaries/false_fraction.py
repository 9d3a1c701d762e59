"""Some answers were never trained for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocol.claim import Claim
from protocol.sampling import Draw
from tests.adversaries.cheat import FALSE_ANSWERS, Cheat, Defence, Scene, predicted


@dataclass(frozen=True)
class FalseFraction(Cheat):
    """Gives, for a random ``share`` of the answers, the claim's prediction instead of a training's output.

    Every such answer agrees with the claim, so the more of them, the smaller the gap that is measured.
    """

    share: float = 0.3

    name = "false-fraction"
    stopped_by = (Defence.V11,)
    fate = FALSE_ANSWERS

    def answers(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        chosen = scene.rng.permutation(len(honest))[: self.n_false(len(honest))]
        out = honest.copy()
        out[chosen] = scene.clipped(predicted(scene.task, claim, draw)[chosen])
        return out

    def n_false(self, n_answers: int) -> int:
        """Return how many of ``n_answers`` are false."""
        return max(1, round(self.share * n_answers))
