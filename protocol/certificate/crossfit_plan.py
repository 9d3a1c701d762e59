"""How many pairs the cross-fit certificate needs (THEORY 5), from what the claim says of itself.

The forecast puts the expected value of every part into the certificate's own inequality. Its
figures are the prover's and its range a guess, so it plans and promises nothing: a lie, or a bad
guess, costs time.

Letters: m pairs a round, N units, g and v the expected relative gap and odd residual, R the
largest |r| in units of sd f, k pairs rechecked a round, c those that can be false all the same.
"""

from __future__ import annotations

import numpy as np

from protocol import harmonic
from protocol.certificate import concentration, crossfit, spot_check
from protocol.certificate.plan import Forecast, Outlook, Plan
from protocol.certificate.terms import Across, Assurance, Method, Terms
from protocol.claim import Claim
from protocol.errors import ArgumentError, BudgetError
from protocol.sampling import pairs
from protocol.task import Task

HALF_RANGE_SD = 5.0
"""Half a target's range in sd of f, as ``prover init`` proposes it."""


def half_range_of(task: Task, claim: Claim | None) -> float:
    """Return half the targets' ranges in sd of the claim, root mean square; a guess where there is no usable claim."""
    if claim is None or claim.scores.shape != (task.n_targets, task.n_units):
        return HALF_RANGE_SD
    variance = harmonic.linear_variance(claim.scores, task.p)
    if not bool((variance > 0).all()):
        return HALF_RANGE_SD
    return float(min(np.sqrt(((task.targets.width / 2) ** 2 / variance).mean()), 1e3))


def best_within(
    task: Task,
    *,
    epsilon: float,
    delta: float,
    across: Across,
    assurance: Assurance,
    outlook: Outlook,
    max_retrainings: int,
    max_answers: int = 20_000,
    n_checks: int | None = None,
    half_range_sd: float = HALF_RANGE_SD,
) -> Plan:
    """Return the plan with the fewest pairs whose forecast is at most epsilon; failing that, all that the budget buys.

    Parameters
    ----------
    max_retrainings : most trainings that the verifier will do, both rounds.
    max_answers : most trainings asked of the prover, both rounds; audited only.
    n_checks : pairs rechecked a round; by default all that ``max_retrainings`` buys.

    Raises
    ------
    BudgetError
        The budget does not reach the smallest round; it says what would.
    ArgumentError
        epsilon or delta out of range.
    """
    if not (0 < epsilon < 1 and 0 < delta < 1):
        raise ArgumentError(f"expected epsilon and delta strictly between 0 and 1, got {epsilon} and {delta}")
    audited, sides = assurance is Assurance.AUDITED, 2 if task.has_complements else 1
    budget = max_answers if audited else max_retrainings
    most = budget // (2 * sides)
    if most < crossfit.MIN_PAIRS:
        least = 2 * sides * crossfit.MIN_PAIRS
        raise BudgetError(f"expected a budget of at least {least} retrainings for crossfit, got {budget}: raise it")
    checks = 0
    if audited:
        checks = min(max_retrainings // (2 * sides), most) if n_checks is None else n_checks
        if not (1 <= checks <= most and 2 * sides * checks <= max_retrainings):
            raise BudgetError(f"expected a budget of at least {2 * sides * checks} retrainings, got {max_retrainings}")
    n_rows = task.n_targets if across is Across.EVERY else 1
    shape = _Shape(task, delta / n_rows, outlook, half_range_sd, checks)
    low, high = max(crossfit.MIN_PAIRS, checks), most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if shape.bound(middle) <= epsilon else (middle + 1, high)
    design, bound = pairs(high, complements=task.has_complements), shape.bound(high)
    terms = Terms(
        epsilon=epsilon, delta=delta, across=across, assurance=assurance, looks=(design, design), n_checks=checks,
        method=Method.CROSSFIT,
    )  # fmt: skip
    total = 2 * design.n_evaluations
    forecast = Forecast(median_bound=bound, power=float(bound <= epsilon))
    retrained = 2 * sides * checks if audited else total
    return Plan(
        terms=terms, first=forecast, last=forecast, n_retrained=(retrained, retrained),
        n_answered=(total, total) if audited else (0, 0), sufficient=bound <= epsilon,
    )  # fmt: skip


class _Shape:
    """What the search holds fixed."""

    def __init__(self, task: Task, delta: float, outlook: Outlook, half_range_sd: float, checks: int) -> None:
        self.n_units, self.outlook, self.checks = task.n_units, outlook, checks
        self.k = concentration.sub_gaussian_variance(task.p)
        self.half = half_range_sd
        self.largest = half_range_sd + crossfit.clip_level(crossfit.CLIP_ERROR) * np.sqrt(self.k * max(outlook.r2, 0.0))
        self.delta = 0.8 * delta if checks else delta
        self.check_delta = 0.1 * delta

    def bound(self, m: int) -> float:
        """The certificate's inequality, every part at its expectation, and 30% for what that leaves out."""
        g, v, share = self.outlook.relative_gap, self.outlook.residual, crossfit.SHARES
        n_false = spot_check.most_false(m, self.checks, self.check_delta) if self.checks else 0
        own = 2 * (self.checks or m)
        level = -np.log(self.delta * share["second moment"])
        second = v + np.sqrt(2 * level * 2 * v**2 / own) + self.largest**2 * level / (concentration.BET * own)
        norm = np.sqrt(g + self.n_units * v / m)
        alpha = self.delta * share["S"] / (2 if self.checks else 4)
        limit, hidden = crossfit.clipped_at(self.largest, self.k, m, alpha)
        level = -np.log(alpha)
        along = g / norm + np.sqrt(2 * level * v / m) + limit * level / (concentration.BET * m) + hidden
        along += n_false / m * (self.half + 1) * np.sqrt(2 * np.log(m / max(n_false, 1)) + 1)
        tail = self.delta * share["tail"] / 2
        slack = crossfit.slack_of(
            second, self.largest, self.k, m if self.checks else 2 * m, self.delta * share["t"], tail
        )
        slack += concentration.lies_along(m, n_false, self.half + 3, self.k, tail / 2)
        size = (slack + np.sqrt(slack**2 + 4 * norm * along)) / 2 + crossfit.CLIP_ERROR
        level = -np.log(self.delta * share["variance"] / 2)
        variance = 1 - np.sqrt(4 * level / own) - self.half**2 * level / (concentration.BET * own) * 0.1
        return float(1.3 * size**2 / variance) if variance > 0 else float("inf")
