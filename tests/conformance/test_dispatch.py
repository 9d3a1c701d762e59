"""Chunks dealt out, and again where a worker is lost, and not for ever."""

from __future__ import annotations

import numpy as np
import pytest

from protocol.errors import TrainingError
from protocol.training.chunks import CHUNK_S, FIRST_CHUNK, ChunkSize
from prover.engines import Done, in_order
from prover.engines.dispatch import MAX_LOSSES, Failed, LostWorker, Report, dispatch
from tests.conformance.worlds import DRAW, wine

TASK = wine()[0]
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
