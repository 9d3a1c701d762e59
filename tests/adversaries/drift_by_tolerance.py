"""Every answer off by as much as nobody may object to, each in the direction that helps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocol.certificate.readings import read
from protocol.certificate.terms import Answers as Who
from protocol.claim import Claim
from protocol.game.sampling import Draw
from protocol.session.messages import Outcome
from tests.adversaries.cheat import Cheat, Defence, Fate, Scene


@dataclass(frozen=True)
class DriftByTolerance(Cheat):
    """Over-scales its claim by ``gap`` and moves every answer by the task's tolerance, against its pair's residual.

    No spot check can see it: each answer is within tolerance. A pair's residual falls by the tolerance at most, and the
    upper bound takes every residual to be that much larger; the lower bound does not, so that it costs an honest
    prover nothing.
    """

    gap: float = 0.3

    name = "drift-by-tolerance"
    stopped_by = (Defence.ALLOWANCE, Defence.V12)
    fate = Fate(who=Who.DELEGATED, outcome=Outcome.REJECT, reason=r"^pooled relative gap is at least")

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return scene.moved(honest, honest.scores, self.gap)

    def answers(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        design, tolerance = draw.design, scene.task.tolerance
        means = read(scene.task, claim, draw, honest).residual.mean(axis=1)
        drift = -np.clip(means, -tolerance, tolerance) * 0.999  # within it still after rounding
        out = honest.reshape(design.n_families, design.n_siblings, design.n_sides, -1).copy()
        out[:, :, 0] += drift[:, None]
        if design.n_sides == 2:
            out[:, :, 1] -= drift[:, None]
        return scene.clipped(out.reshape(honest.shape))
