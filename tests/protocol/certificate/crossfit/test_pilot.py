"""The pilot's scales, weights and ball; and bounds that hold and stay finite for claims of any size."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from protocol.certificate.crossfit.bound import Round, certify
from protocol.certificate.crossfit.pilot import ball_of, pilot_pairs, scale_of, variances_seen
from protocol.certificate.terms import Across
from protocol.claim import Claim
from protocol.encoding import Seed
from protocol.game import harmonic
from protocol.game.sampling import Draw, pairs
from protocol.task import Task
from tests.games import task_of

N_UNITS = 40


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ensemble:
    """T targets: each a random linear part, products of two and of three units; sizes and levels of its own."""

    n_targets: int
    p: float = 0.5
    shares: tuple[float, float, float] = (0.96, 0.02, 0.02)
    sizes: tuple[float, ...] = (1.0,)
    level: float = 0.0

    @property
    def coefficients(self) -> np.ndarray:
        raw = np.random.default_rng(7).standard_normal((self.n_targets, N_UNITS))
        return np.asarray(raw * np.sqrt(self.shares[0]) / np.linalg.norm(raw, axis=1, keepdims=True))

    @property
    def scale(self) -> np.ndarray:
        """Standard deviation of every target."""
        return np.resize(np.array(self.sizes), self.n_targets)

    @property
    def best(self) -> np.ndarray:
        return harmonic.weights_from_coefficients(self.coefficients * self.scale[:, None], self.p)

    def outputs(self, subsets: np.ndarray) -> np.ndarray:
        phi = harmonic.characters(subsets, self.p)
        out = phi @ self.coefficients.T
        for degree, share in ((2, self.shares[1]), (3, self.shares[2])):
            m = N_UNITS // degree
            products = np.prod(phi[:, : m * degree].reshape(len(phi), m, degree), axis=2)
            signs = np.random.default_rng(degree).choice((-1.0, 1.0), (m, self.n_targets))
            out = out + np.sqrt(share / m) * products @ signs
        return np.asarray(out * self.scale + self.level)

    def task(self, sd: float) -> Task:
        task = task_of(N_UNITS, n_targets=self.n_targets, p=self.p)
        half = sd * np.where(self.scale > 0, self.scale, 1.0)
        return dataclasses.replace(
            task, targets=dataclasses.replace(task.targets, lo=self.level - half, hi=self.level + half)
        )

    def claim(self, task: Task, factors: np.ndarray | float = 1.0) -> Claim:
        scores = self.best * np.reshape(factors, (-1, 1))
        return Claim(task_digest=task.digest, intercepts=np.zeros(self.n_targets), scores=scores)

    def round(self, task: Task, n: int, seed: int) -> Round:
        draw = Draw(seed=Seed(seed.to_bytes(32, "big")), design=pairs(n, complements=task.measure.has_complements))
        subsets = draw.subsets(task, np.arange(draw.n_evaluations))
        outputs = np.clip(self.outputs(subsets), task.targets.lo, task.targets.hi)
        return Round(draw=draw, outputs=outputs, trained=np.arange(n), n_false=0, tolerance=0.0)

    def gaps(self, claim: Claim) -> np.ndarray:
        return harmonic.gap(claim.scores, self.best, self.p)


ONE, MANY = Ensemble(n_targets=1), Ensemble(n_targets=200)


# ------------------------------------------------------------------------------------ claims of any size


@pytest.mark.parametrize("across", Across)
@pytest.mark.parametrize("p", [0.5, 0.3, 0.8])
@pytest.mark.parametrize("factor", [0.0, 0.1, 10.0])
def test_the_bound_is_near_the_gap_of_a_zero_a_tiny_and_a_huge_claim(p: float, factor: float, across: Across) -> None:
    """A scale from the claim alone cut the squares that show Var f at 36 times a zero claim's: a bound of 164."""
    game = dataclasses.replace(ONE, p=p, level=20.0)
    task = game.task(6.0)
    claim = game.claim(task, factor)
    true = float(game.gaps(claim)[0])
    c = certify(task, claim, game.round(task, 2000, 1), game.round(task, 2000, 2), delta=0.05, across=across)
    assert true <= c.upper_bound < (1.75 if p == 0.5 else 2.6) * true
    assert 0.2 * true < c.lower_bound <= true


@pytest.mark.slow
def test_six_targets_of_two_hundred_scaled_up_tenfold_are_seen() -> None:
    """Weights from the claim's own scales would be near 0 for exactly these."""
    task, factors = MANY.task(4.0), np.ones(200)
    factors[::34] = 10.0
    assert (factors > 1).sum() == 6
    claim, a, b = MANY.claim(task, factors), MANY.round(task, 400, 1), MANY.round(task, 400, 2)
    true = float(MANY.gaps(claim).mean())
    assert true > 2.3
    for across in (Across.POOLED, Across.MEAN):
        c = certify(task, claim, a, b, delta=0.05, across=across)
        assert 0.3 < c.lower_bound <= true <= c.upper_bound
        honest = certify(task, MANY.claim(task), a, b, delta=0.05, across=across)
        assert honest.upper_bound < 0.25
    each = certify(task, claim, a, b, delta=0.05, across=Across.EVERY)
    assert bool((each.upper >= MANY.gaps(claim)).all())


