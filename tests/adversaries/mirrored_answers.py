"""One training a pair, its answer copied to the complement: then nothing matters, and the claim says so."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from protocol.claim import Claim
from protocol.game.sampling import Draw
from tests.adversaries.cheat import FALSE_ANSWERS, Cheat, Defence, Scene


@dataclass(frozen=True)
class MirroredAnswers(Cheat):
    """Claims 0 for every unit and answers each subset's complement with the subset's own output.

    Every odd part is 0, and so is every residual: half of the trainings saved, and no gap is left to see. Only at
    p = 1/2. Even unchecked it is not accepted: f does not vary then, and nothing is a small share of nothing.
    """

    name = "mirrored-answers"
    stopped_by = (Defence.V11, Defence.V12)
    fate = FALSE_ANSWERS

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return replace(honest, scores=np.zeros_like(honest.scores))

    def answers(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        return np.repeat(honest[:: draw.design.n_sides], draw.design.n_sides, axis=0)
