"""The right scores on the wrong units."""

from __future__ import annotations

from dataclasses import dataclass, replace

from protocol.claim import Claim
from tests.adversaries.cheat import GAP_FOUND, Cheat, Defence, Scene


@dataclass(frozen=True)
class Permuted(Cheat):
    """Gives each unit the scores of another. Histogram, sum and norm are those of the honest claim."""

    name = "permuted"
    stopped_by = (Defence.V13, Defence.V12)
    fate = GAP_FOUND

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return replace(honest, scores=honest.scores[:, scene.rng.permutation(honest.n_units)])
