"""Nothing matters, says the claim, and saves the prover all its trainings."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from protocol.claim import Claim
from tests.adversaries.cheat import NOT_SHOWN, Cheat, Defence, Scene


@dataclass(frozen=True)
class Zero(Cheat):
    """Claims 0 for every unit. Its gap is W_1 whole; it has no direction to look along, so that no bound rejects it.

    Nor is it accepted: with Var g = 0 Minkowski's step shows nothing, and Var f from below is the verifier's own.
    """

    name = "zero"
    stopped_by = (Defence.V12,)
    fate = NOT_SHOWN

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return replace(honest, scores=np.zeros_like(honest.scores))
