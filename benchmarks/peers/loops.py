"""Other people's retraining loops on the driver's data, timed where they are installed.

    PYTHON benchmarks/peers/loops.py DIRECTORY

Runs in an environment of its own (requirements.txt beside it) and imports nothing of this project. DIRECTORY/work.npz
holds the data and the subsets. First a line on stdout with the versions; then for each line on stdin,
{"loop": NAME, "n": 40, "as": FILE}, the loop trains on the first n subsets, writes what it read off its models to
DIRECTORY/FILE, and answers with a line {"seconds": ..., "core_seconds": ...}: on the wall's clock, and of processors,
this process's and its descendants'. Both clocks run while the loop does: not while data are read or put into its form,
nor while what it read off is written.

Each loop is used as its documentation shows, on N_JOBS processes of one thread that were started before the clock:

    scikit-learn   joblib's Parallel over chunks of subsets; 200 margins a model
    pyDVL          MSRBanzhafValuation on a ModelUtility, in batches, its sampler yielding our subsets; a utility is one
                   number, here the mean of the 200 margins. "retraining alone" is the same utility on such batches
                   without the running values that the valuation keeps, anew for every row of every model
    dattri         retrain_lds in N_JOBS parts (start_id), each model saved to disk as it does; it draws subsets of
                   exactly half of the rows itself, and a new order in each epoch
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch
from dattri.model_util.retrain import retrain_lds
from joblib import Parallel, delayed, parallel_config
from pydvl.valuation import Dataset, ModelUtility, MSRBanzhafValuation, MSRSampler, NoStopping, SupervisedScorer
from pydvl.valuation.types import Sample
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

N_JOBS = 2
CHUNKS_PER_JOB = 4
PACKAGES = ("dattri", "pyDVL", "scikit-learn", "joblib", "torch", "numpy", "scipy")

Work = dict[str, np.ndarray]


class Taken(NamedTuple):
    """What a loop took, in seconds."""

    wall: float
    core: float


Loop = Callable[[Work, int], tuple[Taken, np.ndarray]]
"""The data and how many subsets to train on, to what that took and what was read off the models."""


class Watch:
    """Both clocks from here on."""

    def __init__(self) -> None:
        self._core, self._wall = processor_seconds(), time.perf_counter()

    def read(self) -> Taken:
        """Return what was taken since the start."""
        wall = time.perf_counter() - self._wall
        return Taken(wall, processor_seconds() - self._core)


def processor_seconds() -> float:
    """Return the seconds of processor that this process and its descendants, where they live, have had so far."""
    this, total = psutil.Process(), 0.0
    for process in (this, *this.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended meanwhile
            times = process.cpu_times()
            total += times.user + times.system
    return total


def margins(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the margins of (q, C) scores."""
    rows, others = np.arange(len(labels)), scores.copy()
    others[rows, labels] = -np.inf
    return np.asarray(scores[rows, labels] - others.max(axis=1))


def mean_margin(model: Any, x: np.ndarray, y: np.ndarray) -> float:
    """Return the mean of a model's margins: pyDVL's utility."""
    return float(margins(model.decision_function(x), y).mean())


def sklearn_part(model: Any, work: Work, subsets: np.ndarray) -> list[np.ndarray]:
    """Return the margins of a model per subset."""
    fits = (model.fit(work["x"][subset], work["y"][subset]) for subset in subsets)
    return [margins(fitted.decision_function(work["x_test"]), work["y_test"]) for fitted in fits]


def sklearn_loop(model: Any) -> Loop:
    """Return a loop over ``model``, chunk by chunk."""

    def loop(work: Work, n: int) -> tuple[Taken, np.ndarray]:
        data = {name: array for name, array in work.items() if name != "subsets"}
        watch = Watch()
        chunks = np.array_split(work["subsets"][:n], N_JOBS * CHUNKS_PER_JOB)
        parts = Parallel(n_jobs=N_JOBS)(delayed(sklearn_part)(model, data, chunk) for chunk in chunks)
        return watch.read(), np.concatenate(parts)

    return loop


def pydvl_parts(model: Any, work: Work) -> tuple[Dataset, ModelUtility]:
    """Return the training data and the utility."""
    train, test = Dataset(work["x"], work["y"]), Dataset(work["x_test"], work["y_test"])
    scorer = SupervisedScorer(mean_margin, test, default=0.0)
    return train, ModelUtility(model, scorer, catch_errors=False)


