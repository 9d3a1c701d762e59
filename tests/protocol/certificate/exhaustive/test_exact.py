"""Exact analysis of few units against naive twins, and on games with known answers."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from protocol.certificate import exhaustive
from protocol.certificate.terms import Across
from protocol.errors import ArgumentError
from protocol.game import harmonic
from protocol.game.known import Majority, Parity, SparsePolynomial
from tests.protocol.certificate import enumeration

ROUNDING = 1e-12
"""2^6 terms of order 1 each, summed: 1e-16 times their number, and room."""
N = 6


def random_outputs(n: int, n_targets: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((1 << n, n_targets))


def in_their_order(n: int) -> np.ndarray:
    """Where the naive twin's rows, unit 0 the slowest, are among ours."""
    return enumeration.every_subset(n) @ (1 << np.arange(n))


def test_rows_are_numbered_by_bits() -> None:
    found = exhaustive.subsets(3)
    assert found[5].tolist() == [True, False, True]
    assert not found[0].any()
    assert found[7].all()
    np.testing.assert_array_equal(found[in_their_order(3)], enumeration.every_subset(3))


@pytest.mark.parametrize("p", [0.5, 0.3, 0.9])
def test_probabilities_and_fourier_coefficients_are_those_of_the_naive_twin(p: float) -> None:
    order, outputs = in_their_order(N), random_outputs(N, 1)
    np.testing.assert_allclose(exhaustive.probabilities(N, p)[order], enumeration.probabilities(N, p), rtol=1e-13)
    naive = enumeration.coefficients(outputs[order, 0], N, p)
    found = exhaustive.fourier(outputs, p)[:, 0]
    for members, value in naive.items():
        assert found[sum(1 << i for i in members)] == pytest.approx(value, abs=ROUNDING)
    assert exhaustive.variances(outputs, p)[0] == pytest.approx((found[1:] ** 2).sum(), rel=ROUNDING)


@pytest.mark.parametrize("p", [0.5, 0.3, 0.9])
def test_the_best_linear_predictor_is_that_of_weighted_least_squares(p: float) -> None:
    outputs = random_outputs(N)
    root = np.sqrt(exhaustive.probabilities(N, p))[:, None]
    design = np.column_stack([np.ones(1 << N), exhaustive.subsets(N)])
    fitted = np.linalg.lstsq(design * root, outputs * root, rcond=None)[0]
    intercepts, scores = exhaustive.best_linear(outputs, p)
    np.testing.assert_allclose(intercepts, fitted[0], atol=ROUNDING)
    np.testing.assert_allclose(scores, fitted[1:].T, atol=ROUNDING)
    np.testing.assert_allclose(exhaustive.gaps(outputs, scores, p), 0.0, atol=ROUNDING**2)


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_a_gap_is_the_difference_of_two_mean_squared_errors(p: float) -> None:
    outputs, chances = random_outputs(N), exhaustive.probabilities(N, p)
    scores = np.random.default_rng(1).standard_normal((2, N))

    def error(weights: np.ndarray) -> np.ndarray:
        residual = outputs - exhaustive.subsets(N) @ weights.T
        return np.asarray(chances @ (residual - chances @ residual) ** 2)

    expected = error(scores) - error(exhaustive.best_linear(outputs, p)[1])
    np.testing.assert_allclose(exhaustive.gaps(outputs, scores, p), expected, rtol=ROUNDING * 100)


def test_shapley_values_are_the_mean_over_all_orders() -> None:
    outputs, n = random_outputs(5), 5
    expected = np.zeros((2, n))
    for order in itertools.permutations(range(n)):
        x = 0
        for unit in order:
            expected[:, unit] += outputs[x | 1 << unit] - outputs[x]
            x |= 1 << unit
    found = exhaustive.shapley_values(outputs)
    np.testing.assert_allclose(found, expected / math.factorial(n), atol=ROUNDING)
    np.testing.assert_allclose(found.sum(axis=1), outputs[-1] - outputs[0], atol=ROUNDING)


