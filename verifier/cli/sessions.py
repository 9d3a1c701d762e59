"""``verifier verify`` and ``audit``: a session with a prover, from its task to a filed verdict."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from protocol.certificate.planning import Plan
from protocol.certificate.registry import method_named
from protocol.certificate.terms import Answers
from protocol.commitments import PublicKey, SigningKey
from protocol.errors import ArgumentError
from protocol.session.transcript import Transcript
from verifier import keys, payouts, verification
from verifier.cli import options
from verifier.cli.app import Stdout, complain
from verifier.cli.steps import check_trusted, prepare, show
from verifier.party import Party
from verifier.progress import Bars
from verifier.report import payouts as payouts_report
from verifier.report.text import json_text
from verifier.report.verdict import EXIT_STATUS, Filed
from verifier.retrain import Retrainer
from verifier.verification import Asked, Verified


def verify(
    address: options.Address = None,
    claim: options.ClaimFile = None,
    task: options.TaskFile = None,
    task_digest: options.TaskDigest = None,
    data: options.Data = None,
    epsilon: options.Epsilon = Asked.epsilon,
    delta: options.Delta = Asked.delta,
    across: options.AcrossTargets = None,
    answers: options.AnswersAsked = None,
    certificate: options.CertificateAsked = Asked.method,
    kurtosis: options.Kurtosis = None,
    max_retrainings: options.MaxRetrainings = Asked.max_retrainings,
    max_answers: options.MaxAnswers = Asked.max_answers,
    n_checks: options.NChecks = None,
    looks: options.Looks = None,
    prover_key: options.ProverKey = None,
    transcript: options.TranscriptOut = None,
    scores_out: options.ScoresOut = None,
    key: options.Key = None,
    tls_ca: options.TlsCa = None,
    insecure: options.Insecure = False,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    factory: options.Factory = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Challenge a claim, decide, and file the signed transcript. One of --task and --task-digest is required."""
    asked = Asked(
        epsilon=epsilon, delta=delta, method=certificate, across=across, answers=answers, kurtosis=kurtosis,
        max_retrainings=max_retrainings, max_answers=max_answers, n_checks=n_checks, n_looks=looks,
        prover_key=_named_key(prover_key),
    )  # fmt: skip
    with closing(Party(address, claim, tls_ca=tls_ca, insecure=insecure)) as party:
        check_trusted(party.task, party.where, task, task_digest)
        files = _files(key, transcript, scores_out)
        retrainer = prepare(party.task, data=data, device=device, threads=threads, factory=factory, shown=not quiet)
        verified = _run_session(party, retrainer, asked, files, shown=not quiet)
    show(verified.verdict, _filed(verified), party.task, as_json=as_json, quiet=quiet)
    if verified.unfiled is not None:
        raise verified.unfiled
    return EXIT_STATUS[verified.verdict.outcome]


