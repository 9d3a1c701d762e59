"""The moment certificate as a session sees it: a pilot, then looks at families until the bounds decide.

Delegated, one round of independent pairs follows the pilot: the prover answers it, some pairs are
rechecked, and the bound holds with as many false answers as clean checks leave possible.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from protocol.certificate.method import Answered, Certificate, Method
from protocol.certificate.moments import certificate, few_units, plan, plan_delegated
from protocol.certificate.moments.scales import Scales, scales_of
from protocol.certificate.moments.tally import Rows, Tally, joined, rows_of, tally_of
from protocol.certificate.planning import Budget, Outlook, Plan, Seen
from protocol.certificate.readings import Readings, chosen, read
from protocol.certificate.terms import Answers, Rounds, Terms
from protocol.claim import Claim, Figures
from protocol.errors import ArgumentError, InternalError
from protocol.game import Game, Measure
from protocol.game.sampling import Bases, Design
from protocol.game.tilting import LARGEST_RATIO

KURTOSIS, KURTOSIS_TILTED, KURTOSIS_DELEGATED = 9.0, 6.0, 12.0
"""K unless the user states one. Smaller where some bases are drawn along the claim, which lowers the kurtosis of claims
that err along themselves: with the floor, it is the least K for which no residual of kurtosis 16 or less was found that
breaks the level (docs/theory.md, section 2.9, has what was tried, and what happens beyond). Larger where a prover
answers, because lies use up whatever room there is beyond the assumption."""

_CELLS = 1 << 24  # units of bases in memory at once

WORTH_PRODUCTS = 1000
"""Products across pairs are looked at where families would take more retrainings than this."""

PILOT = 0
"""The pilot's round, always the verifier's own."""


class Moments(Method):
    """Finite-sample for every f whose residual has kurtosis at most K; the default."""

    name = "moments"
    answers = (Answers.OWN, Answers.DELEGATED)

    def kurtosis_of(self, answers: Answers, measure: Measure) -> float:
        if answers is Answers.DELEGATED:
            usual = KURTOSIS_DELEGATED
        else:
            usual = KURTOSIS_TILTED if tilts(answers, measure) else KURTOSIS
        return max(usual, least_kurtosis(answers, measure))

    def assumption(self, terms: Terms) -> str:
        return f"kurtosis at most {terms.kurtosis:g}"

    def check_terms(self, game: Game, terms: Terms) -> None:
        super().check_terms(game, terms)
        least = least_kurtosis(terms.answers, game.measure)
        if terms.kurtosis is not None and terms.kurtosis < least * (1 - 1e-12):
            raise ArgumentError(
                f"kurtosis: a claim's own linear error can reach {least:.4g} in this design, so no smaller bound can "
                f"be assumed; got {terms.kurtosis:g}"
            )

    def check_rounds(self, game: Game, terms: Terms, rounds: Rounds) -> None:
        looks = self._looks(game, rounds)
        if terms.answers is Answers.OWN and looks[0].bases is Bases.DRAWN and few_units.applies(game, terms):
            self._check_groups(looks, rounds.n_checks)
            return
        if looks[0].bases is not (Bases.TILTED if tilts(terms.answers, game.measure) else Bases.DRAWN):
            raise ArgumentError(
                "moments: expected tilted bases exactly where the verifier trains everything and p = 1/2"
            )
        if looks[0].n_siblings > 1 and looks[0].keep_16 == 0:
            raise ArgumentError("moments: expected siblings with a correlation above 0")
        if terms.answers is Answers.OWN:
            if looks[0].n_families < plan.FLOOR or rounds.n_checks:
                raise ArgumentError(f"moments: expected no checks and a first look of at least {plan.FLOOR} families")
        elif len(looks) != 1 or looks[0].n_siblings != 1 or looks[0].n_families < plan.FLOOR:
            raise ArgumentError(f"moments: expected one answered round of at least {plan.FLOOR} independent subsets")
        elif not 1 <= rounds.n_checks <= looks[0].n_families:
            raise ArgumentError(f"moments: expected 1 to {looks[0].n_families} checks, got {rounds.n_checks}")

    @staticmethod
    def _looks(game: Game, rounds: Rounds) -> tuple[Design, ...]:
        """The looks after the pilot; what holds for all of them is checked."""
        for look in rounds.looks:
            if look.complements != game.measure.has_complements:
                raise ArgumentError("moments: expected complements exactly where p = 1/2")
        if rounds.looks[PILOT] != plan.pilot_design(game):
            raise ArgumentError("moments: expected the pilot as the first round")
        looks = rounds.looks[PILOT + 1 :]
        if not looks:
            raise ArgumentError("moments: expected a look after the pilot")
        if len({(look.n_siblings, look.keep_16, look.bases) for look in looks}) > 1:
            raise ArgumentError("moments: expected the same siblings, correlation and bases in every look")
        return looks

    @staticmethod
    def _check_groups(looks: tuple[Design, ...], n_checks: int) -> None:
        """Products across pairs: every look is a group of independent subsets."""
        total = sum(look.n_families for look in looks)
        if looks[0].n_siblings != 1 or looks[0].keep_16 or n_checks or len(looks) > few_units.MAX_GROUPS:
            raise ArgumentError(f"moments: expected at most {few_units.MAX_GROUPS} groups of independent subsets")
        if total < few_units.FEWEST_PAIRS or min(look.n_families for look in looks) < 2:
            raise ArgumentError(f"moments: expected at least {few_units.FEWEST_PAIRS} pairs in groups of 2 or more")

    def is_answered(self, terms: Terms, round_: int) -> bool:
        return terms.answers is Answers.DELEGATED and round_ != PILOT

    def check_size(self, design: Design) -> int:
        return design.n_sides

    def check_delta(self, terms: Terms, rounds: Rounds) -> float:
        return terms.delta * plan_delegated.CHECK_SHARE

    def replans_after(self, game: Game, round_: int) -> bool:
        return round_ == PILOT

    def judge(self, game: Game, claim: Claim, terms: Terms, rounds: Rounds) -> MomentsJudge:
        return MomentsJudge(game, claim, terms, rounds)

    def plan(
        self, game: Game, claim: Claim | None, figures: Figures | None, terms: Terms, budget: Budget, seen: Seen | None
    ) -> Plan:
        outlook = Outlook.of(figures, seen)
        if game.n_targets > 1:
            outlook = replace(outlook, rank=1.0)
        if terms.answers is Answers.DELEGATED:
            return plan_delegated.plan_delegated(game, terms, budget, outlook, is_seen=seen is not None)
        by_families = plan.plan_own(game, terms, budget, outlook, is_seen=seen is not None)
        if budget.goes_on or (by_families.sufficient and by_families.expected_retrained < WORTH_PRODUCTS):
            return by_families
        by_products = few_units.plan_products(game, terms, budget, outlook)
        if by_products is None or (
            by_families.sufficient and by_families.expected_retrained <= by_products.expected_retrained
        ):
            return by_families
        return by_products


def tilts(answers: Answers, measure: Measure) -> bool:
    """Whether some bases are drawn along the claim: where the verifier trains everything and p = 1/2."""
    return answers is Answers.OWN and measure.has_complements


def least_kurtosis(answers: Answers, measure: Measure) -> float:
    """Return the least K that a claim's own linear error does not reach; a weighted square may have that much more."""
    return measure.linear_kurtosis * (LARGEST_RATIO if tilts(answers, measure) else 1.0)


