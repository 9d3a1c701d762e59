"""The Gaussian certificate, part by part: a naive twin, exact expectations, and values at the edges.

Whether its bounds hold as often as they say is test_families_coverage.py's business.
"""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import fields, replace

import numpy as np
import pytest
from scipy import stats

from protocol.certificate.gaussian.families import (
    MIN_FAMILIES,
    FamiliesCertificate,
    certify,
    check_design,
    degrees_of_freedom,
    effective_rank,
    spread_degrees,
)
from protocol.certificate.gaussian.looks import shared_level
from protocol.certificate.readings import Readings, joined, read
from protocol.certificate.terms import Across
from protocol.claim import MAX_MAGNITUDE, Claim
from protocol.encoding import Seed
from protocol.errors import ArgumentError
from protocol.game.known import Parity, Polynomial
from protocol.game.sampling import Design, Draw, families
from tests.games import task_of
from tests.protocol.certificate.enumeration import sibling_product, values_of, weights
from tests.protocol.certificate.gaussian.naive import HALF_RANGE, naive, naive_rank
from tests.protocol.certificate.simulate import World


def judged(
    readings: Readings, *, across: Across = Across.MEAN, delta: float = 0.05, looks: tuple[int, ...] = (),
    half_range: float = HALF_RANGE,
) -> FamiliesCertificate:  # fmt: skip
    """The certificate, of targets that lie within ``half_range`` of 0."""
    ends = np.full(readings.n_targets, half_range)
    return certify(readings, delta=delta, across=across, lo=-ends, hi=ends, looks=looks)


def two_targets(p: float, n_families: int, scale: float = 0.8) -> World:
    """Two targets that err apart, with degrees one to three, and a claim that errs."""
    one, other = (Polynomial(n_units=12, w1=0.8, w2=w2, w3=0.2 - w2, p=p) for w2 in (0.05, 0.15))
    scores = np.vstack([one.best * scale, other.best[:, ::-1] * scale])

    def outputs(subsets: np.ndarray) -> np.ndarray:
        return np.hstack([one.outputs(subsets), 3 + 2 * other.outputs(subsets[:, ::-1])])

    return World(outputs=outputs, scores=scores, p=p, n_families=n_families, n_siblings=3, rho=0.4)


@pytest.mark.parametrize("across", Across)
@pytest.mark.parametrize(("p", "n_families"), [(0.5, 25), (0.5, 40), (0.3, 30), (0.1, 30)])
@pytest.mark.parametrize("scale", [0.8, 0.1])
def test_every_part_is_the_naive_twins(across: Across, p: float, n_families: int, scale: float) -> None:
    readings = two_targets(p, n_families, scale).readings(np.random.default_rng(11))
    found = judged(readings, delta=0.1, across=across)
    expected = naive(readings, 0.1, across)
    assert found.relative_gap == pytest.approx(expected["gap"], rel=1e-9)
    assert found.upper == pytest.approx(expected["upper"], rel=1e-7)
    assert found.families_lower == pytest.approx(expected["families_lower"], rel=1e-7, abs=1e-12)
    assert found.projection_lower == pytest.approx(expected["projection_lower"], rel=1e-7, abs=1e-12)
    larger = [max(pair) for pair in zip(expected["families_lower"], expected["projection_lower"], strict=True)]
    assert found.lower == pytest.approx(larger, rel=1e-7, abs=1e-12)
    assert (found.lower <= found.upper).all()
    assert (found.upper_bound, found.lower_bound) == (found.upper.max(), found.lower.max())


def test_the_twin_exercises_both_lower_bounds() -> None:
    readings = two_targets(0.5, 120, 0.1).readings(np.random.default_rng(11))
    found = judged(readings, delta=0.1, across=Across.EVERY)
    assert (found.families_lower > 0).any()
    assert (found.projection_lower > 0).any()


