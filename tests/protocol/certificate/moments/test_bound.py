"""Bounds under a kurtosis: tables of THEORY 2, twins straight from the definitions, and levels.

Levels are exact where the worst law has few values: the chance of a miss is then computed, not simulated. Where it is
simulated, a true bound fails the test with probability below FALSE_ALARM.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from protocol.certificate.moments import bound
from protocol.errors import ArgumentError

FALSE_ALARM = 1e-4
KURTOSES = [1.0, 1.2, 2.0, 3.0, 4.0, 6.0, 9.0, 16.0, 100.0]


# ---------------------------------------------------------------- the lemma


def law_within(rng: np.random.Generator, kurtosis: float) -> tuple[np.ndarray, np.ndarray]:
    """Values and probabilities of a random law on [0, inf) with mean 1 and second moment at most ``kurtosis``."""
    values = rng.gamma(rng.choice([0.1, 0.5, 2.0]), size=rng.integers(2, 6))
    weights = rng.dirichlet(np.full(len(values), rng.choice([0.2, 1.0])))
    values = values / (weights @ values)
    spread = weights @ values**2 - 1
    if spread > kurtosis - 1:  # towards the mean until it fits
        values = 1 + (values - 1) * math.sqrt((kurtosis - 1) / spread)
    return values, weights


@pytest.mark.parametrize("kurtosis", KURTOSES)
def test_the_lemma_holds_for_random_laws_and_is_attained_by_two_points(kurtosis: float) -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        values, weights = law_within(rng, kurtosis)
        assert values.min() >= 0
        for a in (0.01, 0.1, 1.0, 5.0):
            assert weights @ np.exp(-a * values) <= bound.largest_laplace(a, kurtosis) * (1 + 1e-12)
    for a in (0.01, 1.0, 30.0):
        two_points = (1 - 1 / kurtosis) + math.exp(-a * kurtosis) / kurtosis
        assert bound.largest_laplace(a, kurtosis) == pytest.approx(two_points, rel=1e-14)


def test_a_law_past_the_kurtosis_breaks_the_lemma() -> None:
    assert 1 - 1 / 5 + math.exp(-5.0) / 5 > bound.largest_laplace(1.0, 4.0)


# ---------------------------------------------------------------- one n


@pytest.mark.parametrize(
    ("n", "factors"),
    [
        (25, [2.74, 3.89, 8.98, math.inf, math.inf]),
        (50, [1.87, 2.23, 3.12, 5.34, 72]),
        (100, [1.50, 1.67, 2.01, 2.59, 4.71]),
        (200, [1.31, 1.41, 1.58, 1.82, 2.46]),
    ],
)
def test_the_table_of_theory_2(n: int, factors: list[float]) -> None:
    for kurtosis, factor in zip((3, 4, 6, 9, 16), factors, strict=True):
        y = bound.fixed_quantile(n, kurtosis, 0.05)
        found = 1 / y if y > 0 else math.inf
        assert found == factor or abs(found - factor) <= (0.5 if factor > 10 else 0.0051)  # as many digits as printed


def divergence(p: float, q: float) -> float:
    head = p * math.log(p / q) if p > 0 else 0.0
    return head + (1 - p) * math.log((1 - p) / (1 - q))


@pytest.mark.parametrize("kurtosis", [1.2, 3.0, 9.0, 100.0])
@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.5])
def test_the_fixed_quantile_is_the_root_and_is_not_above_it(kurtosis: float, alpha: float) -> None:
    for n in (1, 20, 60, 300, 5000):
        y = bound.fixed_quantile(n, kurtosis, alpha)

        def excess(at: float, n: int = n) -> float:
            return n * divergence(at / kurtosis, 1 / kurtosis) + math.log(alpha)

        if excess(0.0) <= 0:
            assert y == 0
        else:
            assert y == pytest.approx(optimize.brentq(excess, 0.0, 1.0, xtol=1e-14), abs=1e-9)
            assert excess(y) >= -1e-9


@pytest.mark.parametrize("kurtosis", [1.5, 3.0, 9.0, 30.0])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.3])
def test_the_fixed_bound_misses_the_worst_law_at_most_alpha_of_the_time(kurtosis: float, alpha: float) -> None:
    chances = []
    for n in (10, 30, 57, 100, 400, 2000):
        y = bound.fixed_quantile(n, kurtosis, alpha)
        below = math.ceil(n * y / kurtosis) - 1  # counts of K with n * mean < n * y
        chances.append(float(stats.binom.cdf(below, n, 1 / kurtosis)))
    assert max(chances) <= alpha
    assert max(chances) > alpha / 20, "and it is no bound for the sake of being one"


# ---------------------------------------------------------------- every n


def log_mixture(q: Decimal, n: int, kurtosis: float) -> Decimal:
    """ln mean_i exp(-a_i q - n ln M(a_i)), straight from the definition, with fifty digits."""
    k, terms = Decimal(kurtosis), []
    for tilt in bound.TILTS:
        r = Decimal(tilt)
        a = ((k - r) / (r * (k - 1))).ln() / k
        laplace = 1 - 1 / k + (-a * k).exp() / k
        terms.append((-a * q - n * laplace.ln()).exp())
    return (sum(terms, Decimal(0)) / len(terms)).ln()


@pytest.mark.parametrize("kurtosis", [1.0001, 1.5, 4.0, 9.0, 1e3, 1e6])
@pytest.mark.parametrize("alpha", [1e-6, 0.05, 0.5])
def test_the_anytime_quantile_is_just_below_the_root(kurtosis: float, alpha: float) -> None:
    with localcontext() as context:
        context.prec = 50
        context.Emax, context.Emin = 10**9, -(10**9)
        goal = -Decimal(alpha).ln()
        for n in (1, 15, 50, 200, 10**4, 10**6):
            q = bound.anytime_quantile(n, kurtosis, alpha)
            if q == 0:
                assert log_mixture(Decimal("1e-6"), n, kurtosis) < goal
            else:
                assert log_mixture(Decimal(q), n, kurtosis) >= goal
                assert log_mixture(Decimal(q) * Decimal("1.000000001") + Decimal("1e-9"), n, kurtosis) < goal


@pytest.mark.parametrize(("kurtosis", "alpha"), [(1.5, 0.05), (4.0, 0.05), (4.0, 0.3), (9.0, 0.05)])
def test_the_anytime_bound_misses_the_worst_law_at_most_alpha_of_the_time(kurtosis: float, alpha: float) -> None:
    """The chance that the sum of two-point values is ever below q_n times the mean, exactly, by dynamic programming."""
    last = 1500
    q = bound.anytime_quantiles(np.arange(last + 1), kurtosis, alpha)
    alive, missed = np.zeros(last + 2), 0.0
    alive[0] = 1.0
    values = kurtosis * np.arange(last + 2)
    for n in range(1, last + 1):
        alive[1:] = alive[1:] * (1 - 1 / kurtosis) + alive[:-1] / kurtosis
        alive[0] *= 1 - 1 / kurtosis
        below = values < q[n]
        missed += float(alive[below].sum())
        alive[below] = 0.0
    assert alpha / 3 < missed <= alpha


def test_no_adversary_that_picks_each_law_by_the_past_exceeds_alpha() -> None:
    """The best policy over three laws with mean 1 and second moment at most 4, exactly, by backward induction."""
    last, kurtosis, alpha = 400, 4.0, 0.05
    laws = [([0, 4], [0.75, 0.25]), ([0, 2], [0.5, 0.5]), ([1], [1.0]), ([0, 3], [2 / 3, 1 / 3])]
    q = bound.anytime_quantiles(np.arange(last + 1), kurtosis, alpha)
    sums = np.arange(4 * last + 5)
    chance = (sums < q[last]).astype(float)
    for n in range(last - 1, -1, -1):
        ahead = [sum(w * np.append(chance[v:], np.zeros(v)) for v, w in zip(*law, strict=True)) for law in laws]
        chance = np.where(sums < q[n], 1.0, np.max(ahead, axis=0))
    assert alpha / 3 < chance[0] <= alpha


@given(st.integers(0, 10**6), st.floats(1, 1e6), st.floats(1e-12, 0.99), st.floats(0, 1), st.floats(1, 4))
def test_quantiles_fall_with_the_kurtosis_and_rise_with_alpha_and_n(
    n: int, kurtosis: float, alpha: float, share: float, factor: float
) -> None:
    for quantile in (bound.anytime_quantile, lambda *a: a[0] * bound.fixed_quantile(*a)):
        q = quantile(n, kurtosis, alpha)
        slack = 1e-9 * (1 + q)
        assert 0 <= q <= n
        assert quantile(n, kurtosis * factor, alpha) <= q + slack
        assert quantile(n, kurtosis, alpha * share + 1e-300) <= q + slack
        assert quantile(n + 1, kurtosis, alpha) >= q - slack


def test_the_anytime_quantile_is_below_the_fixed_one_and_many_are_those_of_one() -> None:
    n = np.arange(0, 400, 7)
    many = bound.anytime_quantiles(n, 4.0, 0.05)
    for i, count in enumerate(n.tolist()):
        assert many[i] == pytest.approx(bound.anytime_quantile(count, 4.0, 0.05), rel=1e-12)
        assert many[i] <= count * bound.fixed_quantile(count, 4.0, 0.05)
    assert bound.anytime_quantile(14, 4.0, 0.05) == 0 < bound.anytime_quantile(15, 4.0, 0.05)


@pytest.mark.parametrize(
    ("kurtosis", "known", "by_minkowski"), [(3, 48, 82), (4, 69, 118), (6, 112, 195)], ids=["K=3", "K=4", "K=6"]
)
def test_the_retrainings_of_theory_2_on_digits(kurtosis: int, known: int, by_minkowski: int) -> None:
    """Pairs until the expected bound for a mean square of .014 is small enough; THEORY's figures are from sessions."""
    for goal, measured in ((0.05, known), (bound.largest_share(0.05), by_minkowski)):
        n = next(n for n in range(1, 500) if bound.upper_of_mean(0.014 * n, n, kurtosis, 0.05) <= goal)
        assert 2 * n == pytest.approx(measured, rel=0.04)


