"""One training for two pairs: the second is answered with the first that is most like it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocol.claim import Claim
from protocol.game.sampling import Draw
from tests.adversaries.cheat import FALSE_ANSWERS, Cheat, Defence, Scene


@dataclass(frozen=True)
class CopiedAnswers(Cheat):
    """Trains every second pair, and answers each other one with the trained pair that shares most units with it.

    Half of the trainings saved. A copy agrees with another subset and not with the claim, so that the squares grow:
    it wins nothing but the work.
    """

    name = "copied-answers"
    stopped_by = (Defence.V11, Defence.V12)
    fate = FALSE_ANSWERS

    def answers(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        sides = draw.design.n_sides
        first = np.arange(0, draw.n_evaluations, sides, dtype=np.int64)
        inside = 2.0 * draw.subsets(scene.task, first) - 1
        likeness = inside[1::2] @ inside[::2].T
        out = honest.reshape(-1, sides, honest.shape[1]).copy()
        out[1::2] = out[::2][likeness.argmax(axis=1)]
        return out.reshape(honest.shape)