@pytest.mark.parametrize("p", [0.5, 0.3])
@pytest.mark.parametrize("rho", [0.2, 0.7])
def test_siblings_agree_by_the_powers_of_rho(p: float, rho: float) -> None:
    """THEORY 10: E[r(x) r(x')] = sum_k rho^k W_k[r], by enumeration of every pair of siblings of 4 units."""
    values = np.random.default_rng(3).standard_normal(16)
    exact = sum(rho**k * w for k, w in enumerate(weights(values, 4, p)))
    assert sibling_product(values, 4, p, math.sqrt(rho)) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("degree", [1, 3])
def test_the_protocols_own_siblings_agree_by_the_power_of_rho(degree: int) -> None:
    """Parity is +-1, so agreement is a binomial count; false-alarm rate 1e-6."""
    task, game = task_of(5), Parity(n_units=5, degree=degree)
    draw = Draw(seed=Seed(b"s" * 32), design=families(n_families=4000, n_siblings=2, rho=0.6, complements=True))
    subsets = draw.subsets(task, 2 * np.arange(8000))
    values = game.outputs(subsets)[:, 0].reshape(4000, 2)
    agreed = int((values[:, 0] * values[:, 1] > 0).sum())
    low, high = stats.binom.ppf([5e-7, 1 - 5e-7], 4000, (1 + draw.design.rho**degree) / 2)
    assert low <= agreed <= high


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_the_estimate_lies_between_the_gap_and_what_theory_adds_to_it(p: float) -> None:
    """Over every pair of siblings: A/rho = W_1 + rho^2 W_3 (p = 1/2) or W_1 + rho W_2 + rho^2 W_3, and no intercept."""
    n, rho = 4, 0.5
    game = Polynomial(n_units=n, w1=0.7, w2=0.2, w3=0.1, p=p)
    claimed = game.best * 0.6

    def residual(subsets: np.ndarray) -> np.ndarray:
        if p == 0.5:
            odd = (game.outputs(subsets) - game.outputs(~subsets)) / 2
            return odd - (subsets - 0.5) @ claimed.T
        return game.outputs(subsets) - (subsets - p) @ claimed.T

    w = weights(values_of(residual, n), n, p)
    assert w[1] == pytest.approx(0.16 * 0.7, rel=1e-9)
    between = sibling_product(values_of(residual, n), n, p, math.sqrt(rho))  # E[f] = 0, so its square is not in it
    expected = w[1] + rho**2 * w[3] + (0.0 if p == 0.5 else rho * w[2])
    assert between / rho == pytest.approx(expected, rel=1e-9)
    assert w[3] == pytest.approx(0.1, rel=1e-9)
    assert w[2] == pytest.approx(0.0 if p == 0.5 else 0.2, abs=1e-12)


@pytest.mark.parametrize("p", [0.5, 0.3, 0.05])
def test_mean_squares_have_the_expectations_that_the_bounds_assume(p: float) -> None:
    """E[MSB] = v + (s-1) a and E[MSW] = v - a, with v = E r^2 and a = E[r r'] exact: seven standard errors allowed."""
    n, s, rho = 4, 3, 0.5
    game = Polynomial(n_units=n, w1=0.7, w2=0.2, w3=0.1, p=p)
    world = World(outputs=game.outputs, scores=game.best * 0, p=p, n_families=2000, n_siblings=s, rho=rho)
    found = judged(world.readings(np.random.default_rng(2)))
    w = weights(values_of(game.outputs, n), n, p)[1:]
    if p == 0.5:
        w[1::2] = 0  # even degrees are gone
    v, a = w.sum(), (w * rho ** np.arange(1, n + 1)).sum()
    between, within = found.mean_square_between * found.variance, found.mean_square_within * found.variance
    rng = np.random.default_rng(3)
    residual = world.readings(rng).residual[:, :, 0]
    error = 7 * ((s * residual.mean(axis=1) ** 2).std() / math.sqrt(2000))
    assert between[0] == pytest.approx(v + (s - 1) * a, abs=error)
    error = 7 * (residual.var(axis=1, ddof=1).std() / math.sqrt(2000))
    assert within[0] == pytest.approx(v - a, abs=error)
    error = 7 * (residual**2).mean(axis=1).std() / math.sqrt(2000)
    assert found.variance[0] == pytest.approx(1.0, abs=error)


