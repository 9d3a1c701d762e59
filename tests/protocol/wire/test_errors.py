"""An error crosses as a status and a reason, and comes back as the same reason."""

from __future__ import annotations

import subprocess
import sys

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import (
    AttributionProofsError,
    BudgetError,
    CommitmentError,
    InternalError,
    MalformedMessage,
    OutOfOrder,
    Reason,
    Refused,
    StoreError,
    TrainingError,
    TransportError,
)
from protocol.wire import errors
from protocol.wire.generated import attribution_pb2 as pb


def test_every_reason_has_a_status_of_its_own_that_grpc_knows() -> None:
    assert set(errors.STATUS_OF) == set(Reason)
    assert len(set(errors.STATUS_OF.values())) == len(Reason)
    assert set(errors.STATUS_OF.values()) <= set(grpc.StatusCode.__members__)


def test_no_reason_uses_a_status_that_means_try_again() -> None:
    assert not {"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNKNOWN"} & set(errors.STATUS_OF.values())


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_comes_back(reason: Reason) -> None:
    error = Refused("expected one thing, got another", reason)
    back = errors.error_from_status(errors.status_of(error), "ignored", errors.detail_of(error))
    assert isinstance(back, Refused)
    assert back.reason is reason
    assert str(back) == f"the other party refused ({reason.value}): expected one thing, got another"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MalformedMessage("x"), "INVALID_ARGUMENT"),
        (OutOfOrder("x"), "FAILED_PRECONDITION"),
        (CommitmentError("x"), "DATA_LOSS"),
        (BudgetError("x"), "OUT_OF_RANGE"),
        (TrainingError("x"), "ABORTED"),
        (StoreError("x"), "ABORTED"),
        (InternalError("x"), "ABORTED"),
    ],
)
def test_an_error_has_the_status_of_its_fault(error: AttributionProofsError, status: str) -> None:
    assert errors.status_of(error) == status


@pytest.mark.parametrize("kind", [StoreError, TrainingError, InternalError])
def test_what_went_wrong_inside_is_not_told(kind: type[AttributionProofsError]) -> None:
    error = kind("disk full at /home/somebody/store")
    assert "somebody" not in errors.message_of(error)
    assert b"somebody" not in errors.detail_of(error)


@pytest.mark.parametrize(
    "status", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "RESOURCE_EXHAUSTED"]
)
def test_a_status_without_our_detail_is_the_transports(status: str) -> None:
    back = errors.error_from_status(status, "no route to host", None)
    assert isinstance(back, TransportError)
    assert str(back).startswith(f"expected an answer, got {status} (no route to host); ")


@given(detail=st.binary(max_size=60))
def test_any_detail_gives_one_of_our_errors(detail: bytes) -> None:
    assert isinstance(errors.error_from_status("ABORTED", "", detail), Refused | TransportError)


@pytest.mark.parametrize("detail", [b"\xff", b"", bytes(9000), pb.ErrorDetail(reason=99).SerializeToString()])
def test_a_detail_that_cannot_be_read_is_no_detail(detail: bytes) -> None:
    assert isinstance(errors.error_from_status("ABORTED", "", detail), TransportError)


def test_what_a_peer_says_is_one_short_line_without_escape_sequences() -> None:
    detail = pb.ErrorDetail(reason=pb.REASON_FAILED, message="\x1b[2J\nPASSED\r" + "x" * 5000).SerializeToString()
    text = str(errors.error_from_status("ABORTED", "", detail))
    assert text.isprintable()
    assert len(text) < 1100


def test_the_catalogue_loads_no_grpc() -> None:
    program = "import sys, protocol.wire.errors; sys.exit('grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
