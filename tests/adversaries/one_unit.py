"""One unit is given what nobody earned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocol.claim import Claim
from tests.adversaries.cheat import GAP_FOUND, Cheat, Defence, Scene


@dataclass(frozen=True)
class OneUnit(Cheat):
    """Shifts worth to one unit: a spike that costs ``gap`` on a single score, every other honest.

    Residuals see it as well as any other change of that gap.
    """

    gap: float = 1.0

    name = "one-unit"
    stopped_by = (Defence.V13, Defence.V12)
    fate = GAP_FOUND

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        direction = np.zeros_like(honest.scores)
        direction[:, scene.favourite[0]] = 1.0
        return scene.moved(honest, direction, self.gap)
