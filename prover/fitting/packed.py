"""Subsets at a bit a unit: what fitting holds of them at any size.

50,000 subsets of 50,000 units are 0.3 GB of bits, 2.5 GB of booleans and 20 GB of float64. Bits are kept rather than
derived again for each pass over them: deriving takes several times as long as all the arithmetic of a pass.

Owns how subsets lie in memory. Refuses to know what is computed from them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from protocol.errors import InternalError
from protocol.game.sampling import Draw
from protocol.task import Task

_DERIVED_UNITS = 1 << 24  # units of the subsets that are unpacked at once; does not affect outputs


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedSubsets:
    """n subsets of N units.

    bits : shape (n, ceil(N / 8)), the most significant bit first, as in ``protocol.game.sampling.subset_digests``; what
        pads the last byte is 0.
    """

    bits: UInt8[np.ndarray, "n b"]
    n_units: int

    def __post_init__(self) -> None:
        if self.bits.shape[1] != -(-self.n_units // 8):
            raise InternalError(f"expected {-(-self.n_units // 8)} bytes a subset, got {self.bits.shape[1]}")

    def __len__(self) -> int:
        return len(self.bits)

    @classmethod
    def of(cls, subsets: Bool[np.ndarray, "n n_units"]) -> PackedSubsets:
        """Return the subsets of a boolean matrix."""
        return cls(bits=np.packbits(subsets, axis=1), n_units=subsets.shape[1])

    @classmethod
    def drawn(cls, draw: Draw, task: Task, evaluations: Int64[np.ndarray, " n"]) -> PackedSubsets:
        """Return the subsets of the numbered evaluations, never more than a few of them unpacked."""
        bits = np.empty((len(evaluations), -(-task.n_units // 8)), dtype=np.uint8)
        step = max(_DERIVED_UNITS // task.n_units, 1)
        for start in range(0, len(evaluations), step):
            rows = slice(start, start + step)
            bits[rows] = np.packbits(draw.subsets(task, evaluations[rows]), axis=1)
        return cls(bits=bits, n_units=task.n_units)

    def rows(self, which: slice | Int64[np.ndarray, " m"]) -> PackedSubsets:
        """Return some of the subsets: a slice shares the memory, numbers copy."""
        return PackedSubsets(bits=self.bits[which], n_units=self.n_units)

    def unpacked(self) -> Bool[np.ndarray, "n n_units"]:
        """Return all subsets as booleans: 8 times the memory, for small problems."""
        return np.unpackbits(self.bits, axis=1, count=self.n_units).view(bool)

    def counts(self) -> Int64[np.ndarray, " n"]:
        """Return how many units each subset has."""
        return np.asarray(np.bitwise_count(self.bits).sum(axis=1, dtype=np.int64))

    def columns(self, units: Int64[np.ndarray, " w"]) -> Float32[np.ndarray, "n w"]:
        """Return 1 where each of a few units is in, else 0."""
        shifts = (7 - units % 8).astype(np.uint8)
        return np.asarray((self.bits[:, units // 8] >> shifts) & 1, dtype=np.float32)
