"""Scores too small to be squared, in the hope of a division by a variance that underflows to 0."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from protocol.claim import Claim
from tests.adversaries.cheat import NOT_SHOWN, Cheat, Defence, Scene


@dataclass(frozen=True)
class DenormalScores(Cheat):
    """Claims the smallest number above 0 for every unit: finite, not zero, and Var g is exactly 0."""

    name = "denormal-scores"
    stopped_by = (Defence.V12,)
    fate = NOT_SHOWN

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return replace(honest, scores=np.full_like(honest.scores, np.nextafter(0.0, 1.0)))
