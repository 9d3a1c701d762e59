"""Fits on games whose answer is known."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from protocol.claim import Claim
from protocol.errors import ArgumentError
from protocol.game import harmonic
from protocol.game.known import Majority, OneTarget, Parity, Polynomial
from prover.fitting import direct
from prover.fitting.fit import fit, judge
from prover.fitting.method import N_FOLDS
from prover.fitting.packed import PackedSubsets
from tests.games import task_of


def evaluated(game: OneTarget, n: int, seed: int) -> tuple[PackedSubsets, np.ndarray]:
    x = np.random.default_rng(seed).random((n, game.n_units)) < game.p
    sides = [game.outputs(x), game.outputs(~x)] if game.p == 0.5 else [game.outputs(x)]
    return PackedSubsets.of(x), np.stack(sides, axis=1)


@pytest.mark.parametrize("n_units", [30, 300], ids=["more evaluations than units", "fewer"])
@pytest.mark.parametrize("p", [0.5, 0.3])
def test_a_fit_is_the_mean_of_the_folds_ridge_regressions(n_units: int, p: float) -> None:
    game = Polynomial(n_units=n_units, w1=0.6, w2=0.2, w3=0.2, p=p)
    x, outputs = evaluated(game, 100, seed=1)
    fitted = fit(task_of(n_units, p=p), x, outputs)
    y = (outputs[:, 0, 0] - outputs[:, 1, 0]) / 2 if p == 0.5 else outputs[:, 0, 0] - outputs[:, 0, 0].mean()
    task_p = task_of(n_units, p=p).measure.p
    twin = Ridge(alpha=fitted.penalty * task_p * (1 - task_p), fit_intercept=False, tol=1e-12)
    folds = [np.arange(100) % N_FOLDS != k for k in range(N_FOLDS)]
    scores = np.mean([twin.fit(x.unpacked()[others] - task_p, y[others]).coef_ for others in folds], axis=0)
    assert fitted.claim.scores[0] == pytest.approx(scores, abs=1e-9)
    assert fitted.claim.intercepts[0] == pytest.approx(outputs.mean() - task_p * scores.sum())


def test_a_linear_game_is_found_exactly() -> None:
    game = Polynomial(n_units=40, w1=1.0, w2=0.0, w3=0.0)
    x, outputs = evaluated(game, 200, seed=2)
    fitted = fit(task_of(40), x, outputs + 3.0)
    assert fitted.claim.scores == pytest.approx(game.best, abs=1e-4)
    assert fitted.claim.intercepts[0] + 0.5 * fitted.claim.scores.sum() == pytest.approx(3.0, abs=1e-6)
    assert fitted.figures.relative_gap == pytest.approx(0.0, abs=1e-6)
    assert fitted.figures.r2 == pytest.approx(1.0, abs=1e-6)
    assert fitted.figures.n_retrainings == 400


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_the_figures_are_those_that_the_answer_gives(p: float) -> None:
    """At one fixed seed: the figures within 4 standard errors (and 4% for the extrapolation) of the truth."""
    game = Polynomial(n_units=60, w1=0.7, w2=0.1, w3=0.2, p=p)
    x, outputs = evaluated(game, 1200, seed=3)
    fitted = fit(task_of(60, p=p), x, outputs)
    true = float(harmonic.gap(fitted.claim.scores, game.best, p)[0]) / game.variance
    error = float(fitted.quality.relative_gap_error[0])
    assert error < true
    assert fitted.figures.relative_gap == pytest.approx(true, abs=4 * error + 0.04 * true)
    unexplained = game.w3 if p == 0.5 else game.w2 + game.w3
    assert fitted.figures.odd_residual == pytest.approx(unexplained + true, rel=0.15)
    assert fitted.figures.r2 == pytest.approx(game.w1 - true, abs=0.05)


@pytest.mark.parametrize("n", [60, 240])
def test_the_mean_over_targets_is_moved_to_all_evaluations_faithfully(n: int) -> None:
    """With 64 targets the estimate's error is small: at one fixed seed, the figure is within 8% of the truth.

    With three evaluations a unit the claims of cross-validation, fitted to four fifths, are worse than the claim itself
    by more than that; with fewer than one they are alike, and the figure is what was measured. Beside it stands the
    estimate's error, moved likewise.
    """
    rng, n_units, noise = np.random.default_rng(16), 80, 0.2
    best = rng.standard_normal((n_units, 64)) / np.sqrt(n_units)
    x = rng.random((n, n_units)) < 0.5
    phi = harmonic.characters(x, 0.5)
    # Sums of cubic characters, another one a target: noise as far as scores can tell.
    triples = [rng.choice(n_units, size=(40, 3)) for _ in range(64)]
    cubic = np.stack([np.prod(phi[:, t], axis=2).sum(axis=1) for t in triples], axis=1) * np.sqrt(noise / 40)
    odd = phi @ best + cubic
    fitted = fit(task_of(n_units, n_targets=64), PackedSubsets.of(x), np.stack([odd, -odd], axis=1))
    variance = odd.var(axis=0)
    true = float((harmonic.gap(fitted.claim.scores, 2 * best.T, 0.5) / variance).mean())
    measured, error = fitted.quality.mean_gap, fitted.quality.mean_gap_error
    assert fitted.figures.relative_gap * measured / (measured + error) == pytest.approx(true, rel=0.08)
    assert (measured > 1.08 * true) == (n == 240)
    assert (fitted.figures.relative_gap == measured + error) == (n == 60)
    assert error < 0.5 * measured


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
def test_with_as_many_evaluations_as_units_figures_do_not_flatter(noise: float) -> None:
    """Twelve fits at fixed seeds: where the noise may be estimated as nothing, and a fit to all may fit the noise."""
    for seed in range(12):
        game = Polynomial(n_units=100, w1=1 - noise, w2=0.0, w3=noise)
        x, outputs = evaluated(game, 100, seed=100 + seed)
        fitted = fit(task_of(100), x, outputs)
        true = float(harmonic.gap(fitted.claim.scores, game.best, 0.5)[0]) / game.variance
        assert fitted.figures.relative_gap >= true - fitted.quality.mean_gap_error
        assert fitted.figures.r2 < 1 - true / 2


@pytest.mark.parametrize(("n", "n_units", "noise"), [(20, 200, 0.5), (100, 100, 0.3), (400, 80, 0.8)])
def test_what_is_stated_seldom_flatters(n: int, n_units: int, noise: float) -> None:
    """Over 100 fits to one target: below the true gap in at most 28, below half of it in at most 4, and never nothing.

    Of 400 other fits each, 0, 18 and 14% were below and 0, 1 and 0.3% below half: at these rates a bound here breaks
    for one choice of seeds in 100, and they are fixed. The estimate alone was below half in 25 to 50%.
    """
    below = below_half = 0
    for seed in range(100):
        game = Polynomial(n_units=n_units, w1=1 - noise, w2=0.0, w3=noise)
        fitted = fit(task_of(n_units), *evaluated(game, n, seed=1000 + seed))
        true = float(harmonic.gap(fitted.claim.scores, game.best, 0.5)[0]) / game.variance
        assert fitted.figures.relative_gap > 0
        below += fitted.figures.relative_gap < true
        below_half += fitted.figures.relative_gap < true / 2
    assert below <= 28
    assert below_half <= 4


def test_a_plan_is_for_what_will_be_stated() -> None:
    """Error included: eight plans from 300 evaluations of one target, each fitted to the number that it names."""
    stated = []
    for seed in range(8):
        game = Polynomial(n_units=80, w1=0.9, w2=0.0, w3=0.1)
        n = math.ceil(fit(task_of(80), *evaluated(game, 300, seed=seed)).evaluations_for(0.015))
        again = fit(task_of(80), *evaluated(game, n, seed=50 + seed))
        stated.append(again.figures.relative_gap)
        assert again.quality.mean_gap_error > 0.15 * stated[-1]
    assert np.mean(stated) == pytest.approx(0.015, rel=0.15)


def test_even_interactions_cost_nothing_at_a_half() -> None:
    quiet, loud = (Polynomial(n_units=40, w1=0.5, w2=w2, w3=0.1) for w2 in (0.0, 50.0))
    claims = [fit(task_of(40), *evaluated(game, 200, seed=4)).claim for game in (quiet, loud)]
    assert claims[1].scores == pytest.approx(claims[0].scores, abs=1e-9)


def test_the_penalty_is_the_one_of_least_heldout_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk ends where trying every penalty would."""
    game = Polynomial(n_units=80, w1=0.3, w2=0.0, w3=0.7)
    x, outputs = evaluated(game, 300, seed=5)
    chosen = fit(task_of(80), x, outputs).penalty
    gaps = {}
    for penalty in direct.PENALTIES_PER_UNIT:
        monkeypatch.setattr(direct, "PENALTIES_PER_UNIT", (penalty,))
        monkeypatch.setattr(direct, "_FIRST_PENALTY", 0)
        gaps[penalty * 80] = fit(task_of(80), x, outputs).quality.mean_gap
    assert chosen == min(gaps, key=gaps.__getitem__)
    assert 1e-2 * 80 < chosen < 1e2 * 80  # neither where the walk begins nor at the path's end


