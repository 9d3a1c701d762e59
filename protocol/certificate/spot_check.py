"""What a clean spot check says about the answers that were not checked (THEORY 7).

Exact hypergeometric, because the checked answers are drawn without replacement.
Letters: m answers, k of them rechecked, c false ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from scipy.special import gammaln

from protocol.errors import ArgumentError

_LONGEST_PRODUCT = 4096  # factors; decides between two ways to one number
_TIE = 1e-9  # in the log: where the probability is delta itself, rounding must not drop a possibility


@dataclass(frozen=True, kw_only=True)
class SpotCheck:
    """One look's recheck.

    mismatches : evaluation numbers whose answer was false, ascending.
    largest_difference : over all rechecked outputs, in the targets' unit.
    most_false : with probability 1 - delta at most this many of the m answers are false; None
        when a mismatch was found, since then the session is over.
    """

    n_answers: int
    n_checked: int
    delta: float
    mismatches: tuple[int, ...]
    largest_difference: float
    most_false: int | None


def compare(
    *,
    evaluations: Int64[np.ndarray, " k"],
    answered: Float64[np.ndarray, "k t"],
    retrained: Float64[np.ndarray, "k t"],
    tolerance: float,
    n_answers: int,
    delta: float,
    size: int = 1,
) -> SpotCheck:
    """Compare the rechecked answers with what they should be.

    An answer is false unless every |difference| is within ``tolerance``; written so that a NaN is
    false. ``size`` answers are drawn and counted together: a pair is false when either of its two is.
    """
    difference = np.abs(answered - retrained)
    false = ~(difference <= tolerance).all(axis=1)
    mismatches = tuple(int(e) for e in evaluations[false])
    return SpotCheck(
        n_answers=n_answers // size,
        n_checked=len(evaluations) // size,
        delta=delta,
        mismatches=mismatches,
        largest_difference=float(difference.max()),
        most_false=None if mismatches else most_false(n_answers // size, len(evaluations) // size, delta),
    )


def detection_probability(n_answers: int, n_false: int, n_checked: int) -> float:
    """Return the probability that at least one of c false answers is among the k checked: 1 - C(m-c,k)/C(m,k)."""
    if not (0 <= n_false <= n_answers and 0 <= n_checked <= n_answers):
        raise ArgumentError(f"expected false and checked answers from 0 to {n_answers}, got {n_false} and {n_checked}")
    return float(-np.expm1(_log_miss(n_answers, n_false, n_checked)))


def most_false(n_answers: int, n_checked: int, delta: float) -> int:
    """Return the largest c that k clean checks leave possible: C(m-c,k)/C(m,k) >= delta.

    With more false answers than this, all k checks come out clean with probability below delta.
    """
    low, high = 0, n_answers - n_checked
    while low < high:  # the probability of a miss falls with c
        middle = (low + high + 1) // 2
        if _log_miss(n_answers, middle, n_checked) >= np.log(delta) - _TIE:
            low = middle
        else:
            high = middle - 1
    return low


def checks_needed(n_answers: int, n_false: int, delta: float) -> int:
    """Return the fewest checks k after which a clean outcome leaves at most ``n_false`` false answers."""
    low, high = 0, n_answers
    while low < high:
        middle = (low + high) // 2
        if most_false(n_answers, middle, delta) <= n_false:
            high = middle
        else:
            low = middle + 1
    return low


def _log_miss(m: int, c: int, k: int) -> float:
    """log of C(m-c, k) / C(m, k).

    The product of 1 - c/(m-i) over i < k; c and k may change places. Where both are large,
    log-gamma, whose error of 1e-6 at 5e7 answers is far below the step of k/m from one c to the next.
    """
    if c > m - k:
        return float("-inf")
    few, many = sorted((c, k))
    if few <= _LONGEST_PRODUCT:
        return float(np.log1p(-many / (m - np.arange(few))).sum())
    return float(gammaln(m - c + 1) - gammaln(m - c - k + 1) - gammaln(m + 1) + gammaln(m - k + 1))
