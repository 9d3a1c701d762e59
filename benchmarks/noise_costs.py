"""What seed noise and few units cost: retrainings expected, and those that whole sessions take.

    python -m benchmarks.noise_costs [--runs 100] [--only noise,few]

noise  A linear game of 100 units, a seed for every subset and a claim without error, so that the odd residual is
       seed noise alone. An odd residual of .25 of Var f is then noise that has half of Var f: a pair's odd part
       halves it. Each certificate's plan twice, from figures that do not know the noise and told of it; then whole
       sessions, whose pilot trains ten subsets and their complements twice to find it out.
few    100 units, no noise, a claim without error, an odd residual of degree three, epsilon .005: families against
       products across pairs, each with a bound that holds and with the Gaussian quick look.

The distance is the mean taken over the least that any method could do with, by noise (protocol/certificate/
lower_bounds.py); without noise there is no such bound. Targets: one. delta = .05.

Writes noise.csv below benchmarks/results.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.sessions import Subject, of_known, play, rate_of
from benchmarks.tables import RESULTS, write_rows
from protocol.certificate import lower_bounds
from protocol.certificate.gaussian import plan as gaussian_plan
from protocol.certificate.gaussian import products_plan
from protocol.certificate.moments import few_units
from protocol.certificate.moments import plan as moments_plan
from protocol.certificate.planning import POWER, Budget, Outlook
from protocol.certificate.terms import Across
from protocol.claim import Figures
from protocol.errors import BudgetError
from protocol.game.known import Linear, Polynomial
from protocol.session.messages import Outcome
from verifier.verification import Asked

N_UNITS = 100
DELTA = 0.05
MAX_RETRAININGS = 100_000
NOISY = ((0.25, 0.05), (0.25, 0.02), (0.4, 0.02))
"""Odd residual, all of it seed noise, and epsilon."""

CUBIC = ((0.014, 0.051), (0.005, 0.02))
"""Weights of degrees three and two; the first are those of digits."""

FEW_EPSILON = 0.005
WAYS = ("families", "products")
METHODS = ("moments", "gaussian")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One case and certificate.

    residual : the odd residual's share of Var f; noise : seed noise's share of Var f; linear : the claim's own.
    unaware, told : retrainings expected by a plan from figures alone, and by one told of the noise, by families or by
    products, None where none is enough. runs, accepted, taken, most : whole sessions; taken is the mean.
    least : the least possible, by noise; 0 without noise.
    """

    part: str
    certificate: str
    by: str
    epsilon: float
    residual: float
    noise: float
    linear: float
    unaware: float | None
    told: float | None
    runs: int
    accepted: int
    taken: float | None
    most: int | None
    least: float


def subject_of(linear: float, cubic: float, even: float, noise: float) -> Subject:
    """Return a game of Var f = 1 with these weights and a perfect claim with true figures."""
    odd = cubic + noise / 2
    figures = Figures(relative_gap=0.0, odd_residual=odd, r2=linear, n_retrainings=10_000)
    game = Polynomial(n_units=N_UNITS, w1=linear, w2=even, w3=cubic) if cubic else Linear(N_UNITS, linear)
    return of_known(f"odd residual {odd:g}", game, noise=noise, figures=figures)


def planned(subject: Subject, asked: Asked, by: str, noise: float) -> float | None:
    """Return the retrainings that a plan expects where ``noise`` of the odd residual is known to be seed noise."""
    outlook = replace(Outlook.of(subject.figures), noise=noise)
    terms, game = asked.terms(subject.game), subject.game
    if asked.method == "gaussian":
        if by == "products":
            pairs = products_plan.pairs_needed(N_UNITS, epsilon=terms.epsilon, delta=DELTA, outlook=outlook)
            return None if pairs is None else 2.0 * pairs
        across = Across.MEAN
        needed = gaussian_plan.retrainings_needed(
            game, epsilon=terms.epsilon, delta=DELTA, across=across, outlook=outlook, power=POWER
        )
        return None if needed is None else float(needed)
    budget = Budget(max_retrainings=10 * MAX_RETRAININGS)
    if by == "products":
        grouped = few_units.plan_products(game, terms, budget, outlook)
        return None if grouped is None else grouped.expected_retrained
    try:
        plan = moments_plan.plan_own(game, terms, budget, outlook, is_seen=False)
    except BudgetError:
        return None
    return plan.expected_retrained if plan.sufficient else None


def rows_of(part: str, subject: Subject, method: str, epsilon: float, noise: float, runs: int) -> Iterator[Row]:
    """Plan both ways, play ``runs`` sessions, and yield each way with the sessions that took it."""
    asked = Asked(method=method, epsilon=epsilon, delta=DELTA, max_retrainings=MAX_RETRAININGS)
    played = [play(subject, asked, seed) for seed in range(runs)]
    for by in WAYS:
        met = [each for each in played if _way(each.plan.summary) == by]
        taken = [each.n_retrained for each in met]
        yield Row(
            part=part, certificate=method, by=by, epsilon=epsilon, residual=subject.figures.odd_residual, noise=noise,
            linear=subject.figures.r2, unaware=planned(subject, asked, by, 0.0),
            told=planned(subject, asked, by, noise / 2), runs=len(met), accepted=rate_of(met, Outcome.ACCEPT).hits,
            taken=float(np.mean(taken)) if met else None, most=max(taken) if met else None,
            least=lower_bounds.from_noise(epsilon, DELTA, noise / 2),
        )  # fmt: skip


def _way(summary: str) -> str:
    return "products" if "products" in summary else "families"


def of_noise(runs: int) -> Iterator[Row]:
    """Yield the noisy cases; a way that no session took is left out."""
    for odd, epsilon in NOISY:
        subject = subject_of(1 - 2 * odd, 0.0, 0.0, 2 * odd)
        for method in METHODS:
            yield from (row for row in rows_of("noise", subject, method, epsilon, 2 * odd, runs) if row.runs)


def of_few(runs: int) -> Iterator[Row]:
    """Yield the cases of few units; a way that no session took is planned all the same."""
    for cubic, even in CUBIC:
        subject = subject_of(1 - cubic - even, cubic, even, 0.0)
        for method in METHODS:
            yield from rows_of("few", subject, method, FEW_EPSILON, 0.0, runs)


def table_of(rows: Sequence[Row]) -> Table:
    """Return the table to print."""
    table = Table(title=f"{N_UNITS} units, one target, delta {DELTA:g}, retrainings")
    heads = ("epsilon", "odd residual", "noise", "certificate", "by", "planned, unaware", "planned, told of noise")
    for head in (*heads, "accepted", "taken, mean", "most", "least possible", "distance"):
        table.add_column(head, justify="right" if head not in ("certificate", "by") else "left")
    for row in rows:
        numbers = (_number(row.unaware), _number(row.told))
        distance = "" if not row.least or row.taken is None else f"{row.taken / row.least:.1f}"
        table.add_row(
            f"{row.epsilon:g}", f"{row.residual:g}", f"{row.noise:g}", row.certificate, row.by, *numbers,
            f"{row.accepted} of {row.runs}" if row.runs else "", _number(row.taken), _number(row.most),
            f"{row.least:.0f}" if row.least else "", distance,
        )  # fmt: skip
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100, help="sessions a row")
    parser.add_argument("--only", default="noise,few", help="parts, comma-separated")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    parts = {"noise": of_noise, "few": of_few}
    rows = [row for name in arguments.only.split(",") for row in parts[name](arguments.runs)]
    write_rows(arguments.out / "noise.csv", rows)
    Console(width=170).print(table_of(rows))


if __name__ == "__main__":
    main()
