"""Training seeds of the prover's own choosing, so that it can take the luckiest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocol.claim import Claim
from protocol.game.sampling import Draw
from tests.adversaries.cheat import FALSE_ANSWERS, Cheat, Defence, Scene


@dataclass(frozen=True)
class WrongSeed(Cheat):
    """Trains every subset from the seed next to the one derived. No lie where the recipe uses no seed (ridge)."""

    name = "wrong-seed"
    stopped_by = (Defence.V11,)
    fate = FALSE_ANSWERS

    def answers(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        return scene.trained(draw, scene.outputs, seeds_off_by=-1)
