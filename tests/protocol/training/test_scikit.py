"""Recipe sklearn gives what a plain loop of scikit-learn gives, in as many processes as there are."""

from __future__ import annotations

import dataclasses
import math
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn
import torch
from sklearn.base import clone
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from protocol.errors import TrainingError
from protocol.recipes import Reading, Sklearn
from protocol.task import SeedPolicy, TargetKind, Task, UnitKind
from protocol.training import Dataset, Trainer, read_table, scikit, split
from tests.protocol.training import tasks

LOG, DECISION, PREDICTION = Reading.LOG_PROBABILITY, Reading.DECISION, Reading.PREDICTION
KINDS = {LOG: TargetKind.LOSS, DECISION: TargetKind.MARGIN, PREDICTION: TargetKind.PREDICTION}


def recipe(estimator: object, reading: Reading = LOG, **changes: Any) -> Sklearn:
    text = estimator if isinstance(estimator, str) else " ".join(repr(estimator).split())
    return Sklearn(**({"estimator": text, "version": sklearn.__version__, "reading": reading} | changes))


def world(
    estimator: object, reading: Reading = LOG, n_classes: int = 3, kind: TargetKind | None = None
) -> tuple[Task, Dataset]:
    task, dataset = tasks.made(recipe(estimator, reading), n_classes)
    task = dataclasses.replace(task, targets=dataclasses.replace(task.targets, kind=kind or KINDS[reading]))
    return task, dataset


def own_seeds(task: Task) -> Task:
    return dataclasses.replace(task, seed_policy=SeedPolicy.PER_SUBSET)


def outputs(task: Task, dataset: Dataset, subsets: np.ndarray, seeds: np.ndarray | None = None) -> np.ndarray:
    return Trainer(task, dataset).raw_outputs(subsets, tasks.seeds_of(subsets) if seeds is None else seeds)


def scores_of(task: Task, dataset: Dataset, subsets: np.ndarray) -> np.ndarray:
    """The solver's scores, shape (m, q, C)."""
    trainer = Trainer(task, dataset)
    return trainer._scores(torch.from_numpy(subsets), tasks.seeds_of(subsets)).numpy()


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


# The naive twin: scikit-learn's own objects, cloned, one after another.


def seeded(estimator: Any, seed: int) -> Any:
    every = [name for name in estimator.get_params() if name.split("__")[-1] == "random_state"]
    return clone(estimator).set_params(**dict.fromkeys(every, seed % 2**32))


def plain(estimator: Any, task: Task, dataset: Dataset, subset: np.ndarray, seed: int) -> list[float]:
    """The task's outputs of one model, a target row at a time."""
    inside = subset[dataset.unit_of_row]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = seeded(estimator, seed).fit(dataset.x_train[inside], dataset.y_train[inside])
        return [target(fitted, task, dataset.x_test[row : row + 1], dataset.y_test[row]) for row in task.targets.rows]


def target(fitted: Any, task: Task, x: np.ndarray, y: Any) -> float:
    match task.targets.kind:
        case TargetKind.PREDICTION:
            return float(fitted.predict(x)[0])
        case TargetKind.SQUARED_ERROR:
            return float(fitted.predict(x)[0] - y) ** 2
        case TargetKind.PROBABILITY:
            by_class = dict(zip(fitted.classes_.tolist(), fitted.predict_proba(x)[0].tolist(), strict=True))
            kept = [max(by_class.get(c, 0.0), 1e-6) for c in range(task.data.n_classes)]
            return kept[y] / sum(kept)
        case TargetKind.MARGIN:
            decision = np.ravel(fitted.decision_function(x)).tolist()
            if len(decision) == 1:
                decision = [-decision[0] / 2, decision[0] / 2]
            by_class = dict(zip(fitted.classes_.tolist(), decision, strict=True))
            return by_class.pop(y) - max(by_class.values())
    raise AssertionError(task.targets.kind)


