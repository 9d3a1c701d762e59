"""The families certificate, part by part: a naive twin, exact expectations, and values at the edges.

Whether its bounds hold as often as they say is test_families_coverage.py's business.
"""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from scipy import stats

from protocol.certificate.families import (
    RANK_FROM_FAMILIES,
    FamiliesCertificate,
    certify,
    check_design,
    degrees_of_freedom,
    effective_rank,
)
from protocol.certificate.readings import Readings, joined, read
from protocol.certificate.terms import Across
from protocol.claim import MAX_MAGNITUDE, Claim
from protocol.encoding import Seed
from protocol.errors import ArgumentError
from protocol.sampling import Design, Draw, families
from tests.games import Parity, Polynomial, task_of
from tests.protocol.certificate.enumeration import sibling_product, values_of, weights
from tests.protocol.certificate.simulate import World


def naive(readings: Readings, delta: float, across: Across, tolerance: float) -> dict[str, list[float]]:
    """The certificate from the sentences of THEORY 2 and 3, with loops and scipy.stats alone."""
    b_, s, t_ = readings.output.shape
    p, rho, known = readings.p, readings.rho, readings.p == 0.5
    alpha = delta / (t_ if across is Across.EVERY else 1)
    kurtosis = max((1 - 6 * p * (1 - p)) / (p * (1 - p)), 0.0)
    per_target = []
    for t in range(t_):
        output = [[float(readings.output[b, j, t]) for j in range(s)] for b in range(b_)]
        centre = 0.0 if known else sum(map(sum, output)) / (b_ * s)
        ours = [sum((y - centre) ** 2 for y in row) / s for row in output]
        claims = [sum(float(g) ** 2 for g in readings.linear[b, :, t]) / s for b in range(b_)]
        mean_claims = sum(claims) / b_
        slope = sum((c - mean_claims) * y for c, y in zip(claims, ours, strict=True))
        slope /= sum((c - mean_claims) ** 2 for c in claims)
        beta = 0.0 if kurtosis > 0 else min(max(slope, 0.0), 1.0)
        share = [
            y - beta * (c - float(readings.claim_variance[t])) for y, c in zip(ours, claims, strict=True)
        ]  # fmt: skip
        if readings.even is not None:
            even = readings.even[:, :, t]
            share = [y + sum((float(e) - even.mean()) ** 2 for e in even[b]) / s for b, y in enumerate(share)]
        variance = sum(share) / b_
        sd = math.sqrt(variance)
        relative = [[float(r) / sd for r in readings.residual[b, :, t]] for b in range(b_)]
        means = [sum(row) / s for row in relative]
        grand = 0.0 if known else sum(means) / b_
        whole = 0.0 if known else sum(map(sum, relative)) / (b_ * s)
        norm = math.sqrt(float(readings.claim_variance[t]))
        along = [
            sum((relative[b][j] - whole) * float(readings.linear[b, j, t]) / norm for j in range(s)) / s
            for b in range(b_)
        ]  # fmt: skip
        msb = s * sum((m - grand) ** 2 for m in means) / (b_ if known else b_ - 1)
        msw = sum((r - m) ** 2 for row, m in zip(relative, means, strict=True) for r in row) / (b_ * (s - 1))
        allowance = tolerance / sd * (1.0 if known else math.sqrt(b_ / (b_ - 1)))
        per_target.append((msb, msw, [y / variance for y in share], along, allowance, means, relative))
    n_b = (b_ if known else b_ - 1) / (1 + kurtosis / 2)
    n_w = b_ * (s - 1) / (1 + kurtosis / 2)
    rows = [(m, w, share, along, a) for m, w, share, along, a, _, _ in per_target]
    if across is Across.MEAN:
        total = sum(row[0] for row in rows)
        share = [sum(row[0] / total * row[2][b] for row in rows) for b in range(b_)]
        along = [sum(row[3][b] for row in rows) / t_ for b in range(b_)]
        rows = [(total / t_, sum(row[1] for row in rows) / t_, share, along, max(row[4] for row in rows))]
        if known and b_ >= RANK_FROM_FAMILIES:
            n_b *= math.sqrt(naive_rank([[row[5][b] for row in per_target] for b in range(b_)]))
            inner = [[row[6][b][0] - row[5][b] for row in per_target] for b in range(b_)]
            n_w *= math.sqrt(naive_rank(inner))
    out: dict[str, list[float]] = {name: [] for name in ("gap", "upper", "families_lower", "projection_lower")}
    for row in rows:
        for name, value in naive_row(row, s=s, rho=rho, n_b=n_b, n_w=n_w, alpha=alpha, h=3 if known else 2).items():
            out[name].append(value)
    return out


