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

    n_units: int
    p: float

    def outputs(self, subsets: np.ndarray) -> np.ndarray:
        """Return f of each subset, shape (m, 1)."""

    @property
    def best(self) -> np.ndarray:
        """Return the best inclusion weights, shape (1, N)."""

    @property
    def variance(self) -> float:
        """Return Var f."""


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
