"""The Gaussian certificate's bounds fail no more often than delta, for claims built to make them fail.

Fixed seeds. A case fails when its misses exceed what Binomial(runs, delta) exceeds once in 10,000: with 200 runs at
delta = 0.05 that is 23 of them (0.115), with the slow 1,500 it is 108 (0.072). A certificate without its defence misses
far more, which some tests show by taking it away.

What is known to miss is tested, too, so that no document promises more: events that most samples do not meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from unittest.mock import patch

import jaxtyping
import numpy as np
import pytest
from scipy import stats

from protocol.certificate.gaussian import families, output_variance
from protocol.certificate.gaussian.families import certify
from protocol.certificate.readings import Readings
from protocol.certificate.terms import Across
from protocol.game import harmonic
from protocol.game.known import Majority, Polynomial
from tests.protocol.certificate.simulate import World

DELTA = 0.05
FALSE_ALARM = 1e-4
RUNS, MANY_RUNS = 200, 1500
N = 20
HALF_RANGE = 6.0  # of outputs whose variance is 1; a few in ten million lie beyond


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


def as_estimated(readings: Readings, *_: object) -> np.ndarray:
    """Var f as estimated, in place of what it is at most."""
    return output_variance.estimate(readings).variance


def judge(
    world: World, gaps: np.ndarray, across: Across, *, n_runs: int = RUNS, half_range: float = HALF_RANGE,
    upper_only: bool = False,
) -> Judged:  # fmt: skip
    """Certify ``n_runs`` challenges; ``gaps`` are the true relative gaps, one a target.

    upper_only : leave out Var f from above, which takes most of the time and serves the lower bound alone.
    """
    if upper_only:
        with patch.object(output_variance, "upper", as_estimated):
            return judge(world, gaps, across, n_runs=n_runs, half_range=half_range)
    rng = np.random.default_rng(1)
    below = above = accepted = 0
    ends = np.full(len(world.scores), half_range)
    for _ in range(n_runs):
        found = certify(world.readings(rng), delta=DELTA, across=across, lo=-ends, hi=ends)
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
DESIGNS = {"25 of 2": (25, 2, 0.5), "25 of 8": (25, 8, 0.3)}


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
    assert_holds(judged_claim(claim, 0.5, DESIGNS["25 of 2"], RUNS))


@pytest.mark.parametrize("claim", CLAIMS)
def test_bounds_hold_at_another_p_without_heavy_tails(claim: str) -> None:
    assert_holds(judged_claim(claim, 0.3, (50, 4, 0.2), RUNS))


@pytest.mark.parametrize("claim", CLAIMS)
def test_upper_bounds_hold_where_units_are_rare(claim: str) -> None:
    assert_upper_holds(judged_claim(claim, 0.05, (50, 4, 0.2), RUNS))


@pytest.mark.slow
@pytest.mark.parametrize("design", ["25 of 2", "25 of 8"])
@pytest.mark.parametrize("claim", ["scaled by 0.9", "halved", "one unit favoured", "random direction"])
def test_bounds_hold_at_p_one_half_in_many_runs(claim: str, design: str) -> None:
    assert_holds(judged_claim(claim, 0.5, DESIGNS[design], MANY_RUNS))


@pytest.mark.slow
@pytest.mark.parametrize("p", [0.3, 0.1])
@pytest.mark.parametrize("claim", ["one unit favoured", "random direction"])
def test_upper_bounds_of_acceptable_sizes_hold_at_another_p_in_many_runs(claim: str, p: float) -> None:
    assert_upper_holds(judged_claim(claim, p, (50, 4, 0.2), MANY_RUNS))


def test_bounds_hold_for_majority() -> None:
    """All odd degrees at once: a claim of nothing, and the best one."""
    game = Majority(n_units=21)
    for scores in (game.best * 0, game.best):
        world = World(outputs=game.outputs, scores=scores, p=0.5, n_families=30, n_siblings=4, rho=0.4)
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
    world = World(outputs=outputs, scores=best + error, p=0.5, n_families=25, n_siblings=2, rho=0.5)
    return world, harmonic.gap(best + error, best, 0.5) / (scale**2 * games[0].variance)


@pytest.mark.parametrize("across", [Across.MEAN, Across.EVERY])
@pytest.mark.parametrize("claim", ["one target", "one direction", "every target its own"])
def test_bounds_hold_over_many_targets(claim: str, across: Across) -> None:
    world, gaps = many_targets(claim)
    assert gaps.mean() == pytest.approx(0.1, rel=1e-9)
    assert_holds(judge(world, gaps, across, half_range=120.0))


@pytest.mark.slow
@pytest.mark.parametrize("claim", ["one target", "one direction", "every target its own"])
def test_bounds_hold_over_many_targets_in_many_runs(claim: str) -> None:
    world, gaps = many_targets(claim)
    assert_holds(judge(world, gaps, Across.MEAN, n_runs=600, half_range=120.0))


# ------------------------------------------------------------------ interactions of few units, and rare events


def interaction(n_units: int, hit: Callable[[np.ndarray], np.ndarray]) -> tuple[World, np.ndarray]:
    """Outputs of a linear part and an odd interaction of relative gap 0.05, claimed to be the linear part alone."""
    every = np.array([[bool(code >> i & 1) for i in range(n_units)] for code in range(2**n_units)])
    odd = (hit(every).astype(float) - hit(~every)) / 2
    weight = float((((2.0 * every - 1) * odd[:, None]).mean(axis=0) ** 2).sum())
    rest = np.random.default_rng(7).standard_normal(N)
    rest /= np.linalg.norm(rest)
    scale = np.sqrt(0.05 / 0.95 / weight)  # so that the gap is 0.05 of both variances, but for the interaction's own

    def outputs(subsets: np.ndarray) -> np.ndarray:
        both = hit(subsets[:, N:]).astype(float) - hit(~subsets[:, N:])
        return ((2.0 * subsets[:, :N] - 1) @ rest + scale * both / 2)[:, None]

    scores = np.concatenate([2 * rest, np.zeros(n_units)])[None]
    world = World(outputs=outputs, scores=scores, p=0.5, n_families=25, n_siblings=2, rho=0.7)
    return world, np.array([scale**2 * weight / (1 + scale**2 * float((odd**2).mean()))])


CONJUNCTION = interaction(3, lambda subsets: subsets.all(axis=1))
NEARLY_ALL = interaction(11, lambda subsets: subsets.sum(axis=1) >= 9)


@pytest.mark.parametrize("design", DESIGNS)
def test_a_conjunction_of_three_units_is_no_way_in(design: str) -> None:
    n_families, n_siblings, rho = DESIGNS[design]
    world, gaps = CONJUNCTION
    world = replace(world, n_families=n_families, n_siblings=n_siblings, rho=rho)
    assert_upper_holds(judge(world, gaps, Across.MEAN, n_runs=600, upper_only=True))


def as_many_as_allowed(values: np.ndarray, most: float) -> np.ndarray:
    """Degrees of freedom that no spread of the family values lowers."""
    return np.full(values.shape[1], float(most))


def test_without_the_spread_of_the_family_values_others_would_be(monkeypatch: pytest.MonkeyPatch) -> None:
    most = most_misses(600)
    world, gaps = NEARLY_ALL
    world = replace(world, n_siblings=8, rho=0.3)
    monkeypatch.setattr(families, "spread_degrees", as_many_as_allowed)
    assert judge(world, gaps, Across.MEAN, n_runs=600, upper_only=True).below_upper > most


def test_what_most_samples_do_not_meet_stays_a_way_in() -> None:
    """A known limit, and why this certificate is a quick look: at least 10 of 11 units, met by 1 pair in 85."""
    world, gaps = interaction(11, lambda subsets: subsets.sum(axis=1) >= 10)
    found = judge(world, gaps, Across.MEAN, upper_only=True)
    assert found.below_upper > most_misses(found.n_runs)


def shared_amplitude() -> tuple[World, np.ndarray]:
    """Two hundred targets that err together in size and apart in sign: c a(x) phi_t, a = |S| of a sum of 20 units."""
    n = 200
    rest = np.random.default_rng(7).standard_normal(N)
    rest /= np.linalg.norm(rest)
    sums, chance = np.abs(20 - 2 * np.arange(21.0)), stats.binom.pmf(np.arange(21), 20, 0.5)
    share = float(sums @ chance) ** 2 / float(sums**2 @ chance)  # of the residual that is of degree one
    scale = np.sqrt(0.1 / float(sums**2 @ chance))

    def outputs(subsets: np.ndarray) -> np.ndarray:
        signs = 2.0 * subsets - 1
        amplitude = scale * np.abs(signs[:, n : n + 20].sum(axis=1, keepdims=True))
        return (signs[:, n + 20 :] @ rest)[:, None] + amplitude * signs[:, :n]

    scores = np.concatenate([np.zeros((n, n + 20)), np.tile(2 * rest, (n, 1))], axis=1)
    world = World(outputs=outputs, scores=scores, p=0.5, n_families=25, n_siblings=2, rho=0.7)
    return world, np.full(n, 0.1 * share / 1.1)


def test_targets_that_share_an_amplitude_are_no_way_in() -> None:
    world, gaps = shared_amplitude()
    assert_upper_holds(judge(world, gaps, Across.MEAN, n_runs=600, upper_only=True))


@pytest.mark.slow
def test_without_the_spread_of_the_family_values_an_amplitude_would_be(monkeypatch: pytest.MonkeyPatch) -> None:
    world, gaps = shared_amplitude()
    monkeypatch.setattr(families, "spread_degrees", as_many_as_allowed)
    found = judge(world, gaps, Across.MEAN, n_runs=600, upper_only=True)
    assert found.below_upper > most_misses(found.n_runs)


def rare_even_spike(n_families: int) -> tuple[World, np.ndarray, float]:
    """A linear f and an even spike where 7 units are alike, 0.7 of Var f; a claim scaled to a relative gap of 0.05."""
    weights = np.random.default_rng(7).standard_normal(N)
    weights /= np.linalg.norm(weights)
    share, variance = 2.0**-6, 1 / 0.3
    height = float(np.sqrt(0.7 * variance / (share * (1 - share))))

    def outputs(subsets: np.ndarray) -> np.ndarray:
        few = subsets[:, :7]
        alike = few.all(axis=1) | (~few).all(axis=1)
        return ((2.0 * subsets - 1) @ weights + height * alike)[:, None]

    scores = 2 * weights[None] * (1 - np.sqrt(0.05 * variance))
    world = World(outputs=outputs, scores=scores, p=0.5, n_families=n_families, n_siblings=2, rho=0.7)
    return world, np.array([0.05]), 4.5 + height


@pytest.mark.parametrize("n_families", [25, 50])
def test_a_rare_even_spike_rejects_no_claim_that_is_right_enough(n_families: int) -> None:
    """It is in no residual. Its challenges mostly miss it, and Var f comes out at a third of what it is."""
    world, gaps, half_range = rare_even_spike(n_families)
    assert_holds(judge(world, gaps, Across.MEAN, half_range=half_range))


def test_with_var_f_as_estimated_a_rare_even_spike_would_reject(monkeypatch: pytest.MonkeyPatch) -> None:
    world, gaps, half_range = rare_even_spike(50)
    monkeypatch.setattr(output_variance, "upper", as_estimated)
    assert judge(world, gaps, Across.MEAN, half_range=half_range).above_lower > most_misses(RUNS)


def looked_at(looks: tuple[int, ...], spent: Callable[[int], float] | None = None) -> int:
    """How many of 600 sessions accept at some look a claim whose whole residual is its gap of 0.05."""
    game = Polynomial(n_units=40, w1=1.0, w2=0.0, w3=0.0)
    direction = np.random.default_rng(3).standard_normal((1, 40))
    scores = game.best + direction * np.sqrt(0.05 / harmonic.linear_variance(direction, 0.5))[:, None]
    world = World(outputs=game.outputs, scores=scores, p=0.5, n_families=looks[-1], n_siblings=2, rho=0.7)
    rng, ends, accepted = np.random.default_rng(6), np.full(1, HALF_RANGE), 0
    for _ in range(600):
        whole = world.readings(rng)
        for look, n in enumerate(looks):
            parts = {name: getattr(whole, name)[:n] for name in ("output", "linear", "even")}
            delta, planned = (DELTA, looks) if spent is None else (spent(look), (n,))
            found = certify(replace(whole, **parts), delta=delta, across=Across.MEAN, lo=-ends, hi=ends, looks=planned)
            if found.upper_bound <= 0.05:
                accepted += 1
                break
    return accepted


@pytest.mark.slow
def test_ten_looks_accept_a_claim_at_epsilon_no_more_often_than_delta(monkeypatch: pytest.MonkeyPatch) -> None:
    """And far more often where every look spends all of delta."""
    monkeypatch.setattr(output_variance, "upper", as_estimated)
    looks = (25, 30, 36, 44, 53, 64, 77, 93, 112, 135)
    most = most_misses(600)
    assert looked_at(looks) <= most
    assert looked_at(looks, lambda _: DELTA) > most


def test_without_their_price_rare_units_would_buy_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many degrees of freedom at p = 0.05 as if characters were Gaussian: one unit holds the whole error."""
    monkeypatch.setattr(families, "degrees_of_freedom", lambda b, s, _: (b - 1.0, b * (s - 1.0)))
    monkeypatch.setattr(families, "spread_degrees", as_many_as_allowed)
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
