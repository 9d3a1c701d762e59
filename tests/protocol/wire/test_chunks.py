"""Streams of claims and answers resume anywhere and take nothing that does not fit."""

from __future__ import annotations

import itertools
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.encoding import Digest
from protocol.errors import BudgetError, MalformedMessage
from protocol.wire import chunks, limits
from protocol.wire.chunks import AnswersAssembler, ClaimAssembler
from protocol.wire.generated import attribution_pb2 as pb
from tests.protocol.wire import values

TASK = values.tiny_task()
CLAIM = values.tiny_claim(TASK).claim
CLAIM_BYTES = chunks.claim_to_bytes(CLAIM)
OUTPUTS = np.arange(12.0).reshape(4, 3)


def claim_assembler() -> ClaimAssembler:
    return ClaimAssembler(task_digest=TASK.digest, n_targets=2, n_units=5)


def answers_assembler() -> AnswersAssembler:
    return AnswersAssembler(n_answers=4, n_targets=3)


def test_a_claim_is_its_intercepts_then_its_scores_little_endian() -> None:
    assert struct.pack("<12d", *CLAIM.intercepts, *CLAIM.scores.ravel()) == CLAIM_BYTES


@given(cuts=st.lists(st.integers(0, 96), max_size=5))
def test_a_claim_comes_together_from_any_pieces(cuts: list[int]) -> None:
    assembler = claim_assembler()
    edges = sorted({0, 96, *cuts})
    for start, stop in itertools.pairwise(edges):
        assert assembler.offset == start
        assembler.add(pb.ClaimChunk(offset=start, data=CLAIM_BYTES[start:stop]))
    claim = assembler.finish()
    assert claim.task_digest == TASK.digest
    np.testing.assert_array_equal(claim.intercepts, CLAIM.intercepts)
    np.testing.assert_array_equal(claim.scores, CLAIM.scores)


@given(offset=st.integers(0, 96))
def test_a_claim_resumes_at_any_byte(offset: int) -> None:
    assembler = claim_assembler()
    if offset:
        assembler.add(pb.ClaimChunk(offset=0, data=CLAIM_BYTES[:offset]))
    for chunk in chunks.claim_chunks(CLAIM_BYTES, assembler.offset):
        assembler.add(chunk)
    np.testing.assert_array_equal(assembler.finish().scores, CLAIM.scores)


def test_a_large_claim_is_cut_into_chunks_within_the_limit() -> None:
    data = bytes(2 * limits.CHUNK_BYTES + 8)
    assert [len(chunk.data) for chunk in chunks.claim_chunks(data, 0)] == [limits.CHUNK_BYTES, limits.CHUNK_BYTES, 8]
    assert max(chunk.ByteSize() for chunk in chunks.claim_chunks(data, 0)) < limits.MAX_MESSAGE_BYTES


@pytest.mark.parametrize(
    ("offset", "data", "says"),
    [
        (8, b"x" * 8, "claim: expected bytes from 0 on, got them from 8"),
        (0, b"", "claim: expected bytes in every chunk, got an empty one"),
        (0, b"x" * 97, "claim: expected 96 bytes more, got 97"),
    ],
    ids=["gap", "empty", "over-long"],
)
def test_a_chunk_of_a_claim_that_does_not_fit_is_refused(offset: int, data: bytes, says: str) -> None:
    assembler = claim_assembler()
    with pytest.raises(MalformedMessage, match=says):
        assembler.add(pb.ClaimChunk(offset=offset, data=data))
    assert assembler.offset == 0


def test_a_chunk_after_the_last_is_refused() -> None:
    assembler = claim_assembler()
    assembler.add(pb.ClaimChunk(offset=0, data=CLAIM_BYTES))
    with pytest.raises(MalformedMessage, match="expected 0 bytes more, got 1"):
        assembler.add(pb.ClaimChunk(offset=96, data=b"x"))


def test_a_truncated_claim_is_refused() -> None:
    assembler = claim_assembler()
    assembler.add(pb.ClaimChunk(offset=0, data=CLAIM_BYTES[:-1]))
    assert not assembler.is_complete
    with pytest.raises(MalformedMessage, match="claim: expected 96 bytes, got 95"):
        assembler.finish()


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e101])
def test_a_claim_with_an_unusable_score_is_refused(number: float) -> None:
    assembler = claim_assembler()
    assembler.add(pb.ClaimChunk(offset=0, data=CLAIM_BYTES[:-8] + struct.pack("<d", number)))
    with pytest.raises(MalformedMessage, match="expected finite"):
        assembler.finish()


