"""What an engine trains with, made where it trains. Owns what is said when memory does not hold even that."""

from __future__ import annotations

from protocol.errors import TrainingError
from protocol.task import Task
from protocol.training import Dataset, Trainer
from protocol.training.networks import OwnFactory
from prover.engines.chunks import is_memory


def trainer_of(
    task: Task, dataset: Dataset, *, device: str, n_threads: int | None, factory: OwnFactory | None
) -> Trainer:
    """Return a ``training.Trainer``; arguments and errors are its own.

    Raises
    ------
    TrainingError
        Memory does not hold the data and what the recipe sets up before it trains.
    """
    try:
        return Trainer(task, dataset, device=device, n_threads=n_threads, factory=factory)
    except (MemoryError, RuntimeError) as error:
        if not is_memory(error):
            raise
        raise TrainingError(
            f"device {device!r}: expected memory for the data and what recipe {task.recipe.name} sets up, found less; "
            "use a device with more, or fewer workers on this one"
        ) from error
