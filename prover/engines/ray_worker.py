"""What runs on a Ray cluster's nodes: one chunk after another, the trainer kept between them.

Imports no Ray: a node imports this module by its name, from the attribution-proofs that is installed
there, which has to be the driver's version.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

from protocol import __version__
from protocol.errors import AttributionProofsError
from protocol.sampling import Draw
from protocol.task import Task
from protocol.training import Dataset, Trainer
from protocol.training.networks import own_factory
from prover.engines.dispatch import Failed, Report, bug, report

_trainers: dict[tuple[object, ...], Trainer] = {}


def version() -> str:
    """Return the version that is installed on this node."""
    return __version__


def train(
    task: Task,
    dataset: Dataset,
    device: str,
    n_threads: int,
    factory: str | None,
    draw: Draw,
    evaluations: Int64[np.ndarray, " k"],
) -> Report:
    """Return what became of a chunk."""
    try:
        trainer = _trainer(task, dataset, device, n_threads, factory)
    except AttributionProofsError as error:
        return Failed(error=error)
    except Exception as error:  # noqa: BLE001  said to the driver, which raises it
        return Failed(error=bug(error))
    return report(task, trainer, draw, evaluations)


def _trainer(task: Task, dataset: Dataset, device: str, n_threads: int, factory: str | None) -> Trainer:
    key = (task.digest, device, n_threads, factory)
    if key not in _trainers:
        _trainers.clear()  # one at a time: it holds the data, on a GPU as a rule
        own = own_factory(factory) if factory else None
        _trainers[key] = Trainer(task, dataset, device=device, n_threads=n_threads, factory=own)
    return _trainers[key]
