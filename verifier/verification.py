"""One verification, from a prover that can be asked to a verdict that is filed.

Owns the order: the task is the one that the user trusts, then the data are checked, then the session runs, which asks
for a plan once the claim is in and checked, then the transcript is written, whatever the outcome. Refuses to know the
command line and what is printed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from protocol import taskfile
from protocol.certificate.planning import Budget, Plan, Seen
from protocol.certificate.registry import DEFAULT, method_named
from protocol.certificate.terms import Across, Answers, Rounds, Terms
from protocol.claim import Claim, Figures
from protocol.commitments import PublicKey, SigningKey
from protocol.encoding import DIGEST_BYTES
from protocol.errors import ArgumentError, AttributionProofsError, BudgetError, DataError, StoreError, TaskFileError
from protocol.game import Game
from protocol.session.effects import ChooseRounds
from protocol.session.messages import Outcome
from protocol.session.transcript import Transcript
from protocol.session.verdict import Verdict
from protocol.session.verifier import VerifierSession
from protocol.task import Task
from verifier import filing, loop
from verifier.loop import Entropy, OnEvent, Prover
from verifier.offline import read_bytes
from verifier.retrain import Retrainer

MAX_TASK_FILE_BYTES = 4 * taskfile.MAX_CHARACTERS

CLIPPED_SHARE = 1e-3
"""A task whose range cuts off more than this of its outputs was given too narrow a range: the user is told."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the user asks for.

    epsilon : largest relative gap to accept. delta : probability of a wrong ACCEPT allowed, over all looks.
    method : a certificate's name. answers, across, kurtosis : None for the certificate's own default.
    max_retrainings : most trainings done here, over all looks. max_answers : most asked of the prover, likewise.
    n_checks : answers rechecked in each answered round. n_looks : most looks. None lets the planner choose.
    goes_on : whether the session may go on after its verdict is decided, for payouts.
    prover_key : the key that the claim must be signed with; None takes any.
    """

    epsilon: float = 0.05
    delta: float = 0.05
    method: str = DEFAULT
    across: Across | None = None
    answers: Answers | None = None
    kurtosis: float | None = None
    max_retrainings: int = 1000
    max_answers: int = 10_000
    n_checks: int | None = None
    n_looks: int | None = None
    goes_on: bool = False
    prover_key: PublicKey | None = None

    def terms(self, game: Game) -> Terms:
        """Return the terms of a session about ``game``.

        Raises
        ------
        ArgumentError
            A number out of its range, or a choice that the certificate does not have.
        """
        method = method_named(self.method)
        answers = self.answers or method.answers[0]
        if self.n_checks is not None and answers is Answers.OWN:
            raise ArgumentError(
                "n-checks: the verifier trains every subset itself, so there are no answers to recheck; leave it out, "
                "or choose delegated answers"
            )
        if self.n_looks is not None and not method.takes_looks:
            raise ArgumentError(f"looks: certificate {method.name} chooses its looks itself; leave it out")
        terms = Terms(
            epsilon=self.epsilon,
            delta=self.delta,
            across=self.across or method.across[0],
            answers=answers,
            method=method.name,
            kurtosis=self.kurtosis if self.kurtosis is not None else method.kurtosis_of(answers, game.measure),
        )
        method.check_terms(game, terms)
        return terms

    def budget(self, max_served: int | None) -> Budget:
        """Return what may be spent; ``max_served`` is what the prover's server says, None where it does not."""
        return Budget(
            max_retrainings=self.max_retrainings,
            max_answers=self.max_answers,
            n_checks=self.n_checks,
            n_looks=self.n_looks,
            max_served=max_served,
            goes_on=self.goes_on,
        )

    def plan(
        self, game: Game, figures: Figures | None, claim: Claim | None = None, *, max_served: int | None = None,
        seen: Seen | None = None,
    ) -> Plan:  # fmt: skip
        """Return the plan for a claim of these figures, or for what a pilot has seen of it.

        Raises
        ------
        BudgetError
            No rounds fit the budget; says what would do.
        ArgumentError
            A number out of its range.
        """
        terms = self.terms(game)
        return method_named(self.method).plan(game, claim, figures, terms, self.budget(max_served), seen)


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
    on_event: OnEvent = loop.unseen,
    on_plan: Callable[[Plan], None] = lambda _: None,
    on_unfinished: Callable[[Path], None] = lambda _: None,
    is_enough: Callable[[Transcript], bool] = lambda _: True,
) -> Verified:
    """Run one session about a task that was checked, file its transcript, and return what it came to.

    Parameters
    ----------
    transcript_path : None for ``verdict-NONCE.transcript`` here.
    scores_path : where the scores go, on ACCEPT and only then.
    max_served : most trainings that the prover's server answers in one session; None where it does not say.
    on_plan : told every plan before what it asks for is trained.
    is_enough : asked whether to stop where the bounds decide and rounds are left.
    on_unfinished : told where the transcript of a session is that an error or Ctrl-C cut short.

    Raises
    ------
    TransportError, TrainingError, BudgetError, StoreError
        See ``loop.run``, :meth:`Asked.plan` and ``filing.check_writable``. A prover's faults are verdicts, not errors.
    """
    started = time.perf_counter()
    for path in (transcript_path, scores_path):
        if path is not None:
            filing.check_writable(path)
    terms = asked.terms(task)
    session = VerifierSession(game=task, terms=terms, prover_key=asked.prover_key)

    def choose(wanted: ChooseRounds) -> Rounds:
        planned = asked.plan(task, wanted.figures, wanted.claim, max_served=max_served, seen=wanted.seen)
        on_plan(planned)
        return planned.rounds

    place = transcript_path or Path()

    def opened(nonce: bytes) -> None:
        nonlocal place
        place = transcript_path or filing.default_transcript_path(nonce)
        filing.check_writable(place)

    try:
        verdict = loop.run(
            session,
            prover,
            choose,
            retrainer,
            entropy=entropy,
            on_event=on_event,
            on_opening=opened,
            is_enough=is_enough,
        )
    except BaseException:
        if len(session.transcript.entries) > 1:  # somebody answered, and may be working
            loop.leave(prover, "the verifier ended the session before its verdict")
            with suppress(StoreError, BudgetError):  # what ended the session is what the user must hear of
                filing.file_transcript(place, task, terms, session.transcript, key)
                on_unfinished(place)
        raise
    seconds = time.perf_counter() - started
    accepted = scores_path if verdict.outcome is Outcome.ACCEPT else None
    unfiled: AttributionProofsError | None = None
    try:
        filing.file_transcript(place, task, terms, session.transcript, key)
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
        notes=_notes(verdict, retrainer),
        seconds=seconds,
    )


def _notes(verdict: Verdict, retrainer: Retrainer) -> tuple[str, ...]:
    notes = []
    if retrainer.n_outputs and retrainer.n_clipped > CLIPPED_SHARE * retrainer.n_outputs:
        share = 100 * retrainer.n_clipped / retrainer.n_outputs
        notes.append(
            f"{share:.2g}% of the outputs lay outside their target's range and were clipped; widen the task's range"
        )
    if verdict.certificate is not None:
        notes.extend(verdict.certificate.notes())
    return tuple(notes)