def test_a_claim_or_answers_over_the_limit_are_refused_before_anything_is_fetched() -> None:
    with pytest.raises(BudgetError, match="claim: expected at most 1073741824 bytes"):
        ClaimAssembler(task_digest=Digest(bytes(32)), n_targets=100_000, n_units=10_000_000)
    with pytest.raises(BudgetError, match="answers: expected at most 1073741824 bytes"):
        AnswersAssembler(n_answers=50_000_000, n_targets=3)


@given(first=st.integers(0, 4))
def test_answers_resume_at_any_evaluation(first: int) -> None:
    assembler = answers_assembler()
    if first:
        assembler.add(pb.AnswersChunk(first=0, outputs=OUTPUTS[:first].tobytes()))
    for event in chunks.answers_chunks(OUTPUTS, assembler.next_answer):
        assembler.add(event.answers)
    assert assembler.is_complete
    np.testing.assert_array_equal(assembler.finish(), OUTPUTS)


def test_wide_answers_are_cut_into_whole_rows_within_the_limit() -> None:
    outputs = np.zeros((5, 60_000))
    events = list(chunks.answers_chunks(outputs, 0))
    assert [event.answers.first for event in events] == [0, 2, 4]
    assert max(event.ByteSize() for event in events) < limits.MAX_MESSAGE_BYTES


@pytest.mark.parametrize(
    ("first", "outputs", "says"),
    [
        (1, bytes(24), "answers: expected answer 0 next, got answer 1"),
        (0, bytes(23), "answers: expected whole rows of 3 numbers"),
        (0, b"", "answers: expected bytes in every chunk"),
        (0, bytes(120), "answers: expected 96 bytes more, got 120"),
    ],
    ids=["gap", "part of a row", "empty", "too many"],
)
def test_a_chunk_of_answers_that_does_not_fit_is_refused(first: int, outputs: bytes, says: str) -> None:
    assembler = answers_assembler()
    with pytest.raises(MalformedMessage, match=says):
        assembler.add(pb.AnswersChunk(first=first, outputs=outputs))
    assert assembler.next_answer == 0


def test_too_few_answers_are_refused() -> None:
    assembler = answers_assembler()
    assembler.add(pb.AnswersChunk(first=0, outputs=bytes(72)))
    with pytest.raises(MalformedMessage, match="answers: expected 4, got 3"):
        assembler.finish()


def test_nan_answers_are_refused() -> None:
    assembler = answers_assembler()
    assembler.add(pb.AnswersChunk(first=0, outputs=np.full((4, 3), np.nan).tobytes()))
    with pytest.raises(MalformedMessage, match="answers: expected finite numbers, got NaN or infinity"):
        assembler.finish()


@pytest.mark.parametrize("start", [97, -1])
def test_nothing_is_served_past_the_end(start: int) -> None:
    with pytest.raises(MalformedMessage, match="expected an offset from 0 to 96"):
        list(chunks.claim_chunks(CLAIM_BYTES, start))
    with pytest.raises(MalformedMessage, match="expected a first answer from 0 to 4"):
        list(chunks.answers_chunks(OUTPUTS, start))


def test_the_last_event_carries_the_commitment() -> None:
    answers = values.tiny_transcript().entries[4].message
    event = chunks.answers_committed_to_proto(answers)
    back = chunks.answers_committed_from_proto(event.committed, round_=0, outputs=answers.outputs)
    assert back.digest == answers.digest
    assert back.outputs is answers.outputs


def test_progress_is_taken_only_within_the_challenge() -> None:
    assert chunks.progress_from_proto(chunks.progress_to_proto(3, 8).progress, n_answers=8) == 3
    for done, total in ((9, 8), (3, 9)):
        with pytest.raises(MalformedMessage, match="progress: expected at most 8 trainings"):
            chunks.progress_from_proto(pb.Progress(done=done, total=total), n_answers=8)