def test_degrees_of_freedom_pay_for_the_mean_and_for_rare_units() -> None:
    assert degrees_of_freedom(10, 3, 0.5) == (10.0, 20.0)
    assert degrees_of_freedom(10, 3, 0.3) == (9.0, 20.0)  # no excess kurtosis here
    kurtosis = (1 - 6 * 0.09) / 0.09
    assert degrees_of_freedom(10, 3, 0.1) == pytest.approx((9 / (1 + kurtosis / 2), 20 / (1 + kurtosis / 2)))
    assert degrees_of_freedom(10, 3, 0.9) == pytest.approx(degrees_of_freedom(10, 3, 0.1))


def test_degrees_of_freedom_follow_the_spread_of_the_family_values() -> None:
    """Equal values: as many as allowed. One family in eight alone: 2 B / cv^2, with cv^2 about 7."""
    values = np.stack([np.ones(40), np.arange(40) % 8 == 0], axis=1).astype(np.float64)
    square = 40 / 39 * 7
    assert spread_degrees(values, 40.0) == pytest.approx([40.0, 80 / square])
    assert spread_degrees(np.zeros((40, 1)), 40.0).tolist() == [40.0]
    gaussian = np.random.default_rng(1).standard_normal((4000, 2)) ** 2
    assert spread_degrees(gaussian, 9e9) == pytest.approx([4000.0] * 2, rel=0.15)


def test_targets_that_share_an_amplitude_get_few_degrees_of_freedom() -> None:
    """r_t = a(x) phi_t: the effective rank sees many directions, the spread of the family values one amplitude."""
    rng = np.random.default_rng(2)
    amplitude = rng.exponential(size=(60, 1, 1)) ** 2
    output = amplitude * rng.standard_normal((60, 2, 50))
    readings = Readings(
        output=output, linear=np.zeros_like(output), even=np.zeros_like(output), claim_mean=np.zeros(50),
        claim_variance=np.zeros(50), rho=0.5, p=0.5,
    )  # fmt: skip
    found = judged(readings, half_range=1e3)
    assert effective_rank(output) > 20
    assert found.degrees_between[0] < 30


def test_effective_rank_takes_no_table_of_siblings_by_siblings() -> None:
    """A hostile file may have families of very many siblings."""
    vectors = np.random.default_rng(0).standard_normal((25, 3000, 1))
    tracemalloc.start()
    try:
        assert effective_rank(vectors) == pytest.approx(1.0)
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


def test_effective_rank_is_one_along_one_direction_and_near_the_number_of_equal_ones() -> None:
    rng = np.random.default_rng(1)
    assert effective_rank(rng.standard_normal((20, 3, 1)) * np.ones((1, 1, 50))) == pytest.approx(1.0)
    assert effective_rank(np.zeros((20, 1, 5))) == 1.0
    vectors = rng.standard_normal((100, 2, 6))
    assert effective_rank(vectors) == pytest.approx(naive_rank(vectors.tolist()), rel=1e-9)
    assert 5 < effective_rank(vectors) < 7
    assert 1 <= effective_rank(vectors * np.array([100.0, 1, 1, 1, 1, 1])) < 1.1


def test_effective_rank_takes_every_sibling() -> None:
    """One sibling alone would say 1: the first of every family lies along one direction, the others anywhere."""
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((60, 4, 12))
    vectors[:, 0] = rng.standard_normal((60, 1)) * np.ones(12)
    assert effective_rank(vectors[:, :1]) == pytest.approx(1.0)
    assert effective_rank(vectors) > 5


