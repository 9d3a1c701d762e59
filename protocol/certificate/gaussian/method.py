"""The Gaussian quick look as a session sees it: families look by look, or products of pairs where units are few.

Where every training has a seed of its own, a pilot of the verifier's comes first, so that the plan knows the noise.
"""

from __future__ import annotations

from itertools import accumulate

import numpy as np

from protocol.certificate import quantiles
from protocol.certificate.gaussian import families, looks, output_variance, plan, products, products_plan
from protocol.certificate.gaussian.report import FamiliesReport, ProductsCertificate
from protocol.certificate.method import Answered, Certificate, Method
from protocol.certificate.moments.plan import pilot_design
from protocol.certificate.moments.scales import scales_of
from protocol.certificate.planning import POWER, Budget, Forecast, Outlook, Plan, Seen
from protocol.certificate.readings import Readings, joined, linear_part, read
from protocol.certificate.terms import Across, Rounds, Terms
from protocol.claim import Claim, Figures
from protocol.errors import ArgumentError, BudgetError
from protocol.game import Game, SeedPolicy
from protocol.game.sampling import Bases, Draw, pairs

P_RANGE = (0.3, 0.7)
"""Outside, a claim that is wrong on one unit that is rarely in, or out, is anything but Gaussian (THEORY 10)."""

N_LOOKS = 10
FEW_UNITS = 2000
"""Products are planned for no more units than this: their spread grows with the root of the number of units."""

MIN_PAIRS = 25


class Gaussian(Method):
    """Few retrainings, one asymptotic step: residuals are taken as Gaussian."""

    name = "gaussian"
    takes_looks = True

    def assumption(self, terms: Terms) -> str:
        return "Gaussian residuals"

    def check_terms(self, game: Game, terms: Terms) -> None:
        super().check_terms(game, terms)
        low, high = P_RANGE
        if not low <= game.measure.p <= high:
            raise ArgumentError(
                f"gaussian: p from {low} to {high} is needed, where residuals are near Gaussian, and p is "
                f"{game.measure.p:g}; use moments or crossfit"
            )

    def check_rounds(self, game: Game, terms: Terms, rounds: Rounds) -> None:
        found = rounds.looks[has_pilot(game) :]
        if has_pilot(game) and rounds.looks[0] != pilot_design(game):
            raise ArgumentError("gaussian: expected the pilot as the first round")
        if not found or rounds.n_checks:
            raise ArgumentError("gaussian: expected at least one look and no checks")
        kinds = {(look.n_siblings, look.keep_16, look.complements, look.bases) for look in found}
        if len(kinds) > 1 or found[0].bases is not Bases.DRAWN:
            raise ArgumentError("gaussian: expected the same siblings, correlation and sides in every look")
        if found[0].complements != game.measure.has_complements:
            raise ArgumentError("gaussian: expected complements exactly where p = 1/2")
        if found[0].n_siblings == 1:
            if len(found) > 1 or found[0].n_families < MIN_PAIRS or not game.measure.has_complements:
                raise ArgumentError(f"gaussian: expected one look of at least {MIN_PAIRS} pairs at p = 1/2")
            if terms.across is Across.EVERY and game.n_targets > 1:
                raise ArgumentError("gaussian: products across pairs bound the mean over targets: expected families")
            return
        families.check_design(found[0])
        looks.check_growth(tuple(accumulate(look.n_families for look in found)))

    def replans_after(self, game: Game, round_: int) -> bool:
        return has_pilot(game) and round_ == 0

    def judge(self, game: Game, claim: Claim, terms: Terms, rounds: Rounds) -> GaussianJudge:
        return GaussianJudge(game, claim, terms, rounds)

    def plan(
        self, game: Game, claim: Claim | None, figures: Figures | None, terms: Terms, budget: Budget, seen: Seen | None
    ) -> Plan:
        outlook = Outlook.of(figures, seen)
        pilot = (pilot_design(game),) if has_pilot(game) else ()
        spent = sum(look.n_evaluations for look in pilot)
        left, least = budget.max_retrainings - spent, plan.least_retrainings(game)
        if left < least:
            raise BudgetError(
                f"gaussian: expected a budget of at least {spent + least} retrainings, got {budget.max_retrainings}: "
                f"raise --max-retrainings to {spent + least}"
            )
        found = plan.best_within(
            game,
            epsilon=terms.epsilon,
            delta=terms.delta,
            across=terms.across,
            outlook=outlook,
            max_retrainings=left,
            n_looks=budget.n_looks or N_LOOKS,
        )
        total, first = sum(look.n_evaluations for look in found.looks), found.looks[0]
        by_families = Plan(
            rounds=Rounds(looks=(*pilot, *found.looks)),
            first=found.first,
            last=found.last,
            n_retrained=(spent + first.n_evaluations, spent + total),
            n_answered=(0, 0),
            expected_retrained=spent + found.expected,
            expected_answered=0.0,
            sufficient=found.last.power >= POWER,
            summary=(
                f"a quick look at families of {first.n_siblings}, rho {first.rho:.3g}: about "
                f"{spent + found.expected:.0f} retrainings here, {spent + total} at most in {len(found.looks)} looks"
            ),
        )
        by_products = _products_plan(game, terms, outlook, left, spent, pilot)
        if by_products is None or by_products.expected_retrained >= by_families.expected_retrained:
            return by_families
        return by_products


