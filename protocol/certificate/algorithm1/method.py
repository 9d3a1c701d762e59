"""Algorithm 1 as a session sees it: three answered rounds of pairs and one of fresh subsets."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from protocol.certificate.algorithm1 import bound, plan
from protocol.certificate.method import Answered, Certificate, Method
from protocol.certificate.planning import Budget, Plan, Seen
from protocol.certificate.terms import Across, Answers, Rounds, Terms
from protocol.claim import Claim, Figures
from protocol.errors import ArgumentError
from protocol.game import Game
from protocol.game.sampling import Bases, Draw

_FRESH = 3
"""The round that the verifier trains itself."""


class Algorithm1(Method):
    """Karchmer, Pawelczyk and Neel's protocol; one target, and epsilon is a share of its squared half range."""

    name = "algorithm1"
    statement = "gap over the squared half range"
    answers = (Answers.DELEGATED,)
    across = (Across.POOLED,)
    weighs_units = False

    def assumption(self, terms: Terms) -> str:
        return "tolerance far below epsilon"

    def check_terms(self, game: Game, terms: Terms) -> None:
        super().check_terms(game, terms)
        if game.n_targets != 1:
            raise ArgumentError(f"algorithm1: expected a task of one target, got {game.n_targets}: average them")

    def check_rounds(self, game: Game, terms: Terms, rounds: Rounds) -> None:
        looks = rounds.looks
        if len(looks) != bound.N_ROUNDS:
            raise ArgumentError(f"algorithm1: expected {bound.N_ROUNDS} rounds, got {len(looks)}")
        plain = all(look.bases is Bases.DRAWN and not look.complements for look in looks)
        if [look.n_siblings for look in looks] != [2, 2, 2, 1] or not plain:
            raise ArgumentError("algorithm1: expected three rounds of pairs and one of fresh subsets, no complements")
        fewest = min(look.n_evaluations for look in looks[:_FRESH])
        if not 1 <= rounds.n_checks <= fewest:
            raise ArgumentError(f"n_checks: expected 1 to {fewest} of each round's answers, got {rounds.n_checks}")
        bound.check_enough(game, looks, rounds.n_checks, epsilon=terms.epsilon, delta=terms.delta)

    def is_answered(self, terms: Terms, round_: int) -> bool:
        return round_ != _FRESH

    def check_delta(self, terms: Terms, rounds: Rounds) -> float:
        return terms.delta / 12

    def refusal(self, game: Game, claim: Claim, terms: Terms, rounds: Rounds) -> str | None:
        return bound.norm_excess(game, claim, rounds.looks[-1], epsilon=terms.epsilon, delta=terms.delta)

    def judge(self, game: Game, claim: Claim, terms: Terms, rounds: Rounds) -> Algorithm1Judge:
        return Algorithm1Judge(game, claim, terms)

    def plan(
        self, game: Game, claim: Claim | None, figures: Figures | None, terms: Terms, budget: Budget, seen: Seen | None
    ) -> Plan:
        return plan.best_within(game, claim, terms, budget)


class Algorithm1Judge:
    """Collects the four rounds."""

    def __init__(self, game: Game, claim: Claim, terms: Terms) -> None:
        self._game, self._claim, self._terms = game, claim, terms
        self._taken: list[tuple[Draw, Float64[np.ndarray, "m t"]]] = []

    def replan(self, rounds: Rounds) -> None:
        """The rounds are chosen once."""

    def seen(self) -> Seen | None:
        return None

    def take(self, answered: Answered) -> Certificate | None:
        self._taken.append((answered.draw, answered.outputs))
        if len(self._taken) < bound.N_ROUNDS:
            return None
        epsilon, delta = self._terms.epsilon, self._terms.delta
        return bound.certify(self._game, self._claim, self._taken, epsilon=epsilon, delta=delta)
