"""From the options of ``prover init --recipe sklearn`` to a task, a pilot on it, and an engine that trains it."""

from __future__ import annotations

import platform
from dataclasses import replace

import numpy as np
import pytest
import sklearn

from protocol import taskfile
from protocol.errors import ArgumentError, TaskFileError
from protocol.game.sampling import Draw, pairs, seed_from_integer
from protocol.recipes import Reading, Sklearn
from protocol.task import TargetKind
from prover import calibration, pilot
from prover.calibration import Trial, differences, heavy_tailed, ways
from prover.config import Choices, draft, settled
from prover.engines.local import prepare
from prover.estimator_choices import EstimatorChoices

FOREST = "RandomForestClassifier(n_estimators=4)"
WINE = Choices(data="sklearn:wine", recipe="sklearn", n_targets=5, estimator=EstimatorChoices(estimator=FOREST))


@pytest.mark.parametrize(
    ("text", "n_classes", "reading"),
    [
        (FOREST, 3, Reading.LOG_PROBABILITY),
        ("SVC(C=10.0)", 3, Reading.DECISION),
        ("SVC(probability=False)", 2, Reading.DECISION),
        ("Pipeline(steps=[('s', StandardScaler()), ('m', RidgeClassifier())])", 3, Reading.DECISION),
        ("RandomForestRegressor()", 0, Reading.PREDICTION),
    ],
)
def test_scores_are_read_as_the_estimator_allows(text: str, n_classes: int, reading: Reading) -> None:
    recipe = EstimatorChoices(estimator=text).recipe(n_classes)
    assert recipe == Sklearn(estimator=text, version=sklearn.__version__, reading=reading)


def test_the_user_may_say_how_scores_are_read() -> None:
    said = EstimatorChoices(estimator="LogisticRegression()", reading=Reading.DECISION)
    assert said.recipe(3).reading is Reading.DECISION


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        (EstimatorChoices(), ArgumentError, "--estimator: expected one with --recipe sklearn, such as .*, got none"),
        (EstimatorChoices(estimator="SVC"), TaskFileError, r"recipe.estimator: expected Name\(key=value"),
        (EstimatorChoices(estimator="Svc()"), TaskFileError, "got 'Svc'; did you mean SVC"),
        (EstimatorChoices(estimator="SVC(c=1)"), TaskFileError, "expected a parameter of SVC, got 'c'; did you mean C"),
        (EstimatorChoices(estimator="SVC(random_state=1)"), TaskFileError, "it comes from the training seed"),
        (EstimatorChoices(estimator="Lasso()"), TaskFileError, "expected a classifier"),
        (EstimatorChoices(estimator="KMeans()"), TaskFileError, "expected a classifier"),
        (
            EstimatorChoices(estimator="SVC()", reading=Reading.LOG_PROBABILITY),
            TaskFileError,
            "recipe.reading: expected one that SVC has, got log-probability",
        ),
        (
            EstimatorChoices(estimator=FOREST, reading=Reading.PREDICTION),
            TaskFileError,
            "expected a regressor for reading prediction",
        ),
    ],
)
def test_options_that_make_no_estimator_are_refused(
    said: EstimatorChoices, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        draft(replace(WINE, estimator=said))
    assert "\n" not in str(caught.value)


def test_a_regression_asks_for_a_regressor() -> None:
    with pytest.raises(TaskFileError, match="expected a regressor for reading prediction, got RandomForestClassifier"):
        draft(replace(WINE, data="sklearn:diabetes"))


def test_a_forest_goes_from_init_to_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pilot, "N_PILOT", 12)
    monkeypatch.setattr(calibration, "N_REPEATED", 4)
    task, dataset = draft(replace(WINE, kind=TargetKind.PROBABILITY))
    proposal = pilot.propose(task, dataset)
    assert proposal.difference == 0.0, "no order of additions grows another forest"
    assert 0 < proposal.tolerance < 1e-8
    task = taskfile.parse(taskfile.render(settled(task, lo=proposal.lo, hi=proposal.hi, tolerance=proposal.tolerance)))
    outputs: list[np.ndarray] = []
    draw = Draw(seed=seed_from_integer("test", 1), design=pairs(2))
    prepare(task, data=None).run(draw, np.arange(4, dtype=np.int64), lambda done: outputs.append(done.outputs))
    assert np.concatenate(outputs).shape == (4, 5)


def test_an_older_processor_adds_otherwise_and_grows_the_same_trees() -> None:
    """Where linear algebra is in the estimator, its outputs move by roundings; trees stay the same to the bit."""
    for text, moves in (("LogisticRegression()", True), ("HistGradientBoostingClassifier(max_iter=2)", False)):
        task, dataset = draft(replace(WINE, estimator=EstimatorChoices(estimator=text)))
        draw = Draw(seed=seed_from_integer("pilot", 0), design=pairs(4, complements=False))
        trial = Trial(task=task, dataset=dataset, draw=draw, n=4)
        (name,) = set(ways(task, "cpu")) - {"in batches of 7", "one by one", "on one thread", "on cuda"}
        assert name == "as on an older processor"
        (found,) = differences(trial, trial.outputs(), chosen=heavy_tailed(task))
        if not moves:
            assert found.largest == 0
        elif platform.machine() == "x86_64":
            assert 0 < found.largest < 1e-8
