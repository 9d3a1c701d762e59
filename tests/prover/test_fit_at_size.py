"""Fitting by products with packed subsets: the same scores as solvers that hold everything, in blocks of any size."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso, LinearRegression

from protocol.encoding import Seed
from protocol.errors import ArgumentError
from protocol.game import harmonic
from protocol.game.known import Polynomial
from protocol.game.sampling import Draw, pairs
from prover.fitting import blockwise, conjugate, design, direct, lasso, packed
from prover.fitting import fit as fitting
from prover.fitting.blockwise import Solution, fit_blockwise
from prover.fitting.design import Design
from prover.fitting.fit import Fit, Method, fit
from prover.fitting.heldout import Dense, gap_estimate, gap_shares, spread
from prover.fitting.packed import PackedSubsets
from prover.fitting.solvers import Start
from tests.games import task_of


def drawn(n: int, n_units: int, seed: int, p: float = 0.5) -> np.ndarray:
    return np.random.default_rng(seed).random((n, n_units)) < p


def linear(x: np.ndarray, c: np.ndarray, noise: float, seed: int, p: float = 0.5) -> np.ndarray:
    """Return outputs of coefficients c, (N, T), and Gaussian noise: odd at p = 1/2, where complements are there."""
    y = harmonic.characters(x, p) @ c
    y = y + noise * np.random.default_rng(seed).standard_normal(y.shape)
    return np.stack([y, -y], axis=1) if p == 0.5 else y[:, None]


def sparse(n_units: int, n_targets: int, k: int, seed: int) -> np.ndarray:
    """Return coefficients of k units for each target, of one size and either sign, with W_1 = 1."""
    rng, c = np.random.default_rng(seed), np.zeros((n_units, n_targets))
    for t in range(n_targets):
        c[rng.choice(n_units, k, replace=False), t] = rng.choice([-1, 1], k) / np.sqrt(k)
    return c


def true_gap(fitted: Fit, c: np.ndarray, p: float = 0.5) -> float:
    best = harmonic.weights_from_coefficients(c.T, p)
    return float(harmonic.gap(fitted.claim.scores, best, p).mean())


@pytest.fixture
def at_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every problem one that is not small: float32, one fold held out, several blocks."""
    monkeypatch.setattr(direct, "_MOST_DIMENSIONS", 0)
    monkeypatch.setattr(fitting, "_DOUBLE_VALUES", 0)
    monkeypatch.setattr(blockwise, "_CHEAP_VALUES", 0)
    monkeypatch.setattr(design, "_BLOCK_VALUES", 5000)


# -------------------------------------------------------------------------------------------- packed subsets


