"""A prover's session that lies as its cheat says; a drop-in for ``protocol.session.prover.ProverSession``.

It takes the same events and returns the same effects. What it sends is built without validation where a lie needs that;
whoever carries it (tests/journeys/in_memory.py, the codec) makes every message anew, as bytes from a stranger would be.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from protocol.claim import Claim, Figures
from protocol.game.sampling import Draw
from protocol.session.effects import Effect, Event, Finish, Received, Send, Trained
from protocol.session.messages import Aborted, Challenge, ClaimCommitted, Message
from protocol.session.prover import ProverSession
from protocol.session.transcript import Transcript
from prover.claiming import sign_claim
from tests.adversaries.cheat import Cheat, Scene, answers_over

MAX_EVALUATIONS = 1_000_000


class DishonestProver:
    """A cheat with its claim made: the maker of its sessions.

    Parameters
    ----------
    cheat : what is false; ``HONEST`` for the honest prover.
    scene : what the cheat has at hand.
    honest, figures : the claim that an honest prover would make, and what it would say of it.
    """

    def __init__(self, *, cheat: Cheat, scene: Scene, honest: Claim, figures: Figures) -> None:
        self.cheat, self.scene = cheat, scene
        self.claim = cheat.claim(honest, scene)
        self.signed = sign_claim(self.claim, cheat.figures(figures, self.claim, scene), scene.key)
        self._coins = int(scene.rng.integers(2**63))

    def session(self) -> DishonestSession:
        """Return a fresh session, which tosses the same coins as every other: a server may replay one in another."""
        return DishonestSession(self, dataclasses.replace(self.scene, rng=np.random.default_rng(self._coins)))


class DishonestSession:
    """One verifier's session with a cheat; made by :meth:`DishonestProver.session`."""

    def __init__(self, prover: DishonestProver, scene: Scene) -> None:
        self._cheat, self._scene, self._claim = prover.cheat, scene, prover.claim
        self._session = ProverSession(
            game=scene.task, claim=prover.claim, signed=prover.signed, key=scene.key, max_evaluations=MAX_EVALUATIONS
        )
        self._challenge: Challenge | None = None

    @property
    def is_over(self) -> bool:
        return self._session.is_over

    @property
    def transcript(self) -> Transcript:
        return self._session.transcript

    def handle(self, event: Event) -> list[Effect]:
        """Take one event; return the honest effects, with the cheat's words in place of the honest ones."""
        match event:
            case Received(message=Challenge() as challenge):
                effects = self._session.handle(event)
                self._challenge = challenge
            case Trained(outputs=outputs) if self._challenge is not None:
                return self._answer(self._challenge, outputs)
            case _:
                effects = self._session.handle(event)
        return [lied for effect in effects for lied in self._instead_of(effect)]

    def _instead_of(self, effect: Effect) -> list[Effect]:
        if not isinstance(effect, Send):
            return [effect]
        message = self._cheat.said(effect.message, self._draw, self.transcript, self._scene)
        return [] if message is None else [Send(message)]

    def _answer(self, challenge: Challenge, honest: np.ndarray) -> list[Effect]:
        given = self._cheat.answers(challenge.draw, honest, self._claim, self._scene)
        answers = answers_over(
            task=self._scene.task, key=self._scene.key, draw=challenge.draw, round_=challenge.round, outputs=given,
            heard=self.transcript,
        )  # fmt: skip
        message = self._cheat.said(answers, challenge.draw, self.transcript, self._scene)
        if message is None:
            return []
        if isinstance(message, ClaimCommitted):  # where that is taken, a new challenge of this round follows
            self._session._challenges.pop()
        self._session._say(message)
        return [Send(message), Finish(None)] if isinstance(message, Aborted) else [Send(message)]

    @property
    def _draw(self) -> Draw | None:
        return None if self._challenge is None else self._challenge.draw


def made_anew(message: Message) -> Message:
    """Return ``message`` built from its fields, with every check of its making, as decoding builds it.

    Raises
    ------
    PeerError
        The message is none that an honest party sends.
    """
    if isinstance(message, ClaimCommitted):
        signed = dataclasses.replace(message.signed, figures=dataclasses.replace(message.signed.figures))
        return ClaimCommitted(signed=signed, claim=dataclasses.replace(message.claim))
    return dataclasses.replace(message)