@pytest.mark.parametrize("shape", [(5, 3, 40), (60, 3, 4)])
def test_effective_rank_is_the_same_from_either_gram_matrix(shape: tuple[int, int, int]) -> None:
    vectors = np.random.default_rng(4).standard_normal(shape)
    assert effective_rank(vectors) == pytest.approx(naive_rank(vectors.tolist()), rel=1e-9)


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_one_target_is_the_same_pooled_across_the_mean_and_across_every(p: float) -> None:
    game = Polynomial(n_units=12, w1=0.8, w2=0.1, w3=0.1, p=p)
    world = World(outputs=game.outputs, scores=game.best * 0.7, p=p, n_families=30, n_siblings=2, rho=0.4)
    readings = world.readings(np.random.default_rng(4))
    pooled, mean, every = (judged(readings, across=across) for across in Across)
    for field in fields(FamiliesCertificate):
        if field.name != "across":
            assert getattr(mean, field.name) == pytest.approx(getattr(every, field.name), rel=1e-12), field.name
            assert getattr(mean, field.name) == pytest.approx(getattr(pooled, field.name), rel=0, abs=0), field.name


def test_every_target_has_its_share_of_delta() -> None:
    readings = two_targets(0.5, 32).readings(np.random.default_rng(5))
    both = judged(readings, delta=0.1, across=Across.EVERY)
    for t in range(2):
        cut = [slice(None), slice(None), slice(t, t + 1)]
        alone = judged(
            Readings(
                output=readings.output[*cut], linear=readings.linear[*cut], even=readings.even[*cut],
                claim_mean=readings.claim_mean[cut[2]], claim_variance=readings.claim_variance[cut[2]],
                rho=readings.rho, p=readings.p,
            ),
            across=Across.EVERY,
        )  # fmt: skip
        assert both.upper[t] == pytest.approx(alone.upper[0], rel=1e-12)
        assert both.lower[t] == pytest.approx(alone.lower[0], rel=1e-12)


def test_a_targets_unit_changes_nothing_relative() -> None:
    readings = two_targets(0.5, 32).readings(np.random.default_rng(6))
    unit = np.array([1000.0, 1e-3])
    other = replace(
        readings, output=readings.output * unit, linear=readings.linear * unit, even=readings.even * unit,
        claim_mean=readings.claim_mean * unit, claim_variance=readings.claim_variance * unit**2,
    )  # fmt: skip
    ends = HALF_RANGE * np.ones(2)
    for across in Across:
        one, two = (
            certify(r, delta=0.05, across=across, lo=-ends * scale, hi=ends * scale)
            for r, scale in ((readings, np.ones(2)), (other, unit))
        )
        assert two.upper == pytest.approx(one.upper, rel=1e-9)
        assert two.lower == pytest.approx(one.lower, rel=1e-9)
        assert two.variance == pytest.approx(one.variance * unit**2, rel=1e-9)
        assert two.intercept_error == pytest.approx(one.intercept_error * unit**2, rel=1e-9)


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_a_claim_without_residual_has_gap_zero(p: float) -> None:
    game = Polynomial(n_units=8, w1=1.0, w2=0.0, w3=0.0, p=p)
    world = World(outputs=game.outputs, scores=game.best, p=p, n_families=25, n_siblings=2, rho=0.5)
    found = judged(world.readings(np.random.default_rng(7)))
    assert found.upper_bound == pytest.approx(0.0, abs=1e-12)
    assert found.lower_bound == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("p", [0.5, 0.3])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 / 7])
