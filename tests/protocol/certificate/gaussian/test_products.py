"""Products across pairs: the estimator against naive sums, its moments by enumeration, and both bounds' levels.

Fixed seeds; a level is broken when misses exceed what Binomial(n, alpha) reaches but once in 10,000.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import jaxtyping
import numpy as np
import pytest
from scipy import optimize, stats

from protocol.certificate.gaussian import products, products_plan
from protocol.certificate.gaussian.forecast import Outlook
from protocol.errors import ArgumentError
from tests.protocol.certificate.enumeration import every_subset

ALPHA, RUNS = 0.05, 400
HONEST = Outlook(relative_gap=0.0, residual=0.014, r2=0.97)


@pytest.fixture
def _no_shape_checks() -> Iterator[None]:
    """For the tests of many runs; shapes are checked in the others, and are the same here."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


level = pytest.mark.usefixtures("_no_shape_checks")


def most_misses(n_runs: int) -> int:
    return int(stats.binom.ppf(1 - 1e-4, n_runs, ALPHA))


def signs(rng: np.random.Generator, m: int, n_units: int) -> np.ndarray:
    return np.where(rng.random((m, n_units)) < 0.5, -1.0, 1.0)


def drawn(seed: int, m: int = 23, n_units: int = 7, n_targets: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, n_targets)), signs(rng, m, n_units)