def has_pilot(game: Game) -> bool:
    """Whether the verifier's own pilot comes first, to tell noise from the rest."""
    return game.seed_policy is SeedPolicy.PER_SUBSET


def _products_plan(
    game: Game, terms: Terms, outlook: Outlook, left: int, spent: int, pilot: tuple[object, ...]
) -> Plan | None:
    """The plan by products across pairs, or None where they do not apply or the budget does not reach."""
    several = terms.across is Across.EVERY and game.n_targets > 1
    if not game.measure.has_complements or game.n_units > FEW_UNITS or several or pilot:
        return None
    n = products_plan.pairs_needed(game.n_units, epsilon=terms.epsilon, delta=terms.delta, outlook=outlook)
    if n is None or 2 * max(n, MIN_PAIRS) > left:
        return None
    n = max(n, MIN_PAIRS)
    forecast = Forecast(median_bound=terms.epsilon, power=POWER)
    return Plan(
        rounds=Rounds(looks=(pairs(n),)),
        first=forecast,
        last=forecast,
        n_retrained=(spent + 2 * n, spent + 2 * n),
        n_answered=(0, 0),
        expected_retrained=float(spent + 2 * n),
        expected_answered=0.0,
        sufficient=True,
        summary=f"a quick look at products across {n} pairs: {2 * n} retrainings here",
    )


class GaussianJudge:
    """A look at a time, families pooled; or one look at pairs."""

    def __init__(self, game: Game, claim: Claim, terms: Terms, rounds: Rounds) -> None:
        self._game, self._claim, self._terms, self._rounds = game, claim, terms, rounds
        self._readings: list[Readings] = []
        self._seen: Seen | None = None

    def replan(self, rounds: Rounds) -> None:
        self._rounds = rounds

    def seen(self) -> Seen | None:
        return self._seen

    def take(self, answered: Answered) -> Certificate | None:
        readings = read(self._game, self._claim, answered.draw, answered.outputs)
        if has_pilot(self._game) and self._seen is None:
            self._seen = scales_of(self._game, readings).seen
            return None
        if answered.draw.design.n_siblings == 1:
            return _by_products(self._game, self._claim, answered.draw, readings, self._terms)
        self._readings.append(readings)
        totals = accumulate(look.n_families for look in self._rounds.looks[has_pilot(self._game) :])
        found = families.certify(
            joined(self._readings), delta=self._terms.delta, across=self._terms.across,
            lo=self._game.lo, hi=self._game.hi, looks=tuple(totals),
        )  # fmt: skip
        return FamiliesReport(found=found)


def _by_products(game: Game, claim: Claim, draw: Draw, readings: Readings, terms: Terms) -> ProductsCertificate:
    """Every target's residual over its estimated sd, as one vector."""
    spread = output_variance.estimate(readings)
    scaled = readings.residual[:, 0] / spread.sd / np.sqrt(readings.n_targets)
    members = np.arange(draw.design.n_families, dtype=np.int64) * draw.design.n_sides
    phi = game.measure.characters(draw.subsets(game, members))
    estimate = products.gap_estimate(scaled, phi)
    upper = products.quick_upper(scaled, phi, terms.delta)
    error = quantiles.mean_error(spread.samples.mean(axis=1, keepdims=True), terms.delta)
    one = np.ones(1)
    ratio = quantiles.ratio_upper(
        over=estimate * one, over_upper=upper * one, under=one, under_lower=np.maximum(1 - error, 0.0)
    )
    constant = bool(spread.constant.any())
    return ProductsCertificate(
        delta=terms.delta,
        across=terms.across,
        n_pairs=len(scaled),
        upper=float("inf") if constant else float(ratio[0]),
        lower=0.0 if constant else _along_lower(game, claim, draw, readings, terms.delta),
        estimate=estimate,
        error=products.standard_error(scaled, phi),
    )


def _along_lower(game: Game, claim: Claim, draw: Draw, readings: Readings, delta: float) -> float:
    """The squared mean residual along the claim less its error, over Var f from above; the mean over targets."""
    most = output_variance.upper(readings, game.lo, game.hi, families.VARIANCE_SHARE * delta / readings.n_targets)
    length = np.sqrt(game.measure.linear_variance(claim.scores))
    direction = linear_part(game, claim, draw) / np.where(length > 0, length, 1.0)
    along = (readings.residual[:, 0] / np.sqrt(most) * direction).mean(axis=1, keepdims=True)
    error = quantiles.mean_error(along, (1 - families.VARIANCE_SHARE) * delta / 2)
    return float(np.maximum(np.abs(along.mean(axis=0)) - error, 0.0)[0] ** 2)
