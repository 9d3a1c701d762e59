"""All that is said in a session, to protobuf and back (proto/SPEC.md, sections 5 and 9).

``x_to_proto`` takes a valid domain value. ``x_from_proto`` takes whatever a peer or a file sent
and returns a valid domain value, or raises ``MalformedMessage`` and nothing else. No commitment
is checked here: roots and signatures are the session's business (SPEC 8).

Bulk arrays travel as streams (``protocol.wire.chunks``); what is filed and never sent is
``protocol.wire.record_codec``'s.
"""

# ruff: noqa: D103 - a pair to and from a message promises what the head says, and needs no sentence of its own

from __future__ import annotations

import numpy as np

from protocol.claim import Claim, Figures
from protocol.commitments import PublicKey
from protocol.commitments.signature import SIGNATURE_BYTES
from protocol.encoding import SEED_BYTES, Seed, checked_digest
from protocol.errors import MalformedMessage, Reason
from protocol.game.sampling import Bases, Design, Draw
from protocol.session.messages import (
    NONCE_BYTES,
    Aborted,
    Answers,
    Challenge,
    ClaimCommitted,
    Closing,
    Opening,
    Outcome,
    Retrained,
    SignedClaim,
)
from protocol.wire.fields import (
    FLOAT_BYTES,
    enum_from_proto,
    exactly,
    floats_from_bytes,
    floats_to_bytes,
    matrix_from_proto,
    matrix_to_proto,
    refusing,
    require_present,
    text_from_proto,
)
from protocol.wire.generated import attribution_pb2 as pb

_OUTCOME = {
    Outcome.ACCEPT: pb.OUTCOME_ACCEPT,
    Outcome.REJECT: pb.OUTCOME_REJECT,
    Outcome.INCONCLUSIVE: pb.OUTCOME_INCONCLUSIVE,
}
_BASES = {Bases.DRAWN: pb.BASES_DRAWN, Bases.TILTED: pb.BASES_TILTED, Bases.ALL: pb.BASES_ALL}
REASON = {
    Reason.MALFORMED: pb.REASON_MALFORMED,
    Reason.OUT_OF_ORDER: pb.REASON_OUT_OF_ORDER,
    Reason.BAD_COMMITMENT: pb.REASON_BAD_COMMITMENT,
    Reason.WRONG_TASK: pb.REASON_WRONG_TASK,
    Reason.TOO_LARGE: pb.REASON_TOO_LARGE,
    Reason.BUSY: pb.REASON_BUSY,
    Reason.FAILED: pb.REASON_FAILED,
}


# ------------------------------------------------------------------------------- the session's name


def session_id_of(nonce: bytes) -> str:
    """Return the session's name in every later call: the opening's nonce, in lower-case hexadecimal."""
    return nonce.hex()


def nonce_from_session_id(session_id: str) -> bytes:
    """Return the nonce that ``session_id`` spells, or raise :class:`MalformedMessage`."""
    try:
        nonce = bytes.fromhex(session_id)
    except ValueError as error:
        raise MalformedMessage("session id: expected hexadecimal digits, got others") from error
    if len(nonce) != NONCE_BYTES or nonce.hex() != session_id:
        raise MalformedMessage(f"session id: expected {2 * NONCE_BYTES} lower-case hexadecimal digits")
    return nonce


# ------------------------------------------------------------------------------------- the claim


def figures_to_proto(figures: Figures) -> pb.Figures:
    return pb.Figures(
        relative_gap=figures.relative_gap,
        odd_residual=figures.odd_residual,
        r2=figures.r2,
        n_retrainings=figures.n_retrainings,
    )


def figures_from_proto(message: pb.Figures) -> Figures:
    return Figures(
        relative_gap=message.relative_gap,
        odd_residual=message.odd_residual,
        r2=message.r2,
        n_retrainings=message.n_retrainings,
    )


