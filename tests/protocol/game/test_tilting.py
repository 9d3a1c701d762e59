"""Bases drawn along a claim: thresholds that any implementation gets to the bit, and weights that keep every mean.

Statistical tests: fixed seeds, a count of exact binomial distribution, and a two-sided false-alarm rate of 1e-6 each.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from protocol.claim import MAX_MAGNITUDE
from protocol.encoding import Seed
from protocol.game import HALF, tilting
from protocol.game.known import Bent, statement_of
from protocol.game.sampling import Bases, Design, Draw
from protocol.game.tilting import LAMBDAS, LARGEST_RATIO, UNIFORM_16, Tilts

SEED = Seed(bytes(range(32)))
FALSE_ALARM = 1e-6
UNIFORM = UNIFORM_16 / 65536
N = 6
EVERY = np.array(list(itertools.product([False, True], repeat=N)))

magnitudes = st.floats(-MAX_MAGNITUDE, MAX_MAGNITUDE)


@st.composite
def scores(draw: Any, n_targets: int = 2) -> np.ndarray:
    n_units = draw(st.integers(1, 12))
    rows = st.lists(magnitudes, min_size=n_units, max_size=n_units)
    return np.array(draw(st.lists(rows, min_size=n_targets, max_size=n_targets)), dtype=np.float64)


def naive_thresholds(row: list[float], tilt: float) -> list[int]:
    """One target's thresholds, unit by unit, from the sentences in proto/SPEC.md, section 4."""
    largest = max(abs(score) for score in row) or 1.0
    whole = [round(score / largest * 2**19) for score in row]  # Python's round is half to even
    length = math.sqrt(max(sum(q * q for q in whole), 1))
    out = []
    for q in whole:
        t = tilt * (q / length)
        share = (1 + t / math.sqrt(1 + t * t)) / 2
        out.append(min(max(math.floor(65536 * share), 1), 65535))
    return out


@settings(max_examples=200)
@given(scores())
def test_thresholds_are_those_of_a_second_derivation(given_scores: np.ndarray) -> None:
    found = Tilts(given_scores).thresholds(np.array([1, 0, 1]))
    expected = [[naive_thresholds(given_scores[t].tolist(), tilt) for tilt in LAMBDAS] for t in (1, 0, 1)]
    assert found.tolist() == expected
    assert found.dtype == np.uint16


@pytest.mark.parametrize("n_units", [1, 7, 100_000])
def test_thresholds_do_not_depend_on_the_order_of_the_units(n_units: int) -> None:
    """Every sum is of integers: no machine's order of adding shows."""
    rng = np.random.default_rng(n_units)
    given_scores, order = rng.standard_normal((1, n_units)) ** 3, rng.permutation(n_units)
    one = Tilts(given_scores).thresholds(np.array([0]))
    other = Tilts(given_scores[:, order]).thresholds(np.array([0]))
    np.testing.assert_array_equal(one[:, :, order], other)


@pytest.mark.parametrize("power", [-1000, -160, -3, 1, 166])
def test_thresholds_do_not_depend_on_the_unit_of_the_scores(power: int) -> None:
    """Times a power of two, exactly; 2^166 is the largest claim there can be."""
    given_scores = np.random.default_rng(0).uniform(-1, 1, (1, 30))
    scaled = Tilts(given_scores * 2.0**power).thresholds(np.array([0]))
    np.testing.assert_array_equal(scaled, Tilts(given_scores).thresholds(np.array([0])))


def test_a_longer_tilt_is_farther_from_one_half_and_on_the_side_of_the_score() -> None:
    given_scores = np.array([[1.0, -1.0, 0.5, 0.0, -0.25]])
    one, two = Tilts(given_scores).thresholds(np.array([0]))[0].astype(np.int64) - 32768
    assert (np.sign(two[:4]) == np.sign(given_scores[0, :4])).all()
    assert (np.abs(two[[0, 1, 2, 4]]) > np.abs(one[[0, 1, 2, 4]])).all()
    assert one[3] == two[3] == 0


