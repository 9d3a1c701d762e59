"""A small session played by hand: a game, its honest claim, both roles, and the steps between them.

The game's odd residual is half a hundredth of Var f, so the honest claim is accepted on the fewest pairs that the
moment certificate takes, own or delegated. ``challenged`` and ``answered`` are of delegated sessions: the prover's one
round, number 1, follows the verifier's pilot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from protocol.certificate.algorithm1.bound import counts
from protocol.certificate.moments.plan import pilot_design
from protocol.certificate.terms import Across, Rounds, Terms
from protocol.certificate.terms import Answers as Who
from protocol.claim import Claim, Figures
from protocol.commitments import MerkleTree, SigningKey
from protocol.encoding import Digest, Seed
from protocol.errors import InternalError
from protocol.game.known import Known, Majority, Polynomial
from protocol.game.sampling import Bases, Design, Draw, families, pairs
from protocol.session.effects import (
    ChooseRounds,
    Chosen,
    DrawEntropy,
    Drawn,
    Effect,
    Finish,
    OfferStop,
    Received,
    Send,
    Settled,
    Train,
    Trained,
)
from protocol.session.messages import Answers, ClaimCommitted, Message, SignedClaim, answer_leaves
from protocol.session.prover import ProverSession
from protocol.session.transcript import SignedTranscript, sign_transcript
from protocol.session.verdict import Verdict
from protocol.session.verifier import VerifierSession
from protocol.task import Task
from tests.games import task_of

KEY = SigningKey(b"prover".ljust(32))
OTHER_KEY = SigningKey(b"somebody else".ljust(32))
VERIFIER_KEY = SigningKey(b"verifier".ljust(32))
FIGURES = Figures(relative_gap=0.0, odd_residual=0.01, r2=0.98, n_retrainings=100)
N, BOUND = 24, 4.5
GAME = Polynomial(n_units=N, w1=0.985, w2=0.01, w3=0.005)
TASK = task_of(N, bound=BOUND, tolerance=1e-3)
TINY = Majority(n_units=3)
TINY_TASK = task_of(3, bound=1.0, tolerance=1e-3)
"""f in [-1, 1], W_1 = 3/4; the honest claim predicts up to 3/2. For Algorithm 1."""

NONCE, FIRST, SECOND, THIRD, FOURTH = (bytes([i]) * n for i, n in ((1, 16), (2, 32), (3, 32), (4, 32), (5, 32)))

PILOT = pilot_design(TASK)
LOOK = Design(n_families=80, n_siblings=1, keep_16=65535, complements=True, bases=Bases.TILTED)
MORE = Design(n_families=20, n_siblings=1, keep_16=65535, complements=True, bases=Bases.TILTED)
N_PAIRS, N_CHECKS = 160, 80
N_ANSWERS = 2 * N_PAIRS
ANSWERED = pairs(N_PAIRS)
OWN_ROUNDS = Rounds(looks=(PILOT, LOOK))
DELEGATED_ROUNDS = Rounds(looks=(PILOT, ANSWERED), n_checks=N_CHECKS)


def claim_of(scores: np.ndarray, task: Task = TASK) -> Claim:
    """A claim with E g = E f = 0."""
    return Claim(task_digest=task.digest, intercepts=-task.measure.p * scores.sum(axis=1), scores=scores)


def signed(
    claim: Claim, key: SigningKey = KEY, *, task_digest: Digest | None = None, root: Digest | None = None
) -> SignedClaim:
    """The commitment to ``claim``; what is given is signed in place of what is true."""
    task_digest = claim.task_digest if task_digest is None else task_digest
    root = MerkleTree(claim.leaves()).root if root is None else root
    covered = SignedClaim.digest_of(task_digest, root, FIGURES, key.public)
    return SignedClaim(
        task_digest=task_digest, root=root, figures=FIGURES, public_key=key.public, signature=key.sign(covered)
    )  # fmt: skip


HONEST = claim_of(GAME.best)
OPPOSITE = claim_of(-GAME.best)
"""A gap of 3.94, of Var f = 1."""

WEAK = claim_of(0.75 * GAME.best)
"""A gap of 0.062, which the fewest rounds cannot tell from 0.1."""

TINY_HONEST = claim_of(TINY.best, TINY_TASK)


def committed(claim: Claim = HONEST, key: SigningKey = KEY) -> ClaimCommitted:
    return ClaimCommitted(signed=signed(claim, key), claim=claim)


def terms(answers: Who = Who.OWN, *, epsilon: float = 0.1, kurtosis: float | None = None) -> Terms:
    """Of the moment certificate, pooled over the one target."""
    usual = 6.0 if answers is Who.OWN else 9.0
    return Terms(
        epsilon=epsilon, delta=0.05, across=Across.POOLED, answers=answers, method="moments",
        kurtosis=usual if kurtosis is None else kurtosis,
    )  # fmt: skip


OWN, DELEGATED = terms(Who.OWN), terms(Who.DELEGATED)
ALGORITHM1 = Terms(epsilon=0.9, delta=0.5, across=Across.POOLED, answers=Who.DELEGATED, method="algorithm1")
LEAST = counts(epsilon=0.9, delta=0.5, b=1.0, largest=1.5)
"""What Algorithm 1 asks for of the tiny game, 1.4 million trainings; its rounds are checked against these."""


def few_rounds(n_pairs: tuple[int, int, int] = (1500, 500, 1000), n_checks: int = 200) -> Rounds:
    """Algorithm 1's four rounds, far too few of them; only where ``bound.check_enough`` is switched off."""
    rhos = (LEAST.rho, 2 * LEAST.rho, 0.0)
    answered_ = [
        families(n_families=n, n_siblings=2, rho=rho, complements=False) for n, rho in zip(n_pairs, rhos, strict=True)
    ]
    fresh = families(n_families=LEAST.fresh, n_siblings=1, rho=0.0, complements=False)
    return Rounds(looks=(*answered_, fresh), n_checks=n_checks)


