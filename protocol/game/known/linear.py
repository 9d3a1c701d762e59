"""Sums of characters: a linear claim tells them without error."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
from jaxtyping import Bool, Float64

from protocol.game.harmonic import characters, weights_from_coefficients
from protocol.game.known.game import Formula, top


class _Linear(Formula):
    """sum_i c_i phi_i."""

    def _of(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, " m"]:
        return np.asarray(characters(subsets, self.p) @ self.coefficients)

    @property
    def largest(self) -> float:
        """All units with their coefficients' signs."""
        return float(np.abs(self.coefficients).sum() * top(self.p))


@dataclass(frozen=True)
class Linear(_Linear):
    """sum_i c_i phi_i with Gaussian c of a given total weight, fixed by ``seed``; over all units, or the first few."""

    n_units: int
    w1: float = 1.0
    seed: int = 7
    p: float = 0.5
    width: int | None = None

    @cached_property
    def coefficients(self) -> Float64[np.ndarray, " n"]:
        """c_i, shape (N,)."""
        raw = np.random.default_rng(self.seed).standard_normal(self.n_units)
        raw[self.n_units if self.width is None else self.width :] = 0.0
        return np.asarray(raw * np.sqrt(self.w1 / (raw**2).sum()))

    @property
    def variance(self) -> float:
        """Var f."""
        return self.w1


@dataclass(frozen=True)
class Weighted(_Linear):
    """sum_i c_i phi_i with the c given."""

    given: tuple[float, ...]
    p: float = 0.5

    @property
    def n_units(self) -> int:  # type: ignore[override]
        """N."""
        return len(self.given)

    @cached_property
    def coefficients(self) -> Float64[np.ndarray, " n"]:
        """c_i, shape (N,)."""
        return np.array(self.given)

    @property
    def variance(self) -> float:
        """Var f."""
        return float(self.coefficients @ self.coefficients)


@dataclass(frozen=True, repr=False)
class Wide:
    """T linear targets with the coefficients given."""

    given: tuple[tuple[float, ...], ...]
    p: float = 0.5

    def __repr__(self) -> str:
        """Names the game, in short: there may be many coefficients."""
        return f"Wide({sha256(self.coefficients.tobytes()).hexdigest()}, p={self.p})"

    @cached_property
    def coefficients(self) -> Float64[np.ndarray, "t n"]:
        """c, shape (T, N)."""
        return np.array(self.given)

    @property
    def n_units(self) -> int:
        """N."""
        return len(self.given[0])

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
        return float(np.abs(self.coefficients).sum(axis=1).max() * top(self.p))


def linears(n_units: int, n_targets: int, seed: int = 7, p: float = 0.5) -> Wide:
    """Return T linear targets of variance 1, with Gaussian coefficients fixed by ``seed``."""
    raw = np.random.default_rng(seed).standard_normal((n_targets, n_units))
    scaled = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    return Wide(tuple(map(tuple, scaled.tolist())), p)
