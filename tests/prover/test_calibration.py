"""What `prover calibrate` measures, proposes and writes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from protocol import taskfile
from protocol.errors import TrainingError
from protocol.game.sampling import Draw, pairs, seed_from_integer
from protocol.task import Numerics, Ridge, Task
from protocol.training import Dataset
from prover.calibration import Difference, Trial, differences, rounded_up, tolerance, ways
from prover.cli import run
from prover.config import Choices, draft, settled
from prover.network_choices import NetworkChoices

SGD = Choices(data="sklearn:iris", recipe="sgd", n_targets=5, network=NetworkChoices(epochs=3))


def made(choices: Choices) -> tuple[Task, Dataset]:
    task, dataset = draft(choices)
    return settled(task, lo=np.full(5, -9.0), hi=np.full(5, 9.0), tolerance=1e-3), dataset


def trial_of(task: Task, dataset: Dataset) -> Trial:
    draw = Draw(seed=seed_from_integer("pilot", 0), design=pairs(6, complements=False))
    return Trial(task=task, dataset=dataset, draw=draw, n=6)


def test_an_optimum_is_found_in_other_ways_than_steps_are_taken() -> None:
    ridge, _ = made(Choices(data="sklearn:iris", n_targets=5))
    sgd, _ = made(SGD)
    exact, _ = made(dataclasses.replace(SGD, exact=True))
    shared = set(ways(exact, "cpu"))
    assert set(ways(ridge, "cpu")) - shared == {"with rows in the other order", "closer to the optimum"}
    assert set(ways(sgd, "cpu")) - shared == {"with features moved by a rounding"}
    assert "on the processor" in ways(ridge, "cuda")


def test_a_rounding_of_the_features_moves_what_steps_give_and_is_covered() -> None:
    task, dataset = made(SGD)
    trial = trial_of(task, dataset)
    found = differences(trial, trial.outputs())
    moved = next(difference.largest for difference in found if "features" in difference.way)
    assert 1e-8 < moved < 1e-3
    assert tolerance(task, found, 18.0) >= 10 * moved


def test_an_exact_task_that_differs_in_a_bit_is_a_fault() -> None:
    task, dataset = made(dataclasses.replace(SGD, exact=True))
    trial = trial_of(task, dataset)
    reference = trial.outputs()
    assert {difference.largest for difference in differences(trial, reference)} == {0.0}
    reference[3, 2] = np.nextafter(reference[3, 2], np.inf)
    with pytest.raises(TrainingError, match=r"expected the same bits in batches of 7, got .* apart; report"):
        differences(trial, reference)


def test_a_tolerance_is_the_largest_difference_with_room_or_the_floor() -> None:
    task, _ = made(Choices(data="sklearn:iris", n_targets=5))
    found = (Difference(way="a", largest=2e-7), Difference(way="b", largest=3e-9))
    assert tolerance(task, found, 1.0) == rounded_up(100 * 2e-7)
    assert tolerance(task, (), 2.0) == rounded_up(2e-9)
    assert isinstance(task.recipe, Ridge)


def test_two_digits_rounded_up() -> None:
    assert [rounded_up(value) for value in (0.0, 1.0, 0.0101, 123.4)] == [0.0, 1.0, 0.011, 130.0]


def test_the_command_prints_what_it_measured_and_writes_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    task, _ = made(SGD)
    Path("task.toml").write_text(taskfile.render(task))
    assert run(["calibrate", "task.toml", "--subsets", "4", "--out", "new.toml", "-q"]) == 0
    printed = capfd.readouterr().out
    for way in ways(task, "cpu"):
        assert way in printed
    assert "tolerance 0.001; proposed" in printed
    new = taskfile.parse(Path("new.toml").read_text())
    assert isinstance(new.numerics, Numerics)
    assert 0 < new.numerics.tolerance != 1e-3
    assert dataclasses.replace(new, numerics=task.numerics) == task
    assert new.digest.hex() in printed
    assert run(["calibrate", "task.toml", "--subsets", "4", "--out", "new.toml", "-q"]) != 0  # without --force
