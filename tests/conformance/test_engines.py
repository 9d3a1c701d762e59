"""Every engine: the same outputs, told of once each, and ends that leave nothing behind."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import numpy as np
import pytest

from protocol.errors import InternalError, TrainingError
from protocol.training.chunks import MAX_CHUNK
from prover.engines import Done, Engine, in_order
from tests.conformance.worlds import (
    DRAW,
    ENGINES,
    N_TARGETS,
    ONE,
    SEVERAL,
    diverging,
    engine_of,
    gathered,
    reference,
    wine,
    workers_of,
)

N = 3000
CLOSE = 1e-9  # far below the tolerance of any task, far above rounding in batches of unlike size


@pytest.fixture(scope="module")
def started() -> Iterator[Callable[[str], Engine]]:
    """Start each engine once: workers take seconds to import what they need."""
    with ExitStack() as stack:
        yield cache(lambda name: stack.enter_context(engine_of(name, *wine())))


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, started: Callable[[str], Engine]) -> Engine:
    return started(request.param)


@pytest.fixture(params=SEVERAL)
def several(request: pytest.FixtureRequest, started: Callable[[str], Engine]) -> Engine:
    return started(request.param)


def joined(chunks: list[Done]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([chunk.evaluations for chunk in chunks]), np.concatenate([chunk.outputs for chunk in chunks])


def check(chunks: list[Done], evaluations: np.ndarray) -> None:
    """Hold chunks to what ``Engine.run`` promises."""
    numbers, outputs = joined(chunks)
    assert sorted(numbers) == sorted(evaluations)
    place = {int(number): i for i, number in enumerate(evaluations)}
    for chunk in chunks:
        start = place[int(chunk.evaluations[0])]
        assert np.array_equal(chunk.evaluations, evaluations[start : start + len(chunk.evaluations)])
        assert chunk.outputs.shape == (len(chunk.evaluations), N_TARGETS)
        assert chunk.seconds > 0
    assert np.abs(outputs - reference(numbers)).max() <= CLOSE


def test_outputs_are_the_trainers_and_each_is_told_of_once(engine: Engine) -> None:
    check(gathered(engine, np.arange(N)), np.arange(N))


def test_any_numbers_in_any_order_are_trained(engine: Engine) -> None:
    evaluations = np.random.default_rng(0).permutation(DRAW.n_evaluations)[:N]
    check(gathered(engine, evaluations), evaluations)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_few_are_as_good_as_many(engine: Engine, n: int) -> None:
    chunks = gathered(engine, np.arange(7, 7 + n))
    assert sum(len(chunk.evaluations) for chunk in chunks) == n
    if n:
        check(chunks, np.arange(7, 7 + n))


def test_order_can_be_had_from_any(engine: Engine) -> None:
    evaluations = np.random.default_rng(1).permutation(N)
    chunks: list[Done] = []
    engine.run(DRAW, evaluations, in_order(evaluations, chunks.append))
    assert np.array_equal(joined(chunks)[0], evaluations)


def test_one_device_keeps_the_order_itself() -> None:
    with engine_of(ONE, *wine()) as engine:
        assert np.array_equal(joined(gathered(engine, np.arange(N)))[0], np.arange(N))


class Enough(Exception):
    pass


def test_a_run_that_is_stopped_tells_no_more_and_the_next_one_is_whole(engine: Engine) -> None:
    told = []

    def stop(chunk: Done) -> None:
        told.append(chunk)
        if len(told) == 2:
            raise Enough

    with pytest.raises(Enough):
        engine.run(DRAW, np.arange(3 * MAX_CHUNK), stop)
    later = np.arange(N, 2 * N)
    check(gathered(engine, later), later)
    assert len(told) == 2


def test_a_training_that_fails_is_named_with_its_seed(request: pytest.FixtureRequest) -> None:
    task, dataset = diverging()
    evaluations = np.arange(100, 140)
    seeds = DRAW.training_seeds(task, evaluations)
    for name in (ONE, SEVERAL[0]):
        with engine_of(name, task, dataset) as engine, pytest.raises(TrainingError) as caught:
            gathered(engine, evaluations)
        found = re.match(
            r"evaluation (\d+): recipe sgd: expected a number from subset .*\(seed (\d+)", str(caught.value)
        )
        assert found, caught.value
        assert int(found[2]) == seeds[int(found[1]) - 100]


def test_a_worker_that_is_killed_costs_nothing(several: Engine) -> None:
    killed: list[int] = []

    def kill(chunk: Done) -> None:
        chunks.append(chunk)
        if len(killed) < 2 and (pids := set(workers_of(several)) - set(killed)):
            killed.append(pids.pop())
            os.kill(killed[-1], signal.SIGKILL)

    chunks: list[Done] = []
    several.run(DRAW, np.arange(4 * N), kill)
    check(chunks, np.arange(4 * N))
    assert len(killed) == 2
    check(gathered(several, np.arange(N)), np.arange(N))


def test_a_bug_in_a_worker_is_ours_and_not_tried_again(several: Engine) -> None:
    with pytest.raises(InternalError, match="please report it"):
        several.run(None, np.arange(4), lambda chunk: None)  # type: ignore[arg-type]
    check(gathered(several, np.arange(40)), np.arange(40))
