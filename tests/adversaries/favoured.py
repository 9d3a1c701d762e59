"""One contributor's units are said to be worth more than they are: the lie that pays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocol.claim import Claim
from tests.adversaries.cheat import GAP_FOUND, Cheat, Defence, Scene


@dataclass(frozen=True)
class Favoured(Cheat):
    """Raises the scores of the favourite's units alike, by as much as costs ``gap``; every other score is honest.

    Every other score is right, so nobody finds it who asks only those whose scores they are.
    """

    gap: float = 1.0

    name = "favoured"
    stopped_by = (Defence.V13, Defence.V12)
    fate = GAP_FOUND

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        direction = np.zeros_like(honest.scores)
        direction[:, scene.favourite] = 1.0
        return scene.moved(honest, direction, self.gap)
