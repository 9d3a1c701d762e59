"""Campaigns: planned from their own figures, and never the same training twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from protocol.claim import Claim
from protocol.errors import ArgumentError, TrainingError
from protocol.game import harmonic
from protocol.game.known import Polynomial
from protocol.game.sampling import Draw
from protocol.task import Task
from prover import campaign as campaigns
from prover.campaign import CHECK, MAX_CLIPPED, TRAIN, Campaign, Goal
from prover.engines import Done
from prover.report import clipped_warning
from prover.store import Store
from tests.games import task_of
from tests.prover.engine import GameEngine

GAME = Polynomial(n_units=80, w1=0.8, w2=0.1, w3=0.1)


@pytest.fixture(autouse=True)
def fixed_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a campaign's entropy the same in every run, and different in every campaign of a run."""
    counter = iter(range(256))
    monkeypatch.setattr(campaigns.secrets, "token_bytes", lambda n: bytes([next(counter)] * n))


@pytest.fixture
def task() -> Task:
    return task_of(80)


@pytest.fixture
def store(tmp_path: Path, task: Task) -> Iterator[Store]:
    with Store(tmp_path / "state") as store:
        store.set_task(task, None)
        yield store


def test_it_trains_about_as_much_as_the_gap_takes(store: Store, task: Task) -> None:
    """The goal of 0.01 takes N (v + R)(W_1 - R) / (R W_1) = 869 pairs; its estimate has an error of 15%."""
    engine = GameEngine(task, GAME)
    outcome = Campaign(store, task, engine).run(Goal(gap=0.01))
    assert outcome.reached
    assert outcome.n_retrainings == len(engine.asked)
    assert 2 * 869 / 1.5 <= outcome.n_retrainings <= 2 * 869 * 1.5
    true = float(harmonic.gap(outcome.fit.claim.scores, GAME.best, 0.5)[0])
    assert outcome.fit.figures.relative_gap <= 0.01
    assert true == pytest.approx(outcome.fit.figures.relative_gap, rel=0.4)


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_subsets_are_independent_and_paired_at_a_half_alone(store: Store, p: float) -> None:
    task, seen = task_of(80, p=p), []

    class Recorder(GameEngine):
        def run(self, draw: Draw, evaluations: np.ndarray, on_done) -> None:  # type: ignore[no-untyped-def]
            seen.append(draw.subsets(task, evaluations))
            super().run(draw, evaluations, on_done)

    with Store(store.directory / "other") as other:
        other.set_task(task, None)
        Campaign(other, task, Recorder(task, Polynomial(n_units=80, w1=0.8, w2=0.1, w3=0.1, p=p))).run(Goal(gap=0.5))
    x = np.concatenate(seen)
    if p == 0.5:
        assert (x[0::2] == ~x[1::2]).all()
        x = x[0::2]
    assert abs(x.mean() - task.measure.p) < 5 * np.sqrt(task.measure.p * (1 - task.measure.p) / x.size)
    assert len(np.unique(x, axis=0)) == len(x)


def test_it_stops_at_the_budget_and_says_so(store: Store, task: Task) -> None:
    engine = GameEngine(task, GAME)
    outcome = Campaign(store, task, engine).run(Goal(gap=1e-4, max_retrainings=601))
    assert not outcome.reached
    assert outcome.n_retrainings == len(engine.asked) == 600


def test_a_larger_budget_goes_on_from_the_smaller_one(store: Store, task: Task) -> None:
    Campaign(store, task, GameEngine(task, GAME)).run(Goal(gap=1e-4, max_retrainings=300))
    engine = GameEngine(task, GAME)
    Campaign(store, task, engine).run(Goal(gap=1e-4, max_retrainings=500))
    assert engine.asked == list(range(300, 500))


def test_running_again_trains_nothing_and_claims_the_same(store: Store, task: Task) -> None:
    first = Campaign(store, task, GameEngine(task, GAME)).run(Goal(gap=0.02))
    engine = GameEngine(task, GAME)
    again = Campaign(store, task, engine).run(Goal(gap=0.02))
    assert engine.asked == []
    assert np.array_equal(again.fit.claim.scores, first.fit.claim.scores)


def test_a_training_that_fails_keeps_what_came_before(store: Store, task: Task) -> None:
    with pytest.raises(TrainingError):
        Campaign(store, task, GameEngine(task, GAME, fail_at=150)).run(Goal(gap=0.02))
    assert store.missing(TRAIN, 160) == [range(148, 160)]
    engine = GameEngine(task, GAME)
    Campaign(store, task, engine).run(Goal(gap=0.02))
    assert engine.asked[0] == 148


def test_what_was_lost_in_the_middle_is_trained_again_and_nothing_else(store: Store, task: Task) -> None:
    campaign = Campaign(store, task, GameEngine(task, GAME))
    draw = store.campaign(TRAIN)
    assert draw is not None
    kept: list[Done] = []
    GameEngine(task, GAME, chunk=10).run(draw, np.arange(200, dtype=np.int64), kept.append)
    for chunk in kept:
        if chunk.evaluations[0] not in (50, 120):
            store.save_outputs(TRAIN, int(chunk.evaluations[0]), chunk.outputs, 0)
    engine = campaign._engine
    campaign.run(Goal(gap=1e-4, max_retrainings=200))
    assert isinstance(engine, GameEngine)
    assert engine.asked == [*range(50, 60), *range(120, 130)]


