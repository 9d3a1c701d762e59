"""The right answers in the wrong order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocol.claim import Claim
from protocol.sampling import Draw
from tests.adversaries.cheat import FALSE_ANSWERS, Cheat, Defence, Scene


@dataclass(frozen=True)
class SwappedAnswers(Cheat):
    """Answers each evaluation with its neighbour's output: a subset with its complement's, at p = 1/2.

    Each leaf under the root names evaluation, subset and seed, so each is a false answer of its own.
    """

    name = "swapped-answers"
    stopped_by = (Defence.V11,)
    fate = FALSE_ANSWERS

    def answers(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        n = len(honest) - len(honest) % 2
        return np.concatenate([honest[:n].reshape(-1, 2, honest.shape[1])[:, ::-1].reshape(n, -1), honest[n:]])
