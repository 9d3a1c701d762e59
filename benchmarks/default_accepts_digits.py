"""The default accepts the digits claim in 300 retrainings, and rejects it halved: whole sessions, every certificate.

    python -m benchmarks.default_accepts_digits [--runs 400] [--dear-runs 150] [--only TEXT] [--claim FILE]

The claim is that of ``make demo``: digits, 1,000 units, 200 targets, ridge, made by ``prover init`` and ``prover
train`` as they stand. Each run is a whole session of both parties' own objects with the real planner; what differs is
the verifier's entropy. The halved claim has every score halved and the honest claim's figures. Epsilon and delta are
.05 and targets are pooled. Every retraining counts, the pilot's too; a session stops at its first decision.

Asked of the default: the honest claim accepted in 99% of sessions with at most 300 retrainings, the halved one
rejected in 99%; delegated the same with at most 300 retrainings here. Crossfit (2,000 retrainings) and the Gaussian
look plan for nine in ten, and no REJECT is asked of them. Exit status 1 where a rate's upper limit is below that.

Writes digits.csv below benchmarks/results; rows of ways that are left out stay as they were.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.sessions import Met, Subject, demo_digits, play, rate_of
from benchmarks.tables import RESULTS, Rate, read_rows, write_rows
from protocol.certificate.terms import Answers
from protocol.session.messages import Outcome
from verifier.verification import Asked

HALVED = 0.5


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to ask.

    wanted : how often the honest claim is to be accepted; refused : how often the halved one rejected. 0.9 is what
    plans promise. is_cheap : whether it is run --runs times rather than --dear-runs.
    """

    name: str
    asked: Asked
    wanted: float = 0.99
    refused: float = 0.99
    is_cheap: bool = False


WAYS = (
    Way(name="moments, own", asked=Asked(max_retrainings=300), is_cheap=True),
    Way(name="moments, delegated", asked=Asked(answers=Answers.DELEGATED, max_retrainings=300, max_answers=4000)),
    Way(name="crossfit, own", asked=Asked(method="crossfit", max_retrainings=2000), wanted=0.9, refused=0.0),
    Way(name="gaussian, own", asked=Asked(method="gaussian", max_retrainings=300), wanted=0.9, refused=0.0),
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way and one claim; limits are Clopper and Pearson's at 95%.

    outcome : what is right for this claim, and rate, low, high : how often that came. accepted, rejected, undecided :
    sessions that ended so. retrained, answered : trainings here and by the prover: mean, median and most.
    median_bound : of the upper bound on the pooled relative gap.
    """

    way: str
    claim: str
    runs: int
    outcome: str
    rate: float
    low: float
    high: float
    accepted: int
    rejected: int
    undecided: int
    retrained_mean: float
    retrained_median: float
    retrained_most: int
    answered_mean: float
    answered_most: int
    median_bound: float

    @property
    def right(self) -> Rate:
        """How often the right outcome came."""
        return Rate(hits=self.accepted if self.outcome == "ACCEPT" else self.rejected, runs=self.runs)


def row_of(way: Way, claim: str, right: Outcome, met: Sequence[Met]) -> Row:
    """Return what these sessions came to."""
    counts = {outcome: rate_of(list(met), outcome) for outcome in Outcome}
    low, high = counts[right].limits
    retrained, answered = ([getattr(each, name) for each in met] for name in ("n_retrained", "n_answered"))
    return Row(
        way=way.name, claim=claim, runs=len(met), outcome=right.name, rate=counts[right].value, low=low, high=high,
        accepted=counts[Outcome.ACCEPT].hits, rejected=counts[Outcome.REJECT].hits,
        undecided=counts[Outcome.INCONCLUSIVE].hits, retrained_mean=float(np.mean(retrained)),
        retrained_median=float(np.median(retrained)), retrained_most=max(retrained),
        answered_mean=float(np.mean(answered)), answered_most=max(answered),
        median_bound=float(np.median([each.upper for each in met])),
    )  # fmt: skip


def measured(subject: Subject, ways: Sequence[Way], runs: int, dear_runs: int) -> Iterator[Row]:
    """Yield a row for each way and claim."""
    for way in ways:
        n = runs if way.is_cheap else dear_runs
        for claim, right, about in (
            ("honest", Outcome.ACCEPT, subject), ("halved", Outcome.REJECT, subject.scaled(HALVED))
        ):  # fmt: skip
            yield row_of(way, claim, right, [play(about, way.asked, seed) for seed in range(n)])


def table_of(rows: Sequence[Row]) -> Table:
    """Return the table to print."""
    table = Table(title="digits as in make demo: epsilon = delta = .05, pooled over 200 targets")
    heads = ("certificate, answers", "claim", "runs", "right outcome (95% limits)", "retrainings: mean, median, most")
    for head in (*heads, "asked of the prover: mean, most", "median bound"):
        table.add_column(head)
    for row in rows:
        spent = f"{row.retrained_mean:.0f}, {row.retrained_median:.0f}, {row.retrained_most}"
        table.add_row(
            row.way, row.claim, str(row.runs), f"{row.outcome} {row.right}", spent,
            f"{row.answered_mean:.0f}, {row.answered_most}", f"{row.median_bound:.3f}",
        )  # fmt: skip
    return table


def main() -> int:
    """Measure every way, print, write, and return 1 where a rate is below what was asked beyond doubt."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400, help="sessions of the default")
    parser.add_argument("--dear-runs", type=int, default=150, help="sessions of every other way")
    parser.add_argument("--only", default="", help="ways whose name has this text in it")
    parser.add_argument("--claim", type=Path, help="a claim file; by default the prover's commands make one")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    subject = demo_digits(arguments.claim)
    figures = subject.figures
    print(
        f"the claim says of itself: relative gap {figures.relative_gap:.4f}, odd residual {figures.odd_residual:.4f}, "
        f"R^2 {figures.r2:.4f}, from {figures.n_retrainings} retrainings"
    )
    rows: list[Row] = []
    ways = [way for way in WAYS if arguments.only in way.name]
    for row in measured(subject, ways, arguments.runs, arguments.dear_runs):
        rows.append(row)
        print(f"{row.way}, {row.claim}: {row.outcome} {row.right}", file=sys.stderr, flush=True)
    place = arguments.out / "digits.csv"
    kept = [row for row in read_rows(place, Row) if row.way not in {way.name for way in ways}]
    whole: list[Row] = [*kept, *rows]
    whole.sort(key=lambda row: [way.name for way in WAYS].index(row.way))
    write_rows(place, whole)
    Console(width=170).print(table_of(rows))
    wanted = {(way.name, outcome): least for way in WAYS for outcome, least in
              (("ACCEPT", way.wanted), ("REJECT", way.refused))}  # fmt: skip
    return int(any(row.high < wanted[row.way, row.outcome] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
