"""What each family adds to the bounds: a few numbers, so that looking again costs nothing (THEORY 2).

Rows are what is bounded: one over all targets (pooled), or one a target (mean, every). A family's
square is not negative and its mean is at least rho times the row's gap, whatever f is.

Letters: B families, R rows, T targets; m_bt the mean of a family's residuals of target t; w_rt the
weight of target t in row r, fixed before the first family was drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64

from protocol.certificate.moments.scales import Scales
from protocol.certificate.readings import Readings
from protocol.certificate.terms import Across
from protocol.game import Game

NO_VARIANCE = 1e-30
"""Of a target's squared half range: a claim's variance below it is none, so that no weight overflows."""

ROUNDING = 2.0**-40
"""Of the pilot's largest output: a claim that varies less does not vary. Beside such outputs it would round away, and a
target that does not vary at all would seem to be told without error."""

LEAST_SQUARE = 1e-9
"""Of an output's variance: no residual's mean square is guessed to be less. A guess is not 0."""

RANGE_PRICE = 1 / 16
"""About what a bound on the mean of n values pays for their range: ln(1/alpha)/n after a hundred families."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """What is bounded, row by row.

    weights : shape (T,), finite, above 0, by the pilot's outputs alone. pooled : whether all targets are one row; else
        each is a row of its own.
    claim_variance : shape (R,); sum_t w_rt Var g_t, exact, over the targets whose claim varies.
    square : shape (R,), above 0; a guess at sum_t w_rt Var r_t, by the pilot.
    length : shape (R,), sqrt(sum_t w_rt Var g_t).
    along, along_scale : shape (R,); mean and standard deviation in the pilot of the residual along the claim.
    along_floor : the least kurtosis that can be assumed of it where bases are not tilted.
    origin : shape (T,); Var f_t is at most the mean square about it. spread : shape (R,), the range of
        sum_t w_rt (f_t - origin_t)^2.
    """

    weights: Float64[np.ndarray, " t"]
    pooled: bool
    claim_variance: Float64[np.ndarray, " r"]
    square: Float64[np.ndarray, " r"]
    length: Float64[np.ndarray, " r"]
    along: Float64[np.ndarray, " r"]
    along_scale: Float64[np.ndarray, " r"]
    along_floor: float
    origin: Float64[np.ndarray, " t"]
    spread: Float64[np.ndarray, " r"]

    @property
    def n_rows(self) -> int:
        """R."""
        return 1 if self.pooled else len(self.weights)

    def of(self, values: Float64[np.ndarray, "*b t"]) -> Float64[np.ndarray, "*b r"]:
        """Return sum_t w_rt of the last axis."""
        return np.asarray((values @ self.weights)[..., None] if self.pooled else values * self.weights)


def rows_of(game: Game, pilot: Readings, scales: Scales, across: Across) -> Rows:
    """Return the rows of a verdict; ``pilot`` is what ``scales`` were made of.

    A row of one target counts in units of its variance in the pilot, and so does each target in a pool.
    """
    pooled = across is Across.POOLED
    weights = scales.weights if pooled else 1 / scales.variance
    origin, claim_variance = _origin(game, pilot), pilot.claim_variance
    bare = Rows(
        weights=weights, pooled=pooled, claim_variance=claim_variance, square=claim_variance, length=claim_variance,
        along=claim_variance, along_scale=claim_variance, along_floor=game.measure.squared_linear_kurtosis,
        origin=origin, spread=claim_variance,
    )  # fmt: skip
    length = np.sqrt(bare.of(claim_variance))
    along = along_claim(pilot, scales, bare, length)
    scale = along.std(axis=0, ddof=1)
    square = bare.of((pilot.residual - scales.centre)[:, 0].var(axis=0))
    return replace(
        bare,
        claim_variance=bare.of(np.where(_varies(game, pilot), claim_variance, 0.0)),
        square=np.maximum(square, LEAST_SQUARE * bare.of(scales.variance)),
        length=length,
        along=along.mean(axis=0),
        along_scale=np.where(scale > 0, scale, 1e-9),
        spread=bare.of(np.maximum(game.hi - origin, origin - game.lo) ** 2),
    )


def _varies(game: Game, pilot: Readings) -> Bool[np.ndarray, " t"]:
    """Whether each target's claim varies by more than outputs are rounded by."""
    size = np.abs(pilot.output).max(axis=(0, 1))
    if pilot.even is not None:
        size = size + np.abs(pilot.even).max(axis=(0, 1))
    least = np.maximum((ROUNDING * size) ** 2, NO_VARIANCE * (game.width / 2) ** 2)
    return np.asarray(pilot.claim_variance > least)


