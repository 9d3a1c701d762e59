"""Who was paid what, is due what, and may be due what."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from protocol.certificate.functionals.payouts import PayoutsCertificate
from protocol.certificate.functionals.worth import FEWEST_ROWS
from protocol.certificate.terms import Answers, Terms
from protocol.session.messages import Outcome
from protocol.session.verdict import Verdict
from verifier.report.text import STYLE, Json, finite, plain, table_of
from verifier.report.verdict import Filed, verdict_json


def payouts_json(names: tuple[str, ...], c: PayoutsCertificate) -> dict[str, Json]:
    """Return the ``payouts`` of ``audit --json``; its keys are listed at the head of this package."""
    rows: list[Json] = [
        {
            "contributor": name,
            "stated": float(c.stated[k]),
            "due": float(c.due[k]),
            "lower": finite(c.lower[k]),
            "upper": finite(c.upper[k]),
            "outside": bool(c.outside[k]),
            "worth": float(c.worth[k]),
            "worth_correction": finite(c.worth_correction[k]),
        }
        for k, name in enumerate(names)
    ]
    return {
        "delta": c.delta,
        "n_outside": int(c.outside.sum()),
        "n_families": c.n_families,
        "estimator": c.estimator,
        "assumption": c.assumption,
        "half_width": finite(c.half_width),
        "contributors": rows,
    }


def audit_json(
    outcome: Outcome, verdict: Verdict, filed: Filed, names: tuple[str, ...], c: PayoutsCertificate | None
) -> dict[str, Json]:
    """Return the object of ``audit --json``."""
    told = verdict_json(verdict, filed)
    paid = None if c is None else payouts_json(names, c)
    return told | {"outcome": outcome.value, "claim_outcome": verdict.outcome.value, "payouts": paid}


def print_no_payouts(outcome: Outcome, why_not: str | None, terms: Terms, console: Console) -> None:
    """Print that there are no intervals and why; ``why_not`` is None where too few subsets were trained here."""
    remedy = (
        "allow more retrainings (--max-retrainings)"
        if terms.answers is Answers.OWN
        else f"recheck more answers (--n-checks {FEWEST_ROWS}), or train every subset here (--answers own)"
    )
    why = f"too few subsets were trained here; {remedy}" if why_not is None else why_not
    console.print(
        Text("payouts: ").append(outcome.value, style=STYLE[outcome]).append(f"  no intervals: {why}"), soft_wrap=True
    )


def print_payouts(outcome: Outcome, names: tuple[str, ...], c: PayoutsCertificate, console: Console) -> None:
    """Print one line a contributor, those outside their interval flagged, and what it all comes to."""
    table = table_of("contributor", "stated", "due", "interval", "")
    for k, name in enumerate(names):
        interval = f"{c.lower[k]:,.2f} to {c.upper[k]:,.2f}"
        flag = Text("OUTSIDE", style="bold red") if c.outside[k] else Text("")
        table.add_row(plain(name), f"{c.stated[k]:,.2f}", f"{c.due[k]:,.2f}", interval, flag)
    console.print(table)
    sure = f"{100 * (1 - c.delta):.4g}% sure that every true share is in its interval"
    console.print(f"{sure}; {c.assumption}", soft_wrap=True)
    mean = float(c.stated.mean())
    console.print(
        f"widest interval: {c.half_width:,.2f} either way, {100 * c.half_width / mean:.3g}% of the mean payout",
        soft_wrap=True,
    )
    n_outside = int(c.outside.sum())
    said = "no stated amount is outside its interval" if not n_outside else f"{n_outside} of {len(names)} are outside"
    console.print(Text("payouts: ").append(outcome.value, style=STYLE[outcome]).append(f"  {said}"))
