"""A small session played by hand: a game, its honest claim, both roles, and the steps between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from protocol.certificate.terms import Across, Assurance, Terms
from protocol.claim import Claim, Figures
from protocol.commitments import MerkleTree, SigningKey
from protocol.encoding import Digest, Seed
from protocol.errors import InternalError
from protocol.sampling import Design, Draw, families
from protocol.session.effects import DrawEntropy, Drawn, Effect, Finish, Received, Send, Train, Trained
from protocol.session.messages import Answers, ClaimCommitted, Message, SignedClaim, answer_leaves
from protocol.session.prover import ProverSession
from protocol.session.verdict import Verdict
from protocol.session.verifier import VerifierSession
from protocol.task import Task
from tests.games import Polynomial, task_of

KEY = SigningKey(b"prover".ljust(32))
OTHER_KEY = SigningKey(b"somebody else".ljust(32))
FIGURES = Figures(relative_gap=0.0, odd_residual=0.01, r2=0.98, n_retrainings=100)
GAME = Polynomial(n_units=12, w1=0.97, w2=0.02, w3=0.01)
TASK = task_of(12, bound=20.0, tolerance=1e-3)
DESIGN = families(n_families=20, n_siblings=3, rho=0.5, complements=True)
NONCE, FIRST, SECOND, THIRD, FOURTH = (bytes([i]) * n for i, n in ((1, 16), (2, 32), (3, 32), (4, 32), (5, 32)))


def claim_of(scores: np.ndarray, task: Task = TASK) -> Claim:
    """A claim with E g = E f = 0."""
    return Claim(task_digest=task.digest, intercepts=-task.p * scores.sum(axis=1), scores=scores)


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


def committed(claim: Claim = HONEST, key: SigningKey = KEY) -> ClaimCommitted:
    return ClaimCommitted(signed=signed(claim, key), claim=claim)


def terms(
    assurance: Assurance = Assurance.AUDITED, *, n_looks: int = 1, epsilon: float = 0.1, design: Design = DESIGN
) -> Terms:
    return Terms(
        epsilon=epsilon, delta=0.05, across=Across.MEAN, assurance=assurance, looks=(design,) * n_looks,
        n_checks=10 if assurance is Assurance.AUDITED else 0,
    )  # fmt: skip


def truth(draw: Draw, evaluations: np.ndarray | None = None, task: Task = TASK) -> np.ndarray:
    """What training gives."""
    numbers = np.arange(draw.n_evaluations) if evaluations is None else evaluations
    return GAME.outputs(draw.subsets(task, numbers))


@dataclass
class Stage:
    """A verifier's session, and how far it has been taken."""

    session: VerifierSession
    effects: list[Effect]

    @staticmethod
    def of(asked: Terms, **options: object) -> Stage:
        session = VerifierSession(task=TASK, terms=asked, **options)
        return Stage(session, session.start())

    def drawn(self, entropy: bytes) -> Stage:
        assert self.effects == [DrawEntropy(len(entropy))]
        self.effects = self.session.handle(Drawn(entropy))
        return self

    def received(self, message: Message) -> Stage:
        self.effects = self.session.handle(Received(message))
        return self

    def trained(self, outputs: np.ndarray | None = None) -> Stage:
        """Answer the Train effect, truly unless told otherwise."""
        train = self.train
        self.effects = self.session.handle(
            Trained(truth(train.draw, train.evaluations) if outputs is None else outputs)
        )
        return self

    @property
    def train(self) -> Train:
        (train,) = self.effects
        assert isinstance(train, Train)
        return train

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

    def answers(self, outputs: np.ndarray | None = None, **change: Any) -> Answers:
        """The prover's answers to the challenge just sent; a change is under the signature, or is it."""
        draw = self.draw
        outputs = truth(draw) if outputs is None else outputs
        fits = len(outputs) <= draw.n_evaluations
        root = MerkleTree(answer_leaves(TASK, draw, outputs)).root if fits else Digest(bytes(32))
        fields = {"round": self.session.round, "outputs": outputs, "root": root, **change}
        covered = Answers.digest_of(self.session.transcript.spoken, fields["round"], fields["root"])
        return Answers(**{"signature": KEY.sign(covered), **fields})


def opened(asked: Terms | None = None, **options: object) -> Stage:
    """A verifier that waits for a claim."""
    stage = Stage.of(asked or terms(), **options).drawn(NONCE)
    assert [type(effect) for effect in stage.effects] == [Send]
    return stage


def challenged(asked: Terms | None = None, claim: Claim = HONEST) -> Stage:
    """A verifier that has sent its first challenge (audited) or trains on it (proved)."""
    return opened(asked).received(committed(claim)).drawn(FIRST)


def answered(asked: Terms | None = None, claim: Claim = HONEST) -> Stage:
    """A verifier that rechecks its first challenge's true answers."""
    stage = challenged(asked, claim)
    return stage.received(stage.answers()).drawn(SECOND)


def prover(claim: Claim = HONEST, *, max_evaluations: int = 1000) -> ProverSession:
    return ProverSession(task=TASK, claim=claim, signed=signed(claim), key=KEY, max_evaluations=max_evaluations)


def sent(effects: list[Effect]) -> Message:
    """The message of the first effect."""
    first = effects[0]
    if not isinstance(first, Send):
        raise InternalError(f"expected Send, got {type(first).__name__}")
    return first.message


def seed_of(entropy: bytes) -> Seed:
    return Seed(entropy)
