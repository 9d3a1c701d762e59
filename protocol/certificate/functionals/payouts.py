"""What contributors are owed, with intervals that hold at once (THEORY 9).

A contributor's worth is the sum of its units' scores, averaged over targets, larger being better. A
total is shared in proportion to positive worth. The same subsets that bound the gap say by how much
each claimed worth is wrong (``worth``), whatever f is; only subsets that the verifier trained itself
are read, so no answer is relied on. Where every subset was taken there is nothing to estimate.

Letters: K contributors, J of them with units, B families, w worths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from protocol.certificate.functionals import shares
from protocol.certificate.functionals import worth as worths
from protocol.certificate.readings import chosen, read
from protocol.claim import Claim
from protocol.errors import ArgumentError
from protocol.game import Game
from protocol.game.sampling import Draw

MAX_CELLS = 1 << 26
"""Rows times units of the largest regression on units, 512 MiB; beyond it contributors' counts are used."""

_CHUNK = 4096
_DECIMALS = 1e-9  # of the total; amounts in a file are decimals


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """One round's outputs, as far as the verifier trained them itself.

    outputs : shape (m, T), in evaluation order; what was not trained here is not read.
    families : the families trained whole, ascending, chosen without regard to their outputs.
    """

    draw: Draw
    outputs: Float64[np.ndarray, "m t"]
    families: Int64[np.ndarray, " b"]


@dataclass(frozen=True, kw_only=True, eq=False)
class PayoutsCertificate:
    """Amounts, all of shape (K,).

    worth : claimed, in the targets' unit; larger is better. worth_correction : estimate of true less claimed worth.
    stated : what the payout file says. due : the claim's proportional share of the total.
    lower, upper : interval for the true share; with probability 1 - delta all hold at once.
    outside : whether the stated amount is outside its interval.
    estimator : how the corrections were estimated; "all subsets" where they are exact.
    n_families : B; what every interval rests on.
    """

    delta: float
    n_families: int
    estimator: str
    worth: Float64[np.ndarray, " k"]
    worth_correction: Float64[np.ndarray, " k"]
    stated: Float64[np.ndarray, " k"]
    due: Float64[np.ndarray, " k"]
    lower: Float64[np.ndarray, " k"]
    upper: Float64[np.ndarray, " k"]
    outside: Bool[np.ndarray, " k"]

    @property
    def half_width(self) -> float:
        """Half the length of the longest interval, in the amounts' unit."""
        return float(((self.upper - self.lower) / 2).max())

    @property
    def assumption(self) -> str:
        """What the intervals rest on, in one line."""
        if self.estimator == ALL_SUBSETS:
            return "no assumption: every subset was taken"
        return (
            f"the mean over {self.n_families} families is near enough to Gaussian ({self.estimator}); an error on rare "
            "subsets, which so few families do not meet, may be missed"
        )


ALL_SUBSETS = "all subsets"


def families_trained(rounds: Sequence[Trained]) -> int:
    """Return how many families the verifier trained whole."""
    return sum(len(round_.families) for round_ in rounds)


def certify(
    game: Game,
    claim: Claim,
    rounds: Sequence[Trained],
    groups: Bool[np.ndarray, "k n"],
    stated: Float64[np.ndarray, " k"],
    *,
    delta: float,
    sign: float = 1.0,
) -> PayoutsCertificate:
    """Return each contributor's due amount and interval.

    Parameters
    ----------
    rounds : what the verifier trained itself; all of one design but for the number of families.
    groups : which units each contributor holds; every unit at most once. A contributor may hold none.
    stated : amounts paid; their sum is the total that is shared.
    delta : probability that some interval fails.
    sign : -1 where a larger output is worse.

    Raises
    ------
    ArgumentError
        A unit in two groups, fewer families than ``worth.FEWEST_FAMILIES``, or no worth above 0.
    """
    if bool((groups.sum(axis=0) > 1).any()):
        raise ArgumentError("payouts: a unit belongs to one contributor at most, and one has two")
    if not 0 < delta < 1:
        raise ArgumentError(f"delta: expected a probability strictly between 0 and 1, got {delta}")
    estimator, errors = correction_values(game, claim, rounds, groups)
    values = sign * errors
    worth, held = sign * groups @ claim.scores.mean(axis=0), groups.any(axis=1)
    found = shares.share_intervals(worth[held], values[:, held], total=float(stated.sum()), delta=delta)
    lower, upper = np.zeros(len(worth)), np.zeros(len(worth))
    lower[held], upper[held] = found.lower, found.upper
    return _certificate(delta, len(values), estimator.value, worth, values.mean(axis=0), stated, lower, upper)


