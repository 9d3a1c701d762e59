"""Chunks as long as they cost nothing to save, and longer only where that makes trainings cheaper."""

from __future__ import annotations

from protocol.training.chunks import FIRST_CHUNK, LONGEST_S, MAX_CHUNK, MAX_CHUNK_BYTES, ChunkSize
from tests.games import task_of

TASK = task_of(50)


def test_chunks_grow_to_half_a_second() -> None:
    size = ChunkSize(TASK)
    assert size.next == FIRST_CHUNK
    size.took(3, 0.0)  # the end of a run says nothing of large ones
    assert size.next == FIRST_CHUNK
    for _ in range(20):
        size.took(size.next, 0.01)
    assert size.next == MAX_CHUNK


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


def test_no_chunk_is_larger_than_its_bytes() -> None:
    wide = task_of(400_000)
    assert ChunkSize(wide).next * (400_000 + 8 * wide.n_targets) <= MAX_CHUNK_BYTES
