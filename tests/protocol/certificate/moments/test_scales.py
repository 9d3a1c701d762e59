"""What a pilot fixes: weights that owe nothing to the claim, floors, centres, and what is seen of the noise.

A simulated number is held against the exact quantiles of its law: a true one fails with probability below FALSE_ALARM.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from protocol.certificate.moments.scales import FLOOR, Scales, scales_of
from protocol.certificate.moments.tally import rows_of
from protocol.certificate.planning import GAUSSIAN_SD, Seen
from protocol.certificate.readings import Readings
from protocol.certificate.terms import Across
from protocol.game import Measure, SeedPolicy, Statement
from protocol.game.known import Alike, Linear, Polynomial, Stack
from tests.protocol.certificate.moments.worlds import World

FALSE_ALARM = 1e-4


def game_of(n_targets: int, p: float = 0.5, reach: float | np.ndarray = 3.0) -> Statement:
    half = np.broadcast_to(np.asarray(reach, dtype=np.float64), n_targets)
    return Statement(
        name="pilot", n_units=5, lo=-half, hi=np.array(half), measure=Measure(p_16=round(65536 * p)),
        seed_policy=SeedPolicy.SHARED,
    )  # fmt: skip


def pilot_of(
    output: np.ndarray, *, even: np.ndarray | None, linear: np.ndarray | None = None, p: float = 0.5
) -> Readings:
    """A pilot with these outputs, shape (B, s, T), of a claim with this linear part; 0 unless given."""
    linear = np.zeros_like(output) if linear is None else linear
    n_targets = output.shape[2]
    return Readings(
        output=output, linear=linear, even=even, claim_mean=np.zeros(n_targets),
        claim_variance=(linear**2).mean(axis=(0, 1)), rho=1.0, p=p,
    )  # fmt: skip


def drawn(seed: int, n_targets: int = 3, n_siblings: int = 1, p: float = 0.5) -> Readings:
    rng = np.random.default_rng(seed)
    shape = (10, n_siblings, n_targets)
    even = rng.standard_normal(shape) if p == 0.5 else None
    return pilot_of(rng.standard_normal(shape), even=even, linear=0.5 * rng.standard_normal(shape), p=p)


def sample_variance(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)


def naive_variance(pilot: Readings, t: int) -> float:
    """An output's variance, one number after the other."""
    b, s = pilot.n_families, pilot.n_siblings
    if pilot.even is None:
        return sample_variance([float(pilot.output[i, 0, t]) for i in range(b)])
    odd = sum(float(pilot.output[i, j, t]) ** 2 for i in range(b) for j in range(s)) / (b * s)
    return odd + sample_variance([float(pilot.even[i, 0, t]) for i in range(b)])


@pytest.mark.parametrize(("p", "n_siblings"), [(0.5, 1), (0.5, 2), (0.25, 1), (0.25, 2)])
def test_weights_are_those_of_a_loop(p: float, n_siblings: int) -> None:
    pilot = drawn(1, n_siblings=n_siblings, p=p)
    found = scales_of(game_of(3, p), pilot)
    raw = [naive_variance(pilot, t) for t in range(3)]
    floored = [max(v, FLOOR * sorted(raw)[1]) for v in raw]
    assert found.variance == pytest.approx(floored, rel=1e-12)
    assert found.weights == pytest.approx([1 / (3 * v) for v in floored], rel=1e-12)
    for t in range(3):
        mean = float(
            np.mean([pilot.output[b, j, t] - pilot.linear[b, j, t] for b in range(10) for j in range(n_siblings)])
        )
        assert found.centre[t] == (0.0 if p == 0.5 else pytest.approx(mean, abs=1e-12))


@given(st.sampled_from([0.0, 1e-300, 1e-3, 1.0, 1e20, 1e50]), st.integers(0, 100), st.sampled_from([0.5, 0.25]))
def test_no_claim_changes_a_weight(size: float, seed: int, p: float) -> None:
    """A prover that could would give weight 0 to the targets that its claim gets wrong."""
    pilot = drawn(2, p=p)
    claimed = replace(pilot, linear=size * np.random.default_rng(seed).standard_normal(pilot.linear.shape))
    ours, theirs = scales_of(game_of(3, p), pilot), scales_of(game_of(3, p), claimed)
    assert (ours.weights == theirs.weights).all()
    assert (ours.variance == theirs.variance).all()
    if p == 0.5:
        assert (theirs.centre == 0).all()


