"""Whatever a peer or a file sends, a decoder gives a valid value or raises MalformedMessage, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.certificate.registry import METHODS
from protocol.errors import MalformedMessage
from protocol.session.messages import Opening
from protocol.wire import codec, files, record_codec
from protocol.wire.chunks import AnswersAssembler, ClaimAssembler, answers_committed_from_proto, progress_from_proto
from protocol.wire.fields import parse
from protocol.wire.generated import attribution_pb2 as pb
from protocol.wire.task_codec import task_from_proto, task_to_proto
from tests.protocol.wire import values
from tests.protocol.wire.test_codec import EVERY_VALUE

OPENING = Opening(version=1, nonce=b"n" * 16, task_digest=values.tiny_task().digest)


def _claim_chunk(message: pb.ClaimChunk) -> object:
    assembler = ClaimAssembler(task_digest=OPENING.task_digest, n_targets=1, n_units=1)
    assembler.add(message)
    return assembler.finish()


def _answers_chunk(message: pb.AnswersChunk) -> object:
    assembler = AnswersAssembler(n_answers=2, n_targets=1)
    assembler.add(message)
    return assembler.finish()


DECODERS: dict[str, Callable[[Any], object]] = {
    **{name: from_proto for name, (_, _, from_proto) in EVERY_VALUE.items()},
    "OpenResponse": lambda m: codec.open_response_from_proto(m, opening=OPENING, n_targets=2, n_units=5),
    "ClaimChunk": _claim_chunk,
    "AnswersChunk": _answers_chunk,
    "AnswersCommitted": lambda m: answers_committed_from_proto(
        m, round_=0, outputs=values.tiny_transcript().entries[4].message.outputs
    ),
    "Progress": lambda m: progress_from_proto(m, n_answers=8),
}

INTEGERS = st.sampled_from([0, 1, 2, 3, 5, 32768, 65535, 65536, 2**31, 2**32 - 1]) | st.integers(0, 2**32 - 1)
LONG_INTEGERS = INTEGERS | st.sampled_from([2**63 - 1, 2**63, 2**64 - 1])
FLOATS = st.floats() | st.sampled_from([0.0, -1.0, 0.5, 1.0, math.nan, math.inf, 1e300])
BYTES = st.sampled_from([0, 8, 16, 24, 32, 64]).flatmap(lambda n: st.binary(min_size=n, max_size=n)) | st.binary()
TEXTS = st.text(max_size=20) | st.sampled_from(["", "\x1b[2J", "x" * 2000, "00" * 16])
BY_TYPE = {
    FieldDescriptor.TYPE_UINT32: INTEGERS,
    FieldDescriptor.TYPE_UINT64: LONG_INTEGERS,
    FieldDescriptor.TYPE_DOUBLE: FLOATS,
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_BYTES: BYTES,
    FieldDescriptor.TYPE_STRING: TEXTS,
    FieldDescriptor.TYPE_ENUM: st.integers(0, 8) | st.just(-1) | st.just(2**31 - 1),
}


def set_field(draw: Any, message: Message, field: FieldDescriptor) -> None:
    """Give one field of ``message`` a plausible or an implausible value."""
    is_message = field.message_type is not None
    part = any_message(getattr(pb, field.message_type.name)) if is_message else BY_TYPE[field.type]
    if field.is_repeated:
        getattr(message, field.name).extend(draw(st.lists(part, max_size=3)))
    elif is_message:
        getattr(message, field.name).CopyFrom(draw(part))
    else:
        setattr(message, field.name, draw(part))


@st.composite
def any_message(draw: Any, kind: type[Message]) -> Message:
    """Return a message of ``kind`` with most of its fields set, to whatever."""
    message = kind()
    for field in kind.DESCRIPTOR.fields:
        if draw(st.integers(0, 5)):
            set_field(draw, message, field)
    return message


def _value_or_malformed(name: str, message: Message) -> None:
    try:
        value = DECODERS[name](message)
    except MalformedMessage:
        return
    digest = getattr(value, "digest", b"")  # whatever was taken can be hashed: no integer is too long, no float NaN
    assert callable(digest) or len(digest) in (0, 32)


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=40)
@given(data=st.data())
def test_any_message_decodes_or_is_malformed(name: str, data: st.DataObject) -> None:
    _value_or_malformed(name, data.draw(any_message(getattr(pb, name))))


@pytest.mark.parametrize("name", EVERY_VALUE)
@settings(max_examples=40)
@given(data=st.data())
def test_a_valid_message_with_one_part_changed_decodes_or_is_malformed(name: str, data: st.DataObject) -> None:
    strategy, to_proto, _ = EVERY_VALUE[name]
    whole = message = to_proto(data.draw(strategy))
    while True:
        field = data.draw(st.sampled_from(list(message.DESCRIPTOR.fields)))
        inside = field.message_type is not None and not field.is_repeated and message.HasField(field.name)
        if not inside or data.draw(st.integers(0, 3)) == 0:
            break
        message = getattr(message, field.name)
    if data.draw(st.booleans()):
        message.ClearField(field.name)
    set_field(data.draw, message, field)
    _value_or_malformed(name, whole)


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=40)
@given(data=st.binary(max_size=200))
def test_any_bytes_decode_or_are_malformed(name: str, data: bytes) -> None:
    try:
        message = parse(getattr(pb, name), data, name)
    except MalformedMessage:
        return
    _value_or_malformed(name, message)


@pytest.mark.parametrize(
    ("valid", "read"),
    [
        (files.transcript_to_bytes(values.tiny_transcript()), files.transcript_from_bytes),
        (
            files.claim_file_to_bytes(values.tiny_task(), values.tiny_claim(values.tiny_task())),
            files.claim_file_from_bytes,
        ),
    ],
    ids=["transcript", "claim"],
)
@settings(max_examples=150)
@given(data=st.data())
def test_a_damaged_file_reads_or_is_malformed(
    valid: bytes, read: Callable[[bytes], object], data: st.DataObject
) -> None:
    damaged = bytearray(valid)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        match data.draw(st.integers(0, 2)):
            case 0:
                damaged[place] = data.draw(st.integers(0, 255))
            case 1:
                del damaged[place : place + data.draw(st.integers(1, 9))]
            case _:
                damaged[place:place] = data.draw(st.binary(min_size=1, max_size=9))
    try:
        read(bytes(damaged))
    except MalformedMessage:
        return


def _task(change: Callable[[pb.Task], object]) -> pb.Task:
    message = task_to_proto(values.tiny_task())
    change(message)
    return message


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.ClearField("data"), "task: expected data, got none"),
        (lambda m: m.ClearField("recipe"), "expected a recipe, ridge, logistic, kernel, sgd or sklearn, got none"),
        (lambda m: m.ClearField("numerics"), "task: expected numerics, got none"),
        (lambda m: m.numerics.ClearField("profile"), "numerics: expected a profile"),
        (lambda m: setattr(m, "seed_policy", 0), r"task seed_policy: expected one of \[1, 2\], got 0"),
        (lambda m: setattr(m.data, "scaling", 9), r"data.scaling: expected one of \[1, 2, 3\], got 9"),
        (lambda m: setattr(m, "p_16", 0), "task: sampling.p: expected a probability strictly between 0 and 1"),
        (lambda m: setattr(m, "seed", 2**63), "task: sampling.seed: expected an integer from 0 to 2.63 - 1"),
        (lambda m: setattr(m.data, "digest", b"short"), "data.digest: expected 32 bytes, got 5"),
        (lambda m: setattr(m.data, "source", "\x1b[2J"), "data.source: expected text without control characters"),
        (lambda m: setattr(m.data, "source", "x" * 1001), "data.source: expected at most 1000 characters, got 1001"),
        (lambda m: setattr(m.ridge, "l2", math.nan), "task: recipe.l2: expected a number above 0, got nan"),
        (lambda m: m.targets.lo.append(0.0), "targets: expected 2 of lo and of hi, one per target, got 3 and 2"),
        (lambda m: m.targets.hi.__setitem__(0, math.inf), "task: targets.hi: expected finite numbers"),
        (lambda m: m.targets.rows.__setitem__(1, 0), "task: targets.rows: expected each test row once"),
    ],
)
def test_a_bad_task_from_a_peer_is_malformed(change: Callable[[pb.Task], object], says: str) -> None:
    with pytest.raises(MalformedMessage, match=says):
        task_from_proto(_task(change))


def _entry(index: int) -> pb.Entry:
    return record_codec.entry_to_proto(values.tiny_transcript().entries[index])


@pytest.mark.parametrize(
    ("index", "change", "says"),
    [
        (1, lambda m: setattr(m.claim_committed.claim, "intercepts", b""), "claim's intercepts: expected 2 numbers"),
        (
            1,
            lambda m: setattr(m.claim_committed.claim.scores, "n_columns", 2**32 - 1),
            "claim's scores: expected 2 x 4294",
        ),
        (1, lambda m: setattr(m.claim_committed.signed, "public_key", b"k"), "public key: expected 32 bytes, got 1"),
        (
            1,
            lambda m: setattr(m.claim_committed.signed, "signature", b"s"),
            "claim's signature: expected 64 bytes, got 1",
        ),
        (2, lambda m: m.rounds_chosen.ClearField("looks"), "rounds: looks: expected 1 to 64 designs, got 0"),
        (
            2,
            lambda m: setattr(m.rounds_chosen.looks[0], "bases", 0),
            r"design's bases: expected one of \[1, 2, 3\], got 0",
        ),
        (2, lambda m: setattr(m.rounds_chosen.looks[0], "keep_16", 65536), "expected keep_16 from 0 to 65535"),
        (3, lambda m: setattr(m.challenge.draw, "seed", b"s" * 31), "challenge seed: expected 32 bytes, got 31"),
        (
            3,
            lambda m: setattr(m.challenge.draw.design, "n_families", 2**32 - 1),
            "expected at most 50000000 evaluations",
        ),
        (3, lambda m: setattr(m.challenge.draw.design, "bases", 4), "design's bases: expected one of .*, got 4"),
        (3, lambda m: setattr(m.challenge, "round", 64), "expected a round from 0 to 63, got 64"),
        (4, lambda m: setattr(m.answers.outputs, "values", b"\xff" * 128), "answers: expected finite numbers, got NaN"),
        (4, lambda m: setattr(m.answers.outputs, "n_rows", 7), "answers: expected 7 x 2 numbers .* 112 bytes, got 128"),
        (4, lambda m: m.answers.ClearField("outputs"), "answers: expected outputs, got none"),
        (4, lambda m: setattr(m.answers, "root", b""), "answers' Merkle root: expected 32 bytes, got 0"),
        (5, lambda m: m.retrained.evaluations.reverse(), "retrained: expected evaluations in ascending order"),
        (5, lambda m: m.retrained.evaluations.append(8), "retrained: expected 4 rows of outputs, got 3"),
        (5, lambda m: setattr(m.retrained, "check_seed", b""), "retrained's check seed: expected 32 bytes, got 0"),
        (6, lambda m: setattr(m.closing, "outcome", 0), "closing's outcome: expected one of"),
        (6, lambda m: setattr(m.closing, "reason", "\x9b2J"), "closing's reason: expected text without control"),
        (6, lambda m: setattr(m, "sender", 3), "entry's sender: expected one of"),
        (6, lambda m: m.ClearField("message"), "transcript entry: expected a message, got none"),
    ],
)
def test_a_bad_message_from_a_peer_is_malformed(index: int, change: Callable[[pb.Entry], object], says: str) -> None:
    message = _entry(index)
    change(message)
    with pytest.raises(MalformedMessage, match=says):
        record_codec.entry_from_proto(message)


def test_more_entries_than_a_session_can_have_are_refused() -> None:
    message = record_codec.signed_transcript_to_proto(values.tiny_transcript())
    message.entries.extend([message.entries[0]] * 250)
    with pytest.raises(MalformedMessage, match="expected at most 256 entries, got 257"):
        record_codec.signed_transcript_from_proto(message)


def test_more_looks_than_rounds_are_refused_before_any_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    message = record_codec.signed_transcript_to_proto(values.tiny_transcript())
    looks = message.entries[2].rounds_chosen.looks
    looks.extend([looks[0]] * 64)
    made: list[pb.Design] = []
    monkeypatch.setattr(codec, "design_from_proto", made.append)
    with pytest.raises(MalformedMessage, match="expected at most 64 looks, got 65"):
        record_codec.signed_transcript_from_proto(message)
    assert made == []


def _terms(change: Callable[[pb.Terms], object]) -> pb.Terms:
    message = record_codec.terms_to_proto(values.tiny_transcript().terms)
    change(message)
    return message


OTHER_METHODS = [
    "", "moment", "Moments", "MOMENTS", " moments", "moments ", "moments\0", "moments\n", "\x1b[2J", "families",
    "proved", "x" * 1_000_000, "mo\N{CYRILLIC SMALL LETTER ES}ents", "../moments", "0",
]  # fmt: skip


@pytest.mark.parametrize("method", OTHER_METHODS, ids=lambda method: repr(method[:12]))
def test_a_certificate_that_there_is_not_is_malformed_and_never_shown(method: str) -> None:
    with pytest.raises(MalformedMessage, match="terms: expected a certificate of moments, ") as caught:
        record_codec.terms_from_proto(_terms(lambda m: setattr(m, "method", method)))
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


def test_every_certificate_there_is_crosses_the_wire() -> None:
    for name in METHODS:
        assert record_codec.terms_from_proto(_terms(lambda m, name=name: setattr(m, "method", name))).method == name


@pytest.mark.parametrize("kurtosis", [math.nan, math.inf, -math.inf, -1.0, 0.0, 0.999999, 1.000001e6, 1e300, 5e-324])
def test_a_kurtosis_that_no_law_has_is_malformed(kurtosis: float) -> None:
    """A law's E Y^2 is at least (E Y)^2, and no challenge could be large enough for more than a million."""
    with pytest.raises(MalformedMessage, match=r"terms: kurtosis: expected a bound from 1 to 1e\+06"):
        record_codec.terms_from_proto(_terms(lambda m: setattr(m, "kurtosis", kurtosis)))


