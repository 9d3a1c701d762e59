"""Linear systems in many submatrices of one matrix at once: those of the rows that each subset has.

A Cholesky factorisation by blocks of rows, each step of which is the same for every subset of a
tile. Nearly all of its arithmetic is then batched matrix products, the fastest thing that a device
does; a library's own factorisation of one matrix of a few hundred rows reaches a third of that rate
on a processor. Only the upper triangle's blocks are looked up, each once, and never are they put
together: of U, with U^T U the matrix, a block of rows is its square on the diagonal, and the rest.

Subsets have a few rows more or less than each other. They are taken by size, and a tile's smaller
ones are filled up with a row that has nothing to do with any other: the last of ``matrix``.

Refuses to know what the matrix is of. The tile decides the order of additions, and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

BLOCK, MAX_BLOCKS = 64, 10
"""Rows of a block, or more where there would be more blocks; on a processor the fastest at 500 rows and at 2,000."""

TILE_BYTES = {"cpu": 1 << 24, "cuda": 1 << 31}
"""What systems solved side by side take at most, though one always is: a processor's cache, or plenty.

Does not affect outputs."""


def solve_submatrices(
    matrix: Float64[Tensor, "n1 n1"], right: Float64[Tensor, "n1 c"], inside: Bool[Tensor, "m n"], shift: float
) -> tuple[Float64[Tensor, "m c n1"], Bool[Tensor, " m"]]:
    """Return for each subset S the solution of (M_SS + shift I) a = right_S, 0 at rows that are not in S.

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
    tile = max(TILE_BYTES[matrix.device.type] // (4 * largest**2), 1)
    for start in range(0, len(order), tile):
        which = order[start : start + tile]
        rows = _rows_inside(inside[which], size=int(counts[which[-1]]))
        found, failed[which] = _solved(matrix, right, rows, shift)
        places = rows.unsqueeze(1).expand(-1, right.shape[1], -1)
        solutions[which] = solutions.new_zeros(len(which), *solutions.shape[1:]).scatter_(2, places, found.mT)
    return solutions, failed


def _rows_inside(inside: Bool[Tensor, "m n"], size: int) -> Int64[Tensor, "m s"]:
    """Return the rows that are in, in order, then n as often as some are missing to ``size``."""
    n = inside.shape[1]
    return torch.where(inside, torch.arange(n, device=inside.device), n).sort(dim=1)[0][:, :size].contiguous()


@dataclass(frozen=True, kw_only=True, eq=False)
class _Panel:
    """Rows ``start`` to before ``stop`` of U, and of U^-T right."""

    start: int
    stop: int
    square: Float64[Tensor, "m b b"]
    rest: Float64[Tensor, "m b k"]
    right: Float64[Tensor, "m b c"]

    def columns(self, start: int, stop: int) -> Float64[Tensor, "m b j"]:
        """Return columns of U, numbered in the whole of it, beyond the panel's square."""
        return self.rest[:, :, start - self.stop : stop - self.stop]


def _solved(
    matrix: Float64[Tensor, "n1 n1"], right: Float64[Tensor, "n1 c"], rows: Int64[Tensor, "m s"], shift: float
) -> tuple[Float64[Tensor, "m s c"], Bool[Tensor, " m"]]:
    """Return the solution of each system, and whether a pivot was lost."""
    size = rows.shape[1]
    block = max(BLOCK, -(-size // MAX_BLOCKS))
    failed = torch.zeros(len(rows), dtype=torch.bool, device=matrix.device)
    panels: list[_Panel] = []
    for start in range(0, size, block):
        panel, lost = _next_panel(matrix, right, rows, shift, panels, min(start + block, size))
        panels.append(panel)
        failed |= lost
    found = right.new_empty(*rows.shape, right.shape[1])
    for panel in reversed(panels):
        if panel.stop < size:
            panel.right.baddbmm_(panel.rest, found[:, panel.stop :], alpha=-1)
        found[:, panel.start : panel.stop] = torch.linalg.solve_triangular(panel.square, panel.right, upper=True)
    return found, failed


def _next_panel(
    matrix: Float64[Tensor, "n1 n1"],
    right: Float64[Tensor, "n1 c"],
    rows: Int64[Tensor, "m s"],
    shift: float,
    above: list[_Panel],
    stop: int,
) -> tuple[_Panel, Bool[Tensor, " m"]]:
    start, size = above[-1].stop if above else 0, rows.shape[1]
    own = rows[:, start:stop]
    square = matrix[own.unsqueeze(2), own.unsqueeze(1)]
    rest = matrix[own.unsqueeze(2), rows[:, stop:].unsqueeze(1)]
    z = right[own]
    diagonal = square.diagonal(dim1=1, dim2=2).add_(shift).clone()
    for panel in above:
        left = panel.columns(start, stop)
        square.baddbmm_(left.mT, left, alpha=-1)
        rest.baddbmm_(left.mT, panel.columns(stop, size), alpha=-1)
        z.baddbmm_(left.mT, panel.right, alpha=-1)
    factor, info = torch.linalg.cholesky_ex(square, upper=True)
    pivots = factor.diagonal(dim1=1, dim2=2).square()
    lost = ~(pivots > len(matrix) * torch.finfo(matrix.dtype).eps * diagonal).all(dim=1)  # also true for NaN
    # Into the operand itself: its layout is what the solver wants, and it is copied twice otherwise.
    torch.linalg.solve_triangular(factor.mT, rest, upper=False, out=rest)
    torch.linalg.solve_triangular(factor.mT, z, upper=False, out=z)
    return _Panel(start=start, stop=stop, square=factor, rest=rest, right=z), lost | (info != 0)
