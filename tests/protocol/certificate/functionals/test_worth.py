"""Errors of worths against naive twins, games without noise, and the coverage of their intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from protocol.certificate.functionals import shares, simultaneous
from protocol.certificate.functionals import worth as worths
from protocol.certificate.functionals.worth import Estimator
from protocol.errors import ArgumentError
from tests.adversaries.margins import fewest_allowed, most_allowed

SIZES = np.array([1, 2, 4, 5], dtype=np.int64)
GROUPS = np.repeat(np.eye(4, dtype=bool), SIZES, axis=1)
N = 12


def units(rng: np.random.Generator, b: int, s: int, p: float, rho: float = 0.5) -> np.ndarray:
    """Families of subsets, shape (B, s, N)."""
    base = rng.random((b, 1, N)) < p
    keep = rng.random((b, s, N)) < np.sqrt(rho)
    return np.where(keep, base, rng.random((b, s, N)) < p)


def counts_of(inside: np.ndarray, p: float) -> np.ndarray:
    return (inside - p) @ GROUPS.T


# ------------------------------------------------------------------------------------------------ estimators


def naive_products(residual: np.ndarray, counts: np.ndarray, p: float) -> np.ndarray:
    b, s, j = counts.shape
    found = np.zeros((b, j))
    for family in range(b):
        others = [residual[c, i] for c in range(b) if c != family for i in range(s)]
        mean = 0.0 if p == 0.5 else sum(others) / len(others)
        for holder in range(j):
            terms = [(residual[family, i] - mean) * counts[family, i, holder] for i in range(s)]
            found[family, holder] = sum(terms) / s / (p * (1 - p))
    return found


def fitted(residual: np.ndarray, columns: np.ndarray, p: float) -> np.ndarray:
    """Coefficients of the columns by numpy's own least squares, with an intercept away from p = 1/2."""
    rows = columns.reshape(-1, columns.shape[2])
    if p != 0.5:
        rows = np.column_stack([rows, np.ones(len(rows))])
    return np.linalg.lstsq(rows, residual.ravel(), rcond=None)[0][: columns.shape[2]]


def naive_regression(residual: np.ndarray, columns: np.ndarray, p: float, weights: np.ndarray) -> np.ndarray:
    """One fit more for every family that is left out."""
    whole = fitted(residual, columns, p)
    changes = []
    for family in range(len(residual)):
        kept = np.arange(len(residual)) != family
        changes.append(whole - fitted(residual[kept], columns[kept], p))
    change = np.array(changes)
    return (whole + (len(residual) - 1) * (change - change.mean(axis=0))) @ weights