class MomentsJudge:
    """The pilot first, then one tally that grows look by look."""

    def __init__(self, game: Game, claim: Claim, terms: Terms, rounds: Rounds) -> None:
        self._game, self._claim, self._terms, self._rounds = game, claim, terms, rounds
        self._fixed: tuple[Scales, Rows] | None = None
        self._tallies: list[Tally] = []
        self._groups: list[few_units.Group] = []
        self._n_pilot = 0

    def replan(self, rounds: Rounds) -> None:
        self._rounds = rounds

    def seen(self) -> Seen | None:
        return None if self._fixed is None else self._fixed[0].seen

    def _tally(self, answered: Answered, readings: Readings) -> Tally:
        if self._fixed is None:
            raise InternalError("families came before the pilot")
        scales, rows = self._fixed
        draw = answered.draw
        if draw.along is None:
            return tally_of(readings, scales, rows)
        every, step = np.arange(draw.design.n_families, dtype=np.int64), max(1, _CELLS // self._game.n_units)
        parts = (every[start : start + step] for start in range(0, len(every), step))
        ratio = np.concatenate([draw.along.likelihood(draw.bases(self._game, part)) for part in parts])
        return tally_of(readings, scales, rows, ratio=ratio, largest_ratio=LARGEST_RATIO)

    def _is_grouped(self, design: Design) -> bool:
        own = self._terms.answers is Answers.OWN
        return own and design.bases is Bases.DRAWN and few_units.applies(self._game, self._terms)

    def take(self, answered: Answered) -> Certificate | None:
        readings = read(self._game, self._claim, answered.draw, answered.outputs)
        if self._fixed is None:
            scales = scales_of(self._game, readings)
            self._fixed = scales, rows_of(self._game, readings, scales, self._terms.across)
            self._n_pilot = answered.draw.n_evaluations
            return None
        scales, rows = self._fixed
        self._tallies.append(self._tally(answered, readings))
        tally, design = joined(self._tallies), answered.draw.design
        if self._terms.kurtosis is None:
            raise InternalError("the moment certificate was asked for without a bound on the kurtosis")
        horizon = sum(look.n_families for look in self._rounds.looks[PILOT + 1 :])
        found = certificate.certify(
            tally, rows, across=self._terms.across, kurtosis=self._terms.kurtosis, delta=self._terms.delta,
            horizon=horizon, n_siblings=design.n_siblings, rho=design.rho if design.n_siblings > 1 else 1.0,
            n_pilot=self._n_pilot,
        )  # fmt: skip
        if self._is_grouped(design):
            self._groups.append(few_units.group_of(self._game, answered.draw, readings, scales))
            if len(self._groups) < len(self._rounds.looks) - 1:
                return None
            return few_units.certify(found, self._groups, tally, rows, scales)
        check = answered.spot_check
        if check is None or check.most_false is None:
            return found
        kept = np.unique(answered.trained // design.n_sides)
        own = tally_of(chosen(readings, kept), scales, rows)
        # The root of a family's square is a norm over targets, which answers within the tolerance move by at most this.
        shift = np.sqrt(rows.of(np.ones(len(rows.weights)))) * self._game.tolerance
        return plan_delegated.despite_lies(found, tally, rows, own, n_false=check.most_false, shift=shift)
