"""A session of the verifier's loop against a prover in memory, and what the loop did meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from protocol.certificate.planning import Budget
from protocol.certificate.registry import DEFAULT, method_named
from protocol.certificate.terms import Across, Answers, Rounds, Terms
from protocol.game import HALF_16, Measure
from protocol.session.effects import ChooseRounds, Train
from protocol.session.verdict import Verdict
from protocol.session.verifier import VerifierSession
from tests.journeys.in_memory import Entropy
from tests.verifier.market import Market
from verifier import loop
from verifier.loop import Progressed

BUDGET = Budget(max_retrainings=2400, max_answers=4000)
LENIENT = 0.2
"""An epsilon at which delegated answers and cross-fit decide on few trainings."""


def terms(
    answers: Answers = Answers.OWN, *, method: str = DEFAULT, epsilon: float = LENIENT, across: Across = Across.POOLED
) -> Terms:
    kurtosis = method_named(method).kurtosis_of(answers, Measure(p_16=HALF_16))
    return Terms(epsilon=epsilon, delta=0.05, across=across, answers=answers, method=method, kurtosis=kurtosis)


class Met:
    """One session of the loop against a prover in memory.

    Parameters
    ----------
    budget : what the method's own planner may spend; it chooses the rounds.
    options : passed on to ``loop.run``.
    """

    def __init__(
        self, market: Market, prover: Any, asked: Terms, *, budget: Budget = BUDGET, seed: int = 2, **options: Any
    ) -> None:
        self.market, self.prover, self.asked, self.budget = market, prover, asked, budget
        self.session = VerifierSession(game=market.task, terms=asked)
        self.drawn: list[tuple[int, list[str]]] = []
        self.events: list[Progressed] = []
        self.chosen: list[Rounds] = []
        self.n_trained = 0
        self._options = options
        self._coins = Entropy(seed)

    @property
    def said(self) -> list[str]:
        """The names of what the transcript has so far."""
        return [type(entry.message).__name__ for entry in self.session.transcript.entries]

    def run(self) -> Verdict:
        return loop.run(
            self.session, self.prover, self.choose, self.retrain, entropy=self.entropy, on_event=self.events.append,
            **self._options,
        )  # fmt: skip

    def choose(self, wanted: ChooseRounds) -> Rounds:
        method = method_named(self.asked.method)
        plan = method.plan(self.market.task, wanted.claim, wanted.figures, self.asked, self.budget, wanted.seen)
        self.chosen.append(plan.rounds)
        return plan.rounds

    def entropy(self, n_bytes: int) -> bytes:
        self.drawn.append((n_bytes, self.said))
        return self._coins(n_bytes)

    def retrain(self, train: Train, on_progress: Callable[[int, int], None]) -> np.ndarray:
        self.n_trained += len(train.evaluations)
        on_progress(len(train.evaluations), len(train.evaluations))
        return self.market.outputs(train.draw, train.evaluations)
