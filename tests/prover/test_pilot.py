"""What ``prover init`` proposes: defaults, ranges that hold, a tolerance that covers."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from protocol.encoding import Seed
from protocol.errors import ArgumentError, DataError, TaskFileError
from protocol.game.sampling import Draw, pairs
from protocol.task import ConstantColumns, Logistic, Ridge, Scaling, SeedPolicy, TargetKind, Task, UnitKind
from protocol.training import Dataset, Trainer
from prover import calibration, pilot
from prover.calibration import LEAST_TOLERANCE
from prover.config import Choices, draft, settled
from prover.pilot import Proposal, propose


def proposed(choices: Choices) -> tuple[Task, Dataset, Proposal]:
    task, dataset = draft(choices)
    proposal = propose(task, dataset)
    return settled(task, lo=proposal.lo, hi=proposal.hi, tolerance=proposal.tolerance), dataset, proposal


def test_defaults_for_digits_are_the_demo() -> None:
    task, dataset = draft(Choices(data="sklearn:digits"))
    assert (task.n_units, task.n_targets, task.data.n_train, task.data.n_test) == (1000, 200, 1000, 797)
    assert task.recipe == Ridge(l2=256.0)
    assert task.targets.kind is TargetKind.MARGIN
    assert task.targets.rows == tuple(range(200))
    assert task.measure.has_complements
    assert task.seed_policy is SeedPolicy.SHARED
    assert (task.data.scaling, task.data.constant_columns) == (Scaling.NONE, ConstantColumns.DROP)
    assert dataset.n_units == 1000


def test_a_regression_gets_targets_that_it_has() -> None:
    task, _ = draft(Choices(data="sklearn:diabetes"))
    assert task.targets.kind is TargetKind.PREDICTION
    assert (task.data.n_train, task.data.n_test, task.n_targets) == (294, 148, 148)
    assert task.data.scaling is Scaling.STANDARD
    assert task.recipe == Ridge(l2=0.03 * 294)


def test_an_average_is_one_target() -> None:
    task, _ = draft(Choices(data="sklearn:wine", average=True, n_targets=7))
    assert (task.n_targets, len(task.targets.rows)) == (1, 7)


def test_contributors_are_units_where_a_column_says_who(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rng = np.random.default_rng(0)
    rows = (f"{rng.random():.3f},{rng.random():.3f},{k % 2},{'abcde'[k % 5]}" for k in range(60))
    path.write_text("x,z,y,who\n" + "\n".join(rows) + "\n")
    choices = Choices(data=str(path), target_column="y", contributor_column="who", units=UnitKind.CONTRIBUTOR)
    task, dataset = draft(choices)
    assert (task.n_units, dataset.unit_names) == (5, tuple("abcde"))
    assert task.data.source == "t.csv"
    assert task.data.constant_columns is ConstantColumns.REFUSE


@pytest.mark.parametrize(
    ("choices", "error", "message"),
    [
        (Choices(data="sklearn:nonesuch"), DataError, "nonesuch.*known are sklearn:digits"),
        (Choices(data="nowhere.csv", target_column="y"), DataError, "found none there"),
        (Choices(data="sklearn:wine", p=0.0), ArgumentError, "--p: expected a probability strictly between 0 and 1"),
        (Choices(data="sklearn:wine", p=1.0), ArgumentError, "--p: expected a probability strictly between 0 and 1"),
        (Choices(data="sklearn:wine", p=math.nan), ArgumentError, "--p: expected"),
        (Choices(data="sklearn:wine", p=1e-7), ArgumentError, "--p: expected.*to 16 bits"),
        (Choices(data="sklearn:wine", n_test=0), TaskFileError, "data.n_test: expected at least 1 test row"),
        (Choices(data="sklearn:wine", n_train=178), ArgumentError, "--n-train: expected at most 177 of the 178 rows"),
        (Choices(data="sklearn:wine", n_train=0), TaskFileError, "data.n_train: expected at least 1 training row"),
        (Choices(data="sklearn:wine", n_train=100, n_test=100), DataError, "n_train \\+ n_test = 200 rows, got 178"),
        (Choices(data="sklearn:wine", n_targets=0), ArgumentError, "--n-targets: expected 1 to 60"),
        (Choices(data="sklearn:wine", n_targets=61), ArgumentError, "--n-targets: expected 1 to 60"),
        (Choices(data="sklearn:wine", recipe="forest"), ArgumentError, "--recipe: expected ridge, logistic, kernel"),
        (Choices(data="sklearn:wine", l2=0.0), TaskFileError, "recipe.l2: expected a number above 0"),
        (Choices(data="sklearn:wine", kind=TargetKind.PROBABILITY), TaskFileError, "targets.kind: expected margin"),
        (Choices(data="sklearn:wine", units=UnitKind.CONTRIBUTOR), DataError, "expected a contributor for every row"),
        (Choices(data="sklearn:digits", constant_columns=ConstantColumns.REFUSE), DataError, "expected columns that"),
    ],
)  # fmt: skip
def test_choices_that_the_data_have_no_room_for_are_refused(
    choices: Choices, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        draft(choices)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "choices",
    [
        Choices(data="sklearn:wine"),
        Choices(data="sklearn:iris", recipe="logistic", l2=1.0, kind=TargetKind.PROBABILITY, n_targets=20),
        Choices(data="sklearn:wine", kind=TargetKind.LOSS, average=True),
        Choices(data="sklearn:diabetes", kind=TargetKind.SQUARED_ERROR, n_targets=20, p=0.25),
    ],
    ids=["margins", "probabilities", "mean loss", "squared errors"],
)
def test_fresh_subsets_stay_in_range_and_within_the_tolerance(
    choices: Choices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 400 fresh subsets, a thousandth of the outputs are clipped at most; another batch moves none past tau/10."""
    monkeypatch.setattr(calibration, "N_REPEATED", 10)
    task, dataset, proposal = proposed(choices)
    draw = Draw(seed=Seed(bytes([9]) * 32), design=pairs(400, complements=False))
    evaluations = np.arange(400, dtype=np.int64)
    subsets, seeds = draw.subsets(task, evaluations), draw.training_seeds(task, evaluations)
    outputs = Trainer(task, dataset).outputs(subsets, seeds)
    assert outputs.n_clipped <= 1e-3 * outputs.values.size
    again = Trainer(task, dataset, batch_size=11).outputs(subsets, seeds).values
    assert np.abs(again - outputs.values).max() <= task.tolerance / 10
    assert (task.targets.lo < task.targets.hi).all()
    assert proposal.n_constant == 0
    if task.targets.kind is TargetKind.PROBABILITY:
        assert task.targets.lo.min() >= 0
        assert task.targets.hi.max() <= 1
    if task.targets.kind.larger_is_worse:
        assert task.targets.lo.min() >= 0


