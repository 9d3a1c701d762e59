"""A whole session in one process: verifier and prover face to face, with no network, no clock, no entropy but a seed.

``run`` is the effect loop of both shells at once. It stands in for the client (messages are made anew on the way, as
decoding does, and a peer's silence or bad bytes become ``Lost``), for the engines (``outputs``) and for os.urandom
(``Entropy``). Two runs from one seed are the same to the last bit. Benchmarks run sessions through it by the thousand.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from protocol.certificate.planning import Budget
from protocol.certificate.registry import method_named
from protocol.certificate.terms import Rounds, Terms
from protocol.commitments import PublicKey
from protocol.encoding import SEED_BYTES, Seed
from protocol.errors import InternalError, PeerError
from protocol.game import Game
from protocol.game.sampling import Draw
from protocol.session.effects import (
    ChooseRounds,
    Chosen,
    DrawEntropy,
    Drawn,
    Effect,
    Event,
    Finish,
    Lost,
    OfferStop,
    Received,
    Send,
    Settled,
    Train,
    Trained,
)
from protocol.session.messages import NONCE_BYTES, Message
from protocol.session.transcript import Transcript
from protocol.session.verdict import Verdict
from protocol.session.verifier import VerifierSession
from tests.adversaries.cheat import HONEST, Cheat, Outputs
from tests.adversaries.dishonest import DishonestProver, made_anew
from tests.adversaries.terms import BUDGET
from tests.journeys.worlds import World

NO_ANSWER = "nothing came within the deadline"


class ProverLike(Protocol):
    """``ProverSession``, or one that lies."""

    @property
    def is_over(self) -> bool: ...

    def handle(self, event: Event) -> list[Effect]: ...


class VerifierLike(Protocol):
    """``VerifierSession``, or one with a defence switched off."""

    transcript: Transcript

    @property
    def is_over(self) -> bool: ...

    def start(self) -> list[Effect]: ...

    def handle(self, event: Event) -> list[Effect]: ...


class Entropy:
    """Bytes that nobody can foresee who does not know ``seed``: SHA-256 of it and a counter."""

    def __init__(self, seed: int) -> None:
        self._seed, self._n_drawn = seed, 0

    def __call__(self, n_bytes: int) -> bytes:
        self._n_drawn += 1
        return hashlib.sha256(f"entropy {self._seed} {self._n_drawn}".encode()).digest()[:n_bytes]


@dataclass(frozen=True, kw_only=True, eq=False)
class Journey:
    """How a session went: what the verifier concluded and recorded, and what the prover was made to train."""

    verdict: Verdict
    transcript: Transcript
    n_trained_by_prover: int


def run(
    *,
    verifier: VerifierLike,
    prover: ProverLike,
    task: Game,
    outputs: Outputs,
    entropy: Callable[[int], bytes],
    choose: Callable[[ChooseRounds], Rounds],
    deliver: Callable[[Message], Message] = made_anew,
    is_enough: Callable[[Transcript], bool] = lambda _: True,
) -> Journey:
    """Return how a session between the two ends.

    Parameters
    ----------
    outputs : the truth; the verifier's retrainings and the prover's trainings are both taken from it.
    entropy : the verifier's; asked for at the moments that the session chooses.
    choose : the verifier's rounds, once the claim is in, and again where the method plans anew.
    is_enough : whether to stop where the bounds decide and rounds are left; by default, always.
    deliver : what the wire does to a prover's message; raises a ``PeerError`` on one that cannot be.
    """
    n_trained, verdict = 0, None
    effects = deque(verifier.start())
    while verdict is None:
        match effects.popleft() if effects else _silence(verifier):
            case DrawEntropy(n_bytes=n_bytes):
                effects.extend(verifier.handle(Drawn(entropy(n_bytes))))
            case ChooseRounds() as asked:
                effects.extend(verifier.handle(Chosen(choose(asked))))
            case OfferStop():
                effects.extend(verifier.handle(Settled(is_enough(verifier.transcript))))
            case Train(draw=draw, evaluations=evaluations):
                effects.extend(verifier.handle(Trained(trained(task, outputs, draw, evaluations))))
            case Send(message=message):
                events, n_more = _replies(prover, message, task, outputs, deliver)
                n_trained += n_more
                for event in events:
                    if not verifier.is_over:
                        effects.extend(verifier.handle(event))
            case Lost() as lost:
                effects.extend(verifier.handle(lost))
            case Finish(verdict=verdict):
                pass
    return Journey(verdict=verdict, transcript=verifier.transcript, n_trained_by_prover=n_trained)


def trained(task: Game, outputs: Outputs, draw: Draw, evaluations: np.ndarray) -> np.ndarray:
    """Return the outputs of the numbered evaluations of ``draw``, clipped; shape (k, T)."""
    values = outputs(draw.subsets(task, evaluations), draw.training_seeds(task, evaluations))
    return np.clip(values, task.lo, task.hi)


def planned(task: Game, terms: Terms, budget: Budget) -> Callable[[ChooseRounds], Rounds]:
    """Return the choice that a verifier with this budget makes: its method's own plan."""
    method = method_named(terms.method)

    def choose(asked: ChooseRounds) -> Rounds:
        return method.plan(task, asked.claim, asked.figures, terms, budget, asked.seen).rounds

    return choose