def signed_claim_to_proto(signed: SignedClaim) -> pb.SignedClaim:
    return pb.SignedClaim(
        task_digest=signed.task_digest,
        root=signed.root,
        figures=figures_to_proto(signed.figures),
        public_key=signed.public_key.raw,
        signature=signed.signature,
    )


def signed_claim_from_proto(message: pb.SignedClaim) -> SignedClaim:
    require_present(message, "figures", what="signed claim")
    with refusing("signed claim"):
        return SignedClaim(
            task_digest=checked_digest(message.task_digest, "claim's task digest"),
            root=checked_digest(message.root, "claim's Merkle root"),
            figures=figures_from_proto(message.figures),
            public_key=PublicKey(message.public_key),
            signature=exactly(message.signature, SIGNATURE_BYTES, "claim's signature"),
        )


def claim_to_proto(claim: Claim) -> pb.Claim:
    return pb.Claim(
        task_digest=claim.task_digest,
        intercepts=floats_to_bytes(claim.intercepts),
        scores=matrix_to_proto(claim.scores),
    )


def claim_from_proto(message: pb.Claim) -> Claim:
    require_present(message, "scores", what="claim")
    return Claim(
        task_digest=checked_digest(message.task_digest, "claim's task digest"),
        intercepts=floats_from_bytes(message.intercepts, (message.scores.n_rows,), "claim's intercepts"),
        scores=matrix_from_proto(message.scores, "claim's scores"),
    )


def claim_committed_to_proto(committed: ClaimCommitted) -> pb.ClaimCommitted:
    return pb.ClaimCommitted(signed=signed_claim_to_proto(committed.signed), claim=claim_to_proto(committed.claim))


def claim_committed_from_proto(message: pb.ClaimCommitted) -> ClaimCommitted:
    require_present(message, "signed", "claim", what="claim committed")
    return ClaimCommitted(signed=signed_claim_from_proto(message.signed), claim=claim_from_proto(message.claim))


def open_response_to_proto(opening: Opening, committed: ClaimCommitted) -> pb.OpenResponse:
    """Return the answer to an opening; the claim's numbers follow by ``GetClaim``."""
    n_targets, n_units = committed.claim.n_targets, committed.claim.n_units
    return pb.OpenResponse(
        session_id=session_id_of(opening.nonce),
        signed_claim=signed_claim_to_proto(committed.signed),
        n_targets=n_targets,
        n_units=n_units,
        claim_bytes=FLOAT_BYTES * n_targets * (1 + n_units),
    )


def open_response_from_proto(
    message: pb.OpenResponse, *, opening: Opening, n_targets: int, n_units: int
) -> SignedClaim:
    """Return the signed claim, its numbers still to come.

    Parameters
    ----------
    opening : what was sent; the session must bear its nonce.
    n_targets, n_units : T and N of the verifier's own task: a claim of another size is refused
        before a byte of it is fetched.
    """
    require_present(message, "signed_claim", what="answer to the opening")
    if message.session_id != session_id_of(opening.nonce):
        raise MalformedMessage("answer to the opening: expected the session of our nonce, got another")
    expected = (n_targets, n_units, FLOAT_BYTES * n_targets * (1 + n_units))
    got = (message.n_targets, message.n_units, message.claim_bytes)
    if got != expected:
        raise MalformedMessage(f"claim: expected (targets, units, bytes) = {expected}, got {got}")
    return signed_claim_from_proto(message.signed_claim)


# ------------------------------------------------------------------------------ opening and rounds


def opening_to_proto(opening: Opening) -> pb.Opening:
    return pb.Opening(version=opening.version, nonce=opening.nonce, task_digest=opening.task_digest)


def opening_from_proto(message: pb.Opening) -> Opening:
    digest = checked_digest(message.task_digest, "opening's task digest")
    return Opening(version=message.version, nonce=message.nonce, task_digest=digest)


