"""Claims and answers as streams of chunks that resume where they broke off (proto/SPEC.md, section 9).

A receiver knows from its own task how much must come, and keeps asking from where it stands;
whatever overlaps, leaves a gap, or goes past the end is refused. Memory grows with what has
come, never with what was announced.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64

from protocol.claim import Claim
from protocol.commitments.signature import SIGNATURE_BYTES
from protocol.encoding import Digest, checked_digest
from protocol.errors import BudgetError, InternalError, MalformedMessage
from protocol.session.messages import Answers
from protocol.wire.fields import FLOAT_BYTES, exactly, floats_from_bytes, floats_to_bytes
from protocol.wire.generated import attribution_pb2 as pb
from protocol.wire.limits import CHUNK_BYTES, MAX_ANSWERS_BYTES, MAX_CLAIM_BYTES


def claim_to_bytes(claim: Claim) -> bytes:
    """Return the claim's numbers: T intercepts, then T rows of N scores, float64, little-endian."""
    return floats_to_bytes(claim.intercepts) + floats_to_bytes(claim.scores)


def claim_chunks(claim_bytes: bytes, offset: int) -> Iterator[pb.ClaimChunk]:
    """Yield the chunks of :func:`claim_to_bytes` from byte ``offset`` on.

    Raises
    ------
    MalformedMessage
        The offset asked for is past the end.
    """
    if not 0 <= offset <= len(claim_bytes):
        raise MalformedMessage(f"claim: expected an offset from 0 to {len(claim_bytes)}, got {offset}")
    for start in range(offset, len(claim_bytes), CHUNK_BYTES):
        yield pb.ClaimChunk(offset=start, data=claim_bytes[start : start + CHUNK_BYTES])


