"""Whole sessions keep their level: every case that a certificate has failed on, or might (THEORY 1, 2).

    python -m benchmarks.levels_hold_in_whole_sessions [--runs 2000] [--certificate moments] [--answers own]
        [--only TEXT] [--rows 0-20,44] [--keep] [--jobs 2] [--max-retrainings 1000]

No training: games whose best scores and variance are known, so that a claim's relative gap is exactly what a row says.
Each run is a whole session, of both parties' own objects and the real planner. A claim's true relative gap is
epsilon = .05 to one part in a million. An ACCEPT is wrong had it been that much above, a REJECT had it been that much
below; a session cannot tell the two apart, so the same sessions show both rates, each where it is largest.

Where a prover answers, it lies on as many pairs as clean checks leave possible, on those that show most, and on none
where a check falls: the worst that may happen to the bound once the checks have failed to see it. These sessions show
wrong ACCEPTs; as many others, with true answers, wrong REJECTs.

The kurtosis of a row is that of Y, the square of an independent subset's residual in the design in use, to about 2%.
The default promises its level up to 16, up to 24 for conjunctions and thresholds, and for any tangent claim;
a row beyond is marked "outside". A row of the promise whose lower limit is above delta is a failure: exit status 1.

Writes levels.csv (or levels_CERTIFICATE_ANSWERS.csv) below benchmarks/results, after every row; --keep leaves the rows
there that this run does not measure, so that the table can be made in several runs of the same code.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

from rich.console import Console
from rich.table import Table

from benchmarks.adversary.cases import kurtosis_of, true_gap
from benchmarks.adversary.lies import greedy
from benchmarks.adversary.listed import LISTED, Listed
from benchmarks.adversary.sessions import Asking, Case, play
from benchmarks.tables import RESULTS, Rate, read_rows, write_rows
from protocol.certificate.registry import DEFAULT, METHODS, method_named
from protocol.certificate.terms import Answers
from protocol.session.messages import Outcome

BOUNDARY = 0.05
"""The true relative gap: epsilon."""

NEAR = 1e-6  # relative: what is so near to epsilon counts as above it and as below
CHUNK = 50  # sessions that a worker plays at once


@dataclass(frozen=True, kw_only=True)
class Row:
    """One case. Limits are Clopper and Pearson's at 95%; gap is the true relative gap, seed the case's own."""

    case: str
    promise: str
    kurtosis: float
    gap: float
    before: str
    runs: int
    wrong_accept: float
    accept_low: float
    accept_high: float
    wrong_reject: float
    reject_low: float
    reject_high: float
    retrainings: float
    certificate: str
    answers: str
    seed: int

    def fails(self, delta: float) -> bool:
        """Whether a row of the promise is above delta beyond doubt."""
        return self.promise == "inside" and max(self.accept_low, self.reject_low) > delta


@dataclass(frozen=True, kw_only=True)
class Job:
    """Some sessions of one case."""

    number: int
    lies: bool
    asking: Asking
    seed: int
    first: int
    runs: int


@dataclass(frozen=True)
class Count:
    """What sessions came to."""

    accepts: int = 0
    rejects: int = 0
    retrainings: int = 0


def built(listed: Listed, asking: Asking) -> Case:
    """Return the case, asked across what the certificate can say."""
    case, across = listed.build(BOUNDARY), method_named(asking.method).across
    return case if case.across in across else replace(case, across=across[0])


def played(job: Job) -> Count:
    """Return what the sessions of a job came to."""
    case = built(LISTED[job.number], job.asking)
    accepts = rejects = total = 0
    for run in range(job.first, job.first + job.runs):
        found = play(case, job.asking, (job.seed, int(job.lies), run), greedy if job.lies else None)
        gap, epsilon = true_gap(case, found), job.asking.epsilon
        accepts += found.outcome is Outcome.ACCEPT and gap > epsilon * (1 - NEAR)
        rejects += found.outcome is Outcome.REJECT and gap < epsilon * (1 + NEAR)
        total += found.n_retrainings
    return Count(accepts, rejects, total)


def jobs_of(number: int, asking: Asking, runs: int, seed: int) -> list[Job]:
    """Split a row's sessions."""
    return [
        Job(number=number, lies=lies, asking=asking, seed=seed, first=first, runs=min(CHUNK, runs - first))
        for lies in ((True, False) if asking.answers is Answers.DELEGATED else (False,))
        for first in range(0, runs, CHUNK)
    ]


