"""Half of a claim, and the best that can be said of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from protocol.claim import Claim, Figures
from tests.adversaries.cheat import GAP_FOUND, Cheat, Defence, Scene


@dataclass(frozen=True)
class FlatteringFigures(Cheat):
    """Claims half of every score and says that it has no gap, no residual and explains everything.

    Whoever believes a prover's figures need verify nothing. Here they say what to expect, and no bound reads them.
    """

    name = "flattering-figures"
    stopped_by = (Defence.EXPECTED, Defence.V13, Defence.V12)
    fate = GAP_FOUND

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return replace(honest, scores=0.5 * honest.scores)

    def figures(self, honest: Figures, claim: Claim, scene: Scene) -> Figures:
        return Figures(relative_gap=0.0, odd_residual=0.0, r2=1.0, n_retrainings=2**32 - 1)
