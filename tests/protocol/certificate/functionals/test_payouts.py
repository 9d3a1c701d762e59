"""Amounts against games whose best scores are known: which estimator is taken, and that its intervals hold."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from protocol.certificate.functionals import payouts
from protocol.certificate.functionals.payouts import Trained
from protocol.certificate.functionals.worth import Estimator
from protocol.claim import Claim
from protocol.encoding import Seed
from protocol.errors import ArgumentError
from protocol.game.known import Polynomial, statement_of
from protocol.game.sampling import Draw, families, pairs

N = 54
PLUS = np.flatnonzero(Polynomial(n_units=N, w1=1.0, w2=0.0, w3=0.0).best[0] > 0)
GROUPS = np.array([np.isin(np.arange(N), PLUS[k::4]) for k in range(4)])
"""Four holders of all units of positive worth; the others belong to nobody."""

STATED = np.full(4, 25.0)
DELTA = 0.025


def game_of(p: float = 0.5) -> Polynomial:
    return Polynomial(n_units=N, w1=0.9, w2=0.06, w3=0.04, p=p)


def claim_of(game: Polynomial, factor: float) -> Claim:
    """Every score of the first holder times ``factor``, so that its worth is wrong."""
    scores = game.best * np.where(GROUPS[0], factor, 1.0)
    return Claim(
        task_digest=statement_of(game).digest, intercepts=-statement_of(game).measure.p * scores.sum(axis=1),
        scores=scores,
    )  # fmt: skip


def trained(game: Polynomial, n: int, key: str, *, n_siblings: int = 1) -> Trained:
    even = game.p == 0.5
    design = (
        pairs(n, complements=even)
        if n_siblings == 1
        else families(n_families=n, n_siblings=n_siblings, rho=0.7, complements=even)
    )
    draw = Draw(seed=Seed(hashlib.sha256(key.encode()).digest()), design=design)
    subsets = draw.subsets(statement_of(game), np.arange(draw.n_evaluations))
    return Trained(draw=draw, outputs=game.outputs(subsets), families=np.arange(n, dtype=np.int64))


def true_shares(game: Polynomial) -> np.ndarray:
    worth = np.maximum(GROUPS @ game.best[0], 0.0)
    return np.asarray(STATED.sum() * worth / worth.sum())


@pytest.mark.parametrize(
    ("n", "p", "n_siblings", "estimator"),
    [
        (200, 0.5, 1, Estimator.REGRESSION),
        (240, 0.5, 1, Estimator.UNITS),
        (240, 0.4, 1, Estimator.UNITS),
        (100, 0.5, 2, Estimator.REGRESSION),
    ],
)
def test_the_true_shares_are_inside_and_the_claimed_ones_outside(
    n: int, p: float, n_siblings: int, estimator: Estimator
) -> None:
    game = game_of(p)
    found = payouts.certify(
        statement_of(game), claim_of(game, 3.0), [trained(game, n, "a", n_siblings=n_siblings)], GROUPS, STATED,
        delta=DELTA,
    )  # fmt: skip
    assert found.estimator == estimator.value
    assert found.n_families == n
    true = true_shares(game)
    assert (found.lower <= true).all()
    assert (true <= found.upper).all()
    assert not ((found.lower <= found.due) & (found.due <= found.upper)).all()
    assert found.outside.any()


def test_rounds_are_put_together() -> None:
    game = game_of()
    parts = [trained(game, 100, "a"), trained(game, 140, "b")]
    found = payouts.certify(statement_of(game), claim_of(game, 1.0), parts, GROUPS, STATED, delta=DELTA)
    assert (found.n_families, found.estimator) == (240, Estimator.UNITS.value)


def test_units_that_do_not_fit_in_memory_are_counted_by_contributor(monkeypatch: pytest.MonkeyPatch) -> None:
    game, rounds = game_of(), [trained(game_of(), 240, "a")]
    by_unit = payouts.certify(statement_of(game), claim_of(game, 1.0), rounds, GROUPS, STATED, delta=DELTA)
    monkeypatch.setattr(payouts, "MAX_CELLS", 240 * len(PLUS) - 1)
    by_holder = payouts.certify(statement_of(game), claim_of(game, 1.0), rounds, GROUPS, STATED, delta=DELTA)
    assert (by_unit.estimator, by_holder.estimator) == (Estimator.UNITS.value, Estimator.REGRESSION.value)
    assert not np.array_equal(by_unit.lower, by_holder.lower)


def test_whoever_holds_no_unit_is_due_nothing_for_certain() -> None:
    game = game_of()
    groups = np.concatenate([GROUPS[:3], np.zeros((1, N), dtype=bool)])
    found = payouts.certify(
        statement_of(game), claim_of(game, 1.0), [trained(game, 240, "a")], groups, STATED, delta=DELTA
    )
    assert (found.lower[3], found.upper[3], found.worth_correction[3]) == (0.0, 0.0, 0.0)
    assert found.outside[3]


def test_intervals_miss_as_seldom_as_delta_says() -> None:
    game, missed = game_of(), 0
    for k in range(200):
        found = payouts.certify(
            statement_of(game), claim_of(game, 3.0), [trained(game, 240, f"run {k}")], GROUPS, STATED, delta=0.1
        )
        true = true_shares(game)
        missed += bool(((true < found.lower) | (true > found.upper)).any())
    assert missed <= 32  # a miss has probability at most .1: above 32 of 200 with probability .003


def test_all_subsets_leave_nothing_open() -> None:
    game = game_of()
    found = payouts.certify_exactly(claim_of(game, 3.0), game.best, GROUPS, STATED)
    assert found.lower == pytest.approx(true_shares(game))
    assert np.array_equal(found.lower, found.upper)
    assert "no assumption" in found.assumption


@pytest.mark.parametrize(
    ("groups", "delta", "message"),
    [
        (np.ones((2, N), dtype=bool), DELTA, "one contributor at most"),
        (GROUPS, 0.0, "delta"),
        (GROUPS, 1.0, "delta"),
    ],
)
def test_what_cannot_be_shared_is_refused(groups: np.ndarray, delta: float, message: str) -> None:
    game = game_of()
    with pytest.raises(ArgumentError, match=message):
        payouts.certify(
            statement_of(game), claim_of(game, 1.0), [trained(game, 240, "a")], groups, STATED[: len(groups)],
            delta=delta,
        )  # fmt: skip


@pytest.mark.parametrize("n", [0, 99, 199])
def test_too_few_subsets_are_refused(n: int) -> None:
    game = game_of()
    rounds = [trained(game, n, "a")] if n else []
    with pytest.raises(ArgumentError, match="retrainings"):
        payouts.certify(statement_of(game), claim_of(game, 1.0), rounds, GROUPS, STATED, delta=DELTA)
