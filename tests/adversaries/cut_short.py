"""Trainings stopped before they are done."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocol.claim import Claim
from protocol.game.sampling import Draw
from tests.adversaries.cheat import FALSE_ANSWERS, Cheat, Defence, Scene


@dataclass(frozen=True)
class CutShort(Cheat):
    """Answers with a cheaper recipe's outputs: fewer epochs, or a looser optimum. Close to the truth, and not it."""

    name = "cut-short"
    stopped_by = (Defence.V11,)
    fate = FALSE_ANSWERS

    def answers(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        return scene.trained(draw, scene.cut_short)
