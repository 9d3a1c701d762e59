"""What a family adds: every array against loops, and every mean against enumeration of all bases and siblings."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.certificate.moments.certificate import certify, squares_shown
from protocol.certificate.moments.scales import Scales, scales_of
from protocol.certificate.moments.tally import (
    NO_VARIANCE,
    ROUNDING,
    Rows,
    Tally,
    along_claim,
    joined,
    rows_of,
    tally_of,
)
from protocol.certificate.readings import Readings, chosen
from protocol.certificate.terms import Across
from protocol.game.known import CharacterWhereAlike, Known, Linear, Polynomial, Stack, statement_of
from protocol.game.tilting import LAMBDAS, LARGEST_RATIO, UNIFORM_16, Tilts
from tests.protocol.certificate import enumeration
from tests.protocol.certificate.moments.worlds import World, first, table

ACROSS = list(Across)


def two_targets(p: float = 0.5, n_units: int = 6) -> World:
    game = Stack((Linear(n_units, 2.0, p=p), Polynomial(n_units, 0.5, 0.2, 0.3, p=p)))
    scores = game.best * np.array([[1.2], [0.6]]) + 0.1 * np.random.default_rng(1).standard_normal((2, n_units))
    return World(game=game, scores=scores, reach=6.0)


def fixed(world: World, across: Across, seed: int = 2) -> tuple[Readings, Scales, Rows]:
    pilot = world.readings(np.random.default_rng(seed), 10)[0]
    scales = scales_of(world.statement, pilot)
    return pilot, scales, rows_of(world.statement, pilot, scales, across)


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize("p", [0.5, 0.25])
@pytest.mark.parametrize("across", ACROSS)
def test_rows_are_those_of_a_loop(across: Across, p: float) -> None:
    world = two_targets(p)
    pilot, scales, rows = fixed(world, across)
    variance_g = [p * (1 - p) * sum(float(w) ** 2 for w in world.scores[t]) for t in range(2)]
    each = [[1 / float(scales.variance[0]), 0.0], [0.0, 1 / float(scales.variance[1])]]
    pooled = [[float(w) for w in scales.weights]]
    weights = pooled if across is Across.POOLED else each
    assert table(rows) == pytest.approx(np.array(weights), rel=1e-12)
    assert rows.n_rows == len(weights)
    assert rows.claim_variance == pytest.approx(
        [sum(w * v for w, v in zip(row, variance_g, strict=True)) for row in weights]
    )
    residual = pilot.output[:, 0] - pilot.linear[:, 0]
    spread = [sum((r - sum(residual[:, t]) / 10) ** 2 for r in residual[:, t]) / 10 for t in range(2)]
    assert rows.square == pytest.approx([sum(w * v for w, v in zip(row, spread, strict=True)) for row in weights])
    assert (np.abs(rows.origin) <= 6).all()
    assert rows.spread == pytest.approx(
        [sum(w * (6 + abs(float(c))) ** 2 for w, c in zip(row, rows.origin, strict=True)) for row in weights]
    )
    for a, row in enumerate(weights):
        length = math.sqrt(sum(w * v for w, v in zip(row, variance_g, strict=True)))
        z = [naive_along(pilot, scales, row, length, b) for b in range(10)]
        mean = sum(z) / 10
        assert rows.length[a] == pytest.approx(length)
        assert rows.along[a] == pytest.approx(mean)
        assert rows.along_scale[a] == pytest.approx(math.sqrt(sum((x - mean) ** 2 for x in z) / 9))


def naive_along(readings: Readings, scales: Scales, row: list[float], length: float, b: int) -> float:
    total = 0.0
    for j in range(readings.n_siblings):
        for t, w in enumerate(row):
            residual = readings.output[b, j, t] - readings.linear[b, j, t] - scales.centre[t]
            total += w * float(residual * readings.linear[b, j, t])
    return total / readings.n_siblings / length


@pytest.mark.parametrize("across", ACROSS)
def test_a_claim_that_varies_by_rounding_alone_has_no_variance(across: Across) -> None:
    world = two_targets()
    pilot, _, whole = fixed(world, across)
    assert pilot.even is not None
    size = float(np.abs(pilot.output[..., 1]).max() + np.abs(pilot.even[..., 1]).max())
    for share in (0.0, 1e-160, 0.9 * math.sqrt(NO_VARIANCE) * 6.0, 0.9 * ROUNDING * size):
        scores = world.scores.copy()
        scores[1] *= share / np.sqrt(0.25 * (scores[1] ** 2).sum())
        _, _, rows = fixed(replace(world, scores=scores), across)
        first_alone = rows.of(np.array([1.0, 0.0])) * 0.25 * (world.scores[0] ** 2).sum()
        assert rows.claim_variance == pytest.approx(first_alone, rel=1e-12, abs=0.0)
        assert rows.weights == pytest.approx(whole.weights, rel=1e-12), "no weight is the prover's"
    scores[1] *= 1.3
    if across is not Across.POOLED:  # where so little would not show
        assert fixed(replace(world, scores=scores), across)[2].claim_variance[1] > 0, "a little more counts"


@pytest.mark.parametrize("across", ACROSS)
def test_many_targets_take_no_table_of_targets_by_targets(across: Across) -> None:
    n_targets = 4000
    rng = np.random.default_rng(3)
    output = rng.standard_normal((10, 1, n_targets))
    pilot = Readings(
        output=output, linear=0 * output, even=output, claim_mean=np.zeros(n_targets),
        claim_variance=np.zeros(n_targets), rho=1.0, p=0.5,
    )  # fmt: skip
    game = statement_of(Linear(3), n_targets=n_targets, bound=9.0)
    scales = scales_of(game, pilot)
    tracemalloc.start()
    try:
        rows_of(game, pilot, scales, across)
        assert tracemalloc.get_traced_memory()[1] < 20 * output.nbytes
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------- twins


@pytest.mark.parametrize("across", ACROSS)
@pytest.mark.parametrize(
    ("p", "n_siblings", "tilted"),
    [(0.5, 1, False), (0.5, 1, True), (0.5, 3, True), (0.5, 3, False), (0.25, 1, False), (0.25, 2, False)],
)
def test_every_array_is_that_of_a_loop(p: float, n_siblings: int, tilted: bool, across: Across) -> None:
    world = two_targets(p)
    _, scales, rows = fixed(world, across)
    keep, n = (1.0 if n_siblings == 1 else 0.8), 7
    readings, ratio = world.readings(np.random.default_rng(4), n, n_siblings=n_siblings, keep=keep, tilted=tilted)
    largest = LARGEST_RATIO if tilted else 1.0
    found = tally_of(readings, scales, rows, ratio=ratio, largest_ratio=largest)
    rho = keep**2 if n_siblings > 1 else 1.0
    for b in range(n):
        weight = 1.0 if ratio is None else float(ratio[b])
        mean = [
            float((readings.output[b, :, t] - readings.linear[b, :, t]).mean() - scales.centre[t]) for t in range(2)
        ]
        for r, row in enumerate(table(rows)):
            assert found.squares[b, r] == pytest.approx(
                weight * sum(w * m**2 for w, m in zip(row, mean, strict=True)) / rho
            )
        for a, row in enumerate(table(rows)):
            along = naive_along(readings, scales, row.tolist(), float(rows.length[a]), b)
            assert found.along[b, a] == pytest.approx(weight * along)
            assert found.above[b, a] == pytest.approx(weight / largest * naive_above(readings, row.tolist(), b))
        for t in range(2):
            assert found.by_target[b, t] == pytest.approx(weight * mean[t] ** 2 / scales.variance[t] / rho)
    pairs = [(b, b) for b in range(n)] if p == 0.5 else [(b, b + 1) for b in range(0, n - 1, 2)]
    assert len(found.below) == len(pairs), "away from 1/2 two families make one value, and one is left over"
    for i, (one, other) in enumerate(pairs):
        weight = 1.0 if ratio is None else float(ratio[one])
        for r, row in enumerate(table(rows)):
            expected = weight * naive_below(readings, row.tolist(), one, other)
            assert found.below[i, r] == pytest.approx(expected)
    assert found.ratio == largest
    assert found.n_families == n


def naive_above(readings: Readings, row: list[float], b: int) -> float:
    """Squares about the range's middle, which is 0, over the range's square, which is 36."""
    total = 0.0
    for j in range(readings.n_siblings):
        for t, w in enumerate(row):
            square = float(readings.output[b, j, t]) ** 2
            total += w * (square + (0.0 if readings.even is None else float(readings.even[b, j, t]) ** 2))
    return total / readings.n_siblings / (36 * sum(row))


def naive_below(readings: Readings, row: list[float], one: int, other: int) -> float:
    total = 0.0
    for j in range(readings.n_siblings):
        for t, w in enumerate(row):
            r = [float(readings.output[b, j, t] - readings.linear[b, j, t]) for b in (one, other)]
            total += w * (r[0] ** 2 if one == other else (r[0] - r[1]) ** 2 / 2)
    return total / readings.n_siblings


# ---------------------------------------------------------------- means, by enumeration

N = 4
SUBSETS = enumeration.every_subset(N)


def mixture(scores: np.ndarray) -> np.ndarray:
    """The chance of every base when some are tilted, bit after bit."""
    tables, uniform = Tilts(scores).thresholds(np.arange(len(scores))), UNIFORM_16 / 65536
    chances = []
    for base in SUBSETS:
        tilted = [
            math.prod(float(q) / 65536 if bit else 1 - float(q) / 65536 for bit, q in zip(base, row, strict=True))
            for table in tables
            for row in table
        ]
        chances.append(uniform / 2**N + (1 - uniform) * sum(tilted) / len(tilted))
    assert len(tilted) == len(scores) * len(LAMBDAS)
    return np.array(chances)


def kept(keep: float) -> np.ndarray:
    """The chance of every sibling given every base, shape (2^N, 2^N)."""
    same = SUBSETS[:, None, :] == SUBSETS[None, :, :]
    return np.asarray(np.where(same, keep + (1 - keep) / 2, (1 - keep) / 2).prod(axis=2))


def every_family(
    world: World, scales: Scales, rows: Rows, n_siblings: int, keep: float
) -> tuple[Tally, np.ndarray, np.ndarray]:
    """Each family there is: what it adds, its chance when bases are tilted, and when none is."""
    index = np.array(list(itertools.product(range(2**N), repeat=1 + n_siblings)))
    base, siblings = SUBSETS[index[:, 0]], SUBSETS[index[:, 1:]]
    flat = siblings.reshape(-1, N)
    ours, theirs = world.game.outputs(flat), world.game.outputs(~flat)
    shape = (len(index), n_siblings, len(world.scores))
    readings = Readings(
        output=((ours - theirs) / 2).reshape(shape),
        linear=((flat - 0.5) @ world.scores.T).reshape(shape),
        even=((ours + theirs) / 2).reshape(shape),
        claim_mean=world.scores.sum(axis=1) / 2,
        claim_variance=(world.scores**2).sum(axis=1) / 4,
        rho=keep**2 if n_siblings > 1 else 1.0,
        p=0.5,
    )
    given_base = np.prod([kept(keep)[index[:, 0], index[:, 1 + j]] for j in range(n_siblings)], axis=0)
    ratio = Tilts(world.scores).likelihood(base)
    found = tally_of(readings, scales, rows, ratio=ratio, largest_ratio=LARGEST_RATIO)
    return found, mixture(world.scores)[index[:, 0]] * given_base, given_base / 2**N


CLAIMS = {
    "near": np.array([[1.2, -0.4, 0.6, 0.1], [0.3, 0.9, 0.2, -0.5]]),
    "one unit": np.array([[3.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1e-3]]),
    "zero": np.zeros((2, 4)),
    "huge": np.array([[1e12, 1.0, -1e12, 0.0], [0.0, 1.0, 1.0, 1.0]]),
}


@pytest.mark.parametrize(("n_siblings", "keep"), [(1, 65535 / 65536), (1, 0.0), (2, 0.75), (2, 65535 / 65536)])
@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("across", [Across.POOLED, Across.EVERY])
def test_tilted_bases_leave_every_mean_as_it_is(claim: str, n_siblings: int, keep: float, across: Across) -> None:
    """Summed over all bases and siblings; a claim of 1e12 leaves sums of squares exact to its own rounding."""
    game = Stack((Polynomial(N, 0.5, 0.2, 0.3), CharacterWhereAlike(N, 2)))
    world = World(game=game, scores=CLAIMS[claim], reach=5.0)
    _, scales, rows = fixed(world, across)
    found, tilted, uniform = every_family(world, scales, rows, n_siblings, keep)
    assert tilted.sum() == pytest.approx(1, abs=1e-12)
    plain = tally_of(
        readings := unweighted(world, n_siblings, keep), scales, rows
    )  # the same families without a weight
    assert readings.n_families == found.n_families
    for name in ("squares", "along", "below", "above", "by_target"):
        ours, theirs = getattr(found, name), getattr(plain, name)
        range_ = found.ratio if name == "above" else 1.0
        scale = np.abs(theirs).max(initial=1e-300)
        assert (tilted @ ours) * range_ / scale == pytest.approx(uniform @ theirs / scale, abs=1e-12)
    is_tilted = np.abs(found.squares - plain.squares).max() > 0
    assert is_tilted == (claim in {"near", "huge"}), (
        "a lone unit is in or out of a base or its complement whatever the tilt"
    )


def unweighted(world: World, n_siblings: int, keep: float) -> Readings:
    index = np.array(list(itertools.product(range(2**N), repeat=1 + n_siblings)))
    flat = SUBSETS[index[:, 1:]].reshape(-1, N)
    ours, theirs = world.game.outputs(flat), world.game.outputs(~flat)
    shape = (len(index), n_siblings, len(world.scores))
    return Readings(
        output=((ours - theirs) / 2).reshape(shape), linear=((flat - 0.5) @ world.scores.T).reshape(shape),
        even=((ours + theirs) / 2).reshape(shape), claim_mean=world.scores.sum(axis=1) / 2,
        claim_variance=(world.scores**2).sum(axis=1) / 4, rho=keep**2 if n_siblings > 1 else 1.0, p=0.5,
    )  # fmt: skip


@pytest.mark.parametrize(("n_siblings", "keep"), [(1, 65535 / 65536), (2, 0.75), (2, 0.9)])
def test_the_mean_square_is_what_theory_says_and_at_least_the_gap(n_siblings: int, keep: float) -> None:
    """E Y = (v + (s-1) A) / (s rho), A = sum_d rho^d W_d of the odd residual, all by enumeration; W_1 is the gap."""
    game = Polynomial(N, 0.5, 0.2, 0.3)
    world = World(game=game, scores=CLAIMS["near"][:1], reach=5.0)
    _, scales, rows = fixed(world, Across.POOLED)
    found, tilted, _ = every_family(world, scales, rows, n_siblings, keep)
    f = enumeration.values_of(game.outputs, N)
    residual = (f - f[::-1]) / 2 - (SUBSETS - 0.5) @ world.scores[
        0
    ]  # the complement of subset i is the ith from the end
    w = enumeration.weights(residual, N, 0.5)
    rho = keep**2 if n_siblings > 1 else 1.0
    between = sum(rho**d * w[d] for d in range(N + 1))
    expected = (w.sum() + (n_siblings - 1) * between) / n_siblings / rho
    mean = float(tilted @ found.squares[:, 0]) / rows.weights[0]
    assert mean == pytest.approx(expected, rel=1e-11)
    assert w[1] == pytest.approx(world.gap[0], rel=1e-11)
    assert mean >= w[1]


@pytest.mark.parametrize("claim", CLAIMS)
def test_what_is_bounded_is_on_its_side_of_the_truth(claim: str) -> None:
    """By enumeration: along is the residual along the claim, below E r^2, above Var f and the mean's offset."""
    game = Stack((Polynomial(N, 0.5, 0.2, 0.3), CharacterWhereAlike(N, 2)))
    world = World(game=game, scores=CLAIMS[claim], reach=5.0)
    for across in (Across.POOLED, Across.EVERY):
        _, scales, rows = fixed(world, across)
        found, tilted, _ = every_family(world, scales, rows, 1, 65535 / 65536)
        f = game.outputs(SUBSETS)
        odd, g = (f - f[::-1]) / 2, (SUBSETS - 0.5) @ world.scores.T
        r2, f2 = ((odd - g) ** 2).mean(axis=0), ((f - rows.origin) ** 2).mean(axis=0)
        assert tilted @ found.below == pytest.approx(rows.of(r2), rel=1e-11)
        assert (tilted @ found.above) * found.ratio * rows.spread == pytest.approx(rows.of(f2), rel=1e-11)
        inner = rows.of(((odd - g) * g).mean(axis=0))
        along = np.divide(inner, rows.length, out=np.zeros_like(inner), where=rows.length > 0)
        size = max(1.0, float(np.abs(found.along).max()))
        assert (tilted @ found.along) / size == pytest.approx(along / size, abs=1e-11)
        gaps = rows.of(world.gap)
        assert (along**2 <= gaps * (1 + 1e-9)).all(), "by Cauchy and Schwarz"


