"""What the search changes: residuals made of few interactions, and claims that leave exactly these (THEORY 1, 2).

A genome says what the residual of a claim is, up to its size, and in which direction the claim points. The claim's
length is then the one that makes the true relative gap what is asked, a root of a quadratic: any residual and any claim
come about so, a part that the claim misses, a claim that is tangent to f, and all between. Features of one genome stand
on units of their own, so that every variance is exact.

Letters: N units, T targets, W_1 the weight at degree one, z a normalised count.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from benchmarks.adversary.cases import Scaled
from benchmarks.adversary.listed import LYING
from benchmarks.adversary.sessions import HONEST, Case
from protocol.game.harmonic import coefficients_from_weights, weights_from_coefficients
from protocol.game.known import Count, OneTarget, Repeated, Sum, Table, Weighted, Wide

KINDS = (
    "conjunction", "threshold", "multiplexer", "product of sums", "where alike", "even spike", "table", "odd power",
    "soft threshold", "saturation", "growth", "step of a count",
)  # fmt: skip
AIMS = ("elsewhere", "along the error", "against the error", "the feature's units", "balanced on them", "one unit")
FIGURES = {"honest": HONEST, **LYING}
SIMPLE = frozenset({"conjunction", "threshold"})
"""Features for whose kurtosis the default promises its level up to 24 where they stand alone."""

_TARGETS = (1,) * 12 + (2, 2, 3, 5, 20, 20, 100, 500)


@dataclass(frozen=True)
class Feature:
    """One part of a residual: its kind, about how many units it is, a bend in [0, 1], a seed for signs and values.

    keep : its own linear part is taken so many times; 1 leaves it as it is, another number is what a claim that is too
    large or too small along it leaves.
    """

    kind: str
    width: int
    bend: float
    seed: int
    factor: float
    keep: float = 1.0

    def __str__(self) -> str:
        """In words."""
        kept = "" if self.keep == 1 else f", linear part x {self.keep:.2f}"
        return f"{self.factor:.3g} x {self.kind} of {self.width} units (bend {self.bend:.2f}, seed {self.seed}{kept})"


@dataclass(frozen=True)
class Genome:
    """One candidate.

    features : the residual. linear : its linear part beside them, as a share of its standard deviation, in a random
    direction. aims : how much the claim points where, by AIMS. noise : seed noise over the residual's deviation.
    spread : how unlike the targets are; targets share the residual and differ in its factor and in their claims.
    lies : of the false answers that clean checks leave possible, the share that is given where a prover answers.
    """

    features: tuple[Feature, ...]
    linear: float
    aims: tuple[float, ...]
    p: float
    n_targets: int
    spread: float
    noise: float
    figures: str
    lies: float
    seed: int

    def __str__(self) -> str:
        """In words, with all that it takes to build it again."""
        aims = ", ".join(f"{w:.2g} {aim}" for w, aim in zip(self.aims, AIMS, strict=True) if abs(w) > 0.005)
        said = " + ".join(map(str, self.features))
        rest = f"; linear part {self.linear:.2g}" if self.linear else ""
        rest += f"; seed noise {self.noise:.2g}" if self.noise else ""
        rest += f"; {self.n_targets} targets, spread {self.spread:.2g}" if self.n_targets > 1 else ""
        return f"{said}{rest}; claim: {aims}; p = {self.p:.4g}; figures {self.figures}; seed {self.seed}"

    @property
    def is_simple(self) -> bool:
        """Whether the residual is one conjunction or threshold alone."""
        first = self.features[0]
        alone = len(self.features) == 1 and not self.linear and not self.noise
        return alone and first.kind in SIMPLE and first.keep == 1


# ------------------------------------------------------------------------------------------------------- genomes


def random_genome(rng: np.random.Generator) -> Genome:
    """Return a candidate drawn at random; most have one feature, one target and p = 1/2."""
    if rng.random() < 0.3:
        return _tangent(rng)
    n_features = int(rng.choice([1, 1, 1, 2, 2, 3]))
    aims = np.where(rng.random(len(AIMS)) < 0.4, rng.random(len(AIMS)), 0.0)
    aims[int(rng.integers(len(AIMS)))] = 1.0
    return Genome(
        features=tuple(_random_feature(rng) for _ in range(n_features)),
        linear=float(rng.choice([0.0, 0.0, rng.random()])),
        aims=tuple(map(float, aims)),
        p=0.5 if rng.random() < 0.85 else _random_p(rng),
        n_targets=int(rng.choice(_TARGETS)),
        spread=float(rng.random()),
        noise=float(rng.choice([0.0, 0.0, 0.0, rng.random()])),
        figures=str(rng.choice(list(FIGURES))),
        lies=float(rng.uniform(0.02, 1)),
        seed=int(rng.integers(1 << 16)),
    )


def _random_p(rng: np.random.Generator) -> float:
    return round(float(rng.uniform(0.3, 0.7)) * 65536) / 65536


def _tangent(rng: np.random.Generator) -> Genome:
    """A function of one count, and a claim along that count."""
    feature = replace(_random_feature(rng), kind=str(rng.choice(list(_OF_COUNTS))), keep=float(rng.normal(0, 0.4)))
    return replace(_one(feature, "the feature's units"), seed=int(rng.integers(1 << 16)))


def _random_feature(rng: np.random.Generator) -> Feature:
    return Feature(
        kind=str(rng.choice(KINDS)), width=int(rng.integers(2, 25)), bend=float(rng.random()),
        seed=int(rng.integers(1 << 16)), factor=float(np.exp(rng.normal(0, 1))),
        keep=float(rng.choice([1.0, 1.0, rng.normal(0, 0.5), rng.uniform(-2, 3)])),
    )  # fmt: skip


def known_hard() -> list[Genome]:
    """Return the cases that certificates have failed on (THEORY 1, 2), for a search to begin with."""
    tangent, elsewhere, balanced = "the feature's units", "elsewhere", "balanced on them"
    return [
        _one(Feature("saturation", 24, 0.75, 0, 1.0, keep=-0.22), tangent),
        _one(Feature("saturation", 24, 0.5, 0, 1.0, keep=-0.22), tangent),
        _one(Feature("odd power", 24, 0.2, 0, 1.0, keep=-0.25), tangent),
        _one(Feature("growth", 24, 0.42, 0, 1.0, keep=0.2), tangent),
        _one(Feature("odd power", 6, 0.2, 0, 1.0), balanced),
        _one(Feature("growth", 6, 1.0, 0, 1.0), balanced),
        _one(Feature("conjunction", 5, 1.0, 0, 1.0), elsewhere),
        _one(Feature("conjunction", 5, 1.0, 0, 1.0), balanced),
        _one(Feature("where alike", 6, 0.0, 0, 1.0), elsewhere),
        _one(Feature("product of sums", 9, 0.2, 0, 1.0), elsewhere),
        _one(Feature("threshold", 20, 0.5, 0, 1.0), elsewhere),
        _one(Feature("threshold", 11, 0.62, 0, 1.0), elsewhere),
    ]


def _one(feature: Feature, aim: str) -> Genome:
    return Genome(
        features=(feature,), linear=0.0, aims=tuple(float(each == aim) for each in AIMS), p=0.5, n_targets=1,
        spread=0.0, noise=0.0, figures="honest", lies=0.5, seed=1,
    )  # fmt: skip


def mutated(genome: Genome, rng: np.random.Generator) -> Genome:
    """Return the genome with one or two things changed, most often a little."""
    for _ in range(int(rng.integers(1, 3))):
        change = _CHANGES[int(rng.integers(len(_CHANGES)))]
        genome = change(genome, rng)
    return genome


def _feature(genome: Genome, rng: np.random.Generator) -> Genome:
    """One feature a little other."""
    i = int(rng.integers(len(genome.features)))
    old = genome.features[i]
    new = (
        replace(old, width=int(np.clip(old.width + rng.integers(-2, 3), 2, 40))),
        replace(old, bend=float(np.clip(old.bend + rng.normal(0, 0.1), 0, 1))),
        replace(old, factor=float(old.factor * np.exp(rng.normal(0, 0.4)))),
        replace(old, seed=int(rng.integers(1 << 16))),
        replace(old, keep=float(rng.choice([1.0, *(old.keep + rng.normal(0, 0.2, size=3))]))),
    )[int(rng.integers(5))]
    return replace(genome, features=(*genome.features[:i], new, *genome.features[i + 1 :]))


def _features(genome: Genome, rng: np.random.Generator) -> Genome:
    """A feature more, or one less."""
    if len(genome.features) > 1 and rng.random() < 0.5:
        i = int(rng.integers(len(genome.features)))
        return replace(genome, features=genome.features[:i] + genome.features[i + 1 :])
    if len(genome.features) < 3:
        return replace(genome, features=(*genome.features, _random_feature(rng)))
    return genome


def _aims(genome: Genome, rng: np.random.Generator) -> Genome:
    aims = list(genome.aims)
    i = int(rng.integers(len(aims)))
    aims[i] = float(rng.choice([0.0, 1.0, abs(aims[i] + rng.normal(0, 0.3))]))
    return replace(genome, aims=tuple(aims) if any(aims) else genome.aims)


def _linear(genome: Genome, rng: np.random.Generator) -> Genome:
    return replace(genome, linear=float(rng.choice([0.0, abs(genome.linear + rng.normal(0, 0.3))])))


def _noise(genome: Genome, rng: np.random.Generator) -> Genome:
    return replace(genome, noise=float(rng.choice([0.0, abs(genome.noise + rng.normal(0, 0.2))])))


def _targets(genome: Genome, rng: np.random.Generator) -> Genome:
    spread = float(np.clip(genome.spread + rng.normal(0, 0.3), 0, 1))
    return replace(genome, n_targets=int(rng.choice(_TARGETS)), spread=spread)


def _design(genome: Genome, rng: np.random.Generator) -> Genome:
    p = float(rng.choice([0.5, 0.5, genome.p, _random_p(rng)]))
    return replace(genome, p=p, figures=str(rng.choice(list(FIGURES))))


def _lies(genome: Genome, rng: np.random.Generator) -> Genome:
    return replace(genome, lies=float(np.clip(genome.lies * np.exp(rng.normal(0, 0.4)), 0.01, 1.0)))


_CHANGES: tuple[Callable[[Genome, np.random.Generator], Genome], ...] = (
    _feature, _feature, _feature, _features, _aims, _aims, _linear, _noise, _targets, _design, _lies,
)  # fmt: skip


# --------------------------------------------------------------------------------------------------------- cases


def built(genome: Genome, share: float) -> Case | None:
    """Return the genome's case at a true relative gap of ``share``; None where there is none.

    There is none where less than ``share`` of the residual is at degree one, or where the residual is constant.
    """
    games, units, n_units = _placed(genome)
    p, rng = genome.p, np.random.default_rng(genome.seed)
    hats = np.array([coefficients_from_weights(game.best[0], p) for game in games])
    deviation = math.sqrt(sum(game.variance for game in games))
    if not deviation > 0:
        return None
    own = rng.standard_normal(n_units)
    own *= genome.linear * deviation / np.linalg.norm(own)
    for feature, hat in zip(genome.features, hats, strict=True):
        own += (feature.keep - 1) * hat
    error = hats.sum(axis=0) + own
    variance = sum(game.variance for game in games) + float(own @ own) + 2 * float(own @ hats.sum(axis=0))
    factors = 1 + genome.spread * np.random.default_rng(genome.seed + 1).standard_normal(genome.n_targets)
    if genome.n_targets == 1:
        factors = np.ones(1)
    rows = [_claimed(genome, t, error, units, rng) for t in range(genome.n_targets)]
    sizes = [_length(row, factor, error, variance, genome.noise**2 * variance, share) for row, factor in
             zip(rows, factors, strict=True)]  # fmt: skip
    if any(size is None for size in sizes):
        return None
    claimed = np.array([size * row for size, row in zip(sizes, rows, strict=True) if size is not None])
    return _case(genome, games, own, factors, claimed, variance)


def _case(
    genome: Genome, games: list[OneTarget], own: Float64[np.ndarray, " n"], factors: Float64[np.ndarray, " t"],
    claimed: Float64[np.ndarray, "t n"], variance: float,
) -> Case:  # fmt: skip
    """f = claim + factor (features + own linear part), target by target."""
    p = genome.p
    error = Sum((Weighted(tuple(own), p), *games), (1.0,) * (1 + len(games)))
    hat = coefficients_from_weights(error.best[0], p)
    linear = Wide(tuple(map(tuple, claimed)), p)
    variances = (claimed**2).sum(axis=1) + 2 * factors * (claimed @ hat) + factors**2 * variance
    return Case(
        name=str(genome), game=Scaled(linear, Repeated(error, len(factors)), tuple(factors)),
        scores=weights_from_coefficients(claimed, p), variance=variances, figures=FIGURES[genome.figures],
        noise=genome.noise * math.sqrt(variance),
    )  # fmt: skip


def _length(
    direction: Float64[np.ndarray, " n"], factor: float, error: Float64[np.ndarray, " n"], variance: float,
    noise: float, share: float,
) -> float | None:  # fmt: skip
    """Return the claim's length: the positive root of length^2 + 2 length <u, e> + Var r + noise^2 = W_1 / share."""
    along = factor * float(direction @ error)
    room = along**2 - factor**2 * variance - noise + factor**2 * float(error @ error) / share
    length = -along + math.sqrt(room) if room > 0 else 0.0
    return length if length > 0 else None