TWINS: dict[str, tuple[Any, Reading, int, TargetKind]] = {
    "histogram boosting, three classes": (
        HistGradientBoostingClassifier(max_iter=4, min_samples_leaf=3),
        LOG,
        3,
        TargetKind.PROBABILITY,
    ),
    "histogram boosting, two classes": (
        HistGradientBoostingClassifier(max_iter=4, min_samples_leaf=3),
        DECISION,
        2,
        TargetKind.MARGIN,
    ),
    "a forest, three classes": (RandomForestClassifier(n_estimators=4, max_features=2), LOG, 3, TargetKind.PROBABILITY),
    "support vectors, three classes": (make_pipeline(StandardScaler(), SVC(C=10.0)), DECISION, 3, TargetKind.MARGIN),
    "support vectors, two classes": (make_pipeline(StandardScaler(), SVC(C=10.0)), DECISION, 2, TargetKind.MARGIN),
    "logistic, three classes": (
        make_pipeline(StandardScaler(), LogisticRegression(C=0.5)),
        LOG,
        3,
        TargetKind.PROBABILITY,
    ),
    "logistic, two classes": (
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=2)),
        LOG,
        2,
        TargetKind.PROBABILITY,
    ),
    "one pass of gradient descent": (SGDClassifier(max_iter=1), DECISION, 3, TargetKind.MARGIN),
    "boosting, regression": (
        GradientBoostingRegressor(n_estimators=4, subsample=0.5),
        PREDICTION,
        0,
        TargetKind.PREDICTION,
    ),
    "ridge, regression": (make_pipeline(StandardScaler(), Ridge(alpha=0.5)), PREDICTION, 0, TargetKind.SQUARED_ERROR),
}


@pytest.mark.parametrize("name", TWINS)
def test_a_model_is_what_a_plain_loop_of_scikit_learn_trains(name: str) -> None:
    estimator, reading, n_classes, kind = TWINS[name]
    task, dataset = world(estimator, reading, n_classes, kind)
    subsets = tasks.subsets_of(40, 3)
    for seeds in (np.full(3, 5), np.array([5, 2**32 + 6, 2**62 + 7])):
        ours = outputs(task, dataset, subsets, seeds.astype(np.int64))
        naive = [plain(estimator, task, dataset, s, seed) for s, seed in zip(subsets, seeds.tolist(), strict=True)]
        np.testing.assert_allclose(ours, naive, rtol=0, atol=1e-12 * max(1.0, float(np.abs(ours).max())))


def test_a_forests_seeds_are_the_trainings_own() -> None:
    task, dataset = world(RandomForestClassifier(n_estimators=3), kind=TargetKind.PROBABILITY)
    subsets = np.ones((4, 40), dtype=bool)
    once, again, other, wrapped = outputs(own_seeds(task), dataset, subsets, np.array([3, 3, 4, 2**32 + 3]))
    assert np.array_equal(once, again)
    assert np.array_equal(once, wrapped)
    assert not np.array_equal(once, other)


def test_estimators_within_estimators_have_the_seed_too() -> None:
    text = (
        "Pipeline(steps=[('project', SparseRandomProjection(n_components=3)), ('vote', VotingClassifier(voting='soft', "
        "estimators=[('forest', RandomForestClassifier(n_estimators=2)), ('bag', BaggingClassifier(n_estimators=2, "
        "estimator=ExtraTreeClassifier()))]))])"
    )
    task, dataset = world(text, kind=TargetKind.PROBABILITY)
    subsets = np.ones((2, 40), dtype=bool)
    np.random.seed(0)  # noqa: NPY002  what an estimator without a seed would draw from
    first = outputs(task, dataset, subsets, np.array([8, 9]))
    second = outputs(task, dataset, subsets, np.array([8, 9]))
    assert np.array_equal(first, second)
    assert not np.array_equal(first[0], first[1])


def test_draws_that_no_random_state_governs_are_the_trainings_own() -> None:
    """Isomap has none, and above 200 rows begins its eigenvectors at a draw from numpy's own generator."""
    text = "Pipeline(steps=[('map', Isomap(n_components=3)), ('end', SVC())])"
    task, dataset = tasks.digits(recipe(text, DECISION))
    subsets = np.stack([tasks.subsets_of(1000, 1)[0]] * 2)
    before = np.random.get_state()  # noqa: NPY002
    first = outputs(task, dataset, subsets)
    assert first[0].tobytes() == first[1].tobytes()
    after = np.random.get_state()  # noqa: NPY002
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True)), "numpy's generator is left as it was"
    np.random.random(7)  # noqa: NPY002
    assert outputs(task, dataset, subsets[:1]).tobytes() == first[:1].tobytes()