@pytest.mark.parametrize("across", Across)
def test_a_claim_as_large_as_may_be_sent_gives_no_warning_and_no_nan(across: Across) -> None:
    task = MANY.task(4.0)
    claim = Claim(task_digest=task.digest, intercepts=np.zeros(200), scores=np.full((200, N_UNITS), 1e50))
    c = certify(task, claim, MANY.round(task, 40, 1), MANY.round(task, 40, 2), delta=0.05, across=across)
    assert c.upper_bound > 1e100
    assert not np.isnan(c.upper).any()
    assert not np.isnan(c.lower).any()


@pytest.mark.parametrize("sd", [1e3, 1e12, 1e49])
def test_a_wide_range_does_not_hide_how_much_the_targets_vary(sd: float) -> None:
    task = MANY.task(sd)
    claim, a, b = MANY.claim(task), MANY.round(task, 200, 1), MANY.round(task, 200, 2)
    wide = certify(task, claim, a, b, delta=0.05)
    task = MANY.task(5.0)
    narrow = certify(task, MANY.claim(task), a, b, delta=0.05)
    np.testing.assert_allclose(wide.variance_lower, narrow.variance_lower, rtol=0.05)
    assert 0.85 < wide.variance_lower[0] < 1.1
    assert wide.upper_bound > narrow.upper_bound
    assert wide.lower_bound <= narrow.lower_bound


@pytest.mark.parametrize("across", [Across.POOLED, Across.MEAN])
@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_coverage_over_many_targets_is_at_least_what_was_asked(across: Across, factor: float) -> None:
    game = Ensemble(n_targets=5, sizes=(1.0, 3.0, 0.2, 1.0, 10.0))
    task = game.task(6.0)
    claim = game.claim(task, factor)
    relative = game.gaps(claim) / game.scale**2
    runs, delta, failures = 60, 0.2, 0
    for run in range(runs):
        a, b = game.round(task, 100, 2 * run), game.round(task, 100, 2 * run + 1)
        true = float(relative.mean())
        if across is Across.POOLED:
            scale = scale_of(task, claim, a.by_pair[:25], a.first_subsets(task, 25), across).scale
            true = float((game.gaps(claim) / scale**2).sum() / (game.scale**2 / scale**2).sum())
        c = certify(task, claim, a, b, delta=delta, across=across)
        failures += not c.lower_bound <= true <= c.upper_bound
    assert pilot_pairs(100) == 25
    assert failures <= stats.binom.isf(1e-4, runs, 2 * delta)


# ----------------------------------------------------------------------------------- targets that do not vary


def test_a_constant_target_among_many_neither_takes_the_pool_nor_makes_it_infinite() -> None:
    game = Ensemble(n_targets=20, sizes=(1.0, 1.0, 1.0, 0.0))
    task = game.task(5.0)
    claim, a, b = game.claim(task), game.round(task, 300, 1), game.round(task, 300, 2)
    pooled = certify(task, claim, a, b, delta=0.05, across=Across.POOLED)
    assert pooled.upper_bound < 0.5
    each = certify(task, claim, a, b, delta=0.05, across=Across.EVERY)
    assert np.isinf(each.upper[3::4]).all()
    assert np.isfinite(each.upper[::4]).all()
    assert certify(task, claim, a, b, delta=0.05, across=Across.MEAN).upper_bound == np.inf


@pytest.mark.parametrize("level", [0.0, 1.0 / 3.0])
@pytest.mark.parametrize("p", [0.5, 0.3])
def test_targets_that_are_all_constant_have_no_relative_gap(p: float, level: float) -> None:
    game = Ensemble(n_targets=3, p=p, sizes=(0.0,), level=level)
    task = game.task(5.0)
    a, b = game.round(task, 50, 1), game.round(task, 50, 2)
    for across in Across:
        c = certify(task, game.claim(task), a, b, delta=0.05, across=across)
        assert c.upper_bound == np.inf
        assert c.lower_bound == 0.0