def naive_row(
    row: tuple[float, float, list[float], list[float], float],
    *, s: int, rho: float, n_b: float, n_w: float, alpha: float, h: int,
) -> dict[str, float]:  # fmt: skip
    msb, msw, share, along, a = row
    n, f = len(share), 1 / (s * rho)
    t_error = stats.t.ppf(1 - alpha, n - 1) * np.std(share, ddof=1) / math.sqrt(n)
    high, low = (math.sqrt(msb) + math.sqrt(s) * a) ** 2, max(math.sqrt(msw) - math.sqrt(s / (s - 1)) * a, 0) ** 2
    williams = n_b * high / stats.chi2.ppf(alpha, n_b) * max(0, 1 - stats.f.ppf(alpha, n_b, n_w) * low / high) * f
    least = max(math.sqrt(max(1 - t_error, 0)) - a, 0) ** 2
    upper = naive_ratio(f * (high - low), williams, max(1 - a, 0) ** 2, least, 1) if least > 0 else math.inf

    quarter = alpha / 2  # the lower bounds share alpha, and each has a numerator and Var f at this level
    most = 1 + stats.t.ppf(1 - quarter, n - 1) * np.std(share, ddof=1) / math.sqrt(n)
    c = rho ** (h - 1) / (1 - rho**h)
    scale, within = 1 - c * (1 - rho), f + c
    williams = f * msb - within * stats.f.ppf(1 - quarter, n_b, n_w) * msw
    williams = max(0, n_b / stats.chi2.ppf(1 - quarter, n_b) * williams) / scale
    mean = sum(along) / n
    sure = max(abs(mean) - stats.t.ppf(1 - quarter / 2, n - 1) * np.std(along, ddof=1) / math.sqrt(n), 0) ** 2
    return {
        "gap": f * (msb - msw),
        "upper": upper,
        "families_lower": naive_ratio((f * msb - within * msw) / scale, williams, 1, most, -1) if williams > 0 else 0,
        "projection_lower": naive_ratio(mean**2, sure, 1, most, -1) if sure > 0 else 0,
    }


def naive_ratio(a: float, u: float, b: float, v: float, sign: int) -> float:
    if sign < 0 and v >= 2 * b:
        return 0
    root = math.sqrt(max((a * b) ** 2 - u * (2 * a - u) * v * (2 * b - v), 0))
    return max((a * b + sign * root) / (v * (2 * b - v)), 0)


def naive_rank(rows: list[list[float]]) -> float:
    across = shared = 0.0
    for i, one in enumerate(rows):
        for j, other in enumerate(rows):
            if i != j:
                across += sum(x * x for x in one) * sum(y * y for y in other)
                shared += sum(x * y for x, y in zip(one, other, strict=True)) ** 2
    return max(across / shared, 1.0)


