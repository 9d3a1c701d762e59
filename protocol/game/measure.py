"""The law of random subsets: what is drawn, and what is known of it exactly (THEORY 1).

One law so far, B_p: every unit is in with probability p, independently. Whoever needs p, a
character, a variance or the complement rule asks the measure, so that a second law is one more
class here and no change elsewhere.

Letters: x in {0,1}^N a subset, phi_i(x) = (x_i - p)/sqrt(p(1-p)) its characters; theta inclusion
weights, c_i = theta_i sqrt(p(1-p)) their coefficients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float64
from scipy.stats import binom

from protocol.game import harmonic

HALF_16 = 1 << 15
"""Inclusion threshold of p = 1/2; only there does a subset have a complement (THEORY 2)."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """B_p: each unit is in with probability p, independently of the others.

    p_16 : a unit is in when a 16-bit draw is below it, so p = p_16 / 65536 exactly; from 1 to 65535.
        The statement that holds it checks the range.
    """

    p_16: int

    @property
    def p(self) -> float:
        """Probability that a unit is in a subset."""
        return self.p_16 / (1 << 16)

    @property
    def has_complements(self) -> bool:
        """Whether the complement of a subset is distributed like a subset: p = 1/2 (THEORY 2)."""
        return self.p_16 == HALF_16

    @property
    def n_sides(self) -> int:
        """Trainings of one independent draw: 2 where a subset comes with its complement, else 1."""
        return 2 if self.has_complements else 1

    @property
    def linear_kurtosis(self) -> float:
        """The least K that can be assumed of a family's square: what a claim's own linear error reaches (THEORY 2.7).

        A prover controls the linear part of a residual, so no smaller bound means anything. 3 at p = 1/2, whatever the
        siblings. Elsewhere one unit about a centre that is not quite its mean has 1 / min(p, 1-p), its mean over
        siblings up to 1.06 times that, and every other linear error at most 5.3.
        """
        if self.has_complements:
            return 3.0
        return max(5.3, 1.06 / min(self.p, 1 - self.p))

    @property
    def squared_linear_kurtosis(self) -> float:
        """The least kurtosis that can be assumed of a claim's squared linear part about a guess (THEORY 2.11).

        A claim whose scores are all off by one factor has this along itself. At p = 1/2 the square is a chi-square's in
        the limit of many units: 15 about its mean, and at most 16.2 about any other point. Elsewhere the largest over
        equal scores of 1 to 5,000 units, and a tenth more, because unequal scores reach up to 1.08 times that.
        """
        return math.ceil(10 * _squared_linear_kurtosis(min(self.p_16, (1 << 16) - self.p_16))) / 10  # to be printed

    def centred(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m n"]:
        """Return x_i - p, mean 0 exactly."""
        return np.asarray(subsets - self.p)

    def characters(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m n"]:
        """Return phi_i(x), mean 0 and variance 1."""
        return harmonic.characters(subsets, self.p)

    def coefficients(self, weights: Float64[np.ndarray, "*b n"]) -> Float64[np.ndarray, "*b n"]:
        """Return the coefficients c_i of inclusion weights."""
        return harmonic.coefficients_from_weights(weights, self.p)

    def mean_of(self, intercepts: Float64[np.ndarray, " t"], weights: Float64[np.ndarray, "t n"]) -> np.ndarray:
        """Return E g of g(x) = theta_0 + sum_i theta_i x_i, shape (T,)."""
        return np.asarray(intercepts + self.p * weights.sum(axis=1))

    def linear_variance(self, weights: Float64[np.ndarray, "*b n"]) -> Float64[np.ndarray, "*b"]:
        """Return Var g of g(x) = theta_0 + sum_i theta_i x_i, exactly."""
        return harmonic.linear_variance(weights, self.p)


HALF = Measure(p_16=HALF_16)
"""p = 1/2."""


@lru_cache(maxsize=64)
def _squared_linear_kurtosis(p_16: int) -> float:
    limit = _about_any_point(math.sqrt(8.0), 15.0)  # of a squared Gaussian
    if p_16 == HALF_16:
        return limit
    p, largest = p_16 / (1 << 16), limit
    for n in (*range(1, 65), *(2**k for k in range(7, 13)), 5000):
        count = np.arange(n + 1)
        chance, square = binom.pmf(count, n, p), (count - n * p) ** 2
        mean = float(chance @ square)
        off = (square - mean) / math.sqrt(float(chance @ (square - mean) ** 2))
        largest = max(largest, _about_any_point(float(chance @ off**3), float(chance @ off**4)))
    return 1.1 * largest


def _about_any_point(skewness: float, kurtosis: float) -> float:
    """The largest kurtosis about any point, E X^4 / (E X^2)^2, of a variable with these about its mean."""
    off = np.linspace(-1.0, 1.0, 2001)
    return float(((kurtosis + 4 * skewness * off + 6 * off**2 + off**4) / (1 + off**2) ** 2).max())
