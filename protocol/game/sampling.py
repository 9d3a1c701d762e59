"""A challenge's seed to its subsets, families and training seeds (THEORY 2 and 8).

Everything random that both parties must agree on comes from here, through AES-256 in counter
mode, so that any one subset can be re-derived alone, in any language, for ever. Generators of
numpy and torch promise none of that and are not used.

Letters: N units, B families, s siblings, rho = (keep_16 / 65536)^2.

Evaluations are numbered family by family, in a family sibling by sibling, and a subset before
its complement: e = (b * s + j) * n_sides + side.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from jaxtyping import Bool, Float64, Int64, UInt8

from protocol.encoding import SEED_BYTES, Digest, Seed, Value, digest
from protocol.errors import InternalError, MalformedMessage
from protocol.game.game import Game, SeedPolicy
from protocol.game.tilting import LAMBDAS, UNIFORM_16, Tilts

MAX_EVALUATIONS = 50_000_000

_BLOCK_BYTES = 16
_CHUNK_UNITS = 1 << 21  # units of the subsets derived at once; does not affect outputs


class Bases(enum.Enum):
    """Where the bases of a design's families come from.

    drawn   each unit is in when a 16-bit draw is below the measure's threshold
    tilted  some of them with thresholds along the claim's scores (``tilting``); only with complements
    all     every subset is a base once, in the order of its number, in which bit i is unit i; siblings are its copies
    """

    DRAWN = "drawn"
    TILTED = "tilted"
    ALL = "all"


@dataclass(frozen=True, kw_only=True)
class Design:
    """How the subsets of a challenge hang together.

    n_families : B, independent bases.
    n_siblings : s, subsets drawn from each base; 1 makes every subset independent ("pairs" when
        ``complements``).
    keep_16 : a sibling keeps a unit of its base when a 16-bit draw is below this, else redraws
        it; two siblings are rho-correlated with rho = (keep_16 / 65536)^2.
    complements : whether each subset is followed by its complement; only for p = 1/2.
    bases : where the families' bases come from.
    """

    n_families: int
    n_siblings: int
    keep_16: int
    complements: bool
    bases: Bases = Bases.DRAWN

    def __post_init__(self) -> None:
        if self.n_families < 1 or self.n_siblings < 1:
            raise MalformedMessage(
                f"design: expected at least one family of one sibling, got {self.n_families} of {self.n_siblings}"
            )
        if not 0 <= self.keep_16 < 1 << 16:
            raise MalformedMessage(f"design: expected keep_16 from 0 to 65535, got {self.keep_16}")
        if self.bases is Bases.TILTED and not self.complements:
            raise MalformedMessage("design: expected complements where bases are tilted, got none")
        if self.bases is Bases.ALL and (self.complements or self.keep_16):
            raise MalformedMessage("design: expected neither complements nor a correlation where every subset is taken")
        if self.n_evaluations > MAX_EVALUATIONS:
            raise MalformedMessage(f"design: expected at most {MAX_EVALUATIONS} evaluations, got {self.n_evaluations}")

    @property
    def fields(self) -> list[Value]:
        """What is hashed of a design."""
        return [self.n_families, self.n_siblings, self.keep_16, self.complements, self.bases.value]

    @property
    def n_sides(self) -> int:
        """2 with complements, else 1."""
        return 2 if self.complements else 1

    @property
    def n_evaluations(self) -> int:
        """How many trainings the design asks for."""
        return self.n_families * self.n_siblings * self.n_sides

    @property
    def rho(self) -> float:
        """Correlation of two siblings' inclusion of one unit."""
        return (self.keep_16 / (1 << 16)) ** 2

    def check_fits(self, game: Game) -> None:
        """Raise :class:`MalformedMessage` for complements that the game has not, or every subset of another game."""
        if self.complements and not game.measure.has_complements:
            raise MalformedMessage(f"design: expected no complements but at p = 1/2, got some at p = {game.measure.p}")
        if self.bases is Bases.ALL and self.n_families != 1 << min(game.n_units, 63):
            raise MalformedMessage(f"design: expected each of 2^{game.n_units} subsets once, got {self.n_families}")


def families(*, n_families: int, n_siblings: int, rho: float, complements: bool) -> Design:
    """Return the design of B families of s siblings with correlation ``rho``, to 16 bits."""
    keep_16 = min(max(round(65536 * rho**0.5), 0), 65535)
    return Design(n_families=n_families, n_siblings=n_siblings, keep_16=keep_16, complements=complements)


