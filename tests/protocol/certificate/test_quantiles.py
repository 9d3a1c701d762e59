"""Quantiles against scipy.stats, bounds against their formulas and their levels.

Levels: fixed seeds; a level is broken when misses exceed what Binomial(n, alpha) reaches but once in a million.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from protocol.certificate import quantiles as bounds

ALPHAS = [1e-9, 1e-4, 0.025, 0.05, 0.5, 0.95, 1 - 1e-4]
N_RUNS = 20_000


def assert_level(misses: np.ndarray, alpha: float) -> None:
    most = stats.binom.ppf(1 - 1e-6, len(misses), alpha)
    assert misses.sum() <= most, f"{misses.mean():.4f} of {len(misses)} missed, at most {alpha} expected"


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("degrees", [1.0, 2.0, 7.3, 60.0, 5000.0])
def test_quantiles_are_those_of_scipy(alpha: float, degrees: float) -> None:
    assert bounds.chi2_quantile(alpha, degrees) == pytest.approx(stats.chi2.ppf(alpha, degrees), rel=1e-9)
    assert bounds.t_quantile(alpha, degrees) == pytest.approx(stats.t.ppf(alpha, degrees), rel=1e-7, abs=1e-12)
    assert bounds.f_quantile(alpha, degrees, 11.0) == pytest.approx(stats.f.ppf(alpha, degrees, 11.0), rel=1e-8)


def test_the_upper_contrast_is_williams_bound() -> None:
    msb, msw, s, n_b, n_w, alpha = 3.0, 1.2, 4, 10.0, 30.0, 0.05
    expected = n_b * msb / stats.chi2.ppf(alpha, n_b) * (1 - stats.f.ppf(alpha, n_b, n_w) * msw / msb) / s
    upper = bounds.contrast_upper(
        np.array([msb]), np.array([msw]), between=1 / s, within=1 / s, n_b=n_b, n_w=n_w, alpha=alpha
    )  # fmt: skip
    assert upper == pytest.approx(expected, rel=1e-12)


def test_the_lower_contrast_is_the_same_from_the_upper_quantiles() -> None:
    msb, msw, n_b, n_w, alpha = 3.0, 0.5, 10.0, 30.0, 0.05
    expected = n_b / stats.chi2.ppf(1 - alpha, n_b) * (0.25 * msb - 0.4 * stats.f.ppf(1 - alpha, n_b, n_w) * msw)
    lower = bounds.contrast_lower(
        np.array([msb]), np.array([msw]), between=0.25, within=0.4, n_b=n_b, n_w=n_w, alpha=alpha
    )  # fmt: skip
    assert lower == pytest.approx(expected, rel=1e-12)


def test_every_row_may_have_degrees_of_its_own() -> None:
    msb, msw, n_b, n_w = np.array([3.0, 2.0]), np.array([0.5, 0.7]), np.array([10.0, 4.5]), np.array([30.0, 11.0])
    for bound in (bounds.contrast_upper, bounds.contrast_lower):
        both = bound(msb, msw, between=0.25, within=0.4, n_b=n_b, n_w=n_w, alpha=0.05)
        for row in range(2):
            alone = bound(
                msb[[row]], msw[[row]], between=0.25, within=0.4, n_b=float(n_b[row]), n_w=float(n_w[row]), alpha=0.05
            )
            assert both[row] == pytest.approx(alone[0], rel=1e-12)


def test_no_contrast_is_below_zero() -> None:
    kinds = (bounds.contrast_upper, bounds.contrast_lower)
    for bound in kinds:
        got = bound(np.array([0.0, 1.0]), np.array([1.0, 50.0]), between=1.0, within=1.0, n_b=5.0, n_w=5.0, alpha=0.05)
        assert got.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.9, 1.0])
@pytest.mark.parametrize(("n_b", "s"), [(3, 2), (15, 2), (25, 8)])
def test_contrasts_keep_their_level_when_mean_squares_are_chi_squares(share: float, n_b: int, s: int) -> None:
    """``share`` is the part of E[MSB] that is the between-family component: from none of it to all."""
    rng, alpha, n_w = np.random.default_rng([n_b, s]), 0.05, n_b * (s - 1)
    expected_between, expected_within = 1.0, 1.0 - share
    msb = expected_between * rng.chisquare(n_b, N_RUNS) / n_b
    msw = expected_within * rng.chisquare(n_w, N_RUNS) / n_w
    numbers = {"n_b": float(n_b), "n_w": float(n_w), "alpha": alpha}
    upper = bounds.contrast_upper(msb, msw, between=0.5, within=0.5, **numbers)
    assert_level(upper < 0.5 * share, alpha)
    lower = bounds.contrast_lower(msb, msw, between=0.5, within=0.7, **numbers)
    assert_level(lower > max(0.5 * expected_between - 0.7 * expected_within, 0.0), alpha)


def test_the_error_of_a_mean_is_students() -> None:
    values = np.random.default_rng(1).standard_normal((9, 2))
    naive = [
        stats.t.ppf(0.99, 8) * math.sqrt(sum((v - column.mean()) ** 2 for v in column) / 8) / 3
        for column in values.T
    ]  # fmt: skip
    assert bounds.mean_error(values, 0.01) == pytest.approx(naive, rel=1e-9)


def test_the_error_of_one_number_is_infinite() -> None:
    assert bounds.mean_error(np.ones((1, 3)), 0.05).tolist() == [math.inf] * 3


def one(value: float) -> np.ndarray:
    return np.array([value])


def test_a_ratio_bound_is_the_formula_of_donner_and_zou() -> None:
    a, b, u, low = 2.0, 5.0, 3.5, 4.0
    root = math.sqrt((a * b) ** 2 - u * (2 * a - u) * low * (2 * b - low))
    upper = bounds.ratio_upper(over=one(a), over_upper=one(u), under=one(b), under_lower=one(low))
    assert upper == pytest.approx((a * b + root) / (low * (2 * b - low)), rel=1e-12)


def test_a_ratio_bound_is_exact_where_one_side_is_known() -> None:
    over, under = one(2.0), one(5.0)
    assert bounds.ratio_upper(over=over, over_upper=one(3.0), under=under, under_lower=under) == pytest.approx(3 / 5)
    assert bounds.ratio_upper(over=over, over_upper=over, under=under, under_lower=one(4.0)) == pytest.approx(2 / 4)


def test_both_errors_joined_are_more_than_either_and_less_than_both_stacked() -> None:
    upper = bounds.ratio_upper(over=one(2.0), over_upper=one(3.0), under=one(5.0), under_lower=one(4.0))[0]
    assert max(3 / 5, 2 / 4) < upper < 3 / 4


def test_a_denominator_that_may_be_zero_leaves_the_ratio_open() -> None:
    for nothing in (0.0, -1.0):
        assert bounds.ratio_upper(
            over=one(2.0), over_upper=one(3.0), under=one(5.0), under_lower=one(nothing)
        ).tolist() == [math.inf]  # fmt: skip


@pytest.mark.parametrize("over", [-3.0, -1e-3, 0.0])
def test_an_estimate_of_no_gap_or_less_still_has_a_bound_above_zero(over: float) -> None:
    upper = bounds.ratio_upper(over=one(over), over_upper=one(0.5), under=one(1.0), under_lower=one(0.8))[0]
    assert 0 < upper < math.inf
    nothing = bounds.ratio_upper(over=one(over), over_upper=one(0.0), under=one(1.0), under_lower=one(0.8))[0]
    assert nothing == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("n_over", "n_under"), [(10, 400), (40, 40), (400, 10)])
def test_ratio_bounds_keep_their_level_for_independent_chi_squares(n_over: int, n_under: int) -> None:
    """Exact one-sided bounds of two variances in, a bound of their ratio out, at the same level."""
    rng, alpha = np.random.default_rng([n_over, n_under]), 0.05
    over, under = rng.chisquare(n_over, N_RUNS) / n_over, rng.chisquare(n_under, N_RUNS) / n_under
    upper = bounds.ratio_upper(
        over=over, over_upper=over * n_over / stats.chi2.ppf(alpha, n_over),
        under=under, under_lower=under * n_under / stats.chi2.ppf(1 - alpha, n_under),
    )  # fmt: skip
    # Recovery is approximate: over 400,000 runs the worst of these three misses 0.0513, so 0.052 is what it must keep.
    assert_level(upper < 1, 0.052)