def seesaw(sizes: list[float]) -> Readings:
    """A pilot whose target t has odd variance ``sizes[t]``, exactly, and no even part."""
    signs = np.where(np.arange(10) % 2 == 0, 1.0, -1.0)
    output = signs[:, None, None] * np.sqrt(np.array(sizes))[None, None, :]
    return pilot_of(output, even=np.zeros_like(output))


@pytest.mark.parametrize(
    ("sizes", "floored"),
    [
        ([4.0, 1.0, 0.25], [4.0, 1.0, 0.25]),
        ([4.0, 1.0, 0.0], [4.0, 1.0, FLOOR]),
        ([4.0, 1.0, 0.09], [4.0, 1.0, FLOOR]),
        ([5.0, 0.0, 0.0], [5.0, 5 * FLOOR, 5 * FLOOR]),
        ([5.0, 2.0, 0.0, 0.0, 0.0], [5.0, 2.0, 5 * FLOOR, 5 * FLOOR, 5 * FLOOR]),
        ([0.0, 0.0], [9.0, 9.0]),
        ([1e-8], [1e-8]),
    ],
    ids=["none", "a constant target", "a small one", "most are constant", "three of five", "all are", "a lone one"],
)
def test_no_target_counts_as_less_than_a_tenth_of_a_typical_one(sizes: list[float], floored: list[float]) -> None:
    found = scales_of(game_of(len(sizes)), seesaw(sizes))
    assert found.variance == pytest.approx(floored, rel=1e-12)
    assert found.weights == pytest.approx(1 / (len(sizes) * np.array(floored)), rel=1e-12)


def test_a_target_whose_pilot_saw_no_rare_event_does_not_become_the_pool() -> None:
    """One of 20 targets shows nothing in half of all pilots: it may weigh ten typical targets, and no more."""
    rare = World(game=Stack((*(Linear(12, seed=s) for s in range(19)), Alike(12, 5))), scores=np.zeros((20, 12)))
    shares = []
    for seed in range(40):
        scales = scales_of(rare.statement, rare.pilot(np.random.default_rng(seed)))
        assert np.isfinite(scales.weights).all()
        shares.append(scales.weights[-1] / np.median(scales.weights))
    assert max(shares) == pytest.approx(1 / FLOOR, rel=0.01), "some pilot saw nothing, and the floor held"


def test_a_targets_unit_changes_its_weight_and_nothing_relative() -> None:
    pilot, factor = drawn(3), np.array([1e-6, 1.0, 1e6])
    scaled = replace(
        pilot,
        output=pilot.output * factor,
        linear=pilot.linear * factor,
        even=None if pilot.even is None else pilot.even * factor,
        claim_variance=pilot.claim_variance * factor**2,
    )
    alone = [scales_of(game_of(1), one_target(pilot, t)) for t in range(3)]
    together = [scales_of(game_of(1), one_target(scaled, t)) for t in range(3)]
    for mine, theirs, f in zip(alone, together, factor, strict=True):
        assert theirs.weights == pytest.approx(mine.weights / f**2, rel=1e-12)
        assert theirs.seen.residual == pytest.approx(mine.seen.residual, rel=1e-12)
        assert theirs.seen.explained == pytest.approx(mine.seen.explained, rel=1e-12)
    wide = scales_of(game_of(3), scaled)
    assert np.isfinite(wide.weights).all()
    assert (wide.weights > 0).all()
    assert wide.variance[0] == pytest.approx(FLOOR * wide.variance[1]), "units apart share one floor: no unit is 1e-6"


def one_target(pilot: Readings, t: int) -> Readings:
    return replace(
        pilot, output=pilot.output[:, :, [t]], linear=pilot.linear[:, :, [t]],
        even=None if pilot.even is None else pilot.even[:, :, [t]], claim_mean=pilot.claim_mean[[t]],
        claim_variance=pilot.claim_variance[[t]],
    )  # fmt: skip


# ---------------------------------------------------------------- what is seen, for planning


@pytest.mark.parametrize(("p", "n_siblings"), [(0.5, 2), (0.25, 2)])
def test_what_is_seen_is_that_of_a_loop(p: float, n_siblings: int) -> None:
    pilot = drawn(4, n_siblings=n_siblings, p=p)
    scales = scales_of(game_of(3, p), pilot)
    residual = noise = explained = odd = 0.0
    for t, weight in enumerate(scales.weights):
        r = [
            [float(pilot.output[b, j, t] - pilot.linear[b, j, t] - scales.centre[t]) for j in range(2)]
            for b in range(10)
        ]
        mean = 0.0 if p == 0.5 else float(pilot.output[:, :, t].mean())
        residual += weight * sum(x**2 for pair in r for x in pair) / 20
        noise += weight * sum(sample_variance(pair) for pair in r) / 10
        explained += weight * float(pilot.claim_variance[t])
        odd += weight * sum((float(pilot.output[b, 0, t]) - mean) ** 2 for b in range(10)) / 10
    seen = scales.seen
    assert seen.n_subsets == 10
    assert [seen.residual, seen.noise, seen.explained, seen.odd] == pytest.approx(
        [residual, noise, explained, odd], rel=1e-12
    )


