"""Some answers were never trained for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocol.claim import Claim
from protocol.game.sampling import Draw
from tests.adversaries.cheat import FALSE_ANSWERS, Cheat, Defence, Scene, predicted


@dataclass(frozen=True)
class FalseFraction(Cheat):
    """Gives, for a random ``share`` of the pairs, the claim's predictions instead of trainings' outputs.

    Every such pair agrees with the claim, so the more of them, the smaller the gap that is measured. A pair of which
    one answer is false is as false as one of which both are.
    """

    share: float = 0.3

    name = "false-fraction"
    stopped_by = (Defence.V11,)
    fate = FALSE_ANSWERS

    def answers(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        sides = draw.design.n_sides
        chosen = scene.rng.permutation(len(honest) // sides)[: self.n_false(len(honest) // sides)]
        numbers = (sides * chosen[:, None] + np.arange(sides)).ravel()
        out = honest.copy()
        out[numbers] = scene.clipped(predicted(scene.task, claim, draw)[numbers])
        return out

    def n_false(self, n_pairs: int) -> int:
        """Return how many of ``n_pairs`` are false."""
        return max(1, round(self.share * n_pairs))