@pytest.mark.parametrize("p", [0.25, 0.75])
def test_away_from_one_half_the_mean_square_is_at_least_the_gap_whatever_the_centre(p: float) -> None:
    """E (m - c)^2 = Var m + (E m - c)^2, over all subsets; half a squared difference has mean Var r."""
    game = Polynomial(N, 0.5, 0.2, 0.3, p=p)
    world = World(game=game, scores=CLAIMS["near"][:1], reach=9.0)
    pilot, scales, rows = fixed(world, Across.POOLED)
    chances = enumeration.probabilities(N, p)
    output, linear = game.outputs(SUBSETS), (SUBSETS - p) @ world.scores.T
    readings = replace(pilot, output=output[:, None], linear=linear[:, None])
    for centre in (scales.centre, scales.centre + 3.0):
        found = tally_of(readings, replace(scales, centre=centre), rows)
        w = enumeration.weights((output - linear)[:, 0], N, p)
        offset = float(chances @ (output - linear)[:, 0] - centre[0])
        mean = float(chances @ found.squares[:, 0]) / rows.weights[0]
        assert mean == pytest.approx(w[1:].sum() + offset**2, rel=1e-11)
        assert mean >= world.gap[0]
    pairs = np.array(list(itertools.product(range(2**N), repeat=2))).ravel()
    paired = tally_of(chosen(readings, pairs), scales, rows)
    both = (chances[:, None] * chances[None, :]).ravel()
    below = float(both @ paired.below[:, 0]) / rows.weights[0]
    assert below == pytest.approx(w[1:].sum(), rel=1e-11)


