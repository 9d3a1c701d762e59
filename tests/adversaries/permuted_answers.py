"""Real trainings' outputs, handed to whichever evaluation they suit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocol.claim import Claim
from protocol.game.sampling import Draw
from tests.adversaries.cheat import FALSE_ANSWERS, Cheat, Defence, Scene, predicted


@dataclass(frozen=True)
class PermutedAnswers(Cheat):
    """Claims noise of ``gap`` and deals the true outputs out in the order of its own predictions.

    Their histogram is the true one, and so are mean and variance; only index and output no longer belong together.
    """

    gap: float = 0.1

    name = "permuted-answers"
    stopped_by = (Defence.V11,)
    fate = FALSE_ANSWERS

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return scene.moved(honest, scene.rng.standard_normal(honest.scores.shape), self.gap)

    def answers(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        ranks = predicted(scene.task, claim, draw).argsort(axis=0).argsort(axis=0)
        return np.take_along_axis(np.sort(honest, axis=0), ranks, axis=0)
