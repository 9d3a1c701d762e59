"""Betting bounds: levels by enumeration of every sequence, twins straight from the definition, and how narrow they are.

Where a law has two values, the chance of a miss at any number of values is computed, not simulated. Where it is
simulated, a true bound fails the test with probability below FALSE_ALARM.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import optimize, stats

from protocol.certificate.betting import BET, RATES, betting_upper, lower_of_nonnegative

FALSE_ALARM = 1e-4


def log_capital(values: list[float], mean: float, alpha: float, horizon: int) -> float:
    """Log of the mean of three capitals, one bet after the other."""
    capitals = []
    for prior in (0.25, 0.25 / math.sqrt(horizon), 0.25 / horizon):
        capital, guess, spread = 1.0, 0.5, prior
        for j, value in enumerate(values, start=1):
            bet = math.sqrt(2 * math.log(1 / alpha) / (horizon * (spread / j)))
            capital *= 1 - min(bet, BET / (1 - mean)) * (value - mean)
            if j > 1:  # the first value's deviation from 1/2 says nothing of the variance
                spread += (value - guess) ** 2
            guess = (0.5 + sum(values[:j])) / (j + 1)
        capitals.append(capital)
    return math.log(sum(capitals) / len(capitals))


def naive_upper(values: list[float], alpha: float, horizon: int) -> float:
    """The mean at which the capital reaches 1/alpha; 1 where it never does."""

    def excess(mean: float) -> float:
        return log_capital(values, mean, alpha, horizon) + math.log(alpha)

    low, high = sum(values) / len(values), 1 - 1e-9
    return 1.0 if excess(high) < 0 else float(optimize.brentq(excess, low, high, xtol=1e-13))


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.3])
@pytest.mark.parametrize("horizon", [5, 40, 400])
def test_the_bound_is_where_the_capital_reaches_one_over_alpha(alpha: float, horizon: int) -> None:
    rng = np.random.default_rng(1)
    for n in (2, 7, 60, 200):
        for values in (rng.random(n), rng.random(n) * 0.01, (rng.random(n) < 0.1) * 0.9, np.zeros(n)):
            found = betting_upper(values[:, None], alpha, horizon=horizon)[0]
            exact = naive_upper(values.tolist(), alpha, horizon)
            assert exact - 1e-9 <= found <= exact + 1e-9


@pytest.mark.parametrize("alpha", [0.05, 0.3])
@pytest.mark.parametrize("horizon", [3, 10, 100])
def test_coins_are_missed_at_most_alpha_of_the_time_at_any_number_of_values(alpha: float, horizon: int) -> None:
    """Exactly: of all 2^10 sequences of zeros and ones, those with a bound that was ever below the mean."""
    m = 10
    sequences = np.array(list(itertools.product([0.0, 1.0], repeat=m))).T
    least = np.ones(sequences.shape[1])
    for n in range(1, m + 1):
        least = np.minimum(least, betting_upper(sequences[:n], alpha, horizon=horizon))
    ones = sequences.sum(axis=0)
    missed = []
    for mean in np.linspace(0.01, 0.99, 99):
        chances = mean**ones * (1 - mean) ** (m - ones)
        missed.append(float(chances[least < mean].sum()))
    assert max(missed) <= alpha
    assert max(missed) > alpha / 20, "and it is a bound that can miss"


def test_values_of_rare_spikes_are_missed_at_most_alpha_of_the_time_over_many_looks() -> None:
    """The chance of a spike is 1/40, and the bound depends on where the spikes were."""
    rng, runs, alpha, looks = np.random.default_rng(2), 2000, 0.1, (10, 20, 40, 80, 120, 160, 200, 240)
    values = (rng.random((looks[-1], runs)) < 1 / 40) * 1.0
    ever = np.zeros(runs, dtype=bool)
    for n in looks:
        ever |= betting_upper(values[:n], alpha, horizon=looks[-1]) < 1 / 40
    assert ever.sum() <= stats.binom.isf(FALSE_ALARM, runs, alpha)
    assert ever.any()


@settings(max_examples=50)
@given(
    arrays.arrays(np.float64, st.tuples(st.integers(1, 30), st.integers(1, 4)), elements=st.floats(0, 1)),
    st.sampled_from([1e-6, 0.05, 0.5]),
    st.integers(1, 500),
)
def test_bounds_are_in_the_range_and_on_their_side_of_the_mean(values: np.ndarray, alpha: float, horizon: int) -> None:
    upper = betting_upper(values, alpha, horizon=horizon)
    lower = lower_of_nonnegative(values, alpha, guess=np.full(values.shape[1], 0.5))
    assert upper.shape == lower.shape == (values.shape[1],)
    assert (upper >= values.mean(axis=0) - 1e-12).all()
    assert (upper <= 1).all()
    assert (lower <= values.mean(axis=0) + 1e-12).all()
    assert (lower >= 0).all()


def test_columns_have_nothing_to_do_with_each_other() -> None:
    values = np.random.default_rng(3).random((50, 6)) ** np.arange(1, 7)
    together = betting_upper(values, 0.05, horizon=70)
    alone = [betting_upper(values[:, [r]], 0.05, horizon=70)[0] for r in range(6)]
    assert together == pytest.approx(np.array(alone), abs=3e-12)


def test_no_values_leave_no_bound() -> None:
    assert betting_upper(np.empty((0, 3)), 0.05, horizon=10).tolist() == [1.0, 1.0, 1.0]
    assert lower_of_nonnegative(np.empty((0, 3)), 0.05, guess=np.ones(3)).tolist() == [0.0, 0.0, 0.0]


def test_what_rounding_takes_out_of_the_range_is_put_back() -> None:
    values = np.array([[0.0], [1.0], [0.3]] * 20)
    outside = values + np.array([[-1e-16], [2.3e-16], [0.0]] * 20)
    assert betting_upper(outside, 0.05, horizon=60)[0] == pytest.approx(
        betting_upper(values, 0.05, horizon=60)[0], abs=1e-11
    )


def test_no_guess_at_the_mean_costs_the_level() -> None:
    rng, runs, alpha, mean = np.random.default_rng(4), 1000, 0.1, 0.02
    values = (rng.random((200, runs)) < mean) * 1.0
    found = [betting_upper(values, alpha, horizon=200, guess=guess) for guess in (0.0, 0.02, 1.0)]
    for bound in found:
        assert (bound < mean).sum() <= stats.binom.isf(FALSE_ALARM, runs, alpha)
    assert (found[0] != found[2]).any(), "and it is taken into account"


def test_the_bound_is_not_much_wider_than_the_best_there_is() -> None:
    """Of zeros only, Clopper and Pearson's is 1 - alpha^(1/m); of values with a small spread, about their mean."""
    m, alpha = 1000, 0.05
    floor = 1 - alpha ** (1 / m)
    assert floor <= betting_upper(np.zeros((m, 1)), alpha, horizon=m)[0] < 1.3 * floor
    steady = 0.4 + 0.01 * np.random.default_rng(5).random((m, 1))
    assert betting_upper(steady, alpha, horizon=m)[0] < steady.mean() + 0.005