def pairs(n_pairs: int, *, complements: bool = True) -> Design:
    """Return the design of independent subsets, each with its complement at p = 1/2."""
    return Design(n_families=n_pairs, n_siblings=1, keep_16=0, complements=complements)


@dataclass(frozen=True, kw_only=True)
class Draw:
    """A seed and a design: every subset and every training seed of one round.

    along : the claim's tilts, which a tilted design needs; no part of the draw's name, as the claim is committed.
    """

    seed: Seed
    design: Design
    along: Tilts | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if len(self.seed) != SEED_BYTES:
            raise MalformedMessage(f"challenge seed: expected {SEED_BYTES} bytes, got {len(self.seed)}")

    @property
    def n_evaluations(self) -> int:
        return self.design.n_evaluations

    @cached_property
    def digest(self) -> Digest:
        return digest("draw", self.seed, *self.design.fields)

    def subsets(self, game: Game, evaluations: Int64[np.ndarray, " m"]) -> Bool[np.ndarray, "m n"]:
        """Return the subsets of the numbered evaluations, True where a unit is in.

        Parameters
        ----------
        evaluations : shape (m,), each from 0 to ``n_evaluations`` - 1, in any order.
        """
        out = np.empty((len(evaluations), game.n_units), dtype=bool)
        bases, siblings = _Stream(self.seed, "base"), _Stream(self.seed, "sibling")
        step = max(1, _CHUNK_UNITS // game.n_units)
        for start in range(0, len(evaluations), step):
            out[start : start + step] = self._subsets(game, evaluations[start : start + step], bases, siblings)
        return out

    def _subsets(
        self, game: Game, evaluations: Int64[np.ndarray, " m"], bases: _Stream, siblings: _Stream
    ) -> Bool[np.ndarray, "m n"]:
        design, n = self.design, game.n_units
        members, member_of = np.unique(evaluations // design.n_sides, return_inverse=True)
        bases_of, base_of = np.unique(members // design.n_siblings, return_inverse=True)
        if design.bases is Bases.ALL:
            return every_subset(n, evaluations // design.n_siblings)
        draws = siblings.read_each(members, 4 * n).view("<u2")
        base = bases.read_each(bases_of, 2 * n).view("<u2") < self._base_thresholds(game, bases_of)
        subsets = np.where(draws[:, :n] < design.keep_16, base[base_of], draws[:, n:] < game.measure.p_16)
        is_complement = evaluations % design.n_sides == 1
        return np.asarray(subsets[member_of] ^ is_complement[:, None])

    def bases(self, game: Game, families: Int64[np.ndarray, " k"]) -> Bool[np.ndarray, "k n"]:
        """Return the bases of the numbered families."""
        if self.design.bases is Bases.ALL:
            return every_subset(game.n_units, families)
        draws = _Stream(self.seed, "base").read_each(families, 2 * game.n_units).view("<u2")
        return np.asarray(draws < self._base_thresholds(game, families))

    def _base_thresholds(self, game: Game, families: Int64[np.ndarray, " k"]) -> np.ndarray:
        """What a base's 16-bit draws must be below, shape (k, N) or one number."""
        if self.design.bases is not Bases.TILTED:
            return np.array(game.measure.p_16, dtype=np.uint16)
        if self.along is None:
            raise InternalError("a tilted design was drawn without the claim that it is tilted along")
        choice = _Stream(self.seed, "tilt").read_each(families, 16)
        kind, target = choice[:, :4].copy().view("<u2"), choice[:, 8:].copy().view("<u8")[:, 0]
        chosen = ((target >> np.uint64(11)) * 2.0**-53 * self.along.n_targets).astype(np.int64)
        thresholds = np.full((len(families), game.n_units), game.measure.p_16, dtype=np.uint16)
        tilted = np.flatnonzero(kind[:, 0] >= UNIFORM_16)
        which = (kind[tilted, 1].astype(np.int64) * len(LAMBDAS)) >> 16
        found = self.along.thresholds(chosen[tilted])
        thresholds[tilted] = found[np.arange(len(tilted)), which]
        return thresholds

    def training_seeds(self, game: Game, evaluations: Int64[np.ndarray, " m"]) -> Int64[np.ndarray, " m"]:
        """Return each evaluation's training seed, from 0 to 2^63 - 1 (THEORY 1, seed policy)."""
        if game.seed_policy is SeedPolicy.SHARED:
            return np.full(len(evaluations), game.seed, dtype=np.int64)
        draws = _Stream(self.seed, "training seed").read_each(evaluations, 8).view("<u8")
        return np.asarray(draws[:, 0] >> 1).astype(np.int64)


def every_subset(n_units: int, numbers: Int64[np.ndarray, " m"]) -> Bool[np.ndarray, "m n"]:
    """Return the subsets of these numbers: unit i is in when bit i is set."""
    return np.asarray((numbers[:, None] >> np.arange(n_units, dtype=np.int64)) & 1 == 1)


def subset_digests(subsets: Bool[np.ndarray, "m n"]) -> list[Digest]:
    """Return one digest per subset, over its N and its bits packed most significant first."""
    n = subsets.shape[1]
    return [digest("subset", n, bits.tobytes()) for bits in np.packbits(subsets, axis=1)]


def choose(seed: Seed, n: int, k: int) -> Int64[np.ndarray, " k"]:
    """Return k of 0..n-1, ascending, every choice equally likely.

    The k smallest of n 64-bit draws; two draws tie with probability below n^2 / 2^65.
    """
    return np.sort(permutation(seed, n)[:k])


def permutation(seed: Seed, n: int) -> Int64[np.ndarray, " n"]:
    """Return a uniformly random order of 0..n-1: the stable order of n 64-bit draws."""
    draws = np.frombuffer(_Stream(seed, "permutation").read(0, 8 * n), dtype="<u8")
    return np.argsort(draws, kind="stable").astype(np.int64)


def seed_from_integer(label: str, value: int) -> Seed:
    """Return the 32-byte seed that a task's small integer seed stands for."""
    return Seed(digest("integer seed", label, value))


def row_order(training_seed: int, epoch: int, n: int) -> Int64[np.ndarray, " n"]:
    """Return the order in which recipe ``sgd`` takes the n training rows in an epoch (SPEC 4, training draws)."""
    draws = np.frombuffer(_Stream(_training(training_seed), "order").read(epoch, 8 * n), dtype="<u8")
    return np.argsort(draws, kind="stable").astype(np.int64)


def initial_weights(training_seed: int, parameter: int, n: int) -> Float64[np.ndarray, " n"]:
    """Return n numbers uniform on (-1, 1), odd multiples of 2^-32: the numbered parameter before it is scaled."""
    draws = np.frombuffer(_Stream(_training(training_seed), "weights").read(parameter, 4 * n), dtype="<u4")
    return np.asarray((2.0 * draws + 1.0) * 2.0**-32 - 1.0)


def augmentations(training_seed: int, epoch: int, n: int, padding: int) -> Int64[np.ndarray, "n 3"]:
    """Return, for each of the n training rows: whether it is mirrored, and where a crop begins, down and across.

    Crops begin at 0 to 2 ``padding`` of the padded image.
    """
    draws = _Stream(_training(training_seed), "augmentation").draws_16(epoch, 3 * n).reshape(n, 3).astype(np.int64)
    return np.asarray(draws * np.array([2, 2 * padding + 1, 2 * padding + 1]) >> 16)


def _training(training_seed: int) -> Seed:
    return seed_from_integer("training", training_seed)


class _Stream:
    """AES-256-CTR keyed by a seed and a label; each index has 2^64 blocks of its own."""

    def __init__(self, seed: Seed, label: str) -> None:
        self._key = algorithms.AES256(digest("stream", seed, label))

    def read(self, index: int, n_bytes: int) -> bytes:
        counter = index.to_bytes(8, "big") + bytes(8)
        encryptor = Cipher(self._key, modes.CTR(counter)).encryptor()
        return encryptor.update(bytes(n_bytes))

    def read_each(self, indices: Int64[np.ndarray, " k"], n_bytes: int) -> UInt8[np.ndarray, "k b"]:
        """Return :meth:`read` of every index: all their counters are enciphered in one call, as CTR does one by one."""
        n_blocks = -(-n_bytes // _BLOCK_BYTES)
        counters = np.empty((len(indices), n_blocks, 2), dtype=">u8")
        counters[:, :, 0], counters[:, :, 1] = indices[:, None], np.arange(n_blocks)
        stream = Cipher(self._key, modes.ECB()).encryptor().update(counters.tobytes())  # noqa: S305  no counter twice
        blocks = np.frombuffer(stream, dtype=np.uint8).reshape(len(indices), n_blocks * _BLOCK_BYTES)
        return np.ascontiguousarray(blocks[:, :n_bytes])

    def draws_16(self, index: int, n: int) -> np.ndarray:
        return np.frombuffer(self.read(index, 2 * n), dtype="<u2")
