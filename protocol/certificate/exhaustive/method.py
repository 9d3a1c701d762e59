"""The exhaustive certificate as a session sees it: one round in which the verifier trains on every subset."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from protocol.certificate.exhaustive import exact, plan
from protocol.certificate.exhaustive.bound import certify_noisy
from protocol.certificate.exhaustive.report import ExactCertificate, NoisyReport
from protocol.certificate.method import Answered, Certificate, Method
from protocol.certificate.planning import Budget, Forecast, Outlook, Plan, Seen
from protocol.certificate.readings import check_shapes
from protocol.certificate.terms import Across, Rounds, Terms
from protocol.claim import Claim, Figures
from protocol.errors import ArgumentError, BudgetError
from protocol.game import Game, SeedPolicy
from protocol.game.sampling import MAX_EVALUATIONS, Bases, Design

FLOOR = 0.1
"""Of the median variance: no target's counts as less where targets are pooled."""

MAX_SEEDS = 1 << 16
_HALF_RANGE_SD = 5.0  # half a target's range in standard deviations, as ``prover init`` proposes it


class Exhaustive(Method):
    """Every subset of very few units; exact under a shared training seed."""

    name = "exhaustive"

    def assumption(self, terms: Terms) -> str:
        return "every subset"

    def check_terms(self, game: Game, terms: Terms) -> None:
        super().check_terms(game, terms)
        if game.n_units > exact.MAX_UNITS:
            raise ArgumentError(
                f"exhaustive: at most {exact.MAX_UNITS} units can be taken in every combination, and the game has "
                f"{game.n_units}; use moments"
            )

    def check_rounds(self, game: Game, terms: Terms, rounds: Rounds) -> None:
        if len(rounds.looks) != 1 or rounds.looks[0].bases is not Bases.ALL or rounds.n_checks:
            raise ArgumentError("exhaustive: one round of every subset is needed, and no checks")
        if rounds.looks[0].n_families != 1 << game.n_units:
            raise ArgumentError(
                f"exhaustive: every subset of {game.n_units} units is needed once, {1 << game.n_units} in all, got "
                f"{rounds.looks[0].n_families}"
            )
        if game.seed_policy is SeedPolicy.SHARED and rounds.looks[0].n_siblings != 1:
            raise ArgumentError("exhaustive: one training a subset is enough where all share a seed")

    def judge(self, game: Game, claim: Claim, terms: Terms, rounds: Rounds) -> ExhaustiveJudge:
        return ExhaustiveJudge(game, claim, terms)

    def plan(
        self, game: Game, claim: Claim | None, figures: Figures | None, terms: Terms, budget: Budget, seen: Seen | None
    ) -> Plan:
        n_subsets = 1 << game.n_units
        if n_subsets > budget.max_retrainings:
            raise BudgetError(
                f"exhaustive: every subset of {game.n_units} units takes {n_subsets} retrainings; raise "
                f"--max-retrainings to {n_subsets}"
            )
        outlook = Outlook.of(figures, seen)
        n_seeds, enough, bound = 1, outlook.relative_gap <= terms.epsilon, outlook.relative_gap
        if game.seed_policy is SeedPolicy.PER_SUBSET:
            n_seeds, enough, bound = _seeds(game, terms, outlook, budget.max_retrainings // n_subsets)
        forecast = Forecast(median_bound=bound, power=1.0 if enough else 0.0)
        total = n_subsets * n_seeds
        each = "" if n_seeds == 1 else f", {n_seeds} trainings each"
        return Plan(
            rounds=Rounds(looks=(design_of(game, n_seeds),)),
            first=forecast,
            last=forecast,
            n_retrained=(total, total),
            n_answered=(0, 0),
            expected_retrained=float(total),
            expected_answered=0.0,
            sufficient=enough,
            summary=f"every subset of {game.n_units} units{each}: {total} retrainings here",
        )


def design_of(game: Game, n_seeds: int) -> Design:
    """Return the design of every subset, ``n_seeds`` trainings each."""
    return Design(n_families=1 << game.n_units, n_siblings=n_seeds, keep_16=0, complements=False, bases=Bases.ALL)


def best_scores(outputs: Float64[np.ndarray, "m t"], p: float) -> Float64[np.ndarray, "t n"]:
    """Return the best scores, shape (T, N), from one output of every subset in order."""
    return exact.best_linear(outputs, p)[1]


def _seeds(game: Game, terms: Terms, outlook: Outlook, most: int) -> tuple[int, bool, float]:
    """Seeds a subset, whether they are expected to be enough, and the bound expected of them."""
    expected = {
        "p": game.measure.p, "noise": min(outlook.residual, 0.9), "relative_gap": outlook.relative_gap,
        "r2": outlook.r2, "half_range_sd": _HALF_RANGE_SD, "delta": terms.delta,
    }  # fmt: skip
    most = min(most, MAX_SEEDS, MAX_EVALUATIONS >> game.n_units)
    found = plan.seeds_needed(game.n_units, epsilon=terms.epsilon, max_seeds=most, **expected)
    n_seeds = most if found is None else found
    return n_seeds, found is not None, plan.expected_upper(game.n_units, n_seeds, **expected)


class ExhaustiveJudge:
    """One round, everything."""

    def __init__(self, game: Game, claim: Claim, terms: Terms) -> None:
        self._game, self._claim, self._terms = game, claim, terms

    def replan(self, rounds: Rounds) -> None:
        """The round is chosen once."""

    def seen(self) -> Seen | None:
        return None

    def take(self, answered: Answered) -> Certificate | None:
        check_shapes(self._game, self._claim)
        game, scores, across = self._game, self._claim.scores, self._terms.across
        n_subsets = answered.draw.design.n_families
        if game.seed_policy is SeedPolicy.PER_SUBSET:
            shaped = answered.outputs.reshape(n_subsets, -1, game.n_targets)
            found = certify_noisy(
                shaped, scores, p=game.measure.p, lo=game.lo, hi=game.hi, delta=self._terms.delta, across=across,
                weights=1 / game.width**2 if across is Across.POOLED else None,
            )  # fmt: skip
            return NoisyReport(found=found, n_subsets=n_subsets)
        return _exactly(answered.outputs, scores, game.measure.p, across)


def _exactly(
    outputs: Float64[np.ndarray, "m t"], scores: Float64[np.ndarray, "t n"], p: float, across: Across
) -> ExactCertificate:
    """Weights are one over each target's variance, which f alone fixes."""
    variance, gap = exact.variances(outputs, p), exact.gaps(outputs, scores, p)
    best = best_scores(outputs, p)
    floored = np.maximum(variance, FLOOR * np.median(variance))
    weights = 1 / np.where(floored > 0, floored, 1.0)
    spread = p * (1 - p) * (best**2).sum(axis=1)
    return ExactCertificate(
        across=across,
        n_subsets=len(outputs),
        relative_gap=exact.relative_gaps(gap, variance, across, weights if across is Across.POOLED else None),
        best=best,
        variance=variance,
        explained=np.divide(spread, variance, out=np.ones_like(spread), where=variance > 0),
    )