def _claimed(
    genome: Genome, target: int, error: Float64[np.ndarray, " n"], units: list[int], rng: np.random.Generator
) -> Float64[np.ndarray, " n"]:
    """The direction of one target's claim."""
    n = len(error)
    elsewhere = rng.standard_normal(n)
    on = np.zeros(n)
    on[units] = 1.0
    balanced = np.zeros(n)
    balanced[units] = np.where(np.arange(len(units)) % 2 == 0, 1.0, -1.0)
    one = np.eye(n)[(genome.seed + target) % n]
    parts = (elsewhere, error, -error, on, balanced, one)
    lengths = [max(float(np.linalg.norm(part)), 1e-300) for part in parts]
    total = sum(w * part / length for w, part, length in zip(genome.aims, parts, lengths, strict=True))
    length = float(np.linalg.norm(total))
    return np.asarray(total / length if length > 1e-9 else elsewhere / lengths[0])


def _placed(genome: Genome) -> tuple[list[OneTarget], list[int], int]:
    """The features on units of their own, the first's units, and N."""
    widths = [_n_units(feature) for feature in genome.features]
    n_units = max(24, sum(widths) + 4)
    games, start = [], 0
    for feature, width in zip(genome.features, widths, strict=True):
        games.append(_game(feature, n_units, tuple(range(start, start + width)), genome.p))
        start += width
    return games, list(range(widths[0])), n_units