def test_dividends_are_alternating_sums_and_their_shares_are_the_shapley_values() -> None:
    outputs, subsets = random_outputs(N), exhaustive.subsets(N)
    found = exhaustive.dividends(outputs)
    for top in (0, 5, 63):
        inside = [x for x in range(1 << N) if x & ~top == 0]
        signs = [(-1.0) ** (bin(top).count("1") - bin(x).count("1")) for x in inside]
        np.testing.assert_allclose(found[top], np.array(signs) @ outputs[inside], atol=ROUNDING)
    shares = found[1:].T @ (subsets[1:] / subsets[1:].sum(axis=1, keepdims=True))
    np.testing.assert_allclose(shares, exhaustive.shapley_values(outputs), atol=ROUNDING)


# ---------------------------------------------------------------------------------------- known games


@pytest.mark.parametrize("n", [3, 7])
def test_majority(n: int) -> None:
    game = Majority(n)
    outputs = game.outputs(exhaustive.subsets(n))
    np.testing.assert_allclose(exhaustive.best_linear(outputs, 0.5)[1], game.best, rtol=ROUNDING)
    np.testing.assert_allclose(exhaustive.shapley_values(outputs), 2.0 / n, rtol=ROUNDING)
    assert exhaustive.variances(outputs, 0.5)[0] == pytest.approx(1.0)


def test_parity_has_one_interaction_and_no_linear_part() -> None:
    outputs = Parity(N, degree=3).outputs(exhaustive.subsets(N))
    coefficients = exhaustive.fourier(outputs, 0.5)[:, 0]
    assert coefficients[0b111] == pytest.approx(1.0)
    assert np.abs(np.delete(coefficients, 0b111)).max() < ROUNDING
    np.testing.assert_allclose(exhaustive.best_linear(outputs, 0.5)[1], 0.0, atol=ROUNDING)
    wrong = np.full((1, N), 0.5)
    gap, variance = exhaustive.gaps(outputs, wrong, 0.5), exhaustive.variances(outputs, 0.5)
    assert exhaustive.relative_gaps(gap, variance, Across.EVERY)[0] == pytest.approx(N * 0.25 / 4)


@pytest.mark.parametrize("p", [0.5, 0.2])
def test_a_linear_game_is_its_own_best_score_shapley_value_and_dividend(p: float) -> None:
    weights = np.random.default_rng(3).standard_normal((2, N))
    outputs = exhaustive.subsets(N) @ weights.T + 7.0
    for found in (exhaustive.best_linear(outputs, p)[1], exhaustive.shapley_values(outputs)):
        np.testing.assert_allclose(found, weights, atol=ROUNDING)
    dividends = exhaustive.dividends(outputs)
    np.testing.assert_allclose(dividends[[1 << i for i in range(N)]].T, weights, atol=ROUNDING)
    np.testing.assert_allclose(dividends[3], 0.0, atol=ROUNDING)
    np.testing.assert_allclose(exhaustive.variances(outputs, p), harmonic.linear_variance(weights, p))


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_a_polynomial_of_known_weights(p: float) -> None:
    game = SparsePolynomial(N, p=p)
    outputs = game.outputs(exhaustive.subsets(N))
    np.testing.assert_allclose(exhaustive.best_linear(outputs, p)[1], game.best, atol=ROUNDING)
    assert exhaustive.variances(outputs, p)[0] == pytest.approx(game.variance)


def test_shapley_values_of_a_glove_game_are_exact() -> None:
    """Two left gloves and one right one: 1/6, 1/6, 4/6."""
    x = exhaustive.subsets(3)
    outputs = np.minimum(x[:, :2].sum(axis=1), x[:, 2]).astype(float)[:, None]
    expected = [float(Fraction(1, 6)), float(Fraction(1, 6)), float(Fraction(2, 3))]
    np.testing.assert_allclose(exhaustive.shapley_values(outputs)[0], expected, rtol=1e-14)