def audit(
    payout_file: Annotated[Path, typer.Argument(metavar="PAYOUTS.csv", help="Columns contributor, amount.")],
    address: options.Address = None,
    claim: options.ClaimFile = None,
    task: options.TaskFile = None,
    task_digest: options.TaskDigest = None,
    data: options.Data = None,
    epsilon: options.Epsilon = Asked.epsilon,
    delta: options.Delta = Asked.delta,
    across: options.AcrossTargets = None,
    answers: options.AnswersAsked = None,
    certificate: options.CertificateAsked = Asked.method,
    kurtosis: options.Kurtosis = None,
    max_retrainings: options.MaxRetrainings = Asked.max_retrainings,
    max_answers: options.MaxAnswers = Asked.max_answers,
    n_checks: options.NChecks = None,
    looks: options.Looks = None,
    prover_key: options.ProverKey = None,
    transcript: options.TranscriptOut = None,
    key: options.Key = None,
    tls_ca: options.TlsCa = None,
    insecure: options.Insecure = False,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    factory: options.Factory = None,
    resolve: Annotated[
        float | None,
        typer.Option(
            "--resolve",
            metavar="AMOUNT",
            help="Continue until every interval reaches at most AMOUNT to either side, or the budget is spent.",
        ),
    ] = None,
    width: Annotated[
        float | None,
        typer.Option(
            "--width", metavar="SHARE", help="As --resolve, with AMOUNT as a share of the mean payout, such as 0.1."
        ),
    ] = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Verify a claim and check a payout file against it: amounts stated and due, with an interval for each.

    Ends as verify does, with two exceptions: an amount outside its interval is a REJECT, and without intervals there is
    no ACCEPT.
    """
    if not method_named(certificate).weighs_units:
        raise ArgumentError(
            f"certificate: {certificate} does not bound the scores of single units, so it cannot check payouts; "
            "choose another"
        )
    asked = Asked(
        epsilon=epsilon, delta=delta, method=certificate, across=across, answers=answers, kurtosis=kurtosis,
        max_retrainings=max_retrainings, max_answers=max_answers, n_checks=n_checks, n_looks=looks,
        goes_on=True, prover_key=_named_key(prover_key),
    )  # fmt: skip
    paid = payouts.read_payouts(payout_file)
    who = answers or method_named(certificate).answers[0]
    wanted = payouts.wanted(paid, resolve=resolve, width=width, answers=who)
    with closing(Party(address, claim, tls_ca=tls_ca, insecure=insecure)) as party:
        check_trusted(party.task, party.where, task, task_digest)
        files = _files(key, transcript)
        retrainer = prepare(party.task, data=data, device=device, threads=threads, factory=factory, shown=not quiet)
        groups = payouts.held_units(paid, retrainer.dataset, party.task)
        resolving = payouts.Resolving(party.task, groups, paid, wanted, delta=delta)
        verified = _run_session(party, retrainer, asked, files, shown=not quiet, is_enough=resolving)
    owed = resolving.at_end(verified.transcript)
    outcome = payouts.conclude(verified.verdict, owed)
    console = Stdout()
    if as_json:
        console.out(
            json_text(payouts_report.audit_json(outcome, verified.verdict, _filed(verified), paid.contributors, owed))
        )
    else:
        show(verified.verdict, _filed(verified), party.task, as_json=False, quiet=quiet)
        if owed is None:
            payouts_report.print_no_payouts(outcome, resolving.why_not, verified.verdict.terms, console)
        else:
            payouts_report.print_payouts(outcome, paid.contributors, owed, console)
        if resolving.is_wide:
            console.print("wider than asked for: allow more retrainings (--max-retrainings)", soft_wrap=True)
    if verified.unfiled is not None:
        raise verified.unfiled
    return EXIT_STATUS[outcome]


def _named_key(text: str | None) -> PublicKey | None:
    return None if text is None else verification.parse_key(text, "prover-key")


@dataclass(frozen=True, kw_only=True)
class _Files:
    """Where a session's results go, and under whose key."""

    key: SigningKey
    transcript: Path | None
    scores: Path | None = None


def _files(key: Path | None, transcript: Path | None, scores: Path | None = None) -> _Files:
    signing = keys.load_or_create(key or keys.default_key_path(), create=key is None)
    return _Files(key=signing, transcript=transcript, scores=scores)


def _run_session(
    party: Party,
    retrainer: Retrainer,
    asked: Asked,
    files: _Files,
    *,
    shown: bool,
    is_enough: Callable[[Transcript], bool] = lambda _: True,
) -> Verified:
    if party.is_file and asked.terms(party.task).answers is Answers.DELEGATED:
        raise ArgumentError("answers: a claim file cannot answer a challenge; give HOST:PORT, or --answers own")

    def tell_plan(plan: Plan) -> None:
        if shown:
            complain(f"plan: {plan.summary}")

    with Bars(shown=shown) as bars:
        return verification.verify(
            party.task,
            party.prover,
            retrainer,
            asked,
            key=files.key,
            transcript_path=files.transcript,
            scores_path=files.scores,
            max_served=party.max_served,
            on_event=bars,
            on_plan=tell_plan,
            is_enough=is_enough,
            on_unfinished=lambda place: complain(f"no verdict; the transcript so far is in {place}"),
        )


def _filed(verified: Verified) -> Filed:
    there = verified.unfiled is None
    return Filed(
        transcript=verified.place if there else None,
        scores=verified.scores if there else None,
        seconds=verified.seconds,
        notes=verified.notes,
    )
