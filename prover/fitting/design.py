"""Products with the characters of packed subsets, unpacked a block of subsets at a time.

Letters: n subsets, N units, T columns of what is multiplied, Phi the n x N matrix of characters (THEORY 1).

A pass over Phi costs 2 n N T operations for Phi V, as many for Phi^T R, and writes each character once: of some 64 MB
of subsets at a time, never of all. ``gram_times`` does both products in one pass. On a processor a byte is looked up as
eight characters; of the ways tried, four times as fast as the next, and a quarter of a pass at T = 100.

Characters and products are float32, which is exact at p = 1/2 for the characters and leaves products wrong by some
1e-6 of their size; what is fitted has noise of 1e-2. Sums of squares are float64. ``precision`` float64 is for small
problems, where a solution is wanted to the last digits and costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from prover.fitting.packed import PackedSubsets

_BLOCK_VALUES = 1 << 24  # characters unpacked at once; does not affect outputs beyond rounding


class Design:
    """Phi, by products only.

    Parameters
    ----------
    p : the probability of a unit, above 0 and below 1.
    device : where products run; the bits lie there, too.
    precision : of characters and products.
    """

    def __init__(
        self, subsets: PackedSubsets, p: float, *, device: str = "cpu", precision: torch.dtype = torch.float32
    ) -> None:
        self.subsets, self.p, self.device, self.precision = subsets, p, device, precision
        # Row b holds the characters of the eight units whose bits make the byte b.
        bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
        self._table = torch.tensor((bits - p) / math.sqrt(p * (1 - p)), dtype=precision, device=device)
        self._bits = torch.from_numpy(subsets.bits).to(device) if device != "cpu" else None

    def __len__(self) -> int:
        return len(self.subsets)

    @property
    def n_units(self) -> int:
        """N."""
        return self.subsets.n_units

    def rows(self, which: slice | Int64[np.ndarray, " m"]) -> Design:
        """Return Phi of some of the subsets; a slice shares their memory."""
        return Design(self.subsets.rows(which), self.p, device=self.device, precision=self.precision)

    def times(self, v: Float[Tensor, "n_units t"]) -> Float[Tensor, "n t"]:
        """Return Phi V, in ``precision``."""
        v = v.to(self.precision)
        out = torch.empty((len(self), v.shape[1]), dtype=self.precision, device=self.device)
        for rows, phi in self._blocks():
            torch.matmul(phi, v, out=out[rows])
        return out

    def transposed_times(self, r: Float[Tensor, "n t"]) -> Float[Tensor, "n_units t"]:
        """Return Phi^T R, in ``precision``."""
        r = r.to(self.precision)
        out = torch.zeros((self.n_units, r.shape[1]), dtype=self.precision, device=self.device)
        for rows, phi in self._blocks():
            out.addmm_(phi.T, r[rows])
        return out

    def gram_times(self, v: Float[Tensor, "n_units t"]) -> Float[Tensor, "n_units t"]:
        """Return Phi^T Phi V, in ``precision``."""
        v = v.to(self.precision)
        out = torch.zeros_like(v)
        for _, phi in self._blocks():
            out.addmm_(phi.T, phi @ v)
        return out

    def squared_lengths(self) -> Float64[Tensor, " n"]:
        """Return |phi_j|^2 of each subset, exact but for the last rounding."""
        n_in = self.subsets.counts()
        lengths = (n_in * (1 - self.p) ** 2 + (self.n_units - n_in) * self.p**2) / (self.p * (1 - self.p))
        return torch.tensor(lengths, device=self.device)

    def gram_of(self, units: Int64[np.ndarray, " w"], others: Int64[np.ndarray, " v"]) -> Float64[np.ndarray, "w v"]:
        """Return Phi_w^T Phi_v for a few units, exact but for the last rounding: subsets that hold both are counted."""
        # A block's counts are whole numbers far below 2^24, which float32 holds exactly.
        counts = np.zeros((len(units), len(others)), dtype=np.float64)
        in_w, in_v = np.zeros(len(units)), np.zeros(len(others))
        step = max(_BLOCK_VALUES // max(len(units) + len(others), 1), 1)
        for start in range(0, len(self), step):
            block = self.subsets.rows(slice(start, start + step))
            left, right = block.columns(units), block.columns(others)
            counts += left.T @ right
            in_w += left.sum(axis=0, dtype=np.float64)
            in_v += right.sum(axis=0, dtype=np.float64)
        p, n = self.p, len(self)
        counts -= (p * in_w)[:, None]  # in place: these may be the largest matrices of a fit
        counts -= p * in_v
        counts += n * p * p
        counts /= p * (1 - p)
        return counts

    def _blocks(self) -> Iterator[tuple[slice, Float[Tensor, "m n_units"]]]:
        """Yield rows and their characters; the memory is used again for the next."""
        step = max(min(_BLOCK_VALUES // self.n_units, len(self)), 1)
        room = torch.empty((step, self.subsets.bits.shape[1], 8), dtype=self.precision, device=self.device)
        for start in range(0, len(self), step):
            rows = slice(start, min(start + step, len(self)))
            block = room[: rows.stop - start]
            if self._bits is None:
                # "clip", because numpy copies through a buffer where it might have to raise; a byte is in range anyway.
                np.take(self._table.numpy(), self.subsets.bits[rows], axis=0, out=block.numpy(), mode="clip")
            else:
                torch.index_select(self._table, 0, self._bits[rows].flatten().int(), out=block.view(-1, 8))
            yield rows, block.view(len(block), -1)[:, : self.n_units]
