"""Challenges without training, for benchmarks: games with known gaps at every p, drawn and judged by the thousand.

Owns games, claims about them, families of subsets and exact limits of rates. Refuses to know what is measured. That
the protocol's own sampling has this distribution is the tests' business; numpy's generator is faster.

Letters: B families, s siblings, rho; N units; c the coefficients of degree one of a claim; R runs. Runs are
independent, so R runs of one target are judged at once as R targets, each at its own delta: a row of ``certify`` sees
nothing of the others.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np
from jaxtyping import Bool, Float64
from scipy import special

from protocol import harmonic
from protocol.certificate.families import FamiliesCertificate, certify
from protocol.certificate.readings import Readings
from protocol.certificate.terms import Across

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

N_UNITS = 24
CONFIDENCE = 0.99
_CHUNK_CELLS = 1 << 24  # of subsets held at once

Subsets: TypeAlias = Bool[np.ndarray, "*m n"]
Values: TypeAlias = Float64[np.ndarray, "*m"]
Vector: TypeAlias = Float64[np.ndarray, " n"]


@dataclass(frozen=True, kw_only=True)
class Game:
    """f on subsets of units drawn with probability p: its coefficients of degree one and its variance."""

    name: str
    p: float
    first: Vector
    variance: float
    outputs: Callable[[Subsets], Values]


# ------------------------------------------------------------------------------------------------ games


def linear_weights(n_units: int = N_UNITS) -> Vector:
    """Gaussian weights with squares that sum to 1; the claim's errors have directions of their own."""
    raw = np.random.default_rng(7).standard_normal(n_units)
    return np.asarray(raw / np.linalg.norm(raw))


def games(p: float, n_units: int = N_UNITS) -> Iterator[Game]:
    """Yield the games at p; n_units a multiple of 6, at least 12."""
    c = linear_weights(n_units)

    def polynomial(subsets: Subsets) -> Values:
        phi = harmonic.characters(subsets, p)
        two = np.prod(phi.reshape(*phi.shape[:-1], -1, 2), axis=-1)
        three = np.prod(phi.reshape(*phi.shape[:-1], -1, 3), axis=-1)
        mixed = np.sqrt(0.1) * two.sum(axis=-1) / two.shape[-1] ** 0.5
        return np.asarray(phi @ c * np.sqrt(0.85) + mixed + np.sqrt(0.05) * three.sum(axis=-1) / three.shape[-1] ** 0.5)

    yield Game(name="polynomial", p=p, first=np.sqrt(0.85) * c, variance=1.0, outputs=polynomial)

    def sparse(subsets: Subsets) -> Values:
        phi = harmonic.characters(subsets, p)
        return np.asarray(phi @ c * np.sqrt(0.85) + np.sqrt(0.15) * phi[..., 3] * phi[..., 4] * phi[..., 5])

    yield Game(name="sparse degree 3", p=p, first=np.sqrt(0.85) * c, variance=1.0, outputs=sparse)
    cut = int(p * n_units)  # a majority that tends to be one: +1 with more than the expected number in
    at_cut = float(special.bdtr(cut, n_units - 1, p) - special.bdtr(cut - 1, n_units - 1, p))
    majority = np.full(n_units, 2 * np.sqrt(p * (1 - p)) * at_cut)
    mean = 1 - 2 * float(special.bdtr(cut, n_units, p))
    yield Game(
        name="majority", p=p, first=majority, variance=1 - mean**2,
        outputs=lambda subsets: np.where(subsets.sum(axis=-1) > cut, 1.0, -1.0),
    )  # fmt: skip
    a = 0.9 * c  # every degree, tails like a log-normal's: prod (1 + a_i phi_i) has mean 1 and E f^2 = prod (1 + a_i^2)
    yield Game(
        name="heavy-tailed product", p=p, first=a, variance=float(np.prod(1 + a**2) - 1),
        outputs=lambda subsets: np.asarray(np.prod(1 + a * harmonic.characters(subsets, p), axis=-1)),
    )  # fmt: skip
    yield _spikes(p, c)


def _spikes(p: float, c: Vector, gap: float = 0.05, width: int = 4) -> Game:
    """A linear game and a spike where the first units are all in; as high as makes the spike's own gap that."""
    often, step = p**width, np.sqrt((1 - p) / p)
    inside = np.arange(len(c)) < width
    low, high = 0.0, 100.0
    for _ in range(60):  # the spike's own gap, relative to Var f, rises with its height
        h = (low + high) / 2
        variance = 1 + h**2 * often * (1 - often) + 2 * h * often * step * float(c[inside].sum())
        low, high = (h, high) if width * (h * often * step) ** 2 < gap * variance else (low, h)

    def outputs(subsets: Subsets) -> Values:
        return np.asarray(harmonic.characters(subsets, p) @ c + h * subsets[..., :width].all(axis=-1))

    return Game(name="spikes", p=p, first=c + h * often * step * inside, variance=variance, outputs=outputs)


