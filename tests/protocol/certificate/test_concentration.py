"""Finite-sample bounds: exact coverage at a stated false-alarm rate, and their pieces against naive twins.

A rate is compared with alpha through the binomial tail: a true bound fails one of these tests with probability below
1e-4.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from protocol.certificate import concentration

FALSE_ALARM = 1e-4


def most_failures(runs: int, alpha: float) -> int:
    """The most failures that a bound of level alpha has in ``runs``, but for the false-alarm rate."""
    return int(stats.binom.isf(FALSE_ALARM, runs, alpha))


@pytest.mark.parametrize(
    ("name", "mean"),
    [("rare ones", 0.004), ("fair coins", 0.5), ("nearly all ones", 0.996), ("uniform", 0.5), ("tiny", 0.0005)],
)
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_betting_bounds_keep_their_level(name: str, mean: float, alpha: float) -> None:
    rng = np.random.default_rng(3)
    runs, m = 400, 300
    above = below = 0
    for _ in range(runs):
        draws = rng.random(m)
        values = draws if name == "uniform" else draws * 0.001 if name == "tiny" else (draws < mean).astype(float)
        above += concentration.betting_upper(values, alpha) < mean
        below += concentration.betting_lower(values, alpha) > mean
    assert max(above, below) <= most_failures(runs, alpha)


def test_betting_upper_is_tight_when_nothing_was_seen() -> None:
    m, alpha = 1000, 0.05
    bound = concentration.betting_upper(np.zeros(m), alpha)
    floor = 1 - alpha ** (1 / m)  # Clopper and Pearson's, the best there is for zeros and ones
    assert floor <= bound < 1.25 * floor


def test_betting_upper_is_one_when_all_are_ones_and_bounds_are_ordered() -> None:
    assert concentration.betting_upper(np.ones(50), 0.05) == 1.0
    values = np.random.default_rng(0).random(200)
    assert concentration.betting_lower(values, 0.05) < values.mean() < concentration.betting_upper(values, 0.05)


@pytest.mark.parametrize("p", [0.5, 0.3, 0.1, 0.9])
def test_sub_gaussian_variance_bounds_the_moment_generating_function(p: float) -> None:
    k = concentration.sub_gaussian_variance(p)
    one, zero = (1 - p) / np.sqrt(p * (1 - p)), -p / np.sqrt(p * (1 - p))
    s = np.linspace(-8, 8, 801)
    exact = p * np.exp(s * one) + (1 - p) * np.exp(s * zero)
    assert (exact <= np.exp(s**2 * k / 2) * (1 + 1e-9)).all()
    assert (exact > np.exp(s**2 * (0.98 * k) / 2)).any(), "and no much smaller constant does"


@pytest.mark.parametrize("weights", [np.eye(6)[0], np.full(6, 6**-0.5), np.array([3, 2, 2, 1, 1, 1]) / np.sqrt(20)])
def test_excesses_are_above_those_of_every_direction_by_enumeration(weights: np.ndarray) -> None:
    a = np.abs(np.array(list(itertools.product([-1.0, 1.0], repeat=6))) @ weights)
    for tau in (0.5, 1.0, 1.5, 2.0, 2.4):
        assert np.maximum(a**2 - tau**2, 0).mean() <= concentration.excess_of_square(tau, 1.0)
        assert np.maximum(a - tau, 0).mean() <= concentration.excess(tau, 1.0)


def test_excess_of_a_matrix_is_bounded_like_that_of_a_vector() -> None:
    rng = np.random.default_rng(0)
    v = rng.standard_normal((5, 40)) * np.array([3, 1, 1, 0.5, 0.1])[:, None]
    v /= np.linalg.norm(v)
    a = np.linalg.norm(rng.choice([-1.0, 1.0], size=(200_000, 40)) @ v.T, axis=1)
    assert np.maximum(a**2 - 4, 0).mean() <= concentration.excess_of_square(2.0, 1.0)


def test_bounded_second_moment_is_above_the_worst_coupling() -> None:
    """Put all of the residual's mass where a is largest: nothing can be worse, and the bound is still above."""
    rng = np.random.default_rng(0)
    a = np.abs(rng.standard_normal(400_000))
    largest, mean_square = 5.0, 0.04
    worst = np.zeros_like(a)
    worst[np.argsort(-a)[: int(len(a) * mean_square / largest**2)]] = largest**2
    exact = (worst * a**2).mean()
    bound = concentration.bounded_second_moment(mean_square, largest, 1.0)
    assert exact <= bound < 3 * exact


def test_bernstein_keeps_its_level_on_spikes_below() -> None:
    rng = np.random.default_rng(5)
    runs, m, alpha, largest, chance = 2000, 200, 0.1, 4.0, 0.02
    failures = 0
    t = concentration.bernstein(largest**2 * chance, largest, m, alpha)
    for _ in range(runs):
        values = np.where(rng.random(m) < chance, -largest, 0.0)
        failures += values.mean() < -largest * chance - t
    assert failures <= most_failures(runs, alpha)
    assert t < largest * chance * 3, "and the bound is of the size of what it bounds"


def test_lies_along_is_above_the_worst_choice_of_false_pairs() -> None:
    rng = np.random.default_rng(2)
    m, runs, alpha = 400, 300, 0.05
    for c in (1, 7, 40, 400):
        bound = concentration.lies_along(m, c, 2.0, 1.0, alpha)
        worst = [
            2.0 * np.sort(np.abs(rng.choice([-1.0, 1.0], (m, 30)).mean(axis=1) * 30**0.5))[-c:].sum() / m
            for _ in range(runs)
        ]
        assert (np.array(worst) > bound).sum() <= most_failures(runs, alpha)
    assert concentration.lies_along(m, 0, 2.0, 1.0, alpha) == 0.0


@pytest.mark.parametrize("share", [1.2, 1.4])
def test_lies_that_hide_outliers_do_not_break_the_bound_of_a_mean(share: float) -> None:
    """20 of 1,000 ones are answered as zeros: what came has no spread left, and adding 20/1,000 to its bound fails."""
    rng, m, n_false, alpha, runs = np.random.default_rng(0), 1000, 20, 0.05, 200
    mean = share * n_false / m
    bet = float(np.sqrt(-2 * np.log(alpha) / (m * mean)))
    missed = naive = 0
    for _ in range(runs):
        came = (rng.random(m) < mean).astype(float)
        came[np.flatnonzero(came)[-n_false:]] = 0.0
        upper = concentration.betting_upper_despite_lies(
            came, alpha, bet=bet, n_false=n_false, moves=np.ones(m), drifts=np.zeros(m)
        )
        missed += upper < mean
        naive += concentration.betting_upper(came, alpha) + n_false / m < mean
    assert missed <= most_failures(runs, alpha) < naive


def test_room_for_lies_grows_with_their_number_and_is_exact_for_drifts() -> None:
    values = np.random.default_rng(1).random(400) * 0.2 + 0.4
    none = np.zeros(400)

    def upper(n_false: int, move: float, drift: float) -> float:
        return concentration.betting_upper_despite_lies(
            values, 0.05, bet=1.0, n_false=n_false, moves=none + move, drifts=none + drift
        )

    free = upper(0, 0.3, 0.0)
    assert values.mean() < free < values.mean() - np.log(0.05) / 400 + values.var()  # L/(m bet) + bet s^2
    assert free < upper(4, 0.3, 0.0) < upper(40, 0.3, 0.0)
    assert upper(40, 0.3, 0.0) > free + 40 * 0.3 / 400
    assert upper(0, 0.0, 0.01) == pytest.approx(free + 0.01, abs=1e-9)
