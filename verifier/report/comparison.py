"""What several sessions say together."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from verifier.comparison import Comparison
from verifier.report.text import STYLE, Json, number, path_text, plain, table_of

_SHOWN = 16  # digits of a digest or key, enough to tell two apart by eye; --json has all


def comparison_json(comparison: Comparison) -> dict[str, Json]:
    """Return the object of ``compare --json``."""
    rows: list[Json] = [
        {
            "transcript": path_text(session.place),
            "outcome": session.verdict.outcome.value,
            "delta": session.verdict.terms.delta,
            "verifier": session.verifier.raw.hex(),
            "prover": None if session.prover is None else session.prover.raw.hex(),
            "claim_root": None if session.root is None else session.root.hex(),
        }
        for session in comparison.sessions
    ]
    return {
        "task_digest": comparison.sessions[0].task_digest.hex(),
        "n_sessions": len(comparison.sessions),
        "n_accepted": comparison.n_accepted,
        "delta": comparison.delta,
        "two_faced": [key.raw.hex() for key in comparison.two_faced],
        "sessions": rows,
    }


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print one line a session, then what they come to."""
    table = table_of("transcript", "prover", "claim", "verifier", "delta", "outcome")
    for session in comparison.sessions:
        prover = "none" if session.prover is None else session.prover.raw.hex()[:_SHOWN]
        root = "none" if session.root is None else session.root.hex()[:_SHOWN]
        outcome = session.verdict.outcome
        table.add_row(
            plain(str(session.place)), prover, root, session.verifier.raw.hex()[:_SHOWN],
            number(session.verdict.terms.delta), Text(outcome.value, style=STYLE[outcome]),
        )  # fmt: skip
    console.print(table)
    console.print(
        f"{len(comparison.sessions)} sessions, {comparison.n_accepted} accepted: in one of them a wrong ACCEPT has "
        f"probability {number(comparison.delta)} at most",
        soft_wrap=True,
    )
    for key in comparison.two_faced:
        console.print(
            f"prover {key.raw.hex()} signed more than one claim about this task: ask which of them stands",
            soft_wrap=True,
        )
    if not comparison.two_faced:
        console.print("no prover signed more than one claim")
