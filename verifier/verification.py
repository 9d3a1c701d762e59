"""One verification, from a prover that can be asked to a verdict that is filed.

Owns the order: the task is the one that the user trusts, then the data are checked, then the claim is fetched, then
the plan is made, then the session runs, then the transcript is written, whatever the outcome. Refuses to know the
command line and what is printed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from protocol import taskfile
from protocol.certificate import algorithm1_plan, crossfit_plan, plan
from protocol.certificate.plan import Outlook, Plan
from protocol.certificate.terms import Across, Assurance, Method
from protocol.claim import Claim, Figures
from protocol.commitments import PublicKey, SigningKey
from protocol.encoding import DIGEST_BYTES
from protocol.errors import ArgumentError, AttributionProofsError, BudgetError, DataError, StoreError, TaskFileError
from protocol.session.messages import Outcome
from protocol.session.transcript import Transcript
from protocol.session.verdict import Verdict
from protocol.session.verifier import VerifierSession
from protocol.task import Task
from verifier import audit, filing
from verifier.audit import Entropy, OnEvent, OpenedProver, Prover
from verifier.offline import read_bytes
from verifier.retrain import Retrainer

MAX_TASK_FILE_BYTES = 4 * taskfile.MAX_CHARACTERS

CLIPPED_SHARE = 1e-3
"""A task whose range cuts off more than this of its outputs was given too narrow a range: the user is told."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the user asks for.

    max_retrainings : trainings done here, over all looks. max_answers : asked of the prover, over all looks.
    n_checks : answers rechecked in each look; None lets the planner choose. prover_key : None takes any prover.
    Of method algorithm1, assurance, across and n_looks do not apply: the paper knows one way.
    """

    epsilon: float = 0.05
    delta: float = 0.05
    across: Across = Across.MEAN
    assurance: Assurance = Assurance.PROVED
    max_retrainings: int = 200
    max_answers: int = 4000
    n_checks: int | None = None
    n_looks: int = 2
    method: Method = Method.FAMILIES
    prover_key: PublicKey | None = None

    @property
    def is_answered(self) -> bool:
        """Whether a prover must answer: nobody who only has a claim file can."""
        return self.assurance is Assurance.AUDITED or self.method is Method.ALGORITHM1

    def plan(
        self, task: Task, figures: Figures | None, claim: Claim | None = None, *, max_served: int | None = None
    ) -> Plan:
        """Return the plan for a claim of these figures.

        Parameters
        ----------
        max_served : most trainings that the prover's server answers in a session; None where it does not say.

        Raises
        ------
        BudgetError
            No design fits the budget; says what would do.
        ArgumentError
            A number out of its range.
        """
        if self.n_checks is not None and not self.is_answered:
            raise ArgumentError("n-checks: expected assurance audited, got proved, where every subset is retrained")
        if self.method is Method.ALGORITHM1:
            return algorithm1_plan.best_within(
                task,
                claim,
                epsilon=self.epsilon,
                delta=self.delta,
                max_retrainings=self.max_retrainings,
                max_answers=self.max_answers,
                n_checks=self.n_checks,
                max_served=max_served,
            )
        max_answers = self.max_answers if max_served is None else min(self.max_answers, max_served)
        if self.method is Method.CROSSFIT:
            return crossfit_plan.best_within(
                task,
                epsilon=self.epsilon,
                delta=self.delta,
                across=self.across,
                assurance=self.assurance,
                outlook=Outlook.of(figures),
                max_retrainings=self.max_retrainings,
                max_answers=max_answers,
                n_checks=self.n_checks,
                half_range_sd=crossfit_plan.half_range_of(task, claim),
            )
        return plan.best_within(
            task,
            epsilon=self.epsilon,
            delta=self.delta,
            across=self.across,
            assurance=self.assurance,
            outlook=Outlook.of(figures),
            max_retrainings=self.max_retrainings,
            max_answers=max_answers,
            n_checks=self.n_checks,
            n_looks=self.n_looks,
        )


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What a verification came to.

    place : of the signed transcript, and of the scores, None when they were not asked for or not accepted.
    unfiled : why they could not be written; None when they were. A verdict is not lost to a full disk.
    notes : lines that the user should read beside the verdict.
    """

    verdict: Verdict
    transcript: Transcript
    place: Path
    scores: Path | None
    unfiled: AttributionProofsError | None
    notes: tuple[str, ...]
    seconds: float


# ------------------------------------------------------------------------------------ what is trusted


def read_task(path: Path) -> Task:
    """Return the task of a task.toml.

    Raises
    ------
    TaskFileError
        Missing, not text, or not a task.
    """
    try:
        raw = read_bytes(path, "task file")
        if len(raw) > MAX_TASK_FILE_BYTES:
            raise TaskFileError(f"expected a task file of at most {MAX_TASK_FILE_BYTES} bytes, got {len(raw)}")
        return taskfile.parse(raw.decode())
    except TaskFileError as error:
        raise TaskFileError(f"{path}: {error}") from error
    except (DataError, UnicodeDecodeError) as error:
        raise TaskFileError(f"{path}: expected a task file in UTF-8, got none: {error}") from error


