"""Bases drawn along a claim: where its predictions are extreme, more often (THEORY 2.9).

A claim that is tangent to f errs only where its own prediction is far out, and independent subsets
hardly ever are. So a share of the bases is drawn from product measures tilted along the scores, and
each is weighted by its likelihood ratio, which is bounded: every mean stays what it is under B_1/2,
and only its spread changes. An honest claim's residual does not know its direction and costs no more.

Everything here is exact in IEEE arithmetic whatever the order of sums, so that both parties, and a
third party years later, derive the same subsets from a claim.

Letters: T targets, N units, u a target's scores over their length, lambda how far a base is tilted.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt16

UNIFORM_16 = 52429
"""A base is uniform when a 16-bit draw is below this: eight bases in ten, so that no ratio is above 1.25."""

LAMBDAS = (1.0, 2.0)
"""Tilts of the others, equally likely; and every target equally likely to give the direction. The sign does not matter:
a base and its complement are evaluated together."""

LARGEST_RATIO = (1 << 16) / UNIFORM_16

_SCALE = 1 << 19  # of the largest score, to which scores are rounded: squares of 10^7 of them add up within 63 bits
_CHUNK_CELLS = 1 << 24  # of scores held as thresholds at once; does not affect outputs


class Tilts:
    """The tilted measures of one claim.

    Parameters
    ----------
    scores : shape (T, N), finite.
    """

    def __init__(self, scores: Float64[np.ndarray, "t n"]) -> None:
        self._scores = scores

    @property
    def n_targets(self) -> int:
        """T."""
        return len(self._scores)

    def thresholds(self, targets: Int64[np.ndarray, " k"]) -> UInt16[np.ndarray, "k l n"]:
        """Return what a 16-bit draw must be below for a unit to be in, per target and lambda; shape (k, 2, N).

        65536 (1 + t / sqrt(1 + t^2)) / 2 rounded down, t = lambda u_i, from 1 to 65535. u comes from the scores over
        their largest, rounded to multiples of 2^-19, so its length is the root of a sum of integers.
        """
        rows = self._scores[targets]
        largest = np.abs(rows).max(axis=1, keepdims=True)
        whole = np.rint(rows / np.where(largest > 0, largest, 1.0) * _SCALE).astype(np.int64)
        squares = (whole**2).sum(axis=1, keepdims=True)
        unit = whole / np.sqrt(np.maximum(squares, 1).astype(np.float64))
        tilted = np.array(LAMBDAS)[None, :, None] * unit[:, None, :]
        share = (1 + tilted / np.sqrt(1 + tilted * tilted)) / 2
        return np.asarray(np.clip(np.floor(65536 * share), 1, 65535).astype(np.uint16))

    def likelihood(self, bases: Bool[np.ndarray, "b n"]) -> Float64[np.ndarray, " b"]:
        """Return each base's probability under B_1/2 over that under the mixture, base and complement taken as one."""
        total = np.zeros(len(bases))
        step = max(1, _CHUNK_CELLS // (len(LAMBDAS) * max(bases.shape[1], 1)))
        inside = bases.astype(np.float64)
        for start in range(0, self.n_targets, step):
            targets = np.arange(start, min(start + step, self.n_targets), dtype=np.int64)
            found = self.thresholds(targets).reshape(-1, bases.shape[1]) / 65536.0
            log_in, log_out = np.log(2 * found), np.log(2 * (1 - found))
            along = inside @ (log_in - log_out).T
            for logs in (along + log_out.sum(axis=1), log_in.sum(axis=1) - along):
                total += np.exp(np.minimum(logs, 700.0)).sum(axis=1) / 2
        tilted = total / (self.n_targets * len(LAMBDAS))
        uniform = UNIFORM_16 / (1 << 16)
        return np.asarray(1 / (uniform + (1 - uniform) * tilted))
