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


DIRECTIONS = [
    np.eye(6)[0], np.full(6, 6**-0.5), np.array([3, 2, 2, 1, 1, 1]) / np.sqrt(20),
    np.array([3, -2, 2, -1, 1, -1]) / np.sqrt(20), np.array([-4, 1, 1, 1, 1, 0]) / np.sqrt(20),
]  # fmt: skip


def enumerated(weights: np.ndarray, p: float) -> tuple[np.ndarray, np.ndarray]:
    """|<v, phi>| of every subset of six units, and its probability."""
    x = np.array(list(itertools.product([0.0, 1.0], repeat=6)))
    chance = np.prod(np.where(x == 1, p, 1 - p), axis=1)
    return np.abs((x - p) / np.sqrt(p * (1 - p)) @ weights), chance


@pytest.mark.parametrize("p", [0.5, 0.4, 0.3, 0.2, 0.05, 0.01, 0.9])
@pytest.mark.parametrize("weights", DIRECTIONS)
def test_moments_tails_and_excesses_are_above_those_of_every_direction(weights: np.ndarray, p: float) -> None:
    a, chance = enumerated(weights, p)
    found = concentration.moments(p)
    exact = np.array([(chance * a ** (2.0 * q)).sum() for q in concentration.ORDERS])
    assert (exact <= found * (1 + 1e-9)).all()
    assert found[0] == 1.0
    for tau in (0.5, 1.0, 1.5, 2.0, 2.4):
        assert (chance * np.maximum(a - tau, 0)).sum() <= concentration.excess(found, tau) * (1 + 1e-9)
    for alpha in (0.3, 0.05, 0.002):
        assert chance[a > concentration.beyond(found, alpha)].sum() <= alpha


@pytest.mark.parametrize("p", [0.4, 0.3, 0.2, 0.1, 0.03, 0.01])
def test_cumulants_bound_the_moments_of_directions_of_either_sign(p: float) -> None:
    """The bound by cumulants alone, which the smaller of two may hide, against 400 directions of every shape."""
    rng = np.random.default_rng(11)
    raw = rng.standard_normal((400, 6)) * rng.random((400, 6)) ** 3
    found = concentration._bell_moments(p)
    for weights in raw / np.linalg.norm(raw, axis=1, keepdims=True):
        a, chance = enumerated(weights, p)
        exact = np.array([(chance * a ** (2.0 * q)).sum() for q in range(1, len(found) + 1)])
        assert (exact <= found * (1 + 1e-9)).all()


def test_a_negative_product_of_cumulants_may_stand_for_a_positive_term() -> None:
    """At order 12 and p = 0.3 |k_3| |k_5| k_4 < 0, but the term itself, k_3 k_5 k_4 s_3 s_5 s_4, may be above 0."""
    p = 0.3
    central = [p * (1 - p) ** n + (1 - p) * (-p) ** n for n in range(6)]
    sd = np.sqrt(central[2])
    k3, k4, k5 = central[3] / sd**3, central[4] / sd**4 - 3, (central[5] - 10 * central[3] * central[2]) / sd**5
    assert abs(k3) * abs(k5) * k4 < 0
    terms = []
    for large in (0.6, -0.6, 0.85):  # one large value, and smaller ones of the other sign
        v = np.array([large, *np.full(6, -np.sign(large) * np.sqrt((1 - large**2) / 6))])
        terms.append(k3 * k5 * k4 * (v**3).sum() * (v**5).sum() * (v**4).sum())
    assert max(terms) > 0
    signed = np.array([0.0, 1.0, abs(k3), k4, abs(k5), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    left_out, absolute = (concentration._positive_part(kappas)[11] for kappas in (signed, np.abs(signed)))
    assert left_out < absolute, "so leaving it out makes a difference"


@pytest.mark.parametrize("p", [0.5, 0.3])
@pytest.mark.parametrize("weights", DIRECTIONS)
def test_no_rare_event_holds_more_of_a_direction_than_it_may(weights: np.ndarray, p: float) -> None:
    a, chance = enumerated(weights, p)
    found, order = concentration.moments(p), np.argsort(-a)
    for rarity in (1.0, 0.3, 0.05, 0.01):
        worst = order[np.cumsum(chance[order]) <= rarity * (1 + 1e-9)]
        assert (chance * a)[worst].sum() <= concentration.on_rare(found, rarity) * (1 + 1e-9)
        assert (chance * a**2)[worst].sum() <= concentration.product_on_rare(found, found, rarity) * (1 + 1e-9)
    assert concentration.on_rare(found, 0.0) == concentration.product_on_rare(found, found, 0.0) == 0.0


def test_gaussian_moments_are_tight_where_they_are_used() -> None:
    """Beside the exact values of a Gaussian direction, which sums of many characters approach."""
    found = concentration.moments(0.5)
    for rarity in (0.01, 0.001):
        z = stats.norm.isf(rarity / 2)
        assert 2 * stats.norm.pdf(z) < concentration.on_rare(found, rarity) < 1.12 * 2 * stats.norm.pdf(z)
        exact = 2 * (z * stats.norm.pdf(z) + rarity / 2)
        assert exact < concentration.product_on_rare(found, found, rarity) < 1.25 * exact


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_moments_of_a_matrix_are_above_its_own_and_below_those_of_any(p: float) -> None:
    rng = np.random.default_rng(0)
    v = rng.standard_normal((3, 6)) * np.array([3, 1, 0.5])[:, None]
    v /= np.linalg.norm(v)
    x = np.array(list(itertools.product([0.0, 1.0], repeat=6)))
    chance = np.prod(np.where(x == 1, p, 1 - p), axis=1)
    a = np.linalg.norm((x - p) / np.sqrt(p * (1 - p)) @ v.T, axis=1)
    exact = np.array([(chance * a ** (2.0 * q)).sum() for q in concentration.ORDERS])
    found = concentration.moments_of(np.linalg.eigvalsh(v @ v.T), p)
    assert (exact <= found * (1 + 1e-9)).all()
    assert (found <= concentration.moments(p) * (1 + 1e-9)).all()
    np.testing.assert_allclose(concentration.moments_of(np.array([1.0]), p), concentration.moments(p), rtol=1e-9)


def test_share_upper_is_exact() -> None:
    for seen, n, alpha in ((0, 100, 0.05), (3, 250, 0.01)):
        u = concentration.share_upper(seen, n, alpha)
        assert stats.binom.cdf(seen, n, u) == pytest.approx(alpha, rel=1e-6)
    assert concentration.share_upper(0, 100, 0.05) == pytest.approx(1 - 0.05 ** (1 / 100))
    assert concentration.share_upper(5, 5, 0.05) == 1.0


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