def rounds_of(asked: Terms, *more: Design) -> Rounds:
    """The fewest rounds of these terms, and looks after them."""
    usual = OWN_ROUNDS if asked.answers is Who.OWN else DELEGATED_ROUNDS
    return Rounds(looks=(*usual.looks, *more), n_checks=usual.n_checks)


def truth(draw: Draw, evaluations: np.ndarray | None = None, *, game: Known = GAME, task: Task = TASK) -> np.ndarray:
    """What training gives."""
    numbers = np.arange(draw.n_evaluations) if evaluations is None else evaluations
    return game.outputs(draw.subsets(task, numbers))


@dataclass
class Stage:
    """A verifier's session, and how far it has been taken."""

    session: VerifierSession
    effects: list[Effect]
    asked: Terms
    game: Known = GAME
    task: Task = TASK

    @staticmethod
    def of(asked: Terms, *, game: Known = GAME, task: Task = TASK, **options: Any) -> Stage:
        session = VerifierSession(game=task, terms=asked, **options)
        return Stage(session, session.start(), asked, game, task)

    def drawn(self, entropy: bytes) -> Stage:
        assert self.effects == [DrawEntropy(len(entropy))]
        self.effects = self.session.handle(Drawn(entropy))
        return self

    def received(self, message: Message) -> Stage:
        self.effects = self.session.handle(Received(message))
        return self

    def chosen(self, rounds: Rounds | None = None) -> Stage:
        """Answer the ChooseRounds effect, with the fewest rounds unless told otherwise."""
        assert self.choice
        self.effects = self.session.handle(Chosen(rounds_of(self.asked) if rounds is None else rounds))
        return self

    def settled(self, *, stop: bool) -> Stage:
        assert self.offer
        self.effects = self.session.handle(Settled(stop))
        return self

    def trained(self, outputs: np.ndarray | None = None) -> Stage:
        """Answer the Train effect, truly unless told otherwise."""
        train = self.train
        found = truth(train.draw, train.evaluations, game=self.game, task=self.task) if outputs is None else outputs
        self.effects = self.session.handle(Trained(found))
        return self

    @property
    def train(self) -> Train:
        (train,) = self.effects
        assert isinstance(train, Train)
        return train

    @property
    def choice(self) -> ChooseRounds:
        (choice,) = self.effects
        assert isinstance(choice, ChooseRounds)
        return choice

    @property
    def offer(self) -> OfferStop:
        (offer,) = self.effects
        assert isinstance(offer, OfferStop)
        return offer

    @property
    def draw(self) -> Draw:
        """Of the challenge that was just sent."""
        (send,) = self.effects
        assert isinstance(send, Send)
        return send.message.draw

    @property
    def verdict(self) -> Verdict:
        finish = self.effects[-1]
        assert isinstance(finish, Finish)
        assert finish.verdict is not None
        return finish.verdict

    @property
    def said(self) -> list[str]:
        """The kinds of messages recorded so far."""
        return [type(entry.message).__name__ for entry in self.session.transcript.entries]

    def answers(self, outputs: np.ndarray | None = None, **change: Any) -> Answers:
        """The prover's answers to the challenge just sent; a change is under the signature, or is it."""
        draw = self.draw
        outputs = truth(draw, game=self.game, task=self.task) if outputs is None else outputs
        fits = len(outputs) <= draw.n_evaluations
        root = MerkleTree(answer_leaves(self.task, draw, outputs)).root if fits else Digest(bytes(32))
        fields = {"round": self.session.round, "outputs": outputs, "root": root, **change}
        covered = Answers.digest_of(self.session.transcript.spoken, fields["round"], fields["root"])
        return Answers(**{"signature": KEY.sign(covered), **fields})

    def filed(self) -> SignedTranscript:
        return sign_transcript(self.task, self.asked, self.session.transcript, VERIFIER_KEY)


