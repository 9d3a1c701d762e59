"""Bounds with seeds per subset: their level under several kinds of noise, their use, and the number of seeds.

A failure rate is compared with its level through the binomial tail: a bound that holds fails a test here with
probability below 1e-4.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from protocol.certificate import concentration, exhaustive
from protocol.certificate.exhaustive.bound import Direction, deviation, largest_eigenvalue, mean_from_above
from protocol.certificate.terms import Across
from protocol.errors import ArgumentError

FALSE_ALARM = 1e-4


def most_failures(runs: int, alpha: float) -> int:
    return int(stats.binom.isf(FALSE_ALARM, runs, alpha))


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """f on all subsets, T targets in [-half, half], and noise of mean 0 by subset."""

    n_units: int
    n_targets: int = 1
    half: float = 4.0
    p: float = 0.5

    @property
    def f(self) -> np.ndarray:
        """Mostly linear, with interactions of all degrees; sd 1 at p = 1/2."""
        rng = np.random.default_rng(self.n_units)
        x = exhaustive.subsets(self.n_units)
        weights = rng.standard_normal((self.n_units, self.n_targets)) * 2 / np.sqrt(self.n_units)
        found = (x - self.p) @ weights + 0.1 * rng.standard_normal((1 << self.n_units, self.n_targets))
        return np.asarray((found - found.mean(axis=0)) / found.std(axis=0))

    def scores(self, off: float) -> np.ndarray:
        """The best scores, moved by ``off`` standard deviations in a random direction."""
        best = exhaustive.best_linear(self.f, self.p)[1]
        direction = np.random.default_rng(5).standard_normal(best.shape)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True) * np.sqrt(self.p * (1 - self.p))
        return np.asarray(best + off * direction)

    def relative_gaps(self, scores: np.ndarray, noise: np.ndarray, across: Across) -> tuple[float, float]:
        """The gap's share of Var E[f|x] and of an output's variance, ``noise`` the noise's mean variance."""
        gap, variance = exhaustive.gaps(self.f, scores, self.p), exhaustive.variances(self.f, self.p)
        ones = np.ones(self.n_targets)
        return tuple(float(exhaustive.relative_gaps(gap, v, across, ones).max()) for v in (variance, variance + noise))

    def certify(self, outputs: np.ndarray, scores: np.ndarray, delta: float, across: Across) -> object:
        ends = np.full(self.n_targets, self.half)
        return exhaustive.certify_noisy(
            outputs, scores, p=self.p, lo=-ends, hi=ends, delta=delta, across=across, weights=np.ones(self.n_targets)
        )


