"""The outcome of a session, and its certificate part by part: what each is, its value, what it holds under."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from protocol.certificate.families import FamiliesCertificate
from protocol.certificate.spot_check import SpotCheck
from protocol.certificate.terms import Across, Assurance
from protocol.session.messages import Outcome
from protocol.session.verdict import Verdict
from protocol.task import Task
from protocol.wire.fields import one_line
from verifier.report.text import STYLE, Json, finite, number, path_text, percent, plain, table_of

EXIT_STATUS = {Outcome.ACCEPT: 0, Outcome.REJECT: 1, Outcome.INCONCLUSIVE: 2}


@dataclass(frozen=True, kw_only=True)
class Filed:
    """What is said beside a verdict: where things were put, how long it took, what the user should know."""

    transcript: Path | None = None
    scores: Path | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = field(default=())


def verdict_json(verdict: Verdict, filed: Filed) -> dict[str, Json]:
    """Return the object of ``verify --json``; its keys are listed at the head of this file."""
    terms, certificate = verdict.terms, verdict.certificate
    return {
        "outcome": verdict.outcome.value,
        "assurance": verdict.assurance,
        "across": terms.across.value,
        "epsilon": terms.epsilon,
        "delta": terms.delta,
        "reasons": [one_line(reason) for reason in verdict.reasons],
        "task_digest": verdict.task_digest.hex(),
        "claim_root": None if verdict.claim_root is None else verdict.claim_root.hex(),
        "n_retrainings": verdict.n_retrainings,
        "n_answered": sum(check.n_answers for check in verdict.spot_checks),
        "certificate": None if certificate is None else _certificate_json(certificate),
        "spot_checks": [_spot_check_json(check) for check in verdict.spot_checks],
        "notes": list(filed.notes),
        "transcript": path_text(filed.transcript),
        "scores": path_text(filed.scores),
        "seconds": finite(filed.seconds),
    }


def print_verdict(verdict: Verdict, filed: Filed, task: Task, console: Console) -> None:
    """Print the outcome, its reasons, and the certificate part by part."""
    print_outcome(verdict.outcome, verdict.assurance, verdict.reasons, console)
    if verdict.certificate is not None:
        console.print(_certificate_table(verdict, verdict.certificate, task))
    elif verdict.spot_checks:
        console.print(_spot_check_table(verdict))
    print_filed(verdict, filed, console)


def print_outcome(outcome: Outcome, assurance: str, reasons: tuple[str, ...], console: Console) -> None:
    """Print the outcome and why, one reason a line."""
    head = Text(f"{outcome.value}", style=STYLE[outcome])
    console.print(head.append(f"  ({assurance})", style="default not bold"))
    for reason in reasons:
        console.print(Text("  ").append(plain(reason)), soft_wrap=True)


def print_filed(verdict: Verdict, filed: Filed, console: Console) -> None:
    """Print what was spent and where the files are."""
    answered = sum(check.n_answers for check in verdict.spot_checks)
    spent = f"{verdict.n_retrainings} retrainings here" + (f", {answered} by the prover" if answered else "")
    console.print(spent + ("" if filed.seconds is None else f", {filed.seconds:.1f} s"))
    for note in filed.notes:
        console.print(Text("note: ").append(plain(note)), soft_wrap=True)
    for name, path in (("scores", filed.scores), ("transcript", filed.transcript)):
        if path is not None:
            console.print(Text(f"{name}: {one_line(str(path))}"), soft_wrap=True)


def _certificate_table(verdict: Verdict, c: FamiliesCertificate, task: Task) -> Table:
    row = _worst_row(c)
    gaussian = "a family's residuals are jointly Gaussian"
    audited = verdict.terms.assurance is Assurance.AUDITED
    under = gaussian + (", the unchecked answers are right" if audited else "")
    sure = f"{100 * (1 - c.delta):.4g}% sure, if {under}"
    over = f"mean over {task.n_targets} targets" if c.across is Across.MEAN else f"target {row}, the worst upper bound"
    table = table_of("what", "value", "what it holds under")
    table.add_row("relative gap, at most", number(c.upper[row]), sure)
    table.add_row("relative gap, at least", number(c.lower_bound), "likewise")
    table.add_row("  from the families", number(c.families_lower.max()), "as above, higher degrees taken off")
    table.add_row("  along the claim itself", number(c.projection_lower.max()), "as above, what a rescaling would win")
    table.add_row("relative gap, estimate", number(c.relative_gap[row]), over)
    table.add_row("mean square between families", number(c.mean_square_between[row]), f"{c.degrees_between:g} degrees")
    table.add_row("mean square within families", number(c.mean_square_within[row]), f"{c.degrees_within:g} degrees")
    design = f"{c.n_families} families of {c.n_siblings}"
    pairs = "each with its complement" if task.has_complements else f"p = {task.p:.4g}"
    table.add_row("subsets drawn", design, f"rho = {c.rho:.3g}, {pairs}; drawn after the claim was committed")
    sd = number(float(np.median(np.sqrt(c.variance))))
    table.add_row("sd of the output", sd, f"median target; variance {percent(c.variance_error[row])} uncertain")
    if audited:
        table.add_row("tolerance, in sd", number(c.allowance[row]), "already in the bounds: what no check can see")
    table.add_row(
        "intercept error", number(_intercept(c)), "(E[f - g])^2 / Var f, mean over targets; no part of the gap"
    )
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


def _certificate_json(c: FamiliesCertificate) -> dict[str, Json]:
    row = _worst_row(c)
    return {
        "relative_gap": finite(c.relative_gap[row]),
        "lower": finite(c.lower_bound),
        "upper": finite(c.upper_bound),
        "families_lower": finite(c.families_lower.max()),
        "projection_lower": finite(c.projection_lower.max()),
        "mean_square_between": finite(c.mean_square_between[row]),
        "mean_square_within": finite(c.mean_square_within[row]),
        "degrees_between": c.degrees_between,
        "degrees_within": c.degrees_within,
        "n_families": c.n_families,
        "n_siblings": c.n_siblings,
        "rho": c.rho,
        "n_rows": len(c.upper),
        "worst_row": row,
        "variance_error": finite(c.variance_error[row]),
        "allowance": finite(c.allowance[row]),
        "intercept_error": finite(_intercept(c)),
        "constant_targets": list(c.constant_targets),
    }


def _spot_check_json(check: SpotCheck) -> dict[str, Json]:
    return {
        "n_answers": check.n_answers,
        "n_checked": check.n_checked,
        "n_mismatches": len(check.mismatches),
        "mismatches": list(check.mismatches),
        "largest_difference": finite(check.largest_difference),
        "most_false": check.most_false,
    }


def _worst_row(c: FamiliesCertificate) -> int:
    return int(np.argmax(c.upper))


def _intercept(c: FamiliesCertificate) -> float:
    varies = c.variance > 0
    return float((c.intercept_error[varies] / c.variance[varies]).mean()) if varies.any() else math.nan
