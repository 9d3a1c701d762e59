"""Scores so large that their squares overflow, in the hope of infinity over infinity."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from protocol.claim import MAX_MAGNITUDE, Claim
from tests.adversaries.cheat import GAP_FOUND, Cheat, Defence, Scene


@dataclass(frozen=True)
class EnormousScores(Cheat):
    """Claims the largest magnitude that is taken, with the honest signs."""

    name = "enormous-scores"
    stopped_by = (Defence.V13, Defence.V12)
    fate = GAP_FOUND

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return replace(honest, scores=np.copysign(MAX_MAGNITUDE, honest.scores))
