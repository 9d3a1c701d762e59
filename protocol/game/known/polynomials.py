"""Products of characters: every weight is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from protocol.game.harmonic import characters
from protocol.game.known.game import Formula, top
from protocol.game.known.linear import Linear


@dataclass(frozen=True)
class Polynomial(Formula):
    """Degrees one, two and three with Gaussian linear weights and disjoint products: all weights known.

    f = sum_i c_i phi_i + q * (mean of products phi_a phi_b) + k * (mean of products phi_a phi_b phi_c), with the means
    scaled so that W_1, W_2 and W_3 are exactly the three given.
    """

    n_units: int
    w1: float
    w2: float
    w3: float
    p: float = 0.5

    @property
    def coefficients(self) -> Float64[np.ndarray, " n"]:
        """The linear part's."""
        return Linear(self.n_units, self.w1, p=self.p).coefficients

    def _of(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, " m"]:
        phi = characters(subsets, self.p)
        out = phi @ self.coefficients
        for degree, weight in ((2, self.w2), (3, self.w3)):
            m = self.n_units // degree
            products = np.prod(phi[:, : m * degree].reshape(len(phi), m, degree), axis=2)
            out = out + np.sqrt(weight / m) * products.sum(axis=1)
        return np.asarray(out)

    @property
    def variance(self) -> float:
        """Var f."""
        return self.w1 + self.w2 + self.w3

    @property
    def largest(self) -> float:
        """Every term at its largest."""
        degrees = ((2, self.w2), (3, self.w3))
        products = (np.sqrt(weight * (self.n_units // degree)) * top(self.p) ** degree for degree, weight in degrees)
        return float(np.abs(self.coefficients).sum() * top(self.p) + sum(products))


@dataclass(frozen=True)
class Parity(Formula):
    """The product of the first ``degree`` characters at p = 1/2: all weight at one degree, W_1 = 0 above degree one."""

    n_units: int
    degree: int
    p: float = 0.5

    variance = 1.0
    largest = 1.0

    def _of(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, " m"]:
        return np.asarray(np.prod(characters(subsets[:, : self.degree], self.p), axis=1))

    @property
    def coefficients(self) -> Float64[np.ndarray, " n"]:
        """Nothing but for degree one."""
        coefficients = np.zeros(self.n_units)
        coefficients[0] = self.degree == 1
        return coefficients


@dataclass(frozen=True)
class SparsePolynomial(Formula):
    """A few monomials over the first six units, up to degree three; every other unit counts for nothing."""

    n_units: int
    p: float = 0.5

    _TERMS = (
        ((0,), 0.8), ((1,), -0.5), ((2,), 0.3), ((0, 1), 0.4), ((3, 4), -0.3), ((0, 1, 2), 0.5), ((3, 4, 5), -0.4),
    )  # fmt: skip

    def _of(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, " m"]:
        phi = characters(subsets[:, :6], self.p)
        return np.asarray(sum(weight * np.prod(phi[:, list(units)], axis=1) for units, weight in self._TERMS))

    @property
    def coefficients(self) -> Float64[np.ndarray, " n"]:
        """The monomials of degree one."""
        coefficients = np.zeros(self.n_units)
        for units, weight in self._TERMS:
            if len(units) == 1:
                coefficients[units[0]] = weight
        return coefficients

    @property
    def variance(self) -> float:
        """Var f."""
        return float(sum(weight**2 for _, weight in self._TERMS))

    @property
    def largest(self) -> float:
        """Every monomial at its largest."""
        return float(sum(abs(weight) * top(self.p) ** len(units) for units, weight in self._TERMS))
