"""Any function of a few units."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float64

from protocol.game.harmonic import characters
from protocol.game.known.game import Formula


@dataclass(frozen=True)
class Table(Formula):
    """``values[j]`` where bit i of j says whether ``units[i]`` is in."""

    n_units: int
    units: tuple[int, ...]
    values: tuple[float, ...]
    p: float = 0.5

    @cached_property
    def _v(self) -> Float64[np.ndarray, " k"]:
        return np.array(self.values)

    @cached_property
    def _law(self) -> tuple[Bool[np.ndarray, "k u"], Float64[np.ndarray, " k"]]:
        """Which units are in, and how likely that is, line by line."""
        inside = (np.arange(len(self.values))[:, None] >> np.arange(len(self.units))) % 2 == 1
        n_in = inside.sum(axis=1)
        return inside, np.asarray(self.p**n_in * (1 - self.p) ** (len(self.units) - n_in))

    def _of(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, " m"]:
        number = subsets[:, list(self.units)].astype(np.int64) @ (1 << np.arange(len(self.units)))
        return np.asarray(self._v[number])

    @property
    def coefficients(self) -> Float64[np.ndarray, " n"]:
        """E[f phi_i] over the table."""
        inside, chance = self._law
        coefficients = np.zeros(self.n_units)
        coefficients[list(self.units)] = characters(inside, self.p).T @ (chance * self._v)
        return coefficients

    @property
    def variance(self) -> float:
        """Var f."""
        chance = self._law[1]
        return float(chance @ (self._v - chance @ self._v) ** 2)

    @property
    def largest(self) -> float:
        """Of the table."""
        return float(max(np.abs(self._v).max(), 1e-9))
