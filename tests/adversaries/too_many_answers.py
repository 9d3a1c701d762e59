"""An answer to a question that nobody asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocol.claim import Claim
from protocol.game.sampling import Draw
from tests.adversaries.cheat import Cheat, Defence, Scene, broken_protocol


@dataclass(frozen=True)
class TooManyAnswers(Cheat):
    """Commits to one answer more than was asked for."""

    name = "too-many-answers"
    stopped_by = (Defence.V7,)
    fate = broken_protocol(r"answers: expected .*, got")

    def answers(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        return np.concatenate([honest, honest[:1]])
