"""Functions of how many of some units are in."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.stats import binom

from protocol.game.known.game import Formula

SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "clip 1.5": lambda z: np.clip(z, -1.5, 1.5),
    "clip 2": lambda z: np.clip(z, -2.0, 2.0),
    "tanh": lambda z: np.tanh(z / 2),
    "bent": lambda z: z - 0.05 * z**3,
    "sinh": lambda z: np.sinh(0.8 * z),
    "cube": lambda z: z**3,
}
"""Functions of one normalised count that :class:`Bent` takes by name."""


class _OfCount(Formula):
    """h(k), k how many of ``_units`` are in; the coefficients are E[h z], z the normalised count, shared out alike."""

    @property
    @abstractmethod
    def _units(self) -> slice | list[int]:
        """Which units count."""

    @property
    @abstractmethod
    def _n_counted(self) -> int:
        """How many they are."""

    @abstractmethod
    def _value(self, count: Int64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
        """h of every possible count, 0 to ``_n_counted``."""

    @cached_property
    def _law(self) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
        """How likely each count is, the normalised count, and h."""
        count = np.arange(self._n_counted + 1)
        chance = binom.pmf(count, self._n_counted, self.p)
        return np.asarray(chance), self._normalised(count), np.asarray(self._value(count), dtype=np.float64)

    def _normalised(self, count: Int64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
        width = self._n_counted
        return np.asarray((count - width * self.p) / np.sqrt(width * self.p * (1 - self.p)))

    def _of(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, " m"]:
        return np.asarray(self._law[2][subsets[:, self._units].sum(axis=1)])

    @property
    def coefficients(self) -> Float64[np.ndarray, " n"]:
        """E[h z] over the root of the number of units, each alike."""
        chance, z, h = self._law
        coefficients = np.zeros(self.n_units)
        coefficients[self._units] = (chance * z * h).sum() / np.sqrt(self._n_counted)
        return coefficients

    @property
    def variance(self) -> float:
        """Var f."""
        chance, _, h = self._law
        return float(chance @ (h - chance @ h) ** 2)

    @property
    def largest(self) -> float:
        """Of all counts."""
        return float(max(np.abs(self._law[2]).max(), 1e-9))


class _OfSome(_OfCount):
    """The units that count are ``width`` from ``first`` on."""

    width: int
    first: int

    @property
    def _units(self) -> slice:
        return slice(self.first, self.first + self.width)

    @property
    def _n_counted(self) -> int:
        return self.width


@dataclass(frozen=True)
class Threshold(_OfSome):
    """1 where at least ``least`` of ``width`` units from ``first`` on are in; a conjunction where least = width."""

    n_units: int
    width: int
    least: int
    first: int = 0
    p: float = 0.5

    def _value(self, count: Int64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
        return np.where(count >= self.least, 1.0, 0.0)


@dataclass(frozen=True)
class Alike(_OfSome):
    """1 where ``width`` units from ``first`` on are all in or all out: at p = 1/2 a rare even spike, with W_1 = 0."""

    n_units: int
    width: int
    first: int = 0
    p: float = 0.5

    def _value(self, count: Int64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
        return np.where((count == 0) | (count == self.width), 1.0, 0.0)


@dataclass(frozen=True)
class Bent(_OfSome):
    """h(z), z the normalised sum of ``width`` characters from ``first`` on: a target that saturates along one count."""

    n_units: int
    shape: str
    width: int
    first: int = 0
    p: float = 0.5

    def _value(self, count: Int64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
        return np.asarray(SHAPES[self.shape](self._normalised(count)))


@dataclass(frozen=True)
class Majority(_OfCount):
    """+1 when more than half of an odd number of units are in, else -1."""

    n_units: int
    p: float = 0.5

    _units = slice(None)

    @property
    def _n_counted(self) -> int:
        return self.n_units

    def _value(self, count: Int64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
        return np.where(2 * count > self.n_units, 1.0, -1.0)


@dataclass(frozen=True)
class Count(_OfCount):
    """Any function of how many of ``units`` are in: ``values[k]`` where k are."""

    n_units: int
    units: tuple[int, ...]
    values: tuple[float, ...]
    p: float = 0.5

    @property
    def _units(self) -> list[int]:
        return list(self.units)

    @property
    def _n_counted(self) -> int:
        return len(self.units)

    def _value(self, count: Int64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
        return np.asarray(np.array(self.values)[count])