def _n_units(feature: Feature) -> int:
    """How many units a feature takes: tables are of few."""
    match feature.kind:
        case "conjunction" | "even spike" | "where alike":
            return min(feature.width, 8)
        case "multiplexer":
            return 6 if feature.width < 14 else 11
        case "product of sums":
            return min(max(feature.width, 3), 11)
        case "table":
            return min(feature.width, 6)
        case _:
            return max(feature.width, 3)


def _game(feature: Feature, n_units: int, units: tuple[int, ...], p: float) -> OneTarget:
    width = len(units)
    if feature.kind in _OF_COUNTS:
        z = (np.arange(width + 1) - width * p) / math.sqrt(width * p * (1 - p))
        values = _OF_COUNTS[feature.kind](z, feature.bend)
        return Count(n_units, units, _scaled(values, feature.factor), p)
    inside = (np.arange(1 << width)[:, None] >> np.arange(width)) % 2 == 1
    rng = np.random.default_rng(feature.seed)
    return Table(n_units, units, _scaled(_OF_UNITS[feature.kind](inside, feature.bend, rng), feature.factor), p)


def _scaled(values: np.ndarray, factor: float) -> tuple[float, ...]:
    """Values times the factor over their spread; all 0 where they are constant."""
    spread = float(np.std(values.astype(np.float64)))
    return tuple(map(float, factor * values / spread)) if spread > 0 else tuple(map(float, 0.0 * values))


