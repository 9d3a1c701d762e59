"""Products across independent pairs, for few units and a small epsilon (THEORY 10.5).

Families charge the weight above degree one at rho^2. Products of pairs do not charge it at all, and their noise grows
with the root of the number of units. So where units are few, such as contributors, and epsilon is small beside the
residual, they need fewer retrainings. The bound is finite-sample under the same kurtosis. It is taken once, at the end:
each look is one group of the bound, and the number of groups and the cap are fixed before the first is drawn.

Letters: m pairs, G groups, N units, v the odd residual's mean square.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from protocol.certificate.gaussian import products, products_plan
from protocol.certificate.moments.certificate import (
    GAP_SHARE,
    MomentsCertificate,
    relative_upper,
    squares_shown,
    variance_shown,
)
from protocol.certificate.moments.plan import FLOOR, Shape, pilot_design
from protocol.certificate.moments.scales import Scales
from protocol.certificate.moments.tally import Rows, Tally
from protocol.certificate.planning import POWER, Budget, Forecast, Outlook, Plan
from protocol.certificate.readings import Readings
from protocol.certificate.terms import Across, Rounds, Terms
from protocol.game import Game
from protocol.game.sampling import Draw, pairs

MAX_UNITS = 2000
MAX_GROUPS = 32
FEWEST_PAIRS = 2 * FLOOR
"""Pairs are drawn without regard to the claim here, so more of them are asked for before any verdict."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """One look: residuals times the root of their weight, shape (n, T), and characters, shape (n, N)."""

    residual: Float64[np.ndarray, "n t"]
    characters: Float64[np.ndarray, "n u"]


def applies(game: Game, terms: Terms) -> bool:
    """Whether products can be planned: pairs at p = 1/2, few units, one row."""
    one_row = terms.across is Across.POOLED or game.n_targets == 1
    return game.measure.has_complements and game.n_units <= MAX_UNITS and one_row


def plan_products(game: Game, terms: Terms, budget: Budget, outlook: Outlook) -> Plan | None:
    """Return the pilot and the groups that reach POWER; None where they do not apply or the budget does not reach."""
    if not applies(game, terms):
        return None
    allowed = Shape(game=game, terms=terms, outlook=outlook).allowed(10 * FLOOR)
    outlook = replace(outlook, residual=outlook.residual * doubt(outlook.residual_sd, pilot_design(game).n_families))
    found = products_plan.plan_by_moments(
        game.n_units, epsilon=min(allowed, 0.999), alpha=GAP_SHARE * terms.delta, kurtosis=terms.kurtosis or 1.0,
        outlook=outlook, power=POWER,
    )  # fmt: skip
    pilot = pilot_design(game)
    if found is None or found.n_groups > MAX_GROUPS:
        return None
    size = -(-max(found.n_pairs, FEWEST_PAIRS) // found.n_groups)
    total = pilot.n_evaluations + 2 * size * found.n_groups
    if total > budget.max_retrainings:
        return None
    forecast = Forecast(median_bound=terms.epsilon, power=POWER)
    return Plan(
        rounds=Rounds(looks=(pilot, *(pairs(size) for _ in range(found.n_groups)))),
        first=forecast,
        last=forecast,
        n_retrained=(total, total),
        n_answered=(0, 0),
        expected_retrained=float(total),
        expected_answered=0.0,
        sufficient=True,
        summary=(
            f"a pilot of {pilot.n_evaluations}, then products across {found.n_groups} groups of {size} independent "
            f"subsets, each with its complement: {total} retrainings here"
        ),
    )


def group_of(game: Game, draw: Draw, readings: Readings, scales: Scales) -> Group:
    """Return what one look says."""
    members = np.arange(draw.design.n_families, dtype=np.int64) * draw.design.n_sides
    return Group(
        residual=np.asarray(readings.residual[:, 0] * np.sqrt(scales.weights)),
        characters=game.measure.characters(draw.subsets(game, members)),
    )


def certify(
    found: MomentsCertificate, groups: list[Group], tally: Tally, rows: Rows, scales: Scales
) -> MomentsCertificate:
    """Return the certificate with the gap bounded by products across the groups; everything else as ``found`` has it.

    The cap comes from the pilot, never from the claim. Assumes what ``products.upper_by_moments`` does.
    """
    residual = np.concatenate([group.residual for group in groups])
    characters = np.concatenate([group.characters for group in groups])
    gap = products.upper_by_moments(
        residual, characters, alpha=GAP_SHARE * found.delta, kurtosis=found.kurtosis, n_groups=len(groups),
        cap=cap_of(scales),
    )  # fmt: skip
    gaps = np.array([gap])
    squares = squares_shown(tally, rows, delta=found.delta)
    shown = variance_shown(tally, rows, squares, kurtosis=found.kurtosis, delta=found.delta)
    upper, variance, by_minkowski = relative_upper(gaps, rows, shown)
    return replace(found, upper=upper, gap_upper=gaps, variance_lower=variance, by_minkowski=by_minkowski)


def cap_of(scales: Scales) -> float:
    """The largest mean square that is taken off in a group, from the pilot alone."""
    seen = scales.seen
    return products_plan.CAP * max(seen.residual * doubt(seen.residual_sd, seen.n_subsets), 1e-12)


def doubt(residual_sd: float, n_subsets: int) -> float:
    """How many times the pilot's residual to reckon with: there is one look, and nothing can be put right after it."""
    return 1 + residual_sd / math.sqrt(n_subsets)
