"""The right trainings on the wrong data."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from protocol.claim import Claim
from protocol.game.sampling import Draw
from tests.adversaries.cheat import FALSE_ANSWERS, Cheat, Defence, Scene


@dataclass(frozen=True)
class AnotherDataset(Cheat):
    """Claims and answers truthfully, about another training set: claim and answers fit each other perfectly."""

    name = "another-dataset"
    stopped_by = (Defence.V11,)
    fate = FALSE_ANSWERS

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return replace(scene.stale(), task_digest=honest.task_digest)

    def answers(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        return scene.trained(draw, scene.elsewhere)
