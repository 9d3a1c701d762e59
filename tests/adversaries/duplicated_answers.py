"""The evaluations that suit the claim, answered again and again in the place of those that do not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocol.certificate.readings import read
from protocol.claim import Claim
from protocol.game.sampling import Draw
from tests.adversaries.cheat import FALSE_ANSWERS, Cheat, Defence, Scene


@dataclass(frozen=True)
class DuplicatedAnswers(Cheat):
    """Claims noise of ``gap`` and gives the quietest pair's true answers for every pair.

    Each is the true output of *some* evaluation. It would win if a prover might say which: numbers, subsets and seeds
    are the verifier's own, re-derived from its challenge, and answers carry none that it reads.
    """

    gap: float = 0.3

    name = "duplicated-answers"
    stopped_by = (Defence.DERIVED, Defence.V11)
    fate = FALSE_ANSWERS

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return scene.moved(honest, scene.rng.standard_normal(honest.scores.shape), self.gap)

    def answers(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        return np.asarray(honest[self.answered(draw, honest, claim, scene)])

    def answered(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        """Return the numbers of the evaluations that are answered, shape (m,): those of one pair, repeated."""
        means = read(scene.task, claim, draw, honest).residual.mean(axis=1)
        quietest = int(((means / np.sqrt(scene.variance)) ** 2).mean(axis=1).argmin())
        size = draw.n_evaluations // draw.design.n_families
        return np.asarray(quietest * size + np.arange(draw.n_evaluations) % size)
