"""Chunks dealt out: halved where they are too large, again where a worker is lost, and not for ever."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from protocol.errors import TrainingError
from protocol.training.trainer import Outputs
from prover.engines import Done, in_order
from prover.engines.chunks import CHUNK_S, FIRST_CHUNK, LONGEST_S, MAX_CHUNK, ChunkSize, TooLarge, train_chunk
from prover.engines.dispatch import MAX_LOSSES, Failed, LostWorker, Report, TooMuch, dispatch
from prover.engines.local import LocalEngine
from tests.conformance.worlds import DRAW, gathered, wine

TASK = wine()[0]
ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: not enough memory: you tried to allocate"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
]


class Greedy:
    """A trainer that no memory holds above ``room`` subsets."""

    def __init__(self, room: int, error: Exception) -> None:
        self.room, self.error, self.sizes = room, error, []

    def outputs(self, subsets: np.ndarray, seeds: np.ndarray) -> Outputs:
        self.sizes.append(len(subsets))
        if len(subsets) > self.room:
            raise self.error
        return Outputs(values=subsets[:, : TASK.n_targets].astype(float), n_clipped=0)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error)[:20] or "MemoryError")
def test_a_chunk_too_large_for_memory_halves_itself_and_goes_on(error: Exception) -> None:
    engine = LocalEngine(*wine())
    engine._trainer = trainer = Greedy(5, error)
    chunks = gathered(engine, np.arange(60))
    assert [number for chunk in chunks for number in chunk.evaluations] == list(range(60))
    assert trainer.sizes == [16, 8, *[4] * 15]  # and never tries as many again


def test_one_training_too_large_for_memory_is_named() -> None:
    engine = LocalEngine(*wine())
    engine._trainer = Greedy(0, MemoryError())
    with pytest.raises(TrainingError, match=r"evaluation 40 \(seed \d+\): expected memory for one training"):
        gathered(engine, np.arange(40, 60))


def test_an_error_that_is_not_memorys_is_not_halved() -> None:
    with pytest.raises(RuntimeError, match="shape"):
        train_chunk(TASK, Greedy(0, RuntimeError("shape")), DRAW, np.arange(4))
    with pytest.raises(TooLarge):
        train_chunk(TASK, Greedy(0, MemoryError()), DRAW, np.arange(4))


def test_chunks_grow_to_half_a_second_and_not_past_what_fitted() -> None:
    size = ChunkSize(TASK)
    assert size.next == FIRST_CHUNK
    size.took(3, 0.0)  # the end of a run says nothing of large ones
    assert size.next == FIRST_CHUNK
    for _ in range(20):
        size.took(size.next, 0.01)
    assert size.next == MAX_CHUNK
    size.too_large(MAX_CHUNK)
    for _ in range(20):
        size.took(size.next, 0.01)
    assert size.next == MAX_CHUNK // 2


def sizes_where(seconds_of) -> list[int]:  # type: ignore[no-untyped-def]
    """Return the sizes of the first chunks where one of n takes ``seconds_of(n)``."""
    size, sizes = ChunkSize(TASK), []
    for _ in range(16):
        sizes.append(size.next)
        size.took(size.next, seconds_of(size.next))
    return sizes


def test_chunks_grow_on_while_many_at_once_are_cheaper_each() -> None:
    sizes = sizes_where(lambda n: 1.0 + 1e-4 * n)  # a GPU: the steps cost, and hardly what is in them
    assert sizes[-1] == MAX_CHUNK
    assert sizes_where(lambda n: 4.0 + 0.02 * n)[-1] == 512  # which takes 14 s: twice as many, more than LONGEST_S
    assert LONGEST_S < 4.0 + 0.02 * 1024


def test_chunks_that_gain_nothing_by_size_are_as_short_as_they_come() -> None:
    assert sizes_where(lambda n: 0.1 * n) == [16, 32, *[16] * 14]  # one try
    assert sizes_where(lambda n: 0.001 * n)[-1] == 256
    assert sizes_where(lambda n: 100.0 * n) == [16] * 16


def test_a_first_chunk_that_warms_up_decides_nothing() -> None:
    slow = iter([3.0])
    assert sizes_where(lambda n: next(slow, 0.001 * n))[-1] == 256


GONE = Failed(error=TrainingError("device 'cuda:3': expected it"))


class Script:
    """A crew of two that reports what ``fate`` says of a chunk, latest given first."""

    def __init__(self, fate) -> None:  # type: ignore[no-untyped-def]
        self.fate, self.given, self.under_way, self.is_dropped = fate, [], [], False

    def has_room(self) -> bool:
        return len(self.under_way) < 2

    def give(self, ticket: int, draw: object, evaluations: np.ndarray) -> None:
        self.given.append(evaluations.tolist())
        self.under_way.append((ticket, evaluations))

    def wait(self) -> list[tuple[int | None, Report]]:
        ticket, evaluations = self.under_way.pop()
        outcome = self.fate(evaluations) or done(evaluations)
        return [(ticket, outcome)] if outcome is not GONE else [(None, outcome), (ticket, LostWorker(reason="gone"))]

    def drop(self) -> None:
        self.under_way.clear()
        self.is_dropped = True


def done(evaluations: np.ndarray) -> Done:
    return Done(evaluations=evaluations, outputs=np.zeros((len(evaluations), 1)), n_clipped=0, seconds=CHUNK_S)


def dealt(crew: Script, n: int) -> list[int]:
    told: list[int] = []
    try:
        dispatch(crew, 2, DRAW, np.arange(n), ChunkSize(TASK), lambda chunk: told.extend(chunk.evaluations.tolist()))
    except TrainingError as error:
        told.append(-1)
        crew.error = str(error)  # type: ignore[attr-defined]
    return told


def test_every_chunk_is_told_of_once_whoever_is_first() -> None:
    told = dealt(Script(lambda evaluations: None), 100)
    assert told != sorted(told)
    assert sorted(told) == list(range(100))


def test_what_was_too_much_comes_back_in_halves() -> None:
    crew = Script(lambda evaluations: TooMuch() if len(evaluations) > 6 else None)
    assert sorted(dealt(crew, 100)) == list(range(100))
    sizes = [len(chunk) for chunk in crew.given]
    assert max(sizes) == FIRST_CHUNK
    assert max(sizes[4:]) <= 8


def test_a_lost_workers_chunk_is_trained_again() -> None:
    lost = set()

    def fate(evaluations: np.ndarray) -> Report | None:
        first = int(evaluations[0])
        if first % 32 == 0 and first not in lost:
            lost.add(first)
            return LostWorker(reason="SIGKILL")
        return None

    assert sorted(dealt(Script(fate), 200)) == list(range(200))
    assert lost


def test_a_chunk_that_kills_its_workers_ends_the_run_after_the_rest_is_told() -> None:
    crew = Script(lambda evaluations: LostWorker(reason="SIGKILL") if 37 in evaluations else None)
    told = dealt(crew, 64)
    assert told[-1] == -1
    assert re_first_last(crew.error)[0] <= 37 <= re_first_last(crew.error)[1]  # type: ignore[attr-defined]
    assert f"lost {MAX_LOSSES} workers on them (SIGKILL)" in crew.error  # type: ignore[attr-defined]
    assert sum(37 in chunk for chunk in crew.given) == MAX_LOSSES
    finished = {number for chunk in crew.given for number in chunk} - set(told)
    assert max(finished) - min(finished) < FIRST_CHUNK  # all but the fatal chunk is told of


def re_first_last(error: str) -> tuple[int, int]:
    words = error.split(":", maxsplit=1)[0].split()
    return int(words[1]), int(words[3])


def test_a_training_that_fails_ends_the_run_and_what_was_under_way_is_kept() -> None:
    crew = Script(lambda evaluations: Failed(error=TrainingError("evaluation 20: none")) if 20 in evaluations else None)
    told = dealt(crew, 500)
    assert told == [*range(16), -1]
    assert len(crew.given) == 2  # nothing was begun after it


def test_a_worker_that_cannot_be_had_again_ends_the_run_and_what_was_under_way_is_kept() -> None:
    crew = Script(lambda evaluations: GONE if 20 in evaluations else None)
    told = dealt(crew, 500)
    assert told == [*range(16), -1]
    assert crew.error == "device 'cuda:3': expected it"  # type: ignore[attr-defined]
    assert len(crew.given) == 2


def test_a_run_that_is_stopped_drops_what_is_under_way() -> None:
    crew = Script(lambda evaluations: None)

    def stop(chunk: Done) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dispatch(crew, 2, DRAW, np.arange(100), ChunkSize(TASK), stop)
    assert crew.is_dropped


def test_chunks_that_come_early_wait_for_their_turn() -> None:
    evaluations = np.array([9, 4, 7, 1, 3])
    told: list[list[int]] = []
    hold = in_order(evaluations, lambda chunk: told.append(chunk.evaluations.tolist()))
    for start, stop in ((4, 5), (1, 2)):
        hold(done(evaluations[start:stop]))
    assert told == []
    hold(done(evaluations[:1]))
    assert told == [[9], [4]]
    hold(done(evaluations[2:4]))
    assert told == [[9], [4], [7, 1], [3]]
