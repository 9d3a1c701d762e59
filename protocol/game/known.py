"""Games with closed-form answers: f as a formula of the subset, its best scores and its variance exact, no training.

Certificates are attacked on these: the true gap of any claim is known. Sizes are free, up to 100,000 units. A game
has one target unless it says otherwise; :class:`Stack` puts several beside each other, :class:`Sum` adds them up.

Letters: phi_i the characters, N units, W_1 the weight at degree one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float64
from scipy.special import gammaln
from scipy.stats import binom

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


def _best_of(coefficients: Float64[np.ndarray, " n"], p: float) -> Float64[np.ndarray, "1 n"]:
    return np.asarray(weights_from_coefficients(coefficients, p)[None])


def _top(p: float) -> float:
    """The largest |phi_i|."""
    return float(np.abs(characters(np.array([[True, False]]), p)).max())


@dataclass(frozen=True)
class Linear:
    """sum_i c_i phi_i with Gaussian c of a given total weight, fixed by ``seed``; over all units, or the first few."""

    n_units: int
    w1: float = 1.0
    seed: int = 7
    p: float = 0.5
    width: int | None = None

    @property
    def coefficients(self) -> Float64[np.ndarray, " n"]:
        """c_i, shape (N,)."""
        raw = np.random.default_rng(self.seed).standard_normal(self.n_units)
        raw[self.n_units if self.width is None else self.width :] = 0.0
        return np.asarray(raw * np.sqrt(self.w1 / (raw**2).sum()))

    def outputs(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m 1"]:
        """Return f, shape (m, 1)."""
        return np.asarray((characters(subsets, self.p) @ self.coefficients)[:, None])

    @property
    def best(self) -> Float64[np.ndarray, "1 n"]:
        """The coefficients themselves."""
        return _best_of(self.coefficients, self.p)

    @property
    def variance(self) -> float:
        """Var f."""
        return self.w1

    @property
    def largest(self) -> float:
        """All units with their coefficients' signs."""
        return float(np.abs(self.coefficients).sum() * _top(self.p))


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

    def _coefficients(self) -> Float64[np.ndarray, " n"]:
        return Linear(self.n_units, self.w1, p=self.p).coefficients

    def outputs(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m 1"]:
        """Return f, shape (m, 1)."""
        phi = characters(subsets, self.p)
        out = phi @ self._coefficients()
        for degree, weight in ((2, self.w2), (3, self.w3)):
            m = self.n_units // degree
            products = np.prod(phi[:, : m * degree].reshape(len(phi), m, degree), axis=2)
            out = out + np.sqrt(weight / m) * products.sum(axis=1)
        return np.asarray(out[:, None])

    @property
    def best(self) -> Float64[np.ndarray, "1 n"]:
        """The linear part."""
        return _best_of(self._coefficients(), self.p)

    @property
    def variance(self) -> float:
        """Var f."""
        return self.w1 + self.w2 + self.w3

    @property
    def largest(self) -> float:
        """Every term at its largest."""
        top, degrees = _top(self.p), ((2, self.w2), (3, self.w3))
        products = (np.sqrt(weight * (self.n_units // degree)) * top**degree for degree, weight in degrees)
        return float(np.abs(self._coefficients()).sum() * top + sum(products))


@dataclass(frozen=True)
class Parity:
    """The product of the first ``degree`` characters at p = 1/2: all weight at one degree, W_1 = 0 above degree one."""

    n_units: int
    degree: int
    p: float = 0.5

    def outputs(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m 1"]:
        """Return f, shape (m, 1)."""
        return np.asarray(np.prod(characters(subsets[:, : self.degree], self.p), axis=1)[:, None])

    @property
    def best(self) -> Float64[np.ndarray, "1 n"]:
        """Nothing but for degree one."""
        best = np.zeros((1, self.n_units))
        if self.degree == 1:
            best[0, 0] = 2.0
        return best

    @property
    def variance(self) -> float:
        """Var f."""
        return 1.0

    @property
    def largest(self) -> float:
        """1."""
        return 1.0


@dataclass(frozen=True)
class Majority:
    """+1 when more than half of an odd number of units are in, else -1, at p = 1/2.

    Every degree-one coefficient is C(N-1, (N-1)/2) / 2^(N-1).
    """

    n_units: int
    p: float = 0.5

    def outputs(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m 1"]:
        """Return f, shape (m, 1)."""
        return np.asarray(np.where(subsets.sum(axis=1) * 2 > self.n_units, 1.0, -1.0)[:, None])

    @property
    def best(self) -> Float64[np.ndarray, "1 n"]:
        """Twice the coefficient, every unit alike."""
        n, half = self.n_units, (self.n_units - 1) / 2
        log_coefficient = gammaln(n) - 2 * gammaln(half + 1) - (n - 1) * np.log(2)
        return np.full((1, n), 2 * np.exp(log_coefficient))

    @property
    def variance(self) -> float:
        """Var f."""
        return 1.0

    @property
    def largest(self) -> float:
        """1."""
        return 1.0


@dataclass(frozen=True)
class Spikes:
    """A linear game plus a rare odd spike: +-height when the first ``width`` units are all in or all out; p = 1/2."""

    n_units: int
    width: int
    height: float
    p: float = 0.5

    def outputs(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m 1"]:
        """Return f, shape (m, 1)."""
        first = subsets[:, : self.width]
        spike = self.height * (first.all(axis=1).astype(float) - (~first).all(axis=1))
        linear = characters(subsets, self.p).sum(axis=1) / np.sqrt(self.n_units)
        return np.asarray((linear + spike)[:, None])

    @property
    def best(self) -> Float64[np.ndarray, "1 n"]:
        """The linear part, and the spike's share in its own units."""
        coefficients = np.full(self.n_units, 1 / np.sqrt(self.n_units))
        coefficients[: self.width] += self.height * 2.0 ** (1 - self.width)
        return _best_of(coefficients, self.p)

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
class SparsePolynomial:
    """A few monomials over the first six units, up to degree three; every other unit counts for nothing."""

    n_units: int
    p: float = 0.5

    _TERMS = (
        ((0,), 0.8), ((1,), -0.5), ((2,), 0.3), ((0, 1), 0.4), ((3, 4), -0.3), ((0, 1, 2), 0.5), ((3, 4, 5), -0.4),
    )  # fmt: skip

    def outputs(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m 1"]:
        """Return f, shape (m, 1)."""
        phi = characters(subsets[:, :6], self.p)
        total = sum(weight * np.prod(phi[:, list(units)], axis=1) for units, weight in self._TERMS)
        return np.asarray(total)[:, None]

    @property
    def best(self) -> Float64[np.ndarray, "1 n"]:
        """The monomials of degree one."""
        coefficients = np.zeros(self.n_units)
        for units, weight in self._TERMS:
            if len(units) == 1:
                coefficients[units[0]] = weight
        return _best_of(coefficients, self.p)

    @property
    def variance(self) -> float:
        """Var f."""
        return float(sum(weight**2 for _, weight in self._TERMS))

    @property
    def largest(self) -> float:
        """Every monomial at its largest."""
        top = _top(self.p)
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

    def outputs(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m 1"]:
        """Return f, shape (m, 1)."""
        alike = subsets[:, : self.width] == subsets[:, :1]
        streak = np.minimum.accumulate(alike, axis=1).sum(axis=1)
        return np.asarray(np.where(subsets[:, 0], 1.0, -1.0) * self.growth**streak)[:, None]

    def _chances(self) -> Float64[np.ndarray, " w"]:
        """P(L = l) for l = 1 .. width."""
        chances = 0.5 ** np.arange(1, self.width + 1)
        chances[-1] *= 2
        return np.asarray(chances)

    @property
    def best(self) -> Float64[np.ndarray, "1 n"]:
        """|f| phi_1 phi_i is |f| where the streak reaches i, -|f| where it ends just before, 0 on average elsewhere."""
        sizes = self._chances() * self.growth ** np.arange(1, self.width + 1)
        coefficients = np.zeros(self.n_units)
        coefficients[: self.width] = np.cumsum(sizes[::-1])[::-1]
        coefficients[1 : self.width] -= sizes[:-1]
        return _best_of(coefficients, self.p)

    @property
    def variance(self) -> float:
        """Var f."""
        return float(self._chances() @ self.growth ** (2 * np.arange(1, self.width + 1)))

    @property
    def largest(self) -> float:
        """The longest streak."""
        return float(self.growth**self.width)


@dataclass(frozen=True)
class Threshold:
    """1 where at least ``least`` of ``width`` units from ``first`` on are in; a conjunction where least = width."""

    n_units: int
    width: int
    least: int
    first: int = 0
    p: float = 0.5

    def outputs(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m 1"]:
        """Return f, shape (m, 1)."""
        count = subsets[:, self.first : self.first + self.width].sum(axis=1)
        return np.asarray(count >= self.least, dtype=np.float64)[:, None]

    @property
    def best(self) -> Float64[np.ndarray, "1 n"]:
        """E[f | in] - E[f | out] = P(exactly least - 1 of the others are in)."""
        best = np.zeros((1, self.n_units))
        best[0, self.first : self.first + self.width] = binom.pmf(self.least - 1, self.width - 1, self.p)
        return best

    @property
    def variance(self) -> float:
        """Var f."""
        share = float(binom.sf(self.least - 1, self.width, self.p))
        return share * (1 - share)

    @property
    def largest(self) -> float:
        """1."""
        return 1.0


@dataclass(frozen=True)
class Alike:
    """1 where ``width`` units from ``first`` on are all in or all out: at p = 1/2 a rare even spike, with W_1 = 0."""

    n_units: int
    width: int
    first: int = 0
    p: float = 0.5

    def outputs(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m 1"]:
        """Return f, shape (m, 1)."""
        ours = subsets[:, self.first : self.first + self.width]
        return np.asarray(ours.all(axis=1) | ~ours.any(axis=1), dtype=np.float64)[:, None]

    @property
    def best(self) -> Float64[np.ndarray, "1 n"]:
        """E[f | in] - E[f | out]: the others all in, less the others all out."""
        best = np.zeros((1, self.n_units))
        others = self.width - 1
        best[0, self.first : self.first + self.width] = self.p**others - (1 - self.p) ** others
        return best

    @property
    def variance(self) -> float:
        """Var f."""
        share = self.p**self.width + (1 - self.p) ** self.width
        return share * (1 - share)

    @property
    def largest(self) -> float:
        """1."""
        return 1.0


@dataclass(frozen=True)
class CharacterWhereAlike:
    """phi of unit ``first`` where the next ``width`` units are all alike, else 0; p = 1/2."""

    n_units: int
    width: int
    first: int = 0
    p: float = 0.5

    def outputs(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m 1"]:
        """Return f, shape (m, 1)."""
        others = subsets[:, self.first + 1 : self.first + 1 + self.width]
        alike = np.asarray(others.all(axis=1) | ~others.any(axis=1))
        return np.asarray(characters(subsets[:, self.first : self.first + 1], self.p) * alike[:, None])

    @property
    def best(self) -> Float64[np.ndarray, "1 n"]:
        """How often the others are alike."""
        coefficients = np.zeros(self.n_units)
        coefficients[self.first] = 2.0 ** (1 - self.width)
        return _best_of(coefficients, self.p)

    @property
    def variance(self) -> float:
        """Var f."""
        return float(2.0 ** (1 - self.width))

    @property
    def largest(self) -> float:
        """1."""
        return 1.0


@dataclass(frozen=True)
class CharacterTimesSquare:
    """phi of unit ``first`` times S^2, S the normalised sum of the next ``width`` characters; W_1 = 1, on one unit."""

    n_units: int
    width: int
    first: int = 0
    p: float = 0.5

    def outputs(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m 1"]:
        """Return f, shape (m, 1)."""
        phi = characters(subsets[:, self.first : self.first + 1 + self.width], self.p)
        return np.asarray((phi[:, 0] * phi[:, 1:].sum(axis=1) ** 2 / self.width)[:, None])

    @property
    def best(self) -> Float64[np.ndarray, "1 n"]:
        """E S^2 = 1."""
        coefficients = np.zeros(self.n_units)
        coefficients[self.first] = 1.0
        return _best_of(coefficients, self.p)

    @property
    def variance(self) -> float:
        """E S^4: 3 less 2/width at p = 1/2."""
        excess = (1 - 6 * self.p * (1 - self.p)) / (self.p * (1 - self.p))
        return 3 + excess / self.width

    @property
    def largest(self) -> float:
        """Every character at its largest."""
        return float(_top(self.p) ** 3 * self.width)


SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "clip 1.5": lambda z: np.clip(z, -1.5, 1.5),
    "clip 2": lambda z: np.clip(z, -2.0, 2.0),
    "tanh": lambda z: np.tanh(z / 2),
    "bent": lambda z: z - 0.05 * z**3,
    "sinh": lambda z: np.sinh(0.8 * z),
    "cube": lambda z: z**3,
}
"""Functions of one normalised count that :class:`Bent` takes by name."""


@dataclass(frozen=True)
class Bent:
    """h(z), z the normalised sum of ``width`` characters from ``first`` on: a target that saturates along one count."""

    n_units: int
    shape: str
    width: int
    first: int = 0
    p: float = 0.5

    def outputs(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m 1"]:
        """Return f, shape (m, 1)."""
        count = subsets[:, self.first : self.first + self.width].sum(axis=1)
        values = np.asarray(SHAPES[self.shape](self._z(count)), dtype=np.float64)
        return np.asarray(values[:, None])

    def _z(self, count: np.ndarray) -> Float64[np.ndarray, " m"]:
        return np.asarray((count - self.width * self.p) / np.sqrt(self.width * self.p * (1 - self.p)))

    def _law(self) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
        count = np.arange(self.width + 1)
        z = self._z(count)
        return np.asarray(binom.pmf(count, self.width, self.p)), z, np.asarray(SHAPES[self.shape](z))

    @property
    def best(self) -> Float64[np.ndarray, "1 n"]:
        """E[h(z) z], shared out alike."""
        chance, z, h = self._law()
        coefficients = np.zeros(self.n_units)
        coefficients[self.first : self.first + self.width] = (chance * z * h).sum() / np.sqrt(self.width)
        return _best_of(coefficients, self.p)

    @property
    def variance(self) -> float:
        """Var f."""
        chance, _, h = self._law()
        return float((chance * h**2).sum() - (chance * h).sum() ** 2)

    @property
    def largest(self) -> float:
        """At either end of the count."""
        return float(np.abs(self._law()[2]).max())


@dataclass(frozen=True)
class Sum:
    """Games added up, each times its factor; they share units as they please."""

    games: tuple[Known, ...]
    factors: tuple[float, ...]

    @property
    def n_units(self) -> int:
        """N of the first; all agree."""
        return self.games[0].n_units

    @property
    def p(self) -> float:
        """Of the first; all agree."""
        return self.games[0].p

    def outputs(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m t"]:
        """Return f, shape (m, T)."""
        parts = zip(self.factors, self.games, strict=True)
        return np.asarray(sum(factor * game.outputs(subsets) for factor, game in parts), dtype=np.float64)

    @property
    def best(self) -> Float64[np.ndarray, "t n"]:
        """The best weights are linear in the game."""
        return np.asarray(sum(factor * game.best for factor, game in zip(self.factors, self.games, strict=True)))

    @property
    def largest(self) -> float:
        """No more than all at once."""
        return float(sum(abs(factor) * game.largest for factor, game in zip(self.factors, self.games, strict=True)))


@dataclass(frozen=True)
class Stack:
    """Games side by side, one after the other's targets; they share units as they please."""

    games: tuple[Known, ...]

    @property
    def n_units(self) -> int:
        """N of the first; all agree."""
        return self.games[0].n_units

    @property
    def p(self) -> float:
        """Of the first; all agree."""
        return self.games[0].p

    def outputs(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m t"]:
        """Return f, shape (m, T)."""
        return np.concatenate([game.outputs(subsets) for game in self.games], axis=1)

    @property
    def best(self) -> Float64[np.ndarray, "t n"]:
        """Game by game."""
        return np.concatenate([game.best for game in self.games])

    @property
    def largest(self) -> float:
        """Of the largest game."""
        return max(game.largest for game in self.games)


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