def claims_of(game: Game, variance: float, gap: float) -> dict[str, Vector]:
    """Claims of relative gap ``gap``, and a halved one; c of each."""
    size, n_units = np.sqrt(gap * variance), len(game.first)
    direction = np.random.default_rng(3).standard_normal(n_units)
    found = {
        "random direction": game.first + size * direction / np.linalg.norm(direction),
        "one unit": game.first + size * np.eye(n_units)[9],
        "halved": game.first / 2,
    }
    return {**found, "spike unseen": linear_weights(n_units)} if game.name == "spikes" else found


# ------------------------------------------------------------------------------------------- challenges


def enumerated(game: Game, bound: float, noise: float) -> tuple[Vector, float]:
    """Return the coefficients of degree one and the variance of f + noise cut to [-bound, bound]; few units only.

    noise : each output is moved by this much up or down, by turns of a coin of its own.
    """
    n_units = len(game.first)
    subsets = (np.arange(1 << n_units)[:, None] >> np.arange(n_units)) % 2 == 1
    n_in = subsets.sum(axis=1)
    weights = game.p**n_in * (1 - game.p) ** (n_units - n_in)
    ends = np.clip(game.outputs(subsets) + np.array([[noise], [-noise]]), -bound, bound)
    mean = ends.mean(axis=0)
    first = harmonic.characters(subsets, game.p).T @ (weights * mean)
    return np.asarray(first), float(weights @ (ends**2).mean(axis=0) - (weights @ mean) ** 2)


def subsets_of(rng: np.random.Generator, runs: int, design: tuple[int, int, float], p: float) -> Subsets:
    """Families of subsets, shape (R, B, s, N)."""
    n_families, n_siblings, rho = design
    shape = (runs, n_families, n_siblings, N_UNITS)
    base = rng.random((runs, n_families, 1, N_UNITS), dtype=np.float32) < p
    keep = rng.random(shape, dtype=np.float32) < rho**0.5
    return np.asarray(np.where(keep, base, rng.random(shape, dtype=np.float32) < p))


def readings_of(one: Values, other: Values, linear: Values, claim_variance: float, p: float, rho: float) -> Readings:
    """Readings with runs for targets, from f of subsets, of complements and the claim's part; each (R, B, s)."""
    known = p == 0.5
    return Readings(
        output=np.moveaxis((one - other) / 2 if known else one, 0, -1),
        linear=np.moveaxis(linear, 0, -1),
        even=np.moveaxis((one + other) / 2, 0, -1) if known else None,
        claim_mean=np.zeros(len(one)),
        claim_variance=np.full(len(one), claim_variance),
        rho=rho,
        p=p,
    )


def judged(readings: Readings, delta: float) -> FamiliesCertificate:
    """Return one certificate of R targets, each judged alone at ``delta``."""
    return certify(readings, delta=delta * readings.n_targets, across=Across.EVERY)


def in_chunks(runs: int, design: tuple[int, int, float]) -> list[int]:
    """Split runs so that the subsets of a chunk fit."""
    most = max(1, _CHUNK_CELLS // (design[0] * design[1] * N_UNITS))
    return [min(most, runs - start) for start in range(0, runs, most)]


def limits(missed: int, runs: int) -> tuple[float, float]:
    """Return Clopper and Pearson's limits."""
    tail = (1 - CONFIDENCE) / 2
    low = 0.0 if missed == 0 else float(special.betaincinv(missed, runs - missed + 1, tail))
    high = 1.0 if missed == runs else float(special.betaincinv(missed + 1, runs - missed, 1 - tail))
    return low, high


def write_csv(rows: Sequence[DataclassInstance], path: Path) -> None:
    """Write rows of one dataclass, numbers to five digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(rows[0])])
        writer.writerows([[f"{v:.5g}" if isinstance(v, float) else v for v in astuple(row)] for row in rows])


RowT = TypeVar("RowT", bound="DataclassInstance")


def read_csv(kind: type[RowT], path: Path) -> list[RowT]:
    """Return the rows that :func:`write_csv` wrote; none where there is no file."""
    if not path.exists():
        return []
    parsers: dict[str, Callable[[str], object]] = {"str": str, "int": int, "float": float, "bool": "True".__eq__}
    parse = {field.name: parsers[str(field.type)] for field in fields(kind)}
    with path.open(newline="") as file:
        return [kind(**{name: parse[name](text) for name, text in line.items()}) for line in csv.DictReader(file)]