def test_nothing_linear_gives_scores_near_nothing() -> None:
    game = Parity(n_units=30, degree=3)
    fitted = fit(task_of(30), *evaluated(game, 400, seed=6))
    assert float(harmonic.linear_variance(fitted.claim.scores, 0.5)[0]) < 0.02
    assert fitted.figures.odd_residual == pytest.approx(1.0, rel=0.05)


def test_majority_gives_every_unit_the_same() -> None:
    game = Majority(n_units=9)
    fitted = fit(task_of(9), *evaluated(game, 4000, seed=7))
    assert fitted.claim.scores == pytest.approx(game.best, rel=0.15)


def test_two_targets_are_fitted_as_one_by_one_at_one_penalty() -> None:
    x, first = evaluated(Polynomial(n_units=20, w1=0.8, w2=0.1, w3=0.1), 100, seed=8)
    both = fit(task_of(20, n_targets=2), x, np.concatenate([first, 5 * first + 1], axis=2))
    one = fit(task_of(20), x, first)
    assert both.penalty == one.penalty
    assert both.claim.scores[0] == pytest.approx(one.claim.scores[0])
    assert both.claim.scores[1] == pytest.approx(5 * one.claim.scores[0])
    assert both.quality.relative_gap[1] == pytest.approx(both.quality.relative_gap[0])