def _origin(game: Game, pilot: Readings) -> Float64[np.ndarray, " t"]:
    """A point near the pilot's mean output, towards the middle of the range: squares about it are small, and bounded.

    With m the mean counted from the middle and h half the range, a point d off the middle makes the mean square Var f +
    (m - d)^2 and its range (h + d)^2. The sum of the first and of RANGE_PRICE times the second is least at this d.
    """
    middle, half = (game.lo + game.hi) / 2, game.width / 2
    mean = (pilot.output if pilot.even is None else pilot.even).mean(axis=(0, 1)) - middle
    off = np.clip((np.abs(mean) - RANGE_PRICE * half) / (1 + RANGE_PRICE), 0.0, half)
    return np.asarray(middle + np.copysign(off, mean))


def along_claim(
    readings: Readings, scales: Scales, rows: Rows, length: Float64[np.ndarray, " r"]
) -> Float64[np.ndarray, "b r"]:
    """Return Z_br, the family's mean of sum_t w_rt (r_t - centre_t) g~_t over the claim's own length; shape (B, R).

    g~ is the claim's linear part, whose mean is 0, so E Z_r = sum_t w_rt <c_t, rhat_t> / length_r whatever the centre,
    and by Cauchy and Schwarz (E Z_r)^2 is at most sum_t w_rt gap_t. A zero claim has no direction and gives 0.
    """
    products = rows.of(((readings.residual - scales.centre) * readings.linear).mean(axis=1))
    return np.asarray(products / np.where(length > 0, length, 1.0))


@dataclass(frozen=True, kw_only=True, eq=False)
class Tally:
    """The families so far, in the order of their index.

    squares : shape (B, R); sum_t w_rt (m_bt - centre_t)^2 over rho.
    along : shape (B, R); the residual along the claim. below : shape (B', R), the mean over siblings of sum_t w_rt
    r_t^2, whose expectation is sum_t w_rt Var r_t. above : shape (B, R), squares about the origin over their range.
    ratio : the range of ``above`` is so many times the rows'; 1 unless bases are tilted.
    by_target : shape (B, T); a family's squares over each target's variance in the pilot, for the reader only.
    """

    squares: Float64[np.ndarray, "b r"]
    along: Float64[np.ndarray, "b r"]
    below: Float64[np.ndarray, "c r"]
    above: Float64[np.ndarray, "b r"]
    by_target: Float64[np.ndarray, "b t"]
    ratio: float

    @property
    def n_families(self) -> int:
        """B."""
        return len(self.squares)


def tally_of(
    readings: Readings,
    scales: Scales,
    rows: Rows,
    *,
    ratio: Float64[np.ndarray, " b"] | None = None,
    largest_ratio: float = 1.0,
) -> Tally:
    """Return what ``readings`` add.

    Parameters
    ----------
    ratio : shape (B,); each base's probability under the measure over that under the law it was drawn from, at most
        ``largest_ratio``; by default 1. With it every mean is what it would be under the measure.
    """
    weight = np.ones(readings.n_families) if ratio is None else ratio
    rho = readings.rho if readings.n_siblings > 1 else 1.0
    means = readings.residual.mean(axis=1) - scales.centre
    share = np.ones(1) if ratio is None else weight / largest_ratio
    below = _below(readings, rows)
    return Tally(
        squares=np.asarray(weight[:, None] * (rows.of(means**2)) / rho),
        along=weight[:, None] * along_claim(readings, scales, rows, rows.length),
        below=weight[: len(below), None] * below,
        above=share[:, None] * _above(readings, rows),
        by_target=weight[:, None] * means**2 / scales.variance / rho,
        ratio=largest_ratio,
    )


def joined(parts: list[Tally]) -> Tally:
    """Return several looks' families as one; their bases are all drawn alike."""
    arrays = [name for name in Tally.__dataclass_fields__ if name != "ratio"]
    return Tally(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in arrays}, ratio=parts[0].ratio)


def _below(readings: Readings, rows: Rows) -> Float64[np.ndarray, "c r"]:
    """Values of mean sum_t w_rt Var r_t, not negative: odd squares, or half squared differences.

    Siblings of a family are alike, so its mean over them is one value. Away from p = 1/2 two families make one value.
    """
    residual = readings.residual
    if readings.even is not None:
        squares = residual**2
    else:
        n = readings.n_families // 2 * 2
        squares = (residual[0:n:2] - residual[1:n:2]) ** 2 / 2
    return rows.of(squares.mean(axis=1))


def _above(readings: Readings, rows: Rows) -> Float64[np.ndarray, "b r"]:
    """Values in [0, 1] whose mean is at least sum_t w_rt Var f_t over ``spread``: squares about the origin."""
    if readings.even is None:
        squares = (readings.output - rows.origin) ** 2
    else:  # of x and its complement: half the sum of both squares is odd^2 + (even - origin)^2
        squares = readings.output**2 + (readings.even - rows.origin) ** 2
    return np.asarray(rows.of(squares.mean(axis=1)) / rows.spread)
