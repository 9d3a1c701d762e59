"""The verifier's terms that tests and demonstrations meet cheats with, and rounds in the planner's place."""

from __future__ import annotations

from protocol.certificate.moments.plan import pilot_design
from protocol.certificate.planning import Budget
from protocol.certificate.registry import DEFAULT, method_named
from protocol.certificate.terms import Across, Answers, Rounds, Terms
from protocol.game import Game, Measure
from protocol.game.measure import HALF
from protocol.game.sampling import Bases, Design, families, pairs

BUDGET = Budget(max_retrainings=600, max_answers=1600)
"""What a verifier spends on a world of games; the honest claims there take less."""

QUICK_KURTOSIS = 4.0
"""Stated where a test is not about the level of a bound: few pairs are then enough for an honest claim."""

_OF_ITS_BASE_16 = 65535
"""A lone sibling keeps all of its base but one unit in 65,536, so that bases along the claim are subsets along it."""


def terms(
    answers: Answers,
    *,
    epsilon: float = 0.05,
    delta: float = 0.05,
    across: Across = Across.POOLED,
    kurtosis: float | None = None,
    measure: Measure = HALF,
) -> Terms:
    """Return terms of the default certificate, with its own assumption at ``measure`` unless one is stated."""
    assumed = method_named(DEFAULT).kurtosis_of(answers, measure) if kurtosis is None else kurtosis
    return Terms(epsilon=epsilon, delta=delta, across=across, answers=answers, method=DEFAULT, kurtosis=assumed)


def quick(answers: Answers) -> Terms:
    """Return terms on which an honest claim is accepted after few pairs."""
    return terms(answers, kurtosis=QUICK_KURTOSIS)


def own_rounds(game: Game, *sizes: int, n_siblings: int = 1, rho: float = 0.0) -> Rounds:
    """Return the pilot and looks of these many families, all trained by the verifier itself."""
    complements = game.measure.has_complements
    kind = families(n_families=1, n_siblings=n_siblings, rho=rho, complements=complements)
    keep_16 = _OF_ITS_BASE_16 if n_siblings == 1 and complements else kind.keep_16
    bases = Bases.TILTED if complements else Bases.DRAWN
    looks = (
        Design(n_families=n, n_siblings=n_siblings, keep_16=keep_16, complements=complements, bases=bases)
        for n in sizes
    )
    return Rounds(looks=(pilot_design(game), *looks))


def product_rounds(game: Game, n_groups: int, size: int) -> Rounds:
    """Return the pilot and groups of independent pairs, drawn along no claim, for a bound by products across pairs."""
    return Rounds(looks=(pilot_design(game), *(pairs(size) for _ in range(n_groups))))


def delegated_rounds(game: Game, n_pairs: int, n_checks: int) -> Rounds:
    """Return the pilot and one answered round of ``n_pairs``, ``n_checks`` of them redone by the verifier."""
    answered = pairs(n_pairs, complements=game.measure.has_complements)
    return Rounds(looks=(pilot_design(game), answered), n_checks=n_checks)