def design_to_proto(design: Design) -> pb.Design:
    return pb.Design(
        n_families=design.n_families,
        n_siblings=design.n_siblings,
        keep_16=design.keep_16,
        complements=design.complements,
        bases=_BASES[design.bases],
    )


def design_from_proto(message: pb.Design) -> Design:
    return Design(
        n_families=message.n_families,
        n_siblings=message.n_siblings,
        keep_16=message.keep_16,
        complements=message.complements,
        bases=enum_from_proto(_BASES, message.bases, "design's bases"),
    )


def draw_to_proto(draw: Draw) -> pb.Draw:
    return pb.Draw(seed=draw.seed, design=design_to_proto(draw.design))


def draw_from_proto(message: pb.Draw) -> Draw:
    require_present(message, "design", what="draw")
    return Draw(seed=Seed(message.seed), design=design_from_proto(message.design))


def challenge_to_proto(challenge: Challenge) -> pb.Challenge:
    return pb.Challenge(round=challenge.round, draw=draw_to_proto(challenge.draw))


def challenge_from_proto(message: pb.Challenge) -> Challenge:
    require_present(message, "draw", what="challenge")
    return Challenge(round=message.round, draw=draw_from_proto(message.draw))


def answers_to_proto(answers: Answers) -> pb.Answers:
    return pb.Answers(
        round=answers.round,
        outputs=matrix_to_proto(answers.outputs),
        root=answers.root,
        signature=answers.signature,
    )


def answers_from_proto(message: pb.Answers) -> Answers:
    require_present(message, "outputs", what="answers")
    return Answers(
        round=message.round,
        outputs=matrix_from_proto(message.outputs, "answers"),
        root=checked_digest(message.root, "answers' Merkle root"),
        signature=exactly(message.signature, SIGNATURE_BYTES, "answers' signature"),
    )


def retrained_to_proto(retrained: Retrained) -> pb.Retrained:
    message = pb.Retrained(
        round=retrained.round,
        evaluations=retrained.evaluations.tolist(),
        outputs=matrix_to_proto(retrained.outputs),
    )
    if retrained.check_seed is not None:
        message.check_seed = retrained.check_seed
    return message


def retrained_from_proto(message: pb.Retrained) -> Retrained:
    require_present(message, "outputs", what="retrained")
    check_seed = None
    if message.HasField("check_seed"):
        check_seed = Seed(exactly(message.check_seed, SEED_BYTES, "retrained's check seed"))
    n_evaluations = len(message.evaluations)
    if n_evaluations != message.outputs.n_rows:
        raise MalformedMessage(f"retrained: expected {n_evaluations} rows of outputs, got {message.outputs.n_rows}")
    evaluations = np.array(message.evaluations, dtype=np.int64)
    if bool((np.diff(evaluations) <= 0).any()):
        raise MalformedMessage("retrained: expected evaluations in ascending order, each once")
    return Retrained(
        round=message.round,
        check_seed=check_seed,
        evaluations=evaluations,
        outputs=matrix_from_proto(message.outputs, "retrained"),
    )


# ------------------------------------------------------------------------------------- last words


def closing_to_proto(closing: Closing) -> pb.Closing:
    return pb.Closing(outcome=_OUTCOME[closing.outcome], reason=closing.reason)


def closing_from_proto(message: pb.Closing) -> Closing:
    return Closing(
        outcome=enum_from_proto(_OUTCOME, message.outcome, "closing's outcome"),
        reason=text_from_proto(message.reason, "closing's reason"),
    )


def aborted_to_proto(aborted: Aborted) -> pb.Aborted:
    return pb.Aborted(reason=REASON[aborted.reason], text=aborted.text)


def aborted_from_proto(message: pb.Aborted) -> Aborted:
    return Aborted(
        reason=enum_from_proto(REASON, message.reason, "abort's reason"),
        text=text_from_proto(message.text, "abort's text"),
    )
