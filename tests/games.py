"""Games with known answers: f as a function of the subset alone, its gap in closed form, no training.

Each game is one target and ``best`` its best inclusion weights; a claim's true gap is then
``harmonic.gap(claimed, best, p)``. Sizes are free: up to 100,000 units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from protocol import harmonic
from protocol.encoding import Digest
from protocol.task import (
    ConstantColumns,
    Data,
    Numerics,
    Ridge,
    Scaling,
    SeedPolicy,
    TargetKind,
    Targets,
    Task,
    UnitKind,
    Units,
)


class Game(Protocol):
    """f on subsets, one target."""

    @property
    def n_units(self) -> int:
        """Return N."""

    @property
    def p(self) -> float:
        """Return the probability with which a unit is in."""

    def outputs(self, subsets: np.ndarray) -> np.ndarray:
        """Return f of each subset, shape (m, 1)."""

    @property
    def best(self) -> np.ndarray:
        """Return the best inclusion weights, shape (1, N)."""

    @property
    def variance(self) -> float:
        """Return Var f."""

    @property
    def largest(self) -> float:
        """Return a bound on |f| over all subsets."""


def task_of(n_units: int, *, n_targets: int = 1, p: float = 0.5, bound: float = 1e6, tolerance: float = 0.0) -> Task:
    """Return a task of the game's size. Its data are never read: a game needs no training."""
    return Task(
        data=Data(
            source="game", digest=Digest(bytes(32)), target_column="", contributor_column="", n_classes=0,
            n_train=n_units, n_test=n_targets, split_seed=0, constant_columns=ConstantColumns.REFUSE,
            scaling=Scaling.NONE,
        ),
        units=Units(kind=UnitKind.ROW, n=n_units),
        recipe=Ridge(l2=1.0),
        targets=Targets(
            kind=TargetKind.PREDICTION, rows=tuple(range(n_targets)), average=False,
            lo=np.full(n_targets, -bound), hi=np.full(n_targets, bound),
        ),
        p_16=round(65536 * p),
        seed_policy=SeedPolicy.SHARED,
        seed=0,
        numerics=Numerics(tolerance=tolerance),
    )  # fmt: skip