def test_no_kurtosis_is_not_a_kurtosis_of_nought() -> None:
    assert record_codec.terms_from_proto(_terms(lambda m: m.ClearField("kurtosis"))).kurtosis is None
    for kurtosis in (1.0, 3.0, 1e6):
        assert (
            record_codec.terms_from_proto(_terms(lambda m, k=kurtosis: setattr(m, "kurtosis", k))).kurtosis == kurtosis
        )


NO_SHARES = (0.0, 1.0, -0.1, math.nan, math.inf)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        *(("epsilon", value, "epsilon: expected a relative gap above 0") for value in NO_SHARES),
        *(("delta", value, "delta: expected a probability strictly") for value in NO_SHARES),
        ("across", 0, r"terms' across: expected one of \[1, 2, 3\], got 0"),
        ("across", 4, r"terms' across: expected one of \[1, 2, 3\], got 4"),
        ("answers", 0, r"terms' answers: expected one of \[1, 2\], got 0"),
        ("answers", 3, r"terms' answers: expected one of \[1, 2\], got 3"),
    ],
)  # fmt: skip
def test_terms_that_nobody_asks_for_are_malformed(field: str, value: Any, says: str) -> None:
    with pytest.raises(MalformedMessage, match=says):
        record_codec.terms_from_proto(_terms(lambda m: setattr(m, field, value)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"n_families": 0}, "at least one family of one sibling"),
        ({"n_siblings": 0}, "at least one family of one sibling"),
        ({"n_families": 2**32 - 1, "n_siblings": 2**32 - 1}, "at most 50000000 evaluations"),
        ({"keep_16": 2**32 - 1}, "keep_16 from 0 to 65535"),
        ({"bases": pb.BASES_TILTED, "complements": False}, "complements where bases are tilted"),
        ({"bases": pb.BASES_ALL}, "neither complements nor a correlation"),
        ({"bases": pb.BASES_ALL, "complements": False}, "neither complements nor a correlation"),
    ],
)
def test_rounds_of_a_design_that_there_is_not_are_malformed(change: dict[str, Any], says: str) -> None:
    message = _entry(2).rounds_chosen
    for name, value in change.items():
        setattr(message.looks[0], name, value)
    with pytest.raises(MalformedMessage, match=f"^rounds: design: .*{says}|^design: .*{says}"):
        record_codec.rounds_from_proto(message)


def test_a_huge_number_of_checks_decodes_and_is_the_sessions_to_refuse() -> None:
    message = _entry(2).rounds_chosen
    message.n_checks = 2**32 - 1
    assert record_codec.rounds_from_proto(message).n_checks == 2**32 - 1


def test_a_transcript_on_terms_that_nobody_asks_for_is_malformed() -> None:
    for field, value in (("method", "families"), ("kurtosis", math.nan), ("across", 0)):
        message = record_codec.signed_transcript_to_proto(values.tiny_transcript())
        setattr(message.terms, field, value)
        with pytest.raises(MalformedMessage):
            record_codec.signed_transcript_from_proto(message)


def test_fields_of_a_newer_version_are_passed_over_on_the_wire() -> None:
    newer = task_to_proto(values.tiny_task()).SerializeToString() + b"\xa0\x06\x01"
    assert task_from_proto(parse(pb.Task, newer, "task")) == values.tiny_task()
