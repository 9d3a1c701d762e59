"""One level for all looks: against simulated chi-squares, for what it is used on, and against textbooks' limits.

Fixed seeds; a level is broken when misses exceed what Binomial(n, delta) reaches but once in 100,000.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from protocol.certificate.gaussian.looks import MIN_GROWTH, check_growth, shared_level, some_look_errs
from protocol.errors import ArgumentError

FALSE_ALARM = 1e-5
RUNS = 60_000
TEN = (25, 30, 36, 44, 53, 64, 77, 93, 112, 135)
WIDE = (25, 38, 57, 86, 129, 194, 291, 437, 656, 984)


def nested(rng: np.random.Generator, n_families: tuple[int, ...], degrees: float = 1.0) -> np.ndarray:
    """Chi-squares that grow from look to look, shape (runs, looks)."""
    steps = np.diff((0, *n_families)) * degrees
    return np.stack([rng.chisquare(step, RUNS) for step in steps], axis=1).cumsum(axis=1)


def most(delta: float) -> int:
    return int(stats.binom.ppf(1 - FALSE_ALARM, RUNS, delta))


@pytest.mark.parametrize("n_families", [(25, 27), (25, 50), TEN, WIDE])
@pytest.mark.parametrize("delta", [0.05, 0.005])
def test_some_look_errs_as_often_as_delta_says(n_families: tuple[int, ...], delta: float) -> None:
    """Not more, and, since 1% is taken off and digits are rounded down, hardly less."""
    level = shared_level(n_families, delta)
    sums = nested(np.random.default_rng(1), n_families)
    errs = int((sums < stats.chi2.ppf(level, n_families)).any(axis=1).sum())
    assert stats.binom.ppf(FALSE_ALARM, RUNS, 0.95 * delta) <= errs <= most(delta)


@pytest.mark.parametrize("n_families", [TEN, WIDE])
def test_the_level_serves_upper_tails_means_and_contrasts(n_families: tuple[int, ...]) -> None:
    rng, delta, s, n = np.random.default_rng(2), 0.05, 3, np.array(n_families)
    level = shared_level(n_families, delta)
    assert (nested(rng, n_families) > stats.chi2.ppf(1 - level, n)).any(axis=1).sum() <= most(delta)
    steps = np.sqrt(np.diff((0, *n_families)))
    means = (rng.standard_normal((RUNS, len(n))) * steps).cumsum(axis=1) / np.sqrt(n)
    assert (means > stats.norm.ppf(1 - level)).any(axis=1).sum() <= most(delta)
    for share in (0.3, 0.7, 1.0):  # of E MSB that is E MSW
        msb = nested(rng, n_families) / n
        msw = share * nested(rng, n_families, s - 1.0) / (n * (s - 1))
        low = n / stats.chi2.ppf(level, n) * (msb - stats.f.ppf(level, n, n * (s - 1)) * msw)
        assert (np.maximum(low, 0) < 1 - share - 1e-12).any(axis=1).sum() <= most(delta)
        high = n / stats.chi2.ppf(1 - level, n) * (msb - stats.f.ppf(1 - level, n, n * (s - 1)) * msw)
        assert (high > 1 - share).any(axis=1).sum() <= most(delta)


def test_half_the_degrees_of_freedom_cost_a_hundredth_of_the_level() -> None:
    for n_families in (TEN, WIDE):
        level = shared_level(n_families, 0.05)
        assert some_look_errs(n_families, level, 0.5) <= 1.03 * 0.05
        errs = (
            nested(np.random.default_rng(3), n_families, 0.5) < stats.chi2.ppf(level, np.array(n_families) / 2)
        ).any(axis=1)
        assert errs.sum() <= most(1.03 * 0.05)


def test_a_single_look_spends_all() -> None:
    assert shared_level((25,), 0.05) == 0.05
    assert some_look_errs((25,), 0.05) == pytest.approx(0.05, rel=1e-9)


def test_many_families_give_the_level_of_pocock() -> None:
    """One-sided Gaussian looks at equal steps: z = 2.27 for ten looks at .05 (Jennison and Turnbull 2000, two-sided
    .1)."""
    level = shared_level(tuple(20_000 * k for k in range(1, 11)), 0.05)
    assert stats.norm.ppf(1 - level) == pytest.approx(2.27, abs=0.02)


def test_the_level_is_between_the_union_bound_and_delta_and_falls_with_looks() -> None:
    levels = [shared_level(TEN[:looks], 0.05) for looks in (1, 2, 3, 5, 10)]
    assert levels == sorted(levels, reverse=True)
    for looks, level in zip((1, 2, 3, 5, 10), levels, strict=True):
        assert 0.05 / looks <= level <= 0.05


@pytest.mark.parametrize("delta", [0.05, 0.003, 2.5e-4])
def test_the_level_has_three_digits(delta: float) -> None:
    """So that no machine's last bits reach a verdict."""
    level = shared_level(TEN, delta)
    assert float(f"{level:.2e}") == level


def test_known_levels() -> None:
    """Pinned: a verdict must be the same on every machine and in every version."""
    assert shared_level(TEN, 0.05) == 0.0117
    assert shared_level((25, 50), 0.05) == 0.0293


@pytest.mark.parametrize(
    ("n_families", "delta", "message"),
    [
        ((), 0.05, "looks: expected at least one look"),
        ((0, 25), 0.05, "looks: expected at least one look"),
        ((25, 26), 0.05, "at least 1.05 times"),
        ((25, 25), 0.05, "at least 1.05 times"),
        ((50, 25), 0.05, "at least 1.05 times"),
        ((25, 50), 0.0, "delta: expected"),
        ((25, 50), 1.0, "delta: expected"),
        ((25, 50), float("nan"), "delta: expected"),
    ],
)
def test_looks_that_mean_nothing_are_refused(n_families: tuple[int, ...], delta: float, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        shared_level(n_families, delta)


def test_the_closest_looks_that_are_taken_hold_too() -> None:
    totals = [25]
    while len(totals) < 16:
        totals.append(int(np.ceil(totals[-1] * MIN_GROWTH)))
    check_growth(tuple(totals))
    level = shared_level(tuple(totals), 0.05)
    sums = nested(np.random.default_rng(4), tuple(totals))
    assert (sums < stats.chi2.ppf(level, totals)).any(axis=1).sum() <= most(0.05)