_OF_COUNTS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "threshold": lambda z, bend: (z >= np.quantile(z, 0.5 + 0.5 * min(bend, 0.999))).astype(float),
    "odd power": lambda z, bend: z**3 if bend < 0.7 else z**5,
    "soft threshold": lambda z, bend: np.sign(z) * np.maximum(np.abs(z) - 3 * bend, 0.0),
    "saturation": lambda z, bend: np.clip(z, -0.5 - 2 * bend, 0.5 + 2 * bend),
    "growth": lambda z, bend: np.sinh((0.3 + 1.2 * bend) * z),
    "step of a count": lambda z, bend: np.sign(z) * (np.abs(z) >= 3 * bend),
}
"""Functions of a normalised count; ``bend`` says how far out they bend."""


def _conjunction(inside: np.ndarray, bend: float, rng: np.random.Generator) -> np.ndarray:
    """All of the units as a random sign wants them, or all in."""
    wanted = rng.random(inside.shape[1]) < 0.5 if bend < 0.5 else np.ones(inside.shape[1], dtype=bool)
    return np.asarray((inside == wanted).all(axis=1).astype(float))


def _multiplexer(inside: np.ndarray, bend: float, rng: np.random.Generator) -> np.ndarray:
    """The address bits choose which of the others counts."""
    n_address = 2 if inside.shape[1] == 6 else 3
    chosen = n_address + inside[:, :n_address] @ (1 << np.arange(n_address))
    return np.where(inside[np.arange(len(inside)), chosen], 1.0, -1.0)