# ---------------------------------------------------------------- ranges


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([0.5, 0.25]),
    st.sampled_from(ACROSS),
    st.sampled_from([0.0, 1e-100, 1e-6, 1.0, 1e50]),
    st.integers(1, 3),
    st.integers(0, 10**6),
)
def test_what_is_bet_on_is_between_0_and_1(p: float, across: Across, size: float, n_siblings: int, seed: int) -> None:
    """Whatever the claim, the tilts, and outputs anywhere in their range, its ends included."""
    rng = np.random.default_rng(seed)
    world = replace(two_targets(p), scores=size * rng.standard_normal((2, 6)))
    _, scales, rows = fixed(world, across, seed)
    drawn, ratio = world.readings(rng, 8, n_siblings=n_siblings, keep=0.7, tilted=p == 0.5)
    ours, theirs = (np.clip(9 * rng.standard_normal(drawn.output.shape), -6.0, 6.0) for _ in range(2))
    hostile = replace(
        drawn, output=(ours - theirs) / 2 if p == 0.5 else ours, even=(ours + theirs) / 2 if p == 0.5 else None
    )  # fmt: skip
    found = tally_of(hostile, scales, rows, ratio=ratio, largest_ratio=LARGEST_RATIO if p == 0.5 else 1.0)
    assert (found.above >= 0).all()
    assert (found.above <= 1 + 1e-12).all()
    for values in (found.below, found.squares):
        assert (values >= 0).all()
        assert np.isfinite(values).all()


