"""A claim about another task, where this one is asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace

from protocol.certificate.terms import Answers as Who
from protocol.claim import Claim
from protocol.encoding import Digest
from tests.adversaries.cheat import Cheat, Defence, Scene, broken_protocol


@dataclass(frozen=True)
class AnotherTask(Cheat):
    """Signs honest scores for a task of its choice: a verdict would hang them on a statement that was not verified.

    On the wire a claim's bytes name no task: they are read as this one's, and then it is the root that does not fit."""

    name = "another-task"
    stopped_by = (Defence.V3,)
    fate = broken_protocol("expected one for the task of this session|not those under the signed Merkle root", Who.OWN)

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return replace(honest, task_digest=Digest(bytes(32)))
