"""Whole sessions of games whose answers are known: both parties' own objects, the real planner, nothing left out.

Owns one case (a game, a claim about it, what the prover says of itself and how it answers) and what a session of it
came to. Refuses to know which certificate is asked: that is the registry's. Entropy comes from a seed, so that every
session can be repeated.

Letters: T targets, N units.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64, Int64

from benchmarks.in_memory import LARGEST_NOISE, InMemory, committed, gaussian_of
from protocol.certificate.method import Certificate
from protocol.certificate.planning import Budget
from protocol.certificate.registry import method_named
from protocol.certificate.terms import Across, Answers, Rounds, Terms
from protocol.claim import Claim, Figures
from protocol.encoding import SEED_BYTES, Seed
from protocol.game import Statement
from protocol.game.known import Known, statement_of
from protocol.game.sampling import Draw
from protocol.game.sampling import choose as choose_checks
from protocol.session.effects import ChooseRounds, Train
from protocol.session.messages import ClaimCommitted, Outcome
from protocol.session.verifier import VerifierSession
from verifier import loop
from verifier.loop import OnProgress

ROUNDING = 1e-12
HONEST = Figures(relative_gap=0.01, odd_residual=0.02, r2=0.97, n_retrainings=10_000)
Lie: TypeAlias = Callable[["Challenged"], Float64[np.ndarray, "m t"]]
"""From a challenge to the answers that are given, as far as they go beside the truth."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A game, and a prover's claim about it.

    scores : shape (T, N), the claim's inclusion weights. variance : shape (T,), Var f over subsets, exact.
    noise : standard deviation of an output over training seeds; above 0, every evaluation has a seed of its own.
    figures : what the prover says of its claim.
    """

    name: str
    game: Known
    scores: Float64[np.ndarray, "t n"]
    variance: Float64[np.ndarray, " t"]
    across: Across = Across.POOLED
    figures: Figures = HONEST
    noise: float = 0.0

    @cached_property
    def statement(self) -> Statement:
        """What both parties agree on."""
        reach = self.game.largest + LARGEST_NOISE * self.noise
        # Outputs of one subset round differently in batches of different sizes, and spot checks compare them.
        return statement_of(
            self.game, n_targets=len(self.scores), bound=reach, tolerance=ROUNDING * reach, per_subset=self.noise > 0
        )

    @cached_property
    def claim(self) -> ClaimCommitted:
        """The claim, signed. Its intercept is in no bound."""
        statement = self.statement
        claim = Claim(task_digest=statement.digest, intercepts=np.zeros(len(self.scores)), scores=self.scores.copy())
        return committed(statement, claim, self.figures)

    def outputs(self, draw: Draw, evaluations: Int64[np.ndarray, " k"]) -> Float64[np.ndarray, "k t"]:
        """Return the true outputs of these evaluations, seed noise included."""
        values = self.game.outputs(draw.subsets(self.statement, evaluations))
        if self.noise == 0:
            return values
        seeds = draw.training_seeds(self.statement, evaluations)[:, None] + np.arange(values.shape[1]) * 2**40
        return np.asarray(values + self.noise * gaussian_of(seeds))


@dataclass(frozen=True, kw_only=True, eq=False)
class Challenged:
    """What a lying prover knows of a challenge, and more: the checks that are to come.

    true : shape (m, T), the true answers. checked : pairs that will be checked, which no prover knows; a lie that
    avoids them shows what a bound does once the checks have failed. delta : of the session.
    """

    case: Case
    draw: Draw
    true: Float64[np.ndarray, "m t"]
    checked: Int64[np.ndarray, " k"]
    delta: float


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What the verifier asks for, and may spend; the defaults are those of the command."""

    method: str = "moments"
    answers: Answers = Answers.OWN
    epsilon: float = 0.05
    delta: float = 0.05
    kurtosis: float | None = None
    max_retrainings: int = 1000
    max_answers: int = 4000

    @property
    def budget(self) -> Budget:
        """What may be spent."""
        return Budget(max_retrainings=self.max_retrainings, max_answers=self.max_answers)

    def terms(self, case: Case) -> Terms:
        """Return the terms of a session about ``case``."""
        kurtosis = self.kurtosis or method_named(self.method).kurtosis_of(self.answers, case.statement.measure)
        return Terms(
            epsilon=self.epsilon, delta=self.delta, across=case.across, answers=self.answers, method=self.method,
            kurtosis=kurtosis,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Played:
    """What a session came to. ``pilot``: the draw of the first round, and its outputs."""

    outcome: Outcome
    n_retrainings: int
    certificate: Certificate | None
    pilot: tuple[Draw, Float64[np.ndarray, "m t"]] | None


@dataclass(eq=False)
class _Retrain:
    """The verifier's trainings; remembers the first, which is the pilot's."""

    case: Case
    first: tuple[Draw, Float64[np.ndarray, "m t"]] | None = field(default=None)

    def __call__(self, train: Train, on_progress: OnProgress) -> Float64[np.ndarray, "k t"]:
        outputs = self.case.outputs(train.draw, train.evaluations)
        if self.first is None:
            self.first = train.draw, outputs
        return outputs


def play(case: Case, asking: Asking, seed: tuple[int, ...], lie: Lie | None = None) -> Played:
    """Play one session and return what it came to; the same arguments give the same session.

    Parameters
    ----------
    seed : of all that is random.
    lie : what the prover does to true answers before it gives them; None for nothing.
    """
    rng, terms, statement = np.random.default_rng(seed), asking.terms(case), case.statement
    method = method_named(asking.method)
    rounds: list[Rounds] = []

    def choose(asked: ChooseRounds) -> Rounds:
        rounds.append(method.plan(statement, asked.claim, asked.figures, terms, asking.budget, asked.seen).rounds)
        return rounds[-1]

    def answer(train: Train) -> Float64[np.ndarray, "m t"]:
        true = case.outputs(train.draw, train.evaluations)
        if lie is None:
            return true
        n_pairs = train.draw.n_evaluations // method.check_size(train.draw.design)
        check_seed = Seed(deepcopy(rng).bytes(SEED_BYTES))  # the next that will be drawn
        checked = choose_checks(check_seed, n_pairs, rounds[-1].n_checks)
        return lie(Challenged(case=case, draw=train.draw, true=true, checked=checked, delta=asking.delta))

    prover, retrain = InMemory.of(statement, case.claim, answer, asking.max_answers), _Retrain(case)
    verdict = loop.run(VerifierSession(game=statement, terms=terms), prover, choose, retrain, entropy=rng.bytes)
    return Played(
        outcome=verdict.outcome, n_retrainings=verdict.n_retrainings, certificate=verdict.certificate,
        pilot=retrain.first,
    )  # fmt: skip
