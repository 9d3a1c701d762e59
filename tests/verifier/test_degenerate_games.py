"""Whole sessions about games and claims at the ends of what numbers can hold: never a wrong ACCEPT, never a crash."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.in_memory import InMemory, committed
from protocol.certificate.terms import Across, Answers, Rounds
from protocol.claim import Claim, Figures
from protocol.game import Measure, SeedPolicy, Statement
from protocol.session.effects import ChooseRounds, Train
from protocol.session.messages import Outcome
from protocol.session.verdict import Verdict
from protocol.session.verifier import VerifierSession
from verifier import loop
from verifier.verification import Asked

Function = Callable[[np.ndarray], np.ndarray]
FIGURES = Figures(relative_gap=0.001, odd_residual=0.01, r2=0.9, n_retrainings=100)


def session(f: Function, scores: np.ndarray, *, p_16: int, lo: float, hi: float, **options: object) -> Verdict:
    """Play one session about ``scores``; f is from subsets to outputs (m, T)."""
    n_targets, n_units = scores.shape
    game = Statement(
        name="degenerate", n_units=n_units, lo=np.full(n_targets, lo), hi=np.full(n_targets, hi),
        measure=Measure(p_16=p_16), seed_policy=SeedPolicy.SHARED, tolerance=0.0,
    )  # fmt: skip
    asked = Asked(**options)  # type: ignore[arg-type]

    def trained(train: Train) -> np.ndarray:
        return np.clip(f(train.draw.subsets(game, train.evaluations)), game.lo, game.hi)

    def choose(event: ChooseRounds) -> Rounds:
        return asked.plan(game, event.figures, event.claim, seen=event.seen).rounds

    claim = committed(game, Claim(task_digest=game.digest, intercepts=np.zeros(n_targets), scores=scores), FIGURES)
    prover = InMemory.of(game, claim, trained, 10_000)
    return loop.run(
        VerifierSession(game=game, terms=asked.terms(game)), prover, choose, lambda train, on_progress: trained(train),
        entropy=np.random.default_rng(0).bytes,
    )  # fmt: skip


def constant(value: float) -> Function:
    return lambda subsets: np.full((len(subsets), 2), value)


@pytest.mark.parametrize("answers", [Answers.OWN, Answers.DELEGATED], ids=str)
@pytest.mark.parametrize("across", Across, ids=str)
@pytest.mark.parametrize("p_16", [1 << 15, 20_000, 6_554])
@pytest.mark.parametrize(
    ("value", "lo", "hi", "score"),
    [(0.5, 0.0, 1.0, 1e-20), (1e6, 999_999.0, 1_000_001.0, 1e-12), (0.93, 0.0, 1.0, 3e-18)],
)
def test_a_claim_that_rounds_away_beside_constant_outputs_is_not_accepted(
    value: float, lo: float, hi: float, score: float, p_16: int, across: Across, answers: Answers
) -> None:
    """Its residual would be exactly constant, and the gap 0; the truth is a relative gap of something over nothing."""
    scores = np.full((2, 50), score)
    verdict = session(
        constant(value), scores, p_16=p_16, lo=lo, hi=hi, across=across, answers=answers, max_retrainings=3000
    )
    assert verdict.outcome is not Outcome.ACCEPT


@pytest.mark.parametrize("score", [0.0, 1e-19, 1e-17])
def test_a_constant_target_beside_one_that_varies_is_not_accepted_across_every(score: float) -> None:
    weights = np.random.default_rng(0).normal(size=50) / 60

    def f(subsets: np.ndarray) -> np.ndarray:
        return np.stack([subsets @ weights + 0.5, np.full(len(subsets), 0.5)], axis=1)

    scores = np.stack([weights, np.full(50, score)])
    verdict = session(f, scores, p_16=20_000, lo=0.0, hi=1.0, across=Across.EVERY, max_retrainings=6000)
    assert verdict.outcome is not Outcome.ACCEPT


def exclusive(subsets: np.ndarray) -> np.ndarray:
    """Of even degree: no residual but the claim's own."""
    return (0.5 + 0.1 * np.where(subsets[:, 0] == subsets[:, 1], 1.0, -1.0))[:, None]


@pytest.mark.parametrize("size", [0.0, 1e-200, 1e-161, 1e-150, 1e-81, 1e-20, 1.0, 1e26, 1e50])
@pytest.mark.parametrize("method", ["moments", "crossfit", "gaussian"])
@pytest.mark.parametrize("f", [constant(0.5), exclusive], ids=["constant", "even"])
def test_no_size_of_scores_breaks_a_session(f: Function, method: str, size: float) -> None:
    """Squares that underflow, and squares of squares that overflow, at few units, where products may be planned."""
    n_targets = f(np.zeros((1, 6), dtype=bool)).shape[1]
    for p_16 in (1 << 15, 20_000):
        scores = np.full((n_targets, 6), size)
        verdict = session(f, scores, p_16=p_16, lo=0.0, hi=1.0, method=method, max_retrainings=2500)
        is_right = f is exclusive and p_16 == 1 << 15 and 6 * size**2 / 4 < 0.05 * 0.01  # f has no linear part there
        assert is_right or verdict.outcome is not Outcome.ACCEPT


def test_outputs_that_hardly_vary_break_no_plan() -> None:
    """Enormous scores over a variance next to nothing: the residual's share of it is 10^152."""
    outputs = 1e-26 * np.random.default_rng(1).random(64)

    def f(subsets: np.ndarray) -> np.ndarray:
        return outputs[subsets @ (1 << np.arange(6))][:, None]

    for method in ("moments", "gaussian"):
        verdict = session(f, np.full((1, 6), 1e50), p_16=1 << 15, lo=0.0, hi=1.0, method=method, max_retrainings=2500)
        assert verdict.outcome is not Outcome.ACCEPT
