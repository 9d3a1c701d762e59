"""Answers beyond the range that the task declares, which no clipped output can be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocol.claim import Claim
from protocol.game.sampling import Draw
from tests.adversaries.cheat import Cheat, Defence, Scene, broken_protocol


@dataclass(frozen=True)
class OutOfRangeAnswers(Cheat):
    """Raises one subset's answer and its complement's alike, past the upper end of the range.

    The odd part, which the bound is made of, stays as it was: nothing but the range and the spot checks can see it.
    """

    name = "out-of-range-answers"
    stopped_by = (Defence.V8, Defence.V11)
    fate = broken_protocol("expected every output within its target's range")

    def answers(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        first = slice(0, draw.design.n_sides)
        out = honest.copy()
        out[first] += scene.task.hi - honest[first].min(axis=0) + 1e-3 * scene.task.width
        return out
