"""Linear systems in many submatrices of one matrix at once: those of the rows that each subset has.

A Cholesky factorisation by blocks of ``BLOCK`` rows, each step of which is the same for every
subset of a tile. Nearly all of its arithmetic is then batched matrix products, the fastest thing
a device does; a library's own factorisation of one matrix of a few hundred rows reaches a third of
that rate on a processor, and less on a GPU. Only the blocks of the upper triangle are looked up, and
the right-hand sides ride along as further columns, so that forward substitution costs nothing.

Subsets have a few rows more or less than each other. They are taken by size, and a tile's smaller
ones are filled up with a row that has nothing to do with any other: the last of ``matrix``.

Refuses to know what the matrix is of. The order of additions depends on the tile, and nothing else.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

BLOCK = 96

TILE_BYTES = {"cpu": 1 << 23, "cuda": 1 << 31}
"""What systems solved side by side take at most, though one always is: a processor's cache, or plenty.

Does not affect outputs."""


def solve_submatrices(
    matrix: Float64[Tensor, "n1 n1"], right: Float64[Tensor, "n1 c"], inside: Bool[Tensor, "m n"], shift: float
) -> tuple[Float64[Tensor, "m c n1"], Bool[Tensor, " m"]]:
    """Return for each subset S the solution of (M_SS + shift I) a = right_S, as rows of zeros but in S.

    Parameters
    ----------
    matrix : M, shape (n + 1, n + 1), symmetric and positive semidefinite; its last row and column are zero.
    right : shape (n + 1, C), the last row zero.
    inside : shape (m, n), which rows are in S.
    shift : above 0.

    Returns
    -------
    solutions : shape (m, C, n + 1).
    failed : shape (m,), where a pivot is lost to rounding; the solution there means nothing.
    """
    counts = inside.sum(dim=1)
    solutions = right.new_zeros(len(inside), right.shape[1], len(matrix))
    failed = torch.zeros_like(counts, dtype=torch.bool)
    order = counts.argsort()[int((counts == 0).sum()) :]  # those of no row have no system
    largest = int(counts.max()) if len(order) else 1
    tile = max(TILE_BYTES[matrix.device.type] // (8 * largest * (largest + right.shape[1])), 1)
    for start in range(0, len(order), tile):
        which = order[start : start + tile]
        size = int(counts[which[-1]])
        rows = _rows_inside(inside[which], size)
        factor, failed[which] = _factored(matrix, right, rows, shift)
        found = _substituted(factor)
        places = rows.unsqueeze(1).expand(-1, right.shape[1], -1)
        solutions[which] = solutions.new_zeros(len(which), *solutions.shape[1:]).scatter_(2, places, found.mT)
    return solutions, failed


def _rows_inside(inside: Bool[Tensor, "m n"], size: int) -> Int64[Tensor, "m s"]:
    """Return the rows that are in, in order, then n as often as some are missing to ``size``."""
    n = inside.shape[1]
    return torch.where(inside, torch.arange(n, device=inside.device), n).sort(dim=1)[0][:, :size].contiguous()


def _factored(
    matrix: Float64[Tensor, "n1 n1"], right: Float64[Tensor, "n1 c"], rows: Int64[Tensor, "m s"], shift: float
) -> tuple[Float64[Tensor, "m s sc"], Bool[Tensor, " m"]]:
    """Return U and U^-T right side by side, U^T U the shifted submatrix; below the diagonal blocks is nothing."""
    m, size = rows.shape
    factor = matrix.new_empty(m, size, size + right.shape[1])
    factor[:, :, size:] = right[rows]
    failed = torch.zeros(m, dtype=torch.bool, device=matrix.device)
    lost = len(matrix) * torch.finfo(matrix.dtype).eps
    for start in range(0, size, BLOCK):
        stop = min(start + BLOCK, size)
        factor[:, start:stop, start:size] = _looked_up(matrix, rows[:, start:stop], rows[:, start:])
        panel, square = factor[:, start:stop, start:], factor[:, start:stop, start:stop]
        diagonal = square.diagonal(dim1=1, dim2=2).add_(shift).clone()
        if start:
            panel.baddbmm_(factor[:, :start, start:stop].mT, factor[:, :start, start:], alpha=-1)
        own, info = torch.linalg.cholesky_ex(square, upper=True)
        pivots = own.diagonal(dim1=1, dim2=2).square()
        failed |= (info != 0) | ~(pivots > lost * diagonal).all(dim=1)  # also true for NaN
        factor[:, start:stop, start:stop] = own
        factor[:, start:stop, stop:] = torch.linalg.solve_triangular(own.mT, factor[:, start:stop, stop:], upper=False)
    return factor, failed


def _looked_up(
    matrix: Float64[Tensor, "n1 n1"], rows: Int64[Tensor, "m b"], columns: Int64[Tensor, "m k"]
) -> Float64[Tensor, "m b k"]:
    m, b = rows.shape
    whole = matrix.index_select(0, rows.flatten()).view(m, b, -1)
    return whole.gather(2, columns.unsqueeze(1).expand(-1, b, -1))


def _substituted(factor: Float64[Tensor, "m s sc"]) -> Float64[Tensor, "m s c"]:
    """Return U^-1 times the columns beside U."""
    size = factor.shape[1]
    found = factor[:, :, size:].clone()
    for start in reversed(range(0, size, BLOCK)):
        stop = min(start + BLOCK, size)
        part = found[:, start:stop]
        if stop < size:
            part.baddbmm_(factor[:, start:stop, stop:size], found[:, stop:], alpha=-1)
        part.copy_(torch.linalg.solve_triangular(factor[:, start:stop, start:stop], part, upper=True))
    return found