def test_the_upper_bound_is_the_sum_over_the_quantile_and_infinite_without_one() -> None:
    assert bound.upper_of_mean(3.0, 100, 4.0, 0.05) == 3.0 / bound.anytime_quantile(100, 4.0, 0.05)
    assert bound.upper_of_mean(0.0, 10, 4.0, 0.05) == math.inf
    assert bound.upper_of_mean(0.0, 100, 4.0, 0.05) == 0
    assert bound.upper_of_mean(math.inf, 100, 4.0, 0.05) == math.inf


# ---------------------------------------------------------------- Minkowski's step


@given(st.floats(0, 0.999), st.floats(0, 0.999))
def test_minkowskis_ratio_is_its_inverses_inverse_and_rises(x: float, other: float) -> None:
    ratio = bound.minkowski_ratio(x)
    if ratio < 1e12:
        assert bound.largest_share(ratio) == pytest.approx(x, rel=1e-6, abs=1e-300)
    assert (bound.minkowski_ratio(other) >= ratio) or other <= x


def test_minkowskis_ratio_is_attained_by_a_claim_too_large_and_never_exceeded() -> None:
    rng = np.random.default_rng(2)
    best, claim = rng.normal(size=(2, 1000, 3))
    gap = ((claim - best) ** 2).sum(axis=1)
    x = gap / (claim**2).sum(axis=1)
    ratio = gap / (best**2).sum(axis=1)
    assert all(r <= bound.minkowski_ratio(float(v)) * (1 + 1e-9) for r, v in zip(ratio, x, strict=True))
    # f = w, g = 1.25 w: gap / Var g = .04, gap / W_1 = .0625
    assert bound.minkowski_ratio(0.04) == pytest.approx(0.0625, rel=1e-12)
    assert bound.minkowski_ratio(1.0) == bound.minkowski_ratio(3.0) == math.inf
    assert bound.largest_share(0.05) == pytest.approx(0.0334, abs=5e-5)


