"""The learning curve that plans a campaign."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import InternalError
from prover.fitting.curve import evaluations_needed, noise_from_moments, ridge_gap

signals = st.floats(1e-3, 1.0)
noises = st.floats(1e-6, 2.0)


@given(st.floats(1, 1e6), signals, noises)
def test_the_gap_solves_its_equation(n: float, signal: float, noise: float) -> None:
    gap, n_units = ridge_gap(n=n, n_units=1000, signal=signal, noise=noise), 1000
    per_unit, variance = signal / n_units, (noise + gap) / n
    assert gap / n_units == pytest.approx(per_unit * variance / (per_unit + variance), rel=1e-6)


@given(signals, noises, st.floats(1e-3, 0.9))
def test_the_evaluations_needed_bring_the_gap_asked_for(signal: float, noise: float, share: float) -> None:
    n = evaluations_needed(gap=share * signal, n_units=300, signal=signal, noise=noise)
    assert ridge_gap(n=n, n_units=300, signal=signal, noise=noise) == pytest.approx(share * signal, rel=1e-6)


@given(st.floats(10, 1e5), signals, noises)
def test_the_noise_is_found_from_two_mean_squares(n: float, signal: float, noise: float) -> None:
    residual = noise + ridge_gap(n=n, n_units=100, signal=signal, noise=noise)
    found = noise_from_moments(n=n, n_units=100, total=signal + noise, residual=residual)
    # What matters is the curve; where n is far below N, the two mean squares hardly tell signal from noise.
    assert ridge_gap(n=n, n_units=100, signal=signal + noise - found, noise=found) + found == pytest.approx(residual)


def test_limits_are_as_they_must_be() -> None:
    assert ridge_gap(n=0, n_units=100, signal=0.7, noise=0.1) == pytest.approx(0.7)
    assert ridge_gap(n=10, n_units=100, signal=0.0, noise=0.1) == 0.0
    assert ridge_gap(n=200, n_units=100, signal=0.7, noise=0.0) == 0.0
    assert ridge_gap(n=25, n_units=100, signal=1.0, noise=0.0) == pytest.approx(0.75)
    assert ridge_gap(n=1e6, n_units=100, signal=1.0, noise=0.5) == pytest.approx(0.5 * 100 / 1e6, rel=1e-3)
    assert evaluations_needed(gap=0.8, n_units=100, signal=0.7, noise=0.1) == 0.0


def test_nonsense_is_a_bug() -> None:
    with pytest.raises(InternalError):
        ridge_gap(n=1, n_units=1, signal=-1.0, noise=0.0)
    with pytest.raises(InternalError):
        evaluations_needed(gap=0.0, n_units=1, signal=1.0, noise=0.0)


@pytest.mark.parametrize("n", [100, 300, 900])
def test_simulated_ridge_fits_have_the_gap_that_the_curve_says(n: int) -> None:
    """At the best penalty, the mean gap of 24 targets: within 5% and 5 standard errors, at a fixed seed."""
    rng, n_units, noise = np.random.default_rng(11), 200, 0.3
    best = rng.standard_normal((n_units, 24)) / np.sqrt(n_units)
    signal = float((best**2).sum(axis=0).mean())
    phi = rng.choice([-1.0, 1.0], size=(n, n_units))
    y = phi @ best + np.sqrt(noise) * rng.standard_normal((n, 24))
    fitted = np.linalg.solve(phi.T @ phi + noise * n_units / signal * np.eye(n_units), phi.T @ y)
    gaps = ((fitted - best) ** 2).sum(axis=0)
    expected = ridge_gap(n=n, n_units=n_units, signal=signal, noise=noise)
    assert abs(gaps.mean() - expected) <= 0.05 * expected + 5 * gaps.std() / np.sqrt(24)