def test_the_largest_values_reach_1() -> None:
    """Outputs at an end of the range, the largest ratio."""
    world = two_targets()
    _, scales, rows = fixed(world, Across.POOLED)
    drawn, _ = world.readings(np.random.default_rng(5), 3)
    full = replace(
        drawn, output=np.full_like(drawn.output, 6.0), even=np.zeros_like(drawn.output), linear=0 * drawn.linear
    )
    found = tally_of(
        full, scales, rows, ratio=np.full(3, LARGEST_RATIO), largest_ratio=LARGEST_RATIO
    )  # fmt: skip
    assert found.above == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("p", [0.5, 0.25])
@pytest.mark.parametrize("offset", [-4.0, -0.1, 0.0, 0.1, 4.0])
def test_squares_are_taken_about_the_point_that_costs_least(p: float, offset: float) -> None:
    """Of all points between the middle and the pilot's mean, by a grid; outputs are moved by ``offset``."""
    world = two_targets(p)
    drawn = world.readings(np.random.default_rng(2), 10)[0]
    moved = replace(drawn, even=drawn.even + offset) if drawn.even is not None else replace(
        drawn, output=drawn.output + offset
    )  # fmt: skip
    rows = rows_of(world.statement, moved, scales_of(world.statement, moved), Across.POOLED)
    for t in range(2):
        mean = float((moved.output if moved.even is None else moved.even)[..., t].mean())
        grid = np.linspace(-6, 6, 120_001)
        cost = (mean - grid) ** 2 + (6 + np.abs(grid)) ** 2 / 16
        assert rows.origin[t] == pytest.approx(grid[cost.argmin()], abs=2e-4)