def test_constant_outputs_leave_the_relative_gap_undefined(p: float, value: float) -> None:
    def constant(subsets: np.ndarray) -> np.ndarray:
        return np.full((len(subsets), 1), value)

    for n_families in (25, 27, 31, 49):  # the mean of equal numbers is not always that number
        for scores in (np.zeros((1, 4)), np.ones((1, 4))):
            world = World(outputs=constant, scores=scores, p=p, n_families=n_families, n_siblings=2, rho=0.5)
            found = judged(world.readings(np.random.default_rng(8)), half_range=2e6)
            assert found.constant_targets == (0,)
            assert (found.upper_bound, found.lower_bound) == (math.inf, 0.0)


def test_one_constant_target_leaves_the_mean_undefined_and_the_others_alone() -> None:
    world = two_targets(0.5, 32)

    def outputs(subsets: np.ndarray) -> np.ndarray:
        out = world.outputs(subsets)
        out[:, 1] = 0.3
        return out

    readings = replace(world, outputs=outputs).readings(np.random.default_rng(9))
    pooled, mean, every = (judged(readings, across=across) for across in Across)
    assert pooled.upper.tolist() == [math.inf]
    assert mean.constant_targets == every.constant_targets == (1,)
    assert mean.upper.tolist() == [math.inf]
    assert every.upper[0] < math.inf
    assert (every.upper[1], every.lower[1]) == (math.inf, 0.0)


@pytest.mark.parametrize("across", Across)
def test_looks_share_one_level_and_the_last_of_one_is_all_of_delta(across: Across) -> None:
    readings = two_targets(0.5, 32).readings(np.random.default_rng(10))
    rows = 2 if across is Across.EVERY else 1
    alone, many = judged(readings, across=across), judged(readings, across=across, looks=(25, 32, 64, 128))
    assert alone.level == 0.05 / rows
    assert many.level == shared_level((25, 32, 64, 128), 0.05 / rows)
    assert (many.upper > alone.upper).all()
    assert (many.lower <= alone.lower).all()
    assert (many.variance_upper > alone.variance_upper).all()


def test_a_sample_that_is_none_of_the_looks_is_refused() -> None:
    readings = two_targets(0.5, 32).readings(np.random.default_rng(10))
    with pytest.raises(ArgumentError, match="32 families are none of the looks planned"):
        judged(readings, looks=(25, 64))


def test_a_wider_range_lowers_the_lower_bound_and_leaves_the_upper_alone() -> None:
    readings = two_targets(0.5, 200, 0.1).readings(np.random.default_rng(10))
    found = [judged(readings, across=Across.EVERY, half_range=width) for width in (10.0, 14.0, 30.0)]
    lower = [one.lower[0] for one in found]
    assert lower == sorted(lower, reverse=True)
    assert lower[0] > lower[2]
    assert len({one.upper_bound for one in found}) == 1


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_an_enormous_claim_is_far_off_not_unknown(p: float) -> None:
    """Its numbers dwarf the outputs to the last bit; the bounds must neither overflow nor lose Var f."""
    game = Polynomial(n_units=12, w1=0.9e-12, w2=0.05e-12, w3=0.05e-12, p=p)
    sign = np.random.default_rng(1).choice([-1.0, 1.0], (1, 12))
    for magnitude in (1e10, 1e20, MAX_MAGNITUDE):
        world = World(outputs=game.outputs, scores=sign * magnitude, p=p, n_families=25, n_siblings=4, rho=0.3)
        found = judged(world.readings(np.random.default_rng(12)), half_range=5e-6)
        true = 12 * p * (1 - p) * magnitude**2 / game.variance
        assert 0.01 * true < found.lower_bound < found.upper_bound < 20 * true
        assert found.constant_targets == ()


def gap_bound(p: float, intercept: float, mean: float) -> FamiliesCertificate:
    """Of a halved claim with this intercept, for outputs with this mean."""
    task = task_of(20, p=p)
    game = Polynomial(n_units=20, w1=0.009, w2=0.001, w3=0.0, p=task.measure.p)
    claim = Claim(task_digest=task.digest, intercepts=np.array([intercept]), scores=game.best / 2)
    design = families(n_families=32, n_siblings=2, rho=0.5, complements=task.measure.has_complements)
    draw = Draw(seed=Seed(bytes(32)), design=design)
    outputs = mean + game.outputs(draw.subsets(task, np.arange(draw.n_evaluations)))
    return judged(read(task, claim, draw, outputs))


