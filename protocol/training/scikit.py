"""Any estimator of scikit-learn on any subset of units: one model at a time, over the machine's processes.

Every training builds its estimator anew and has copies of its own of the rows: some estimators scale in place.
numpy's own generator begins at the training seed, as a ``random_state`` does. A training runs on one thread, however
many processes share the work, so that their number changes no bit. What an estimator warns of (an optimum not reached,
say) is part of what the recipe means, thousands of times over, and is not repeated.

Rules: an estimator that fails on a subset gives NaN there and the reason is kept; memory that runs out is raised.
"""

from __future__ import annotations

import functools
import itertools
import math
import warnings
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from joblib.externals.loky import get_reusable_executor
from sklearn.utils.parallel import Parallel, delayed
from threadpoolctl import ThreadpoolController
from torch import Tensor

from protocol.errors import TrainingError
from protocol.recipes import Reading, Sklearn
from protocol.training.data.datasets import Dataset
from protocol.training.estimators import METHOD, Maker, maker, said

LEAST_PROBABILITY = 1e-6
SEEDS = 1 << 32
"""As many as scikit-learn's ``random_state`` has."""

FEW = 4
"""Models that are not worth another process. Does not affect outputs."""

IDLE_S = 30
"""Seconds after which a process with nothing to do ends: those of a program that was killed take 0.3 GB each till then.
Does not affect outputs."""

SHARES = 4
"""Parts of a batch for each process: enough that none is left waiting, few enough that handing them out costs nothing.
Does not affect outputs."""

_Models: TypeAlias = tuple[Float64[np.ndarray, "m q c"], str]
"""Scores of models, NaN where one failed, and why the first of these did, or ``""``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Rows:
    """What is trained on and what is scored; goes to every process.

    x, y : shapes (n, d) and (n,). unit_of_row : shape (n,). x_target : shape (q, d).
    n_classes : 0 for a regression. mean : of all y of a regression.
    """

    x: Float64[np.ndarray, "n d"]
    y: Int64[np.ndarray, " n"] | Float64[np.ndarray, " n"]
    unit_of_row: Int64[np.ndarray, " n"]
    x_target: Float64[np.ndarray, "q d"]
    n_classes: int
    mean: float

    @property
    def shape(self) -> tuple[int, int]:
        """Target rows and scores of each."""
        return len(self.x_target), max(self.n_classes, 1)


class SklearnSolver:
    """Recipe ``sklearn`` on any subset of units.

    Parameters
    ----------
    dataset : the task's own. n_classes : C, or 0 for a regression.
    target_rows : the test rows that are scored.
    n_processes : at least 1; 1 trains here. A daemonic process, which may have no others, trains here, too.
        Does not affect outputs. See :func:`end_processes`.

    Raises
    ------
    TaskFileError
        As ``estimators.maker`` says.
    """

    def __init__(
        self,
        recipe: Sklearn,
        dataset: Dataset,
        n_classes: int,
        target_rows: Sequence[int],
        n_processes: int,
    ) -> None:
        self._make, self._reading, self._n_processes = maker(recipe), recipe.reading, n_processes
        self._rows = _Rows(
            x=dataset.x_train,
            y=dataset.y_train,
            unit_of_row=dataset.unit_of_row,
            x_target=dataset.x_test[list(target_rows)],
            n_classes=n_classes,
            mean=0.0 if n_classes else float(dataset.y_train.mean()),
        )
        self._pool: _Pool | None = None
        self._why = ""

    @property
    def advice(self) -> str:
        """Why the first model of the last batch failed, and what to do."""
        return f"{self._why}; mend it, or use an estimator that trains on every subset, or a larger sampling.p"

    @property
    def bytes_per_subset(self) -> int:
        """Working memory that one more subset in a batch takes, about."""
        return len(self._rows.x) + 4 * 8 * math.prod(self._rows.shape)

    def scores(self, subsets: Bool[Tensor, "m n"], seeds: Int64[np.ndarray, " m"]) -> Float64[Tensor, "m q c"]:
        """Return the scores at the target rows of a model per subset; not finite where training failed.

        Raises
        ------
        TrainingError
            Processes were lost.
        """
        inside = subsets.cpu().numpy()
        states = (seeds % SEEDS).tolist()
        if self._n_processes == 1 or len(inside) < FEW:
            scores, self._why = _train(self._make, self._reading, self._rows, inside, states)
        else:
            scores, self._why = self._shared_out(inside, states)
        return torch.from_numpy(scores).to(subsets.device)

    def _shared_out(self, inside: Bool[np.ndarray, "m n"], states: list[int]) -> _Models:
        """Train in other processes, which end with this one, or when idle for ``IDLE_S``."""
        bounds = np.linspace(0, len(inside), min(SHARES * self._n_processes, len(inside)) + 1).astype(int).tolist()
        parts = [slice(a, b) for a, b in itertools.pairwise(bounds)]
        calls = [delayed(_train)(self._make, self._reading, self._rows, inside[part], states[part]) for part in parts]
        done = self._run(calls)
        return np.concatenate([scores for scores, _ in done]), next((why for _, why in done if why), "")

    def _run(self, calls: list[Any]) -> list[_Models]:
        """Return what the calls do, in their order; a pool that broke, or was ended by another's start, is renewed."""
        lost = RuntimeError()
        for _ in range(2):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # that a daemonic process may have no others
                    if self._pool is None:
                        self._pool = _Pool(self._n_processes)
                    return self._pool(calls)
            except RuntimeError as error:
                lost, self._pool = error, None
        raise TrainingError(
            f"recipe sklearn: expected {self._n_processes} processes to train in, lost one twice ({said(lost)[:120]}); "
            "memory running out, as a rule: use fewer --threads"
        ) from lost