def answers_chunks(outputs: Float64[np.ndarray, "m t"], first_answer: int) -> Iterator[pb.WatchResponse]:
    """Yield the outputs in chunks of whole rows, from evaluation ``first_answer`` on.

    Raises
    ------
    MalformedMessage
        The answer asked for is past the end.
    """
    n_answers, n_targets = outputs.shape
    if not 0 <= first_answer <= n_answers:
        raise MalformedMessage(f"answers: expected a first answer from 0 to {n_answers}, got {first_answer}")
    n_rows = max(1, CHUNK_BYTES // (FLOAT_BYTES * n_targets))
    for first in range(first_answer, n_answers, n_rows):
        rows = floats_to_bytes(outputs[first : first + n_rows])
        yield pb.WatchResponse(answers=pb.AnswersChunk(first=first, outputs=rows))


def answers_committed_to_proto(answers: Answers) -> pb.WatchResponse:
    """Return the last event of a round's stream."""
    return pb.WatchResponse(committed=pb.AnswersCommitted(root=answers.root, signature=answers.signature))


def answers_committed_from_proto(
    message: pb.AnswersCommitted, *, round_: int, outputs: Float64[np.ndarray, "m t"]
) -> Answers:
    """Return a round's answers from their outputs, all there, and the commitment to them."""
    return Answers(
        round=round_,
        outputs=outputs,
        root=checked_digest(message.root, "answers' Merkle root"),
        signature=exactly(message.signature, SIGNATURE_BYTES, "answers' signature"),
    )


def progress_to_proto(done: int, total: int) -> pb.WatchResponse:
    """Return how many of a round's trainings are done."""
    return pb.WatchResponse(progress=pb.Progress(done=done, total=total))


def progress_from_proto(message: pb.Progress, *, n_answers: int) -> int:
    """Return how many of the round's ``n_answers`` trainings the prover says are done."""
    if message.total != n_answers or message.done > message.total:
        raise MalformedMessage(f"progress: expected at most {n_answers} trainings, got {message.done}/{message.total}")
    return int(message.done)


class ClaimAssembler:
    """Puts a claim together from its chunks.

    Parameters
    ----------
    task_digest, n_targets, n_units : of the receiver's own task.

    Raises
    ------
    BudgetError
        The claim would be larger than ``limits.MAX_CLAIM_BYTES``.
    """

    def __init__(self, *, task_digest: Digest, n_targets: int, n_units: int) -> None:
        self._task_digest, self._n_targets, self._n_units = task_digest, n_targets, n_units
        self._n_bytes = FLOAT_BYTES * n_targets * (1 + n_units)
        _require_within("claim", self._n_bytes, MAX_CLAIM_BYTES)
        self._data = bytearray()

    @property
    def offset(self) -> int:
        """How many bytes are there: where to resume."""
        return len(self._data)

    @property
    def is_complete(self) -> bool:
        return len(self._data) == self._n_bytes

    def add(self, chunk: pb.ClaimChunk) -> None:
        """Take the next chunk; :class:`MalformedMessage`, and no change, unless it follows on and fits."""
        if chunk.offset != self.offset:
            raise MalformedMessage(f"claim: expected bytes from {self.offset} on, got them from {chunk.offset}")
        _require_follows("claim", len(chunk.data), self._n_bytes - self.offset)
        self._data += chunk.data

    def finish(self) -> Claim:
        """Return the claim; :class:`MalformedMessage` if it is truncated or not a claim."""
        if not self.is_complete:
            raise MalformedMessage(f"claim: expected {self._n_bytes} bytes, got {self.offset}")
        n_targets, n_units = self._n_targets, self._n_units
        split = FLOAT_BYTES * n_targets
        whole = memoryview(self._data)
        return Claim(
            task_digest=self._task_digest,
            intercepts=floats_from_bytes(whole[:split], (n_targets,), "claim's intercepts"),
            scores=floats_from_bytes(whole[split:], (n_targets, n_units), "claim's scores"),
        )


class AnswersAssembler:
    """Puts a round's outputs together from their chunks.

    Parameters
    ----------
    n_answers : m, of the receiver's own challenge.
    n_targets : T, of the receiver's own task.

    Raises
    ------
    BudgetError
        The answers would be larger than ``limits.MAX_ANSWERS_BYTES``.
    """

    def __init__(self, *, n_answers: int, n_targets: int) -> None:
        self._n_answers, self._n_targets = n_answers, n_targets
        self._row_bytes = FLOAT_BYTES * n_targets
        _require_within("answers", n_answers * self._row_bytes, MAX_ANSWERS_BYTES)
        self._data = bytearray()

    @property
    def next_answer(self) -> int:
        """How many answers are there: where to resume."""
        return len(self._data) // self._row_bytes

    @property
    def is_complete(self) -> bool:
        return self.next_answer == self._n_answers

    def add(self, chunk: pb.AnswersChunk) -> None:
        """Take the next chunk; :class:`MalformedMessage`, and no change, unless it follows on and fits."""
        if chunk.first != self.next_answer:
            raise MalformedMessage(f"answers: expected answer {self.next_answer} next, got answer {chunk.first}")
        if len(chunk.outputs) % self._row_bytes:
            raise MalformedMessage(f"answers: expected whole rows of {self._n_targets} numbers, got a part of one")
        _require_follows("answers", len(chunk.outputs), self._n_answers * self._row_bytes - len(self._data))
        self._data += chunk.outputs

    def finish(self) -> Float64[np.ndarray, "m t"]:
        """Return the outputs, shape (m, T), finite; :class:`MalformedMessage` if they are truncated or not numbers."""
        if not self.is_complete:
            raise MalformedMessage(f"answers: expected {self._n_answers}, got {self.next_answer}")
        return floats_from_bytes(memoryview(self._data), (self._n_answers, self._n_targets), "answers")


def _require_within(what: str, n_bytes: int, max_bytes: int) -> None:
    if n_bytes <= 0:
        raise InternalError(f"{what}: expected something to come, got {n_bytes} bytes")
    if n_bytes > max_bytes:
        raise BudgetError(f"{what}: expected at most {max_bytes} bytes, got a size of {n_bytes}; use fewer targets")


def _require_follows(what: str, n_bytes: int, n_left: int) -> None:
    if n_bytes == 0:  # a stream of nothing would never end
        raise MalformedMessage(f"{what}: expected bytes in every chunk, got an empty one")
    if n_bytes > n_left:
        raise MalformedMessage(f"{what}: expected {n_left} bytes more, got {n_bytes}")