@pytest.mark.parametrize("p", [0.5, 0.25])
@pytest.mark.parametrize("intercept", [2.0**53, -(2.0**53), 2.0**60, 1e30])
def test_no_intercept_can_round_the_residual_away(p: float, intercept: float) -> None:
    """Beside 2^60 every residual is one number, and beside 2^53 an output near 1 is 0 or 2: a gap of 0.22 passed."""
    honest, attack = (gap_bound(p, value, mean=1.0) for value in (0.0, intercept))
    assert honest.upper_bound > 0.3
    for name in ("upper", "lower", "variance", "relative_gap"):
        assert (getattr(attack, name) == getattr(honest, name)).all()
    assert attack.intercept_error[0] > 1e10


@pytest.mark.parametrize("p", [0.5, 0.25])
def test_the_intercept_error_is_the_square_of_what_the_intercept_is_off(p: float) -> None:
    game = Polynomial(n_units=20, w1=0.9, w2=0.1, w3=0.0, p=p)
    exact = -p * game.best.sum()  # E f = 0
    found = [gap_bound(p, intercept + exact / 20, mean=0.0).intercept_error[0] for intercept in (0.0, 5.0)]
    assert abs(found[0]) < 0.05
    assert found[1] == pytest.approx(25.0, rel=0.05)


def test_looks_are_pooled_as_one() -> None:
    world = two_targets(0.5, 32)
    rng = np.random.default_rng(13)
    parts = [world.readings(rng) for _ in range(3)]
    whole = replace(
        parts[0], output=np.concatenate([p.output for p in parts]), linear=np.concatenate([p.linear for p in parts]),
        even=np.concatenate([p.even for p in parts if p.even is not None]),
    )  # fmt: skip
    one, other = (judged(r) for r in (joined(parts), whole))
    assert one.upper_bound == other.upper_bound
    assert one.n_families == 96


@pytest.mark.parametrize(
    ("n_families", "n_siblings", "keep_16", "message"),
    [
        (24, 2, 40000, "at least 25 families of 2 siblings, got 24 of 2"),
        (30, 1, 40000, "at least 25 families of 2 siblings, got 30 of 1"),
        (30, 2, 0, "a correlation above 0, got 0"),
    ],
)
def test_designs_that_leave_a_variance_unknown_are_refused_before_and_after(
    n_families: int, n_siblings: int, keep_16: int, message: str
) -> None:
    design = Design(n_families=n_families, n_siblings=n_siblings, keep_16=keep_16, complements=True)
    with pytest.raises(ArgumentError, match=message):
        check_design(design)
    task, game = task_of(6), Polynomial(n_units=6, w1=0.7, w2=0.2, w3=0.1)
    claim = Claim(task_digest=task.digest, intercepts=np.zeros(1), scores=game.best)
    draw = Draw(seed=Seed(bytes(32)), design=design)
    readings = read(task, claim, draw, game.outputs(draw.subsets(task, np.arange(draw.n_evaluations))))
    with pytest.raises(ArgumentError, match=message):
        judged(readings)


def test_the_smallest_design_is_judged() -> None:
    check_design(Design(n_families=MIN_FAMILIES, n_siblings=2, keep_16=1, complements=True))
    world = two_targets(0.5, MIN_FAMILIES)
    found = judged(world.readings(np.random.default_rng(14)), across=Across.EVERY)
    assert (found.n_families, found.n_siblings) == (25, 3)
    assert (found.degrees_between <= 25).all()
    assert (found.degrees_within <= 50).all()
    assert found.upper_bound > found.lower_bound >= 0
