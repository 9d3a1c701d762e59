"""The cross-fit certificate on games with known answers: it holds, it is useful, and each of its parts matters."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from protocol import harmonic
from protocol.certificate import crossfit
from protocol.certificate.crossfit import Round, certify
from protocol.certificate.terms import Across
from protocol.claim import Claim
from protocol.encoding import Seed
from protocol.errors import ArgumentError
from protocol.sampling import Draw, families, pairs
from protocol.task import Task
from tests.games import Polynomial, Spikes, task_of

GAME = Polynomial(n_units=60, w1=0.92, w2=0.05, w3=0.03)


def bounded(game: Polynomial | Spikes, sd: float, n_targets: int = 1) -> Task:
    """A task whose range is the game's mean +- ``sd`` standard deviations."""
    return task_of(game.n_units, n_targets=n_targets, p=game.p, bound=sd * float(np.sqrt(game.variance)))


def claim_of(task: Task, game: Polynomial | Spikes, relative_gap: float, n_targets: int = 1) -> Claim:
    direction = np.random.default_rng(3).standard_normal((1, game.n_units))
    direction /= np.sqrt(harmonic.linear_variance(direction, game.p))[:, None]
    scores = np.repeat(game.best + np.sqrt(relative_gap * game.variance) * direction, n_targets, axis=0)
    return Claim(task_digest=task.digest, intercepts=-game.p * scores.sum(axis=1), scores=scores)


def round_of(task: Task, game: Polynomial | Spikes, n: int, seed: int) -> Round:
    draw = Draw(seed=Seed(seed.to_bytes(32, "big")), design=pairs(n, complements=task.has_complements))
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
    assert 0.1 < c.lower_bound <= 0.23 <= c.upper_bound < 0.6


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
    for name in ("direction", "along", "slack", "second_moment", "largest"):
        np.testing.assert_allclose(getattr(triple, name), getattr(single, name), rtol=1e-9)
    every = certify(
        three, claim_of(three, GAME, 0.02, 3), round_of(three, GAME, 300, 1), round_of(three, GAME, 300, 2), delta=0.15,
        across=Across.EVERY,
    )  # fmt: skip
    np.testing.assert_allclose(every.upper, np.repeat(single.upper, 3), rtol=1e-9)


def test_lies_within_the_budget_do_not_break_the_bound_and_a_budget_of_none_would() -> None:
    """Answers that copy the claim's own prediction make any claim look perfect; the budget must pay for them."""
    task = bounded(GAME, 5.0)
    zero = claim_of(task, GAME, 0.0)
    bad = Claim(task_digest=task.digest, intercepts=zero.intercepts * 0.5, scores=zero.scores * 0.5)
    true = float(harmonic.gap(bad.scores, GAME.best, 0.5)[0] / GAME.variance)

    def lying(round_: Round, share: float, budget: bool) -> Round:
        n = round_.n_pairs
        false = np.arange(int(share * n))
        outputs = round_.outputs.copy()
        subsets = round_.draw.subsets(task, np.arange(round_.draw.n_evaluations))
        predicted = subsets @ bad.scores.T + bad.intercepts
        rows = np.r_[2 * false, 2 * false + 1]
        outputs[rows] = np.clip(predicted[rows], task.targets.lo, task.targets.hi)
        return dataclasses.replace(
            round_, outputs=outputs, trained=np.arange(len(false), n), n_false=len(false) if budget else 0
        )

    a, b = round_of(task, GAME, 1500, 1), round_of(task, GAME, 1500, 2)
    for share in (0.02, 0.3):
        priced = certify(task, bad, lying(a, share, True), lying(b, share, True), delta=0.05, across=Across.MEAN)
        assert priced.lower_bound <= true <= priced.upper_bound
    honest = certify(task, bad, a, b, delta=0.05, across=Across.MEAN)
    assert priced.upper_bound > honest.upper_bound


def test_tolerance_is_priced() -> None:
    task = bounded(GAME, 5.0)
    claim = claim_of(task, GAME, 0.01)
    rounds = [dataclasses.replace(round_of(task, GAME, 300, i), trained=np.arange(150)) for i in (1, 2)]
    free = certify(task, claim, *rounds, delta=0.05, across=Across.MEAN)
    dear = certify(
        task, claim, *(dataclasses.replace(r, tolerance=0.05) for r in rounds), delta=0.05, across=Across.MEAN
    )
    assert dear.upper_bound > free.upper_bound * 1.05


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
