"""Two false answers, one high and one low, that make everything look like noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from protocol.certificate.terms import Assurance
from protocol.claim import Claim
from protocol.sampling import Draw
from protocol.session.messages import Outcome
from tests.adversaries.cheat import Cheat, Defence, Fate, Scene


@dataclass(frozen=True)
class InflatedNoise(Cheat):
    """Claims half of every score and moves two siblings' answers apart, in one family, as far as the ranges let them.

    The family's mean stays where it was and the spread within families, MSW, becomes as large as one pleases. A bound
    that takes MSW off MSB, as is right where the verifier trained everything, would fall to 0; and two false answers
    among hundreds are rarely rechecked. So an audited bound takes nothing off.
    """

    name = "inflated-noise"
    stopped_by = (Defence.V12, Defence.V13, Defence.V11)
    fate = Fate(
        assurance=Assurance.AUDITED,
        outcome=Outcome.REJECT,
        reason=r"^relative gap \(mean\) is at least|^\d+ of \d+ rechecked answers are false",
    )

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return replace(honest, scores=0.5 * honest.scores)

    def answers(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        design, targets = draw.design, scene.task.targets
        out = honest.reshape(design.n_families, design.n_siblings, design.n_sides, -1).copy()
        high, low = out[scene.rng.integers(design.n_families), :2, 0]
        step = np.minimum(targets.hi - high, low - targets.lo)
        high += step
        low -= step
        return scene.clipped(out.reshape(honest.shape))  # rounding may have gone beyond the range