CAMPAIGN = """
import sys, time
from pathlib import Path
from prover.campaign import Campaign, Goal
from prover.store import Store
from protocol.game.known import Polynomial
from tests.games import task_of
from tests.prover.engine import GameEngine
log = open(sys.argv[2], "a")
def slowly(first):
    print(first, file=log, flush=True)
    time.sleep(float(sys.argv[3]))
task = task_of(80)
with Store(Path(sys.argv[1])) as store:
    store.set_task(task, None)
    engine = GameEngine(task, Polynomial(n_units=80, w1=0.8, w2=0.1, w3=0.1), chunk=10, before_chunk=slowly)
    print(Campaign(store, task, engine).run(Goal(gap=1e-4, max_retrainings=400)).n_retrainings)
"""


def campaign_process(directory: Path, log: Path, pause_s: float) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-c", CAMPAIGN, str(directory), str(log), str(pause_s)]
    return subprocess.Popen(
        arguments, stdout=subprocess.PIPE, cwd=Path.cwd(), env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def test_a_killed_process_repeats_no_finished_chunk(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = campaign_process(tmp_path / "state", log, 0.05)
    deadline = time.monotonic() + 60
    while not (log.exists() and len(log.read_text().split()) >= 8):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    with Store(tmp_path / "state", read_only=True) as store:
        n_saved = store.n_done(TRAIN)
        seed = store.campaign(TRAIN)
    assert 70 <= n_saved < 400
    before = log.read_text().split()
    again = campaign_process(tmp_path / "state", log, 0.0)
    out, _ = again.communicate(timeout=120)
    assert out.decode().split() == ["400"]
    after = [int(first) for first in log.read_text().split()[len(before) :]]
    assert after == list(range(n_saved, 400, 10))
    with Store(tmp_path / "state", read_only=True) as store:
        assert store.campaign(TRAIN) == seed


def test_progress_goes_from_nothing_to_all(store: Store, task: Task) -> None:
    told: list[tuple[str, int, int]] = []
    Campaign(store, task, GameEngine(task, GAME), watch=lambda *what: told.append(what)).run(
        Goal(gap=1e-4, max_retrainings=250)
    )
    training = [(done, total) for what, done, total in told if what == "training"]
    assert training[0] == (0, 200)
    assert training[-1] == (250, 250)
    assert any(what == "fitting" for what, _, _ in told)


def test_clipped_outputs_are_counted_and_said_above_a_thousandth(store: Store, tmp_path: Path) -> None:
    task = task_of(80, bound=2.0)
    with Store(tmp_path / "clipped") as other:
        other.set_task(task, None)
        outcome = Campaign(other, task, GameEngine(task, GAME)).run(Goal(gap=0.5))
    assert 0.02 < outcome.clipped < 0.10  # two standard deviations on each side: 4.6% for a Gaussian
    warning = clipped_warning(outcome.clipped)
    assert warning is not None
    assert "prover init proposes wider ranges" in warning
    assert clipped_warning(MAX_CLIPPED) is None


def test_a_claim_from_elsewhere_is_judged_on_seeds_of_its_own(store: Store, task: Task) -> None:
    claim = Claim(task_digest=task.digest, intercepts=np.zeros(1), scores=0.5 * GAME.best)
    Campaign(store, task, GameEngine(task, GAME)).run(Goal(gap=0.5))
    quality = Campaign(store, task, GameEngine(task, GAME), purpose=CHECK).judge(claim, 400)
    assert quality.n_heldout == 200
    assert abs(quality.mean_gap - 0.2) <= 4 * quality.mean_gap_error
    train, check = store.campaign(TRAIN), store.campaign(CHECK)
    assert train is not None
    assert check is not None
    assert train.seed != check.seed


def test_a_seed_is_fresh_and_saved_before_the_first_training(
    tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    seeds = []
    for name in ("a", "b"):
        with Store(tmp_path / name) as store:
            store.set_task(task, None)
            with pytest.raises(TrainingError):
                Campaign(store, task, GameEngine(task, GAME, fail_at=0)).run(Goal())
            draw = store.campaign(TRAIN)
            assert draw is not None
            seeds.append(draw.seed)
    assert seeds[0] != seeds[1]


@pytest.mark.parametrize(
    ("gap", "most", "message"),
    [
        (0.0, 1000, "gap: expected a relative gap above 0"),
        (1.0, 1000, "gap: expected"),
        (float("nan"), 1000, "gap: expected"),
        (0.01, 39, "max-retrainings: expected 40 to"),
        (0.01, 10**9, "max-retrainings: expected 40 to"),
    ],
)
def test_a_goal_that_makes_no_sense_is_refused(gap: float, most: int, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Goal(gap=gap, max_retrainings=most)
