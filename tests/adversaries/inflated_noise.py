"""False answers that make a target look like noise, so that nobody minds what the claim says of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from protocol.certificate.terms import Answers as Who
from protocol.claim import Claim
from protocol.game.sampling import Draw
from protocol.session.messages import Outcome
from tests.adversaries.cheat import Cheat, Defence, Fate, Scene


@dataclass(frozen=True)
class InflatedNoise(Cheat):
    """Turns round the scores of a ``share`` of the targets, and makes these vary as if they were worth nothing.

    In ``n_false`` pairs it moves their two outputs apart, as far as the range lets. Were a target weighted by how much
    its *answers* vary, these would weigh next to nothing, and two false answers among hundreds are rarely rechecked.
    Weights are fixed by a pilot that the verifier trains itself.
    """

    share: float = 0.05
    n_false: int = 2

    name = "inflated-noise"
    stopped_by = (Defence.PILOT, Defence.V12, Defence.V13, Defence.V11)
    fate = Fate(
        who=Who.DELEGATED,
        outcome=Outcome.REJECT,
        reason=r"^pooled relative gap is at least|^\d+ of \d+ rechecked answers are false",
    )

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        scores = honest.scores.copy()
        scores[self.turned(scene)] *= -1
        return replace(honest, scores=scores)

    def answers(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        sides, turned = draw.design.n_sides, self.turned(scene)
        out = honest.reshape(-1, sides, honest.shape[1]).copy()
        chosen = scene.rng.permutation(len(out))[: self.n_false]
        ends = np.where(np.arange(sides)[:, None] == 0, scene.task.hi[turned], scene.task.lo[turned])
        out[np.ix_(chosen, np.arange(sides), turned)] = ends
        return out.reshape(honest.shape)

    def turned(self, scene: Scene) -> np.ndarray:
        """Return the targets that the claim has the wrong way round, at least one."""
        return np.arange(max(1, round(self.share * scene.task.n_targets)))