Noise = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def gaussian(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(np.clip(rng.standard_normal(shape) * 0.5, -1.5, 1.5))


def rare(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """One training in fifty ends near the range's end; most sets of few seeds see none on a given subset."""
    return np.asarray(np.where(rng.random(shape) < 0.02, 1.47, -0.03))


def unlike(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Half the subsets are noisy, half are not: the variance along a direction differs from the mean."""
    return np.asarray(gaussian(rng, shape) * (np.arange(shape[0]) % 2)[:, None, None])


NOISES: dict[str, tuple[Noise, float]] = {
    "gaussian": (gaussian, 0.2494), "rare": (rare, 0.0441), "unlike": (unlike, 0.1247),
}  # fmt: skip
"""Each with its mean variance."""


@pytest.mark.parametrize("noise", NOISES)
def test_the_noises_have_mean_0_and_the_variance_stated(noise: str) -> None:
    draw, variance = NOISES[noise]
    found = draw(np.random.default_rng(0), (8, 200_000, 1))
    assert np.abs(found.mean(axis=1)).max() < 5 * np.sqrt(variance / 2e5) * 2
    assert found.var() == pytest.approx(variance, rel=0.02)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize(("world", "n_seeds"), [
    (World(n_units=1), 30), (World(n_units=3), 8), (World(n_units=3), 120), (World(n_units=5, p=0.3), 12),
    (World(n_units=4, n_targets=5), 20),
])  # fmt: skip
def test_both_bounds_hold_for_either_meaning_of_the_gap(world: World, n_seeds: int, noise: str) -> None:
    runs, delta, rng = 60, 0.3, np.random.default_rng(2)
    draw, variance = NOISES[noise]
    for off in (0.02, 0.5):
        scores = world.scores(off)
        for across in Across:
            of_mean, of_output = world.relative_gaps(scores, np.full(world.n_targets, variance), across)
            above = below = 0
            for _ in range(runs if across is Across.POOLED else 10):
                outputs = world.f[:, None] + draw(rng, (1 << world.n_units, n_seeds, world.n_targets))
                c = world.certify(outputs, scores, delta, across)
                above += c.upper_bound < of_mean
                below += c.lower_bound > of_output
            assert max(above, below) <= most_failures(runs, delta)


@pytest.mark.parametrize("chance", [0.3, 0.02, 0.002])
@pytest.mark.parametrize("n_seeds", [1, 2, 5, 60])
def test_a_deviation_keeps_its_level_along_a_fixed_direction(n_seeds: int, chance: float) -> None:
    """Outputs are 1 with this chance, else 0, at 8 subsets: the mean is too low by more than t in alpha of runs."""
    runs, alpha, rng = 4000, 0.2, np.random.default_rng(1)
    direction = np.array([1.0, -0.5, 2.0, 0.1, -1.5, 0.3, 0.0, 1.0])
    direction /= np.sqrt((direction**2).mean())
    outputs = (rng.random((runs, 8, n_seeds)) < chance).astype(float)
    even = n_seeds // 2 * 2
    pairs = outputs[:, :, 0:even:2] - outputs[:, :, 1:even:2]
    seen = ((pairs**2).mean(axis=2) / 2 * (direction / 8) ** 2).sum(axis=1) if even else np.zeros(runs)
    ranges = np.abs(direction) / 8
    failures = 0
    for run in range(runs):
        stated = Direction(ranges=float((ranges**2).sum()), largest=float(ranges.max()), seen=float(seen[run]))
        low = float((outputs[run].mean(axis=1) * direction).mean()) - chance * float(direction.mean())
        failures += low < -deviation(stated, n_seeds, alpha)
    assert failures <= most_failures(runs, alpha)


def test_bernsteins_bound_is_used_where_the_noise_is_small_and_hoeffdings_where_it_is_not() -> None:
    quiet, loud = (Direction(ranges=1.0, largest=0.5, seen=seen) for seen in (0.0, 0.25))
    hoeffding = np.sqrt(-np.log(0.05 / 4) / (2 * 400))
    assert deviation(loud, 400, 0.05) == pytest.approx(hoeffding)
    assert deviation(quiet, 400, 0.05) < 0.2 * hoeffding
    level = -np.log(0.375 * 0.05)
    assert deviation(quiet, 400, 0.05) < 1.8 * level * 0.5 / 400, "b L/3 and sqrt(2 L V), V at most b^2 L"
    assert deviation(quiet, 1, 0.05) == pytest.approx(np.sqrt(-np.log(0.05) / 2)), "no pair, no variance"


@pytest.mark.parametrize("means", [(0.0005,) * 400, (0.02,) * 400, (0.001, 0.3) * 200, (0.5,) * 400])
def test_the_mean_of_a_sum_of_unlike_terms_is_bounded_from_above(means: tuple[float, ...]) -> None:
    rng, runs, alpha = np.random.default_rng(8), 2000, 0.2
    sums = 2.0 * (rng.random((runs, 400)) < np.array(means)).sum(axis=1)
    bounds = np.array([mean_from_above(float(value), 2.0, alpha) for value in sums])
    assert (bounds < 2 * sum(means)).sum() <= most_failures(runs, alpha)
    assert np.median(bounds) < 2 * (sum(means) + 2 * np.sqrt(2 * -np.log(alpha) * sum(means)) + 2 * -np.log(alpha))


def test_the_mean_of_a_sum_solves_its_equation() -> None:
    assert mean_from_above(0.0, 3.0, 0.05) == pytest.approx(-3 * np.log(0.05))
    assert mean_from_above(0.7, 0.0, 0.05) == 0.7
    for seen in (1e-6, 0.3, 40.0):
        v = mean_from_above(seen, 2.0, 0.05)
        assert (v - seen + seen * np.log(seen / v)) / 2.0 == pytest.approx(-np.log(0.05), rel=1e-6)


@pytest.mark.parametrize("p", [0.5, 0.3, 0.05])
def test_the_largest_eigenvalue_bounds_every_direction(p: float) -> None:
    phi, chances = exhaustive.characters(4, p), exhaustive.probabilities(4, p)
    top = largest_eigenvalue(phi, chances**2)
    v = np.random.default_rng(0).standard_normal((2000, 4))
    found = ((v @ phi.T) ** 2 @ chances**2) / (v**2).sum(axis=1)
    assert found.max() <= top * (1 + 1e-12)
    assert found.max() > 0.9 * top
    if p == 0.5:
        assert top == pytest.approx(1 / 16)


# --------------------------------------------------------------------------------------------- use


def test_enough_seeds_bring_the_bounds_near_the_gap() -> None:
    world, rng = World(n_units=3), np.random.default_rng(4)
    outputs = world.f[:, None] + gaussian(rng, (8, 8000, 1))
    scores = world.scores(0.5)
    of_mean, of_output = world.relative_gaps(scores, np.array([0.2494]), Across.POOLED)
    c = world.certify(outputs, scores, 0.05, Across.POOLED)
    assert of_mean <= c.upper_bound < 1.25 * of_mean
    assert 0.75 * of_output < c.lower_bound <= of_output


def test_a_zero_claim_has_a_finite_bound_too() -> None:
    """Its linear part has no direction, so that the variance comes from one half of the seeds tested on the other."""
    world, rng = World(n_units=3), np.random.default_rng(4)
    outputs = world.f[:, None] + gaussian(rng, (8, 2000, 1))
    zero = np.zeros((1, 3))
    true, _ = world.relative_gaps(zero, np.zeros(1), Across.POOLED)
    c = world.certify(outputs, zero, 0.05, Across.POOLED)
    assert true <= c.upper_bound < 1.7 * true
    assert c.lower_bound > 0.3


def test_three_in_a_hundred_targets_of_garbage_are_seen_with_weights_fixed_beforehand() -> None:
    world, rng = World(n_units=3, n_targets=100), np.random.default_rng(4)
    scores = world.scores(0.02)
    scores[::34] *= 10
    outputs = world.f[:, None] + gaussian(rng, (8, 200, 1))
    true, _ = world.relative_gaps(scores, np.zeros(100), Across.POOLED)
    c = world.certify(outputs, scores, 0.05, Across.POOLED)
    assert 1.0 < true <= c.upper_bound < 2 * true
    assert c.lower_bound > 0.5


def test_the_noise_along_one_direction_is_far_smaller_than_a_bound_of_the_whole_vectors_noise() -> None:
    """McDiarmid's inequality for |W^ - W| at the same level: its mean at most D sqrt(N/M)/2, M all trainings."""
    world, rng = World(n_units=3), np.random.default_rng(4)
    outputs = world.f[:, None] + 0.1 * gaussian(rng, (8, 125, 1))
    c = world.certify(outputs, world.scores(0.02), 0.05, Across.POOLED)
    whole = 8.0 * np.sqrt(3 / 1000) * (0.5 + np.sqrt(-np.log(0.025) / 2))
    assert c.noise[0] < 0.2 * whole


def test_one_seed_a_subset_is_bounded_by_the_ranges_alone() -> None:
    world, rng = World(n_units=10, half=2.5), np.random.default_rng(4)
    outputs = np.clip(world.f[:, None] + 0.2 * gaussian(rng, (1024, 1, 1)), -2.5, 2.5)
    c = world.certify(outputs, world.scores(0.02), 0.05, Across.POOLED)
    expected = 5.0 * np.sqrt(-np.log(0.025) / (2 * 1024))
    assert c.noise[0] == pytest.approx(expected)
    assert 0.0 < c.upper_bound < 0.4


@pytest.mark.parametrize("across", Across)
def test_a_constant_target_has_no_bound(across: Across) -> None:
    outputs = np.full((8, 20, 1), 0.3)
    world = World(n_units=3)
    for scores in (np.zeros((1, 3)), np.ones((1, 3))):
        c = world.certify(outputs, scores, 0.05, across)
        assert c.upper_bound == np.inf
    assert world.certify(outputs, np.zeros((1, 3)), 0.05, across).lower_bound == 0.0


def test_rows_over_targets() -> None:
    world, rng = World(n_units=3, n_targets=3), np.random.default_rng(4)
    outputs = world.f[:, None] + gaussian(rng, (8, 400, 3))
    scores = world.scores(0.2)
    each = world.certify(outputs, scores, 0.05, Across.EVERY)
    mean = world.certify(outputs, scores, 0.05, Across.MEAN)
    assert mean.upper.shape == (1,)
    assert mean.upper_bound == pytest.approx(each.upper.mean())
    assert mean.lower_bound == pytest.approx(each.lower.mean())
    ends = np.full(1, world.half)
    for t in range(3):
        alone = exhaustive.certify_noisy(
            outputs[:, :, t : t + 1], scores[t : t + 1], p=0.5, lo=-ends, hi=ends, delta=0.05 / 3, across=Across.EVERY
        )
        assert each.upper[t] == pytest.approx(alone.upper_bound)


def test_a_targets_unit_does_not_matter_and_a_common_weight_neither() -> None:
    world, rng = World(n_units=3, n_targets=2), np.random.default_rng(4)
    outputs, scores, ends = world.f[:, None] + gaussian(rng, (8, 50, 2)), world.scores(0.2), np.full(2, world.half)
    unit = np.array([1e-6, 1e3])
    plain, other = (
        exhaustive.certify_noisy(
            outputs * u, scores * u[:, None], p=0.5, lo=-ends * u, hi=ends * u, delta=0.05, across=Across.POOLED,
            weights=weight / u**2,
        )
        for u, weight in ((np.ones(2), 1.0), (unit, 7.0))
    )  # fmt: skip
    assert other.upper_bound == pytest.approx(plain.upper_bound, rel=1e-9)
    assert other.lower_bound == pytest.approx(plain.lower_bound, rel=1e-9)


# ----------------------------------------------------------------------------------------- planning


@pytest.mark.parametrize(("n_units", "noise"), [(3, 0.2), (5, 0.5), (1, 0.1)])
def test_the_number_of_seeds_is_enough_and_half_of_it_is_not(n_units: int, noise: float) -> None:
    world, rng, epsilon, p = World(n_units=n_units), np.random.default_rng(6), 0.1, 0.5
    variance = float(exhaustive.variances(world.f, p)[0])
    sd = np.sqrt(variance / (1 - noise))
    scores = world.scores(0.07 * np.sqrt(variance))
    linear = float(exhaustive.variances(exhaustive.subsets(n_units) @ scores.T, p)[0])
    needed = exhaustive.seeds_needed(
        n_units, epsilon=epsilon, p=p, noise=noise, relative_gap=0.005, r2=min(linear / variance, 1.0),
        half_range_sd=world.half / sd, delta=0.05,
    )  # fmt: skip
    assert needed is not None

    def accepted(n_seeds: int) -> int:
        uppers = []
        for _ in range(20):
            drawn = rng.uniform(-1, 1, (1 << n_units, n_seeds, 1)) * np.sqrt(3 * noise) * sd
            uppers.append(world.certify(world.f[:, None] + drawn, scores, 0.05, Across.POOLED).upper_bound)
        return int((np.array(uppers) <= epsilon).sum())

    assert accepted(needed * 11 // 10 + 1) >= stats.binom.ppf(FALSE_ALARM, 20, 0.9)
    assert accepted(needed // 2) <= stats.binom.isf(FALSE_ALARM, 20, 0.1)


def test_no_number_of_seeds_is_enough_for_a_gap_above_epsilon() -> None:
    found = exhaustive.seeds_needed(
        3, epsilon=0.05, p=0.5, noise=0.1, relative_gap=0.06, r2=0.9, half_range_sd=3.0, delta=0.05
    )
    assert found is None


def test_more_units_need_fewer_seeds_and_more_noise_more() -> None:
    def seeds(n_units: int, noise: float) -> int:
        found = exhaustive.seeds_needed(
            n_units, epsilon=0.05, p=0.5, noise=noise, relative_gap=0.005, r2=0.95, half_range_sd=3.0, delta=0.05
        )
        assert found is not None
        return found

    assert seeds(3, 0.1) > seeds(5, 0.1) > seeds(8, 0.1) > 1
    assert seeds(3, 0.01) < seeds(3, 0.1) < seeds(3, 0.5) < seeds(3, 0.8)


# ----------------------------------------------------------------------------------------- refusals


def test_what_cannot_be_bounded_is_refused() -> None:
    outputs, ends, scores = np.zeros((8, 2, 1)), np.ones(1), np.zeros((1, 3))

    def ask(outputs: np.ndarray = outputs, scores: np.ndarray = scores, **changed: object) -> None:
        asked = {"p": 0.5, "lo": -ends, "hi": ends, "delta": 0.05, "across": Across.POOLED, "weights": np.ones(1)}
        exhaustive.certify_noisy(outputs, scores, **{**asked, **changed})

    ask()
    for delta in (0.0, 1.0, float("nan")):
        with pytest.raises(ArgumentError, match="delta: expected a probability"):
            ask(delta=delta)
    for weights in (None, np.ones(2), -np.ones(1)):
        with pytest.raises(ArgumentError, match="a weight of at least 0"):
            ask(weights=weights)
    for value in (1.5, float("nan")):
        with pytest.raises(ArgumentError, match="within the targets' ranges"):
            ask(outputs=np.full((8, 2, 1), value))
    with pytest.raises(ArgumentError, match=r"scores of shape \(1, 3\), got \(1, 4\)"):
        ask(scores=np.zeros((1, 4)))
    with pytest.raises(ArgumentError, match="got 6 rows"):
        ask(outputs=np.zeros((6, 2, 1)))
    with pytest.raises(ArgumentError, match="at least one seed"):
        ask(outputs=np.zeros((8, 0, 1)))


def test_bernstein_of_one_sum_is_the_one_that_is_used() -> None:
    """``concentration.bernstein`` with m = 1 is about a sum of independent terms, its variance and largest term."""
    level = -np.log(0.05)
    expected = level * 0.3 / 3 + np.sqrt((level * 0.3 / 3) ** 2 + 2 * level * 0.2)
    assert concentration.bernstein(0.2, 0.3, 1, 0.05) == pytest.approx(expected)