def test_a_pilot_without_a_residual_leaves_a_guess_that_is_not_0() -> None:
    game = Linear(6)
    world = World(game=game, scores=game.best)
    exact = world.pilot(np.random.default_rng(6))
    exact = replace(exact, linear=exact.output)
    scales = scales_of(world.statement, exact)
    rows = rows_of(world.statement, exact, scales, Across.POOLED)
    assert (rows.square > 0).all()
    assert (rows.square <= 1e-8 * rows.of(scales.variance)).all()
    same = tally_of(exact, scales, rows)
    assert squares_shown(same, rows, delta=0.05).tolist() == [0.0]
    drawn, _ = replace(world, scores=0.5 * game.best).readings(np.random.default_rng(7), 100)
    other = tally_of(drawn, scales, rows)
    shown = squares_shown(other, rows, delta=0.05)
    assert 0.3 * other.below.mean() < shown[0] < other.below.mean(), "a guess that is far off costs width alone"


def test_a_zero_claim_has_no_direction() -> None:
    world = two_targets()
    pilot, scales, rows = fixed(replace(world, scores=0 * world.scores), Across.EVERY)
    assert (along_claim(pilot, scales, rows, rows.length) == 0).all()
    assert (rows.along_scale > 0).all()


# ---------------------------------------------------------------- looks


