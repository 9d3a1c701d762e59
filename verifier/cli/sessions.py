"""``verifier verify`` and ``audit``: a session with a prover, from its task to a filed verdict."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from protocol.certificate.plan import Plan
from protocol.certificate.terms import Assurance, Method
from protocol.commitments import PublicKey, SigningKey
from protocol.errors import ArgumentError
from verifier import keys, payouts, verification
from verifier.cli import options
from verifier.cli.app import Stdout, complain
from verifier.cli.steps import check_trusted, prepare, show
from verifier.party import Party
from verifier.progress import Bars
from verifier.report import payouts as payouts_report
from verifier.report import plan as plan_report
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
    assurance: options.AssuranceAsked = None,
    certificate: options.CertificateAsked = Asked.method,
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
    _check_applies(certificate, across=across, assurance=assurance, looks=looks)
    asked = Asked(
        epsilon=epsilon, delta=delta, across=across or Asked.across, assurance=assurance or Asked.assurance,
        method=certificate, max_retrainings=max_retrainings, max_answers=max_answers, n_checks=n_checks,
        n_looks=looks or Asked.n_looks, prover_key=_named_key(prover_key),
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
    assurance: options.AssuranceAsked = None,
    certificate: options.CertificateAsked = Asked.method,
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
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Verify a claim and hold a payout file against it: what each contributor got, is due, and may be due.

    Ends as verify does, and with REJECT when an amount lies outside its interval.
    """
    if certificate is Method.ALGORITHM1:
        raise ArgumentError(
            "certificate: expected families or crossfit for payouts, got algorithm1, which weighs no unit"
        )
    _check_applies(certificate, across=across, assurance=assurance, looks=looks)
    asked = Asked(
        epsilon=epsilon, delta=delta, across=across or Asked.across, assurance=assurance or Asked.assurance,
        method=certificate, max_retrainings=max_retrainings, max_answers=max_answers, n_checks=n_checks,
        n_looks=looks or Asked.n_looks, prover_key=_named_key(prover_key),
    )  # fmt: skip
    paid = payouts.read_payouts(payout_file)
    with closing(Party(address, claim, tls_ca=tls_ca, insecure=insecure)) as party:
        check_trusted(party.task, party.where, task, task_digest)
        files = _files(key, transcript)
        retrainer = prepare(party.task, data=data, device=device, threads=threads, factory=factory, shown=not quiet)
        groups = payouts.held_units(paid, retrainer.dataset, party.task)
        verified = _run_session(party, retrainer, asked, files, shown=not quiet)
    owed = payouts.certify(party.task, verified.verdict, verified.transcript, groups, paid)
    outcome = payouts.conclude(verified.verdict, owed)
    console = Stdout()
    if as_json:
        console.out(
            json_text(payouts_report.audit_json(outcome, verified.verdict, _filed(verified), paid.contributors, owed))
        )
    else:
        show(verified.verdict, _filed(verified), party.task, as_json=False, quiet=quiet)
        payouts_report.print_payouts(outcome, verified.verdict, paid.contributors, owed, console)
    if verified.unfiled is not None:
        raise verified.unfiled
    return EXIT_STATUS[outcome]


_WITHOUT = {
    Method.ALGORITHM1: ({"assurance", "across", "looks"}, "the paper knows one way"),
    Method.CROSSFIT: ({"looks"}, "it decides once"),
}
"""Options that a certificate has no choice in, and why."""


def _check_applies(certificate: Method, **said: object) -> None:
    """Refuse an option that would be ignored: whoever gave it would believe that it held."""
    ignored, why = _WITHOUT.get(certificate, (set(), ""))
    for option, value in said.items():
        if option in ignored and value is not None:
            raise ArgumentError(
                f"{option}: expected none with --certificate {certificate.value}, where {why}; leave --{option} out"
            )


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


def _run_session(party: Party, retrainer: Retrainer, asked: Asked, files: _Files, *, shown: bool) -> Verified:
    if party.is_file and asked.method is Method.ALGORITHM1:
        raise ArgumentError("certificate: expected HOST:PORT with algorithm1, got --claim: a file answers no challenge")
    if party.is_file and asked.assurance is Assurance.AUDITED:
        raise ArgumentError("assurance: expected proved with --claim, got audited: a file answers no challenge")

    def tell_plan(plan: Plan) -> None:
        if shown:
            complain(plan_report.plan_line(plan))

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
            on_unfinished=lambda place: complain(f"no verdict; what was said until now is in {place}"),
        )


def _filed(verified: Verified) -> Filed:
    there = verified.unfiled is None
    return Filed(
        transcript=verified.place if there else None,
        scores=verified.scores if there else None,
        seconds=verified.seconds,
        notes=verified.notes,
    )
