"""A challenge's seed to its subsets, families and training seeds (THEORY 2 and 8).

Everything random that both parties must agree on comes from here, through AES-256 in counter
mode, so that any one subset can be re-derived alone, in any language, for ever. Generators of
numpy and torch promise none of that and are not used.

Letters: N units, B families, s siblings, rho = (keep_16 / 65536)^2.

Evaluations are numbered family by family, in a family sibling by sibling, and a subset before
its complement: e = (b * s + j) * n_sides + side.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from jaxtyping import Bool, Float64, Int64, UInt8

from protocol.encoding import SEED_BYTES, Digest, Seed, digest
from protocol.errors import MalformedMessage
from protocol.task import SeedPolicy, Task

MAX_EVALUATIONS = 50_000_000

_BLOCK_BYTES = 16
_CHUNK_UNITS = 1 << 21  # units of the subsets derived at once; does not affect outputs


@dataclass(frozen=True, kw_only=True)
class Design:
    """How the subsets of a challenge hang together.

    n_families : B, independent bases.
    n_siblings : s, subsets drawn from each base; 1 makes every subset independent ("pairs" when
        ``complements``).
    keep_16 : a sibling keeps a unit of its base when a 16-bit draw is below this, else redraws
        it; two siblings are rho-correlated with rho = (keep_16 / 65536)^2.
    complements : whether each subset is followed by its complement; only for p = 1/2.
    """

    n_families: int
    n_siblings: int
    keep_16: int
    complements: bool

    def __post_init__(self) -> None:
        if self.n_families < 1 or self.n_siblings < 1:
            raise MalformedMessage(
                f"design: expected at least one family of one sibling, got {self.n_families} of {self.n_siblings}"
            )
        if not 0 <= self.keep_16 < 1 << 16:
            raise MalformedMessage(f"design: expected keep_16 from 0 to 65535, got {self.keep_16}")
        if self.n_evaluations > MAX_EVALUATIONS:
            raise MalformedMessage(f"design: expected at most {MAX_EVALUATIONS} evaluations, got {self.n_evaluations}")

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

    def check_fits(self, task: Task) -> None:
        """Raise :class:`MalformedMessage` if the design has complements and the task's p is not 1/2."""
        if self.complements and not task.has_complements:
            raise MalformedMessage(f"design: expected no complements but at p = 1/2, got some at p = {task.p}")


def families(*, n_families: int, n_siblings: int, rho: float, complements: bool) -> Design:
    """Return the design of B families of s siblings with correlation ``rho``, to 16 bits."""
    keep_16 = min(max(round(65536 * rho**0.5), 0), 65535)
    return Design(n_families=n_families, n_siblings=n_siblings, keep_16=keep_16, complements=complements)


def pairs(n_pairs: int, *, complements: bool = True) -> Design:
    """Return the design of independent subsets, each with its complement at p = 1/2."""
    return Design(n_families=n_pairs, n_siblings=1, keep_16=0, complements=complements)


@dataclass(frozen=True, kw_only=True)
class Draw:
    """A seed and a design: every subset and every training seed of one round."""

    seed: Seed
    design: Design

    def __post_init__(self) -> None:
        if len(self.seed) != SEED_BYTES:
            raise MalformedMessage(f"challenge seed: expected {SEED_BYTES} bytes, got {len(self.seed)}")

    @property
    def n_evaluations(self) -> int:
        return self.design.n_evaluations

    @cached_property
    def digest(self) -> Digest:
        design = self.design
        return digest("draw", self.seed, design.n_families, design.n_siblings, design.keep_16, design.complements)

    def subsets(self, task: Task, evaluations: Int64[np.ndarray, " m"]) -> Bool[np.ndarray, "m n"]:
        """Return the subsets of the numbered evaluations, True where a unit is in.

        Parameters
        ----------
        evaluations : shape (m,), each from 0 to ``n_evaluations`` - 1, in any order.
        """
        out = np.empty((len(evaluations), task.n_units), dtype=bool)
        bases, siblings = _Stream(self.seed, "base"), _Stream(self.seed, "sibling")
        step = max(1, _CHUNK_UNITS // task.n_units)
        for start in range(0, len(evaluations), step):
            out[start : start + step] = self._subsets(task, evaluations[start : start + step], bases, siblings)
        return out

    def _subsets(
        self, task: Task, evaluations: Int64[np.ndarray, " m"], bases: _Stream, siblings: _Stream
    ) -> Bool[np.ndarray, "m n"]:
        design, n = self.design, task.n_units
        members, member_of = np.unique(evaluations // design.n_sides, return_inverse=True)
        bases_of, base_of = np.unique(members // design.n_siblings, return_inverse=True)
        base = bases.read_each(bases_of, 2 * n).view("<u2") < task.p_16
        draws = siblings.read_each(members, 4 * n).view("<u2")
        subsets = np.where(draws[:, :n] < design.keep_16, base[base_of], draws[:, n:] < task.p_16)
        is_complement = evaluations % design.n_sides == 1
        return np.asarray(subsets[member_of] ^ is_complement[:, None])

    def training_seeds(self, task: Task, evaluations: Int64[np.ndarray, " m"]) -> Int64[np.ndarray, " m"]:
        """Return each evaluation's training seed, from 0 to 2^63 - 1 (THEORY 1, seed policy)."""
        if task.seed_policy is SeedPolicy.SHARED:
            return np.full(len(evaluations), task.seed, dtype=np.int64)
        draws = _Stream(self.seed, "training seed").read_each(evaluations, 8).view("<u8")
        return np.asarray(draws[:, 0] >> 1).astype(np.int64)


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
