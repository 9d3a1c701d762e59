"""``verifier recheck`` and ``compare``: what filed transcripts say, without the other party."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from protocol.errors import DataError, PeerError
from protocol.session.recheck import recheck as decide_again
from verifier import comparison, filing, loop, verification
from verifier.cli import options
from verifier.cli.app import Stdout
from verifier.cli.steps import check_trusted, prepare, show
from verifier.progress import Bars
from verifier.report import comparison as comparison_report
from verifier.report.text import json_text
from verifier.report.verdict import EXIT_STATUS, Filed


def recheck(
    transcript: Annotated[Path, typer.Argument(metavar="TRANSCRIPT", help="A filed transcript.")],
    retrain_too: Annotated[
        bool, typer.Option("--retrain", help="Repeat the verifier's retrainings, too, instead of trusting them.")
    ] = False,
    task: options.TaskFile = None,
    task_digest: options.TaskDigest = None,
    verifier_key: Annotated[
        str | None, typer.Option("--verifier-key", metavar="HEX", help="Public key that must have signed it.")
    ] = None,
    data: options.Data = None,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    factory: options.Factory = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> int:
    """Decide a filed transcript again, without the other party."""
    filed = filing.read_transcript(transcript)
    if task is not None or task_digest is not None:
        check_trusted(filed.task, str(transcript), task, task_digest)
    if verifier_key is not None and verification.parse_key(verifier_key, "verifier-key") != filed.public_key:
        raise DataError(f"{transcript}: expected the signature of the verifier that was named, got another key's")
    again = None
    if retrain_too:
        again = prepare(filed.task, data=data, device=device, threads=threads, factory=factory, shown=not quiet)
    with Bars(shown=not quiet) as bars:
        tell = loop.shown("retraining here", bars)
        try:
            verdict = decide_again(filed, None if again is None else lambda train: again(train, tell))
        except PeerError as error:  # of whoever made the file: it says nothing of the claim
            raise DataError(f"{transcript}: {error}; it supports no verdict") from error
    believed = "the verifier's own retrainings were done again" if again else "the verifier's retrainings are believed"
    notes = (f"signed by verifier {filed.public_key.raw.hex()}", believed, f"about task {filed.task.digest.hex()}")
    show(verdict, Filed(transcript=transcript, notes=notes), filed.task, as_json=as_json, quiet=quiet)
    return EXIT_STATUS[verdict.outcome]


def compare(
    transcripts: Annotated[list[Path], typer.Argument(metavar="TRANSCRIPT...", help="Filed transcripts, one task.")],
    as_json: options.AsJson = False,
) -> int:
    """Compare filed sessions about one task: did a prover sign more than one claim, and how many sessions were there?

    Ends with 1 if a prover signed more than one claim, else with 0, whatever the verdicts were.
    """
    found = comparison.compare(transcripts)
    if as_json:
        Stdout().out(json_text(comparison_report.comparison_json(found)))
    else:
        comparison_report.print_comparison(found, Stdout())
    return 1 if found.two_faced else 0
