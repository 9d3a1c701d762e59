"""Cross-fit's rounds of pairs: what was drawn and answered, and what the certificate reads off it (THEORY 5.1).

Letters: m pairs in a round, T targets, N units, R rows of a certificate; r the residual over its scale; phi the
characters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from protocol.certificate.crossfit.pilot import Scale
from protocol.certificate.terms import Across
from protocol.game import Game, harmonic
from protocol.game.sampling import Draw

_CHUNK_CELLS = 1 << 24  # of the characters held as float64 at once; does not affect outputs
_HELD_CELLS = 1 << 27  # of subsets, one byte each, held rather than derived three times; does not affect outputs


@dataclass(frozen=True, kw_only=True, eq=False)
class Round:
    """One round of independent subsets, answered.

    outputs : shape (m sides, T), in evaluation order; the verifier's own where it trained.
    trained : shape (k,), numbers of the pairs that the verifier trained itself, ascending.
    n_false : most pairs that can be false (THEORY 7); 0 when all were trained.
    tolerance : by how much any other output may be off, in the targets' unit; 0 when all were trained.
    """

    draw: Draw
    outputs: Float64[np.ndarray, "e t"]
    trained: Int64[np.ndarray, " k"]
    n_false: int
    tolerance: float

    @property
    def n_pairs(self) -> int:
        """m."""
        return self.draw.design.n_families

    @property
    def all_trained(self) -> bool:
        """Whether nobody was trusted."""
        return len(self.trained) == self.n_pairs

    @property
    def by_pair(self) -> Float64[np.ndarray, "m s t"]:
        """Outputs, one row a pair."""
        return self.outputs.reshape(self.n_pairs, -1, self.outputs.shape[1])

    def first_subsets(self, game: Game, n: int) -> Bool[np.ndarray, "n units"]:
        """Return the first n pairs' subsets, without complements."""
        return self.draw.subsets(game, np.arange(n, dtype=np.int64) * self.draw.design.n_sides)


class Side:
    """One round's residuals and characters, its first ``skip`` pairs left out.

    m : pairs that are left.
    linear : shape (m, T), the claim's linear part, in the targets' unit.
    residual : shape (m, T), r, of the odd part at p = 1/2.
    own : shape (k, sides, T), outputs of those that the verifier trained.
    trained : shape (m,), which they are.
    size : shape (m, R), each row's norm of r before it was drawn in.
    """

    def __init__(self, game: Game, scale: Scale, round_: Round, *, skip: int = 0) -> None:
        self._game, self._draw, self._first = game, round_.draw, skip
        self.m, self.n_false, self.tolerance = round_.n_pairs - skip, round_.n_false, round_.tolerance
        self.all_trained = round_.all_trained
        self._subsets: Bool[np.ndarray, "m n"] | None = None
        if self.m * game.n_units <= _HELD_CELLS:
            self._subsets = self._drawn(0, self.m)
        whole = round_.by_pair[skip:]
        self.linear = self.along(scale.coefficients)
        self.residual = residuals(game, scale, whole, self.linear)
        self.trained = np.isin(np.arange(skip, round_.n_pairs), round_.trained)
        self.own = whole[self.trained]

    def draw_in(self, radii: Float64[np.ndarray, " r"], across: Across) -> None:
        """Shrink every residual outside its row's ball onto it."""
        self.size = row_sizes(self.residual, across)
        self.residual = self.residual * np.minimum(1.0, radii / np.maximum(self.size, radii))

    def coefficients(self) -> Float64[np.ndarray, "t n"]:
        """Return the mean of r phi^T."""
        total = np.zeros((self._game.n_targets, self._game.n_units))
        for start, stop in self._chunks():
            total += self.residual[start:stop].T @ self._characters(start, stop)
        return total / self.m

    def along(self, direction: Float64[np.ndarray, "t n"]) -> Float64[np.ndarray, "m t"]:
        """Return the direction times phi, for every pair."""
        return np.concatenate([self._characters(start, stop) @ direction.T for start, stop in self._chunks()])

    def _characters(self, start: int, stop: int) -> Float64[np.ndarray, "k n"]:
        held = self._subsets
        subsets = self._drawn(start, stop) if held is None else held[start:stop]
        return harmonic.characters(subsets, self._game.measure.p)

    def _drawn(self, start: int, stop: int) -> Bool[np.ndarray, "k n"]:
        members = np.arange(start + self._first, stop + self._first, dtype=np.int64) * self._draw.design.n_sides
        return self._draw.subsets(self._game, members)

    def _chunks(self) -> list[tuple[int, int]]:
        step = max(1, _CHUNK_CELLS // self._game.n_units)
        return [(start, min(start + step, self.m)) for start in range(0, self.m, step)]


def residuals(
    game: Game, scale: Scale, outputs: Float64[np.ndarray, "m s t"], linear: Float64[np.ndarray, "m t"]
) -> Float64[np.ndarray, "m t"]:
    """Return r: the outputs' odd part (p = 1/2) or the outputs less their centre, less the claim's ``linear`` part."""
    f = (outputs[:, 0] - outputs[:, 1]) / 2 if game.measure.has_complements else outputs[:, 0] - scale.centre
    return np.asarray((f - linear) / scale.scale)


def row_sizes(values: Float64[np.ndarray, "*m t"], across: Across) -> Float64[np.ndarray, "*m r"]:
    """Return norms over each row's targets, over the root of their number."""
    if across is Across.EVERY:
        return np.asarray(np.abs(values))
    return np.asarray(np.sqrt((values**2).mean(axis=-1, keepdims=True)))
