"""Scores that are no numbers, in the hope that a comparison with one of them passes."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.certificate.terms import Answers as Who
from protocol.claim import Claim
from tests.adversaries.cheat import Cheat, Defence, Scene, broken_protocol, unchecked


@dataclass(frozen=True)
class NotFiniteScores(Cheat):
    """Writes ``value`` (NaN or an infinity) for the favourite's first unit, rightly committed and signed."""

    value: float = float("nan")

    name = "not-finite-scores"
    stopped_by = (Defence.VALUES,)
    fate = broken_protocol("expected finite (scores|numbers)", Who.OWN)

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        scores = honest.scores.copy()
        scores[0, scene.favourite[0]] = self.value
        return unchecked(Claim, task_digest=honest.task_digest, intercepts=honest.intercepts, scores=scores)
