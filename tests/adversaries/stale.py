"""Last year's scores: an honest claim about another training set."""

from __future__ import annotations

from dataclasses import dataclass, replace

from protocol.claim import Claim
from tests.adversaries.cheat import GAP_FOUND, Cheat, Defence, Scene


@dataclass(frozen=True)
class Stale(Cheat):
    """Claims what was true of other rows, under this task's digest. Under its own it would not get past V3."""

    name = "stale"
    stopped_by = (Defence.V13, Defence.V12)
    fate = GAP_FOUND

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return replace(scene.stale(), task_digest=honest.task_digest)
