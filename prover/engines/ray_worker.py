"""What runs on a Ray cluster's nodes: one chunk after another, the trainer kept between them.

Imports no Ray: a node imports this module by its name, from the attribution-proofs that is installed
there, which has to be the driver's version.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Int64

import protocol
from protocol import __version__
from protocol.errors import AttributionProofsError, TrainingError
from protocol.game.sampling import Draw
from protocol.task import Task
from protocol.training import Dataset, Trainer
from protocol.training.descent.networks import own_factory
from prover.engines.dispatch import Failed, Report, bug, report

_trainers: dict[tuple[object, ...], Trainer] = {}


def _found() -> str:
    digest = hashlib.sha256()
    for package in (Path(protocol.__file__).parent, Path(__file__).parent):
        for source in sorted(path for path in package.rglob("*.py") if path.is_file()):
            content = source.read_bytes()
            digest.update(f"{source.relative_to(package).as_posix()} {len(content)}\n".encode() + content)
    return f"{__version__}+{digest.hexdigest()[:12]}"


_VERSION = _found()  # now, as the sources are imported: this process may outlive the next ones


def version() -> str:
    """Return what runs on this node: the version, and a digest of the sources that a training goes through.

    Two checkouts between releases have one version and train differently.
    """
    return _VERSION


def unlike(ours: str, theirs: str) -> TrainingError:
    """Return what is said of a node where another version, or none, is installed."""
    return TrainingError(
        f"ray: expected attribution-proofs {ours} on every node, got {theirs}; install there what the driver runs"
    )


def train(
    driver: str | None,
    task: Task,
    dataset: Dataset,
    device: str,
    n_threads: int,
    factory: str | None,
    draw: Draw,
    evaluations: Int64[np.ndarray, " k"],
) -> Report:
    """Return what became of a chunk; a failure where ``driver``, its :func:`version`, is not the one here.

    Parameters
    ----------
    driver : None where the cluster was started by it, from the same sources.
    """
    if driver is not None and driver != version():
        return Failed(error=unlike(driver, version()))
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