def two_targets(p: float, n_families: int, scale: float = 0.8) -> World:
    """Two targets that err apart, with degrees one to three, and a claim that errs."""
    one, other = (Polynomial(n_units=12, w1=0.8, w2=w2, w3=0.2 - w2, p=p) for w2 in (0.05, 0.15))
    scores = np.vstack([one.best * scale, other.best[:, ::-1] * scale])

    def outputs(subsets: np.ndarray) -> np.ndarray:
        return np.hstack([one.outputs(subsets), 3 + 2 * other.outputs(subsets[:, ::-1])])

    return World(outputs=outputs, scores=scores, p=p, n_families=n_families, n_siblings=3, rho=0.4)


@pytest.mark.parametrize("across", Across)
@pytest.mark.parametrize("tolerance", [0.0, 0.03])
@pytest.mark.parametrize(("p", "n_families"), [(0.5, 5), (0.5, 16), (0.3, 16), (0.1, 16)])
@pytest.mark.parametrize("scale", [0.8, 0.1])
def test_every_part_is_the_naive_twins(
    across: Across, tolerance: float, p: float, n_families: int, scale: float
) -> None:
    readings = two_targets(p, n_families, scale).readings(np.random.default_rng(11))
    found = certify(readings, delta=0.1, across=across, tolerance=tolerance)
    expected = naive(readings, 0.1, across, tolerance)
    assert found.relative_gap == pytest.approx(expected["gap"], rel=1e-9)
    assert found.upper == pytest.approx(expected["upper"], rel=1e-7)
    assert found.families_lower == pytest.approx(expected["families_lower"], rel=1e-7, abs=1e-12)
    assert found.projection_lower == pytest.approx(expected["projection_lower"], rel=1e-7, abs=1e-12)
    larger = [max(pair) for pair in zip(expected["families_lower"], expected["projection_lower"], strict=True)]
    assert found.lower == pytest.approx(larger, rel=1e-7, abs=1e-12)
    assert (found.lower <= found.upper).all()
    assert (found.upper_bound, found.lower_bound) == (found.upper.max(), found.lower.max())


def test_the_twin_exercises_both_lower_bounds() -> None:
    readings = two_targets(0.5, 16, 0.1).readings(np.random.default_rng(11))
    found = certify(readings, delta=0.1, across=Across.EVERY)
    assert (found.families_lower > 0).any()
    assert (found.projection_lower > 0).any()


@pytest.mark.parametrize("p", [0.5, 0.3])
@pytest.mark.parametrize("rho", [0.2, 0.7])
def test_siblings_agree_by_the_powers_of_rho(p: float, rho: float) -> None:
    """THEORY 2: E[r(x) r(x')] = sum_k rho^k W_k[r], by enumeration of every pair of siblings of 4 units."""
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
    found = certify(world.readings(np.random.default_rng(2)), delta=0.05, across=Across.MEAN)
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


def test_effective_rank_is_one_along_one_direction_and_near_the_number_of_equal_ones() -> None:
    rng = np.random.default_rng(1)
    assert effective_rank(rng.standard_normal((20, 1)) * np.ones((1, 50))) == pytest.approx(1.0)
    assert effective_rank(np.zeros((20, 5))) == 1.0
    vectors = rng.standard_normal((400, 6))
    assert effective_rank(vectors) == pytest.approx(naive_rank(vectors.tolist()), rel=1e-9)
    assert 5 < effective_rank(vectors) < 7
    lopsided = vectors * np.array([100.0, 1, 1, 1, 1, 1])
    assert 1 <= effective_rank(lopsided) < 1.1


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_one_target_is_the_same_across_the_mean_and_across_every(p: float) -> None:
    game = Polynomial(n_units=12, w1=0.8, w2=0.1, w3=0.1, p=p)
    world = World(outputs=game.outputs, scores=game.best * 0.7, p=p, n_families=20, n_siblings=2, rho=0.4)
    readings = world.readings(np.random.default_rng(4))
    mean, every = (certify(readings, delta=0.05, across=across, tolerance=0.01) for across in Across)
    for field in fields(FamiliesCertificate):
        if field.name != "across":
            assert getattr(mean, field.name) == pytest.approx(getattr(every, field.name), rel=1e-12), field.name