# ---------------------------------------------------------------- the lower bound


def naive_lower(z: np.ndarray, z0: float, scale: float, kurtosis: float, alpha: float) -> float:
    """The lower bound from its definition: bisection over the mean, every product a product."""
    spread = ((z - z0) ** 2).sum() / bound.anytime_quantile(len(z), kurtosis, alpha / 4)

    def reached(mean: float) -> bool:
        capital = 0.0
        for unit in bound.RATES:
            rate = unit / scale
            growth = 1 + rate * (mean - z0) + rate**4 * kurtosis * spread**2 / 8
            if growth <= 0:
                return True
            x = rate * (z - z0)
            capital += float(np.prod((1 + x + x**4 / 8) / growth)) / len(bound.RATES)
        return capital >= 1 / (0.75 * alpha)

    low, high = z0 - 100 * scale, float(z.max())
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if reached(middle) else (low, middle)
    return low


@pytest.mark.parametrize("scale", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("kurtosis", [3.0, 9.0])
def test_the_lower_bound_is_its_naive_twin(scale: float, kurtosis: float) -> None:
    z = np.random.default_rng(3).normal(0.7, 1.0, size=120)
    for z0 in (0.0, 0.6):
        naive = naive_lower(z, z0, scale, kurtosis, 0.05)
        assert bound.lower_of_mean(z, z0, scale, kurtosis, 0.05) == pytest.approx(naive, abs=1e-9)
        assert bound.lower_of_mean(z, z0, scale, kurtosis, 0.05) <= naive


Sampler = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def two_points(low: float, high: float, chance: float) -> Sampler:
    return lambda rng, shape: np.where(rng.random(shape) < chance, high, low)


LAWS: dict[str, tuple[Sampler, float, float, float]] = {  # sampler, mean, guess z0, kurtosis about it (exact)
    "gaussian": (lambda rng, shape: rng.normal(0, 1, shape), 0.0, 0.0, 3.0),
    "laplace": (lambda rng, shape: rng.laplace(0, 1, shape), 0.0, 0.0, 6.0),
    "student with 5 degrees": (lambda rng, shape: rng.standard_t(5, shape), 0.0, 0.0, 9.0),
    "exponential": (lambda rng, shape: rng.exponential(1, shape), 1.0, 1.0, 9.0),
    "minus exponential": (lambda rng, shape: -rng.exponential(1, shape), -1.0, -1.0, 9.0),
    "rare losses": (two_points(0.0, -1.0, 0.25), -0.25, 0.0, 4.0),
    "rarer losses": (two_points(0.0, -1.0, 1 / 9), -1 / 9, 0.0, 9.0),
    "rare gains": (two_points(0.0, 1.0, 0.25), 0.25, 0.0, 4.0),
    "a guess far off": (lambda rng, shape: rng.normal(3, 1, shape), 3.0, 0.0, 1.36),
}


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_the_lower_bound_keeps_its_level_over_several_looks(name: str, scale: float) -> None:
    sampler, mean, z0, kurtosis = LAWS[name]
    runs, looks, alpha = 150, (40, 80, 160, 320), 0.1
    draws = sampler(np.random.default_rng(4), (runs, looks[-1]))
    for lower, target in ((bound.lower_of_mean, mean), (bound.lower_of_absolute_mean, abs(mean))):
        missed = sum(any(lower(z[:n], z0, scale, kurtosis, alpha) > target for n in looks) for z in draws)
        assert missed <= stats.binom.isf(FALSE_ALARM, runs, alpha)


def test_a_law_past_the_kurtosis_breaks_the_lower_bound() -> None:
    """Losses of probability 1/500 stated at 4: mostly unseen, so the level test above can fail."""
    rng, runs = np.random.default_rng(5), 100
    draws = two_points(0.01, -10.0, 0.002)(rng, (runs, 200)) + rng.normal(0, 0.01, (runs, 200))
    missed = sum(bound.lower_of_mean(z, 0.0, 0.01, 4.0, 0.05) > 0.01 * 0.998 - 0.02 for z in draws)
    assert missed > stats.binom.isf(FALSE_ALARM, runs, 0.05)


@pytest.mark.parametrize(("n", "kurtosis", "most"), [(100, 4, 1.55), (200, 4, 1.5), (500, 9, 1.55), (2000, 9, 1.45)])
def test_the_lower_bound_is_nearly_as_narrow_as_a_known_variance_allows(n: int, kurtosis: int, most: float) -> None:
    draws = np.random.default_rng(6).normal(0, 1, (20, n))
    ideal = math.sqrt(2 * math.log(20) / n)
    widths = [-bound.lower_of_mean(z, 0.0, 1.0, kurtosis, 0.05) / ideal for z in draws]
    assert 1 < np.mean(widths) < most


@given(st.floats(-10, 10), st.floats(0.01, 100), st.floats(0.1, 3))
def test_the_lower_bound_moves_with_the_unit_and_the_origin(origin: float, unit: float, scale: float) -> None:
    z = np.random.default_rng(7).normal(1, 1, 60)
    plain = bound.lower_of_mean(z, 0.5, scale, 4.0, 0.05)
    moved = bound.lower_of_mean(origin + unit * z, origin + unit * 0.5, unit * scale, 4.0, 0.05)
    assert moved == pytest.approx(origin + unit * plain, rel=1e-9, abs=1e-9 * (abs(origin) + unit))


def test_the_bound_on_the_absolute_mean_is_even_and_below_both_sides() -> None:
    z = np.random.default_rng(8).normal(1, 1, 100)
    found = bound.lower_of_absolute_mean(z, 0.8, 1.0, 4.0, 0.05)
    assert found == pytest.approx(bound.lower_of_absolute_mean(-z, -0.8, 1.0, 4.0, 0.05), rel=1e-12)
    assert 0.4 < found < bound.lower_of_mean(z, 0.8, 1.0, 4.0, 0.05)
    assert bound.lower_of_absolute_mean(z - 1.0, 0.0, 1.0, 4.0, 0.05) == 0


def test_there_is_no_lower_bound_from_few_values_or_from_enormous_ones() -> None:
    assert bound.lower_of_mean(np.zeros(0), 0.0, 1.0, 4.0, 0.05) == -math.inf
    assert bound.lower_of_mean(np.ones(5), 0.0, 1.0, 4.0, 0.05) == -math.inf
    assert bound.lower_of_absolute_mean(np.ones(5), 0.0, 1.0, 4.0, 0.05) == 0
    assert bound.lower_of_mean(np.full(100, 1e200), 0.0, 1.0, 4.0, 0.05) == -math.inf
    assert bound.lower_of_mean(np.ones(100), 0.0, 1e-320, 4.0, 0.05) == -math.inf


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize("kurtosis", [0.99, 0.0, -1.0, math.nan, math.inf])
def test_a_kurtosis_below_one_or_not_finite_is_refused(kurtosis: float) -> None:
    for call in (
        lambda: bound.largest_laplace(1.0, kurtosis),
        lambda: bound.fixed_quantile(10, kurtosis, 0.05),
        lambda: bound.anytime_quantile(10, kurtosis, 0.05),
        lambda: bound.anytime_quantiles(np.array([10]), kurtosis, 0.05),
        lambda: bound.upper_of_mean(1.0, 10, kurtosis, 0.05),
        lambda: bound.lower_of_mean(np.ones(50), 0.0, 1.0, kurtosis, 0.05),
        lambda: bound.lower_of_absolute_mean(np.ones(50), 0.0, 1.0, kurtosis, 0.05),
    ):
        with pytest.raises(ArgumentError):
            call()


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_an_alpha_outside_zero_and_one_is_refused(alpha: float) -> None:
    for call in (
        lambda: bound.fixed_quantile(10, 4.0, alpha),
        lambda: bound.anytime_quantile(10, 4.0, alpha),
        lambda: bound.upper_of_mean(1.0, 10, 4.0, alpha),
        lambda: bound.lower_of_mean(np.ones(50), 0.0, 1.0, 4.0, alpha),
    ):
        with pytest.raises(ArgumentError):
            call()


@pytest.mark.parametrize("n", [-1, 2.5, math.nan, math.inf])
def test_what_is_no_count_is_refused(n: float) -> None:
    for quantile in (bound.fixed_quantile, bound.anytime_quantile):
        with pytest.raises(ArgumentError):
            quantile(n, 4.0, 0.05)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError):
        bound.anytime_quantiles(np.array([3, -1]), 4.0, 0.05)