def test_a_contributors_rows_go_together() -> None:
    givers = tuple("abcdefgh"[i % 8] for i in range(60))
    of = tasks.table(contributors=givers)
    data = tasks.data_of(of)
    task = tasks.task_of(data, recipe(LogisticRegression()), TargetKind.PROBABILITY, n_units=8)
    dataset = split(of, data, UnitKind.CONTRIBUTOR)
    subsets = tasks.subsets_of(8, 5)
    naive = [plain(LogisticRegression(), task, dataset, subset, 0) for subset in subsets]
    np.testing.assert_allclose(outputs(task, dataset, subsets), naive, rtol=0, atol=1e-12)


# Subsets without rows, with one class or with some.


def of_classes(dataset: Dataset, *classes: int) -> np.ndarray:
    return np.isin(dataset.y_train, classes)[None]


def test_no_rows_score_every_class_alike() -> None:
    for reading, score in ((LOG, -math.log(3)), (DECISION, 0.0)):
        task, dataset = world("LogisticRegression()", reading)
        assert (scores_of(task, dataset, np.zeros((1, 40), dtype=bool)) == score).all()


def test_a_single_class_takes_all() -> None:
    for reading, absent, single in ((LOG, math.log(1e-6), 0.0), (DECISION, -1.0, 1.0)):
        task, dataset = world("LogisticRegression()", reading)
        scores = scores_of(task, dataset, of_classes(dataset, 1))
        assert np.array_equal(scores, np.broadcast_to([absent, single, absent], scores.shape))


def test_an_absent_class_scores_least() -> None:
    fitted, x = LogisticRegression(), None
    for reading in (LOG, DECISION):
        task, dataset = world(fitted, reading)
        inside = of_classes(dataset, 0, 2)
        scores = scores_of(task, dataset, inside)[0]
        assert (scores[:, 1] == (math.log(1e-6) if reading is LOG else -1.0)).all()
        x = dataset.x_test
        fitted.fit(dataset.x_train[inside[0]], dataset.y_train[inside[0]])
        d = fitted.decision_function(x)
        both = np.log(fitted.predict_proba(x)) if reading is LOG else np.stack([-d / 2, d / 2], axis=1)
        np.testing.assert_allclose(scores[:, [0, 2]], both, rtol=0, atol=1e-12)


def test_a_probability_is_no_less_than_a_millionth() -> None:
    task, dataset = world("DecisionTreeClassifier()")
    scores = scores_of(task, dataset, np.ones((1, 40), dtype=bool))
    assert set(np.unique(scores).tolist()) == {0.0, math.log(1e-6)}


def test_a_regression_of_no_rows_predicts_the_mean_of_all() -> None:
    task, dataset = world("Ridge()", PREDICTION, 0)
    empty = np.zeros((1, 40), dtype=bool)
    np.testing.assert_allclose(outputs(task, dataset, empty), np.full((1, 10), dataset.y_train.mean()), rtol=1e-14)


def test_a_loss_is_the_readings() -> None:
    inside = tasks.subsets_of(40, 2)
    for reading in (LOG, DECISION):
        task, dataset = world("LogisticRegression()", reading, kind=TargetKind.LOSS)
        scores = scores_of(task, dataset, inside)
        own = np.eye(3, dtype=bool)[dataset.y_test]
        if reading is LOG:
            naive = np.log(np.exp(scores).sum(axis=2)) - scores[:, own].reshape(2, -1)
        else:
            naive = (np.maximum(0, 1 - np.where(own, 1, -1) * scores) ** 2).sum(axis=2)
        np.testing.assert_allclose(outputs(task, dataset, inside), naive, rtol=0, atol=1e-12)


# However the work is shared out.


@pytest.mark.slow
@pytest.mark.usefixtures("two_threads")
def test_two_processes_give_the_bits_of_one() -> None:
    for estimator in (RandomForestClassifier(n_estimators=3), make_pipeline(StandardScaler(), LogisticRegression())):
        task, dataset = world(estimator)
        subsets = tasks.subsets_of(40, 23)
        seeds = np.arange(23, dtype=np.int64)
        shared = outputs(own_seeds(task), dataset, subsets, seeds)
        torch.set_num_threads(1)
        alone = Trainer(own_seeds(task), dataset, batch_size=5).raw_outputs(subsets[::-1].copy(), seeds[::-1].copy())
        torch.set_num_threads(2)
        assert np.array_equal(shared, alone[::-1])