@pytest.mark.parametrize("across", ACROSS)
def test_looks_are_one_tally_in_the_order_of_their_families(across: Across) -> None:
    world = two_targets()
    _, scales, rows = fixed(world, across)
    readings, ratio = world.readings(np.random.default_rng(8), 90, tilted=True)
    assert ratio is not None
    whole = tally_of(readings, scales, rows, ratio=ratio, largest_ratio=LARGEST_RATIO)
    cuts = [np.arange(0, 40), np.arange(40, 41), np.arange(41, 90)]
    parts = [
        tally_of(chosen(readings, part), scales, rows, ratio=ratio[part], largest_ratio=LARGEST_RATIO) for part in cuts
    ]
    found = joined(parts)
    for name in ("squares", "along", "below", "above", "by_target"):
        assert getattr(found, name) == pytest.approx(getattr(whole, name), rel=1e-13)
    assert found.ratio == LARGEST_RATIO
    bounds = [
        certify(
            tally, rows, across=across, kurtosis=6.0, delta=0.05, horizon=90, n_siblings=1, rho=1.0, n_pilot=10
        ).upper.tolist()
        for tally in (whole, found, first(joined([*parts, parts[0]]), 90))
    ]  # fmt: skip
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-12)
    assert bounds[0] == pytest.approx(bounds[2], rel=1e-12)


def test_worlds_are_what_the_enumeration_says() -> None:
    """The helper's own mean square, tilted and not, is that of the sum over all families, but for its error."""
    game: Known = Polynomial(N, 0.5, 0.2, 0.3)
    world = World(game=game, scores=CLAIMS["near"][:1], reach=5.0)
    _, scales, rows = fixed(world, Across.POOLED)
    found, tilted, _ = every_family(world, scales, rows, 2, 0.75)
    exact = float(tilted @ found.squares[:, 0])
    for is_tilted in (True, False):
        readings, ratio = world.readings(np.random.default_rng(9), 20_000, n_siblings=2, keep=0.75, tilted=is_tilted)
        drawn = tally_of(readings, scales, rows, ratio=ratio, largest_ratio=LARGEST_RATIO).squares[:, 0]
        assert abs(drawn.mean() - exact) <= 4 * drawn.std() / math.sqrt(20_000)
