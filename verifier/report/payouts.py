"""Who was paid what, is due what, and may be due what."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from protocol.certificate.payouts import PayoutsCertificate
from protocol.certificate.terms import Assurance, Method
from protocol.session.messages import Outcome
from protocol.session.verdict import Verdict
from verifier.report.text import STYLE, Json, finite, plain, table_of
from verifier.report.verdict import Filed, verdict_json


def payouts_json(names: tuple[str, ...], c: PayoutsCertificate) -> dict[str, Json]:
    """Return the ``payouts`` of ``audit --json``; its keys are listed at the head of this file."""
    rows: list[Json] = [
        {
            "contributor": name,
            "stated": float(c.stated[k]),
            "due": float(c.due[k]),
            "lower": finite(c.lower[k]),
            "upper": finite(c.upper[k]),
            "outside": bool(c.outside[k]),
            "worth": float(c.worth[k]),
            "worth_error": finite(c.worth_error[k]),
        }
        for k, name in enumerate(names)
    ]
    return {"delta": c.delta, "n_outside": int(c.outside.sum()), "contributors": rows}


def audit_json(
    outcome: Outcome, verdict: Verdict, filed: Filed, names: tuple[str, ...], c: PayoutsCertificate | None
) -> dict[str, Json]:
    """Return the object of ``audit --json``."""
    told = verdict_json(verdict, filed)
    paid = None if c is None else payouts_json(names, c)
    return told | {"outcome": outcome.value, "claim_outcome": verdict.outcome.value, "payouts": paid}


def print_payouts(
    outcome: Outcome, verdict: Verdict, names: tuple[str, ...], c: PayoutsCertificate | None, console: Console
) -> None:
    """Print one line a contributor, those outside their interval flagged, and what it all comes to."""
    if c is None:
        console.print("payouts: nothing can be said of them, since the session left no outputs to rely on")
        return
    table = table_of("contributor", "stated", "due", "interval", "")
    for k, name in enumerate(names):
        interval = f"{c.lower[k]:,.2f} to {c.upper[k]:,.2f}"
        flag = Text("OUTSIDE", style="bold red") if c.outside[k] else Text("")
        table.add_row(plain(name), f"{c.stated[k]:,.2f}", f"{c.due[k]:,.2f}", interval, flag)
    console.print(table)
    sure = f"{100 * (1 - c.delta):.4g}% sure that every true share is in its interval"
    console.print(f"{sure}, if the mean over {c.n_families} {_condition(verdict)}", soft_wrap=True)
    n_outside = int(c.outside.sum())
    said = "no stated amount is outside its interval" if not n_outside else f"{n_outside} of {len(names)} are outside"
    console.print(Text("payouts: ").append(outcome.value, style=STYLE[outcome]).append(f"  {said}"))


def _condition(verdict: Verdict) -> str:
    """Return what the intervals rest on: of cross-fit on pairs trained here, of audited families on answers, too."""
    match verdict.terms.method, verdict.terms.assurance:
        case Method.CROSSFIT, _:
            return "pairs trained here is Gaussian"
        case _, Assurance.AUDITED:
            return "families is Gaussian and the unchecked answers are right"
    return "families is Gaussian"