def test_a_claim_of_nothing_has_no_direction() -> None:
    found = Tilts(np.zeros((2, 5))).thresholds(np.array([0, 1]))
    assert (found == 32768).all()
    np.testing.assert_allclose(Tilts(np.zeros((2, 5))).likelihood(EVERY[:, :5]), 1.0, rtol=1e-12)


def test_a_unit_is_never_certainly_in_or_out() -> None:
    """Even a lone unit's, at the longest tilt."""
    (found,) = Tilts(np.array([[1e50]])).thresholds(np.array([0]))
    assert (found > 32768).all()
    assert (found < 65536).all()
    extreme = Tilts(np.array([[1.0, 0.0]]))
    assert extreme.thresholds(np.array([0])).min() >= 1


# Weights: a mean under the mixture is the mean under B_1/2.


def mixture(tilts: Tilts) -> np.ndarray:
    """The probability of every base: uniform, or each target's tilt by each lambda, all of these alike."""
    out = np.full(len(EVERY), UNIFORM / 2**N)
    share = (1 - UNIFORM) / (tilts.n_targets * len(LAMBDAS))
    for below in tilts.thresholds(np.arange(tilts.n_targets)).reshape(-1, N) / 65536:
        out += share * np.prod(np.where(EVERY, below, 1 - below), axis=1)
    return out


@pytest.mark.parametrize("n_targets", [1, 3])
@pytest.mark.parametrize("spread", [0.0, 1.0, 4.0])
def test_every_even_mean_is_what_it_is_under_the_measure(n_targets: int, spread: float) -> None:
    """By enumeration, of any h that a base and its complement share; and no base weighs more than the largest ratio."""
    rng = np.random.default_rng(n_targets)
    tilts = Tilts(rng.standard_normal((n_targets, N)) * np.exp(spread * rng.standard_normal((n_targets, N))))
    chance, ratio = mixture(tilts), tilts.likelihood(EVERY)
    assert chance.sum() == pytest.approx(1.0, rel=1e-12)
    assert chance @ ratio == pytest.approx(1.0, rel=1e-12)
    h = rng.standard_normal((2**N, 20))
    h = h + h[::-1]  # the complement of number e is number 2^N - 1 - e
    np.testing.assert_allclose((chance * ratio) @ h, h.mean(axis=0), rtol=0, atol=1e-12)
    assert ratio.max() <= LARGEST_RATIO
    assert ratio.min() > 0


def test_a_base_and_its_complement_weigh_the_same() -> None:
    tilts = Tilts(np.random.default_rng(2).standard_normal((2, N)))
    ratio = tilts.likelihood(EVERY)
    np.testing.assert_allclose(ratio, ratio[::-1], rtol=1e-12)
    np.testing.assert_allclose(ratio, 2 / 2**N / (mixture(tilts) + mixture(tilts)[::-1]), rtol=1e-12)


def test_the_ratio_is_bounded_and_finite_where_a_base_is_far_out() -> None:
    """A hundred thousand units, all of them along the claim: tilted probabilities overflow, weights do not."""
    n = 100_000
    tilts = Tilts(np.ones((2, n)))
    bases = np.array([np.ones(n), np.zeros(n), np.arange(n) % 2], dtype=bool)
    ratio = tilts.likelihood(bases)
    assert np.isfinite(ratio).all()
    assert ratio[0] == pytest.approx(ratio[1], rel=1e-6)  # from logarithms near 600, each known to 1e-10
    assert 0 < ratio[0] < 1e-30
    assert 1 < ratio[2] <= LARGEST_RATIO


def test_how_many_targets_are_held_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tilts = Tilts(np.random.default_rng(4).standard_normal((7, N)))
    whole = tilts.likelihood(EVERY)
    for n_cells in (1, 3 * len(LAMBDAS) * N):
        monkeypatch.setattr(tilting, "_CHUNK_CELLS", n_cells)
        np.testing.assert_allclose(tilts.likelihood(EVERY), whole, rtol=1e-12)