@pytest.mark.usefixtures("two_threads")
def test_a_failure_in_another_process_names_its_subset_and_says_why() -> None:
    task, dataset = world("KNeighborsClassifier(n_neighbors=9)")
    subsets = np.ones((8, 40), dtype=bool)
    subsets[5] = np.arange(40) < 7
    message = (
        r"^recipe sklearn: expected a number from subset 5 \(seed 15, 7 of 40 units\), got none \(1 of 8 subsets\); "
        r"ValueError: Expected n_neighbors <= n_samples_fit, .*; mend it, or use an estimator that"
    )
    with pytest.raises(TrainingError, match=message):
        outputs(task, dataset, subsets, np.arange(10, 18))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no list of processes")
@pytest.mark.usefixtures("two_threads")
def test_a_process_that_is_lost_is_replaced() -> None:
    task, dataset = world("DecisionTreeClassifier()")
    trainer, subsets = Trainer(task, dataset), tasks.subsets_of(40, 9)
    before = trainer.raw_outputs(subsets, tasks.seeds_of(subsets))
    of_ours = re.compile(rf"\) [A-Z] {os.getpid()} ")
    places = [place for place in Path("/proc").glob("[0-9]*/stat") if of_ours.search(place.read_text())]
    lost = [int(place.parent.name) for place in places if b"LokyProcess" in (place.parent / "cmdline").read_bytes()]
    assert len(lost) == 2
    os.kill(lost[0], signal.SIGKILL)
    assert np.array_equal(trainer.raw_outputs(subsets, tasks.seeds_of(subsets)), before)


@pytest.mark.usefixtures("two_threads")
def test_processes_that_are_lost_again_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    pools = []

    class Broken:
        def __init__(self, n_processes: int) -> None:
            pools.append(n_processes)

        def __call__(self, calls: list[Any]) -> None:
            raise RuntimeError("a worker\nwas killed")

    monkeypatch.setattr(scikit, "_Pool", Broken)
    task, dataset = world("DecisionTreeClassifier()")
    message = (
        r"^recipe sklearn: expected 2 processes to train in, lost one twice \(RuntimeError: a worker was killed\); mem"
    )
    with pytest.raises(TrainingError, match=message):
        outputs(task, dataset, tasks.subsets_of(40, 9))
    assert pools == [2, 2]


def _outputs_in(connection: Any) -> None:
    torch.set_num_threads(2)
    task, dataset = world("RandomForestClassifier(n_estimators=2)")
    connection.send(outputs(task, dataset, tasks.subsets_of(40, 9)))
    scikit.end_processes()


@pytest.mark.slow
@pytest.mark.parametrize("daemon", [True, False], ids=["may have no others", "may have others and ends them"])
def test_a_process_of_multiprocessing_trains_and_ends(daemon: bool) -> None:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_outputs_in, args=(theirs,), daemon=daemon)
    process.start()
    task, dataset = world("RandomForestClassifier(n_estimators=2)")
    assert ours.poll(120)
    assert np.array_equal(ours.recv(), outputs(task, dataset, tasks.subsets_of(40, 9)))
    process.join(60)
    assert process.exitcode == 0


PROGRAM = """
import os
from pathlib import Path
from tempfile import gettempdir
import numpy
import torch
from protocol.training import Trainer
from tests.protocol.training import tasks
from tests.protocol.training.test_scikit import world

torch.set_num_threads(2)
task, dataset = world("DecisionTreeClassifier()")
trainer = Trainer(task, dataset)
for _ in range(5):
    trainer.raw_outputs(tasks.subsets_of(40, 9), numpy.zeros(9, dtype=numpy.int64))
folders = [*Path("/dev/shm").glob(f"joblib*_{os.getpid()}_*"), *Path(gettempdir()).glob(f"joblib*_{os.getpid()}_*")]
of_ours = f") S {os.getpid()} "
print(len(folders), *(place.parent.name for place in Path("/proc").glob("[0-9]*/stat") if of_ours in place.read_text()))
"""