def row_of(number: int, asking: Asking, runs: int, seed: int, results: Sequence[tuple[Job, Count]]) -> Row:
    """Return what the sessions of one case came to."""
    listed = LISTED[number]
    case, lies = built(listed, asking), asking.answers is Answers.DELEGATED
    kurtosis = kurtosis_of(case, tilted=False if lies else None)
    accepts = Rate(hits=sum(count.accepts for job, count in results if job.lies is lies), runs=runs)
    rejects = Rate(hits=sum(count.rejects for job, count in results if not job.lies), runs=runs)
    spent = sum(count.retrainings for job, count in results if job.lies is lies) / runs
    return Row(
        case=listed.name, promise="inside" if kurtosis <= 1.02 * listed.most_kurtosis else "outside",
        kurtosis=kurtosis, gap=true_gap(case), before=listed.before, runs=runs,
        wrong_accept=accepts.value, accept_low=accepts.limits[0], accept_high=accepts.limits[1],
        wrong_reject=rejects.value, reject_low=rejects.limits[0], reject_high=rejects.limits[1],
        retrainings=spent, certificate=asking.method, answers=asking.answers.value, seed=seed,
    )  # fmt: skip


def measured(numbers: Sequence[int], asking: Asking, runs: int, jobs: int) -> Iterator[Row]:
    """Yield one row a case, in order."""
    with multiprocessing.Pool(jobs) as pool:
        for number in numbers:
            seed = crc32(LISTED[number].name.encode())
            todo = jobs_of(number, asking, runs, seed)
            yield row_of(number, asking, runs, seed, list(zip(todo, pool.map(played, todo, chunksize=1), strict=True)))


def shown(rows: Sequence[Row], title: str) -> Table:
    """Return the table to print."""
    table = Table(title=title)
    for head in ("case", "kurtosis", "gap", "before", "wrong ACCEPT", "wrong REJECT", "retrainings"):
        table.add_column(head, justify="left" if head == "case" else "right")
    for row in rows:
        outside = "" if row.promise == "inside" else " (outside)"
        rates = (
            Rate(hits=round(row.wrong_accept * row.runs), runs=row.runs),
            Rate(hits=round(row.wrong_reject * row.runs), runs=row.runs),
        )
        table.add_row(
            row.case + outside, f"{row.kurtosis:.3g}", f"{row.gap:.4f}", row.before, *map(str, rates),
            f"{row.retrainings:.0f}",
        )  # fmt: skip
    return table


def numbers_of(text: str | None) -> list[int]:
    """Return the numbers of the cases in ``text``, such as "0-20,44"; all where there is none."""
    if text is None:
        return list(range(len(LISTED)))
    ends = [part.split("-") for part in text.split(",")]
    return [number for end in ends for number in range(int(end[0]), int(end[-1]) + 1)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, help="sessions a row")
    parser.add_argument("--certificate", choices=list(METHODS), default=DEFAULT)
    parser.add_argument("--answers", choices=[each.value for each in Answers], default=Answers.OWN.value)
    parser.add_argument("--kurtosis", type=float, help="the bound that is assumed; by default the certificate's own")
    parser.add_argument("--only", default="", help="cases whose name has this text in it")
    parser.add_argument("--rows", help="numbers of cases, such as 0-20,44; by default all")
    parser.add_argument("--keep", action="store_true", help="keep the file's rows of other cases")
    parser.add_argument("--max-retrainings", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, help="where the rows go")
    return parser.parse_args()


def main() -> int:
    """Measure every row, and return 1 if one of the promise is above delta beyond doubt."""
    args = _arguments()
    asking = Asking(
        method=args.certificate, answers=Answers(args.answers), kurtosis=args.kurtosis,
        max_retrainings=args.max_retrainings,
    )  # fmt: skip
    delegated = asking.answers is Answers.DELEGATED
    numbers = [
        i for i in numbers_of(args.rows)
        if args.only in LISTED[i].name and (LISTED[i].is_delegated or not delegated)
    ]  # fmt: skip
    usual = (args.certificate, args.answers) == (DEFAULT, Answers.OWN.value)
    path = args.out or RESULTS / ("levels.csv" if usual else f"levels_{args.certificate}_{args.answers}.csv")
    kept = read_rows(path, Row) if args.keep else []
    found, rows, began = {row.case: row for row in kept}, list(kept), time.perf_counter()
    for row in measured(numbers, asking, args.runs, args.jobs):
        found[row.case] = row
        rows = [found[each.name] for each in LISTED if each.name in found]
        write_rows(path, rows)
        print(
            f"{row.case}: kurtosis {row.kurtosis:.3g}, wrong ACCEPT {row.wrong_accept:.4f}, wrong REJECT "
            f"{row.wrong_reject:.4f}, {row.retrainings:.0f} retrainings, {time.perf_counter() - began:.0f} s",
            file=sys.stderr, flush=True,
        )  # fmt: skip
    title = f"{args.certificate}, {args.answers}: epsilon {asking.epsilon:g}, delta {asking.delta:g}, {args.runs} runs"
    Console(width=150).print(shown(rows, title))
    failed = [row.case for row in rows if row.fails(asking.delta)]
    print(f"above delta beyond doubt: {', '.join(failed) or 'none'}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