@dataclass(frozen=True)
class Polynomial:
    """Degrees one, two and three with Gaussian linear weights and disjoint products: all weights known.

    f = sum_i c_i phi_i + q * (mean of products phi_a phi_b) + k * (mean of products phi_a phi_b phi_c), with the means
    scaled so that W_1, W_2 and W_3 are exactly the three given.
    """

    n_units: int
    w1: float
    w2: float
    w3: float
    p: float = 0.5

    def _coefficients(self) -> np.ndarray:
        raw = np.random.default_rng(7).standard_normal(self.n_units)
        return np.asarray(raw * np.sqrt(self.w1 / (raw**2).sum()))

    def outputs(self, subsets: np.ndarray) -> np.ndarray:
        phi = harmonic.characters(subsets, self.p)
        out = phi @ self._coefficients()
        for degree, weight in ((2, self.w2), (3, self.w3)):
            m = self.n_units // degree
            products = np.prod(phi[:, : m * degree].reshape(len(phi), m, degree), axis=2)
            out = out + np.sqrt(weight / m) * products.sum(axis=1)
        return np.asarray(out[:, None])

    @property
    def best(self) -> np.ndarray:
        return harmonic.weights_from_coefficients(self._coefficients(), self.p)[None]

    @property
    def variance(self) -> float:
        return self.w1 + self.w2 + self.w3

    @property
    def largest(self) -> float:
        top = float(np.abs(harmonic.characters(np.array([[True, False]]), self.p)).max())
        degrees = ((2, self.w2), (3, self.w3))
        products = (np.sqrt(weight * (self.n_units // degree)) * top**degree for degree, weight in degrees)
        return float(np.abs(self._coefficients()).sum() * top + sum(products))


@dataclass(frozen=True)
class Parity:
    """The product of the first ``degree`` characters at p = 1/2: all weight at one degree, W_1 = 0 above degree one."""

    n_units: int
    degree: int
    p: float = 0.5

    def outputs(self, subsets: np.ndarray) -> np.ndarray:
        return np.asarray(np.prod(harmonic.characters(subsets[:, : self.degree], self.p), axis=1)[:, None])

    @property
    def best(self) -> np.ndarray:
        best = np.zeros((1, self.n_units))
        if self.degree == 1:
            best[0, 0] = 2.0
        return best

    @property
    def variance(self) -> float:
        return 1.0

    @property
    def largest(self) -> float:
        return 1.0


@dataclass(frozen=True)
class Majority:
    """+1 when more than half of an odd number of units are in, else -1, at p = 1/2.

    Every degree-one coefficient is C(N-1, (N-1)/2) / 2^(N-1).
    """

    n_units: int
    p: float = 0.5

    def outputs(self, subsets: np.ndarray) -> np.ndarray:
        return np.where(subsets.sum(axis=1) * 2 > self.n_units, 1.0, -1.0)[:, None]

    @property
    def best(self) -> np.ndarray:
        from scipy.special import gammaln

        n, half = self.n_units, (self.n_units - 1) / 2
        log_coefficient = gammaln(n) - 2 * gammaln(half + 1) - (n - 1) * np.log(2)
        return np.full((1, n), 2 * np.exp(log_coefficient))

    @property
    def variance(self) -> float:
        return 1.0

    @property
    def largest(self) -> float:
        return 1.0


@dataclass(frozen=True)
class Spikes:
    """A linear game plus a rare, large, odd spike: heavy tails, the hard case for a Gaussian assumption.

    The spike is +-height when the first ``width`` units are all in or all out: odd, with probability 2^(1-width).
    """

    n_units: int
    width: int
    height: float
    p: float = 0.5

    def outputs(self, subsets: np.ndarray) -> np.ndarray:
        first = subsets[:, : self.width]
        spike = self.height * (first.all(axis=1).astype(float) - (~first).all(axis=1))
        linear = harmonic.characters(subsets, self.p).sum(axis=1) / np.sqrt(self.n_units)
        return np.asarray((linear + spike)[:, None])

    @property
    def best(self) -> np.ndarray:
        coefficients = np.full(self.n_units, 1 / np.sqrt(self.n_units))
        coefficients[: self.width] += self.height * 2.0 ** (1 - self.width)
        return harmonic.weights_from_coefficients(coefficients, self.p)[None]

    @property
    def variance(self) -> float:
        cross = 2 * self.width / np.sqrt(self.n_units) * self.height * 2.0 ** (1 - self.width)
        return float(1.0 + self.height**2 * 2.0 ** (1 - self.width) + cross)

    @property
    def largest(self) -> float:
        return float(np.sqrt(self.n_units) + abs(self.height))


@dataclass(frozen=True)
class SparsePolynomial:
    """A few monomials over the first six units, up to degree three; every other unit counts for nothing."""

    n_units: int
    p: float = 0.5

    _TERMS = (
        ((0,), 0.8), ((1,), -0.5), ((2,), 0.3), ((0, 1), 0.4), ((3, 4), -0.3), ((0, 1, 2), 0.5), ((3, 4, 5), -0.4),
    )  # fmt: skip

    def outputs(self, subsets: np.ndarray) -> np.ndarray:
        phi = harmonic.characters(subsets[:, :6], self.p)
        total = sum(weight * np.prod(phi[:, list(units)], axis=1) for units, weight in self._TERMS)
        return np.asarray(total)[:, None]

    @property
    def best(self) -> np.ndarray:
        coefficients = np.zeros(self.n_units)
        for units, weight in self._TERMS:
            if len(units) == 1:
                coefficients[units[0]] = weight
        return harmonic.weights_from_coefficients(coefficients, self.p)[None]

    @property
    def variance(self) -> float:
        return float(sum(weight**2 for _, weight in self._TERMS))

    @property
    def largest(self) -> float:
        top = float(np.abs(harmonic.characters(np.array([[True, False]]), self.p)).max())
        return float(sum(abs(weight) * top ** len(units) for units, weight in self._TERMS))


@dataclass(frozen=True)
class HeavyTailed:
    """+-growth^L, L how many of the first ``width`` units are like the first one, which gives the sign; p = 1/2.

    L is geometric until it is cut at the width, so P(|f| > y) falls as y^(-ln 2 / ln growth) up to growth^width: at
    2^0.4 a Pareto tail of index 2.5, whose fourth moment grows with the width. Bounded and odd.
    """

    n_units: int
    width: int
    growth: float
    p: float = 0.5

    def outputs(self, subsets: np.ndarray) -> np.ndarray:
        alike = subsets[:, : self.width] == subsets[:, :1]
        streak = np.minimum.accumulate(alike, axis=1).sum(axis=1)
        return np.asarray(np.where(subsets[:, 0], 1.0, -1.0) * self.growth**streak)[:, None]

    def _chances(self) -> np.ndarray:
        """P(L = l) for l = 1 .. width."""
        chances = 0.5 ** np.arange(1, self.width + 1)
        chances[-1] *= 2
        return chances

    @property
    def best(self) -> np.ndarray:
        sizes = self._chances() * self.growth ** np.arange(1, self.width + 1)
        # |f| phi_1 phi_i is |f| where the streak reaches i, -|f| where it ends just before, 0 on average elsewhere.
        coefficients = np.zeros(self.n_units)
        coefficients[: self.width] = np.cumsum(sizes[::-1])[::-1]
        coefficients[1 : self.width] -= sizes[:-1]
        return harmonic.weights_from_coefficients(coefficients, self.p)[None]

    @property
    def variance(self) -> float:
        return float(self._chances() @ self.growth ** (2 * np.arange(1, self.width + 1)))

    @property
    def largest(self) -> float:
        return float(self.growth**self.width)
