"""Gone when the challenge is unlucky, back for another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocol.certificate import families
from protocol.certificate.readings import read
from protocol.certificate.terms import Assurance
from protocol.claim import Claim
from protocol.errors import Reason
from protocol.sampling import Draw
from protocol.session.messages import Aborted, Answers, Message, Outcome
from protocol.session.transcript import Transcript
from tests.adversaries.cheat import Cheat, Defence, Fate, Scene
from tests.adversaries.second_thoughts import first_claim

N_GUESSES = 20


@dataclass(frozen=True)
class LeavesWhenUnlucky(Cheat):
    """Claims noise of ``gap``, works out the certificate before it answers, and leaves unless it will be accepted.

    Were a run that it left not counted, it would be accepted in every run that is. ``silently``: it just stops talking.
    A session is all that a verifier knows of: it remembers none before. Coming back until it is accepted costs the
    prover patience, and whoever grants that another delta each time; ``verifier compare`` counts what was filed.
    """

    gap: float = 0.3
    silently: bool = False

    name = "leaves-when-unlucky"
    stopped_by = (Defence.LEAVING, Defence.V12, Defence.COUNTED)
    fate = Fate(assurance=Assurance.AUDITED, outcome=Outcome.REJECT, reason="out of memory, try again")

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return scene.moved(honest, scene.rng.standard_normal(honest.scores.shape), self.gap)

    def said(self, message: Message, draw: Draw | None, heard: Transcript, scene: Scene) -> Message | None:
        if not isinstance(message, Answers) or draw is None or is_lucky(message, draw, heard, scene):
            return message
        return None if self.silently else Aborted(reason=Reason.FAILED, text="out of memory, try again")


def is_lucky(answers: Answers, draw: Draw, heard: Transcript, scene: Scene) -> bool:
    """Return whether the verifier's bound on these answers is going to be within its epsilon.

    Which of them it will recheck, and take Var f from, cannot be known; so that no guess among several may say no.
    """
    task, terms, claim = scene.task, scene.terms, first_claim(heard).claim
    readings = read(task, claim, draw, answers.outputs)
    for _ in range(N_GUESSES):
        guess = np.sort(scene.rng.permutation(draw.n_evaluations)[: terms.n_checks])
        linear = (draw.subsets(task, guess) - task.p) @ claim.scores.T
        certificate = families.certify(
            readings,
            delta=terms.delta_at(answers.round),
            across=terms.across,
            tolerance=task.numerics.tolerance,
            checked=families.Checked(outputs=answers.outputs[guess], linear=linear, n_false=0),
        )
        if not certificate.upper_bound <= terms.epsilon:
            return False
    return True