# ---------------------------------------------------------------- from below


def naive_lower(values: list[float], alpha: float, guess: float) -> float:
    """By bisection on the capital, written out."""

    def capital(mean: float) -> float:
        total = 0.0
        for rate in RATES:
            product = 1.0
            for x in values:
                product *= 1 + min(rate / guess, BET / mean if mean > 0 else math.inf) * (x - mean)
            total += product / len(RATES)
        return total

    low, high = 0.0, sum(values) / len(values)
    if capital(0.0) < 1 / alpha:
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if capital(middle) >= 1 / alpha else (low, middle)
    return low


@pytest.mark.parametrize("guess", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_the_bound_from_below_is_that_of_a_loop(guess: float, size: float) -> None:
    values = size * np.random.default_rng(6).exponential(size=(40, 3)) ** np.arange(1, 4)
    found = lower_of_nonnegative(values, 0.05, guess=np.full(3, size * guess))
    for r in range(3):
        assert found[r] == pytest.approx(naive_lower(values[:, r].tolist(), 0.05, size * guess), rel=1e-9)


LAWS: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "exponential": lambda rng, shape: rng.exponential(size=shape),
    "Gaussian squares": lambda rng, shape: rng.standard_normal(shape) ** 2,
    "1 in 20": lambda rng, shape: 20.0 * (rng.random(shape) < 0.05),
    "heavy": lambda rng, shape: 1.1 * rng.pareto(2.1, shape),
    "half are 0": lambda rng, shape: 2.0 * (rng.random(shape) < 0.5),
}


@pytest.mark.parametrize("guess", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("name", LAWS)
def test_the_bound_from_below_holds_at_every_look_at_once(name: str, guess: float) -> None:
    """Every law has mean 1."""
    runs, alpha = 1000, 0.1
    values = LAWS[name](np.random.default_rng(7), (300, runs))
    ever = np.zeros(runs, dtype=bool)
    for n in (1, 2, 4, 8, 15, 30, 60, 100, 150, 220, 300):
        ever |= lower_of_nonnegative(values[:n], alpha, guess=np.full(runs, guess)) > 1
    assert ever.sum() <= stats.binom.isf(FALSE_ALARM, runs, alpha)
    assert ever.any(), "and it is a bound that can miss"


def test_the_bound_from_below_is_worth_having() -> None:
    """A Gaussian's squares at a hundredth: 80 show about half of their mean, 1,000 five sixths; of 24 means, more."""
    rng = np.random.default_rng(8)
    squares = rng.standard_normal((1000, 24, 200)) ** 2
    for n, siblings, least in ((80, 1, 0.45), (1000, 1, 0.8), (80, 24, 0.8), (1000, 24, 0.94)):
        values = squares[:n, :siblings].mean(axis=1)
        assert np.median(lower_of_nonnegative(values, 0.01, guess=np.ones(200))) > least
