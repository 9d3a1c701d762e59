"""The outcome of a session, why, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from protocol.certificate.method import Certificate
from protocol.certificate.registry import method_named
from protocol.certificate.spot_check import SpotCheck
from protocol.session.messages import Outcome
from protocol.session.verdict import Verdict
from protocol.task import Task
from protocol.wire.fields import one_line
from verifier.report.text import STYLE, Json, finite, path_text, plain, table_of

EXIT_STATUS = {Outcome.ACCEPT: 0, Outcome.REJECT: 1, Outcome.INCONCLUSIVE: 2}


@dataclass(frozen=True, kw_only=True)
class Filed:
    """What is said beside a verdict: where things were put, how long it took, what the user should know."""

    transcript: Path | None = None
    scores: Path | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = field(default=())


def verdict_json(verdict: Verdict, filed: Filed) -> dict[str, Json]:
    """Return the object of ``verify --json``; its keys are listed at the head of this package."""
    terms, certificate = verdict.terms, verdict.certificate
    return {
        "outcome": verdict.outcome.value,
        "certificate_name": terms.method,
        "assumption": method_named(terms.method).assumption(terms),
        "answers": terms.answers.value,
        "across": terms.across.value,
        "epsilon": terms.epsilon,
        "delta": terms.delta,
        "reasons": [one_line(reason) for reason in verdict.reasons],
        "task_digest": verdict.task_digest.hex(),
        "claim_root": None if verdict.claim_root is None else verdict.claim_root.hex(),
        "n_retrainings": verdict.n_retrainings,
        "n_answered": _n_answered(verdict),
        "certificate": None if certificate is None else _certificate_json(terms.method, certificate),
        "spot_checks": [_spot_check_json(check) for check in verdict.spot_checks],
        "notes": list(filed.notes),
        "transcript": path_text(filed.transcript),
        "scores": path_text(filed.scores),
        "seconds": finite(filed.seconds),
    }


def print_verdict(verdict: Verdict, filed: Filed, task: Task, console: Console) -> None:
    """Print the outcome, its reasons, and the certificate part by part."""
    print_outcome(verdict.outcome, verdict.basis, verdict.reasons, console)
    if verdict.certificate is not None:
        console.print(_certificate_table(verdict, verdict.certificate, task))
    elif verdict.spot_checks:
        console.print(_spot_check_table(verdict))
    print_filed(verdict, filed, console)


def print_outcome(outcome: Outcome, basis: str, reasons: tuple[str, ...], console: Console) -> None:
    """Print the outcome and why, one reason a line."""
    head = Text(f"{outcome.value}", style=STYLE[outcome])
    console.print(head.append(f", {basis}", style="default not bold"), soft_wrap=True)
    for reason in reasons:
        console.print(Text("  ").append(plain(reason)), soft_wrap=True)


def print_filed(verdict: Verdict, filed: Filed, console: Console) -> None:
    """Print what was spent and where the files are."""
    answered = _n_answered(verdict)
    spent = f"{verdict.n_retrainings} retrainings here" + (f", {answered} by the prover" if answered else "")
    console.print(spent + ("" if filed.seconds is None else f", {filed.seconds:.1f} s"), soft_wrap=True)
    for note in filed.notes:
        console.print(Text("note: ").append(plain(note)), soft_wrap=True)
    for name, path in (("scores", filed.scores), ("transcript", filed.transcript)):
        if path is not None:
            console.print(Text(f"{name}: {one_line(str(path))}"), soft_wrap=True)


def _certificate_table(verdict: Verdict, certificate: Certificate, task: Task) -> Table:
    table = table_of("what", "value", "what it holds under")
    for part in certificate.parts(task):
        table.add_row(*part)
    for check in verdict.spot_checks:
        table.add_row(*_spot_check_cells(check))
    return table


def _spot_check_table(verdict: Verdict) -> Table:
    table = table_of("what", "value", "what it holds under")
    for check in verdict.spot_checks:
        table.add_row(*_spot_check_cells(check))
    return table


def _spot_check_cells(check: SpotCheck) -> tuple[str, str, str]:
    found = f"{check.n_checked} of {check.n_answers}, {len(check.mismatches)} false"
    largest = f"largest difference {check.largest_difference:.2g}"
    if check.most_false is None:
        return "answers retrained here", found, largest
    left = f"at most {check.most_false} false ones left ({100 * (1 - check.delta):.4g}% sure); {largest}"
    return "answers retrained here", found, left


def _n_answered(verdict: Verdict) -> int:
    """Return how many trainings the prover did: those of the rounds that were answered and checked."""
    if verdict.rounds is None:
        return 0
    method, terms = method_named(verdict.terms.method), verdict.terms
    answered = [look.n_evaluations for i, look in enumerate(verdict.rounds.looks) if method.is_answered(terms, i)]
    return sum(answered[: len(verdict.spot_checks)])


def _certificate_json(name: str, certificate: Certificate) -> dict[str, Json]:
    bounds: dict[str, Json] = {"lower": finite(certificate.lower_bound), "upper": finite(certificate.upper_bound)}
    values: dict[str, Json] = {k: [*v] if isinstance(v, list) else v for k, v in certificate.values().items()}
    return {"method": name} | bounds | values


def _spot_check_json(check: SpotCheck) -> dict[str, Json]:
    return {
        "n_answers": check.n_answers,
        "n_checked": check.n_checked,
        "n_mismatches": len(check.mismatches),
        "mismatches": list(check.mismatches),
        "largest_difference": finite(check.largest_difference),
        "most_false": check.most_false,
    }
