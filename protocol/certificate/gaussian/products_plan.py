"""How many pairs products across pairs need, from what is expected of a claim (THEORY 10).

Two planners, one for each bound of ``products``. Both take the residual for Gaussian, which costs power where it is not
and touches no bound, and both ask when the bound of nine sessions in ten is at most epsilon.

Letters: m pairs, N units; g the relative gap expected of the claim, v its odd residual's share of Var f; G groups.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from protocol.certificate import quantiles
from protocol.certificate.gaussian import products
from protocol.certificate.gaussian.forecast import share_variance
from protocol.certificate.planning import Outlook
from protocol.errors import ArgumentError

MAX_PAIRS = 1 << 24
_GAUSSIAN_KURTOSIS = 3.0
_GROUPS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32)
CAP = 1.25
"""Of v. A smaller one would save a few pairs and leave less room for a residual that is larger than its figure."""


@dataclass(frozen=True, kw_only=True)
class GroupedPlan:
    """What ``products.upper_by_moments`` is to be given.

    n_pairs : pairs; at p = 1/2 two retrainings each.
    n_groups : G.
    cap : as a share of Var f: multiply by a variance that is known before the draw, such as the claim's own.
    """

    n_pairs: int
    n_groups: int
    cap: float


def pairs_needed(n_units: int, *, epsilon: float, delta: float, outlook: Outlook, power: float = 0.9) -> int | None:
    """Return the fewest pairs at which ``products.quick_upper`` over Var f reaches ``power``, or None where none do.

    Var f is estimated from the same pairs, the claim being a control variate (THEORY 10).

    Parameters
    ----------
    epsilon : relative gap to stay below.
    delta : probability that the bound fails.
    power : probability with which the claim shall be accepted.

    Raises
    ------
    ArgumentError
        A number out of range.
    """
    _check(n_units, epsilon, delta, power)
    return _fewest(lambda m: _quick_bound(m, n_units, delta, outlook, power) <= epsilon)


def plan_by_moments(
    n_units: int, *, epsilon: float, alpha: float, kurtosis: float, outlook: Outlook, power: float = 0.9
) -> GroupedPlan | None:
    """Return the fewest pairs at which ``products.upper_by_moments`` reaches ``power``, or None where none do.

    Parameters
    ----------
    epsilon : what W_1 over Var f may be. Where Var f comes from the claim's own variance by Minkowski's step, epsilon
        over (1 + sqrt epsilon)^2 in place of the relative gap to stay below.
    alpha : probability that the bound fails.
    kurtosis : K, as the bound will be given it.

    Raises
    ------
    ArgumentError
        A number out of range.
    """
    _check(n_units, epsilon, alpha, power)
    best: GroupedPlan | None = None
    for n_groups in _GROUPS:
        most = MAX_PAIRS if best is None else best.n_pairs - 1

        def passes(m: int, n_groups: int = n_groups) -> bool:
            return _moments_pass(m, n_groups, n_units, epsilon, alpha, kurtosis, outlook, power)

        found = _fewest(passes, least=3 * n_groups, most=most)
        if found is not None:
            best = GroupedPlan(n_pairs=found, n_groups=n_groups, cap=CAP * outlook.residual)
    return best


def _check(n_units: int, epsilon: float, delta: float, power: float) -> None:
    if n_units < 1 or not (0 < epsilon < 1 and 0 < delta < 1 and 0 < power < 1):
        raise ArgumentError(
            "products: expected at least one unit, and epsilon, delta and power between 0 and 1, got "
            f"{n_units}, {epsilon}, {delta} and {power}"
        )


def _fewest(passes: Callable[[int], bool], *, least: int = 3, most: int = MAX_PAIRS) -> int | None:
    """The least m from ``least`` to ``most`` that passes; None where ``most`` does not."""
    if most < least or not passes(most):
        return None
    low, high = least, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle) else (middle + 1, high)
    return high


def _high_estimate(m: int, n_units: int, outlook: Outlook, power: float, n_groups: int = 1) -> float:
    """U that only 1 - power of all sessions exceed; of groups, the mean of theirs."""
    g, v = outlook.relative_gap, outlook.residual
    along = 4 * products.along_factor(_GAUSSIAN_KURTOSIS) * v * g / m
    return g + float(special.ndtri(power)) * float(np.sqrt(along + 2 * n_units * v**2 * n_groups / m**2))


def _quick_bound(m: int, n_units: int, delta: float, outlook: Outlook, power: float) -> float:
    v, rest = outlook.residual, max(1 - min(outlook.r2, 1.0), outlook.residual)
    estimate = _high_estimate(m, n_units, outlook, power)
    upper = products.upper_root(
        estimate,
        float(special.ndtri(1 - delta)),
        4 * products.along_factor(_GAUSSIAN_KURTOSIS) * v / m,
        2 * n_units * v**2 / (m * (m - 1)),
    )
    noise = float(share_variance(np.full((1, 1, 1), v), np.full((1, 1, 1), rest)).max())
    error = -quantiles.t_quantile(delta, m - 1) * np.sqrt(noise / m)
    one = np.ones(1)
    ratio = quantiles.ratio_upper(
        over=estimate * one, over_upper=upper * one, under=one, under_lower=np.maximum(1 - error, 0.0) * one
    )
    return float(ratio[0])


def _moments_pass(
    m: int, n_groups: int, n_units: int, epsilon: float, alpha: float, kurtosis: float, outlook: Outlook, power: float
) -> bool:  # fmt: skip
    """Whether W_1 = epsilon is excluded in ``power`` of all sessions."""
    floor = products.fraction_left(m, kurtosis, products.SCALE_SHARE * alpha)
    size = m // n_groups
    if floor == 0 or size < 3:
        return False
    v, spread = outlook.residual, float(np.sqrt((_GAUSSIAN_KURTOSIS - 1) / size))
    v_most = v * (1 + float(special.ndtri(power)) * spread / np.sqrt(n_groups)) / floor
    beyond = (CAP - 1) / spread
    density = np.exp(-(beyond**2) / 2) / np.sqrt(2 * np.pi)
    hidden = n_units * v / (size - 1) * spread * (density - beyond * float(special.ndtr(-beyond)))  # squares above cap
    mean = _high_estimate(m, n_units, outlook, power, n_groups) + float(hidden)
    law = products.GroupLaw(n_units=n_units, n_groups=n_groups, size=size, cap=CAP * v, kurtosis=kurtosis)
    return v_most <= epsilon or law.excludes(epsilon, mean, v_most, (1 - products.SCALE_SHARE) * alpha)