@pytest.mark.parametrize("bad", [-1e-9, -math.inf, math.nan])
def test_negative_squares_shares_and_rates_are_refused(bad: float) -> None:
    for call in (
        lambda: bound.upper_of_mean(bad, 100, 4.0, 0.05),
        lambda: bound.minkowski_ratio(bad),
        lambda: bound.largest_share(bad),
        lambda: bound.largest_laplace(bad, 4.0),
    ):
        with pytest.raises(ArgumentError):
            call()


@pytest.mark.parametrize(
    ("z", "z0", "scale"),
    [(math.nan, 0.0, 1.0), (math.inf, 0.0, 1.0), (1.0, math.nan, 1.0), (1.0, 0.0, 0.0), (1.0, 0.0, -1.0)],
)
def test_values_that_are_no_numbers_and_scales_that_are_not_positive_are_refused(
    z: float, z0: float, scale: float
) -> None:
    for lower in (bound.lower_of_mean, bound.lower_of_absolute_mean):
        with pytest.raises(ArgumentError):
            lower(np.full(50, z), z0, scale, 4.0, 0.05)


def test_a_single_look_at_a_fixed_number_is_narrower_and_holds_its_level() -> None:
    """A squared Gaussian's mean from below about a pilot's guess, as a claim that is scaled wrongly has it."""
    runs, n, alpha = 2000, 140, 0.1
    rng = np.random.default_rng(0)
    z = rng.standard_normal((n, runs)) ** 2
    pilot = rng.standard_normal((10, runs)) ** 2
    guess = pilot.mean(axis=0), pilot.std(axis=0, ddof=1)
    once = bound.lowers_of_means(z, *guess, 16.2, alpha, once=True)
    always = bound.lowers_of_means(z, *guess, 16.2, alpha)
    assert (once >= always - 1e-12).all()
    assert np.isfinite(once).all()
    assert (once > 1).sum() <= stats.binom.isf(1e-4, runs, alpha)


def test_the_spread_of_a_single_look_is_the_fixed_quantiles() -> None:
    for n, kurtosis, alpha in ((140, 16.2, 1e-3), (80, 6.0, 0.01), (30, 9.0, 0.01)):
        y, q = bound.fixed_quantile(n, kurtosis, alpha), bound.anytime_quantile(n, kurtosis, alpha)
        assert bound.n_over_quantile(n, kurtosis, alpha, once=True) == pytest.approx(
            1 / y if y else math.inf, rel=1e-12
        )
        assert bound.n_over_quantile(n, kurtosis, alpha) == (n / q if q else math.inf)
        assert bound.n_over_quantile(n, kurtosis, alpha, once=True) <= bound.n_over_quantile(n, kurtosis, alpha)
