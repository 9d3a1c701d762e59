"""What a known game offers, and what all that are given by a formula and their coefficients share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float64

from protocol.game.game import SeedPolicy, Statement
from protocol.game.harmonic import characters, weights_from_coefficients
from protocol.game.measure import Measure


class Known(Protocol):
    """f on subsets, with its answers."""

    @property
    def n_units(self) -> int:
        """Return N."""

    @property
    def p(self) -> float:
        """Return the probability with which a unit is in."""

    def outputs(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m t"]:
        """Return f of each subset, shape (m, T)."""

    @property
    def best(self) -> Float64[np.ndarray, "t n"]:
        """Return the best inclusion weights, shape (T, N)."""

    @property
    def largest(self) -> float:
        """Return a bound on |f| over all subsets and targets."""


class OneTarget(Known, Protocol):
    """A known game of one target, whose variance is known, too."""

    @property
    def variance(self) -> float:
        """Return Var f."""


class Formula(ABC):
    """A game of one target: a formula of the subset, and its coefficients at degree one."""

    n_units: int
    p: float

    @abstractmethod
    def _of(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, " m"]:
        """Return f of each subset, shape (m,)."""

    @property
    @abstractmethod
    def coefficients(self) -> Float64[np.ndarray, " n"]:
        """Return E[f phi_i], shape (N,)."""

    def outputs(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m 1"]:
        """Return f of each subset, shape (m, 1)."""
        return np.asarray(self._of(subsets), dtype=np.float64)[:, None]

    @property
    def best(self) -> Float64[np.ndarray, "1 n"]:
        """The inclusion weights of the coefficients at degree one."""
        return np.asarray(weights_from_coefficients(self.coefficients, self.p)[None])


def statement_of(
    game: Known, *, n_targets: int = 1, bound: float | None = None, tolerance: float = 0.0, per_subset: bool = False
) -> Statement:
    """Return the statement of a known game, whose ranges reach as far as f does unless ``bound`` says otherwise."""
    reach = game.largest if bound is None else bound
    return Statement(
        name=f"known: {game!r}",
        n_units=game.n_units,
        lo=np.full(n_targets, -reach),
        hi=np.full(n_targets, reach),
        measure=Measure(p_16=round(65536 * game.p)),
        seed_policy=SeedPolicy.PER_SUBSET if per_subset else SeedPolicy.SHARED,
        tolerance=tolerance,
    )


def top(p: float) -> float:
    """Return the largest |phi_i|."""
    return float(np.abs(characters(np.array([[True, False]]), p)).max())
