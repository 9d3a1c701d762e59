"""Plans: what a campaign then takes, from what a store says or from assumptions, at the pace of the engine here."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from protocol.errors import ArgumentError
from protocol.game.known import Polynomial
from protocol.game.sampling import Draw
from protocol.task import Task
from prover import campaign as campaigns
from prover import cli, planning
from prover.campaign import HEADROOM, TRAIN, Campaign, Goal
from prover.engines import Done, OnDone
from prover.fitting.fit import Moments
from prover.planning import Speed, assumed, estimates, expected_of, speed
from prover.store import Store
from tests.games import task_of
from tests.prover.engine import GameEngine

GAME = Polynomial(n_units=80, w1=0.8, w2=0.1, w3=0.1)
PACE = Speed(start_s=2.0, each_s=0.5, n_timed=64)


@pytest.fixture(autouse=True)
def fixed_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaigns.secrets, "token_bytes", lambda n: bytes([7] * n))


@pytest.fixture
def task() -> Task:
    return task_of(80)


@pytest.fixture
def store(tmp_path: Path, task: Task) -> Iterator[Store]:
    with Store(tmp_path / "state") as store:
        store.set_task(task, None)
        yield store


class Paced:
    """An engine of ``n_workers`` that says how long workers were busy: ``each_s`` a training, or as ``runs`` says."""

    def __init__(self, each_s: float, *, n_workers: int = 1, runs: dict[int, float] | None = None) -> None:
        self.n_workers, self._each_s, self._runs = n_workers, each_s, runs or {}
        self.asked: list[int] = []

    def run(self, draw: Draw, evaluations: np.ndarray, on_done: OnDone) -> None:
        each_s = self._runs.get(len(self.asked), self._each_s)
        self.asked.append(len(evaluations))
        outputs = np.zeros((len(evaluations), 1))
        on_done(Done(evaluations=evaluations, outputs=outputs, n_clipped=0, seconds=each_s * len(evaluations)))


def test_a_gap_takes_what_the_curve_says_and_each_counts_its_complement(task: Task) -> None:
    (row,) = estimates(task, Moments(signal=0.8, noise=0.1), (0.01,), PACE)
    needed = 80 * (0.1 + 0.01) * (0.8 - 0.01) / (0.01 * 0.8)
    assert row.n == 2 * math.ceil(HEADROOM * needed)
    assert row.n_left == row.n
    assert row.seconds == 2.0 + 0.5 * row.n
    assert 8 * row.n < row.n_bytes < 1.1 * 8 * row.n


def test_a_campaign_takes_about_what_was_planned_from_its_pilot(store: Store, task: Task) -> None:
    Campaign(store, task, GameEngine(task, GAME)).run(Goal(gap=1e-4, max_retrainings=600))
    known = expected_of(store, task)
    assert known is not None
    assert known.whence == "from the store's first 600 retrainings"
    (row,) = estimates(task, known.moments, (0.01,), PACE, n_saved=600)
    assert row.n_left == row.n - 600
    outcome = Campaign(store, task, GameEngine(task, GAME)).run(Goal(gap=0.01))
    assert outcome.n_retrainings / 1.5 <= row.n <= outcome.n_retrainings * 1.5


def test_a_gap_that_is_reached_costs_nothing_more(task: Task) -> None:
    (row,) = estimates(task, Moments(signal=0.8, noise=0.1), (0.5,), PACE, n_saved=5000)
    assert (row.n, row.n_left, row.seconds) == (200, 0, 0.0)  # 200 is a campaign's pilot
    assert row.n_bytes > 8 * 5000


def test_retrainings_after_a_hole_are_not_counted_on(store: Store, task: Task) -> None:
    Campaign(store, task, GameEngine(task, GAME))  # which draws its seed
    draw = store.campaign(TRAIN)
    assert draw is not None
    kept: list[Done] = []
    GameEngine(task, GAME, chunk=10).run(draw, np.arange(200, dtype=np.int64), kept.append)
    for chunk in kept:
        if chunk.evaluations[0] != 100:
            store.save_outputs(TRAIN, int(chunk.evaluations[0]), chunk.outputs, 0)
    known = expected_of(store, task)
    assert known is not None
    assert known.whence == "from the store's first 100 retrainings, fewer than the 200 of a pilot: vague"


def test_a_store_with_too_little_says_nothing(store: Store, task: Task) -> None:
    assert expected_of(store, task) is None
    Campaign(store, task, GameEngine(task, GAME)).run(Goal(gap=0.5, max_retrainings=40))
    assert expected_of(store, task) is not None


def test_a_store_of_another_task_is_refused(store: Store) -> None:
    with pytest.raises(ArgumentError, match="--store: expected retrainings of task"):
        expected_of(store, task_of(81))


@pytest.mark.parametrize("gap", [0.0, 1.0, math.nan, -0.1])
def test_a_gap_that_makes_no_sense_is_refused(task: Task, gap: float) -> None:
    with pytest.raises(ArgumentError, match="--gap: expected a relative gap above 0 and below 1"):
        estimates(task, Moments(signal=0.8, noise=0.1), (gap,), PACE)


def test_more_than_a_campaign_can_hold_is_said(task: Task) -> None:
    (row,) = estimates(task, Moments(signal=0.5, noise=0.5), (1e-9,), PACE)
    assert not row.is_possible


def test_away_from_a_half_all_but_degree_one_is_noise() -> None:
    for at_half, away in zip(assumed(task_of(80)), assumed(task_of(80, p=0.3)), strict=True):
        assert away.moments.signal == at_half.moments.signal
        assert away.moments.noise == 1 - away.moments.signal > at_half.moments.noise


def test_a_fast_engine_is_timed_on_more_until_two_seconds(task: Task) -> None:
    engine = Paced(0.001, n_workers=2)
    pace = speed(task, engine, opened_s=5.0)
    assert engine.asked == [1, 32, 128, 512, 2048, 8192]
    assert pace.each_s == pytest.approx(0.0005)
    assert pace.n_timed == sum(engine.asked[1:])
    assert 5.0 <= pace.start_s < 5.1


def test_of_several_runs_the_fastest_counts(task: Task) -> None:
    assert speed(task, Paced(0.001, runs={2: 1.0})).each_s == pytest.approx(0.001)


def test_a_training_of_minutes_is_not_asked_for_sixteen_times(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter((0.0, 100.0))
    monkeypatch.setattr(planning.time, "perf_counter", lambda: next(now))
    engine = Paced(90.0, n_workers=4)
    assert speed(task, engine) == Speed(start_s=100.0, each_s=90.0 / 4, n_timed=4)
    assert engine.asked == [1, 4]


def test_a_thousand_workers_are_timed_on_no_more_than_the_most(task: Task) -> None:
    engine = Paced(1.0, n_workers=1024)
    assert speed(task, engine).each_s == pytest.approx(1 / 1024)
    assert engine.asked == [1, planning.MAX_TIMED]


def test_the_command_plans_and_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(planning, "TIMED_S", 0.05)
    assert cli.run(("init", "--data", "sklearn:wine", "--n-targets", "3", "-q")) == 0
    before = set(tmp_path.iterdir())
    capfd.readouterr()
    assert cli.run(("plan", "task.toml", "--gap", "0.1", "--gap", "0.02", "--json")) == 0
    out, err = capfd.readouterr()
    found = json.loads(out)
    assert err == ""
    assert set(tmp_path.iterdir()) == before
    assert [[row["gap"] for row in one["gaps"]] for one in found["expected"]] == [[0.1, 0.02], [0.1, 0.02]]
    assert found["speed"]["each_s"] > 0
    train = ("train", "task.toml", "--store", "state", "--gap", "0.1", "--max-retrainings", "300", "-q")
    assert cli.run(train) == 0
    capfd.readouterr()
    assert cli.run(("plan", "task.toml", "--store", "state", "-q")) == 0
    out = capfd.readouterr().out
    assert "saved   " in out
    assert "from the store's first " in out
    assert cli.run(("plan", "task.toml", "--store", "nothing")) == 74
    assert cli.run(("plan", "task.toml", "--gap", "2")) == 64
    assert "expected a relative gap above 0 and below 1, got 2" in capfd.readouterr().err
