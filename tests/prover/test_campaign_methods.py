"""Campaigns by each regression: planned by its own law, and no retraining for a fit that cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from protocol.encoding import Seed
from protocol.errors import ArgumentError
from protocol.game import harmonic
from protocol.game.known import Polynomial
from protocol.game.sampling import Draw, pairs
from protocol.task import Task
from prover import campaign as campaigns
from prover.campaign import Campaign, Goal
from prover.fitting import packed
from prover.fitting.fit import Method
from prover.store import Store
from tests.games import task_of
from tests.prover.engine import GameEngine

GAME = Polynomial(n_units=80, w1=0.8, w2=0.1, w3=0.1)


@pytest.fixture
def task() -> Task:
    return task_of(80)


@pytest.fixture
def store(tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(campaigns.secrets, "token_bytes", lambda n: bytes([7] * n))
    with Store(tmp_path / "store") as opened:
        opened.set_task(task, None)
        yield opened


def test_least_squares_trains_about_as_much_as_its_gap_takes(store: Store, task: Task) -> None:
    """The gap v N / (n - N) is 0.015 at n = 620 pairs and its error 0.005, together 0.02; within a factor of 1.5."""
    outcome = Campaign(store, task, GameEngine(task, GAME), method=Method.LEAST_SQUARES).run(Goal(gap=0.02))
    assert outcome.reached
    assert 1240 / 1.5 <= outcome.n_retrainings <= 1240 * 1.5
    assert float(harmonic.gap(outcome.fit.claim.scores, GAME.best, 0.5)[0]) <= 0.03


def test_lasso_goes_on_until_its_gap_is_reached(store: Store, task: Task) -> None:
    outcome = Campaign(store, task, GameEngine(task, GAME), method=Method.LASSO).run(Goal(gap=0.03))
    assert outcome.reached
    assert outcome.fit.method is Method.LASSO
    assert float(harmonic.gap(outcome.fit.claim.scores, GAME.best, 0.5)[0]) <= 0.045


def test_a_budget_below_what_a_method_needs_is_refused_before_the_first_training(store: Store, task: Task) -> None:
    engine = GameEngine(task, GAME)
    with pytest.raises(ArgumentError, match="at least 240 to fit by least-squares, got 200: train more, or fit ridge"):
        Campaign(store, task, engine, method=Method.LEAST_SQUARES).run(Goal(max_retrainings=200))
    assert not len(engine.asked)


def test_a_campaign_never_unpacks_all_its_subsets(store: Store, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """Derived a few at a time, whatever the number of retrainings."""
    largest, subsets = [0], Draw.subsets

    def measured(draw: Draw, of: Task, evaluations: np.ndarray) -> np.ndarray:
        largest[0] = max(largest[0], len(evaluations))
        return subsets(draw, of, evaluations)

    monkeypatch.setattr(packed, "_DERIVED_UNITS", 80 * 16)
    campaign = Campaign(store, task, GameEngine(task, GAME))
    monkeypatch.setattr(Draw, "subsets", measured)
    draw = Draw(seed=Seed(bytes([7] * 32)), design=pairs(1000))
    assert len(campaign._subsets(500)) == 500
    assert largest[0] == 16
    assert np.array_equal(campaign._subsets(40).unpacked(), subsets(draw, task, np.arange(0, 80, 2)))


def test_a_gap_that_is_there_by_chance_is_not_believed(store: Store, task: Task) -> None:
    """A pilot of 100 pairs says little of the gap of a claim about noise, and what is stated says so."""
    noisy = Polynomial(n_units=80, w1=0.2, w2=0.0, w3=0.8)
    outcome = Campaign(store, task, GameEngine(task, noisy)).run(Goal(gap=0.15, max_retrainings=4000))
    assert outcome.fit.quality.mean_gap + outcome.fit.quality.mean_gap_error <= 0.2  # of claims fitted to less
    assert outcome.fit.figures.relative_gap <= 0.15
    assert float(harmonic.gap(outcome.fit.claim.scores, noisy.best, 0.5)[0]) <= 0.2