class _Pool:
    """Processes that have the rows once, in memory that they share: joblib's, and left when this is no longer there.

    One that is entered anew for every batch would leave a folder behind each time, to the end of the program.
    """

    def __init__(self, n_processes: int) -> None:
        self._pool: Any = Parallel(
            n_jobs=n_processes, batch_size=1, pre_dispatch="all", idle_worker_timeout=IDLE_S
        ).__enter__()
        weakref.finalize(self, self._pool.__exit__, None, None, None)

    def __call__(self, calls: list[Any]) -> list[_Models]:
        done: list[_Models] = self._pool(calls)
        return done


def _train(make: Maker, reading: Reading, rows: _Rows, inside: Bool[np.ndarray, "m n"], states: list[int]) -> _Models:
    """Return the scores of a model per subset; runs in whichever process."""
    scores = np.full((len(inside), *rows.shape), np.nan)
    first = ""
    with warnings.catch_warnings(), _threads().limit(limits=1), _own_draws():
        warnings.simplefilter("ignore")
        for i, (units, state) in enumerate(zip(inside, states, strict=True)):
            np.random.seed(state)  # noqa: NPY002  see _own_draws
            try:
                scores[i] = _scores(make, reading, rows, units[rows.unit_of_row], state)
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001  an estimator may raise anything, and another subset may do
                first = first or said(error)
            else:
                first = first or ("" if np.isfinite(scores[i]).all() else "the estimator gave no finite number")
    return scores, first


@contextmanager
def _own_draws() -> Iterator[None]:
    """Leave numpy's own generator as it was: what has no ``random_state`` draws from it (``Isomap``)."""
    before = np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


def end_processes() -> None:
    """End the processes that models were trained in; those who train again start others.

    For a process that ``multiprocessing`` started: it would wait for them when it ends, until they are idle for long.
    """
    get_reusable_executor().shutdown(wait=True)


@functools.cache
def _threads() -> Any:
    """Return what limits the threads of the libraries that this process has loaded; finding them takes a while."""
    return ThreadpoolController()


def _scores(
    make: Maker, reading: Reading, rows: _Rows, inside: Bool[np.ndarray, " n"], state: int
) -> Float64[np.ndarray, "q c"]:
    """Return one model's scores."""
    y = rows.y[inside]
    if reading is Reading.PREDICTION:
        if not len(y):
            return np.full(rows.shape, rows.mean)
        return _read(make, reading, rows, inside, state).reshape(rows.shape)
    of_absent, of_single = _WITHOUT[reading]
    present = np.unique(y)
    if not len(present):
        return np.full(rows.shape, -math.log(rows.n_classes) if reading is Reading.LOG_PROBABILITY else 0.0)
    scores = np.full(rows.shape, of_absent)
    if len(present) == 1:
        scores[:, present] = of_single
    else:
        read = _by_class(_read(make, reading, rows, inside, state), reading)
        if read.shape != (len(rows.x_target), len(present)):
            raise ValueError(f"expected a score for each of {len(present)} classes, got shape {read.shape}")
        scores[:, present] = read
    return scores


_WITHOUT = {Reading.LOG_PROBABILITY: (math.log(LEAST_PROBABILITY), 0.0), Reading.DECISION: (-1.0, 1.0)}
"""Scores of a class that is absent, and of one that is alone."""


def _read(make: Maker, reading: Reading, rows: _Rows, inside: Bool[np.ndarray, " n"], state: int) -> np.ndarray:
    estimator: Any = make(state)
    estimator.fit(rows.x[inside], rows.y[inside])
    return np.asarray(getattr(estimator, METHOD[reading])(rows.x_target.copy()), dtype=np.float64)


def _by_class(read: np.ndarray, reading: Reading) -> np.ndarray:
    """Return scores by class, of those that are present."""
    if reading is Reading.LOG_PROBABILITY:
        return np.asarray(np.log(np.maximum(read, LEAST_PROBABILITY)))
    return read if read.ndim > 1 else np.stack([-read / 2, read / 2], axis=1)