def _product(inside: np.ndarray, bend: float, rng: np.random.Generator) -> np.ndarray:
    """A sum, times a squared sum or times two others."""
    phi = np.where(inside, 1.0, -1.0)
    parts = np.array_split(np.arange(inside.shape[1]), 3)
    first, second, third = (phi[:, part].sum(axis=1) for part in parts)
    return np.asarray(first * (second**2 + third**2) if bend < 0.5 else first * np.abs(second * third))


def _where_alike(inside: np.ndarray, bend: float, rng: np.random.Generator) -> np.ndarray:
    others = inside[:, 1:]
    return np.where(inside[:, 0], 1.0, -1.0) * (others.all(axis=1) | ~others.any(axis=1))


def _even_spike(inside: np.ndarray, bend: float, rng: np.random.Generator) -> np.ndarray:
    return np.asarray((inside.all(axis=1) | ~inside.any(axis=1)).astype(float))


def _table(inside: np.ndarray, bend: float, rng: np.random.Generator) -> np.ndarray:
    """Values that are few and large, or many and alike."""
    values = rng.standard_normal(len(inside))
    return np.asarray(values * (rng.random(len(inside)) < 0.05 + bend))


_OF_UNITS: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "conjunction": _conjunction,
    "multiplexer": _multiplexer,
    "product of sums": _product,
    "where alike": _where_alike,
    "even spike": _even_spike,
    "table": _table,
}
