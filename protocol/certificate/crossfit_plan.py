"""How many pairs the cross-fit certificate needs (THEORY 5), from what the claim says of itself.

The forecast puts the expected value of every part into the certificate's own inequality; a plan is
sufficient if the bound of nine runs in ten is forecast to be small enough, with a margin for what the
forecast leaves out. Its figures are the prover's and its range a guess: a lie, or a bad guess, costs time.

Letters: m_a and m_b pairs in rounds A and B, N units, g and v the expected relative gap and odd
residual, b the radius that residuals are drawn in to, all in units of sd f; k pairs of B
rechecked, c those that can be false all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np

from protocol import harmonic
from protocol.certificate import concentration, crossfit, spot_check
from protocol.certificate.forecast import Forecast, Outlook, rows_of
from protocol.certificate.plan import Plan
from protocol.certificate.terms import CHECK_SHARE, Across, Assurance, Method, Terms
from protocol.claim import Claim
from protocol.errors import ArgumentError, BudgetError
from protocol.sampling import pairs
from protocol.task import Task

HALF_RANGE_SD = 5.0
"""Half a target's range in sd of f, as ``prover init`` proposes it."""
LARGEST_RESIDUAL_SD = 3.0
"""The largest residual of a pilot, in its own sd: of a hundred Gaussian ones."""
POWER, CHANCE_SD = 0.9, 1.3
"""What is planned for: a test's mean that far above its own, and one pair outside the ball, as in a run of five."""
MARGIN = 1.06
"""Bounds are planned to be smaller than asked, for b and Var f vary, too."""
_MIXTURE = float(np.log(3))  # what three strategies of betting cost beside the best of them
_OWN_SHARES = (0.5, 0.6, 0.7, 0.8)  # of the pairs that an audit's verifier trains, those of round A


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
    """Return the plan with the fewest retrainings whose forecast is at most epsilon; failing that, all the budget buys.

    Of plans that ask as much of the verifier, the one with the fewest answers.

    Parameters
    ----------
    max_retrainings : most trainings that the verifier will do, both rounds and checks.
    max_answers : most trainings asked of the prover; audited only.
    n_checks : pairs of round B rechecked; by default a share of ``max_retrainings``.

    Raises
    ------
    BudgetError
        The budget does not reach the smallest rounds; it says what would.
    ArgumentError
        epsilon or delta out of range.
    """
    if not (0 < epsilon < 1 and 0 < delta < 1):
        raise ArgumentError(f"expected epsilon and delta strictly between 0 and 1, got {epsilon} and {delta}")
    sides = 2 if task.has_complements else 1
    n_rows = task.n_targets if across is Across.EVERY else 1
    worst = rows_of(n_rows, outlook.spread)[0][0]
    expected = replace(outlook, relative_gap=outlook.relative_gap * worst, residual=outlook.residual * worst)
    shape = _Shape(task, delta / n_rows, expected, half_range_sd)
    if assurance is Assurance.PROVED:
        m_a, m_b, checks = _proved(shape, epsilon, max_retrainings // sides, sides)
    else:
        m_a, m_b, checks = _audited(shape, epsilon, max_retrainings // sides, max_answers // sides, sides, n_checks)
    enough = shape.promised(m_a, m_b, checks) <= epsilon
    looks = tuple(pairs(m, complements=task.has_complements) for m in (m_b, m_a))
    terms = Terms(
        epsilon=epsilon, delta=delta, across=across, assurance=assurance, looks=looks, n_checks=checks,
        method=Method.CROSSFIT,
    )  # fmt: skip
    forecast = Forecast(median_bound=shape.bound(m_a, m_b, checks, 0.0), power=POWER if enough else 0.0)
    retrained, answered = sides * (m_a + (checks or m_b)), sides * m_b if checks else 0
    return Plan(
        terms=terms, first=forecast, last=forecast, n_retrained=(retrained, retrained),
        n_answered=(answered, answered), sufficient=enough,
    )  # fmt: skip


def _proved(shape: _Shape, epsilon: float, most: int, sides: int) -> tuple[int, int, int]:
    """Pairs in A and B, which are alike when all are the verifier's."""
    least = crossfit.MIN_PAIRS
    if most < 2 * least:
        raise _short(2 * sides * least, sides * most)
    m = _fewest(least, most // 2, lambda n: shape.promised(n, n, 0) <= epsilon)
    return m, m, 0


def _audited(
    shape: _Shape, epsilon: float, most: int, answers: int, sides: int, n_checks: int | None
) -> tuple[int, int, int]:
    """Pairs in A and B and checks: the fewest of the verifier's, then the fewest answers."""
    least = crossfit.MIN_PAIRS
    if answers < least:
        raise BudgetError(
            f"expected a budget of at least {sides * least} answers for crossfit, got {sides * answers}: raise "
            f"--max-answers to {sides * least}, where the server answers as many"
        )
    if n_checks is not None and not 1 <= n_checks <= answers:
        raise BudgetError(f"--n-checks: expected 1 to {answers} pairs, as many as are answered, got {n_checks}")
    fewest = least + (n_checks or 1)
    if most < fewest:
        raise _short(sides * fewest, sides * most)

    def split(own: int) -> tuple[int, int]:
        if n_checks is not None:
            return own - n_checks, n_checks
        parts = [max(least, min(int(share * own), own - 1)) for share in _OWN_SHARES]
        options = [(m_a, min(own - m_a, answers)) for m_a in parts]
        return min(options, key=lambda option: shape.promised(option[0], answers, option[1]))

    own = _fewest(fewest, most, lambda n: shape.promised(split(n)[0], answers, split(n)[1]) <= epsilon)
    m_a, checks = split(own)
    m_b = _fewest(max(least, checks), answers, lambda m: shape.promised(m_a, m, checks) <= epsilon)
    return m_a, m_b, checks


def _fewest(low: int, high: int, enough: Callable[[int], bool]) -> int:
    """The least n from ``low`` to ``high`` that is enough, to 1%; ``high`` where none is."""
    high = max(low, high)
    while low < high and high - low > high // 100:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return high


def _short(needed: int, got: int) -> BudgetError:
    return BudgetError(
        f"expected a budget of at least {needed} retrainings for crossfit, got {got}: "
        f"raise --max-retrainings to {needed}"
    )


class _Shape:
    """What the search holds fixed."""

    def __init__(self, task: Task, delta: float, outlook: Outlook, half_range_sd: float) -> None:
        self.n_units, self.outlook, self.delta, self.half = task.n_units, outlook, delta, half_range_sd
        self.moments = concentration.moments(task.p)
        self.radius = crossfit.RADIUS * LARGEST_RESIDUAL_SD * float(np.sqrt(outlook.residual))
        self.bound = lru_cache(maxsize=None)(self._bound)

    def promised(self, m_a: int, m_b: int, checks: int) -> float:
        """What POWER of all runs are forecast to stay below."""
        return MARGIN * self.bound(m_a, m_b, checks, CHANCE_SD)

    def _bound(self, m_a: int, m_b: int, checks: int, chance: float) -> float:
        """The certificate's inequality, every part at its expectation, the test's mean ``chance`` sd above."""
        g, v, share = self.outlook.relative_gap, self.outlook.residual, crossfit.SHARES
        delta, rest = self.delta * (1 - CHECK_SHARE if checks else 1.0), m_a - crossfit.pilot_pairs(m_a)
        own, n_all = rest + (checks or m_b), rest if checks else rest + m_b
        level = -np.log(delta * share["fourth moment"]) + _MIXTURE
        fourth = min(3 * v**2 + self.radius**4 * level / (concentration.BET * own), self.radius**4)
        slack = concentration.slack_of(
            fourth, self.radius, self.moments, n_all, delta * share["t"], delta * share["tail"]
        )  # fmt: skip
        alpha, norm = delta * share["S"] / (2 if checks else 4), self._norm(rest, g, v)
        along = self._along(rest, m_b, checks, alpha) + chance * np.sqrt(v / m_b + g * v / (rest * norm**2))
        outside = concentration.share_upper(int(chance > 0), own, delta * share["outside"])
        hidden = self.half * concentration.on_rare(self.moments, outside)
        hidden += concentration.product_on_rare(self.moments, self.moments, outside)
        size = (slack + np.sqrt(slack**2 + 4 * norm * along)) / 2 + hidden
        level = -np.log(delta * share["variance"] / 2) + _MIXTURE
        variance = 1 - np.sqrt(4 * level / own) - crossfit.CUT**2 * level / (concentration.BET * own) * 0.1
        return float(size**2 / variance) if variance > 0 else float("inf")

    def _norm(self, m: int, g: float, v: float) -> float:
        return float(np.sqrt(g + self.n_units * v / m))

    def _along(self, m_a: int, m_b: int, checks: int, alpha: float) -> float:
        """S: what is there, chance, what clipping hides, and lies."""
        g, v = self.outlook.relative_gap, self.outlook.residual
        level = -np.log(alpha) + (0.0 if checks else _MIXTURE)
        limit, cut = concentration.clipped_at(self.radius, self.moments, m_b, alpha)
        along = g / self._norm(m_a, g, v) + np.sqrt(2 * level * v / m_b) + limit * level / (concentration.BET * m_b)
        if checks:
            n_false = spot_check.most_false(m_b, checks, self.delta * CHECK_SHARE)
            largest = np.sqrt(2 * np.log(m_b / max(n_false, 1)) + 1)
            along += n_false / m_b * (self.radius + np.sqrt(v)) * largest
        return float(along + cut)
