"""The command ``verifier``: what it takes, what it prints, how it ends.

stdout carries the result only, progress and errors go to stderr, and a fault is one line. Exit statuses:

    0    ACCEPT                    65   a file cannot be used, or is not what was named
    1    REJECT                    69   the prover cannot be reached
    2    INCONCLUSIVE              70   a bug of ours
    64   a wrong option            71   a training failed here
    130  Ctrl-C                    74   the disk refuses          75   the budget does not reach

torch, scikit-learn and grpc are imported by the commands that use them, when they do.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NoReturn, ParamSpec

import typer
from rich.console import Console
from typer.exceptions import TyperException

from protocol import __version__, taskfile
from protocol.certificate.plan import Plan
from protocol.certificate.terms import Assurance, Method
from protocol.commitments import PublicKey, SigningKey
from protocol.errors import ArgumentError, AttributionProofsError, DataError, InternalError, PeerError
from protocol.session.recheck import recheck as decide_again
from protocol.session.verdict import Verdict
from protocol.task import Task
from verifier import audit as loop
from verifier import cli_options as options
from verifier import comparison, filing, keys, payouts, retrain, verification
from verifier.audit import Progressed
from verifier.party import Party
from verifier.progress import Bars
from verifier.report import comparison as comparison_report
from verifier.report import payouts as payouts_report
from verifier.report import plan as plan_report
from verifier.report import verdict as verdict_report
from verifier.report.text import json_text, visible
from verifier.report.verdict import EXIT_STATUS, Filed
from verifier.retrain import Retrainer
from verifier.verification import Asked, Verified

P = ParamSpec("P")

EPILOG = (
    "Exit status: 0 ACCEPT, 1 REJECT, 2 INCONCLUSIVE; 64 a wrong option, 65 a file that cannot be used or is not what "
    "was named, 69 the prover cannot be reached, 70 a bug, 71 a training failed here, 74 the disk refuses, 75 the "
    "budget does not reach, 130 Ctrl-C."
)
USAGE = ArgumentError.exit_status
INTERRUPTED = 128 + signal.SIGINT
PIPE_CLOSED = 128 + signal.SIGPIPE

app = typer.Typer(
    name="verifier",
    help="Accept a claim of how much training examples matter only if it is, provably, almost the best there is.",
    epilog=EPILOG,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process with its exit status."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # else gRPC prints a fault's inner story beside our one line
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit status; an exception that nobody foresaw is 70, never a verdict."""
    try:
        status = app(args=list(arguments), prog_name="verifier", standalone_mode=False)
    except TyperException as error:
        _complain(f"error: {error.format_message()}")
        return USAGE
    except SystemExit:  # rich and typer know one status for a reader who has left, and it says REJECT
        return PIPE_CLOSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception:  # noqa: BLE001  Python would end with 1, which says REJECT
        traceback.print_exc()
        return InternalError.exit_status
    return int(status or 0)


def _command(body: Callable[P, int]) -> Callable[P, None]:
    """Turn a command that returns its exit status, or raises one of our errors, into one that typer can run."""

    @functools.wraps(body)
    def command(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            status = body(*args, **kwargs)
        except AttributionProofsError as error:
            _complain(f"error: {error}")
            status = error.exit_status
        raise typer.Exit(status)

    return command


class _Stdout(Console):
    """stdout; a reader who has left (``| head``) changes no exit status, where rich would end with a REJECT's."""

    def __init__(self) -> None:
        super().__init__(markup=False, highlight=False, emoji=False)

    def on_broken_pipe(self) -> None:
        """Write the rest to nowhere."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(line: str) -> None:
    Console(stderr=True, soft_wrap=True).print(line, markup=False, highlight=False, emoji=False)


def _version(wanted: bool) -> None:
    if wanted:
        _Stdout().out(f"attribution-proofs {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that come before a command."""


def _check_trusted(task: Task, where: str, task_file: Path | None, task_digest: str | None) -> None:
    verification.check_trusted(
        task,
        where,
        trusted=None if task_file is None else verification.read_task(task_file),
        digest=None if task_digest is None else verification.parse_digest(task_digest),
    )


def _prepare(task: Task, data: Path | None, device: str, threads: int | None, *, shown: bool) -> Retrainer:
    with Bars(shown=shown) as bars:  # seconds, most of them torch's own
        bars(Progressed("loading the data", 0, 0))
        return retrain.prepare(task, data=data, device=device, n_threads=threads)


def _timed(retrainer: Retrainer) -> float:
    with Bars(shown=True) as bars:
        bars(Progressed("timing a pilot", 0, 0))
        return retrainer.seconds_each()


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
            _complain(plan_report.plan_line(plan))

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
            on_unfinished=lambda place: _complain(f"no verdict; what was said until now is in {place}"),
        )


