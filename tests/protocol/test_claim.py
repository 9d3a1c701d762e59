"""A claim is finite, of one shape, frozen, and every number of it is under its leaves."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest

from protocol.claim import MAX_MAGNITUDE, Claim, Figures
from protocol.encoding import Digest, canonical
from protocol.errors import MalformedMessage

TASK = Digest(bytes(range(32)))


def claim(scores: np.ndarray | None = None, intercepts: np.ndarray | None = None) -> Claim:
    scores = np.arange(6.0).reshape(2, 3) if scores is None else scores
    return Claim(task_digest=TASK, intercepts=np.zeros(2) if intercepts is None else intercepts, scores=scores)


def test_a_claim_counts_its_targets_and_units() -> None:
    assert (claim().n_targets, claim().n_units) == (2, 3)


def test_leaves_are_one_a_target_in_order() -> None:
    made = claim(intercepts=np.array([0.5, -0.5]))
    assert list(made.leaves()) == [
        canonical(["claim leaf", TASK, 0, 0.5, np.array([0.0, 1.0, 2.0])]),
        canonical(["claim leaf", TASK, 1, -0.5, np.array([3.0, 4.0, 5.0])]),
    ]


def test_every_number_is_under_the_leaves() -> None:
    leaves = {b"".join(claim().leaves())}
    for i in range(6):
        scores = np.arange(6.0)
        scores[i] = np.nextafter(scores[i], 9)
        leaves.add(b"".join(claim(scores.reshape(2, 3)).leaves()))
    for t in range(2):
        leaves.add(b"".join(claim(intercepts=np.eye(2)[t]).leaves()))
    leaves.add(b"".join(replace(claim(), task_digest=Digest(bytes(32))).leaves()))
    leaves.add(b"".join(claim(np.arange(6.0).reshape(2, 3)[::-1].copy()).leaves()))
    assert len(leaves) == 11


def test_a_claim_cannot_be_changed() -> None:
    made = claim()
    with pytest.raises(ValueError, match="read-only"):
        made.scores[0, 0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        made.intercepts[0] = 1.0
    with pytest.raises(FrozenInstanceError):
        made.scores = np.zeros((2, 3))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2 * MAX_MAGNITUDE])
def test_a_score_or_intercept_that_is_no_plain_number_is_refused(value: float) -> None:
    scores = np.zeros((2, 3))
    scores[1, 2] = value
    with pytest.raises(MalformedMessage, match="claim: expected finite scores of at most"):
        claim(scores)
    with pytest.raises(MalformedMessage, match="claim: expected finite intercepts of at most"):
        claim(intercepts=np.array([0.0, value]))


def test_the_largest_score_is_taken() -> None:
    assert claim(np.full((2, 3), -MAX_MAGNITUDE)).n_units == 3


@pytest.mark.parametrize(
    ("scores", "intercepts"),
    [(np.zeros((2, 3)), np.zeros(3)), (np.zeros((2, 3)), np.zeros(0))],
    ids=["as many intercepts as units", "no intercepts"],
)
def test_shapes_that_do_not_fit_are_refused(scores: np.ndarray, intercepts: np.ndarray) -> None:
    with pytest.raises(MalformedMessage, match=r"expected scores \(T, N\) and intercepts \(T,\), got"):
        claim(scores, intercepts)


def test_a_task_digest_of_another_length_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="claim's task digest: expected 32 bytes, got 3"):
        replace(claim(), task_digest=Digest(b"abc"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"relative_gap": math.nan}, "expected a finite relative_gap, got nan"),
        ({"odd_residual": math.inf}, "expected a finite odd_residual, got inf"),
        ({"r2": -math.inf}, "expected a finite r2, got -inf"),
        ({"relative_gap": -0.1}, "gap and residual of at least 0"),
        ({"odd_residual": -0.1}, "gap and residual of at least 0"),
        ({"r2": 1.1}, "R\\^2 of at most 1"),
        ({"n_retrainings": -1}, "claim figures: expected"),
    ],
)
def test_figures_that_no_fit_gives_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(MalformedMessage, match=message):
        Figures(**{"relative_gap": 0.1, "odd_residual": 0.1, "r2": 0.9, "n_retrainings": 5, **change})
