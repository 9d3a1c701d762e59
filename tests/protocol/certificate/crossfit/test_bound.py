"""The cross-fit certificate on games with known answers: it holds, it is useful, and each of its parts matters."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from protocol.certificate.crossfit import bound as crossfit
from protocol.certificate.crossfit.bound import Round, certify
from protocol.certificate.terms import Across
from protocol.claim import Claim
from protocol.encoding import Seed
from protocol.errors import ArgumentError
from protocol.game import harmonic
from protocol.game.known import Known as Game
from protocol.game.known import Polynomial, Spikes
from protocol.game.sampling import Draw, families, pairs
from protocol.task import Task
from tests.games import task_of

GAME = Polynomial(n_units=60, w1=0.92, w2=0.05, w3=0.03)


def bounded(game: Polynomial | Spikes, sd: float, n_targets: int = 1) -> Task:
    """A task whose range is the game's mean +- ``sd`` standard deviations."""
    return task_of(game.n_units, n_targets=n_targets, p=game.p, bound=sd * float(np.sqrt(game.variance)))


def claim_of(task: Task, game: Polynomial | Spikes, relative_gap: float, n_targets: int = 1) -> Claim:
    direction = np.random.default_rng(3).standard_normal((1, game.n_units))
    direction /= np.sqrt(harmonic.linear_variance(direction, game.p))[:, None]
    scores = np.repeat(game.best + np.sqrt(relative_gap * game.variance) * direction, n_targets, axis=0)
    return Claim(task_digest=task.digest, intercepts=-game.p * scores.sum(axis=1), scores=scores)


def round_of(task: Task, game: Game, n: int, seed: int) -> Round:
    draw = Draw(seed=Seed(seed.to_bytes(32, "big")), design=pairs(n, complements=task.measure.has_complements))
    subsets = draw.subsets(task, np.arange(draw.n_evaluations))
    outputs = np.repeat(game.outputs(subsets), task.n_targets, axis=1)
    outputs = np.clip(outputs, task.targets.lo, task.targets.hi)
    return Round(draw=draw, outputs=outputs, trained=np.arange(n), n_false=0, tolerance=0.0)


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_bound_holds_and_is_useful_for_an_honest_claim(p: float) -> None:
    game = dataclasses.replace(GAME, p=p)
    task = bounded(game, 6.0)  # wide enough that clipping moves nothing
    claim = claim_of(task, game, 0.005)
    found = [
        certify(
            task,
            claim,
            round_of(task, game, 3000, 2 * i),
            round_of(task, game, 3000, 2 * i + 1),
            delta=0.05,
            across=Across.MEAN,
        )
        for i in range(4)
    ]
    assert all(c.lower_bound <= 0.005 <= c.upper_bound for c in found)
    assert max(c.upper_bound for c in found) < (0.12 if p == 0.5 else 0.5)


@pytest.mark.parametrize("game", [GAME, Spikes(n_units=60, width=8, height=4.0)], ids=["polynomial", "spikes"])
@pytest.mark.parametrize("relative_gap", [0.0, 0.1])
def test_coverage_is_at_least_what_was_asked(game: Polynomial | Spikes, relative_gap: float) -> None:
    task = bounded(game, 7.0)
    claim = claim_of(task, game, relative_gap)
    true = float(harmonic.gap(claim.scores, game.best, 0.5)[0] / game.variance)
    runs, delta = 60, 0.2
    failures = 0
    for i in range(runs):
        c = certify(
            task,
            claim,
            round_of(task, game, 150, 2 * i),
            round_of(task, game, 150, 2 * i + 1),
            delta=delta,
            across=Across.MEAN,
        )
        failures += not c.lower_bound <= true <= c.upper_bound
    assert failures <= stats.binom.isf(1e-4, runs, 2 * delta)


def test_a_bad_claim_is_bounded_from_below() -> None:
    task = bounded(GAME, 5.0)
    half = claim_of(task, GAME, 0.0)
    half = Claim(task_digest=task.digest, intercepts=half.intercepts / 2, scores=half.scores / 2)
    c = certify(
        task, half, round_of(task, GAME, 2000, 1), round_of(task, GAME, 2000, 2), delta=0.05, across=Across.MEAN
    )
    assert 0.13 < c.lower_bound <= 0.23 <= c.upper_bound < 0.6


