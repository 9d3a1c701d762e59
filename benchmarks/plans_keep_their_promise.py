"""Plans keep their promise: how often an honest claim is accepted, and after how many retrainings.

    python -m benchmarks.plans_keep_their_promise [--runs 100] [--only games,noise,delegated,tasks,cheapest]

A plan says whether it expects an honest claim to be accepted in nine sessions of ten (its power), and how many
trainings it expects. Here claims have figures that are true; whole sessions are played, and what was promised is held
against what came, with exact limits at 99%. A certificate with a pilot plans anew once that is in: "planned" is the
plan from the figures, "planned after" the mean of what sessions planned in the end, "taken" what they trained.

games      one target, no seed noise: moments, crossfit and gaussian, the verifier trains everything
noise      the same with seeds per subset: the pilot finds out how much of the residual is noise
delegated  moments and crossfit, the prover answers and never lies; its trainings are counted
tasks      digits as in ``make demo``, pooled and across every target
cheapest   the planner of moments against every design of its grid, and of a finer one

Writes plans.csv and plans.png below benchmarks/results.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import matplotlib as mpl
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.sessions import Subject, demo_digits, is_delegated, of_known, play, rate_of
from benchmarks.tables import RESULTS, limits, read_rows, write_rows
from protocol.certificate.moments.plan import Shape
from protocol.certificate.planning import POWER, Outlook
from protocol.certificate.terms import Across, Answers
from protocol.claim import Claim, Figures
from protocol.errors import BudgetError
from protocol.game import harmonic
from protocol.game.known import Polynomial
from protocol.session.messages import Outcome
from verifier.verification import Asked

mpl.use("Agg")
from matplotlib import pyplot as plt

N_UNITS = 60
ERROR = 0.02
"""A promise counts as kept where the measured rate, but for chance, is at least the promise less this."""

MAX_RETRAININGS, MAX_ANSWERS = 8000, 8000
CONFIDENCE = 0.99


@dataclass(frozen=True, kw_only=True)
class Row:
    """One plan and what came of it.

    promised : the plan's power once every look is taken. accepted : share of sessions; low, high : exact limits at 99%.
    planned : trainings expected, from figures; planned_after : by the sessions' last plans, the mean; taken : the mean:
    the verifier's. answered : the prover's. kept : see ERROR; True where the plan promises less than POWER.
    """

    part: str
    setting: str
    certificate: str
    across: str
    epsilon: float
    delta: float
    runs: int
    promised: float
    accepted: float
    low: float
    high: float
    planned: float
    planned_after: float
    taken: float
    answered: float
    kept: bool


@dataclass(frozen=True, kw_only=True)
class World:
    """f of one target by degree: shares of Var f missed by the claim at degree one, of degrees two and three, and of
    seed noise; the rest is linear and claimed.
    """

    name: str
    gap: float
    two: float
    three: float
    noise: float = 0.0

    def subject(self) -> Subject:
        """The game, and a claim that misses a random direction outright, with true figures."""
        linear = 1 - self.two - self.three - self.noise
        game = Polynomial(n_units=N_UNITS, w1=linear, w2=self.two, w3=self.three)
        figures = Figures(
            relative_gap=self.gap, odd_residual=self.gap + self.three + self.noise / 2, r2=linear - self.gap,
            n_retrainings=10_000,
        )  # fmt: skip
        subject = of_known(self.name, game, noise=self.noise, figures=figures)
        best = subject.claim.scores
        raw = np.random.default_rng(3).standard_normal(best.shape)
        # A part of the best claim's own direction and a part across it, so that what is left out is exactly the gap.
        across = raw - (raw * best).sum() / (best**2).sum() * best
        unit = across / np.sqrt(harmonic.linear_variance(across, 0.5)[0])
        own = np.sqrt(1 - self.gap / linear)
        missed = (1 - own**2) * best + own * np.sqrt(self.gap) * unit
        claim = Claim(task_digest=subject.claim.task_digest, intercepts=np.zeros(1), scores=best - missed)
        return replace(subject, claim=claim)


CLEAN = (
    World(name="clean", gap=0.006, two=0.05, three=0.01),
    World(name="middling", gap=0.02, two=0.15, three=0.10),
)
NOISY = (
    World(name="clean, noisy seeds", gap=0.006, two=0.05, three=0.01, noise=0.1),
    World(name="clean, very noisy seeds", gap=0.002, two=0.02, three=0.005, noise=0.4),
)


def row_of(part: str, subject: Subject, asked: Asked, runs: int) -> Row | None:
    """Plan from the figures, play ``runs`` sessions, and hold one against the other; None beyond the budget."""
    try:
        plan = asked.plan(subject.game, subject.figures, subject.claim)
    except BudgetError:
        return None
    terms = asked.terms(subject.game)
    label = f"{part} {subject.name} {asked.method} {terms.answers.value} {asked.epsilon} {terms.across.value}"
    first = zlib.crc32(label.encode()) << 16
    met = [play(subject, asked, first + run) for run in range(runs)]
    hits = rate_of(met, Outcome.ACCEPT).hits
    low, high = limits(hits, runs, CONFIDENCE)
    delegated = is_delegated(asked, subject.game)
    after = [each.plan.expected_answered if delegated else each.plan.expected_retrained for each in met]
    return Row(
        part=part, setting=subject.name, certificate=f"{asked.method}, {terms.answers.value}",
        across=terms.across.value, epsilon=asked.epsilon, delta=asked.delta, runs=runs,
        promised=POWER if plan.sufficient else plan.last.power, accepted=hits / runs, low=low, high=high,
        planned=plan.expected_answered if delegated else plan.expected_retrained, planned_after=float(np.mean(after)),
        taken=float(np.mean([each.n_retrained for each in met])),
        answered=float(np.mean([each.n_answered for each in met])),
        kept=not plan.sufficient or high >= POWER - ERROR,
    )  # fmt: skip


def _asked(method: str, epsilon: float, answers: Answers | None = None) -> Asked:
    return Asked(
        method=method, epsilon=epsilon, answers=answers, max_retrainings=MAX_RETRAININGS, max_answers=MAX_ANSWERS
    )


def of_games(runs: int) -> Iterator[Row | None]:
    """Yield every certificate on every world without noise, at two epsilons."""
    for world, method in product(CLEAN, ("moments", "crossfit", "gaussian")):
        for epsilon in (max(0.03, 3 * world.gap), max(0.1, 5 * world.gap)):
            yield row_of("games", world.subject(), _asked(method, epsilon), runs)


def of_noise(runs: int) -> Iterator[Row | None]:
    """Yield moments and the Gaussian look on noisy worlds."""
    for world, method in product(NOISY, ("moments", "gaussian")):
        for epsilon in (0.05, 0.1):
            yield row_of("noise", world.subject(), _asked(method, epsilon), runs)


def of_delegated(runs: int) -> Iterator[Row | None]:
    """Yield what a prover answers."""
    for world, method in product((*CLEAN, NOISY[0]), ("moments", "crossfit")):
        yield row_of("delegated", world.subject(), _asked(method, max(0.1, 5 * world.gap), Answers.DELEGATED), runs)


def of_tasks(runs: int, claim_file: Path | None = None) -> Iterator[Row | None]:
    """Yield digits, with the prover's own figures; half as many sessions."""
    digits = demo_digits(claim_file)
    for method, epsilon, across in (
        ("moments", 0.05, Across.POOLED), ("moments", 0.03, Across.POOLED), ("moments", 0.05, Across.MEAN),
        ("moments", 0.2, Across.EVERY), ("gaussian", 0.05, Across.POOLED), ("gaussian", 0.02, Across.POOLED),
    ):  # fmt: skip
        yield row_of("tasks", digits, replace(_asked(method, epsilon), across=across), max(10, runs // 2))


# --------------------------------------------------------------------------------------------- cheapest


@dataclass(frozen=True, kw_only=True)
class Cheapest:
    """Trainings, the pilot's left out, of the planner's design and of the cheapest on a finer grid."""

    gap: float
    residual: float
    epsilon: float
    planned: int | None
    on_finer: int | None


def cheapest_by_force() -> Iterator[Cheapest]:
    """Ask how many families every design of a finer grid needs, siblings and correlation by turns."""
    finer = [(1, 0.0), *product(range(2, 41), np.round(np.arange(0.1, 0.96, 0.05), 2).tolist())]
    for world, epsilon in product(CLEAN, (0.05, 0.1)):
        subject, asked = world.subject(), Asked(epsilon=epsilon)
        outlook = Outlook.of(subject.figures)
        shape = Shape(game=subject.game, terms=asked.terms(subject.game), outlook=outlook)
        n_siblings, _, n_families = shape.cheapest()
        found = [(s, shape.families_needed(s, rho, chance=1.3)) for s, rho in finer]
        sizes = [2 * s * n for s, n in found if n is not None]
        yield Cheapest(
            gap=world.gap, residual=outlook.residual, epsilon=epsilon,
            planned=None if n_families is None else 2 * n_siblings * n_families, on_finer=min(sizes, default=None),
        )  # fmt: skip


# ---------------------------------------------------------------------------------------------- report


def plot(rows: Sequence[Row], path: Path) -> None:
    """Promise against what came, and trainings planned against those taken."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    names = list(dict.fromkeys(row.certificate for row in rows))
    for number, row in enumerate(rows):
        colour = f"C{names.index(row.certificate)}"
        left.plot([number] * 2, [row.low, row.high], color=colour, lw=0.8)
        left.plot(number, row.accepted, "o", color=colour, ms=4)
        left.plot(number, row.promised, "_", color="black")
        taken = row.answered if "delegated" in row.certificate else row.taken
        right.plot(row.planned_after, taken, "o", color=colour, ms=4)
    left.set(xlabel="plan", ylabel="accepted, 99% limits; promise as a bar")
    ends = [min(row.taken for row in rows) * 0.8, max(row.planned_after for row in rows) * 1.2]
    right.plot(ends, ends, color="black", lw=0.8)
    right.set(xlabel="trainings planned in the end", ylabel="trainings taken, mean", xscale="log", yscale="log")
    for number, name in enumerate(names):
        right.plot([], [], "o", color=f"C{number}", ms=4, label=name)
    right.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def table_of(rows: Sequence[Row]) -> Table:
    """One line a plan."""
    table = Table(title=f"honest claims with true figures ({CONFIDENCE:.0%} limits)")
    heads = ("part", "setting", "certificate", "across", "epsilon", "runs", "promised", "accepted", "planned")
    for head in (*heads, "planned after the pilot", "taken here", "answered", "kept"):
        table.add_column(head)
    for row in rows:
        table.add_row(
            row.part, row.setting, row.certificate, row.across, f"{row.epsilon:g}", str(row.runs),
            f"{row.promised:.2f}", f"{row.accepted:.3f} ({row.low:.3f} to {row.high:.3f})", f"{row.planned:.0f}",
            f"{row.planned_after:.0f}", f"{row.taken:.0f}", f"{row.answered:.0f}", "yes" if row.kept else "NO",
        )  # fmt: skip
    return table


def cheapest_table(found: Sequence[Cheapest]) -> Table:
    """One line a case."""
    table = Table(title="moments: trainings of a plan that is accepted in nine sessions of ten, without the pilot")
    for head in ("gap", "residual", "epsilon", "planned", "cheapest of a finer grid"):
        table.add_column(head)
    for case in found:
        numbers = (case.gap, case.residual, case.epsilon)
        table.add_row(*(f"{value:g}" for value in numbers), str(case.planned), str(case.on_finer))
    return table


PARTS: dict[str, Callable[[int], Iterator[Row | None]]] = {
    "games": of_games, "noise": of_noise, "delegated": of_delegated, "tasks": of_tasks,
}  # fmt: skip


def main() -> None:
    """Measure the parts asked for, and write what they gave."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--only", default=",".join((*PARTS, "cheapest")), help="parts, comma-separated")
    parser.add_argument("--claim", type=Path, help="a claim about digits; by default the prover's commands make one")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    console, wanted, place = Console(width=200), arguments.only.split(","), arguments.out / "plans.csv"
    parts: dict[str, Callable[[int], Iterator[Row | None]]] = {
        **PARTS,
        "tasks": partial(of_tasks, claim_file=arguments.claim),
    }
    for part, measure in parts.items():
        if part in wanted:
            found = [row for row in measure(arguments.runs) if row is not None]
            console.print(table_of(found))
            rows = [*found, *(row for row in read_rows(place, Row) if row.part != part)]
            rows.sort(key=lambda row: list(PARTS).index(row.part))
            write_rows(place, rows)
            plot(rows, arguments.out / "plans.png")
    if "cheapest" in wanted:
        console.print(cheapest_table(list(cheapest_by_force())))


if __name__ == "__main__":
    main()
