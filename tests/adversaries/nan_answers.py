"""An answer that is no number, in the hope that a comparison with it passes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocol.claim import Claim
from protocol.game.sampling import Draw
from tests.adversaries.cheat import Cheat, Defence, Scene, broken_protocol


@dataclass(frozen=True)
class NanAnswers(Cheat):
    """Answers the first evaluation with ``value``, NaN or an infinity, rightly committed and signed.

    Behind the message's own check stand V8, V11 and V12, each written so that a NaN fails it.
    """

    value: float = float("nan")

    name = "nan-answers"
    stopped_by = (Defence.VALUES, Defence.V8, Defence.V11)
    fate = broken_protocol("answers: expected finite (outputs|numbers), got NaN or infinity")

    def answers(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        out = honest.copy()
        out[0] = self.value
        return out