def test_the_same_choices_propose_the_same_task() -> None:
    choices = Choices(data="sklearn:iris", n_targets=5)
    assert proposed(choices)[0] == proposed(choices)[0]


def test_threads_are_left_as_they_were() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        proposed(Choices(data="sklearn:iris", n_targets=2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_looser_optimum_gives_a_looser_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logistic training stops short of the optimum: how short is part of what a tolerance must cover."""
    monkeypatch.setattr(pilot, "N_PILOT", 20)
    monkeypatch.setattr(calibration, "N_REPEATED", 10)
    choices = Choices(data="sklearn:iris", recipe="logistic", l2=1.0, n_targets=10)
    tight, loose = (proposed(dataclasses.replace(choices, gradient_tolerance=g))[2] for g in (1e-10, 1e-3))
    assert isinstance(draft(choices)[0].recipe, Logistic)
    assert loose.difference > 100 * tight.difference
    assert loose.tolerance >= calibration.SAFETY * loose.difference


def test_a_tolerance_is_never_below_its_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "ways", lambda task, device: {})
    task, _, proposal = proposed(Choices(data="sklearn:iris", n_targets=5))
    floor = LEAST_TOLERANCE * float(np.median(task.targets.width))
    assert floor <= task.tolerance <= 1.1 * floor
    assert proposal.difference == 0.0


def test_a_target_that_never_varies_is_counted_and_gets_a_range(monkeypatch: pytest.MonkeyPatch) -> None:
    task, dataset = draft(Choices(data="sklearn:iris", n_targets=3))
    monkeypatch.setattr(Trainer, "raw_outputs", lambda self, subsets, seeds: np.full((len(subsets), 3), 2.0))
    proposal = propose(task, dataset)
    assert proposal.n_constant == 3
    assert (proposal.lo < 2.0).all()
    assert (proposal.hi > 2.0).all()


@pytest.mark.parametrize(
    ("lo", "hi", "expected"),
    [(-0.12345, 1.5, (-0.13, 1.5)), (123456.0, 234567.0, (123000.0, 235000.0)), (0.0, 0.99e-5, (0.0, 0.99e-5))],
)
def test_ranges_are_rounded_outwards(lo: float, hi: float, expected: tuple[float, float]) -> None:
    assert pilot._outwards(lo, hi) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", range(50))
def test_rounding_never_cuts_into_a_range(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lo, hi = np.sort(rng.standard_normal(2) * 10.0 ** rng.integers(-12, 12)).tolist()
    low, high = pilot._outwards(lo, hi)
    assert low <= lo < hi <= high
    assert high - low <= 1.03 * (hi - lo)
    value = abs(lo)
    assert value <= calibration.rounded_up(value) <= 1.11 * value
