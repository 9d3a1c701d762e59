"""The right answers in the wrong order, and a claim that says the opposite to go with them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from protocol.claim import Claim
from protocol.game.sampling import Draw
from tests.adversaries.cheat import FALSE_ANSWERS, Cheat, Defence, Scene


@dataclass(frozen=True)
class SwappedAnswers(Cheat):
    """Claims that every unit does the opposite, and answers each evaluation with its neighbour's output.

    At p = 1/2 the neighbour is the complement: claim and answers fit each other as well as honest ones do. Each leaf
    under the root names evaluation, subset and seed, so each is a false answer of its own.
    """

    name = "swapped-answers"
    stopped_by = (Defence.V11,)
    fate = FALSE_ANSWERS

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return replace(honest, scores=-honest.scores, intercepts=honest.intercepts + honest.scores.sum(axis=1))

    def answers(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        n = len(honest) - len(honest) % 2
        return np.concatenate([honest[:n].reshape(-1, 2, honest.shape[1])[:, ::-1].reshape(n, -1), honest[n:]])