def test_no_ratio_is_above_what_the_uniform_share_allows() -> None:
    assert LARGEST_RATIO == 65536 / UNIFORM_16
    assert 32768 < UNIFORM_16 < 65536  # at least half of the bases stay uniform


# What is drawn has this law.


def bases_of(tilts: Tilts, n_families: int, n_units: int) -> np.ndarray:
    design = Design(n_families=n_families, n_siblings=1, keep_16=65535, complements=True, bases=Bases.TILTED)
    game = statement_of(Bent(n_units=n_units, shape="tanh", width=n_units))
    assert game.measure == HALF
    return Draw(seed=SEED, design=design, along=tilts).bases(game, np.arange(n_families))


def assert_binomial(count: int, n: int, p: float, n_tests: int) -> None:
    """``count`` is within what Binomial(n, p) gives but with probability FALSE_ALARM over all tests of its kind."""
    low, high = stats.binom.ppf([FALSE_ALARM / n_tests / 2, 1 - FALSE_ALARM / n_tests / 2], n, p)
    assert low <= count <= high, f"{count} of {n}, expected {low:.0f} to {high:.0f}"


@pytest.mark.parametrize("n_targets", [1, 3])
def test_bases_come_as_often_as_the_mixture_says(n_targets: int) -> None:
    tilts = Tilts(np.random.default_rng(n_targets).standard_normal((n_targets, N)))
    drawn, n = bases_of(tilts, 20_000, N), 20_000
    numbers = drawn @ (1 << np.arange(N)[::-1])  # of EVERY, whose first unit counts most
    counts = np.bincount(numbers, minlength=2**N)
    for count, chance in zip(counts, mixture(tilts), strict=True):
        assert_binomial(int(count), n, float(chance), 2**N)


def test_every_target_and_every_tilt_has_its_share() -> None:
    """Four targets of one unit each: a unit is in more often by exactly its own target's two tilts."""
    tilts, n = Tilts(np.eye(4, 5)), 40_000
    drawn = bases_of(tilts, n, 5)
    (below,) = tilts.thresholds(np.array([0]))[:, :, 0] / 65536
    expected = 0.5 + (1 - UNIFORM) / 4 * (below - 0.5).mean()
    for unit in range(4):
        assert_binomial(int(drawn[:, unit].sum()), n, float(expected), 5)
    assert_binomial(int(drawn[:, 4].sum()), n, 0.5, 5)


def test_tails_of_the_claims_prediction_are_met_more_often_and_weigh_less() -> None:
    """The point of it: of 30 units, a prediction more than 2.5 standard deviations from its mean."""
    n_units, n, low = 30, 20_000, 8  # 8 units or fewer are in, or 22 or more
    tilts = Tilts(np.ones((1, n_units)))
    (below,) = tilts.thresholds(np.array([0]))[:, :, 0] / 65536

    def chance(p: np.ndarray | float) -> np.ndarray:
        return np.asarray(stats.binom.cdf(low, n_units, p) + stats.binom.sf(n_units - low - 1, n_units, p))

    usual = float(chance(0.5))
    expected = UNIFORM * usual + (1 - UNIFORM) * float(chance(below).mean())
    assert expected > 2 * usual
    drawn = bases_of(tilts, n, n_units)
    far = np.abs(drawn.sum(axis=1) - n_units / 2) >= n_units / 2 - low
    assert_binomial(int(far.sum()), n, expected, 1)
    weighted = float((tilts.likelihood(drawn) * far).mean())
    # Each term is from 0 to 1.5 with a mean of at most 1.5 usual: Bernstein's inequality at 1e-6.
    assert abs(weighted - usual) < 1.5 * (math.sqrt(2 * 14.6 * expected / n) + 14.6 / n)
