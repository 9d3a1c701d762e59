"""The scores of a few targets many times too large, in the hope that such targets count for less."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from protocol.claim import Claim
from tests.adversaries.cheat import GAP_FOUND, Cheat, Defence, Scene


@dataclass(frozen=True)
class FewScaled(Cheat):
    """Multiplies the scores of a ``share`` of the targets, at least one, by ``factor``; the others are honest.

    A gap as a share of the *claim's* variance is (factor - 1)^2 / factor^2 for these, below 1 however large the factor
    is; as a share of f's it is (factor - 1)^2. Weighted by the claim the few would hide among the many.
    """

    share: float = 0.03
    factor: float = 10.0

    name = "few-scaled"
    stopped_by = (Defence.PILOT, Defence.V13, Defence.V12)
    fate = GAP_FOUND

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        scores = honest.scores.copy()
        scores[: max(1, round(self.share * len(scores)))] *= self.factor
        return replace(honest, scores=np.asarray(scores))
