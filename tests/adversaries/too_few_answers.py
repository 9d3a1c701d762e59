"""The last answers are left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocol.claim import Claim
from protocol.game.sampling import Draw
from tests.adversaries.cheat import Cheat, Defence, Scene, broken_protocol


@dataclass(frozen=True)
class TooFewAnswers(Cheat):
    """Commits to one answer less than was asked for."""

    name = "too-few-answers"
    stopped_by = (Defence.V7,)
    fate = broken_protocol(r"answers: expected .*, got")

    def answers(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        return honest[:-1]