def _filed(verified: Verified) -> Filed:
    there = verified.unfiled is None
    return Filed(
        transcript=verified.place if there else None,
        scores=verified.scores if there else None,
        seconds=verified.seconds,
        notes=verified.notes,
    )


def _show(verdict: Verdict, filed: Filed, task: Task, *, as_json: bool, quiet: bool) -> None:
    console = _Stdout()
    if as_json:
        console.out(json_text(verdict_report.verdict_json(verdict, filed)))
    elif quiet:
        verdict_report.print_outcome(verdict.outcome, verdict.assurance, verdict.reasons, console)
    else:
        verdict_report.print_verdict(verdict, filed, task, console)


# ------------------------------------------------------------------------------------------- commands


@app.command(epilog=EPILOG)
@_command
def inspect(
    address: options.Address = None,
    claim: options.ClaimFile = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the task here, too.")] = None,
    tls_ca: options.TlsCa = None,
    insecure: options.Insecure = False,
    as_json: options.AsJson = False,
) -> int:
    """Print the task that a prover has a claim for, and its digest: read it, and decide whether you trust it."""
    with closing(Party(address, claim, tls_ca=tls_ca, insecure=insecure)) as party:
        text, digest = taskfile.render(party.task), party.task.digest.hex()
    if out is not None:
        filing.check_writable(out)
        filing.write_bytes(out, text.encode())
    shown = visible(text)
    whole = json_text({"task_digest": digest, "task": text}) if as_json else f"{shown}# digest: {digest}"
    _Stdout().out(whole)
    return 0


@app.command(epilog=EPILOG)
@_command
def plan(
    address: options.Address = None,
    claim: options.ClaimFile = None,
    task: options.TaskFile = None,
    data: options.Data = None,
    epsilon: options.Epsilon = Asked.epsilon,
    delta: options.Delta = Asked.delta,
    across: options.AcrossTargets = Asked.across,
    max_retrainings: options.MaxRetrainings = Asked.max_retrainings,
    max_answers: options.MaxAnswers = Asked.max_answers,
    looks: options.Looks = Asked.n_looks,
    pilot: Annotated[bool, typer.Option("--pilot/--no-pilot", help="Time a few retrainings here.")] = True,
    tls_ca: options.TlsCa = None,
    insecure: options.Insecure = False,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    as_json: options.AsJson = False,
) -> int:
    """Print what a verification would cost and how likely it is to accept an honest claim, for each assurance."""
    if [address, claim, task].count(None) != 2:
        raise ArgumentError("expected one of HOST:PORT, --claim FILE and --task FILE, got none or several")
    figures, the_claim, max_served = None, None, None
    the_task = None if task is None else verification.read_task(task)
    if the_task is None:
        with closing(Party(address, claim, tls_ca=tls_ca, insecure=insecure)) as party:
            the_task, max_served = party.task, party.max_served
            opened = loop.open_claim(party.prover, the_task)
            loop.leave(opened, "only a plan was asked for")
            figures, the_claim = opened.figures, opened.claim
    seconds_each = _timed(_prepare(the_task, data, device, threads, shown=True)) if pilot else None
    asked = [
        Asked(
            epsilon=epsilon, delta=delta, across=across, assurance=assurance, max_retrainings=max_retrainings,
            max_answers=max_answers, n_looks=looks,
        )
        for assurance in ([Assurance.PROVED] if claim else [Assurance.PROVED, Assurance.AUDITED])
    ]  # fmt: skip
    plans = [each.plan(the_task, figures, max_served=max_served) for each in asked]
    costs = plan_report.Costs(task=the_task, seconds_each=seconds_each, figures=figures, claim=the_claim)
    others = plan_report.others(costs, plans[0].terms)
    if as_json:
        _Stdout().out(json_text(plan_report.plans_json(plans, others, costs)))
    else:
        plan_report.print_plans(plans, costs, _Stdout())
        plan_report.print_others(others, plans, _Stdout())
    return 0


