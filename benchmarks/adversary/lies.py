"""False answers, placed where they help a claim most (THEORY 3)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float64, Int64

from benchmarks.adversary.sessions import Challenged, Lie
from protocol.certificate.moments.plan_delegated import CHECK_SHARE
from protocol.certificate.readings import read
from protocol.certificate.spot_check import most_false


def greedy(challenged: Challenged) -> Float64[np.ndarray, "m t"]:
    """Return answers of which as many pairs are false as clean checks leave possible, and none that is checked.

    The pairs whose residual is largest are answered as the claim would have it, so that they show none.
    """
    pairs = largest_pairs(challenged, allowed(challenged))
    return as_claimed(challenged, pairs)


def allowed(challenged: Challenged) -> int:
    """Return how many pairs may be false after clean checks, for all that the verifier knows."""
    n_pairs = challenged.draw.n_evaluations // challenged.draw.design.n_sides
    return most_false(n_pairs, len(challenged.checked), CHECK_SHARE * challenged.delta)


def largest_pairs(challenged: Challenged, n: int) -> Int64[np.ndarray, " k"]:
    """Return the ``n`` pairs with the largest residuals, summed over targets in units of their variance."""
    case = challenged.case
    readings = read(case.statement, case.claim.claim, challenged.draw, challenged.true)
    residual = readings.residual[:, 0] - (0.0 if readings.even is not None else readings.residual.mean(axis=(0, 1)))
    order = np.argsort(-(residual**2 @ (1 / case.variance)), kind="stable")
    return np.asarray(order[~np.isin(order, challenged.checked)][:n])


def as_claimed(challenged: Challenged, pairs: Int64[np.ndarray, " k"]) -> Float64[np.ndarray, "m t"]:
    """Return the true answers, but for these pairs, which show no residual; within the targets' ranges."""
    case, sides, answers = challenged.case, challenged.draw.design.n_sides, challenged.true.copy()
    evaluations = (sides * pairs[:, None] + np.arange(sides)).ravel()
    subsets = challenged.draw.subsets(case.statement, evaluations)
    predicted = (subsets - case.game.p) @ case.scores.T
    if sides == 1:
        predicted = predicted + (challenged.true.mean(axis=0))
    statement = case.statement
    answers[evaluations] = np.clip(predicted, statement.lo, statement.hi)
    return answers


def some(share: float) -> Lie:
    """Return the lie of so large a share of the pairs that may be false, wherever checks fall."""

    def lie(challenged: Challenged) -> Float64[np.ndarray, "m t"]:
        n = max(1, round(share * allowed(challenged)))
        return as_claimed(challenged, largest_pairs(replace(challenged, checked=np.zeros(0, dtype=np.int64)), n))

    return lie
