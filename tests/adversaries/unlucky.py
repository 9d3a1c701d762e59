"""Gone when the challenge is unlucky, back for another."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.certificate.moments.plan import pilot_design
from protocol.certificate.terms import Answers as Who
from protocol.certificate.terms import Rounds
from protocol.claim import Claim
from protocol.errors import Reason
from protocol.game.sampling import Draw
from protocol.session.messages import Aborted, Answers, Message, Outcome
from protocol.session.transcript import Transcript
from tests.adversaries.cheat import Cheat, Defence, Fate, Scene
from tests.adversaries.rehearsal import certificate
from tests.adversaries.second_thoughts import first_claim

N_GUESSES = 5


@dataclass(frozen=True)
class LeavesWhenUnlucky(Cheat):
    """Over-scales its claim by ``gap``, works out the certificate before it answers, and leaves unless it is accepted.

    Were a run that it left not counted, it would be accepted in every run that is. ``silently``: it just stops talking.
    A session is all that a verifier knows of: it remembers none before. Coming back until it is accepted costs the
    prover patience, and whoever grants that another delta each time; ``verifier compare`` counts what was filed.
    """

    gap: float = 0.3
    silently: bool = False

    name = "leaves-when-unlucky"
    stopped_by = (Defence.LEAVING, Defence.V12, Defence.COUNTED)
    fate = Fate(who=Who.DELEGATED, outcome=Outcome.REJECT, reason="out of memory, try again")

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return scene.moved(honest, honest.scores, self.gap)

    def said(self, message: Message, draw: Draw | None, heard: Transcript, scene: Scene) -> Message | None:
        if not isinstance(message, Answers) or draw is None or is_lucky(message, draw, heard, scene):
            return message
        return None if self.silently else Aborted(reason=Reason.FAILED, text="out of memory, try again")


def is_lucky(answers: Answers, draw: Draw, heard: Transcript, scene: Scene) -> bool:
    """Return whether the verifier's bound on these answers is going to be within its epsilon.

    Which of them it will recheck, and what it saw in its pilot, cannot be known; so that no guess among several may say
    no.
    """
    claim = first_claim(heard).claim
    rounds = Rounds(looks=(pilot_design(scene.task), draw.design), n_checks=scene.n_checks)
    guesses = (certificate(claim, rounds, draw, answers.outputs, scene) for _ in range(N_GUESSES))
    return all(found.upper_bound <= scene.terms.epsilon for found in guesses)