@pytest.mark.parametrize("p", [0.5, 0.3])
@pytest.mark.parametrize("s", [1, 3])
def test_values_are_those_of_the_naive_twins(p: float, s: int) -> None:
    rng = np.random.default_rng(1)
    inside = units(rng, 20, s, p)
    counts = counts_of(inside, p)
    residual = 2.0 + rng.standard_normal((20, s)) + counts[:, :, 1] ** 3
    found = worths.products(residual, counts, p=p, sizes=SIZES)
    np.testing.assert_allclose(found, naive_products(residual, counts, p), rtol=1e-10, atol=1e-10)
    found = worths.regression(residual, counts, p=p, sizes=SIZES)
    expected = naive_regression(residual, counts, p, np.diag(SIZES).astype(float))
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_units_are_summed_over_their_holders(p: float) -> None:
    rng = np.random.default_rng(2)
    inside = units(rng, 40, 2, p)
    residual = rng.standard_normal((40, 2)) + inside[:, :, 3]
    ones = np.ones(N, dtype=np.int64)
    found = worths.regression(residual, inside - p, p=p, sizes=ones, groups=GROUPS)
    expected = naive_regression(residual, inside - p, p, GROUPS.T.astype(float))
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def test_chunks_do_not_change_the_regression(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    counts = counts_of(units(rng, 30, 2, 0.5), 0.5)
    residual = rng.standard_normal((30, 2))
    whole = worths.regression(residual, counts, p=0.5, sizes=SIZES)
    monkeypatch.setattr(worths, "_CHUNK_CELLS", 3 * 2 * 4)
    np.testing.assert_allclose(worths.regression(residual, counts, p=0.5, sizes=SIZES), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_a_linear_residual_without_noise_is_recovered_and_products_are_not_exact(p: float) -> None:
    rng = np.random.default_rng(4)
    inside = units(rng, 100, 2, p)
    counts, beta = counts_of(inside, p), np.array([2.0, -1.0, 0.5, 0.25])
    residual = counts @ beta + (0.0 if p == 0.5 else 7.0)
    found = worths.regression(residual, counts, p=p, sizes=SIZES)
    np.testing.assert_allclose(found, np.tile(SIZES * beta, (100, 1)), rtol=0, atol=1e-9)
    assert np.abs(worths.products(residual, counts, p=p, sizes=SIZES) - SIZES * beta).max() > 0.1


def test_unequal_units_without_noise_are_recovered_unit_by_unit() -> None:
    rng = np.random.default_rng(5)
    inside, theta = units(rng, 120, 1, 0.5), np.linspace(-1, 2, N)
    residual, ones = (inside - 0.5) @ theta, np.ones(N, dtype=np.int64)
    found = worths.regression(residual, inside - 0.5, p=0.5, sizes=ones, groups=GROUPS)
    np.testing.assert_allclose(found, np.tile(GROUPS @ theta, (120, 1)), rtol=0, atol=1e-9)


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_products_are_unbiased_whatever_the_residual(p: float) -> None:
    """Over every pair of subsets of three units, weighted by its probability, the mean is the truth to rounding."""
    subsets = (np.arange(8)[:, None] >> np.arange(3)) % 2 == 1
    chance = p ** subsets.sum(axis=1) * (1 - p) ** (3 - subsets.sum(axis=1))
    f = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0])
    if p == 0.5:
        f = (f - f[::-1]) / 2  # the odd part: complements are the reverse order
    truth = np.array([(chance * f * (subsets[:, i] - p)).sum() for i in range(3)]) / (p * (1 - p))
    mean = np.zeros(3)
    for one in range(8):
        for other in range(8):
            rows = np.array([one, other])
            values = worths.products(
                f[rows][:, None], (subsets[rows] - p)[:, None], p=p, sizes=np.ones(3, dtype=np.int64)
            )
            mean += chance[one] * chance[other] * values.mean(axis=0)
    np.testing.assert_allclose(mean, truth, rtol=1e-12, atol=1e-12)


# ------------------------------------------------------------------------------------------------ the rule


@pytest.mark.parametrize(
    ("j", "n_units", "b", "s", "expected"),
    [
        (4, None, 200, 1, Estimator.REGRESSION),
        (33, None, 200, 1, Estimator.REGRESSION),
        (34, None, 200, 1, Estimator.PRODUCTS),
        (34, None, 100, 3, Estimator.REGRESSION),
        (4, 20, 200, 1, Estimator.UNITS),
        (4, 21, 200, 1, Estimator.REGRESSION),
        (34, 1000, 200, 1, Estimator.PRODUCTS),
    ],
)
def test_the_estimator_follows_from_the_design(
    j: int, n_units: int | None, b: int, s: int, expected: Estimator
) -> None:
    assert worths.estimator_for(n_contributors=j, n_units=n_units, n_families=b, n_siblings=s) is expected


@pytest.mark.parametrize(("b", "s"), [(199, 1), (99, 8), (66, 3)])
def test_below_a_floor_there_are_no_values(b: int, s: int) -> None:
    rng = np.random.default_rng(6)
    counts = counts_of(units(rng, b, s, 0.5), 0.5)
    with pytest.raises(ArgumentError):
        worths.values_of(rng.standard_normal((b, s)), counts, p=0.5, sizes=SIZES)