def is_running(pid: str) -> bool:
    try:
        return ") Z " not in Path("/proc", pid, "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no list of processes")
def test_a_program_ends_with_its_processes_and_without_a_word() -> None:
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM], cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    n_folders, *children = done.stdout.split()
    assert int(n_folders) <= 2
    assert len(children) >= 2
    deadline = time.monotonic() + 30
    while any(map(is_running, children)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(is_running, children))


# What an estimator may not do to others, or to us.


def test_an_estimator_that_scales_in_place_spoils_no_other_model() -> None:
    in_place = make_pipeline(StandardScaler(copy=False), LogisticRegression())
    task, dataset = world(in_place)
    before = dataset.x_train.copy(), dataset.x_test.copy()
    subsets = tasks.subsets_of(40, 3)
    again = np.concatenate([subsets, subsets])
    ours = outputs(task, dataset, again)
    assert np.array_equal(ours[:3], ours[3:])
    assert np.array_equal(before[0], dataset.x_train)
    assert np.array_equal(before[1], dataset.x_test)
    copies, _ = world(make_pipeline(StandardScaler(), LogisticRegression()))
    np.testing.assert_allclose(ours[:3], outputs(copies, dataset, subsets), rtol=0, atol=1e-12)


def test_what_an_estimator_warns_of_is_not_repeated() -> None:
    task, dataset = world("MLPClassifier(max_iter=2)")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        outputs(task, dataset, tasks.subsets_of(40, 2))
    assert seen == []


def test_the_reason_is_that_of_the_subset_that_is_named() -> None:
    task, dataset = world("KNeighborsClassifier(n_neighbors=9)")
    trainer = Trainer(task, dataset, batch_size=2)
    subsets = np.ones((6, 40), dtype=bool)
    for place, n in ((1, 8), (3, 6)):
        subsets[place] = np.arange(40) < n
    for part, n in ((subsets, 8), (subsets[2:], 6)):
        with pytest.raises(TrainingError, match=rf"{n} of 40 units.*n_samples_fit = {n}"):
            trainer.raw_outputs(part, tasks.seeds_of(part))


def test_memory_that_runs_out_is_no_failure_of_the_estimator(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(LogisticRegression, "fit", fit)
    task, dataset = world("LogisticRegression()")
    with pytest.raises(TrainingError, match="recipe sklearn: expected memory for one model on cpu, found less"):
        outputs(task, dataset, tasks.subsets_of(40, 2))


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [
        ("KNeighborsClassifier(metric='pyfunc')", "TypeError: __init__"),
        ("Pipeline(steps=[('a', 3), ('b', LogisticRegression())])", "TypeError: All intermediate steps should be"),
        ("SVC(kernel='precomputed')", "AttributeError|ValueError"),
        ("CalibratedClassifierCV(estimator=SVC(), cv=30)", "ValueError: Requesting 30-fold"),
        ("StackingClassifier(estimators=[('a', SVC())], final_estimator=SVC())", "AttributeError: "),
    ],
)  # fmt: skip
def test_a_value_that_the_estimator_refuses_is_the_reason_given(estimator: str, reason: str) -> None:
    reading = DECISION if estimator.startswith("SVC") else LOG
    task, dataset = world(estimator, reading)
    with pytest.raises(TrainingError, match=rf"2 of 2 subsets\); {reason}"):
        outputs(task, dataset, np.ones((2, 40), dtype=bool))


def test_stacks_are_trusted_to_have_what_they_say_only_once_fitted() -> None:
    text = "StackingClassifier(estimators=[('a', DecisionTreeClassifier(max_depth=2)), ('b', GaussianNB())], cv=2)"
    task, dataset = world(text)
    assert np.isfinite(outputs(task, dataset, np.ones((1, 40), dtype=bool))).all()


def test_boosting_tells_the_classes_apart() -> None:
    of = read_table("sklearn:breast_cancer")
    data = tasks.data_of(of, 300, 100, source="sklearn:breast_cancer", target_column="")
    task = tasks.task_of(data, recipe(GradientBoostingClassifier(n_estimators=10)), TargetKind.MARGIN)
    margins = outputs(task, split(of, data, UnitKind.ROW), np.ones((1, 300), dtype=bool))
    assert (margins > 0).mean() > 0.9
