"""A claim of its own for every verifier, each good enough to be accepted, each kind to somebody else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocol.certificate.terms import Answers as Who
from protocol.claim import Claim
from protocol.session.messages import Outcome
from tests.adversaries.cheat import Cheat, Defence, Fate, Scene


@dataclass(frozen=True)
class TwoClaims(Cheat):
    """Commits to and signs the honest claim with one contributor's scores raised: by less than any verifier minds.

    Nothing in one session stops it, and nothing need: each verdict is right about the claim that it names. What is
    false is that there is one claim. Two verifiers who compare what they filed hold two roots for one task under one
    key's signatures: ``verifier compare``.
    """

    gap: float = 1e-3
    favourite: int = 0

    name = "two-claims"
    stopped_by = (Defence.COMPARED,)
    fate = Fate(who=Who.OWN, outcome=Outcome.ACCEPT, reason=r"^pooled relative gap is at most")

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        direction = np.zeros_like(honest.scores)
        direction[:, self.favourite] = 1.0
        return scene.moved(honest, direction, self.gap)