def test_a_subset_drawn_twice_is_no_trouble() -> None:
    x, outputs = evaluated(Polynomial(n_units=300, w1=0.9, w2=0.0, w3=0.1), 40, seed=9)
    fitted = fit(task_of(300), x.rows(np.repeat(np.arange(40), 2)), np.repeat(outputs, 2, axis=0))
    assert np.isfinite(fitted.claim.scores).all()


def test_too_few_retrainings_are_refused() -> None:
    x, outputs = evaluated(Polynomial(n_units=20, w1=1.0, w2=0.0, w3=0.0), 19, seed=10)
    with pytest.raises(ArgumentError, match="expected at least 40 to fit by ridge, got 38: train more"):
        fit(task_of(20), x, outputs)


@pytest.mark.parametrize("p", [0.5, 0.3])
@pytest.mark.parametrize("n_units", [20, 500])
def test_a_claim_from_elsewhere_is_judged_by_what_it_never_saw(p: float, n_units: int) -> None:
    game = Polynomial(n_units=n_units, w1=0.8, w2=0.1, w3=0.1, p=p)
    claim = Claim(task_digest=task_of(n_units, p=p).digest, intercepts=np.zeros(1), scores=0.5 * game.best)
    judged = judge(task_of(n_units, p=p), claim, *evaluated(game, 400, seed=11))
    true = float(harmonic.gap(claim.scores, game.best, p)[0]) / game.variance
    assert true == pytest.approx(0.2, rel=1e-3)
    assert abs(judged.mean_gap - true) <= 4 * judged.mean_gap_error + 0.05 * true
    assert judged.mean_gap_error == pytest.approx(float(judged.relative_gap_error[0]))


def test_blocks_of_units_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, outputs = evaluated(Polynomial(n_units=150, w1=0.8, w2=0.1, w3=0.1), 60, seed=12)
    whole = fit(task_of(150), x, outputs)
    monkeypatch.setattr(direct, "_BLOCK_VALUES", 60 * 11)
    assert fit(task_of(150), x, outputs).claim.scores == pytest.approx(whole.claim.scores, abs=1e-9)


def test_constant_outputs_give_scores_of_nothing() -> None:
    x, outputs = evaluated(Polynomial(n_units=20, w1=1.0, w2=0.0, w3=0.0), 60, seed=13)
    fitted = fit(task_of(20, tolerance=1e-9), x, np.full_like(outputs, 4.0))
    assert not fitted.claim.scores.any()
    assert fitted.claim.intercepts[0] == 4.0
    assert not fitted.quality.varies.any()
    assert fitted.figures.relative_gap == 0.0


@pytest.mark.gpu
def test_a_fit_on_cuda_is_the_one_on_the_processor() -> None:
    x, outputs = evaluated(Polynomial(n_units=150, w1=0.8, w2=0.1, w3=0.1), 400, seed=14)
    here, there = fit(task_of(150), x, outputs), fit(task_of(150), x, outputs, device="cuda")
    assert there.claim.scores == pytest.approx(here.claim.scores, abs=1e-9)


def test_an_unchanged_task_is_named_by_the_claim() -> None:
    task = dataclasses.replace(task_of(20), seed=5)
    assert fit(task, *evaluated(Parity(n_units=20, degree=1), 50, seed=15)).claim.task_digest == task.digest
