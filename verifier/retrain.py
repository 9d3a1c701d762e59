"""The verifier's own trainings: a session's ``Train`` effect, performed here.

Owns how long one takes on this machine. What a recipe means is
``protocol.training``'s business, the only module that is imported when it is needed and not before: torch takes
seconds to load and hundreds of megabytes, and no command that trains nothing should pay for it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, Int64

from protocol.encoding import Seed
from protocol.errors import ArgumentError
from protocol.game.sampling import Draw, pairs
from protocol.recipes import Factory, Kernel, Logistic, Recipe, Ridge
from protocol.session.effects import Train
from protocol.task import Task
from verifier.loop import OnProgress

if TYPE_CHECKING:
    from protocol.training import ChunkSize, Dataset, Outputs, Trainer

MAX_TIMED = 4096
"""Subsets of the largest timed pilot."""

PILOT_S = 1.0
"""About how long a timed pilot takes, on top of its first subsets."""


class Retrainer:
    """Trains a task's recipe on the subsets of a draw.

    Attributes
    ----------
    dataset : the task's data, read and checked against its digest.
    n_outputs, n_clipped : numbers read off models so far, and how many lay outside their target's range.
    """

    def __init__(self, task: Task, trainer: Trainer, dataset: Dataset, size: ChunkSize) -> None:
        self._task, self._trainer, self.dataset, self._size = task, trainer, dataset, size
        self.n_outputs = self.n_clipped = 0

    def __call__(self, train: Train, on_progress: OnProgress) -> Float64[np.ndarray, "k t"]:
        """Return the clipped outputs of ``train.evaluations``, shape (k, T), in their order.

        Raises
        ------
        TrainingError
            A training gave no number.
        """
        total = len(train.evaluations)
        out = np.empty((total, self._task.n_targets))
        done = 0
        on_progress(done, total)
        while done < total:
            started = time.perf_counter()
            chunk = train.evaluations[done : done + self._size.next]
            out[done : done + len(chunk)] = self._outputs(train.draw, chunk)
            done += len(chunk)
            on_progress(done, total)
            self._size.took(len(chunk), time.perf_counter() - started)
        return out

    def seconds_each(self) -> float:
        """Return how long one training takes here, by a timed pilot of about a second on made-up subsets."""
        n = self._size.next
        draw = Draw(seed=Seed(bytes(32)), design=pairs(MAX_TIMED, complements=False))
        self._train(draw, np.arange(n, dtype=np.int64))  # the first call pays for what later ones share
        while True:
            started = time.perf_counter()
            self._train(draw, np.arange(n, dtype=np.int64))
            seconds = time.perf_counter() - started
            self._size.took(n, seconds)
            if seconds > PILOT_S / 2 or self._size.next <= n:
                return seconds / n
            n = self._size.next

    def _train(self, draw: Draw, evaluations: Int64[np.ndarray, " k"]) -> Outputs:
        subsets = draw.subsets(self._task, evaluations)
        return self._trainer.outputs(subsets, draw.training_seeds(self._task, evaluations))

    def _outputs(self, draw: Draw, evaluations: Int64[np.ndarray, " k"]) -> Float64[np.ndarray, "k t"]:
        outputs = self._train(draw, evaluations)
        self.n_outputs += outputs.values.size
        self.n_clipped += outputs.n_clipped
        return outputs.values


def prepare(
    task: Task, *, data: Path | None, device: str = "cpu", n_threads: int | None = None, factory: str | None = None
) -> Retrainer:
    """Return a retrainer, its data read and checked against the task's digest.

    Parameters
    ----------
    data : where the task's file is; None for a ``sklearn:`` set. Does not affect outputs: the digest decides.
    device, n_threads : what trains. Do not affect outputs beyond the task's tolerance.
    factory : ``package.module:function`` of a network that is no built-in one, typed by the user and never by a peer.
        Its file is imported only where its digest is the task's. Does not affect outputs: that digest decides.

    Raises
    ------
    DataError
        The data cannot be read, or are not the task's.
    ArgumentError
        The task's network is no built-in one and ``factory`` is not it, or it is one and a factory is named.
    TrainingError
        The device is not there, or a network cannot be trained here.
    """
    from protocol.training import ChunkSize, Trainer, load  # noqa: PLC0415  see the head of this file
    from protocol.training.descent.networks import own_factory  # noqa: PLC0415

    if factory is not None and not has_own_network(task.recipe):
        raise ArgumentError(
            f"factory: expected none with this task, whose recipe {task.recipe.name} asks for no code of yours, "
            f"got {factory[:80]}: leave --factory out"
        )
    dataset = load(task, data)
    own = None if factory is None else own_factory(factory)
    trainer = Trainer(task, dataset, device=device, n_threads=n_threads, factory=own)
    return Retrainer(task, trainer, dataset, ChunkSize(task))


def has_own_network(recipe: Recipe) -> bool:
    """Whether a recipe's network is built by code that the protocol does not hold."""
    network = recipe.network if isinstance(recipe, Kernel) else recipe
    return getattr(network, "factory", None) is Factory.CUSTOM


def is_bounded(recipe: Recipe) -> bool:
    """Whether the data bound what a training takes: a recipe without a network, epochs or an estimator to name."""
    return isinstance(recipe, Ridge | Logistic) or (isinstance(recipe, Kernel) and recipe.network is None)
