"""Games that a search can bend: tables of a few units, functions of one count, and linear parts of given weights.

All have their best scores and their variance in closed form, as ``protocol.game.known`` has; these take their numbers
as arguments, so that a search can change any of them.

Letters: N units, T targets, phi_i the characters, c coefficients of degree one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
from jaxtyping import Bool, Float64
from scipy.stats import binom

from protocol.game.harmonic import characters, weights_from_coefficients
from protocol.game.known import Known


@dataclass(frozen=True)
class Weighted:
    """sum_i c_i phi_i."""

    coefficients: tuple[float, ...]
    p: float = 0.5

    @cached_property
    def _c(self) -> Float64[np.ndarray, " n"]:
        return np.array(self.coefficients)

    @property
    def n_units(self) -> int:
        """N."""
        return len(self.coefficients)

    def outputs(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m 1"]:
        """Return f, shape (m, 1)."""
        return np.asarray((characters(subsets, self.p) @ self._c)[:, None])

    @property
    def best(self) -> Float64[np.ndarray, "1 n"]:
        """The coefficients themselves."""
        return weights_from_coefficients(self._c, self.p)[None]

    @property
    def variance(self) -> float:
        """Var f."""
        return float(self._c @ self._c)

    @property
    def largest(self) -> float:
        """All units with their coefficients' signs."""
        return float(np.abs(self._c).sum() * np.sqrt(max(self.p, 1 - self.p) / min(self.p, 1 - self.p)))


@dataclass(frozen=True)
class Linears:
    """T linear targets of variance 1, with Gaussian coefficients fixed by ``seed``."""

    n_units: int
    n_targets: int
    seed: int = 7
    p: float = 0.5

    @cached_property
    def coefficients(self) -> Float64[np.ndarray, "t n"]:
        """c, shape (T, N)."""
        raw = np.random.default_rng(self.seed).standard_normal((self.n_targets, self.n_units))
        return np.asarray(raw / np.linalg.norm(raw, axis=1, keepdims=True))

    def outputs(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m t"]:
        """Return f, shape (m, T)."""
        return np.asarray(characters(subsets, self.p) @ self.coefficients.T)

    @property
    def best(self) -> Float64[np.ndarray, "t n"]:
        """The coefficients themselves."""
        return weights_from_coefficients(self.coefficients, self.p)

    @property
    def largest(self) -> float:
        """All units with their coefficients' signs."""
        top = np.sqrt(max(self.p, 1 - self.p) / min(self.p, 1 - self.p))
        return float(np.abs(self.coefficients).sum(axis=1).max() * top)


@dataclass(frozen=True)
class Table:
    """Any function of a few units: ``values[j]`` where bit i of j says whether ``units[i]`` is in."""

    n_units: int
    units: tuple[int, ...]
    values: tuple[float, ...]
    p: float = 0.5

    @cached_property
    def _v(self) -> Float64[np.ndarray, " k"]:
        return np.array(self.values)

    @cached_property
    def _law(self) -> tuple[Bool[np.ndarray, "k u"], Float64[np.ndarray, " k"]]:
        inside = (np.arange(len(self.values))[:, None] >> np.arange(len(self.units))) % 2 == 1
        n_in = inside.sum(axis=1)
        return inside, np.asarray(self.p**n_in * (1 - self.p) ** (len(self.units) - n_in))

    def outputs(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m 1"]:
        """Return f, shape (m, 1)."""
        number = subsets[:, list(self.units)].astype(np.int64) @ (1 << np.arange(len(self.units)))
        return np.asarray(self._v[number][:, None])

    @property
    def best(self) -> Float64[np.ndarray, "1 n"]:
        """E[f phi_i] over the table."""
        inside, chance = self._law
        coefficients = np.zeros(self.n_units)
        coefficients[list(self.units)] = characters(inside, self.p).T @ (chance * self._v)
        return weights_from_coefficients(coefficients, self.p)[None]

    @property
    def variance(self) -> float:
        """Var f."""
        chance = self._law[1]
        return float(chance @ self._v**2 - (chance @ self._v) ** 2)

    @property
    def largest(self) -> float:
        """Of the table."""
        return float(max(np.abs(self._v).max(), 1e-9))


@dataclass(frozen=True)
class Count:
    """Any function of how many of ``units`` are in: ``values[k]`` where k are."""

    n_units: int
    units: tuple[int, ...]
    values: tuple[float, ...]
    p: float = 0.5

    @cached_property
    def _v(self) -> Float64[np.ndarray, " k"]:
        return np.array(self.values)

    @cached_property
    def _law(self) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
        """How likely each count is, and the normalised count."""
        width = len(self.units)
        count = np.arange(width + 1)
        z = (count - width * self.p) / np.sqrt(width * self.p * (1 - self.p))
        return np.asarray(binom.pmf(count, width, self.p)), np.asarray(z)

    def outputs(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m 1"]:
        """Return f, shape (m, 1)."""
        return np.asarray(self._v[subsets[:, list(self.units)].sum(axis=1)][:, None])

    @property
    def best(self) -> Float64[np.ndarray, "1 n"]:
        """E[f z], shared out alike."""
        chance, z = self._law
        coefficients = np.zeros(self.n_units)
        coefficients[list(self.units)] = (chance * self._v * z).sum() / np.sqrt(len(self.units))
        return weights_from_coefficients(coefficients, self.p)[None]

    @property
    def variance(self) -> float:
        """Var f."""
        chance = self._law[0]
        return float(chance @ self._v**2 - (chance @ self._v) ** 2)

    @property
    def largest(self) -> float:
        """Of the values."""
        return float(max(np.abs(self._v).max(), 1e-9))


@dataclass(frozen=True, repr=False)
class Wide:
    """T linear targets with the coefficients given."""

    coefficients: tuple[tuple[float, ...], ...]
    p: float = 0.5

    def __repr__(self) -> str:
        """Names the game, in short: there may be many coefficients."""
        return f"Wide({sha256(self._c.tobytes()).hexdigest()}, p={self.p})"

    @cached_property
    def _c(self) -> Float64[np.ndarray, "t n"]:
        return np.array(self.coefficients)

    @property
    def n_units(self) -> int:
        """N."""
        return len(self.coefficients[0])

    def outputs(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m t"]:
        """Return f, shape (m, T)."""
        return np.asarray(characters(subsets, self.p) @ self._c.T)

    @property
    def best(self) -> Float64[np.ndarray, "t n"]:
        """The coefficients themselves."""
        return weights_from_coefficients(self._c, self.p)

    @property
    def largest(self) -> float:
        """All units with their coefficients' signs."""
        top = np.sqrt(max(self.p, 1 - self.p) / min(self.p, 1 - self.p))
        return float(np.abs(self._c).sum(axis=1).max() * top)


@dataclass(frozen=True)
class Repeated:
    """One target, T times."""

    game: Known
    n_targets: int

    @property
    def n_units(self) -> int:
        """N."""
        return self.game.n_units

    @property
    def p(self) -> float:
        """Of the game."""
        return self.game.p

    def outputs(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m t"]:
        """Return f, shape (m, T)."""
        return np.repeat(self.game.outputs(subsets), self.n_targets, axis=1)

    @property
    def best(self) -> Float64[np.ndarray, "t n"]:
        """The one target's."""
        return np.repeat(self.game.best, self.n_targets, axis=0)

    @property
    def largest(self) -> float:
        """Of the game."""
        return self.game.largest