def test_one_unit_is_a_defined_answer() -> None:
    outputs = np.array([[1.0, 2.0], [4.0, 2.0]])
    intercepts, scores = exhaustive.best_linear(outputs, 0.3)
    np.testing.assert_allclose(scores, [[3.0], [0.0]], atol=ROUNDING)
    np.testing.assert_allclose(intercepts, [1.0, 2.0], atol=ROUNDING)
    np.testing.assert_allclose(exhaustive.shapley_values(outputs), [[3.0], [0.0]])
    np.testing.assert_allclose(exhaustive.variances(outputs, 0.3), [9 * 0.21, 0.0])
    gap = exhaustive.gaps(outputs, np.array([[2.0], [0.0]]), 0.3)
    found = exhaustive.relative_gaps(gap, exhaustive.variances(outputs, 0.3), Across.EVERY)
    assert found[0] == pytest.approx(1 / 9)
    assert math.isnan(found[1])


def test_sixteen_units_keep_their_digits() -> None:
    outputs = Majority(15).outputs(exhaustive.subsets(16)[:, :15]) * 1e6 + 1e9
    np.testing.assert_allclose(exhaustive.shapley_values(outputs)[0, :15], 2e6 / 15, rtol=1e-10)
    best = exhaustive.best_linear(outputs, 0.5)[1]
    np.testing.assert_allclose(best[:, :15], Majority(15).best * 1e6, rtol=1e-10)
    assert exhaustive.gaps(outputs, best, 0.5)[0] < 1e-6


# --------------------------------------------------------------------------------- over targets, and refusals


def test_relative_gaps_over_targets() -> None:
    gap, variance = np.array([0.1, 0.4]), np.array([1.0, 2.0])
    np.testing.assert_allclose(exhaustive.relative_gaps(gap, variance, Across.EVERY), [0.1, 0.2])
    np.testing.assert_allclose(exhaustive.relative_gaps(gap, variance, Across.MEAN), [0.15])
    pooled = exhaustive.relative_gaps(gap, variance, Across.POOLED, np.array([1.0, 0.5]))
    np.testing.assert_allclose(pooled, [(0.1 + 0.2) / (1 + 1)])


def test_a_constant_target_has_no_relative_gap() -> None:
    outputs = np.column_stack([random_outputs(3, 1), np.full(8, 1 / 3), np.full(8, 1e-300)])
    variance, gap = exhaustive.variances(outputs, 0.4), exhaustive.gaps(outputs, np.ones((3, 3)), 0.4)
    assert variance[1:].tolist() == [0.0, 0.0]
    every = exhaustive.relative_gaps(gap, variance, Across.EVERY)
    assert np.isnan(every).tolist() == [False, True, True]
    assert np.isnan(exhaustive.relative_gaps(gap, variance, Across.MEAN)).all()
    pooled = exhaustive.relative_gaps(gap, variance, Across.POOLED, np.ones(3))
    assert pooled[0] == pytest.approx(gap.sum() / variance[0])
    assert np.isnan(exhaustive.relative_gaps(gap, variance, Across.POOLED, np.array([0.0, 1.0, 1.0]))).all()


@pytest.mark.parametrize("rows", [1, 3, 12])
def test_other_numbers_of_rows_are_refused(rows: int) -> None:
    with pytest.raises(ArgumentError, match=f"all 2\\^N subsets of at least one unit, got {rows} rows"):
        exhaustive.shapley_values(np.zeros((rows, 1)))


def test_what_does_not_fit_is_refused() -> None:
    outputs = random_outputs(2)
    with pytest.raises(ArgumentError, match=r"scores of shape \(2, 2\)"):
        exhaustive.gaps(outputs, np.zeros((2, 3)), 0.5)
    for p in (0.0, 1.0, float("nan")):
        with pytest.raises(ArgumentError, match="strictly between 0 and 1"):
            exhaustive.fourier(outputs, p)
    for weights in (None, np.ones(3), np.array([1.0, -1.0]), np.array([1.0, np.nan])):
        with pytest.raises(ArgumentError, match="a weight of at least 0 for every target"):
            exhaustive.relative_gaps(np.ones(2), np.ones(2), Across.POOLED, weights)