def test_every_target_has_its_share_of_delta() -> None:
    readings = two_targets(0.5, 16).readings(np.random.default_rng(5))
    both = certify(readings, delta=0.1, across=Across.EVERY)
    for t in range(2):
        cut = [slice(None), slice(None), slice(t, t + 1)]
        alone = certify(
            Readings(
                output=readings.output[*cut], linear=readings.linear[*cut], even=readings.even[*cut],
                claim_mean=readings.claim_mean[cut[2]], claim_variance=readings.claim_variance[cut[2]],
                rho=readings.rho, p=readings.p,
            ),
            delta=0.05, across=Across.EVERY,
        )  # fmt: skip
        assert both.upper[t] == pytest.approx(alone.upper[0], rel=1e-12)
        assert both.lower[t] == pytest.approx(alone.lower[0], rel=1e-12)


def test_a_targets_unit_changes_nothing_relative() -> None:
    readings = two_targets(0.5, 16).readings(np.random.default_rng(6))
    unit = np.array([1000.0, 1e-3])
    other = replace(
        readings, output=readings.output * unit, linear=readings.linear * unit, even=readings.even * unit,
        claim_mean=readings.claim_mean * unit, claim_variance=readings.claim_variance * unit**2,
    )  # fmt: skip
    for across in Across:
        one, two = (certify(r, delta=0.05, across=across) for r in (readings, other))
        assert two.upper == pytest.approx(one.upper, rel=1e-9)
        assert two.lower == pytest.approx(one.lower, rel=1e-9)
        assert two.variance == pytest.approx(one.variance * unit**2, rel=1e-9)
        assert two.intercept_error == pytest.approx(one.intercept_error * unit**2, rel=1e-9)


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_a_claim_without_residual_has_gap_zero(p: float) -> None:
    game = Polynomial(n_units=8, w1=1.0, w2=0.0, w3=0.0, p=p)
    world = World(outputs=game.outputs, scores=game.best, p=p, n_families=6, n_siblings=2, rho=0.5)
    found = certify(world.readings(np.random.default_rng(7)), delta=0.05, across=Across.MEAN)
    assert found.upper_bound == pytest.approx(0.0, abs=1e-12)
    assert found.lower_bound == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("p", [0.5, 0.3])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 / 7])
def test_constant_outputs_leave_the_relative_gap_undefined(p: float, value: float) -> None:
    def constant(subsets: np.ndarray) -> np.ndarray:
        return np.full((len(subsets), 1), value)

    for n_families in (3, 7, 15, 25):  # the mean of equal numbers is not always that number
        for scores in (np.zeros((1, 4)), np.ones((1, 4))):
            world = World(outputs=constant, scores=scores, p=p, n_families=n_families, n_siblings=2, rho=0.5)
            found = certify(world.readings(np.random.default_rng(8)), delta=0.05, across=Across.MEAN)
            assert found.constant_targets == (0,)
            assert (found.upper_bound, found.lower_bound) == (math.inf, 0.0)


def test_one_constant_target_leaves_the_mean_undefined_and_the_others_alone() -> None:
    world = two_targets(0.5, 16)

    def outputs(subsets: np.ndarray) -> np.ndarray:
        out = world.outputs(subsets)
        out[:, 1] = 0.3
        return out

    readings = replace(world, outputs=outputs).readings(np.random.default_rng(9))
    mean, every = (certify(readings, delta=0.05, across=across) for across in Across)
    assert mean.constant_targets == every.constant_targets == (1,)
    assert mean.upper.tolist() == [math.inf]
    assert every.upper[0] < math.inf
    assert (every.upper[1], every.lower[1]) == (math.inf, 0.0)