def test_a_subset_that_was_trained_once_shows_no_noise() -> None:
    assert scales_of(game_of(3), drawn(5, n_siblings=1)).seen.noise == 0


@pytest.mark.parametrize("claimed", [0.0, 0.7, 1.0, 1.4])
@pytest.mark.parametrize("p", [0.5, 0.25])
def test_siblings_of_the_pilot_measure_the_noise_whatever_the_claim(p: float, claimed: float) -> None:
    """Two trainings of one subset differ by noise alone; a difference over complements halves its variance."""
    game, noise, n = Polynomial(12, 0.5, 0.3, 0.2, p=p), 0.6, 2000
    world = World(game=game, scores=claimed * game.best, noise=noise)
    readings, _ = world.readings(np.random.default_rng(6), n, n_siblings=2)
    scales = scales_of(world.statement, readings)
    found, own = scales.seen.noise / scales.weights[0], noise**2 / (2 if p == 0.5 else 1)
    low, high = stats.chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], n) / n
    assert own * low <= found <= own * high
    odd = game.w1 + game.w3 if p == 0.5 else game.variance
    residual = world.gap[0] + odd - game.w1 + own
    assert scales.seen.residual / scales.weights[0] == pytest.approx(residual, rel=0.15)
    assert scales.seen.odd / scales.weights[0] == pytest.approx(odd + own, rel=0.15)
    assert scales.variance[0] == pytest.approx(game.variance + noise**2, rel=0.15)


def test_relative_spreads_are_gaussian_for_one_target_and_kept_in_bounds_for_several() -> None:
    assert scales_of(game_of(1), drawn(7, 1)).seen.residual_sd == GAUSSIAN_SD
    assert scales_of(game_of(1), drawn(7, 1)).seen.output_sd == GAUSSIAN_SD
    for n_targets in (2, 9, 100):
        steady, wild = seesaw([1.0] * n_targets), seesaw([1.0] * n_targets)
        wild.output[0] *= 1000
        for pilot, expected in ((steady, GAUSSIAN_SD / math.sqrt(n_targets)), (wild, GAUSSIAN_SD)):
            assert scales_of(game_of(n_targets), pilot).seen.residual_sd == pytest.approx(expected, rel=1e-12)
    still = seesaw([0.0, 0.0])
    assert scales_of(game_of(2), still).seen.residual_sd == GAUSSIAN_SD


# ---------------------------------------------------------------- hostile claims


@pytest.mark.parametrize("across", list(Across))
@pytest.mark.parametrize("size", [0.0, 5e-324, 1e-160, 1e-150, 1e-100, 1e50], ids=lambda size: f"scores {size:g}")
@pytest.mark.parametrize("p", [0.5, 0.25])
def test_every_number_is_finite_whatever_the_claim(p: float, size: float, across: Across) -> None:
    """The warning of an overflow would fail this test, too."""
    game = Stack((Linear(6, p=p), Polynomial(6, 0.5, 0.2, 0.3, p=p)))
    for scores in (np.full((2, 6), size), np.stack([game.best[0], np.full(6, size)])):
        world = World(game=game, scores=scores, reach=5.0)
        pilot = world.pilot(np.random.default_rng(8))
        scales = scales_of(world.statement, pilot)
        assert_finite(scales)
        rows = rows_of(world.statement, pilot, scales, across)
        for name in ("weights", "claim_variance", "square", "length", "along", "spread"):
            assert np.isfinite(getattr(rows, name)).all()
        assert (rows.along_scale > 0).all()
        assert np.isfinite(rows.along_scale).all()
        assert (rows.square > 0).all()
        assert (rows.weights >= 0).all()


def assert_finite(scales: Scales) -> None:
    for name in ("weights", "centre", "variance"):
        assert np.isfinite(getattr(scales, name)).all()
    assert (scales.weights > 0).all()
    for name in Seen.__dataclass_fields__:
        assert math.isfinite(getattr(scales.seen, name))