def certify_exactly(
    claim: Claim,
    best: Float64[np.ndarray, "t n"],
    groups: Bool[np.ndarray, "k n"],
    stated: Float64[np.ndarray, " k"],
    *,
    sign: float = 1.0,
) -> PayoutsCertificate:
    """Return the same where the best scores are known: intervals of no length."""
    claimed, true = (sign * groups @ scores.mean(axis=0) for scores in (claim.scores, best))
    total, amounts = float(stated.sum()), np.maximum(true, 0.0)
    if not amounts.sum() > 0:
        raise ArgumentError("payouts: no contributor's worth is above 0, so nobody is due anything")
    share = amounts * total / amounts.sum()
    return _certificate(0.0, 0, ALL_SUBSETS, claimed, true - claimed, stated, share, share)


def correction_values(
    game: Game, claim: Claim, rounds: Sequence[Trained], groups: Bool[np.ndarray, "k n"]
) -> tuple[worths.Estimator, Float64[np.ndarray, "b k"]]:
    """Return the estimator and the families' values of true less claimed worth, in the targets' unit.

    Whoever holds no unit has values of 0. Units are told apart where there are rows enough, and they fit in memory.
    """
    held, units = np.asarray(groups.any(axis=1)), np.asarray(groups.any(axis=0))
    n_families, n_units = families_trained(rounds), int(units.sum())
    if n_families == 0:
        raise ArgumentError("payouts: no subset was trained here, so nothing can be said: allow more retrainings")
    n_siblings = rounds[0].draw.design.n_siblings
    estimator = worths.estimator_for(
        n_contributors=int(held.sum()),
        n_families=n_families,
        n_siblings=n_siblings,
        n_units=n_units if n_families * n_siblings * n_units <= MAX_CELLS else None,
    )
    by_unit = estimator is worths.Estimator.UNITS
    columns = np.diag(units)[units] if by_unit else groups[held]
    parts = [_rows(game, claim, round_, columns) for round_ in rounds if len(round_.families)]
    residual, counts = (np.concatenate(column) for column in zip(*parts, strict=True))
    p, out = game.measure.p, np.zeros((n_families, len(groups)))
    if by_unit:
        ones = np.ones(n_units, dtype=np.int64)
        out[:, held] = worths.regression(residual, counts, p=p, sizes=ones, groups=groups[held][:, units])
    else:
        sizes = groups[held].sum(axis=1).astype(np.int64)
        out[:, held] = worths.values_of(residual, counts, p=p, sizes=sizes)
    return estimator, out


def _rows(
    game: Game, claim: Claim, round_: Trained, groups: Bool[np.ndarray, "j n"]
) -> tuple[Float64[np.ndarray, "b s"], Float64[np.ndarray, "b s j"]]:
    """Residuals over targets and centred counts; times the root of the likelihood ratio where bases are tilted."""
    draw, design, families = round_.draw, round_.draw.design, round_.families
    readings = chosen(read(game, claim, draw, round_.outputs), families)
    residual = np.asarray(readings.residual.mean(axis=2))
    members = (families[:, None] * design.n_siblings + np.arange(design.n_siblings)).ravel() * design.n_sides
    counts = np.empty((len(members), len(groups)))
    units, weights = groups.astype(np.float64).T, game.measure.p * groups.sum(axis=1)
    for start in range(0, len(members), _CHUNK):
        counts[start : start + _CHUNK] = draw.subsets(game, members[start : start + _CHUNK]) @ units - weights
    shaped = counts.reshape(len(families), design.n_siblings, len(groups))
    if draw.along is None:
        return residual, shaped
    root = np.sqrt(draw.along.likelihood(draw.bases(game, families)))
    return residual * root[:, None], shaped * root[:, None, None]


def _certificate(
    delta: float,
    n_families: int,
    estimator: str,
    worth: Float64[np.ndarray, " k"],
    correction: Float64[np.ndarray, " k"],
    stated: Float64[np.ndarray, " k"],
    lower: Float64[np.ndarray, " k"],
    upper: Float64[np.ndarray, " k"],
) -> PayoutsCertificate:
    positive, total = np.maximum(worth, 0.0), float(stated.sum())
    if not positive.sum() > 0:
        raise ArgumentError("payouts: the claimed worths add up to nothing above 0, so nobody is due anything")
    slack = _DECIMALS * total
    return PayoutsCertificate(
        delta=delta,
        n_families=n_families,
        estimator=estimator,
        worth=worth,
        worth_correction=correction,
        stated=stated,
        due=positive * total / positive.sum(),
        lower=lower,
        upper=upper,
        outside=(stated < lower - slack) | (stated > upper + slack),
    )
