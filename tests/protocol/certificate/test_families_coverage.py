"""The families certificate's bounds fail no more often than delta, for claims built to make them fail.

Fixed seeds. A case fails when its misses exceed what Binomial(runs, delta) exceeds once in 10,000: with 200 runs at
delta = 0.05 that is 23 of them (0.115), with the slow 1,500 it is 108 (0.072). A certificate without its defence misses
far more, which some tests show by taking it away.

Known limit: the lower bound on a gap many times Var f is as noisy as Var f itself, whose upper bound is Student's on a
skewed mean. For "one unit enormous" it misses up to 0.11 of the time, at 200 times any epsilon below 1, where nothing
hangs on it; it is left out of what the lower bound is held to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jaxtyping
import numpy as np
import pytest
from scipy import stats

from protocol import harmonic
from protocol.certificate import families
from protocol.certificate.families import certify
from protocol.certificate.terms import Across
from tests.games import Majority, Polynomial
from tests.protocol.certificate.simulate import Shift, World

DELTA = 0.05
FALSE_ALARM = 1e-4
RUNS, MANY_RUNS = 200, 1500
N = 20


@pytest.fixture(autouse=True)
def _no_shape_checks() -> Iterator[None]:
    """Five times faster; shapes are checked in test_families.py, and are the same here."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """How often the bounds of many challenges were wrong, and how often the claim was accepted at epsilon = 0.05."""

    n_runs: int
    below_upper: int
    above_lower: int
    accepted: int


def judge(
    world: World, gaps: np.ndarray, across: Across, *, n_runs: int = RUNS, tolerance: float = 0.0,
    believed: float | None = None, shift: Shift | None = None, seed: int = 1,
) -> Judged:  # fmt: skip
    """Certify ``n_runs`` challenges; ``gaps`` are the true relative gaps, one a target.

    believed : the tolerance that the certificate allows for, by default the true one.
    """
    rng = np.random.default_rng(seed)
    below = above = accepted = 0
    for _ in range(n_runs):
        readings = world.readings(rng, shift)
        found = certify(readings, delta=DELTA, across=across, tolerance=tolerance if believed is None else believed)
        true = gaps if across is Across.EVERY else gaps.mean(keepdims=True)
        below += bool((found.upper < true - 1e-12).any())
        above += bool((found.lower > true + 1e-12).any())
        accepted += found.upper_bound <= 0.05
    return Judged(n_runs=n_runs, below_upper=below, above_lower=above, accepted=accepted)


def most_misses(n_runs: int) -> int:
    return int(stats.binom.ppf(1 - FALSE_ALARM, n_runs, DELTA))


def assert_upper_holds(judged: Judged) -> None:
    most = most_misses(judged.n_runs)
    assert judged.below_upper <= most, f"upper bound below the gap in {judged.below_upper} of {judged.n_runs} runs"


def assert_holds(judged: Judged) -> None:
    assert_upper_holds(judged)
    most = most_misses(judged.n_runs)
    assert judged.above_lower <= most, f"lower bound above the gap in {judged.above_lower} of {judged.n_runs} runs"


def polynomial(p: float) -> Polynomial:
    return Polynomial(n_units=N, w1=0.85, w2=0.1, w3=0.05, p=p)


def error_of(size: float, direction: np.ndarray, p: float) -> np.ndarray:
    """Weights whose gap is ``size``, along ``direction``."""
    unit = direction / np.linalg.norm(direction)
    return harmonic.weights_from_coefficients(np.sqrt(size) * unit, p)[None]


CLAIMS: dict[str, Callable[[Polynomial], np.ndarray]] = {
    "honest": lambda game: game.best,
    "scaled by 0.9": lambda game: game.best * 0.9,
    "halved": lambda game: game.best * 0.5,
    "zero": lambda game: game.best * 0,
    "tripled": lambda game: game.best * 3,
    "one unit favoured": lambda game: game.best + error_of(0.06, np.eye(N)[0], game.p),
    "one unit alone": lambda game: game.best + error_of(1.0, np.eye(N)[0], game.p),
    "one unit enormous": lambda game: game.best + error_of(300.0, np.eye(N)[0], game.p),
    "random direction": lambda game: game.best + error_of(0.06, np.random.default_rng(3).standard_normal(N), game.p),
}
LOWER_TOO = [claim for claim in CLAIMS if claim != "one unit enormous"]
DESIGNS = {"15 of 2": (15, 2, 0.7), "25 of 2": (25, 2, 0.5), "25 of 8": (25, 8, 0.3)}


def judged_claim(claim: str, p: float, design: tuple[int, int, float], n_runs: int) -> Judged:
    game = polynomial(p)
    n_families, n_siblings, rho = design
    scores = CLAIMS[claim](game)
    world = World(
        outputs=game.outputs, scores=scores, p=p, n_families=n_families, n_siblings=n_siblings, rho=rho
    )  # fmt: skip
    return judge(world, harmonic.gap(scores, game.best, p) / game.variance, Across.MEAN, n_runs=n_runs)


@pytest.mark.parametrize("claim", CLAIMS)
def test_bounds_hold_at_p_one_half(claim: str) -> None:
    judged = judged_claim(claim, 0.5, DESIGNS["25 of 2"], RUNS)
    (assert_holds if claim in LOWER_TOO else assert_upper_holds)(judged)


@pytest.mark.parametrize("claim", LOWER_TOO)
def test_bounds_hold_at_another_p_without_heavy_tails(claim: str) -> None:
    assert_holds(judged_claim(claim, 0.3, (50, 4, 0.2), RUNS))


@pytest.mark.parametrize("claim", CLAIMS)
def test_upper_bounds_hold_where_units_are_rare(claim: str) -> None:
    assert_upper_holds(judged_claim(claim, 0.05, (50, 4, 0.2), RUNS))


@pytest.mark.slow
@pytest.mark.parametrize("design", ["15 of 2", "25 of 8"])
@pytest.mark.parametrize("claim", ["scaled by 0.9", "halved", "one unit favoured", "random direction"])
def test_bounds_hold_at_p_one_half_in_many_runs(claim: str, design: str) -> None:
    assert_holds(judged_claim(claim, 0.5, DESIGNS[design], MANY_RUNS))


@pytest.mark.slow
@pytest.mark.parametrize("p", [0.3, 0.1])
@pytest.mark.parametrize("claim", ["one unit favoured", "random direction"])
def test_upper_bounds_of_acceptable_sizes_hold_at_another_p_in_many_runs(claim: str, p: float) -> None:
    assert_upper_holds(judged_claim(claim, p, (50, 4, 0.2), MANY_RUNS))


@pytest.mark.parametrize("claim", ["scaled by 0.9", "halved", "tripled", "one unit favoured"])
def test_bounds_hold_with_hardly_any_families(claim: str) -> None:
    assert_holds(judged_claim(claim, 0.5, (3, 2, 0.5), RUNS))


def test_bounds_hold_for_majority() -> None:
    """All odd degrees at once: a claim of nothing, and the best one."""
    game = Majority(n_units=21)
    for scores in (game.best * 0, game.best):
        world = World(outputs=game.outputs, scores=scores, p=0.5, n_families=20, n_siblings=4, rho=0.4)
        assert_holds(judge(world, harmonic.gap(scores, game.best, 0.5) / game.variance, Across.MEAN))


N_TARGETS = 12


def many_targets(claim: str) -> tuple[World, np.ndarray]:
    """Targets that share half of their linear part, each with degrees of its own, and claims that err in three ways."""
    games = [polynomial(0.5) for _ in range(N_TARGETS)]
    orders = [np.random.default_rng(t).permutation(N) for t in range(N_TARGETS)]
    scale = np.linspace(0.5, 20, N_TARGETS)

    def outputs(subsets: np.ndarray) -> np.ndarray:
        return np.hstack([
            s * game.outputs(subsets[:, order]) for s, game, order in zip(scale, games, orders, strict=True)
        ])  # fmt: skip

    best = np.zeros((N_TARGETS, N))
    for t, (game, order) in enumerate(zip(games, orders, strict=True)):
        best[t, order] = scale[t] * game.best[0]
    rng, error = np.random.default_rng(8), np.zeros((N_TARGETS, N))
    if claim == "one target":
        error[0] = error_of(1.2, rng.standard_normal(N), 0.5)[0] * scale[0]
    elif claim == "one direction":
        error += error_of(0.1, rng.standard_normal(N), 0.5) * scale[:, None]
    else:
        for t in range(N_TARGETS):
            error[t] = error_of(0.1, rng.standard_normal(N), 0.5)[0] * scale[t]
    world = World(outputs=outputs, scores=best + error, p=0.5, n_families=16, n_siblings=2, rho=0.5)
    return world, harmonic.gap(best + error, best, 0.5) / (scale**2 * games[0].variance)


@pytest.mark.parametrize("across", Across)
@pytest.mark.parametrize("claim", ["one target", "one direction", "every target its own"])
def test_bounds_hold_over_many_targets(claim: str, across: Across) -> None:
    world, gaps = many_targets(claim)
    assert gaps.mean() == pytest.approx(0.1, rel=1e-9)
    assert_holds(judge(world, gaps, across))


@pytest.mark.slow
@pytest.mark.parametrize("claim", ["one target", "one direction", "every target its own"])
def test_bounds_hold_over_many_targets_in_many_runs(claim: str) -> None:
    world, gaps = many_targets(claim)
    assert_holds(judge(world, gaps, Across.MEAN, n_runs=MANY_RUNS))


TOLERANCE = 0.12  # of a sd of f of 1: enormous, so that what it buys is seen


def to_each_side(odd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both answers of a pair moved against each other, each by no more than the tolerance."""
    moved = np.clip(odd, -TOLERANCE, TOLERANCE)
    return moved, -moved


