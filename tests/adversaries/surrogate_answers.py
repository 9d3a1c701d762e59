"""No training at all: the claim itself is asked what the trainings would have given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocol.claim import Claim
from protocol.game.sampling import Draw
from tests.adversaries.cheat import FALSE_ANSWERS, Cheat, Defence, Scene, predicted


@dataclass(frozen=True)
class SurrogateAnswers(Cheat):
    """Claims noise of relative gap ``gap`` and answers with what that claim predicts: no residual, by construction."""

    gap: float = 0.3

    name = "surrogate-answers"
    stopped_by = (Defence.V11,)
    fate = FALSE_ANSWERS

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return scene.moved(honest, scene.rng.standard_normal(honest.scores.shape), self.gap)

    def answers(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        return scene.clipped(predicted(scene.task, claim, draw))
