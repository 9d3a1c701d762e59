"""Workers that end before they are ready: started again, and not for ever."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from protocol.errors import TrainingError
from protocol.training import Trainer
from prover import config
from prover.engines import Done
from prover.engines.processes import MAX_STARTS, ProcessEngine, _Stage
from tests.conformance.worlds import DRAW, gathered

N = 12_000  # more chunks than kills, from the other worker alone
TASK, DATASET = config.draft(config.Choices(data="sklearn:digits", n_targets=5))  # more bytes than a pipe holds


@pytest.fixture
def engine() -> Iterator[ProcessEngine]:
    with ProcessEngine(TASK, DATASET, devices=["cpu", "cpu"], n_threads=1) as engine:
        yield engine


def killing(engine: ProcessEngine, killed: list[bool], n: int) -> Callable[[Done], None]:
    """Return what kills the first worker, then n in its place as they start; notes who was ready."""

    def kill(_: Done) -> None:
        worker = engine._crew._workers[0]
        was_ready = worker.stage in {_Stage.IDLE, _Stage.BUSY}
        if len(killed) <= n and worker.process.is_alive() and was_ready == (not killed):
            killed.append(was_ready)
            os.kill(worker.process.pid or 0, signal.SIGKILL)
            worker.process.join()

    return kill


def whole(engine: ProcessEngine) -> bool:
    chunks = gathered(engine, np.arange(100))
    numbers = np.concatenate([chunk.evaluations for chunk in chunks])
    outputs = np.concatenate([chunk.outputs for chunk in chunks])
    seeds = DRAW.training_seeds(TASK, numbers)
    theirs = Trainer(TASK, DATASET).outputs(DRAW.subsets(TASK, numbers), seeds).values
    return len(numbers) == 100 and bool(np.allclose(outputs, theirs, atol=1e-9))


def test_a_worker_killed_as_it_starts_is_started_again(engine: ProcessEngine) -> None:
    killed: list[bool] = []
    numbers: list[int] = []
    kill = killing(engine, killed, MAX_STARTS - 1)

    def on_done(chunk: Done) -> None:
        numbers.extend(chunk.evaluations.tolist())
        kill(chunk)

    engine.run(DRAW, np.arange(N), on_done)
    assert killed == [True] + [False] * (MAX_STARTS - 1)
    assert sorted(numbers) == list(range(N))
    assert whole(engine)


def test_a_worker_that_never_starts_ends_the_run_and_not_the_next(engine: ProcessEngine) -> None:
    killed: list[bool] = []
    told: set[int] = set()
    dealt: list[set[int]] = []
    crew, kill = engine._crew, killing(engine, killed, MAX_STARTS)
    give = crew.give

    def giving(ticket: int, draw: object, evaluations: np.ndarray) -> None:
        dealt.append(set(evaluations.tolist()))
        give(ticket, draw, evaluations)  # type: ignore[arg-type]

    def on_done(chunk: Done) -> None:
        told.update(chunk.evaluations.tolist())
        kill(chunk)

    crew.give = giving  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match=rf"'cpu'.*{MAX_STARTS} ended before they were ready .*SIGKILL.*memory"):
        engine.run(DRAW, np.arange(N), on_done)
    assert killed == [True] + [False] * MAX_STARTS
    left = set().union(*dealt) - told
    assert any(left <= chunk for chunk in dealt), "all but the killed worker's chunk is told of"
    assert whole(engine)