@app.command(epilog=EPILOG)
@_command
def verify(
    address: options.Address = None,
    claim: options.ClaimFile = None,
    task: options.TaskFile = None,
    task_digest: options.TaskDigest = None,
    data: options.Data = None,
    epsilon: options.Epsilon = Asked.epsilon,
    delta: options.Delta = Asked.delta,
    across: options.AcrossTargets = Asked.across,
    assurance: options.AssuranceAsked = Asked.assurance,
    certificate: options.CertificateAsked = Asked.method,
    max_retrainings: options.MaxRetrainings = Asked.max_retrainings,
    max_answers: options.MaxAnswers = Asked.max_answers,
    n_checks: options.NChecks = None,
    looks: options.Looks = Asked.n_looks,
    prover_key: options.ProverKey = None,
    transcript: options.TranscriptOut = None,
    scores_out: options.ScoresOut = None,
    key: options.Key = None,
    tls_ca: options.TlsCa = None,
    insecure: options.Insecure = False,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Challenge a claim, decide, and file the signed transcript. One of --task and --task-digest is required."""
    asked = Asked(
        epsilon=epsilon, delta=delta, across=across, assurance=assurance, method=certificate,
        max_retrainings=max_retrainings, max_answers=max_answers, n_checks=n_checks, n_looks=looks,
        prover_key=_named_key(prover_key),
    )  # fmt: skip
    with closing(Party(address, claim, tls_ca=tls_ca, insecure=insecure)) as party:
        _check_trusted(party.task, party.where, task, task_digest)
        files = _files(key, transcript, scores_out)
        retrainer = _prepare(party.task, data, device, threads, shown=not quiet)
        verified = _run_session(party, retrainer, asked, files, shown=not quiet)
    _show(verified.verdict, _filed(verified), party.task, as_json=as_json, quiet=quiet)
    if verified.unfiled is not None:
        raise verified.unfiled
    return EXIT_STATUS[verified.verdict.outcome]


@app.command(epilog=EPILOG)
@_command
def recheck(
    transcript: Annotated[Path, typer.Argument(metavar="TRANSCRIPT", help="A filed transcript.")],
    retrain_too: Annotated[
        bool, typer.Option("--retrain", help="Do the verifier's retrainings again, too, instead of believing them.")
    ] = False,
    task: options.TaskFile = None,
    task_digest: options.TaskDigest = None,
    verifier_key: Annotated[
        str | None, typer.Option("--verifier-key", metavar="HEX", help="Public key that must have signed it.")
    ] = None,
    data: options.Data = None,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Decide a filed transcript again, without the other party."""
    filed = filing.read_transcript(transcript)
    if task is not None or task_digest is not None:
        _check_trusted(filed.task, str(transcript), task, task_digest)
    if verifier_key is not None and verification.parse_key(verifier_key, "verifier-key") != filed.public_key:
        raise DataError(f"{transcript}: expected the signature of the verifier that was named, got another key's")
    again = _prepare(filed.task, data, device, threads, shown=not quiet) if retrain_too else None
    with Bars(shown=not quiet) as bars:
        show = loop.shown("retraining here", bars)
        try:
            verdict = decide_again(filed, None if again is None else lambda train: again(train, show))
        except PeerError as error:  # of whoever made the file: it says nothing of the claim
            raise DataError(f"{transcript}: {error}; it supports no verdict") from error
    believed = "the verifier's own retrainings were done again" if again else "the verifier's retrainings are believed"
    notes = (f"signed by verifier {filed.public_key.raw.hex()}", believed, f"about task {filed.task.digest.hex()}")
    _show(verdict, Filed(transcript=transcript, notes=notes), filed.task, as_json=as_json, quiet=quiet)
    return EXIT_STATUS[verdict.outcome]


@app.command(epilog=EPILOG)
@_command
def compare(
    transcripts: Annotated[list[Path], typer.Argument(metavar="TRANSCRIPT...", help="Filed transcripts, one task.")],
    as_json: options.AsJson = False,
) -> int:
    """Hold filed sessions about one task together: was every verifier shown one claim, and how often was it asked?

    Ends with 1 when a prover signed more than one claim, else with 0, whatever the sessions ended in.
    """
    found = comparison.compare(transcripts)
    if as_json:
        _Stdout().out(json_text(comparison_report.comparison_json(found)))
    else:
        comparison_report.print_comparison(found, _Stdout())
    return 1 if found.two_faced else 0


@app.command(epilog=EPILOG)
@_command
def audit(
    payout_file: Annotated[Path, typer.Argument(metavar="PAYOUTS.csv", help="Columns contributor, amount.")],
    address: options.Address = None,
    claim: options.ClaimFile = None,
    task: options.TaskFile = None,
    task_digest: options.TaskDigest = None,
    data: options.Data = None,
    epsilon: options.Epsilon = Asked.epsilon,
    delta: options.Delta = Asked.delta,
    across: options.AcrossTargets = Asked.across,
    assurance: options.AssuranceAsked = Asked.assurance,
    certificate: options.CertificateAsked = Asked.method,
    max_retrainings: options.MaxRetrainings = Asked.max_retrainings,
    max_answers: options.MaxAnswers = Asked.max_answers,
    n_checks: options.NChecks = None,
    looks: options.Looks = Asked.n_looks,
    prover_key: options.ProverKey = None,
    transcript: options.TranscriptOut = None,
    key: options.Key = None,
    tls_ca: options.TlsCa = None,
    insecure: options.Insecure = False,
    device: options.Device = "cpu",
    threads: options.Threads = None,
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
    asked = Asked(
        epsilon=epsilon, delta=delta, across=across, assurance=assurance, method=certificate,
        max_retrainings=max_retrainings, max_answers=max_answers, n_checks=n_checks, n_looks=looks,
        prover_key=_named_key(prover_key),
    )  # fmt: skip
    paid = payouts.read_payouts(payout_file)
    with closing(Party(address, claim, tls_ca=tls_ca, insecure=insecure)) as party:
        _check_trusted(party.task, party.where, task, task_digest)
        files = _files(key, transcript)
        retrainer = _prepare(party.task, data, device, threads, shown=not quiet)
        groups = payouts.held_units(paid, retrainer.dataset, party.task)
        verified = _run_session(party, retrainer, asked, files, shown=not quiet)
    owed = payouts.certify(party.task, verified.verdict, verified.transcript, groups, paid)
    outcome = payouts.conclude(verified.verdict, owed)
    console = _Stdout()
    if as_json:
        console.out(
            json_text(payouts_report.audit_json(outcome, verified.verdict, _filed(verified), paid.contributors, owed))
        )
    else:
        _show(verified.verdict, _filed(verified), party.task, as_json=False, quiet=quiet)
        payouts_report.print_payouts(outcome, verified.verdict, paid.contributors, owed, console)
    if verified.unfiled is not None:
        raise verified.unfiled
    return EXIT_STATUS[outcome]


def _named_key(text: str | None) -> PublicKey | None:
    return None if text is None else verification.parse_key(text, "prover-key")


if __name__ == "__main__":
    main()
