"""One training a family, its answer copied to the siblings: their labels are so alike that nobody will notice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocol.claim import Claim
from protocol.sampling import Draw
from tests.adversaries.cheat import FALSE_ANSWERS, Cheat, Defence, Scene


@dataclass(frozen=True)
class CopiedAnswers(Cheat):
    """Answers every sibling with its family's first; the complement likewise. Saves all but one training in s.

    Copies agree with each other and not with the claim, so that the means grow: they win nothing but work saved.
    """

    name = "copied-answers"
    stopped_by = (Defence.V11, Defence.V12)
    fate = FALSE_ANSWERS

    def answers(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        families = honest.reshape(draw.design.n_families, draw.design.n_siblings, -1)
        return np.broadcast_to(families[:, :1], families.shape).reshape(honest.shape).copy()
