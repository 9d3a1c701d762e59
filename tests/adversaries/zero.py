"""Nothing matters, says the claim, and saves the prover all its trainings."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from protocol.claim import Claim
from tests.adversaries.cheat import GAP_FOUND, Cheat, Defence, Scene


@dataclass(frozen=True)
class Zero(Cheat):
    """Claims 0 for every unit. Its gap is W_1 whole; the projection has no direction, so the families alone find it."""

    name = "zero"
    stopped_by = (Defence.V13, Defence.V12)
    fate = GAP_FOUND

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return replace(honest, scores=np.zeros_like(honest.scores))