def test_a_spread_within_the_tolerance_is_no_spread() -> None:
    readings = two_targets(0.5, 16).readings(np.random.default_rng(10))
    sd = np.sqrt(certify(readings, delta=0.05, across=Across.EVERY).variance)
    found = certify(readings, delta=0.05, across=Across.EVERY, tolerance=float(sd[0]) * 1.001)
    assert found.constant_targets == (0,)
    assert found.upper_bound == math.inf


def test_a_larger_tolerance_never_lowers_the_bound() -> None:
    readings = two_targets(0.5, 16).readings(np.random.default_rng(10))
    for across in Across:
        bounds = [
            certify(readings, delta=0.05, across=across, tolerance=tolerance).upper_bound
            for tolerance in (0.0, 1e-6, 1e-3, 0.01, 0.1, 0.3, 2.0)
        ]  # fmt: skip
        assert bounds == sorted(bounds)
        assert bounds[0] < bounds[3]


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_an_enormous_claim_is_far_off_not_unknown(p: float) -> None:
    """Its numbers dwarf the outputs to the last bit; the bounds must neither overflow nor lose Var f."""
    game = Polynomial(n_units=12, w1=0.9e-12, w2=0.05e-12, w3=0.05e-12, p=p)
    sign = np.random.default_rng(1).choice([-1.0, 1.0], (1, 12))
    for magnitude in (1e10, 1e20, MAX_MAGNITUDE):
        world = World(outputs=game.outputs, scores=sign * magnitude, p=p, n_families=25, n_siblings=4, rho=0.3)
        found = certify(world.readings(np.random.default_rng(12)), delta=0.05, across=Across.MEAN)
        true = 12 * p * (1 - p) * magnitude**2 / game.variance
        assert 0.05 * true < found.lower_bound < found.upper_bound < 20 * true
        assert found.constant_targets == ()


def gap_bound(p: float, intercept: float, mean: float) -> FamiliesCertificate:
    """Of a halved claim with this intercept, for outputs with this mean."""
    task = task_of(20, p=p)
    game = Polynomial(n_units=20, w1=0.009, w2=0.001, w3=0.0, p=task.p)
    claim = Claim(task_digest=task.digest, intercepts=np.array([intercept]), scores=game.best / 2)
    design = families(n_families=32, n_siblings=2, rho=0.5, complements=task.has_complements)
    draw = Draw(seed=Seed(bytes(32)), design=design)
    outputs = mean + game.outputs(draw.subsets(task, np.arange(draw.n_evaluations)))
    return certify(read(task, claim, draw, outputs), delta=0.05, across=Across.MEAN)


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
    world = two_targets(0.5, 16)
    rng = np.random.default_rng(13)
    parts = [world.readings(rng) for _ in range(3)]
    whole = replace(
        parts[0], output=np.concatenate([p.output for p in parts]), linear=np.concatenate([p.linear for p in parts]),
        even=np.concatenate([p.even for p in parts if p.even is not None]),
    )  # fmt: skip
    one, other = (certify(r, delta=0.05, across=Across.MEAN) for r in (joined(parts), whole))
    assert one.upper_bound == other.upper_bound
    assert one.n_families == 48


@pytest.mark.parametrize(
    ("n_families", "n_siblings", "keep_16", "message"),
    [
        (2, 2, 40000, "at least 3 families of 2 siblings, got 2 of 2"),
        (30, 1, 40000, "at least 3 families of 2 siblings, got 30 of 1"),
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
        certify(readings, delta=0.05, across=Across.MEAN)


def test_the_smallest_design_is_judged() -> None:
    check_design(Design(n_families=3, n_siblings=2, keep_16=1, complements=True))
    world = two_targets(0.5, 3)
    found = certify(world.readings(np.random.default_rng(14)), delta=0.05, across=Across.EVERY)
    assert (found.n_families, found.n_siblings, found.degrees_between, found.degrees_within) == (3, 3, 3.0, 6.0)
    assert found.upper_bound > found.lower_bound >= 0
