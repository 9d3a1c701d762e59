"""A value that crosses to protobuf and back is the same value, to the bit."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import task as task_module
from protocol.certificate import terms as terms_module
from protocol.errors import MalformedMessage, Reason
from protocol.game import sampling
from protocol.session.messages import Opening, Outcome, Sender
from protocol.wire import codec, record_codec, task_codec
from protocol.wire.generated import attribution_pb2 as pb
from tests.protocol.wire import values

EVERY_VALUE: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], Any], Callable[[Any], Any]]] = {
    "Task": (values.tasks(), task_codec.task_to_proto, task_codec.task_from_proto),
    "Figures": (values.figures, codec.figures_to_proto, codec.figures_from_proto),
    "SignedClaim": (values.signed_claims, codec.signed_claim_to_proto, codec.signed_claim_from_proto),
    "Claim": (values.claims(), codec.claim_to_proto, codec.claim_from_proto),
    "ClaimCommitted": (values.committed, codec.claim_committed_to_proto, codec.claim_committed_from_proto),
    "Opening": (values.openings, codec.opening_to_proto, codec.opening_from_proto),
    "Design": (values.designs, codec.design_to_proto, codec.design_from_proto),
    "Draw": (values.draws, codec.draw_to_proto, codec.draw_from_proto),
    "Challenge": (values.challenges, codec.challenge_to_proto, codec.challenge_from_proto),
    "Answers": (values.answers(), codec.answers_to_proto, codec.answers_from_proto),
    "Retrained": (values.retrainings(), codec.retrained_to_proto, codec.retrained_from_proto),
    "Closing": (values.closings, codec.closing_to_proto, codec.closing_from_proto),
    "Aborted": (values.aborts, codec.aborted_to_proto, codec.aborted_from_proto),
    "Rounds": (values.choices, record_codec.rounds_to_proto, record_codec.rounds_from_proto),
    "Terms": (values.terms, record_codec.terms_to_proto, record_codec.terms_from_proto),
    "Entry": (values.entries, record_codec.entry_to_proto, record_codec.entry_from_proto),
    "SignedTranscript": (
        values.transcripts(),
        record_codec.signed_transcript_to_proto,
        record_codec.signed_transcript_from_proto,
    ),
}


def exact(value: Any) -> Any:
    """Return ``value`` as nested tuples in which arrays are their bytes, so that == is bit by bit (-0.0 is not 0.0)."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, tuple):
        return tuple(exact(item) for item in value)
    if hasattr(value, "__dataclass_fields__"):
        return type(value), tuple(exact(getattr(value, name)) for name in value.__dataclass_fields__)
    return value


@pytest.mark.parametrize("name", EVERY_VALUE)
@settings(max_examples=40)
@given(data=st.data())
def test_a_value_comes_back_as_it_was(name: str, data: st.DataObject) -> None:
    strategy, to_proto, from_proto = EVERY_VALUE[name]
    value = data.draw(strategy)
    message = to_proto(value)
    assert type(message).DESCRIPTOR.name == name
    back = from_proto(type(message).FromString(message.SerializeToString()))
    assert exact(back) == exact(value)


def test_a_digest_survives_the_crossing() -> None:
    transcript = values.tiny_transcript()
    message = record_codec.signed_transcript_to_proto(transcript)
    back = record_codec.signed_transcript_from_proto(message)
    back.check_signature()
    assert back.transcript.head == transcript.transcript.head
    assert back.transcript.spoken == transcript.transcript.spoken


@pytest.mark.parametrize(
    ("domain", "wire"),
    [
        (task_module.Scaling, pb.Scaling),
        (task_module.ConstantColumns, pb.ConstantColumns),
        (task_module.UnitKind, pb.UnitKind),
        (task_module.TargetKind, pb.TargetKind),
        (task_module.SeedPolicy, pb.SeedPolicy),
        (terms_module.Across, pb.Across),
        (terms_module.Answers, pb.WhoAnswers),
        (sampling.Bases, pb.Bases),
        (Sender, pb.Sender),
        (Outcome, pb.Outcome),
        (Reason, pb.Reason),
    ],
)
def test_enums_have_the_same_members_on_the_wire(domain: type[enum.Enum], wire: Any) -> None:
    prefix = "".join(f"_{letter}" if letter.isupper() else letter.upper() for letter in wire.DESCRIPTOR.name)[1:]
    on_the_wire = {name.removeprefix(f"{prefix}_") for name in wire.keys() if wire.Value(name) != 0}  # noqa: SIM118
    assert on_the_wire == {member.name for member in domain}
    assert wire.Name(0) == f"{prefix}_UNSPECIFIED"


def _opening() -> Opening:
    return Opening(version=1, nonce=bytes(range(16)), task_digest=values.tiny_task().digest)


def test_a_session_is_named_by_its_nonce() -> None:
    assert codec.session_id_of(_opening().nonce) == "000102030405060708090a0b0c0d0e0f"
    assert codec.nonce_from_session_id("000102030405060708090a0b0c0d0e0f") == _opening().nonce


@pytest.mark.parametrize(
    "name", ["", "00", "0" * 31, "0" * 34, "G" * 32, "A" * 32, " " + "0" * 32, "00 " * 16, "é" * 32]
)
def test_no_other_spelling_names_a_session(name: str) -> None:
    with pytest.raises(MalformedMessage, match=r"session id: expected .*hexadecimal digits"):
        codec.nonce_from_session_id(name)


def test_the_answer_to_an_opening_comes_back() -> None:
    committed = values.tiny_claim(values.tiny_task())
    message = codec.open_response_to_proto(_opening(), committed)
    assert message.claim_bytes == 8 * (2 + 2 * 5)
    assert codec.open_response_from_proto(message, opening=_opening(), n_targets=2, n_units=5) == committed.signed


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("session_id", "f" * 32, "expected the session of our nonce"),
        ("n_targets", 3, r"expected \(targets, units, bytes\) = \(2, 5, 96\), got \(3, 5, 96\)"),
        ("n_units", 10**18, "got .2, 1000000000000000000, 96"),
        ("claim_bytes", 2**63, "expected .targets, units, bytes"),
    ],
)
def test_an_answer_to_another_opening_is_refused(field: str, value: Any, message: str) -> None:
    response = codec.open_response_to_proto(_opening(), values.tiny_claim(values.tiny_task()))
    setattr(response, field, value)
    with pytest.raises(MalformedMessage, match=message):
        codec.open_response_from_proto(response, opening=_opening(), n_targets=2, n_units=5)
