"""What several commands do on their way: is this the trusted task, load its data, show a verdict."""

from __future__ import annotations

from pathlib import Path

from protocol.session.verdict import Verdict
from protocol.task import Task
from verifier import retrain, verification
from verifier.cli.app import Stdout
from verifier.loop import Progressed
from verifier.progress import Bars
from verifier.report import verdict as verdict_report
from verifier.report.text import json_text
from verifier.report.verdict import Filed
from verifier.retrain import Retrainer


def check_trusted(task: Task, where: str, task_file: Path | None, task_digest: str | None) -> None:
    """Raise unless the task is the one that the user named, as ``verification.check_trusted`` says."""
    verification.check_trusted(
        task,
        where,
        trusted=None if task_file is None else verification.read_task(task_file),
        digest=None if task_digest is None else verification.parse_digest(task_digest),
    )


def prepare(
    task: Task, *, data: Path | None, device: str, threads: int | None, factory: str | None, shown: bool
) -> Retrainer:
    """Return what trains here, its data checked, and say meanwhile that it is being made; as ``retrain.prepare``."""
    with Bars(shown=shown) as bars:  # seconds, most of them torch's own
        bars(Progressed("loading the data", 0, 0))
        return retrain.prepare(task, data=data, device=device, n_threads=threads, factory=factory)


def show(verdict: Verdict, filed: Filed, task: Task, *, as_json: bool, quiet: bool) -> None:
    """Print a verdict the way that was asked for."""
    console = Stdout()
    if as_json:
        console.out(json_text(verdict_report.verdict_json(verdict, filed)))
    elif quiet:
        verdict_report.print_outcome(verdict.outcome, verdict.basis, verdict.reasons, console)
    else:
        verdict_report.print_verdict(verdict, filed, task, console)