def batch_size(n: int) -> int:
    """Return how many models one of joblib's tasks trains."""
    return -(-n // (N_JOBS * CHUNKS_PER_JOB))


def samples(work: Work, n: int) -> list[Sample]:
    """Return our subsets in pyDVL's form."""
    return [Sample(None, np.flatnonzero(subset)) for subset in work["subsets"][:n]]


def pydvl_valuation(model: Any) -> Loop:
    """Return pyDVL's maximum-sample-reuse Banzhaf values, shape (N,), on our subsets."""

    def loop(work: Work, n: int) -> tuple[Taken, np.ndarray]:
        train, utility = pydvl_parts(model, work)
        sampler = MSRSampler(batch_size=batch_size(n))
        sampler.generate = lambda _: iter(samples(work, n))
        valuation = MSRBanzhafValuation(utility, NoStopping(sampler))
        valuation.sampler = sampler
        watch = Watch()
        with parallel_config(n_jobs=N_JOBS):
            valuation.fit(train)
        return watch.read(), np.asarray(valuation.result.values)

    return loop


def pydvl_part(utility: ModelUtility, batch: list[Sample]) -> list[float]:
    """Return the utilities of a batch."""
    return [utility(sample) for sample in batch]


def pydvl_retraining(model: Any) -> Loop:
    """Return pyDVL's utilities, shape (n,), on our subsets."""

    def loop(work: Work, n: int) -> tuple[Taken, np.ndarray]:
        train, utility = pydvl_parts(model, work)
        utility = utility.with_dataset(train)
        given, size = samples(work, n), batch_size(n)
        watch = Watch()
        batches = [given[i : i + size] for i in range(0, n, size)]
        parts = Parallel(n_jobs=N_JOBS)(delayed(pydvl_part)(utility, batch) for batch in batches)
        return watch.read(), np.concatenate(parts)

    return loop


def perceptron(n_features: int, width: int, n_classes: int) -> nn.Module:
    """Return the network that dattri's loop trains."""
    return nn.Sequential(nn.Linear(n_features, width), nn.ReLU(), nn.Linear(width, n_classes))


def train_perceptron(dataloader: Any, seed: int | None = None, **recipe: Any) -> nn.Module:
    """Be dattri's ``train_func``."""
    torch.manual_seed(seed or 0)
    model = perceptron(*recipe["sizes"])
    optimiser = torch.optim.SGD(model.parameters(), lr=recipe["learning_rate"], momentum=recipe["momentum"])
    model.train()
    for _ in range(recipe["epochs"]):
        for x, y in dataloader:
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimiser.step()
    return model


def dattri_part(work: Work, n_rows: int, recipe: dict[str, Any], path: str, start: int, n: int, total: int) -> None:
    """Retrain on subsets ``start`` to ``start + n`` of dattri's own, and save the models."""
    rows = TensorDataset(torch.tensor(work["x"], dtype=torch.float32), torch.tensor(work["y"]))
    loader = DataLoader(rows, batch_size=n_rows)
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):  # its progress bars
        retrain_lds(
            train_perceptron, loader, path, num_subsets=n, start_id=start, total_num_subsets=total, seed=0, **recipe
        )


def dattri_loop(n_rows: int) -> Loop:
    """Return dattri's loop with so many rows a step; it reads the models' margins after the clocks have stopped."""

    def loop(work: Work, n: int) -> tuple[Taken, np.ndarray]:
        data = {name: work[name] for name in ("x", "y")}
        recipe = json.loads(str(work["recipe"]))
        each = n // N_JOBS
        with tempfile.TemporaryDirectory() as path:
            watch = Watch()
            Parallel(n_jobs=N_JOBS)(
                delayed(dattri_part)(data, n_rows, recipe, path, k * each, each, n) for k in range(N_JOBS)
            )
            taken = watch.read()
            return taken, np.array([read_margins(work, recipe, Path(path) / str(i)) for i in range(n)])

    return loop


def read_margins(work: Work, recipe: dict[str, Any], directory: Path) -> np.ndarray:
    """Return the margins of a model that dattri saved."""
    model = perceptron(*recipe["sizes"])
    model.load_state_dict(torch.load(directory / "model_weights_0.pt", weights_only=True))
    with torch.no_grad():
        scores = model(torch.tensor(work["x_test"], dtype=torch.float32)).double().numpy()
    return margins(scores, work["y_test"])


def loops_of(work: Work) -> dict[str, Loop]:
    """Return every loop by its name, for the penalty that the driver gives."""
    l2 = float(work["l2"])
    ridge = RidgeClassifier(alpha=l2)
    # The driver's features end with a constant 1 where ours penalise the intercept, too.
    logistic = LogisticRegression(C=1 / l2, fit_intercept=False, solver="newton-cg", tol=1e-9, max_iter=10_000)
    return {
        "sklearn ridge": sklearn_loop(ridge),
        "sklearn logistic": sklearn_loop(logistic),
        "pydvl ridge": pydvl_valuation(ridge),
        "pydvl logistic": pydvl_valuation(logistic),
        "pydvl ridge, retraining alone": pydvl_retraining(ridge),
        "pydvl logistic, retraining alone": pydvl_retraining(logistic),
        "dattri": dattri_loop(25),
        "dattri, half the steps": dattri_loop(50),
    }


@functools.cache
def read_work(path: Path) -> Work:
    """Return what the driver gives; the same for every round."""
    with np.load(path) as arrays:
        return dict(arrays)


def main() -> None:
    """Answer one line after another, until there are no more."""
    directory = Path(sys.argv[1])
    said = sys.stdout
    sys.stdout = sys.stderr  # what a library prints is no answer
    print(json.dumps({name: importlib.metadata.version(name) for name in PACKAGES}), file=said, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        work = read_work(directory / asked["work"])
        taken, outputs = loops_of(work)[asked["loop"]](work, asked["n"])
        np.save(directory / asked["as"], outputs)
        print(json.dumps({"seconds": taken.wall, "core_seconds": taken.core}), file=said, flush=True)


if __name__ == "__main__":
    main()