def gram(residual: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """All products h of two pairs, one at a time."""
    m = len(residual)
    out = np.zeros((m, m))
    for j in range(m):
        for k in range(m):
            out[j, k] = float(residual[j] @ residual[k]) * float(phi[j] @ phi[k])
    return out


# ------------------------------------------------------------------------------------------- the estimator


def test_the_estimate_and_its_spread_are_those_of_all_products() -> None:
    residual, phi = drawn(1)
    every = gram(residual, phi)
    across = every[~np.eye(len(every), dtype=bool)]
    assert products.gap_estimate(residual, phi) == pytest.approx(across.mean(), rel=1e-12)
    assert products.product_square(residual, phi) == pytest.approx((across**2).mean(), rel=1e-12)
    m = len(residual)
    expected = math.sqrt(2 * (across**2).mean() / (m * (m - 1)))
    assert products.standard_error(residual, phi) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("chunk", [1, 5, 23, 100])
def test_chunks_change_nothing(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    residual, phi = drawn(2)
    whole = products.product_square(residual, phi)
    monkeypatch.setattr(products, "_CHUNK", chunk)
    assert products.product_square(residual, phi) == pytest.approx(whole, rel=1e-12)


def test_the_estimate_is_unbiased_for_degree_one_and_free_of_degree_three() -> None:
    """Four standard errors; families with rho = .7 would add half of W_3 = 1."""
    rng, found = np.random.default_rng(3), []
    for _ in range(RUNS):
        phi = signs(rng, 20, 6)
        residual = (0.3 * phi[:, 0] + 0.4 * phi[:, 1] + phi[:, 3] * phi[:, 4] * phi[:, 5])[:, None]
        found.append(products.gap_estimate(residual, phi))
    assert np.mean(found) == pytest.approx(0.25, abs=4 * np.std(found) / math.sqrt(RUNS))


@pytest.mark.parametrize("seed", range(6))
def test_the_moments_are_within_what_the_kurtosis_allows(seed: int) -> None:
    """E h^2 and w'Mw by enumeration of all subsets of 4 units, for residuals with heavy tails over two targets."""
    rng, phi = np.random.default_rng(seed), 2.0 * every_subset(4) - 1
    residual = rng.standard_normal((16, 2)) ** 3 * (1 + 2 * phi[:, :1])
    square = (residual**2).sum(axis=1)
    v, kurtosis = square.mean(), (square**2).mean() / square.mean() ** 2
    vectors = (residual[:, :, None] * phi[:, None, :]).reshape(16, -1)
    w, second = vectors.mean(axis=0), vectors.T @ vectors / 16
    assert np.trace(second @ second) == pytest.approx((gram(residual, phi) ** 2).mean(), rel=1e-12)
    assert np.trace(second @ second) <= (4 + 2 * (kurtosis - 1)) * v**2
    assert w @ second @ w <= products.along_factor(kurtosis) * v * (w @ w)


def test_a_gaussian_residual_of_degree_one_meets_the_factor_along_the_gap() -> None:
    """w'Mw = 3 v W_1 but for one in N: so 1, which a quick bound might take, is a third of what it must be."""
    phi = 2.0 * every_subset(14) - 1
    residual = phi.sum(axis=1) / math.sqrt(14)
    vectors = residual[:, None] * phi
    w = vectors.mean(axis=0)
    along = ((vectors @ w) ** 2).mean()
    assert along == pytest.approx(3.0 * (w @ w), rel=2 / 14)
    assert products.along_factor(3.0) == 3.0
    assert products.along_factor(1.0) == 1.0


# ------------------------------------------------------------------------------------------- both bounds' levels

Residual = Callable[[np.random.Generator, np.ndarray], np.ndarray]


def along(phi: np.ndarray) -> np.ndarray:
    return phi.sum(axis=1) / math.sqrt(phi.shape[1])


def conjunction(phi: np.ndarray, n_units: int) -> np.ndarray:
    return phi[:, 0] * (phi[:, :n_units] == phi[:, :1]).all(axis=1)


RESIDUALS: dict[str, tuple[Residual, float]] = {
    "all of degree one": (lambda _, phi: along(phi), 1.0),
    "one unit": (lambda _, phi: phi[:, 0], 1.0),
    "degree one and noise": (lambda rng, phi: 0.5 * along(phi) + rng.standard_normal(len(phi)), 0.25),
    "noise that grows along the gap": (
        lambda rng, phi: along(phi) * (0.5 + rng.choice([-1.0, 1.0], len(phi))), 0.25,
    ),
    "conjunction of three": (lambda _, phi: conjunction(phi, 3), 3 / 16),
    "conjunction of four": (lambda _, phi: conjunction(phi, 4), 4 / 64),
}  # fmt: skip


def misses(kind: str, m: int, n_units: int, upper: Callable[[np.ndarray, np.ndarray], float]) -> int:
    residual, gap = RESIDUALS[kind]
    rng, missed = np.random.default_rng(4), 0
    for _ in range(RUNS):
        phi = signs(rng, m, n_units)
        missed += upper(residual(rng, phi)[:, None], phi) < gap * (1 - 1e-9)
    return missed


@level
@pytest.mark.parametrize("kind", RESIDUALS)
@pytest.mark.parametrize(("m", "n_units"), [(40, 20), (150, 20), (150, 100)])
def test_the_quick_bound_holds_its_level_for_what_samples_show(kind: str, m: int, n_units: int) -> None:
    missed = misses(kind, m, n_units, lambda r, phi: products.quick_upper(r, phi, ALPHA))
    assert missed <= most_misses(RUNS), f"{missed} of {RUNS}"


@level
def test_with_the_variance_for_the_noise_along_the_gap_it_would_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "along_factor", lambda _: 1.0)
    for kind in ("all of degree one", "conjunction of three", "conjunction of four"):
        assert misses(kind, 150, 20, lambda r, phi: products.quick_upper(r, phi, ALPHA)) > most_misses(RUNS)


@level
@pytest.mark.parametrize("kind", RESIDUALS)
@pytest.mark.parametrize(("m", "n_groups"), [(40, 1), (150, 4)])
@pytest.mark.parametrize("cap", [1e-3, 0.3, 3.0])
def test_the_bound_by_moments_holds_whatever_the_cap(kind: str, m: int, n_groups: int, cap: float) -> None:
    def upper(residual: np.ndarray, phi: np.ndarray) -> float:
        return products.upper_by_moments(residual, phi, alpha=ALPHA, kurtosis=9.0, n_groups=n_groups, cap=cap)

    assert misses(kind, m, 20, upper) <= most_misses(RUNS)


@level
def test_without_room_for_the_noise_of_a_group_the_bound_by_moments_would_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def upper(residual: np.ndarray, phi: np.ndarray) -> float:
        return products.upper_by_moments(residual, phi, alpha=ALPHA, kurtosis=9.0, n_groups=4, cap=0.3)

    monkeypatch.setattr(products.GroupLaw, "variance", lambda self, gap, v: 1e-9)
    assert misses("conjunction of four", 150, 20, upper) > most_misses(RUNS)


# ------------------------------------------------------------------------------------------- the parts of the bound


def test_the_quick_bound_is_the_root_that_it_says() -> None:
    residual, phi = drawn(5, m=60)
    found = products.quick_upper(residual, phi, ALPHA)
    square = (residual**2).sum(axis=1)
    v, kurtosis = square.mean(), (square**2).mean() / square.mean() ** 2
    spread = 4 * (1 + math.sqrt(2 * (kurtosis - 1))) * v * found / 60 + products.standard_error(residual, phi) ** 2
    estimate = products.gap_estimate(residual, phi)
    assert found - estimate == pytest.approx(stats.norm.ppf(1 - ALPHA) * math.sqrt(spread), rel=1e-9)
    assert products.quick_upper(0 * residual, phi, ALPHA) == 0.0


@pytest.mark.parametrize("kurtosis", [1.5, 4.0, 9.0])
@pytest.mark.parametrize("n", [20, 100])
def test_the_fraction_left_is_chernoffs_for_the_two_point_law(kurtosis: float, n: int) -> None:
    """The best exponent by scipy against the divergence's root, and the law itself against its level."""
    left = products.fraction_left(n, kurtosis, ALPHA)
    if left > 0:

        def exponent(rate: float) -> float:
            return n * (rate * left + math.log(1 - 1 / kurtosis + math.exp(-rate * kurtosis) / kurtosis))

        best = optimize.minimize_scalar(exponent, bounds=(0, 40), method="bounded").fun
        assert best == pytest.approx(math.log(ALPHA), rel=1e-4)
    rng = np.random.default_rng(6)
    worst = kurtosis * (rng.random((4000, n)) < 1 / kurtosis)
    assert int((worst.mean(axis=1) < left).sum()) <= stats.binom.ppf(1 - 1e-4, 4000, ALPHA)


def test_values_that_are_all_alike_leave_the_whole_and_too_few_leave_nothing() -> None:
    assert products.fraction_left(10, 1.0, ALPHA) == 1.0
    assert products.fraction_left(10, 9.0, ALPHA) == 0.0
    residual, phi = drawn(7, m=30)
    assert products.upper_by_moments(residual, phi, alpha=ALPHA, kurtosis=9.0, n_groups=2, cap=2.0) == math.inf


def test_the_bound_by_moments_is_the_largest_gap_that_is_not_excluded() -> None:
    """By the sentences of its docstring, with loops."""
    rng = np.random.default_rng(8)
    phi = signs(rng, 150, 5)
    residual = (0.1 * phi[:, 0] + 0.3 * rng.standard_normal(150))[:, None]
    cap, kurtosis, n = 0.12, 4.0, 50
    found = products.upper_by_moments(residual, phi, alpha=ALPHA, kurtosis=kurtosis, n_groups=3, cap=cap)
    groups = []
    for start in (0, 50, 100):
        vectors = residual[start : start + n] * phi[start : start + n]
        own = min(float((residual[start : start + n] ** 2).sum()), n * cap)
        groups.append((float((vectors.sum(axis=0) ** 2).sum()) - 5 * own) / (n * (n - 1)))
    v = float((residual**2).mean()) / products.fraction_left(150, kurtosis, 0.1 * ALPHA)

    def chance(gap: float) -> float:
        floor = 5 * cap / (n - 1)
        factor = 1 + math.sqrt(2 * (kurtosis - 1))
        spread = 4 * (factor * v * gap - gap**2) / (n + 1)
        spread += 2 * ((5 + 2 * (kurtosis - 1)) * v**2 - gap**2) / (n * (n - 1))
        k, y = 1 + spread / (gap + floor) ** 2, (float(np.mean(groups)) + floor) / (gap + floor)
        a, b = y / k, 1 / k
        return math.exp(-3 * (a * math.log(a / b) + (1 - a) * math.log((1 - a) / (1 - b))))

    assert 0 < found < v
    assert chance(found) <= 0.9 * ALPHA < chance(found * 0.985)


@pytest.mark.parametrize("sizes", [(6, 3), (7, 3), (8, 3)])
def test_groups_need_not_be_of_one_size(sizes: tuple[int, int]) -> None:
    m, n_groups = sizes
    residual, phi = drawn(9, m=m)
    found = products.upper_by_moments(residual, phi, alpha=0.5, kurtosis=1.2, n_groups=n_groups, cap=1.0)
    assert 0 < found <= (residual**2).sum(axis=1).mean() / products.fraction_left(m, 1.2, 0.05)


@pytest.mark.parametrize(
    "wrong", [{"kurtosis": 0.9}, {"cap": 0.0}, {"alpha": 0.0}, {"alpha": 1.0}, {"n_groups": 0}, {"n_groups": 12}]
)
def test_numbers_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    residual, phi = drawn(10)
    asked: dict[str, float] = {"alpha": ALPHA, "kurtosis": 9.0, "n_groups": 2, "cap": 1.0, **wrong}
    with pytest.raises(ArgumentError, match="products: expected"):
        products.upper_by_moments(residual, phi, **asked)  # type: ignore[arg-type]


def test_one_pair_has_no_products() -> None:
    residual, phi = drawn(11, m=1)
    with pytest.raises(ArgumentError, match="expected at least 2 pairs, got 1"):
        products.gap_estimate(residual, phi)


# ------------------------------------------------------------------------------------------- planners


@level
@pytest.mark.parametrize("kind", ["noise", "degree three"])
def test_both_plans_accept_an_honest_claim_as_often_as_promised(kind: str) -> None:
    """Nine in ten at epsilon = .02; the exact binomial margin, and Var f taken as known for both bounds."""
    rng, n_units = np.random.default_rng(12), 30
    quick = products_plan.pairs_needed(n_units, epsilon=0.02, delta=ALPHA, outlook=HONEST)
    grouped = products_plan.plan_by_moments(n_units, epsilon=0.02, alpha=ALPHA, kurtosis=9.0, outlook=HONEST)
    assert quick is not None
    assert grouped is not None
    passed = np.zeros(2)
    for _ in range(RUNS):
        phi = signs(rng, grouped.n_pairs, n_units)
        products_ = phi.reshape(len(phi), 10, 3).prod(axis=2).sum(axis=1) / math.sqrt(10)
        residual = math.sqrt(0.014) * (rng.standard_normal(len(phi)) if kind == "noise" else products_)[:, None]
        passed += (
            products.quick_upper(residual[:quick], phi[:quick], ALPHA) <= 0.02,
            products.upper_by_moments(
                residual, phi, alpha=ALPHA, kurtosis=9.0, n_groups=grouped.n_groups, cap=grouped.cap
            ) <= 0.02,
        )  # fmt: skip
    assert (passed >= stats.binom.ppf(1e-4, RUNS, 0.88)).all(), "0.02 for Gaussian quantiles of what is not quite so"


def test_counts_for_a_hundred_units() -> None:
    """Pinned. Retrainings are twice as many: 404 where families plan 1,440, and 2,830 by a bound that holds."""
    quick = [
        products_plan.pairs_needed(100, epsilon=epsilon, delta=ALPHA, outlook=HONEST)
        for epsilon in (0.02, 0.005, 0.002)
    ]
    assert quick == [51, 201, 502]
    held = products_plan.plan_by_moments(100, epsilon=0.005, alpha=ALPHA, kurtosis=9.0, outlook=HONEST)
    assert held is not None
    assert 2 * held.n_pairs == 2830
    assert held.cap == pytest.approx(1.25 * 0.014)


def test_counts_rise_with_what_is_asked() -> None:
    def counted(n_units: int = 50, epsilon: float = 0.01, kurtosis: float = 6.0, gap: float = 0.0) -> tuple[int, int]:
        outlook = Outlook(relative_gap=gap, residual=0.014, r2=0.97)
        quick = products_plan.pairs_needed(n_units, epsilon=epsilon, delta=ALPHA, outlook=outlook)
        held = products_plan.plan_by_moments(n_units, epsilon=epsilon, alpha=ALPHA, kurtosis=kurtosis, outlook=outlook)
        assert quick is not None
        assert held is not None
        return quick, held.n_pairs

    base = counted()
    for other in (counted(n_units=200), counted(epsilon=0.005), counted(gap=0.003)):
        assert other[0] > base[0]
        assert other[1] > base[1]
    assert counted(kurtosis=16.0)[1] > base[1]


def test_no_number_of_pairs_accepts_a_claim_whose_own_gap_is_epsilon() -> None:
    bad = Outlook(relative_gap=0.05, residual=0.06, r2=0.9)
    assert products_plan.pairs_needed(50, epsilon=0.05, delta=ALPHA, outlook=bad) is None
    assert products_plan.plan_by_moments(50, epsilon=0.05, alpha=ALPHA, kurtosis=4.0, outlook=bad) is None


@pytest.mark.parametrize("wrong", [{"n_units": 0}, {"epsilon": 0.0}, {"epsilon": 1.0}, {"delta": 0.0}, {"power": 1.0}])
def test_a_plan_for_nothing_is_refused(wrong: dict[str, float]) -> None:
    asked: dict[str, float] = {"n_units": 10, "epsilon": 0.05, "delta": 0.05, "power": 0.9, **wrong}
    n_units = int(asked.pop("n_units"))
    with pytest.raises(ArgumentError, match="products: expected"):
        products_plan.pairs_needed(n_units, outlook=HONEST, **asked)
