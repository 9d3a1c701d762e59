"""The held-out gap: unbiased, as its naive twin, with an error that covers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from protocol.errors import InternalError
from protocol.game import harmonic
from protocol.game.known import Parity, Polynomial
from prover.fitting.heldout import Dense, Quality, fitted_part, gap_estimate, gap_shares, quality, spread


def subsets(n: int, n_units: int, seed: int, p: float = 0.5) -> np.ndarray:
    return np.random.default_rng(seed).random((n, n_units)) < p


def both_sides(game: Polynomial | Parity, x: np.ndarray) -> np.ndarray:
    return np.stack([game.outputs(x), game.outputs(~x)], axis=1)


def naive_gap(phi: np.ndarray, r: np.ndarray) -> float:
    n = len(r)
    return float(sum(r[j] * r[k] * (phi[j] @ phi[k]) for j in range(n) for k in range(n) if j != k) / (n * (n - 1)))


def test_the_estimate_is_the_mean_over_all_pairs() -> None:
    phi = harmonic.characters(subsets(13, 7, seed=1), 0.5)
    r = np.random.default_rng(2).standard_normal((13, 3))
    expected = [naive_gap(phi, r[:, t]) for t in range(3)]
    assert gap_estimate(Dense(torch.tensor(phi)), torch.tensor(r)).numpy() == pytest.approx(expected)
    assert gap_shares(Dense(torch.tensor(phi)), torch.tensor(r)).mean(dim=0).numpy() == pytest.approx(expected)


def test_two_evaluations_are_needed() -> None:
    with pytest.raises(InternalError):
        gap_estimate(Dense(torch.ones(1, 3, dtype=torch.float64)), torch.ones(1, 1, dtype=torch.float64))


@pytest.mark.parametrize("p", [0.5, 0.2])
def test_the_estimate_is_unbiased_and_its_error_covers(p: float) -> None:
    """Over 200 runs: the mean within 4.5 standard errors (false alarm below 1e-5), coverage of +-2 errors at least 90%.

    The error is a jackknife's, never too small in expectation, so nominal coverage is 95%; 200 runs at 95% fall below
    90% with probability below 0.3%, and the seed is fixed.
    """
    game, n = Polynomial(n_units=12, w1=0.3, w2=0.4, w3=0.3, p=p), 60
    claimed = 0.5 * game.best
    true = float(harmonic.gap(claimed, game.best, p)[0])
    estimates, errors = [], []
    for run in range(200):
        x = subsets(n, 12, seed=run, p=p)
        outputs = game.outputs(x)[:, None, :]
        residuals = game.outputs(x) - (x - p) @ claimed.T
        phi = Dense(torch.tensor(harmonic.characters(x, p)))
        unscaled = spread(outputs, 0.0)
        q = quality([(phi, torch.tensor(residuals))], unscaled, 1)
        estimates.append(float(q.relative_gap[0] * unscaled.variance[0]))
        errors.append(float(q.relative_gap_error[0] * unscaled.variance[0]))
    off = np.array(estimates) - true
    assert abs(off.mean()) <= 4.5 * off.std() / np.sqrt(200)
    assert (np.abs(off) <= 2 * np.array(errors)).mean() >= 0.90


def test_a_constant_in_the_residual_changes_little_and_biases_nothing() -> None:
    game = Polynomial(n_units=20, w1=1.0, w2=0.0, w3=0.0)
    x = subsets(4000, 20, seed=3)
    phi = Dense(torch.tensor(harmonic.characters(x, 0.5)))
    exact = torch.zeros(4000, 1, dtype=torch.float64)
    assert float(gap_estimate(phi, exact + 1.0)) == pytest.approx(0.0, abs=5 * np.sqrt(2 * 20) / 4000)
    assert float(gap_estimate(phi, torch.tensor(game.outputs(x)))) == pytest.approx(1.0, abs=0.2)


def test_at_a_half_even_interactions_drop_out() -> None:
    game = Polynomial(n_units=12, w1=0.5, w2=3.0, w3=0.0)
    x = subsets(50, 12, seed=4)
    odd = fitted_part(both_sides(game, x))
    assert odd == pytest.approx((x - 0.5) @ game.best.T)


def test_the_parts_of_var_f_add_up_to_it() -> None:
    game = Polynomial(n_units=12, w1=0.5, w2=0.3, w3=0.2)
    parts = spread(both_sides(game, subsets(20_000, 12, seed=5)), 0.0)
    # Pairs are independent; 5% is more than 5 standard errors of each.
    assert parts.variance[0] == pytest.approx(1.0, rel=0.05)
    assert parts.even[0] == pytest.approx(0.3, rel=0.06)
    assert parts.fitted[0] == pytest.approx(0.7, rel=0.06)


def test_a_constant_target_is_left_out_of_every_mean() -> None:
    x = subsets(40, 12, seed=6)
    game = both_sides(Polynomial(n_units=12, w1=1.0, w2=0.0, w3=0.0), x)
    outputs = np.concatenate([game, np.full_like(game, 7.0)], axis=2)
    parts = spread(outputs, 1e-9)
    assert parts.varies.tolist() == [True, False]
    residuals = torch.tensor(fitted_part(outputs))
    q = quality([(Dense(torch.tensor(harmonic.characters(x, 0.5))), residuals)], parts, 2)
    assert q.relative_gap[1] == q.odd_residual[1] == q.r2[1] == 0.0
    assert q.mean_gap == q.relative_gap[0]
    assert q.figures(80).odd_residual == pytest.approx(q.odd_residual[0])


def test_figures_are_publishable_whatever_the_noise() -> None:
    x = subsets(40, 12, seed=7)
    outputs = both_sides(Parity(n_units=12, degree=3), x)
    q = quality(
        [(Dense(torch.tensor(harmonic.characters(x, 0.5))), torch.zeros(40, 1, dtype=torch.float64))],
        spread(outputs, 0.0),
        1,
    )
    assert q.figures(80).relative_gap == 0.0


@pytest.mark.parametrize(
    ("estimate", "error", "odd", "stated"),
    [
        (0.2, 0.05, 0.5, 0.25),
        (-0.1, 0.05, 0.5, 0.05),
        (-0.9, 0.3, 0.5, 0.3),
        (0.2, 0.4, 0.5, 0.5),
        (0.0, 0.0, 0.5, 0.0),
    ],
)
def test_a_gap_is_stated_with_its_error_and_no_larger_than_the_odd_residual(
    estimate: float, error: float, odd: float, stated: float
) -> None:
    q = Quality(
        relative_gap=np.array([estimate]), relative_gap_error=np.array([error]), odd_residual=np.array([odd]),
        r2=np.array([1 - odd]), varies=np.array([True]), mean_gap_error=error, n_heldout=40,
    )  # fmt: skip
    assert q.figures(80).relative_gap == pytest.approx(stated)