@pytest.mark.parametrize("n_units", [8, 13, 64])
def test_packed_subsets_are_the_subsets(n_units: int) -> None:
    x = drawn(20, n_units, seed=1)
    subsets = PackedSubsets.of(x)
    assert subsets.bits.nbytes == 20 * -(-n_units // 8)
    assert np.array_equal(subsets.unpacked(), x)
    assert np.array_equal(subsets.counts(), x.sum(axis=1))
    units = np.array([n_units - 1, 0, 3])
    assert np.array_equal(subsets.columns(units), x[:, units])
    assert np.array_equal(subsets.rows(slice(3, 7)).unpacked(), x[3:7])
    assert np.array_equal(subsets.rows(np.array([5, 2])).unpacked(), x[[5, 2]])


def test_drawn_subsets_are_those_of_the_draw_however_few_are_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    task, draw = task_of(21), Draw(seed=Seed(bytes(32)), design=pairs(50))
    evaluations = np.arange(0, 60, 2)
    monkeypatch.setattr(packed, "_DERIVED_UNITS", 21 * 7)
    assert np.array_equal(PackedSubsets.drawn(draw, task, evaluations).unpacked(), draw.subsets(task, evaluations))


# -------------------------------------------------------------------------------------------- products


@pytest.mark.parametrize("p", [0.5, 0.3])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_products_are_those_of_the_characters(
    p: float, precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = drawn(50, 29, seed=2, p=p)
    phi = torch.tensor(harmonic.characters(x, p))
    v, r = (torch.randn(k, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) for k in (29, 50))
    monkeypatch.setattr(design, "_BLOCK_VALUES", 29 * 8)  # seven blocks, the last of them shorter
    packed_phi = Design(PackedSubsets.of(x), p, precision=precision)
    tolerance = 2e-5 if precision == torch.float32 else 1e-12
    for found, expected in (
        (packed_phi.times(v), phi @ v),
        (packed_phi.transposed_times(r), phi.T @ r),
        (packed_phi.gram_times(v), phi.T @ (phi @ v)),
    ):
        assert found.dtype == precision
        assert (found.double() - expected).abs().max() <= tolerance * expected.abs().max()
    assert torch.allclose(packed_phi.squared_lengths(), phi.square().sum(dim=1), rtol=1e-12)
    few, others = np.array([3, 28, 11]), np.array([0, 28])
    assert packed_phi.gram_of(few, others) == pytest.approx((phi[:, few].T @ phi[:, others]).numpy(), abs=1e-11)
    assert np.array_equal(packed_phi.rows(slice(4, 9)).times(v), packed_phi.times(v)[4:9])


def test_the_gap_is_the_same_from_products() -> None:
    x = drawn(40, 37, seed=4)
    residuals = torch.tensor(np.random.default_rng(5).standard_normal((40, 2)))
    dense, blocks = Dense(torch.tensor(harmonic.characters(x, 0.5))), Design(PackedSubsets.of(x), 0.5)
    assert torch.allclose(gap_estimate(blocks, residuals), gap_estimate(dense, residuals), rtol=1e-5)
    assert torch.allclose(gap_shares(blocks, residuals), gap_shares(dense, residuals), rtol=1e-4, atol=1e-5)


def test_no_product_holds_more_than_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is unpacked at once is bounded, whatever the number of subsets."""
    made: list[int] = []
    empty = torch.empty

    def counted(shape: tuple[int, ...], **options: object) -> torch.Tensor:
        made.append(int(np.prod(shape)))
        return empty(shape, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(design, "_BLOCK_VALUES", 1000)
    subsets = Design(PackedSubsets.of(drawn(500, 100, seed=6)), 0.5)
    monkeypatch.setattr(torch, "empty", counted)
    subsets.gram_times(torch.ones(100, 1))
    assert max(made) <= 1000 + 8 * 10  # the padding of ten subsets


# -------------------------------------------------------------------------------------------- conjugate gradients


@pytest.mark.parametrize(("n", "n_units"), [(120, 60), (60, 120)])
def test_every_penalty_of_a_path_is_solved(n: int, n_units: int) -> None:
    phi = torch.tensor(harmonic.characters(drawn(n, n_units, seed=7), 0.5))
    y = torch.tensor(np.random.default_rng(8).standard_normal((n, 3)))
    y[:, 1] = 0.0  # a target that is a constant
    y[:, 2] = phi[:, 0]  # one that is done at once
    gram, moment = phi.T @ phi, phi.T @ y
    penalties = [1e3 * n_units, float(n_units), 0.1 * n_units, 0.01 * n_units]
    found = list(conjugate.path(lambda v: gram @ v, moment, penalties, 1e-11))
    assert len(found) == 4
    for penalty, coefficients in zip(penalties, found, strict=True):
        exact = torch.linalg.solve(gram + penalty * torch.eye(n_units), moment)
        assert (coefficients - exact).abs().max() <= 1e-8 * exact.abs().max()
        alone = conjugate.solve(lambda v: gram @ v, moment, penalty, 1e-11, start=exact + 0.1)
        assert alone is not None
        assert (alone - exact).abs().max() <= 1e-8 * exact.abs().max()


def test_the_largest_penalties_cost_the_fewest_products() -> None:
    n, n_units = 150, 150
    phi = torch.tensor(harmonic.characters(drawn(n, n_units, seed=9), 0.5))
    calls: list[int] = []

    def product(v: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return phi.T @ (phi @ v)

    walk = conjugate.path(product, phi.T @ torch.ones(n, 1, dtype=torch.float64), [100.0 * n, float(n), 1e-3 * n], 1e-4)
    counts = [len(calls) for _ in walk]
    assert counts[0] <= 4
    assert counts[1] <= 12  # ln(2e4) sqrt(5) / 2 = 11
    assert counts[2] > 30


def test_a_path_ends_where_products_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conjugate, "MAX_ITERATIONS", 6)
    phi = torch.tensor(harmonic.characters(drawn(80, 80, seed=10), 0.5))
    moment = phi.T @ torch.ones(80, 1, dtype=torch.float64)
    assert len(list(conjugate.path(lambda v: phi.T @ (phi @ v), moment, [8000.0, 8e-3], 1e-4))) == 1
    assert conjugate.solve(lambda v: phi.T @ (phi @ v), moment, 8e-3, 1e-4) is None


# -------------------------------------------------------------------------------------------- the walk


class Planned:
    """A solver whose coefficients are the best ones times given shares, and whose path then breaks off."""

    def __init__(self, c: np.ndarray, shares: list[float]) -> None:
        self._c, self._shares, self.penalties = torch.tensor(c), shares, tuple(range(9, 0, -1))

    def path(self, design: Design, y: torch.Tensor, *, n_paths: int = 1) -> Iterator[torch.Tensor]:
        yield from (share * self._c for share in self._shares)
        raise ArgumentError("no memory for more")

    averages = False

    def patience(self, step: int) -> int:
        return 2

    def refit(self, design: Design, y: torch.Tensor, step: int, start: Start | None = None) -> torch.Tensor:
        assert start is not None
        return start.coefficients


def walked(shares: list[float]) -> Solution:
    x, c = drawn(300, 20, seed=44), sparse(20, 1, 5, seed=45)
    outputs = linear(x, c, 0.1, seed=46)
    phi, y = Design(PackedSubsets.of(x), 0.5), torch.tensor(outputs[:, 0])
    return fit_blockwise(phi, y, spread(outputs, 0.0), Planned(c, shares), lambda done, total: None)


def test_the_walk_ends_when_the_gap_has_risen_as_often_as_the_solver_bears() -> None:
    assert walked([0.5, 1.0, 0.9, 0.8, 1.0]).penalty == 8  # the last one is never asked for
    assert walked([0.5, 0.4, 1.0, 0.9, 0.8]).penalty == 7  # one rise is borne


def test_a_path_that_breaks_off_is_an_error_only_where_the_gap_was_still_falling() -> None:
    assert walked([0.5, 1.0, 0.9]).penalty == 8
    with pytest.raises(ArgumentError, match="no memory for more"):
        walked([0.5, 1.0])


# -------------------------------------------------------------------------------------------- ridge and least squares


@pytest.mark.parametrize(("n", "n_units"), [(600, 200), (300, 500)])
@pytest.mark.parametrize("p", [0.5, 0.3])
def test_ridge_at_size_is_the_direct_one(n: int, n_units: int, p: float, request: pytest.FixtureRequest) -> None:
    """At its own penalty the scores differ from the exact ones by less than 1e-3 of their size, the gap by far less.

    With evaluations enough they are fitted to all; else the mean of two folds' scores, each fitted to four fifths.
    """
    rng = np.random.default_rng(11)
    x, c = drawn(n, n_units, seed=12, p=p), rng.standard_normal((n_units, 64)) / np.sqrt(n_units)
    outputs, task = linear(x, c, 0.8, seed=13, p=p), task_of(n_units, n_targets=64, p=p)
    exact = fit(task, PackedSubsets.of(x), outputs)
    request.getfixturevalue("at_size")
    found = fit(task, PackedSubsets.of(x), outputs)
    phi, y = (
        harmonic.characters(x, task.measure.p),
        outputs[:, 0] if p == 0.5 else outputs[:, 0] - outputs[:, 0].mean(axis=0),
    )
    folds = [slice(0, n)] if 0.8 * n >= 2 * n_units else [slice(0, n - n // 5), slice(n // 5, n)]
    twins = [np.linalg.solve(phi[f].T @ phi[f] + found.penalty * np.eye(n_units), phi[f].T @ y[f]) for f in folds]
    scores = harmonic.weights_from_coefficients(np.mean(twins, axis=0).T, task.measure.p)
    assert np.abs(found.claim.scores - scores).max() <= 1e-3 * np.abs(scores).max()
    # One fold in place of five may choose the next penalty, which costs little at the bottom of the curve.
    assert 0.3 < found.penalty / exact.penalty < 3.5
    assert true_gap(found, c, task.measure.p) <= 1.1 * true_gap(exact, c, task.measure.p)
    assert true_gap(found, c, task.measure.p) / outputs.var(axis=(0, 1)).mean() <= found.figures.relative_gap + 3 * (
        found.quality.mean_gap_error
    )
    assert found.figures.relative_gap == pytest.approx(exact.figures.relative_gap, rel=0.25)
    assert found.quality.n_heldout * 5 == exact.quality.n_heldout * len(folds)


@pytest.mark.usefixtures("at_size")
@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_no_fold_is_seen_by_what_it_is_held_out_from(noise: float) -> None:
    """With half an evaluation a unit and next to no penalty a fit keeps what it starts from, wherever that came from.

    50 targets: at fixed seeds, the estimate is at most 4 of its errors below the true gap, and these are small.
    """
    n, n_units = 500, 1000
    x, c = drawn(n, n_units, seed=50), np.random.default_rng(51).standard_normal((n_units, 50)) / np.sqrt(n_units)
    outputs = linear(x, c, np.sqrt(noise), seed=52)
    found = fit(task_of(n_units, n_targets=50), PackedSubsets.of(x), outputs)
    true = true_gap(found, c) / outputs.var(axis=(0, 1)).mean()
    assert found.quality.mean_gap_error < true / 6
    assert found.quality.mean_gap >= true - 4 * found.quality.mean_gap_error


def test_least_squares_is_least_squares() -> None:
    x, c = drawn(300, 80, seed=14), np.random.default_rng(15).standard_normal((80, 2))
    outputs = linear(x, c, 1.0, seed=16)
    found = fit(task_of(80, n_targets=2), PackedSubsets.of(x), outputs, method=Method.LEAST_SQUARES)
    twin = LinearRegression(fit_intercept=False).fit(x - 0.5, outputs[:, 0])
    assert found.claim.scores == pytest.approx(twin.coef_, abs=1e-7)
    assert found.penalty == 0.0


@pytest.mark.usefixtures("at_size")
def test_least_squares_at_size_is_least_squares() -> None:
    x, c = drawn(300, 100, seed=14), np.random.default_rng(15).standard_normal((100, 2))
    outputs = linear(x, c, 1.0, seed=16)
    found = fit(task_of(100, n_targets=2), PackedSubsets.of(x), outputs, method=Method.LEAST_SQUARES)
    twin = LinearRegression(fit_intercept=False).fit(x - 0.5, outputs[:, 0])
    assert np.abs(found.claim.scores - twin.coef_).max() <= 1e-3 * np.abs(twin.coef_).max()


def test_the_gap_of_least_squares_is_foreseen() -> None:
    """With 64 targets the figure's error is small: at one fixed seed, within 10% of the truth, and so is the plan."""
    x, c = drawn(240, 100, seed=17), np.random.default_rng(18).standard_normal((100, 64)) / 10
    outputs, task = linear(x, c, 0.5, seed=19), task_of(100, n_targets=64)
    found = fit(task, PackedSubsets.of(x), outputs, method=Method.LEAST_SQUARES)
    variance = (outputs[:, 0] ** 2).mean(axis=0)
    true = float((harmonic.gap(found.claim.scores, 2 * c.T, 0.5) / variance).mean())
    assert found.figures.relative_gap == pytest.approx(true, rel=0.1)
    assert found.quality.mean_gap > 1.3 * true  # four fifths of the evaluations are 92 above N rather than 140
    assert found.evaluations_for(true) == pytest.approx(240, rel=0.1)


def test_least_squares_near_as_many_evaluations_as_units_is_refused() -> None:
    x = drawn(140, 100, seed=20)
    with pytest.raises(ArgumentError, match="at least 300 to fit by least-squares, got 280: train more, or fit ridge"):
        fit(task_of(100), PackedSubsets.of(x), np.zeros((140, 2, 1)), method=Method.LEAST_SQUARES)


# -------------------------------------------------------------------------------------------- lasso


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("p", [0.5, 0.3])
def test_lasso_is_that_of_all_units(small: bool, p: float, request: pytest.FixtureRequest) -> None:
    """The working sets leave nothing out: the scores are those of scikit-learn on the dense characters."""
    if not small:
        request.getfixturevalue("at_size")
    n, n_units = 200, 300
    x, c = drawn(n, n_units, seed=21, p=p), sparse(n_units, 3, 8, seed=22)
    outputs, task = linear(x, c, 0.7, seed=23, p=p), task_of(n_units, n_targets=3, p=p)
    found = fit(task, PackedSubsets.of(x), outputs, method=Method.LASSO)
    y = outputs[:, 0] if p == 0.5 else outputs[:, 0] - outputs[:, 0].mean(axis=0)
    for t in range(3):
        alpha = found.penalty * np.sqrt(0.8 * (y[:, t] ** 2).mean())  # chosen on four fifths: alpha falls as 1/sqrt(n)
        twin = Lasso(alpha=alpha, fit_intercept=False, tol=1e-10, max_iter=100_000)
        twin.fit(harmonic.characters(x, task.measure.p), y[:, t])
        ours = harmonic.coefficients_from_weights(found.claim.scores[t], task.measure.p)
        assert ours == pytest.approx(twin.coef_, abs=2e-3 * np.abs(twin.coef_).max())
        assert 0 < np.count_nonzero(ours) < n_units / 2


def test_every_penalty_of_the_path_is_that_of_all_units() -> None:
    """Down the path, from sets so sparse that the strong rule keeps few units."""
    x, c = drawn(150, 90, seed=24), sparse(90, 2, 5, seed=25)
    y = linear(x, c, 0.5, seed=26)[:, 0]
    phi, packed_phi = harmonic.characters(x, 0.5), Design(PackedSubsets.of(x), 0.5, precision=torch.float64)
    top = lasso.largest_penalty(packed_phi, torch.tensor(y))
    scale = np.sqrt((y**2).mean(axis=0))
    penalties = [top * 0.5**k for k in range(6)]
    for k, coefficients in enumerate(lasso.path(packed_phi, torch.tensor(y), penalties)):
        for t in range(2):
            twin = Lasso(alpha=penalties[k] * scale[t], fit_intercept=False, tol=1e-10, max_iter=100_000)
            expected = twin.fit(phi, y[:, t]).coef_
            assert coefficients[:, t].numpy() == pytest.approx(expected, abs=2e-3 * max(np.abs(expected).max(), 1e-9))
        if k == 0:
            assert not coefficients.any()


def test_a_start_from_elsewhere_changes_nothing() -> None:
    x, c = drawn(150, 90, seed=24), sparse(90, 2, 5, seed=25)
    y = torch.tensor(linear(x, c, 0.5, seed=26)[:, 0])
    packed_phi = Design(PackedSubsets.of(x), 0.5, precision=torch.float64)
    kappa = lasso.largest_penalty(packed_phi, y) / 8
    (cold,) = lasso.path(packed_phi, y, [kappa])
    (warm,) = lasso.path(packed_phi, y, [kappa], torch.full((90, 2), 0.01, dtype=torch.float64))
    assert warm.numpy() == pytest.approx(cold.numpy(), abs=1e-3 * float(cold.abs().max()))


@pytest.mark.usefixtures("at_size")
def test_on_a_sparse_game_the_gap_of_lasso_is_far_below_that_of_ridge() -> None:
    n, n_units = 300, 500
    x, c = drawn(n, n_units, seed=27), sparse(n_units, 6, 8, seed=28)
    outputs, task = linear(x, c, 0.7, seed=29), task_of(n_units, n_targets=6)
    fits = {m: fit(task, PackedSubsets.of(x), outputs, method=m) for m in (Method.RIDGE, Method.LASSO)}
    assert fits[Method.LASSO].quality.mean_gap < 0.4 * fits[Method.RIDGE].quality.mean_gap
    assert true_gap(fits[Method.LASSO], c) < 0.4 * true_gap(fits[Method.RIDGE], c)


@pytest.mark.parametrize("method", [Method.RIDGE, Method.LASSO])
def test_no_penalty_of_the_path_is_far_better_than_the_chosen_one(method: Method, at_size: None) -> None:
    """And the chosen one is inside the path: its ends are far worse."""
    n, n_units = 300, 200
    x, c = drawn(n, n_units, seed=30), sparse(n_units, 8, 20, seed=31)
    outputs, task = linear(x, c, 1.0, seed=32), task_of(n_units, n_targets=8)
    y, packed_phi = torch.tensor(outputs[:, 0]), Design(PackedSubsets.of(x), 0.5)
    solver = fitting.solver_for(method, packed_phi, y)
    walk = itertools.islice(solver.path(packed_phi, y), 14)
    gaps = [float((found.double() - torch.tensor(c)).square().sum(dim=0).mean()) for found in walk]
    chosen = true_gap(fit(task, PackedSubsets.of(x), outputs, method=method), c)
    assert chosen <= 1.25 * min(gaps)
    assert gaps[0] > 1.5 * chosen
    assert gaps[-1] > 1.5 * chosen


@pytest.mark.parametrize("method", list(Method))
def test_constant_outputs_give_scores_of_nothing(method: Method, at_size: None) -> None:
    outputs = np.full((60, 2, 1), 4.0)
    found = fit(task_of(20, tolerance=1e-9), PackedSubsets.of(drawn(60, 20, seed=33)), outputs, method=method)
    assert not found.claim.scores.any()
    assert found.claim.intercepts[0] == 4.0
    assert found.figures.relative_gap == 0.0


@pytest.mark.parametrize("method", list(Method))
def test_targets_of_other_units_are_fitted_alike(method: Method, at_size: None) -> None:
    game, x = Polynomial(n_units=20, w1=0.8, w2=0.1, w3=0.1), drawn(100, 20, seed=34)
    first = np.stack([game.outputs(x), game.outputs(~x)], axis=1)
    both = np.concatenate([first, 1e6 * first + 1], axis=2)
    found = fit(task_of(20, n_targets=2, bound=1e9), PackedSubsets.of(x), both, method=method)
    assert found.claim.scores[1] == pytest.approx(1e6 * found.claim.scores[0], rel=1e-3, abs=1e3)
    assert found.quality.relative_gap[1] == pytest.approx(found.quality.relative_gap[0], rel=1e-3, abs=1e-5)


def test_lasso_of_scores_that_are_not_sparse_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasso, "MAX_GRAM_BYTES", 5 * 24 * 30**2)  # of each fold's path 30 units
    x, c = drawn(400, 100, seed=35), np.random.default_rng(36).standard_normal((100, 1))
    with pytest.raises(ArgumentError, match=r"lasso: .* the scores are not sparse, fit ridge"):
        fit(task_of(100), PackedSubsets.of(x), linear(x, c, 0.1, seed=37), method=Method.LASSO)


def peak_of(act: Callable[[], object]) -> int:
    """Return the most bytes that numpy held at once."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("precision", "entry"), [(torch.float32, 4), (torch.float64, 8)])
@pytest.mark.parametrize("n_targets", [1, 5])
def test_what_a_path_of_lasso_counts_is_what_it_holds(
    precision: torch.dtype, entry: int, n_targets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Next to no penalty takes all units: where that is just allowed, all of it is used, and little beside it."""
    n_units = 400
    monkeypatch.setattr(design, "_BLOCK_VALUES", 10_000)
    phi = Design(PackedSubsets.of(drawn(900, n_units, seed=47)), 0.5, precision=precision)
    y = torch.randn(900, n_targets, dtype=torch.float64, generator=torch.Generator().manual_seed(48))
    counted = (entry * n_targets + 16) * n_units**2
    monkeypatch.setattr(lasso, "MAX_GRAM_BYTES", counted)
    assert 0.85 * counted < peak_of(lambda: list(lasso.path(phi, y, [1e-12]))) < 1.06 * counted
    monkeypatch.setattr(lasso, "MAX_GRAM_BYTES", counted - 1)
    with pytest.raises(ArgumentError, match=r"lasso: expected working sets of at most"):
        list(lasso.path(phi, y, [1e-12]))


def test_the_paths_of_all_folds_share_the_memory_of_lasso(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 5_000_000
    monkeypatch.setattr(lasso, "MAX_GRAM_BYTES", limit)
    x, c = drawn(600, 400, seed=47), np.random.default_rng(48).standard_normal((400, 1)) / 20
    subsets, outputs, task = PackedSubsets.of(x), linear(x, c, 0.05, seed=49), task_of(400)

    def refused() -> None:
        with pytest.raises(ArgumentError, match=r"lasso: expected working sets of at most 0.0 GB, got \d+ units"):
            fit(task, subsets, outputs, method=Method.LASSO)

    monkeypatch.setattr(design, "_BLOCK_VALUES", 10_000)
    assert limit / 8 < peak_of(refused) < limit


def test_lasso_that_does_not_end_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasso, "_MAX_SWEEPS", 1)
    x, c = drawn(60, 100, seed=35), sparse(100, 1, 20, seed=36)
    with pytest.raises(ArgumentError, match=r"expected coordinate descent on .* to end within 1 sweeps: fit ridge"):
        fit(task_of(100), PackedSubsets.of(x), linear(x, c, 0.5, seed=37), method=Method.LASSO)


def test_units_that_always_come_together_are_no_trouble() -> None:
    x = drawn(80, 40, seed=38)
    x[:, 1] = x[:, 0]
    c = sparse(40, 1, 4, seed=39)
    c[0] = 1.0
    found = fit(task_of(40), PackedSubsets.of(x), linear(x, c, 0.3, seed=40), method=Method.LASSO)
    assert found.claim.scores[0, :2].sum() == pytest.approx(2 * (c[0, 0] + c[1, 0]), abs=0.5)


@pytest.mark.gpu
@pytest.mark.parametrize("method", list(Method))
def test_a_fit_at_size_on_cuda_is_the_one_on_the_processor(method: Method, at_size: None) -> None:
    x, c = drawn(400, 150, seed=41), sparse(150, 3, 10, seed=42)
    outputs, task = linear(x, c, 0.5, seed=43), task_of(150, n_targets=3)
    here, there = (fit(task, PackedSubsets.of(x), outputs, method=method, device=d) for d in ("cpu", "cuda"))
    assert there.claim.scores == pytest.approx(here.claim.scores, abs=1e-2)
