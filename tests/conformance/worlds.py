"""Engines to hold against each other, and small real tasks that they train."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from protocol.encoding import Seed
from protocol.game.sampling import Draw, pairs
from protocol.task import SeedPolicy, Task
from protocol.training import Dataset, Trainer
from prover import config
from prover.engines import Done, Engine
from prover.engines.local import LocalEngine
from prover.engines.processes import ProcessEngine
from prover.network_choices import NetworkChoices

ONE, TWO, RAY = "one device", "two processes", "ray"
ENGINES = [ONE, TWO, pytest.param(RAY, marks=pytest.mark.ray)]
SEVERAL = [TWO, pytest.param(RAY, marks=pytest.mark.ray)]
"""Engines whose workers are processes that can be killed."""

DRAW = Draw(seed=Seed(bytes(range(32))), design=pairs(100_000))
N_TARGETS = 5


@cache
def wine() -> tuple[Task, Dataset]:
    """Ridge on 118 rows: thousands of trainings a second."""
    return config.draft(config.Choices(data="sklearn:wine", n_targets=N_TARGETS))


@cache
def diverging() -> tuple[Task, Dataset]:
    """Gradient descent whose every training ends in no number, each with a seed of its own."""
    network = NetworkChoices(widths="2", epochs=1, batch_size=10, learning_rate=1e30)
    choices = config.Choices(
        data="sklearn:wine", recipe="sgd", network=network, n_targets=1, seed_policy=SeedPolicy.PER_SUBSET
    )
    return config.draft(choices)


def engine_of(name: str, task: Task, dataset: Dataset) -> AbstractContextManager[Engine]:
    """Return an engine of that kind; two workers where it has workers."""
    if name == ONE:
        return nullcontext(LocalEngine(task, dataset))
    if name == TWO:
        return ProcessEngine(task, dataset, devices=["cpu", "cpu"], n_threads=1)
    pytest.importorskip("ray", reason="Ray is optional")
    from prover.engines.ray_engine import RayEngine

    return RayEngine(task, dataset, n_workers=2)


def reference(evaluations: np.ndarray) -> np.ndarray:
    """Return the outputs of ``wine``, by one batch after another and no engine."""
    task, dataset = wine()
    seeds = DRAW.training_seeds(task, evaluations)
    return Trainer(task, dataset).outputs(DRAW.subsets(task, evaluations), seeds).values


def gathered(engine: Engine, evaluations: np.ndarray, draw: Draw = DRAW) -> list[Done]:
    """Return the chunks of a run, as they came."""
    chunks: list[Done] = []
    engine.run(draw, evaluations, chunks.append)
    return chunks


def descendants(pid: int) -> Iterator[int]:
    """Return the processes that a process started, and those that these did."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue  # it ended meanwhile
        if parent == pid:
            child = int(stat.parent.name)
            yield child
            yield from descendants(child)


def trains_now(pid: int) -> bool:
    """Whether a process is a Ray worker at one of our chunks: Ray names it after its task."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::train")
    except OSError:
        return False


def workers_of(engine: Engine) -> list[int]:
    """Return the processes that train for an engine now."""
    if isinstance(engine, ProcessEngine):
        return engine.pids
    return [pid for pid in descendants(os.getpid()) if trains_now(pid)]