def test_a_target_that_is_0_throughout_the_pilot_still_has_a_bound() -> None:
    """f is 1 where five units are in and the sixth is not, else 0: half the pilots see nothing but 0."""
    task = task_of(N_UNITS, bound=1.0)

    def answered(n: int, seed: int, skip: int) -> Round:
        draw = Draw(seed=Seed(seed.to_bytes(32, "big")), design=pairs(n))
        x = draw.subsets(task, np.arange(draw.n_evaluations))
        outputs = (x[:, :5].all(axis=1) & ~x[:, 5]).astype(float)[:, None]
        outputs[: 2 * skip] = 0.0  # as if the pilot had seen none; what it saw is used for nothing else
        return Round(draw=draw, outputs=outputs, trained=np.arange(n), n_false=0, tolerance=0.0)

    n = 3000
    claim = Claim(task_digest=task.digest, intercepts=np.zeros(1), scores=np.zeros((1, N_UNITS)))
    c = certify(task, claim, answered(n, 1, pilot_pairs(n)), answered(n, 2, 0), delta=0.05)
    variance, gap = 1 / 64 - 1 / 64**2, 6 / 4 / 32**2
    assert 0.5 * variance < c.variance_lower[0] < variance, "in units of the half range, 1"
    assert gap / variance <= c.upper_bound < np.inf


# --------------------------------------------------------------------------------------- what the pilot fixes


def pilot_of(game: Ensemble, task: Task, n: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    round_ = game.round(task, n, seed)
    return round_.by_pair, round_.first_subsets(task, n)


def test_pooled_weights_come_from_the_outputs_alone_and_have_a_floor() -> None:
    game = Ensemble(n_targets=9, sizes=(1.0, 1.0, 1e-3))
    task = game.task(5.0)
    outputs, subsets = pilot_of(game, task, 50)
    found = [
        scale_of(task, game.claim(task, factor), outputs, subsets, Across.POOLED).scale for factor in (0.0, 1.0, 1e6)
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    seen = variances_seen(outputs)
    np.testing.assert_allclose(found[0][0::3], np.sqrt(seen[0::3]))
    np.testing.assert_allclose(found[0][2::3], np.sqrt(0.1 * np.median(seen)))


def test_other_scales_follow_the_claim_within_a_factor_of_what_the_pilot_saw() -> None:
    task = MANY.task(5.0)
    outputs, subsets = pilot_of(MANY, task, 100)
    seen = variances_seen(outputs)
    for across in (Across.MEAN, Across.EVERY):
        honest = scale_of(task, MANY.claim(task), outputs, subsets, across).scale
        np.testing.assert_allclose(honest, np.sqrt(0.96), rtol=1e-9)
        nothing, much = (scale_of(task, MANY.claim(task, f), outputs, subsets, across).scale for f in (0.0, 1e6))
        np.testing.assert_allclose(nothing**2, seen / 2)
        np.testing.assert_allclose(much**2, seen * 2)


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_variances_seen_are_unbiased(p: float) -> None:
    game = Ensemble(n_targets=3, p=p, shares=(0.5, 0.3, 0.2), sizes=(1.0, 2.0, 4.0))
    task = game.task(30.0)
    outputs, _ = pilot_of(game, task, 4000)
    found = np.array([variances_seen(part) for part in np.split(outputs, 400)])
    error = found.std(axis=0) / np.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - game.scale**2) < 4.5 * error).all()
    assert (variances_seen(np.full_like(outputs[:10], 1 / 3)) == 0).all()


def test_the_centre_makes_the_claims_intercept_irrelevant() -> None:
    game = dataclasses.replace(MANY, p=0.3, level=100.0)
    task = game.task(6.0)
    a, b = game.round(task, 100, 1), game.round(task, 100, 2)
    right, wrong = game.claim(task), game.claim(task)
    wrong = dataclasses.replace(wrong, intercepts=wrong.intercepts + 1e6)
    found = [certify(task, claim, a, b, delta=0.05).upper for claim in (right, wrong)]
    np.testing.assert_array_equal(*found)


def test_the_pilot_is_used_for_nothing_else() -> None:
    """Answers of the pilot that are larger in scale change units, and nothing in the targets' own unit but the cut."""
    task = ONE.task(8.0)
    claim, a, b = ONE.claim(task), ONE.round(task, 400, 1), ONE.round(task, 400, 2)
    skip = pilot_pairs(400)
    outputs = a.outputs.copy()
    outputs[: 2 * skip] *= 1.5
    loud = dataclasses.replace(a, outputs=outputs)
    found = []
    for round_ in (a, loud):
        scale = scale_of(task, claim, round_.by_pair[:skip], round_.first_subsets(task, skip), Across.POOLED).scale[0]
        found.append(certify(task, claim, round_, b, delta=0.05).variance_lower[0] * scale**2)
    assert found[1] == pytest.approx(found[0], rel=0.02)


def test_a_ball_reaches_beyond_its_largest_residual() -> None:
    sizes = np.array([[1.0, 0.0], [2.0, 0.0], [4.0, 0.0]])
    ball = ball_of(sizes)
    np.testing.assert_allclose(ball.radius, [4.0 + 3 * 2.0, 1e-9])
    np.testing.assert_allclose(ball.fourth, [(1 + 16 + 256) / 3e4, 0.0])


def test_the_pilot_is_a_tenth_of_a_round_or_a_little_more() -> None:
    assert [pilot_pairs(n) for n in (20, 40, 100, 200, 250, 1000)] == [10, 10, 25, 25, 25, 100]
