"""What a whole session in one process needs beside a game: a signed claim, a prover asked directly, seed noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from scipy.special import ndtri

from protocol.claim import Claim, Figures
from protocol.commitments import MerkleTree, SigningKey
from protocol.game import Game
from protocol.session.effects import Finish, Received, Send, Train, Trained
from protocol.session.messages import ClaimCommitted, Message, SignedClaim
from protocol.session.prover import ProverSession
from verifier.loop import OnProgress, Spoken

KEY = SigningKey(b"a benchmark's prover".ljust(32))
LARGEST_NOISE = 6.0
"""Seed noise is cut at so many standard deviations, so that outputs have a range."""


def committed(game: Game, claim: Claim, figures: Figures) -> ClaimCommitted:
    """Return the claim with its signed commitment."""
    root = MerkleTree(claim.leaves()).root
    covered = SignedClaim.digest_of(game.digest, root, figures, KEY.public)
    signed = SignedClaim(
        task_digest=game.digest, root=root, figures=figures, public_key=KEY.public, signature=KEY.sign(covered)
    )  # fmt: skip
    return ClaimCommitted(signed=signed, claim=claim)


@dataclass(eq=False)
class InMemory:
    """A prover's session that is asked directly.

    answer : does the prover's training, or what is to pass for it. n_trained : how many trainings that were.
    """

    session: ProverSession
    answer: Callable[[Train], Float64[np.ndarray, "m t"]]
    n_trained: int = 0

    @staticmethod
    def of(
        game: Game, claim: ClaimCommitted, answer: Callable[[Train], Float64[np.ndarray, "m t"]], max_evaluations: int
    ) -> InMemory:
        """Return the prover of one session about ``claim``."""
        session = ProverSession(
            game=game, claim=claim.claim, signed=claim.signed, key=KEY, max_evaluations=max_evaluations
        )
        return InMemory(session, answer)

    def exchange(self, message: Spoken, *, on_progress: OnProgress) -> Message | None:
        """Return what the prover says to ``message``."""
        said: Message | None = None
        effects = self.session.handle(Received(message))
        while effects:
            effect = effects.pop(0)
            if isinstance(effect, Train):
                self.n_trained += len(effect.evaluations)
                effects.extend(self.session.handle(Trained(self.answer(effect))))
            elif isinstance(effect, Send):
                said = effect.message
            elif not isinstance(effect, Finish):
                raise TypeError(f"a prover's session asked for {type(effect).__name__}")
        return said


def gaussian_of(seeds: Int64[np.ndarray, "*m"]) -> Float64[np.ndarray, "*m"]:
    """Return one Gaussian number for each seed, at most LARGEST_NOISE either way, by Vigna's splitmix64."""
    z = seeds.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    numbers = ndtri(((z >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53)
    return np.asarray(np.clip(numbers, -LARGEST_NOISE, LARGEST_NOISE))