def test_equal_targets_across_the_mean_are_one_target() -> None:
    one, three = bounded(GAME, 5.0), bounded(GAME, 5.0, n_targets=3)
    single = certify(
        one,
        claim_of(one, GAME, 0.02),
        round_of(one, GAME, 300, 1),
        round_of(one, GAME, 300, 2),
        delta=0.05,
        across=Across.MEAN,
    )
    triple = certify(
        three, claim_of(three, GAME, 0.02, 3), round_of(three, GAME, 300, 1), round_of(three, GAME, 300, 2), delta=0.05,
        across=Across.MEAN,
    )  # fmt: skip
    for name in ("direction", "along", "slack", "radius", "outside"):
        np.testing.assert_allclose(getattr(triple, name), getattr(single, name), rtol=1e-9)
    every = certify(
        three, claim_of(three, GAME, 0.02, 3), round_of(three, GAME, 300, 1), round_of(three, GAME, 300, 2), delta=0.15,
        across=Across.EVERY,
    )  # fmt: skip
    np.testing.assert_allclose(every.upper, np.repeat(single.upper, 3), rtol=1e-9)


def lying(round_: Round, claim: Claim, task: Task, share: float, *, priced: bool) -> Round:
    """Round B with a share of its pairs answered by the claim's own prediction, none of them rechecked."""
    n = round_.n_pairs
    false = np.arange(int(share * n))
    outputs = round_.outputs.copy()
    subsets = round_.draw.subsets(task, np.arange(round_.draw.n_evaluations))
    predicted = subsets @ claim.scores.T + claim.intercepts
    rows = np.r_[2 * false, 2 * false + 1]
    outputs[rows] = np.clip(predicted[rows], task.targets.lo, task.targets.hi)
    trained = np.arange(n // 2, n)
    return dataclasses.replace(round_, outputs=outputs, trained=trained, n_false=len(false) if priced else 0)


def test_lies_within_the_budget_do_not_break_the_bound_and_a_budget_of_none_would() -> None:
    """Answers that copy the claim's own prediction make any claim look perfect; the budget must pay for them."""
    task = bounded(GAME, 5.0)
    zero = claim_of(task, GAME, 0.0)
    bad = Claim(task_digest=task.digest, intercepts=zero.intercepts * 0.5, scores=zero.scores * 0.5)
    true = float(harmonic.gap(bad.scores, GAME.best, 0.5)[0] / GAME.variance)
    a, b = round_of(task, GAME, 3000, 1), round_of(task, GAME, 3000, 2)
    for share in (0.02, 0.49):
        priced = certify(task, bad, a, lying(b, bad, task, share, priced=True), delta=0.05, across=Across.MEAN)
        assert priced.lower_bound <= true <= priced.upper_bound
    believed = certify(task, bad, a, lying(b, bad, task, 0.49, priced=False), delta=0.05, across=Across.MEAN)
    assert believed.upper_bound < true
    assert priced.upper_bound > certify(task, bad, a, b, delta=0.05, across=Across.MEAN).upper_bound


def test_a_false_answer_costs_by_the_radius_and_not_by_the_range() -> None:
    """The same answers, in a range ten times as wide: only what may hide outside the ball grows."""
    narrow, wide = bounded(GAME, 5.0), bounded(GAME, 50.0)
    found = []
    for task in (narrow, wide):
        claim = claim_of(task, GAME, 0.01)
        a, b = round_of(task, GAME, 400, 1), round_of(task, GAME, 400, 2)
        b = dataclasses.replace(b, trained=np.arange(200), n_false=8)
        found.append(certify(task, claim, a, b, delta=0.05, across=Across.MEAN))
    np.testing.assert_allclose(found[1].along, found[0].along, rtol=1e-9)
    assert found[1].hidden[0] > 3 * found[0].hidden[0]


@dataclasses.dataclass(frozen=True)
class Ambush:
    """The claim is right but where the first eight units agree, 1 pair in 128: there f is at its range's end."""

    n_units: int = 60
    p: float = 0.5
    height: float = 4.0

    def outputs(self, subsets: np.ndarray) -> np.ndarray:
        phi = harmonic.characters(subsets, 0.5)
        agree = np.abs(phi[:, :8].sum(axis=1)) == 8
        return np.asarray(np.where(agree, self.height * phi[:, 0], phi[:, 8])[:, None])

    @property
    def best(self) -> np.ndarray:
        coefficients = np.zeros((1, self.n_units))
        coefficients[0, :8], coefficients[0, 8] = self.height * 2.0**-7, 1 - 2.0**-7
        return harmonic.weights_from_coefficients(coefficients, 0.5)

    @property
    def variance(self) -> float:
        return 1 - 2.0**-7 + self.height**2 * 2.0**-7


def test_what_no_pair_showed_may_still_be_there() -> None:
    """Most runs see no ambush at all: without what may hide outside the ball the bound would miss the gap."""
    game = Ambush()
    task = task_of(game.n_units, bound=game.height)
    scores = np.zeros((1, game.n_units))
    scores[0, 8] = 2.0
    claim = Claim(task_digest=task.digest, intercepts=np.array([-1.0]), scores=scores)
    true = float(harmonic.gap(scores, game.best, 0.5)[0])
    missed_without = 0
    for i in range(10):
        a, b = round_of(task, game, 25, 2 * i), round_of(task, game, 25, 2 * i + 1)
        c = certify(task, claim, a, b, delta=0.2, across=Across.MEAN)
        assert c.upper_bound >= true / game.variance
        size = float((c.slack[0] + np.sqrt(c.slack[0] ** 2 + 4 * c.direction[0] * max(c.along[0], 0))) / 2)
        missed_without += size**2 < true  # a scale of 1: the claim's own standard deviation
    assert missed_without >= 5


def test_tolerance_is_priced() -> None:
    task = bounded(GAME, 5.0)
    claim, a = claim_of(task, GAME, 0.01), round_of(task, GAME, 300, 1)
    b = dataclasses.replace(round_of(task, GAME, 300, 2), trained=np.arange(150))
    free = certify(task, claim, a, b, delta=0.05, across=Across.MEAN)
    dear = certify(task, claim, a, dataclasses.replace(b, tolerance=0.05), delta=0.05, across=Across.MEAN)
    assert dear.upper_bound > free.upper_bound * 1.04


def test_a_round_a_that_the_prover_answered_is_refused() -> None:
    task = bounded(GAME, 5.0)
    claim, good = claim_of(task, GAME, 0.0), round_of(task, GAME, 50, 1)
    with pytest.raises(ArgumentError, match="round A: expected all 50 pairs trained by the verifier, got 49"):
        certify(task, claim, dataclasses.replace(good, trained=np.arange(49)), good, delta=0.05, across=Across.MEAN)


def test_constant_outputs_leave_the_bound_infinite() -> None:
    task = bounded(GAME, 5.0)
    claim = Claim(task_digest=task.digest, intercepts=np.zeros(1), scores=np.zeros((1, 60)))
    rounds = [
        dataclasses.replace(r, outputs=np.zeros_like(r.outputs)) for r in (round_of(task, GAME, 50, i) for i in (1, 2))
    ]
    c = certify(task, claim, *rounds, delta=0.05, across=Across.MEAN)
    assert c.upper_bound == np.inf or c.upper_bound > 1
    assert c.lower_bound == 0.0


def test_siblings_and_too_few_pairs_are_refused() -> None:
    task = bounded(GAME, 5.0)
    claim, good = claim_of(task, GAME, 0.0), round_of(task, GAME, 50, 1)
    few = round_of(task, GAME, crossfit.MIN_PAIRS - 1, 2)
    with pytest.raises(ArgumentError, match="round B: expected at least 20 independent subsets, got 19"):
        certify(task, claim, good, few, delta=0.05, across=Across.MEAN)
    siblings = Draw(seed=good.draw.seed, design=families(n_families=25, n_siblings=2, rho=0.5, complements=True))
    with pytest.raises(ArgumentError, match=r"round A: expected .* families of 2"):
        certify(task, claim, dataclasses.replace(good, draw=siblings), good, delta=0.05, across=Across.MEAN)
