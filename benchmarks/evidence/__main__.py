"""Make the tables and plots of the evidence, all or one of them.

    python -m benchmarks.evidence [--quick] [--only coverage|power|cost|relative] [--jobs 1] [--out DIR]

--quick makes the same tables in a minute with few runs and small tasks: it shows that the programs run, and proves
nothing. Its files go to a folder of their own unless --out says otherwise.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.evidence import (
    algorithm1_covers_the_gap,
    cost_follows_the_residual,
    crossfit_covers_the_gap,
    families_cover_the_gap,
    fitted_polynomial_misses_its_level,
    power_rises_with_retrainings,
    subjects,
)
from benchmarks.evidence.coverage import Cell
from benchmarks.evidence.subjects import Effort
from benchmarks.evidence.tables import RESULTS, write_rows


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much of everything is run.

    n_runs : of a cheap cell. budget : trainings for all runs of a real task's design.
    crossfit_runs : of a game. crossfit_budget : trainings for all runs of a real task's plan.
    jobs : processes for coverage; does not affect its figures.
    """

    n_runs: int
    budget: int
    crossfit_runs: int
    crossfit_budget: int
    ridge: Effort
    logistic: Effort
    jobs: int = 1


FULL = Scale(
    n_runs=2000, budget=120_000, crossfit_runs=400, crossfit_budget=80_000,
    ridge=Effort(n_train=1000, n_fit=12_000, n_reference=50_000),
    logistic=Effort(n_train=300, n_fit=6000, n_reference=30_000),
)  # fmt: skip
QUICK = Scale(
    n_runs=40, budget=2000, crossfit_runs=2, crossfit_budget=12_000,
    ridge=Effort(n_train=60, n_fit=600, n_reference=1000), logistic=Effort(n_train=60, n_fit=600, n_reference=1000),
)  # fmt: skip


def coverage(scale: Scale, out: Path) -> None:
    """coverage.csv: how often each bound is below the truth, and how often a claim just above epsilon passes."""
    n_games, n_tiny = len(subjects.games()), len(algorithm1_covers_the_gap.tiny_games())
    parts = [("real", 0), ("real", 1), *(("game", i) for i in range(n_games)), *(("tiny", i) for i in range(n_tiny))]
    found: list[Cell] = []
    # Processes of their own, each with its subject's random numbers: how many there are changes no figure.
    with ProcessPoolExecutor(scale.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for cells in pool.map(_cells_of, parts, [scale] * len(parts)):
            found += cells
            print(f"{len(found)} cells: {cells[-1].subject}", flush=True)
    found.sort(key=lambda cell: (cell.kind, cell.certificate))
    write_rows(out / "coverage.csv", found)
    _summarise(found)


def _cells_of(part: tuple[str, int], scale: Scale) -> list[Cell]:
    """Return every cell of one subject."""
    kind, number = part
    if kind == "tiny":
        return list(algorithm1_covers_the_gap.cells(algorithm1_covers_the_gap.tiny_games()[number], scale.n_runs))
    if kind == "game":
        subject = subjects.games()[number]
        budgets = (10**9, 10**9)
    else:
        subject = subjects.breast_cancer_logistic(scale.logistic) if number else subjects.digits_ridge(scale.ridge)
        budgets = (scale.budget, scale.crossfit_budget)
    return [
        *families_cover_the_gap.cells(subject, budgets[0], scale.n_runs),
        *crossfit_covers_the_gap.cells(subject, scale.crossfit_runs, budgets[1]),
    ]


def _summarise(found: list[Cell]) -> None:
    for certificate in dict.fromkeys(cell.certificate for cell in found):
        cells = [cell for cell in found if cell.certificate == certificate]
        beyond = [cell for cell in cells if cell.exceeds]
        surely = sorted({f"{cell.subject} ({cell.claim})" for cell in cells if cell.surely_exceeds})
        worst = max(cells, key=lambda cell: max(cell.miss_rate, cell.accept_rate or 0.0) - cell.delta)
        print(
            f"{certificate} ({cells[0].kind}): {len(cells)} cells, {len(beyond)} above delta, "
            f"worst {worst.miss_rate:.3f} at delta {worst.delta} ({worst.subject}, {worst.claim}, {worst.design})"
        )
        if surely:
            print(f"    beyond chance: {', '.join(surely)}")


def power(scale: Scale, out: Path) -> None:
    """power.csv and power.png: acceptance against the true gap."""
    found = list(power_rises_with_retrainings.rows(subjects.like_digits(60), 10**9, scale.n_runs))
    found += power_rises_with_retrainings.rows(subjects.digits_ridge(scale.ridge), scale.budget, scale.n_runs)
    write_rows(out / "power.csv", found)
    power_rises_with_retrainings.plot(found, out / "power.png")


def cost(scale: Scale, out: Path) -> None:
    """cost.csv, cost_slopes.csv and cost.png: retrainings against epsilon, N and R^2."""
    settings = cost_follows_the_residual.settings()
    if scale.n_runs == QUICK.n_runs:
        settings = [setting for setting in settings if setting.value in {0.1, 0.02, 100.0, 300.0, 0.9, 0.99}]
    found = [
        row
        for setting in settings
        for row in cost_follows_the_residual.rows(setting, scale.n_runs // 2, max(1, scale.crossfit_runs // 20))
    ]
    write_rows(out / "cost.csv", found)
    write_rows(out / "cost_slopes.csv", cost_follows_the_residual.slopes(found))
    cost_follows_the_residual.plot(found, out / "cost.png")


def relative(scale: Scale, out: Path) -> None:
    """relative.csv: a polynomial fitted to noise stability, against families."""
    games = fitted_polynomial_misses_its_level.subjects()
    found = [row for game in games for row in fitted_polynomial_misses_its_level.rows(game, scale.n_runs // 2)]
    write_rows(out / "relative.csv", found)


EXPERIMENTS: dict[str, Callable[[Scale, Path], None]] = {
    "coverage": coverage,
    "power": power,
    "cost": cost,
    "relative": relative,
}


def main(arguments: list[str] | None = None) -> None:
    """Run what was asked for and say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=EXPERIMENTS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--jobs", type=int, default=1)
    asked = parser.parse_args(arguments)
    out = asked.out or (Path(tempfile.mkdtemp(prefix="evidence-")) if asked.quick else RESULTS)
    for name in [asked.only] if asked.only else EXPERIMENTS:
        wall, cpu = time.perf_counter(), _cpu_s()
        EXPERIMENTS[name](replace(QUICK if asked.quick else FULL, jobs=asked.jobs), out)
        print(f"{name}: {time.perf_counter() - wall:.0f} s, {_cpu_s() - cpu:.0f} s of CPU; in {out}", flush=True)


def _cpu_s() -> float:
    """Of this process and those that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    main()
