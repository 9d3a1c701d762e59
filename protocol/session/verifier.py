"""The verifier's side of a session: trust nothing, decide (THEORY 4, 8).

Steps carry proto/SPEC.md's numbers (V1 ...). The session asks for entropy only at the moment it
is needed: the challenge's seed after the claim is in and checked, the spot check's after the
answers are in and checked. Nothing that the prover says raises out of here: a broken protocol
is a REJECT, with the reason.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from protocol.certificate import judging, spot_check
from protocol.certificate.families import FamiliesCertificate
from protocol.certificate.judging import Answered, Certificate, Judge, judge_of
from protocol.certificate.readings import check_shapes
from protocol.certificate.spot_check import SpotCheck
from protocol.certificate.terms import Method, Terms
from protocol.commitments import MerkleTree, PublicKey
from protocol.encoding import SEED_BYTES, Seed
from protocol.errors import CommitmentError, InternalError, MalformedMessage, PeerError, Reason, TrainingError
from protocol.sampling import Draw, choose
from protocol.session.effects import DrawEntropy, Drawn, Effect, Event, Finish, Lost, Received, Send, Train, Trained
from protocol.session.machine import Machine, State
from protocol.session.messages import (
    MAX_TEXT,
    NONCE_BYTES,
    PROTOCOL_VERSION,
    Aborted,
    Answers,
    Challenge,
    ClaimCommitted,
    Closing,
    Message,
    Opening,
    Outcome,
    Retrained,
    Sender,
    answer_leaves,
)
from protocol.session.transcript import Entry, Transcript
from protocol.session.verdict import Verdict
from protocol.task import Task


class VerifierSession:
    """One session, about a task that the verifier trusts, on the verifier's terms.

    Parameters
    ----------
    task : the statement; its digest was checked against what the user named.
    terms : what is asked for.
    prover_key : the key that the claim must be signed with; None takes any.
    """

    def __init__(self, *, task: Task, terms: Terms, prover_key: PublicKey | None = None) -> None:
        terms.check_fits(task)
        judging.check_rounds(task, terms)
        self._task, self._terms, self._prover_key = task, terms, prover_key
        self._machine = Machine()
        self._committed: ClaimCommitted | None = None
        self._draw: Draw | None = None
        self._answers: Answers | None = None
        self._check_seed: Seed | None = None
        self._evaluations: np.ndarray = np.empty(0, dtype=np.int64)
        self._judge: Judge | None = None
        self._round = 0
        self._spot_checks: list[SpotCheck] = []
        self._certificate: Certificate | None = None
        self._n_retrainings = 0
        self.transcript = Transcript(task.digest)

    @property
    def round(self) -> int:
        """The round under way, from 0."""
        return self._round

    @property
    def is_over(self) -> bool:
        return self._machine.is_over

    def start(self) -> list[Effect]:
        """Return the first effects: entropy for the session's nonce."""
        return [DrawEntropy(NONCE_BYTES)]

    def handle(self, event: Event) -> list[Effect]:
        """Take one event and return what is to be done, in order; nothing that comes after the end changes it.

        Raises
        ------
        InternalError, TrainingError
            The shell's own event is not what was asked for, or its training gave no number: never the prover's fault.
        """
        ours = isinstance(event, Drawn | Trained)
        if self.is_over and not ours:
            return []
        try:
            return self._handle(event)
        except PeerError as error:
            if ours:
                raise InternalError(f"the shell gave what was not asked for: {error}") from error
            return self._reject(f"the prover broke the protocol: {error}", error.reason)

    def _handle(self, event: Event) -> list[Effect]:
        match event:
            case Drawn(entropy=entropy):
                return self._take_entropy(entropy)
            case Trained(outputs=outputs):
                return self._take_retrained(outputs)
            case Received(message=ClaimCommitted() as committed):
                return self._take_claim(committed)
            case Received(message=Answers() as answers):
                return self._take_answers(answers)
            case Received(message=Aborted() as aborted):
                self._record(Sender.PROVER, aborted)
                return [Finish(self._verdict(Outcome.REJECT, f"the prover left: {aborted.text}"))]
            case Received(message=other):
                self._machine.step(Sender.PROVER, other)  # raises: no row of the table takes it
                raise InternalError(f"the state table let the prover send {type(other).__name__}")
            case Lost(reason=reason):
                return self._reject(reason)

    def _take_entropy(self, entropy: bytes) -> list[Effect]:
        expected = NONCE_BYTES if self._machine.state is State.START else SEED_BYTES
        if len(entropy) != expected:
            raise InternalError(f"expected {expected} bytes of entropy, got {len(entropy)}")
        match self._machine.state:
            case State.START:
                return self._open(entropy)
            case State.COMMITTED | State.CHECKED:
                return self._challenge(Seed(entropy))
            case State.ANSWERED:
                return self._spot_check(Seed(entropy))
            case state:
                raise InternalError(f"entropy was not asked for in state {state.value}")

    def _open(self, nonce: bytes) -> list[Effect]:
        opening = Opening(version=PROTOCOL_VERSION, nonce=nonce, task_digest=self._task.digest)
        self._record(Sender.VERIFIER, opening)
        return [Send(opening)]

    def _take_claim(self, committed: ClaimCommitted) -> list[Effect]:
        self._machine.step(Sender.PROVER, committed)  # V1: in order
        signed = committed.signed
        if self._prover_key is not None and signed.public_key != self._prover_key:  # V2
            raise CommitmentError("claim: expected the signature of the prover that was named, got another key's")
        check_shapes(self._task, committed.claim)  # V3
        signed.check_signature()  # V4
        signed.check_covers(committed.claim)  # V5
        self.transcript.append(Entry(Sender.PROVER, committed))
        self._committed, self._judge = committed, judge_of(self._task, committed.claim, self._terms)
        refusal = judging.refusal(self._task, committed.claim, self._terms)
        if refusal is not None:
            return self._close(Outcome.REJECT, refusal)
        return [DrawEntropy(SEED_BYTES)]  # only now does a challenge exist (THEORY 8)

    def _challenge(self, seed: Seed) -> list[Effect]:
        design = self._terms.looks[self.round]
        self._draw = Draw(seed=seed, design=design)
        challenge = Challenge(round=self.round, draw=self._draw)
        answered = self._terms.is_answered(self.round)
        self._record(Sender.VERIFIER, challenge, private=not answered)
        if answered:
            return [Send(challenge)]
        self._check_seed = None
        self._evaluations = np.arange(design.n_evaluations, dtype=np.int64)
        return [Train(self.round, self._draw, self._evaluations)]

    def _take_answers(self, answers: Answers) -> list[Effect]:
        self._machine.step(Sender.PROVER, answers)  # V6: in order
        draw, committed = self._open_round()
        expected = (draw.n_evaluations, self._task.n_targets)
        if answers.round != self.round or answers.outputs.shape != expected:  # V7
            raise MalformedMessage(
                f"answers: expected {expected} for round {self.round}, got {answers.outputs.shape} for {answers.round}"
            )
        targets = self._task.targets
        if not bool(((answers.outputs >= targets.lo) & (answers.outputs <= targets.hi)).all()):  # V8
            raise MalformedMessage("answers: expected every output within its target's range, got one outside")
        if MerkleTree(answer_leaves(self._task, draw, answers.outputs)).root != answers.root:  # V9
            raise CommitmentError("answers: the outputs that came are not those under the Merkle root")
        signed = Answers.digest_of(self.transcript.spoken, answers.round, answers.root)
        committed.signed.public_key.verify(answers.signature, signed, "answers")  # V10
        self.transcript.append(Entry(Sender.PROVER, answers))
        self._answers = answers
        return [DrawEntropy(SEED_BYTES)]  # only now do spot-check numbers exist (THEORY 8)

    def _spot_check(self, seed: Seed) -> list[Effect]:
        draw, _ = self._open_round()
        self._check_seed, size = seed, self._terms.check_size(draw.design)
        chosen = choose(seed, draw.n_evaluations // size, self._terms.n_checks)
        self._evaluations = (size * chosen[:, None] + np.arange(size)).ravel()
        return [Train(self.round, draw, self._evaluations)]

    def _take_retrained(self, outputs: Float64[np.ndarray, "k t"]) -> list[Effect]:
        draw, _ = self._open_round()
        expected = (len(self._evaluations), self._task.n_targets)
        if outputs.shape != expected:
            raise InternalError(f"expected retrained outputs of shape {expected}, got {outputs.shape}")
        if not bool(np.isfinite(outputs).all()):
            raise TrainingError("retraining: expected finite outputs, got NaN or infinity: no verdict can rest on them")
        retrained = Retrained(
            round=self.round, check_seed=self._check_seed, evaluations=self._evaluations, outputs=outputs
        )
        self._record(Sender.VERIFIER, retrained, private=True)
        self._n_retrainings += len(outputs)
        if self._answers is None:
            return self._decide(draw, outputs, None)
        check = spot_check.compare(
            evaluations=self._evaluations,
            answered=self._answers.outputs[self._evaluations],
            retrained=outputs,
            tolerance=self._task.numerics.tolerance,
            n_answers=draw.n_evaluations,
            delta=self._terms.check_delta_at(self.round),
            size=self._terms.check_size(draw.design),
        )
        self._spot_checks.append(check)
        if check.mismatches:  # V11
            return self._close(Outcome.REJECT, _false_answers(check, len(outputs)))
        merged = self._answers.outputs.copy()
        merged[self._evaluations] = outputs
        return self._decide(draw, merged, check)

    def _decide(self, draw: Draw, outputs: Float64[np.ndarray, "m t"], check: SpotCheck | None) -> list[Effect]:
        if self._judge is None:
            raise InternalError("no claim is in, and yet there are outputs")
        answered = Answered(draw=draw, outputs=outputs, trained=self._evaluations, spot_check=check)
        self._certificate = certificate = self._judge.take(answered)
        self._answers = None
        self._round += 1
        if certificate is None:
            return [DrawEntropy(SEED_BYTES)]
        name, epsilon = _statement(self._terms), self._terms.epsilon
        if certificate.upper_bound <= epsilon:  # V12
            return self._close(Outcome.ACCEPT, f"{name} is at most {certificate.upper_bound:.4g} <= {epsilon:g}")
        if certificate.lower_bound > epsilon:  # V13
            return self._close(Outcome.REJECT, f"{name} is at least {certificate.lower_bound:.4g} > {epsilon:g}")
        if self.round < len(self._terms.looks):
            return [DrawEntropy(SEED_BYTES)]
        return self._close(Outcome.INCONCLUSIVE, _undecided(certificate, name, epsilon))

    def _close(self, outcome: Outcome, reason: str) -> list[Effect]:
        closing = Closing(outcome=outcome, reason=reason)
        self._record(Sender.VERIFIER, closing)
        return [Send(closing), Finish(self._verdict(outcome, reason))]

    def _reject(self, reason: str, code: Reason = Reason.FAILED) -> list[Effect]:
        """End on a broken protocol. Leaving after the challenge counts as failing it (THEORY 8)."""
        if self._machine.is_over:
            raise InternalError(f"the session is over, and yet: {reason}")
        aborted = Aborted(reason=code, text=reason[:MAX_TEXT])
        self._record(Sender.VERIFIER, aborted)
        return [Send(aborted), Finish(self._verdict(Outcome.REJECT, reason))]

    def _verdict(self, outcome: Outcome, reason: str) -> Verdict:
        return Verdict(
            outcome=outcome,
            terms=self._terms,
            task_digest=self._task.digest,
            claim_root=None if self._committed is None else self._committed.signed.root,
            reasons=(reason,),
            certificate=self._certificate,
            spot_checks=tuple(self._spot_checks),
            n_retrainings=self._n_retrainings,
        )

    def _record(self, sender: Sender, message: Message, *, private: bool = False) -> None:
        self._machine.step(sender, message, own=private)
        self.transcript.append(Entry(sender, message, private))

    def _open_round(self) -> tuple[Draw, ClaimCommitted]:
        if self._draw is None or self._committed is None:
            raise InternalError(f"no challenge is open in state {self._machine.state.value}")
        return self._draw, self._committed


def _false_answers(check: SpotCheck, n_rechecked: int) -> str:
    shown = ", ".join(map(str, check.mismatches[:5])) + (", ..." if len(check.mismatches) > 5 else "")
    return (
        f"{len(check.mismatches)} of {n_rechecked} rechecked answers are false (evaluations {shown}; "
        f"largest difference {check.largest_difference:.3g})"
    )


def _statement(terms: Terms) -> str:
    if terms.method is Method.ALGORITHM1:
        return "gap over the squared half range"
    return f"relative gap ({terms.across.value})"


def _undecided(certificate: Certificate, name: str, epsilon: float) -> str:
    if isinstance(certificate, FamiliesCertificate) and certificate.constant_targets:
        first = certificate.constant_targets[0]
        return f"target {first} does not vary, so its relative gap is undefined: leave it out of the task"
    if certificate.upper_bound == np.inf:
        return (
            f"{name} has no bound from above, since some target's Var f cannot be told from 0: allow more retrainings, "
            "or leave out targets that do not vary"
        )
    return (
        f"{name} is between {certificate.lower_bound:.4g} and {certificate.upper_bound:.4g}, with {epsilon:g} between: "
        "allow more retrainings"
    )