def test_values_are_those_of_the_chosen_estimator() -> None:
    rng = np.random.default_rng(7)
    counts = counts_of(units(rng, 200, 1, 0.5), 0.5)
    residual = rng.standard_normal((200, 1))
    expected = worths.regression(residual, counts, p=0.5, sizes=SIZES)
    np.testing.assert_array_equal(worths.values_of(residual, counts, p=0.5, sizes=SIZES), expected)


# ------------------------------------------------------------------------------------------------ bad input


def good() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(8)
    counts = counts_of(units(rng, 40, 1, 0.5), 0.5)
    return rng.standard_normal((40, 1)), counts, SIZES


BAD: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]] = {
    "one-family": lambda r, c, n: (r[:1], c[:1], n),
    "no-contributors": lambda r, c, n: (r, c[:, :, :0], n[:0]),
    "a-contributor-without-units": lambda r, c, n: (r, c, np.array([0, 2, 4, 5])),
    "a-residual-that-is-no-number": lambda r, c, n: (np.where(r == r.max(), np.nan, r), c, n),
    "an-infinite-count": lambda r, c, n: (r, np.where(c == c.max(), np.inf, c), n),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("estimate", [worths.products, worths.regression])
def test_bad_arrays_are_refused(bad: str, estimate: Callable[..., np.ndarray]) -> None:
    residual, counts, sizes = BAD[bad](*good())
    with pytest.raises(ArgumentError):
        estimate(residual, counts, p=0.5, sizes=sizes)


@pytest.mark.parametrize("p", [0.0, 1.0, float("nan")])
def test_a_probability_outside_its_range_is_refused(p: float) -> None:
    residual, counts, sizes = good()
    with pytest.raises(ArgumentError):
        worths.products(residual, counts, p=p, sizes=sizes)


def test_as_many_contributors_as_rows_are_refused() -> None:
    rng = np.random.default_rng(9)
    residual, inside = rng.standard_normal((N + 2, 1)), units(rng, N + 2, 1, 0.5)
    with pytest.raises(ArgumentError):
        worths.regression(residual, inside - 0.5, p=0.5, sizes=np.ones(N, dtype=np.int64))


@pytest.mark.parametrize("alike", [True, False], ids=["two-alike", "one-family-alone"])
def test_counts_that_cannot_be_told_apart_are_refused(alike: bool) -> None:
    residual, counts, sizes = good()
    if alike:
        counts[:, :, 1] = counts[:, :, 2]
    else:
        counts[1:, :, 1] = 0.0
    with pytest.raises(ArgumentError):
        worths.regression(residual, counts, p=0.5, sizes=sizes)


# ------------------------------------------------------------------------------------------------ coverage

DELTA = 0.1
RUNS = 400


def linear_and_noise(inside: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (inside - 0.5) @ np.linspace(-1, 1, N) + rng.standard_normal(inside.shape[:2])


def on_an_event(inside: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The second contributor errs where three of the last one's units are alike: probability 1/4."""
    alike = inside[:, :, -3:].all(axis=2) | ~inside[:, :, -3:].any(axis=2)
    return counts_of(inside, 0.5)[:, :, 1] * alike


def cube(inside: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return counts_of(inside, 0.5)[:, :, 3] ** 3


def truths() -> dict[str, np.ndarray]:
    """True less claimed worths, by the sum over all 2^12 subsets."""
    inside = ((np.arange(1 << N)[:, None] >> np.arange(N)) % 2 == 1)[:, None]
    counts, silent = counts_of(inside, 0.5)[:, 0], np.random.default_rng(0)
    games = {"noise": (inside[:, 0] - 0.5) @ np.linspace(-1, 1, N)}
    games |= {"event": on_an_event(inside, silent)[:, 0], "cube": cube(inside, silent)[:, 0]}
    return {name: 4 * (f @ counts) / (1 << N) for name, f in games.items()}


GAMES = {"noise": linear_and_noise, "event": on_an_event, "cube": cube}


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("s", [1, 2])
def test_intervals_hold_all_at_once(game: str, s: int) -> None:
    rng, missed, true = np.random.default_rng(10), 0, truths()[game]
    for _ in range(RUNS):
        inside = units(rng, 200 // s, s, 0.5)
        values = worths.values_of(GAMES[game](inside, rng), counts_of(inside, 0.5), p=0.5, sizes=SIZES)
        found = simultaneous.intervals(values, delta=DELTA)
        missed += bool(((found.lower > true + 1e-9) | (found.upper < true - 1e-9)).any())
    assert missed <= most_allowed(RUNS, DELTA)


def test_intervals_are_not_far_wider_than_they_need_be() -> None:
    """Gaussian values: no wider than Student's by a tenth at 1,000 families."""
    rng = np.random.default_rng(11)
    values = rng.standard_normal((1000, 4))
    ideal = stats.t.ppf(1 - DELTA / 8, 999) * values.std(axis=0, ddof=1) / np.sqrt(1000)
    half = simultaneous.intervals(values, delta=DELTA).half_width
    assert (half >= ideal).all()
    assert (half <= 1.1 * ideal).all()


def test_the_side_of_the_longer_tail_is_longer() -> None:
    values = np.random.default_rng(12).exponential(size=(300, 2)) * np.array([1.0, -1.0])
    below, above = simultaneous.margins(values, 0.01)
    assert above[0] > 1.05 * below[0]
    assert below[1] > 1.05 * above[1]


def test_values_that_do_not_scatter_have_intervals_of_no_length() -> None:
    found = simultaneous.intervals(np.full((200, 3), 7.0), delta=DELTA)
    np.testing.assert_array_equal(found.lower, np.full(3, 7.0))
    np.testing.assert_array_equal(found.upper, np.full(3, 7.0))


@pytest.mark.parametrize("alpha", [0.0, 0.5, float("nan")])
def test_a_level_outside_its_range_is_refused(alpha: float) -> None:
    with pytest.raises(ArgumentError):
        simultaneous.margins(np.random.default_rng(13).standard_normal((200, 2)), alpha)


@pytest.mark.parametrize("values", [np.zeros((2, 3)), np.full((200, 3), np.nan)], ids=["two-families", "no-numbers"])
def test_values_that_say_nothing_have_no_intervals(values: np.ndarray) -> None:
    with pytest.raises(ArgumentError):
        simultaneous.margins(values, 0.01)


# ------------------------------------------------------------------------------------------------ planning


def test_a_plan_is_as_narrow_as_asked_and_hardly_narrower() -> None:
    """Gaussian values: three plans of four reach the width, and none is narrower by more than a fifth."""
    rng, reached, half = np.random.default_rng(14), 0, 0.1
    for _ in range(40):
        n = simultaneous.families_for(rng.standard_normal((300, 2)), half, alpha=0.005)
        found = simultaneous.margins(rng.standard_normal((n, 2)), 0.005)[1].max()
        reached += bool(found <= half)
        assert found > 0.8 * half
    assert reached >= fewest_allowed(40, 0.75)


def test_a_plan_is_at_least_the_floor_and_a_tenth_more_than_the_batch() -> None:
    values = np.random.default_rng(15).standard_normal((300, 2))
    assert simultaneous.families_for(values, 1e9, alpha=0.01) == 330
    assert simultaneous.families_for(values[:20], 1e9, alpha=0.01) == worths.FEWEST_FAMILIES


@pytest.mark.parametrize("half", [0.0, -1.0, float("nan")])
def test_a_width_that_is_not_above_zero_is_refused(half: float) -> None:
    with pytest.raises(ArgumentError):
        simultaneous.families_for(np.random.default_rng(16).standard_normal((300, 2)), half, alpha=0.01)


def test_shares_of_looks_add_up_to_one() -> None:
    assert sum(simultaneous.look_share(look) for look in range(1, 60)) == pytest.approx(1.0, abs=1e-12)
    with pytest.raises(ArgumentError):
        simultaneous.look_share(0)


# ------------------------------------------------------------------------------------------------ shares


def share_set(worth: np.ndarray, values: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Naive Fieller: of 2,001 shares, the least and the largest that the interval of w - c S does not exclude."""
    corrected = worth + values.mean(axis=0)
    pooled = values[:, corrected > 0].sum(axis=1)
    pool = corrected[corrected > 0].sum()
    kept: list[list[float]] = [[] for _ in worth]
    for c in np.linspace(0, 1, 2_001):
        below, above = simultaneous.margins(values - c * pooled[:, None], alpha)
        for k in range(len(worth)):
            if corrected[k] - c * pool - below[k] <= 0 <= corrected[k] - c * pool + above[k]:
                kept[k].append(float(c))
    return np.array([min(k) for k in kept]), np.array([max(k) for k in kept])


def test_shares_are_those_of_the_naive_twin() -> None:
    rng = np.random.default_rng(17)
    worth, values = np.array([1.0, 2.0, 3.0]), rng.standard_normal((200, 3)) + np.array([0.5, 0.0, -0.5])
    found = shares.share_intervals(worth, values, total=60.0, delta=DELTA)
    low, high = share_set(worth, values, 0.9 * DELTA / 6)
    np.testing.assert_allclose(found.lower, 60 * low, rtol=0, atol=60 / 2_000)
    np.testing.assert_allclose(found.upper, 60 * high, rtol=0, atol=60 / 2_000)


@pytest.mark.parametrize("last", [1.0, 0.0, -0.3])
def test_shares_hold_all_at_once_however_wrong_the_claim(last: float) -> None:
    rng, missed, runs = np.random.default_rng(18), 0, 200
    claimed, true = np.array([3.0, 1.0, 1.0, 1.0]), np.array([1.0, 1.0, 1.0, last])
    owed = 100 * np.maximum(true, 0) / np.maximum(true, 0).sum()
    for _ in range(runs):
        values = true - claimed + 2 * rng.standard_normal((300, 4))
        found = shares.share_intervals(claimed, values, total=100.0, delta=DELTA)
        missed += bool(((found.lower > owed) | (found.upper < owed)).any())
    assert missed <= most_allowed(runs, DELTA)


def test_shares_of_a_pool_that_may_be_nothing_are_not_resolved() -> None:
    values = 50 * np.random.default_rng(19).standard_normal((200, 2))
    found = shares.share_intervals(np.array([1.0, 1.0]) - values.mean(axis=0), values, total=10.0, delta=DELTA)
    np.testing.assert_array_equal(found.lower, [0.0, 0.0])
    np.testing.assert_array_equal(found.upper, [10.0, 10.0])


def test_nobody_is_due_anything_where_no_worth_is_above_zero() -> None:
    values = np.random.default_rng(20).standard_normal((200, 2))
    with pytest.raises(ArgumentError):
        shares.share_intervals(np.array([-5.0, -1.0]), values, total=10.0, delta=DELTA)


def test_share_values_are_the_derivative_of_shares() -> None:
    rng, step = np.random.default_rng(21), 1e-6
    worth, values = np.array([1.0, 2.0, -3.0]), rng.standard_normal((50, 3)) / 10
    corrected = worth + values.mean(axis=0)
    found = shares.share_values(worth, values, total=10.0)

    def shared(w: np.ndarray) -> np.ndarray:
        return 10 * np.array([w[0], w[1]]) / (w[0] + w[1])

    for family in range(50):
        moved = step * (values[family] - values.mean(axis=0))
        expected = (shared(corrected + moved) - shared(corrected - moved)) / (2 * step)
        np.testing.assert_allclose(found[family, :2], expected, rtol=1e-6, atol=1e-8)