def opened(asked: Terms = OWN, **options: Any) -> Stage:
    """A verifier that waits for a claim."""
    stage = Stage.of(asked, **options).drawn(NONCE)
    assert [type(effect) for effect in stage.effects] == [Send]
    return stage


def claimed(asked: Terms = OWN, claim: Claim = HONEST, **options: Any) -> Stage:
    """A verifier that has a checked claim and no rounds yet."""
    return opened(asked, **options).received(committed(claim))


def piloted(asked: Terms = OWN, claim: Claim = HONEST, rounds: Rounds | None = None) -> Stage:
    """A verifier that has trained its pilot and chosen the rounds after it."""
    return claimed(asked, claim).chosen(rounds).drawn(FIRST).trained().chosen(rounds)


def self_challenged(claim: Claim = HONEST, rounds: Rounds | None = None) -> Stage:
    """A verifier that trains on its first look itself."""
    return piloted(OWN, claim, rounds).drawn(SECOND)


def challenged(asked: Terms = DELEGATED, claim: Claim = HONEST) -> Stage:
    """A verifier that has sent a challenge, round 1."""
    return piloted(asked, claim).drawn(SECOND)


def answered(asked: Terms = DELEGATED, claim: Claim = HONEST) -> Stage:
    """A verifier that rechecks the true answers to its challenge."""
    stage = challenged(asked, claim)
    return stage.received(stage.answers()).drawn(THIRD)


Lie = Callable[[np.ndarray, Draw, int], np.ndarray]
"""(the truth, its draw, the round) -> what is answered."""


def honest(outputs: np.ndarray, draw: Draw, round_: int) -> np.ndarray:
    return outputs


def play(
    asked: Terms,
    choices: Sequence[Rounds],
    *,
    claim: Claim = HONEST,
    game: Known = GAME,
    task: Task = TASK,
    lie: Lie = honest,
    seed: int = 0,
    stop: bool = True,
) -> Stage:
    """Take a whole session to its verdict.

    Parameters
    ----------
    choices : the rounds chosen each time they are asked for. lie : what the prover makes of the truth.
    stop : whether to stop where the bounds decide.
    """
    stage, rng, choice = Stage.of(asked, game=game, task=task), np.random.default_rng(seed), iter(choices)
    while not isinstance(stage.effects[-1], Finish):
        match stage.effects[0]:
            case DrawEntropy(n_bytes=n):
                stage.drawn(rng.bytes(n))
            case ChooseRounds():
                stage.chosen(next(choice))
            case Train():
                stage.trained()
            case OfferStop():
                stage.settled(stop=stop)
            case Send() if stage.said == ["Opening"]:
                stage.received(committed(claim))
            case Send():
                outputs = truth(stage.draw, game=game, task=task)
                stage.received(stage.answers(lie(outputs, stage.draw, stage.session.round)))
    return stage


def prover(claim: Claim = HONEST, *, max_evaluations: int = 1000) -> ProverSession:
    return ProverSession(game=TASK, claim=claim, signed=signed(claim), key=KEY, max_evaluations=max_evaluations)


def sent(effects: list[Effect]) -> Message:
    """The message of the first effect."""
    first = effects[0]
    if not isinstance(first, Send):
        raise InternalError(f"expected Send, got {type(first).__name__}")
    return first.message


def seed_of(entropy: bytes) -> Seed:
    return Seed(entropy)