def parse_digest(text: str) -> bytes:
    """Return the digest that the user typed; :class:`ArgumentError` unless it is whole."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != DIGEST_BYTES:
        raise ArgumentError(f"task-digest: expected all {2 * DIGEST_BYTES} hexadecimal digits, got {text[:80]!r}")
    return value


def parse_key(text: str, option: str) -> PublicKey:
    """Return the public key that the user typed; :class:`ArgumentError` naming ``option`` unless it is one."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != DIGEST_BYTES:
        raise ArgumentError(f"{option}: expected {2 * DIGEST_BYTES} hexadecimal digits, got {text[:80]!r}")
    return PublicKey(value)


def check_trusted(served: Task, where: str, *, trusted: Task | None, digest: bytes | None) -> None:
    """Raise unless ``served`` is the very task that the user trusts, by file or by digest.

    Raises
    ------
    ArgumentError
        Neither was given, or the digest is another.
    TaskFileError
        The file's task is another.
    """
    got = served.digest.hex()
    if trusted is None and digest is None:
        raise ArgumentError(
            f"expected --task FILE or --task-digest HEX, got neither; {where} has task {got}: "
            "read it with verifier inspect before you trust it"
        )
    if trusted is not None and trusted.digest != served.digest:
        raise TaskFileError(
            f"task: expected the one of your file, {trusted.digest.hex()[:16]}, got {got[:16]} from {where}; "
            "compare them with verifier inspect"
        )
    if digest is not None and digest != served.digest:
        raise ArgumentError(
            f"task-digest: expected {digest.hex()[:16]}, got {got[:16]} from {where}; read it with verifier inspect"
        )


# ----------------------------------------------------------------------------------------- the run


def verify(
    task: Task,
    prover: Prover,
    retrainer: Retrainer,
    asked: Asked,
    *,
    key: SigningKey,
    transcript_path: Path | None,
    scores_path: Path | None = None,
    max_served: int | None = None,
    entropy: Entropy = os.urandom,
    on_event: OnEvent = audit.unseen,
    on_plan: Callable[[Plan], None] = lambda _: None,
    on_unfinished: Callable[[Path], None] = lambda _: None,
) -> Verified:
    """Run one session about a task that was checked, file its transcript, and return what it came to.

    Parameters
    ----------
    transcript_path : None for ``verdict-NONCE.transcript`` here.
    scores_path : where the scores go, on ACCEPT and only then.
    max_served : see :meth:`Asked.plan`.
    on_plan : told the plan before anything is trained.
    on_unfinished : told where the transcript of a session is that an error or Ctrl-C cut short.

    Raises
    ------
    TransportError, TrainingError, BudgetError, StoreError
        See ``audit.run``, :meth:`Asked.plan` and ``filing.check_writable``. A prover's faults are verdicts, not errors.
    """
    started = time.perf_counter()
    for path in (transcript_path, scores_path):
        if path is not None:
            filing.check_writable(path)
    opened = audit.open_claim(prover, task, entropy=entropy, on_event=on_event)
    place = transcript_path or filing.default_transcript_path(opened.opening.nonce)
    filing.check_writable(place)
    planned = _planned(opened, task, asked, max_served)
    on_plan(planned)
    session = VerifierSession(task=task, terms=planned.terms, prover_key=asked.prover_key)
    try:
        verdict = audit.run(session, opened, retrainer, entropy=entropy, on_event=on_event)
    except BaseException:
        audit.leave(opened, "the verifier ended the session before its verdict")
        filing.file_transcript(place, task, planned.terms, session.transcript, key)
        on_unfinished(place)
        raise
    seconds = time.perf_counter() - started
    accepted = scores_path if verdict.outcome is Outcome.ACCEPT else None
    unfiled: AttributionProofsError | None = None
    try:
        filing.file_transcript(place, task, planned.terms, session.transcript, key)
        if accepted is not None:
            filing.write_scores(accepted, verdict, session.transcript)
    except (StoreError, BudgetError) as error:
        unfiled = error
    return Verified(
        verdict=verdict,
        transcript=session.transcript,
        place=place,
        scores=accepted,
        unfiled=unfiled,
        notes=_notes(verdict, opened, task, retrainer),
        seconds=seconds,
    )


def _planned(opened: OpenedProver, task: Task, asked: Asked, max_served: int | None) -> Plan:
    try:
        return asked.plan(task, opened.figures, opened.claim, max_served=max_served)
    except AttributionProofsError:
        audit.leave(opened, "the verifier's budget does not reach")
        raise


def _notes(verdict: Verdict, opened: OpenedProver, task: Task, retrainer: Retrainer) -> tuple[str, ...]:
    notes = []
    if retrainer.n_outputs and retrainer.n_clipped > CLIPPED_SHARE * retrainer.n_outputs:
        share = 100 * retrainer.n_clipped / retrainer.n_outputs
        notes.append(
            f"{share:.2g}% of the outputs lay outside their target's range and were clipped; widen the task's range"
        )
    terms = verdict.terms
    if verdict.outcome is Outcome.INCONCLUSIVE and terms.method is Method.FAMILIES:
        needed = plan.retrainings_needed(
            task, epsilon=terms.epsilon, delta=terms.delta, across=terms.across, outlook=Outlook.of(opened.figures)
        )
        if needed is None:
            notes.append("the prover itself puts its gap too near epsilon, or above it: no budget would accept it")
        elif needed > verdict.n_retrainings:
            notes.append(f"by the claim's own figures, {needed} trainings would accept it in nine runs of ten")
    return tuple(notes)