ATTACKS: dict[str, Shift] = {
    "every residual towards zero": lambda residual, _: to_each_side(-residual),
    "every residual against its family's mean": lambda residual, _: to_each_side(
        np.broadcast_to(-1e9 * np.sign(residual.mean(axis=1, keepdims=True)), residual.shape)
    ),
    "family means to nothing": lambda residual, _: to_each_side(
        np.broadcast_to(-residual.mean(axis=1, keepdims=True), residual.shape)
    ),
    "outputs apart, to raise their variance": lambda _, odd: to_each_side(1e9 * np.sign(odd)),
    "siblings apart": lambda residual, _: to_each_side(
        1e9 * (residual - residual.mean(axis=1, keepdims=True)) - residual.mean(axis=1, keepdims=True)
    ),
}


def attacked(attack: str, p: float, believed: float) -> Judged:
    game = polynomial(p)
    scores = game.best + error_of(0.06, np.random.default_rng(3).standard_normal(N), p)
    world = World(outputs=game.outputs, scores=scores, p=p, n_families=40, n_siblings=4, rho=0.3)
    gaps = harmonic.gap(scores, game.best, p) / game.variance
    return judge(world, gaps, Across.MEAN, tolerance=TOLERANCE, believed=believed, shift=ATTACKS[attack])


