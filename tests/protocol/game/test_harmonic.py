"""p-biased Fourier analysis against enumeration of all subsets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from protocol.game import harmonic

N = 4
BIASES = [0.5, 0.3, 1 / 65536, 65535 / 65536]


def every_subset(n: int = N) -> np.ndarray:
    return np.array(list(itertools.product([False, True], repeat=n)))


def probabilities(subsets: np.ndarray, p: float) -> np.ndarray:
    return np.array([np.prod([p if bit else 1 - p for bit in row]) for row in subsets])


@pytest.mark.parametrize("p", BIASES)
def test_characters_are_orthonormal_under_the_subset_distribution(p: float) -> None:
    subsets = every_subset()
    weight, phi = probabilities(subsets, p), harmonic.characters(subsets, p)
    assert weight @ phi == pytest.approx(np.zeros(N), abs=1e-9)
    assert (phi.T * weight) @ phi == pytest.approx(np.eye(N), abs=1e-9)


@pytest.mark.parametrize("p", BIASES)
def test_excess_kurtosis_is_that_of_a_character(p: float) -> None:
    subsets = every_subset()
    fourth = probabilities(subsets, p) @ harmonic.characters(subsets, p)[:, 0] ** 4
    assert harmonic.excess_kurtosis(p) == pytest.approx(fourth - 3, rel=1e-9)


@pytest.mark.parametrize("p", BIASES)
def test_a_linear_predictor_has_the_coefficients_and_the_variance_stated(p: float) -> None:
    weights = np.random.default_rng(1).standard_normal((2, N))
    subsets = every_subset()
    chance, values = probabilities(subsets, p), every_subset() @ weights.T + [3.0, -2.0]
    naive = (chance * values.T) @ harmonic.characters(subsets, p)  # E[g phi_i]
    assert harmonic.coefficients_from_weights(weights, p) == pytest.approx(naive, abs=1e-9)
    variance = chance @ values**2 - (chance @ values) ** 2
    assert harmonic.linear_variance(weights, p) == pytest.approx(variance, abs=1e-9)


@pytest.mark.parametrize("p", BIASES)
def test_coefficients_and_weights_are_inverse(p: float) -> None:
    weights = np.random.default_rng(2).standard_normal((3, 2, N))
    there = harmonic.coefficients_from_weights(weights, p)
    assert harmonic.weights_from_coefficients(there, p) == pytest.approx(weights, rel=1e-12)


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_gap_is_the_excess_of_mse_over_the_best_linear_predictor(p: float) -> None:
    """For any f at all: the best weights by weighted least squares, both errors by enumeration."""
    rng = np.random.default_rng(3)
    subsets = every_subset()
    chance, f = probabilities(subsets, p), rng.standard_normal(2**N)
    design = np.hstack([np.ones((2**N, 1)), subsets])
    root = np.sqrt(chance)
    best, *_ = np.linalg.lstsq(design * root[:, None], f * root, rcond=None)

    def error(weights: np.ndarray) -> float:
        """Mean squared error with the intercept profiled out."""
        residual = f - subsets @ weights
        return float(chance @ (residual - chance @ residual) ** 2)

    claimed = rng.standard_normal(N)
    assert harmonic.gap(claimed, best[1:], p) == pytest.approx(error(claimed) - error(best[1:]), rel=1e-9)
    for i in range(N):  # and the best weight is E[f | x_i = 1] - E[f | x_i = 0]
        inside = subsets[:, i]
        difference = chance[inside] @ f[inside] / p - chance[~inside] @ f[~inside] / (1 - p)
        assert best[1 + i] == pytest.approx(difference, abs=1e-9)
