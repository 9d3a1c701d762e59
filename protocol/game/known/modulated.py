"""A character times an amplitude that other units set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64
from scipy.stats import binom

from protocol.game.harmonic import characters, weights_from_coefficients
from protocol.game.known.game import Formula, top


class _OneUnit(Formula):
    """All that is linear in it lies on unit ``first``: its amplitude's mean."""

    first: int
    amplitude: float

    @property
    def coefficients(self) -> Float64[np.ndarray, " n"]:
        """The amplitude's mean, on one unit."""
        coefficients = np.zeros(self.n_units)
        coefficients[self.first] = self.amplitude
        return coefficients


@dataclass(frozen=True)
class CharacterWhereAlike(_OneUnit):
    """phi of unit ``first`` where the next ``width`` units are all alike, else 0; p = 1/2."""

    n_units: int
    width: int
    first: int = 0
    p: float = 0.5

    largest = 1.0

    def _of(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, " m"]:
        others = subsets[:, self.first + 1 : self.first + 1 + self.width]
        alike = others.all(axis=1) | ~others.any(axis=1)
        return np.asarray(characters(subsets[:, self.first : self.first + 1], self.p)[:, 0] * alike)

    @property
    def amplitude(self) -> float:  # type: ignore[override]
        """How often the others are alike."""
        return float(2.0 ** (1 - self.width))

    @property
    def variance(self) -> float:
        """Var f."""
        return self.amplitude


@dataclass(frozen=True)
class CharacterTimesSquare(_OneUnit):
    """phi of unit ``first`` times S^2, S the normalised sum of the next ``width`` characters; W_1 = 1, on one unit."""

    n_units: int
    width: int
    first: int = 0
    p: float = 0.5

    amplitude = 1.0

    def _of(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, " m"]:
        phi = characters(subsets[:, self.first : self.first + 1 + self.width], self.p)
        return np.asarray(phi[:, 0] * phi[:, 1:].sum(axis=1) ** 2 / self.width)

    @property
    def variance(self) -> float:
        """E S^4: 3 less 2/width at p = 1/2."""
        excess = (1 - 6 * self.p * (1 - self.p)) / (self.p * (1 - self.p))
        return 3 + excess / self.width

    @property
    def largest(self) -> float:
        """Every character at its largest."""
        return float(top(self.p) ** 3 * self.width)


@dataclass(frozen=True)
class SharedAmplitude:
    """T targets that err together: f_t = a(x) phi_t, a the size of a normalised sum of ``width`` other characters.

    ``flat`` takes a = 1 + phi_N-1 phi_N-2 in its place. Targets are the first T units' characters; p = 1/2.
    """

    n_units: int
    n_targets: int
    width: int = 9
    flat: bool = False
    p: float = 0.5

    def _amplitude(self, phi: Float64[np.ndarray, "m n"]) -> Float64[np.ndarray, " m"]:
        if self.flat:
            return np.asarray(1 + phi[:, -1] * phi[:, -2])
        return np.asarray(np.abs(phi[:, -self.width :].sum(axis=1)) / np.sqrt(self.width))

    def outputs(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m t"]:
        """Return f, shape (m, T)."""
        phi = characters(subsets, self.p)
        return np.asarray(self._amplitude(phi)[:, None] * phi[:, : self.n_targets])

    @property
    def best(self) -> Float64[np.ndarray, "t n"]:
        """E a on each target's own unit."""
        count = np.arange(self.width + 1)
        chance = binom.pmf(count, self.width, self.p)
        mean = 1.0 if self.flat else float((chance * np.abs(2 * count - self.width)).sum() / np.sqrt(self.width))
        coefficients = np.zeros((self.n_targets, self.n_units))
        coefficients[np.arange(self.n_targets), np.arange(self.n_targets)] = mean
        return np.asarray(weights_from_coefficients(coefficients, self.p))

    @property
    def largest(self) -> float:
        """The amplitude at its largest."""
        return 2.0 if self.flat else float(np.sqrt(self.width))
