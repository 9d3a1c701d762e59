"""Rare events and heavy tails, at p = 1/2."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from protocol.game.harmonic import characters
from protocol.game.known.game import Formula


@dataclass(frozen=True)
class Spikes(Formula):
    """A linear game plus a rare odd spike: +-height when the first ``width`` units are all in or all out; p = 1/2."""

    n_units: int
    width: int
    height: float
    p: float = 0.5

    def _of(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, " m"]:
        first = subsets[:, : self.width]
        spike = self.height * (first.all(axis=1).astype(float) - (~first).all(axis=1))
        return np.asarray(characters(subsets, self.p).sum(axis=1) / np.sqrt(self.n_units) + spike)

    @property
    def coefficients(self) -> Float64[np.ndarray, " n"]:
        """The linear part, and the spike's share in its own units."""
        coefficients = np.full(self.n_units, 1 / np.sqrt(self.n_units))
        coefficients[: self.width] += self.height * 2.0 ** (1 - self.width)
        return coefficients

    @property
    def variance(self) -> float:
        """Var f."""
        cross = 2 * self.width / np.sqrt(self.n_units) * self.height * 2.0 ** (1 - self.width)
        return float(1.0 + self.height**2 * 2.0 ** (1 - self.width) + cross)

    @property
    def largest(self) -> float:
        """Linear part and spike at once."""
        return float(np.sqrt(self.n_units) + abs(self.height))


@dataclass(frozen=True)
class HeavyTailed(Formula):
    """+-growth^L, L how many of the first ``width`` units are like the first one, which gives the sign; p = 1/2.

    L is geometric until it is cut at the width, so P(|f| > y) falls as y^(-ln 2 / ln growth) up to growth^width: at
    2^0.4 a Pareto tail of index 2.5, whose fourth moment grows with the width. Bounded and odd.
    """

    n_units: int
    width: int
    growth: float
    p: float = 0.5

    def _of(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, " m"]:
        alike = subsets[:, : self.width] == subsets[:, :1]
        streak = np.minimum.accumulate(alike, axis=1).sum(axis=1)
        return np.asarray(np.where(subsets[:, 0], 1.0, -1.0) * self.growth**streak)

    def _chances(self) -> Float64[np.ndarray, " w"]:
        """P(L = l) for l = 1 .. width."""
        chances = 0.5 ** np.arange(1, self.width + 1)
        chances[-1] *= 2
        return np.asarray(chances)

    @property
    def coefficients(self) -> Float64[np.ndarray, " n"]:
        """|f| phi_1 phi_i is |f| where the streak reaches i, -|f| where it ends just before, 0 on average elsewhere."""
        sizes = self._chances() * self.growth ** np.arange(1, self.width + 1)
        coefficients = np.zeros(self.n_units)
        coefficients[: self.width] = np.cumsum(sizes[::-1])[::-1]
        coefficients[1 : self.width] -= sizes[:-1]
        return coefficients

    @property
    def variance(self) -> float:
        """Var f."""
        return float(self._chances() @ self.growth ** (2 * np.arange(1, self.width + 1)))

    @property
    def largest(self) -> float:
        """The longest streak."""
        return float(self.growth**self.width)
