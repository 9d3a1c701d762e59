"""What contributors are owed, with confidence intervals (THEORY 9).

A contributor holding the units K is worth the sum of their scores, averaged over targets and
turned over where a larger target is worse. On a challenge drawn after the claim was committed,
r(x) * sum_{i in K} (x_i - p) / (p(1-p)) has mean (true worth - claimed worth), whatever f is; so
every worth has an unbiased correction and an error from the same retrainings, however many units.

Payouts: a total is shared in proportion to worth; a worth below 0 earns nothing.

Cross-fit's pairs are families of one, and serve as well. Where a prover answered some of them, the
intervals rest on the pairs that the verifier trained itself, which are chosen without regard to
their outputs; then no answer is relied on.

Letters: K contributors, B families, w worths, S the sum of the positive ones, P the total.
Assumption: the mean over B independent families of a family's statistic is taken as Gaussian
(Student's t), whichever certificate they serve; intervals hold for all contributors at once (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from protocol.certificate import bounds
from protocol.certificate.readings import read
from protocol.claim import Claim
from protocol.errors import ArgumentError
from protocol.sampling import Draw
from protocol.task import Task

_CHUNK = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class PayoutsCertificate:
    """Amounts, all of shape (K,).

    worth : claimed, in the targets' unit; larger is better.
    worth_correction, worth_error : estimate of true less claimed worth, and its two-sided error.
    stated : what the payout file says. due : the claim's proportional share of the total.
    lower, upper : interval for the true share; with probability 1 - delta all hold at once.
    outside : whether the stated amount is outside its interval.
    """

    delta: float
    n_families: int
    worth: Float64[np.ndarray, " k"]
    worth_correction: Float64[np.ndarray, " k"]
    worth_error: Float64[np.ndarray, " k"]
    stated: Float64[np.ndarray, " k"]
    due: Float64[np.ndarray, " k"]
    lower: Float64[np.ndarray, " k"]
    upper: Float64[np.ndarray, " k"]
    outside: Bool[np.ndarray, " k"]


def certify(
    task: Task,
    claim: Claim,
    rounds: Sequence[tuple[Draw, Float64[np.ndarray, "_ t"]]],
    groups: Bool[np.ndarray, "k n"],
    stated: Float64[np.ndarray, " k"],
    *,
    delta: float,
    relied_on: Sequence[Int64[np.ndarray, " _"]] | None = None,
) -> PayoutsCertificate:
    """Return each contributor's due amount and interval.

    Parameters
    ----------
    rounds : every look's draw and its outputs, in evaluation order.
    relied_on : of each round the families whose outputs count, ascending and chosen without regard to them; the others'
        outputs are not read. By default all.
    groups : which units each contributor holds; every unit at most once.
    stated : amounts paid; their sum is the total that is shared.
    delta : probability that some interval fails.

    Raises
    ------
    ArgumentError
        A unit in two groups, fewer than 3 families, or worths that do not add up to more than 0.
    """
    if bool((groups.sum(axis=0) > 1).any()):
        raise ArgumentError("payouts: expected every unit with one contributor at most, got one with two")
    if not 0 < delta < 1:
        raise ArgumentError(f"delta: expected a probability strictly between 0 and 1, got {delta}")
    sign = -1.0 if task.targets.kind.larger_is_worse else 1.0
    worth = sign * groups @ claim.scores.mean(axis=0)
    chosen = [None] * len(rounds) if relied_on is None else relied_on
    corrections = [
        _corrections(task, claim, draw, outputs, groups, kept)
        for (draw, outputs), kept in zip(rounds, chosen, strict=True)
    ]
    per_family = sign * np.concatenate(corrections)
    n_families = len(per_family)
    if n_families < 3:
        raise ArgumentError(f"payouts: expected at least 3 families, got {n_families}: allow more retrainings")
    alpha = delta / (2 * len(groups))
    correction, error = per_family.mean(axis=0), bounds.mean_error(per_family, alpha)
    positive, total = worth > 0, float(stated.sum())
    pool = float(worth[positive].sum())
    if not pool > 0:
        raise ArgumentError("payouts: expected worths that add up to more than 0, got none: nobody is due anything")
    due = np.where(positive, worth, 0.0) * total / pool
    # First-order error of P w_k / S: (P/S) (dw_k - (w_k/S) dS), family by family.
    shift = (
        total / pool * (per_family - np.outer(per_family[:, positive].sum(axis=1), np.where(positive, worth, 0) / pool))
    )
    centre = np.where(positive, due, worth * total / pool) + shift.mean(axis=0)
    margin = bounds.mean_error(shift, alpha)
    lower, upper = np.maximum(centre - margin, 0.0), np.maximum(centre + margin, 0.0)
    slack = 1e-9 * total  # amounts in a file are decimals
    return PayoutsCertificate(
        delta=delta,
        n_families=n_families,
        worth=worth,
        worth_correction=correction,
        worth_error=error,
        stated=stated,
        due=due,
        lower=lower,
        upper=upper,
        outside=(stated < lower - slack) | (stated > upper + slack),
    )


def _corrections(
    task: Task,
    claim: Claim,
    draw: Draw,
    outputs: Float64[np.ndarray, "m t"],
    groups: Bool[np.ndarray, "k n"],
    kept: Int64[np.ndarray, " b"] | None,
) -> Float64[np.ndarray, "b k"]:
    """Per family, the mean over siblings of r(x) sum_{i in K} (x_i - p) / (p(1-p)), r averaged over targets."""
    design, readings = draw.design, read(task, claim, draw, outputs)
    kept = np.arange(design.n_families, dtype=np.int64) if kept is None else kept
    residual = readings.residual.mean(axis=2)[kept]
    if readings.even is None:
        residual = residual - residual.mean()
    held = np.empty((residual.size, len(groups)))
    members, weights = groups.astype(np.float64).T, task.p * groups.sum(axis=1)
    siblings = (kept[:, None] * design.n_siblings + np.arange(design.n_siblings)).ravel() * design.n_sides
    for start in range(0, len(held), _CHUNK):
        held[start : start + _CHUNK] = draw.subsets(task, siblings[start : start + _CHUNK]) @ members - weights
    terms = residual[:, :, None] * held.reshape(*residual.shape, len(groups))
    return np.asarray(terms.mean(axis=1) / (task.p * (1 - task.p)))
