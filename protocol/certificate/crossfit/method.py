"""Cross-fit as a session sees it: round B, which a prover may answer, then round A, always the verifier's own."""

from __future__ import annotations

import numpy as np

from protocol.certificate.crossfit import bound, plan
from protocol.certificate.crossfit.rounds import Round
from protocol.certificate.method import Answered, Certificate, Method
from protocol.certificate.planning import Budget, Outlook, Plan, Seen
from protocol.certificate.terms import Answers, Rounds, Terms
from protocol.claim import Claim, Figures
from protocol.errors import ArgumentError
from protocol.game import Game
from protocol.game.sampling import Bases, Design

_B, _A = 0, 1


class Crossfit(Method):
    """Finite-sample for every f within its range; lies are priced in."""

    name = "crossfit"
    answers = (Answers.OWN, Answers.DELEGATED)

    def assumption(self, terms: Terms) -> str:
        return ""

    def check_rounds(self, game: Game, terms: Terms, rounds: Rounds) -> None:
        looks = rounds.looks
        if len(looks) != 2:
            raise ArgumentError(f"crossfit: two rounds are needed, got {len(looks)}")
        if any(look.n_siblings != 1 or look.bases is not Bases.DRAWN for look in looks):
            raise ArgumentError("crossfit: rounds of independent subsets are needed, got others")
        if any(look.complements != game.measure.has_complements for look in looks):
            raise ArgumentError("crossfit: complements are needed exactly where p = 1/2")
        fewest = min(look.n_families for look in looks)
        if fewest < bound.MIN_PAIRS:
            raise ArgumentError(
                f"crossfit: at least {bound.MIN_PAIRS} independent subsets a round are needed, got {fewest}: ask for "
                "more retrainings"
            )
        most = looks[_B].n_families if terms.answers is Answers.DELEGATED else 0
        if not min(most, 1) <= rounds.n_checks <= most:
            raise ArgumentError(
                f"n_checks: expected {min(most, 1)} to {most} of round B's pairs, got {rounds.n_checks}"
            )

    def is_answered(self, terms: Terms, round_: int) -> bool:
        return terms.answers is Answers.DELEGATED and round_ == _B

    def check_size(self, design: Design) -> int:
        return design.n_sides

    def check_delta(self, terms: Terms, rounds: Rounds) -> float:
        return terms.delta * bound.CHECK_SHARE

    def judge(self, game: Game, claim: Claim, terms: Terms, rounds: Rounds) -> CrossfitJudge:
        return CrossfitJudge(game, claim, terms)

    def plan(
        self, game: Game, claim: Claim | None, figures: Figures | None, terms: Terms, budget: Budget, seen: Seen | None
    ) -> Plan:
        return plan.best_within(game, claim, terms, budget, Outlook.of(figures, seen))


class CrossfitJudge:
    """Waits for both rounds."""

    def __init__(self, game: Game, claim: Claim, terms: Terms) -> None:
        self._game, self._claim, self._terms = game, claim, terms
        self._taken: list[Round] = []

    def replan(self, rounds: Rounds) -> None:
        """The rounds are chosen once."""

    def seen(self) -> Seen | None:
        return None

    def take(self, answered: Answered) -> Certificate | None:
        check = answered.spot_check
        self._taken.append(
            Round(
                draw=answered.draw,
                outputs=answered.outputs,
                trained=np.unique(answered.trained // answered.draw.design.n_sides),
                n_false=0 if check is None or check.most_false is None else check.most_false,
                tolerance=0.0 if check is None else self._game.tolerance,
            )
        )
        if len(self._taken) <= _A:
            return None
        b, a = self._taken
        spent = 1 - bound.CHECK_SHARE if self._terms.answers is Answers.DELEGATED else 1.0
        return bound.certify(self._game, self._claim, a, b, delta=self._terms.delta * spent, across=self._terms.across)
