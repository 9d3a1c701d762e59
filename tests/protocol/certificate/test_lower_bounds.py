"""What no method can do with less: the constants from their definitions, and both constructions built and measured."""

from __future__ import annotations

from math import inf, log, sqrt

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from protocol.certificate.lower_bounds import from_noise, from_rare_events, least_possible
from protocol.errors import ArgumentError


def affinity(ratio: float) -> float:
    """The integral of sqrt(p q) for centred Gaussians whose variances have this ratio, numerically."""
    one, other = stats.norm(scale=1.0), stats.norm(scale=sqrt(ratio))
    return float(integrate.quad(lambda x: sqrt(one.pdf(x) * other.pdf(x)), -60, 60, limit=200)[0])


def test_the_noise_constant_is_the_largest_rate_of_affinity() -> None:
    """f(t)/t from the integral, maximised by scipy; the count is that of every design whose eigenvalues add up."""
    found = optimize.minimize_scalar(lambda t: log(affinity(1 + t)) / t, bounds=(1.0, 8.0), method="bounded")
    rate = -found.fun
    assert found.x == pytest.approx(3.07, abs=0.01)
    expected = 2 * log(1 / (2 * sqrt(0.05 * 0.95))) / rate
    assert expected == pytest.approx(44.65, abs=0.01)
    assert from_noise(0.05, 0.05, 0.05) == pytest.approx(expected, rel=1e-5)
    assert from_noise(0.05, 0.05, 0.05) <= expected * (1 + 1e-9)
    assert from_noise(0.02, 0.05, 0.4) == pytest.approx(20 * expected, rel=1e-5)


@pytest.mark.parametrize("n_families", [1, 4, 12, 40])
def test_the_best_test_of_equal_families_stays_above_the_noise_bound(n_families: int) -> None:
    """Neyman and Pearson's: B families of s copies tell chi-squares apart whose scales differ by 1 + s epsilon / v."""
    ratio = stats.chi2.ppf(0.95, n_families) / stats.chi2.ppf(0.05, n_families)
    retrainings = 2 * n_families * (ratio - 1)  # for v = epsilon
    assert retrainings > from_noise(0.05, 0.05, 0.05)
    if n_families == 12:
        assert retrainings == pytest.approx(72.6, abs=0.1)


@pytest.mark.parametrize(("epsilon", "fewest"), [(0.05, 172), (0.02, 289), (0.01, 425)])
def test_the_rare_event_has_the_gap_and_the_range_that_it_is_said_to_have(epsilon: float, fewest: int) -> None:
    """World 1 by numerical integration over one Gaussian direction: its gap, its largest value, and its event."""
    count = from_rare_events(epsilon, 0.05, 3.0)
    share = 1 - 0.1 ** (1 / count)
    end = stats.norm.isf(share / 2)
    inner = 1 - 2 * end * stats.norm.pdf(end) - share  # E z^2 within
    sd = sqrt(inner / (1 - 9 * share))  # so that 3 sd at both ends makes the variance sd^2
    grid = np.linspace(end, 12, 400_001)
    gap = (2 * np.trapezoid(6 * sd * grid * stats.norm.pdf(grid), grid)) ** 2
    assert gap / sd**2 == pytest.approx(epsilon, rel=1e-6)
    assert end <= 3 * sd, "within the range elsewhere, too"
    assert least_possible(epsilon, 0.05, 0.0) == fewest
    assert (1 - share) ** (count - 1) > 0.1 > (1 - share) ** (count + 1)


def test_a_kurtosis_excludes_rarer_events() -> None:
    assert from_rare_events(0.05, 0.05, 3.0, kurtosis=9.0) == pytest.approx(log(10) / -np.log1p(-1 / 9))
    assert from_rare_events(0.05, 0.05, 3.0, kurtosis=1e6) == from_rare_events(0.05, 0.05, 3.0)
    assert from_rare_events(0.05, 0.05, 3.0, kurtosis=1.0) == 1.0


def test_the_larger_bound_counts_and_every_argument_moves_it() -> None:
    base = least_possible(0.05, 0.05, 0.0)
    assert least_possible(0.05, 0.05, 0.25) == 224 > base
    assert least_possible(0.05, 0.05, 0.05) == base
    assert least_possible(0.04, 0.05, 0.0) > base
    assert least_possible(0.05, 0.01, 0.0) > base
    assert least_possible(0.05, 0.05, 0.0, half_range_sd=5.0) > base
    assert least_possible(0.05, 0.05, 0.0, kurtosis=9.0) < base
    assert least_possible(0.05, 0.499, 0.0, kurtosis=1.0) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"epsilon": 0.0}, {"epsilon": 1.0}, {"epsilon": float("nan")}, {"delta": 0.0}, {"delta": 0.5},
        {"delta": float("nan")}, {"noise": -0.1}, {"half_range_sd": 0.9}, {"kurtosis": 0.5},
    ],
)  # fmt: skip
def test_a_number_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    asked = {"epsilon": 0.05, "delta": 0.05, "noise": 0.1, "half_range_sd": 3.0, "kurtosis": inf, **wrong}
    with pytest.raises(ArgumentError, match="expected"):
        least_possible(**asked)
