"""Claim files and transcript files come back whole, and only whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from protocol.errors import BudgetError, MalformedMessage
from protocol.wire import files, limits
from protocol.wire.generated import attribution_pb2 as pb
from tests.protocol.wire import values
from tests.protocol.wire.test_codec import exact

TASK = values.tiny_task()
COMMITTED = values.tiny_claim(TASK)
CLAIM_FILE = files.claim_file_to_bytes(TASK, COMMITTED)
TRANSCRIPT = values.tiny_transcript()
TRANSCRIPT_FILE = files.transcript_to_bytes(TRANSCRIPT)

both = pytest.mark.parametrize(
    ("data", "read"),
    [(CLAIM_FILE, files.claim_file_from_bytes), (TRANSCRIPT_FILE, files.transcript_from_bytes)],
    ids=["claim", "transcript"],
)


def test_a_claim_file_comes_back_with_its_commitments() -> None:
    task, committed = files.claim_file_from_bytes(CLAIM_FILE)
    assert task == TASK
    assert exact(committed) == exact(COMMITTED)
    committed.signed.check_signature()
    committed.signed.check_covers(committed.claim)


def test_a_transcript_file_comes_back_with_its_signature() -> None:
    signed = files.transcript_from_bytes(TRANSCRIPT_FILE)
    assert exact(signed) == exact(TRANSCRIPT)
    signed.check_signature()


@both
def test_a_file_cut_short_anywhere_is_refused(data: bytes, read: Callable[[bytes], object]) -> None:
    for length in range(len(data)):
        with pytest.raises(MalformedMessage):
            read(data[:length])


@both
def test_a_file_with_something_after_its_end_is_refused(data: bytes, read: Callable[[bytes], object]) -> None:
    with pytest.raises(MalformedMessage):
        read(data + b"\0")


@both
def test_a_field_of_a_newer_version_is_refused_in_a_file(data: bytes, read: Callable[[bytes], object]) -> None:
    with pytest.raises(MalformedMessage, match="got one from a newer version"):
        read(data + b"\xa0\x06\x01")


def test_a_field_of_a_newer_version_is_refused_deep_in_a_file() -> None:
    message = pb.SignedTranscript.FromString(TRANSCRIPT_FILE.removeprefix(files.TRANSCRIPT_HEADER))
    message.entries[3].challenge.draw.design.MergeFromString(b"\xa0\x06\x01")
    with pytest.raises(MalformedMessage, match=r"fields of attribution_proofs.v1.Design"):
        files.transcript_from_bytes(files.TRANSCRIPT_HEADER + message.SerializeToString())


@both
def test_a_file_of_another_kind_is_refused(data: bytes, read: Callable[[bytes], object]) -> None:
    other = TRANSCRIPT_FILE if data is CLAIM_FILE else CLAIM_FILE
    with pytest.raises(MalformedMessage, match="expected a file that begins with 'attribution-proofs/1 "):
        read(other)


def test_scores_of_another_size_than_the_task_are_refused() -> None:
    message = pb.ClaimFile.FromString(CLAIM_FILE.removeprefix(files.CLAIM_HEADER))
    message.scores += bytes(8)
    with pytest.raises(MalformedMessage, match=r"scores: expected 2 x 5 numbers .* 80 bytes, got 88"):
        files.claim_file_from_bytes(files.CLAIM_HEADER + message.SerializeToString())


def test_a_claim_about_another_task_is_refused() -> None:
    stranger = values.tiny_claim(values.tiny_task(n_units=6))
    with pytest.raises(MalformedMessage, match="expected a claim about the file's own task"):
        files.claim_file_from_bytes(files.claim_file_to_bytes(TASK, stranger))


def test_files_over_the_limit_are_neither_written_nor_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILE_BYTES", len(CLAIM_FILE) - 1)
    with pytest.raises(BudgetError, match="claim file: expected at most"):
        files.claim_file_to_bytes(TASK, COMMITTED)
    with pytest.raises(MalformedMessage, match="claim file: expected at most"):
        files.claim_file_from_bytes(CLAIM_FILE)
    assert limits.MAX_FILE_BYTES == 2**31 - 1
