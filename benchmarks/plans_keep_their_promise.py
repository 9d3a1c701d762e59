"""Plans keep their promise: how often an honest claim is accepted, and after how many retrainings (THEORY 2.9).

    python -m benchmarks.plans_keep_their_promise [--runs 1000] [--only games,audited,tasks,cheapest]

A plan promises a probability, at least, that a claim as good as its figures is accepted at the first look and by the
last, and a number of retrainings expected, at most. Here claims have figures that are true, a session stops at its
first decision, and what was promised is held against what came, with exact limits at 99%.

games     one target, figures in closed form; p 0.5 and 0.3, seed noise, proved
audited   the same, the prover answers and lies never
tasks     digits and breast cancer, ridge, across the mean and across every; p 0.5 and 0.3. Families of a run are drawn
          from a pool of families trained once: runs share families, so limits are a little too narrow
cheapest  every (B, s, rho) of the planner's grid, and of one three times as fine: none cheaper keeps the same promise

Writes plans.csv and plans.png below benchmarks/results.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import matplotlib as mpl
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.digits_task import (
    RESULTS,
    digits_task,
    independent_outputs_of,
    least_squares_claim,
    seed_of,
)
from benchmarks.simulated import (
    CONFIDENCE,
    N_UNITS,
    in_chunks,
    judged,
    limits,
    linear_weights,
    read_csv,
    readings_of,
    subsets_of,
    write_csv,
)
from protocol import harmonic
from protocol.certificate import plan
from protocol.certificate.families import Checked, certify
from protocol.certificate.plan import Outlook, Plan
from protocol.certificate.readings import Readings, read
from protocol.certificate.terms import Across, Assurance
from protocol.claim import Claim
from protocol.sampling import Design, Draw
from protocol.task import ConstantColumns, Data, Ridge, Scaling, TargetKind, Targets, Task, UnitKind, Units
from protocol.training import Trainer, load, read_table
from tests.games import task_of

mpl.use("Agg")
from matplotlib import pyplot as plt

POWER = 0.9
ERROR = 0.02
"""A promise counts as kept where the measured rate, but for chance, is at least the promise less this."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One plan and what came of it.

    promised, accepted : share of runs accepted at the first look; low, high : exact limits. promised_last and
    accepted_last : by the last look. expected, retrained : mean trainings (the prover's where audited), both parties'
    being proportional. kept : see ERROR.
    """

    part: str
    setting: str
    p: float
    across: str
    assurance: str
    epsilon: float
    delta: float
    outlook: str
    design: str
    looks: int
    runs: int
    promised: float
    accepted: float
    low: float
    high: float
    promised_last: float
    accepted_last: float
    expected: float
    retrained: float
    kept: bool


@dataclass(frozen=True, kw_only=True)
class World:
    """f of one target by degree: shares of Var f missed by the claim at degree one, and of degrees two and three, and
    of seed noise; the rest is linear and claimed.
    """

    name: str
    gap: float
    two: float
    three: float
    noise: float = 0.0

    def outlook(self, p: float) -> Outlook:
        """What true figures say: at p = 1/2 the odd residual, with half of the noise, else all of it."""
        missed = self.gap + self.two + self.three + self.noise
        odd = self.gap + self.three + self.noise / 2
        return Outlook(relative_gap=self.gap, residual=odd if p == 0.5 else missed, r2=1 - missed)


WORLDS = (
    World(name="clean", gap=0.006, two=0.05, three=0.01),
    World(name="middling", gap=0.02, two=0.15, three=0.10),
    World(name="network-like", gap=0.05, two=0.08, three=0.50),
    World(name="clean, noisy seeds", gap=0.006, two=0.05, three=0.01, noise=0.3),
)


# ------------------------------------------------------------------------------------------------ games


def of_games(runs: int, rng: np.random.Generator, assurance: Assurance = Assurance.PROVED) -> Iterator[Row]:
    """Every world at two p, two epsilons and two deltas."""
    for world, p in product(WORLDS, (0.5, 0.3)):
        task = task_of(N_UNITS, p=p)
        outlook = world.outlook(p)
        near, far = max(0.03, 3 * world.gap), max(0.1, 5 * world.gap)
        for epsilon, delta in ((near, 0.05), (far, 0.05), (far, 0.01)):
            planned = plan.best_within(
                task, epsilon=epsilon, delta=delta, across=Across.MEAN, assurance=assurance, outlook=outlook,
                max_retrainings=4000, max_answers=4000, power=POWER,
            )  # fmt: skip
            part = "games" if assurance is Assurance.PROVED else "audited"
            yield row_of(part, world.name, p, planned, "figures", _played(world, p, planned, runs, rng))


def _played(world: World, p: float, planned: Plan, runs: int, rng: np.random.Generator) -> np.ndarray:
    """The look at which each run was accepted, or one past the last; runs that reject never are."""
    looks = planned.terms.looks
    n_families = sum(look.n_families for look in looks)
    design = (n_families, looks[0].n_siblings, looks[0].rho)
    c = linear_weights()
    direction = np.random.default_rng(3).standard_normal(N_UNITS)
    first = np.sqrt(1 - world.two - world.three - world.noise - world.gap) * c
    direction -= (direction @ c) * c  # what the claim misses, it misses outright: gap = |missed|^2
    missed = np.sqrt(world.gap) * direction / np.linalg.norm(direction)

    def outputs(subsets: np.ndarray) -> np.ndarray:
        phi = harmonic.characters(subsets, p)
        two = np.prod(phi.reshape(*phi.shape[:-1], -1, 2), axis=-1)
        three = np.prod(phi.reshape(*phi.shape[:-1], -1, 3), axis=-1)
        higher = (world.two / two.shape[-1]) ** 0.5 * two.sum(axis=-1)
        higher += (world.three / three.shape[-1]) ** 0.5 * three.sum(axis=-1)
        noise = world.noise**0.5 * rng.standard_normal(subsets.shape[:-1])
        return np.asarray(phi @ (first + missed) + higher + noise)

    accepted = []
    for n in in_chunks(runs, design):
        subsets = subsets_of(rng, n, design, p)
        one, other = outputs(subsets), outputs(~subsets)
        linear = harmonic.characters(subsets, p) @ first
        whole = readings_of(one, other, linear, float(first @ first), p, looks[0].rho)
        accepted.append(_accepted_at(planned, whole, rng, Across.EVERY))
    return np.concatenate(accepted)


def _accepted_at(planned: Plan, whole: Readings, rng: np.random.Generator, across: Across) -> np.ndarray:
    """The look that accepted, per row of the certificate: runs as targets, or one run."""
    terms = planned.terms
    n_rows = whole.n_targets if across is Across.EVERY else 1
    found, decided, n_families = np.full(n_rows, len(terms.looks)), np.zeros(n_rows, bool), 0
    checked: list[Checked] = []
    for look, design in enumerate(terms.looks):
        start, n_families = n_families, n_families + design.n_families
        so_far, delta = _families_of(whole, 0, n_families), terms.delta_at(look)
        if terms.assurance is Assurance.AUDITED:
            checked.append(_checks(_families_of(whole, start, n_families), terms.n_checks, rng))
            outputs, linear = (np.concatenate([getattr(c, k) for c in checked]) for k in ("outputs", "linear"))
            joint = Checked(outputs=outputs, linear=linear, n_false=0)  # the bound despite lies is not looked at
            certificate = certify(so_far, delta=delta * n_rows, across=across, checked=joint)
        else:
            certificate = judged(so_far, delta)
        accepts = certificate.upper <= terms.epsilon
        found[accepts & ~decided] = look
        decided |= accepts | (certificate.lower > terms.epsilon)
    return found


def _families_of(readings: Readings, start: int, stop: int) -> Readings:
    even = None if readings.even is None else readings.even[start:stop]
    return replace(readings, output=readings.output[start:stop], linear=readings.linear[start:stop], even=even)


def _checks(readings: Readings, n: int, rng: np.random.Generator) -> Checked:
    """Answers rechecked: whole outputs of subsets and complements, the same numbers in every run."""
    linear, odd = (part.reshape(-1, readings.n_targets) for part in (readings.linear, readings.output))
    if readings.even is not None:
        even = readings.even.reshape(-1, readings.n_targets)
        odd, linear = np.concatenate([even + odd, even - odd]), np.concatenate([linear, -linear])
    chosen = rng.choice(len(odd), n, replace=False)
    return Checked(outputs=odd[chosen], linear=linear[chosen], n_false=0)


# ------------------------------------------------------------------------------------------------ tasks


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A task, an honest claim, and what is truly so of it: figures, rank and spread of errors over targets."""

    name: str
    task: Task
    trainer: Trainer
    claim: Claim
    figures: Outlook
    truth: Outlook


def trained(name: str, task: Task, trainer: Trainer, n_fit: int, n_reference: int) -> Trained:
    """Fit a claim by least squares and measure it on independent subsets."""
    subsets, outputs = independent_outputs_of(task, trainer, seed_of("honest", 0), n_fit)
    claim = least_squares_claim(task, subsets, outputs) if task.p == 0.5 else _biased_claim(task, subsets, outputs)
    sides = 2 if task.has_complements else 1
    draw = Draw(seed=seed_of("reference", 0), design=_independent(n_reference, task))
    evaluations = np.arange(draw.n_evaluations, dtype=np.int64)
    outputs = trainer.outputs(draw.subsets(task, evaluations), draw.training_seeds(task, evaluations)).values
    readings = read(task, claim, draw, outputs)
    residual = readings.residual[:, 0] - (0 if sides == 2 else readings.residual[:, 0].mean(axis=0))
    phi = harmonic.characters(draw.subsets(task, evaluations[::sides]), task.p)
    n, variance = len(phi), outputs.var(axis=0)
    own = ((phi**2).sum(axis=1)[:, None] * residual**2).sum(axis=0)
    gap = np.maximum((((phi.T @ residual) ** 2).sum(axis=0) - own) / (n * (n - 1)), 0.0) / variance
    odd = (residual**2).mean(axis=0) / variance
    even = 0.0 if readings.even is None else readings.even[:, 0].var(axis=0) / variance
    figures = Outlook(relative_gap=float(gap.mean()), residual=float(odd.mean()), r2=float(1 - (odd + even).mean()))
    s = (residual / variance**0.5).T @ (residual / variance**0.5)
    rank, spread = float(np.trace(s) ** 2 / (s**2).sum()), float(np.log(odd).std())
    worst = float((odd / odd.mean()).max())
    print(
        f"{name}, p={task.p:.2g}: {figures}; rank {rank:.0f} of {task.n_targets}; over targets sd of log residual "
        f"{spread:.2f}, the worst {worst:.1f} times the mean"
    )
    return Trained(
        name=name, task=task, trainer=trainer, claim=claim, figures=figures,
        truth=replace(figures, rank=rank, spread=spread),
    )  # fmt: skip


def _independent(n: int, task: Task) -> Design:
    return Design(n_families=n, n_siblings=1, keep_16=0, complements=task.has_complements)


def _biased_claim(task: Task, subsets: np.ndarray, outputs: np.ndarray) -> Claim:
    design = np.column_stack([np.ones(len(subsets)), subsets - task.p])
    fitted = np.linalg.solve(design.T @ design, design.T @ outputs)
    scores = np.ascontiguousarray(fitted[1:].T)
    return Claim(task_digest=task.digest, intercepts=fitted[0] - task.p * scores.sum(axis=1), scores=scores)


def tasks() -> Iterator[Trained]:
    """Digits (200 targets) and breast cancer (100 targets), at p 0.5 and 0.3."""
    digits, trainer = digits_task()
    yield trained("digits", digits, trainer, 12_000, 10_000)
    cancer, trainer = cancer_task(0.5)
    yield trained("breast cancer", cancer, trainer, 4000, 10_000)
    cancer, trainer = cancer_task(0.3)
    yield trained("breast cancer", cancer, trainer, 8000, 20_000)


def cancer_task(p: float) -> tuple[Task, Trainer]:
    """Breast cancer, 300 training rows, ridge, 100 margins."""
    table = read_table("sklearn:breast_cancer", path=None, target_column="", contributor_column="")
    digits = digits_task()[0]
    data = Data(
        source="sklearn:breast_cancer", digest=table.digest, target_column="", contributor_column="", n_classes=2,
        n_train=300, n_test=200, split_seed=0, constant_columns=ConstantColumns.DROP, scaling=Scaling.STANDARD,
    )  # fmt: skip
    targets = Targets(
        kind=TargetKind.MARGIN, rows=tuple(range(100)), average=False, lo=np.full(100, -20.0), hi=np.full(100, 20.0)
    )
    task = replace(
        digits, data=data, units=Units(kind=UnitKind.ROW, n=300), recipe=Ridge(l2=1.0), targets=targets,
        p_16=round(65536 * p),
    )  # fmt: skip
    return task, Trainer(task, load(task))


def of_tasks(runs: int, rng: np.random.Generator) -> Iterator[Row]:
    """Mean and every, planned from the figures and, across the mean, from the rank that they do not say."""
    for world in tasks():
        pools: dict[tuple[int, float], Readings] = {}
        mean = [(0.05, 0.05), (0.02, 0.05), (0.05, 0.01)] if world.task.p == 0.5 else [(0.1, 0.05)]
        every = [(0.1, 0.05), (0.1, 0.2)] if world.task.p == 0.5 else [(0.3, 0.05)]
        kinds = [
            *((Across.MEAN, *each, "figures", world.figures) for each in mean),
            *(
                (Across.MEAN, *each, f"and rank {world.truth.rank:.0f}", replace(world.figures, rank=world.truth.rank))
                for each in mean
            ),
            *((Across.EVERY, *each, "figures", world.figures) for each in every),
        ]
        for across, epsilon, delta, name, outlook in kinds:
            planned = plan.best_within(
                world.task, epsilon=epsilon, delta=delta, across=across, assurance=Assurance.PROVED, outlook=outlook,
                max_retrainings=4000, power=POWER,
            )  # fmt: skip
            looks = planned.terms.looks
            kind = (looks[0].n_siblings, looks[0].rho)
            if kind not in pools:
                pools[kind] = pool_of(world, looks[0])
            accepted = np.array([_drawn(planned, pools[kind], rng) for _ in range(runs)])
            yield row_of("tasks", world.name, round(world.task.p, 3), planned, name, accepted)


def pool_of(world: Trained, design: Design, n_evaluations: int = 24_000) -> Readings:
    """Families to draw runs' families from."""
    n_families = n_evaluations // (design.n_evaluations // design.n_families)
    draw = Draw(seed=seed_of("pool", 0), design=replace(design, n_families=n_families))
    parts = []
    for numbers in np.array_split(np.arange(draw.n_evaluations, dtype=np.int64), 12):
        subsets = draw.subsets(world.task, numbers)
        parts.append(world.trainer.outputs(subsets, draw.training_seeds(world.task, numbers)).values)
    return read(world.task, world.claim, draw, np.concatenate(parts))


def _drawn(planned: Plan, pool: Readings, rng: np.random.Generator) -> int:
    """The look at which one run is accepted, its families drawn from the pool."""
    terms = planned.terms
    chosen = rng.choice(pool.n_families, sum(look.n_families for look in terms.looks), replace=False)
    n_families = 0
    for look, design in enumerate(terms.looks):
        n_families += design.n_families
        numbers = chosen[:n_families]
        even = None if pool.even is None else pool.even[numbers]
        so_far = replace(pool, output=pool.output[numbers], linear=pool.linear[numbers], even=even)
        certificate = certify(so_far, delta=terms.delta_at(look), across=terms.across)
        if certificate.upper_bound <= terms.epsilon:
            return look
        if certificate.lower_bound > terms.epsilon:
            break
    return len(terms.looks)


def row_of(part: str, setting: str, p: float, planned: Plan, outlook: str, accepted: np.ndarray) -> Row:
    """Hold a plan against the looks at which its runs were accepted; a run not accepted took every look."""
    terms, runs = planned.terms, len(accepted)
    first, last = int((accepted == 0).sum()), int((accepted < len(terms.looks)).sum())
    low, high = limits(first, runs)
    totals = np.cumsum([look.n_evaluations for look in terms.looks])
    audited = terms.assurance is Assurance.AUDITED
    design = terms.looks[0]
    return Row(
        part=part, setting=setting, p=p, across=terms.across.value, assurance=terms.assurance.value,
        epsilon=terms.epsilon, delta=terms.delta, outlook=outlook,
        design=f"B={design.n_families} s={design.n_siblings} rho={design.rho:.2g}",
        looks=len(terms.looks), runs=runs, promised=planned.first.power, accepted=first / runs, low=low, high=high,
        promised_last=planned.last.power, accepted_last=last / runs,
        expected=planned.expected_answered if audited else planned.expected_retrained,
        retrained=float(totals[np.minimum(accepted, len(totals) - 1)].mean()),
        kept=high >= planned.first.power - ERROR,
    )  # fmt: skip


# --------------------------------------------------------------------------------------------- cheapest


@dataclass(frozen=True, kw_only=True)
class Cheapest:
    """The planner's single look, and the cheapest that exhaustion finds on its grid and on a finer one."""

    outlook: Outlook
    p: float
    epsilon: float
    delta: float
    planned: int | None
    on_grid: int | None
    on_finer: int | None


def cheapest_by_force() -> Iterator[Cheapest]:
    """Ask for the power of every number of families from the least on, siblings and correlation by turns."""
    finer = (range(2, 41), np.round(np.arange(0.1, 0.91, 0.05), 2))
    for world, p in product((WORLDS[0], WORLDS[2]), (0.5, 0.3)):
        outlook, task = world.outlook(p), task_of(N_UNITS, p=p)
        epsilon, delta = max(0.05, 4 * world.gap), 0.05
        planned = plan.retrainings_needed(
            task, epsilon=epsilon, delta=delta, across=Across.MEAN, outlook=outlook, power=POWER
        )
        shape = plan.Shape(task, Across.MEAN, epsilon, delta, outlook)
        grid = (plan.SIBLINGS, np.array(plan.RHOS))
        yield Cheapest(
            outlook=outlook, p=p, epsilon=epsilon, delta=delta, planned=planned,
            on_grid=_least(shape, *grid), on_finer=_least(shape, *finer),
        )  # fmt: skip


def _least(shape: plan.Shape, siblings: Sequence[int], rhos: np.ndarray) -> int | None:
    """The fewest evaluations that reach POWER: every number of families is asked, fewest evaluations first."""
    best: int | None = None
    for n_siblings, rho in product(siblings, rhos.tolist()):
        n_families = plan.MIN_FAMILIES
        while True:
            design = shape.design(n_families, n_siblings, rho)
            if design.n_evaluations >= (20_000 if best is None else best):
                break
            if shape.power(design) >= POWER:
                best = design.n_evaluations
                break
            n_families += 1
    return best


# ---------------------------------------------------------------------------------------------- report


def plot(rows: Sequence[Row], path: Path) -> None:
    """Promise against what came, and trainings expected against those taken."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    for row in rows:
        colour, marker = "tab:blue" if row.across == "mean" else "tab:orange", "o" if row.p == 0.5 else "^"
        left.plot([row.promised] * 2, [row.low, row.high], color=colour, lw=0.8)
        left.plot(row.promised, row.accepted, color=colour, marker=marker, ms=4)
        right.plot(row.expected, row.retrained, color=colour, marker=marker, ms=4)
    left.plot([0, 1], [0, 1], color="black", lw=0.8)
    left.set(xlabel="promised: accepted at the first look, at least", ylabel="accepted, 99% limits")
    limits_ = [min(row.retrained for row in rows) * 0.8, max(row.expected for row in rows) * 1.2]
    right.plot(limits_, limits_, color="black", lw=0.8)
    right.set(xlabel="trainings expected, at most", ylabel="trainings taken, mean", xscale="log", yscale="log")
    figure.suptitle("plans: blue across the mean, orange across every; triangles p = 0.3")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def table_of(rows: Sequence[Row]) -> Table:
    """One line a plan."""
    heads = ("setting", "p", "across", "assurance", "epsilon", "delta", "planned from", "design", "promised")
    table = Table(title=f"honest claims ({rows[0].runs} runs, {CONFIDENCE:.0%} limits)")
    for head in (*heads, "accepted", "promised, last", "accepted, last", "trainings expected", "taken", "kept"):
        table.add_column(head)
    for row in rows:
        table.add_row(
            row.setting, f"{row.p:g}", row.across, row.assurance, f"{row.epsilon:g}", f"{row.delta:g}", row.outlook,
            row.design, f"{row.promised:.3f}", f"{row.accepted:.3f} ({row.low:.3f} to {row.high:.3f})",
            f"{row.promised_last:.3f}", f"{row.accepted_last:.3f}", f"{row.expected:.0f}", f"{row.retrained:.0f}",
            "yes" if row.kept else "NO",
        )  # fmt: skip
    return table


def cheapest_table(found: Sequence[Cheapest]) -> Table:
    """One line a case."""
    table = Table(title=f"fewest retrainings of one look that accepts with probability {POWER:g}")
    for head in ("gap", "residual", "p", "epsilon", "planned", "cheapest of the grid", "of a finer grid"):
        table.add_column(head)
    for case in found:
        counts = (case.planned, case.on_grid, case.on_finer)
        outlook = (case.outlook.relative_gap, case.outlook.residual, case.p, case.epsilon)
        table.add_row(*(f"{value:g}" for value in outlook), *(str(count) for count in counts))
    return table


PARTS: dict[str, Callable[[int, np.random.Generator], Iterator[Row]]] = {
    "games": of_games,
    "audited": partial(of_games, assurance=Assurance.AUDITED),
    "tasks": of_tasks,
}


def main() -> None:
    """Measure the parts asked for, and write what they gave."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--only", default=",".join((*PARTS, "cheapest")), help="parts, comma-separated")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    console, wanted, place = Console(width=210), arguments.only.split(","), arguments.out / "plans.csv"
    for number, (part, measure) in enumerate(PARTS.items()):
        if part in wanted:
            found = list(measure(arguments.runs, np.random.default_rng(number)))
            console.print(table_of(found))
            rows = [*found, *(row for row in read_csv(Row, place) if row.part != part)]
            rows.sort(key=lambda row: list(PARTS).index(row.part))
            write_csv(rows, place)
            plot(rows, arguments.out / "plans.png")
    if "cheapest" in wanted:
        console.print(cheapest_table(list(cheapest_by_force())))


if __name__ == "__main__":
    main()