def meet(
    world: World,
    terms: Terms,
    cheat: Cheat = HONEST,
    *,
    seed: int,
    rounds: Rounds | None = None,
    budget: Budget = BUDGET,
    verifier: Callable[..., VerifierLike] = VerifierSession,
    prover_key: PublicKey | None = None,
    leak: bool = False,
    deliver: Callable[[Message], Message] = made_anew,
) -> Journey:
    """Return how a verifier's session with ``cheat`` ends in ``world``.

    Parameters
    ----------
    seed : of the verifier's entropy and of the prover's coins.
    rounds : the verifier's; None lets the planner choose them within ``budget``.
    verifier : takes game, terms and prover_key, as ``VerifierSession`` does.
    prover_key : the key that the verifier insists on; None for the world's own.
    leak : break the order: tell the prover the challenges of ``rounds`` before it claims anything.
    """
    entropy = Entropy(seed)
    leaked = challenges(seed, terms, rounds) if leak and rounds is not None else ()
    scene = world.scene(terms, np.random.default_rng(seed), budget=budget, rounds=rounds, leaked=leaked)
    session = verifier(game=world.task, terms=terms, prover_key=prover_key or world.key.public)
    prover = DishonestProver(cheat=cheat, scene=scene, honest=world.claim, figures=world.figures).session()
    choose = planned(world.task, terms, budget) if rounds is None else lambda _: rounds
    return run(
        verifier=session, prover=prover, task=world.task, outputs=world.outputs, entropy=entropy, choose=choose,
        deliver=deliver,
    )  # fmt: skip


def challenges(seed: int, terms: Terms, rounds: Rounds) -> tuple[Draw, ...]:
    """Return the challenges that a verifier with ``Entropy(seed)`` is going to draw in ``rounds``, but for their tilts.

    It draws a nonce first, and after each round that is answered the seed of its checks.
    """
    entropy, method = Entropy(seed), method_named(terms.method)
    entropy(NONCE_BYTES)
    draws = []
    for number, look in enumerate(rounds.looks):
        draws.append(Draw(seed=Seed(entropy(SEED_BYTES)), design=look))
        if method.is_answered(terms, number):
            entropy(SEED_BYTES)
    return tuple(draws)


def _silence(verifier: VerifierLike) -> Lost:
    if verifier.is_over:
        raise InternalError("the verifier is done and gave no verdict")
    return Lost(NO_ANSWER)


def _replies(
    prover: ProverLike, message: Message, task: Game, outputs: Outputs, deliver: Callable[[Message], Message]
) -> tuple[list[Event], int]:
    """Return what the prover says to ``message``, as the verifier's events, and how many trainings it did for that."""
    events: list[Event] = []
    n_trained = 0
    if prover.is_over:
        return events, n_trained
    try:
        effects = deque(prover.handle(Received(message)))
        while effects:
            match effects.popleft():
                case Train(draw=draw, evaluations=evaluations):
                    n_trained += len(evaluations)
                    effects.extend(prover.handle(Trained(trained(task, outputs, draw, evaluations))))
                case Send(message=reply):
                    events.append(Received(deliver(reply)))
                case Finish():
                    break
    except PeerError as error:  # the codec refused the reply, or the prover the message
        events.append(Lost(str(error)))
    return events, n_trained