@pytest.mark.parametrize("p", [0.5, 0.3])
@pytest.mark.parametrize("attack", ATTACKS)
def test_the_upper_bound_holds_against_answers_shifted_within_the_tolerance(attack: str, p: float) -> None:
    assert_upper_holds(attacked(attack, p, TOLERANCE))


def test_without_its_allowance_the_tolerance_would_buy_a_pass() -> None:
    assert attacked("family means to nothing", 0.5, 0.0).below_upper > most_misses(RUNS)


def test_without_their_price_rare_units_would_buy_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many degrees of freedom at p = 0.05 as if characters were Gaussian: one unit holds the whole error."""
    monkeypatch.setattr(families, "degrees_of_freedom", lambda b, s, _: (b - 1.0, b * (s - 1.0)))
    assert judged_claim("one unit alone", 0.05, (50, 4, 0.2), RUNS).below_upper > most_misses(RUNS)


def test_a_good_claim_is_accepted_and_a_bad_one_is_not() -> None:
    """What the bounds are for: power, not only validity."""
    game = Polynomial(n_units=N, w1=0.97, w2=0.02, w3=0.01)
    world = World(outputs=game.outputs, scores=game.best * 0.98, p=0.5, n_families=25, n_siblings=4, rho=0.5)
    good = judge(world, harmonic.gap(world.scores, game.best, 0.5) / game.variance, Across.MEAN)
    assert good.accepted >= stats.binom.ppf(FALSE_ALARM, RUNS, 0.95)
    bad = World(outputs=game.outputs, scores=game.best * 0.7, p=0.5, n_families=25, n_siblings=4, rho=0.5)
    judged = judge(bad, harmonic.gap(bad.scores, game.best, 0.5) / game.variance, Across.MEAN)
    assert judged.accepted <= most_misses(RUNS)
