"""Make the tables and plots of the evidence, all or one of them.

    python -m benchmarks.evidence [--quick] [--only coverage|power|cost|relative] [--sessions 40] [--jobs 1] [--out DIR]

--quick makes the same tables in a minute with few runs and small tasks: it shows that the programs run, and proves
nothing. Its files go to a folder of their own unless --out says otherwise.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.evidence import (
    cost_follows_the_residual,
    fitted_polynomial_misses_its_level,
    power_rises_with_retrainings,
    subjects,
)
from benchmarks.evidence.every_certificate_covers_the_gap import coverage
from benchmarks.evidence.scale import FULL, QUICK, Scale
from benchmarks.tables import RESULTS, write_rows


def power(scale: Scale, out: Path) -> None:
    """power.csv and power.png: acceptance against the true gap."""
    found = list(power_rises_with_retrainings.rows(subjects.like_digits(60), scale.n_sessions))
    found += power_rises_with_retrainings.rows(subjects.digits_ridge(scale.ridge), scale.n_sessions)
    write_rows(out / "power.csv", found)
    power_rises_with_retrainings.plot(found, out / "power.png")


def cost(scale: Scale, out: Path) -> None:
    """cost.csv, cost_slopes.csv and cost.png: retrainings against epsilon, N and R^2."""
    settings = cost_follows_the_residual.settings()
    if scale.is_quick:
        settings = [setting for setting in settings if setting.value in {0.05, 0.02, 0.01, 100.0, 0.9, 0.99}]
    found = [row for setting in settings for row in cost_follows_the_residual.rows(setting, scale.n_sessions // 2)]
    write_rows(out / "cost.csv", found)
    write_rows(out / "cost_slopes.csv", cost_follows_the_residual.slopes(found))
    cost_follows_the_residual.plot(found, out / "cost.png")


def relative(scale: Scale, out: Path) -> None:
    """relative.csv: a polynomial fitted to noise stability."""
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
    parser.add_argument("--sessions", type=int, help="sessions of a cell of the default certificate")
    parser.add_argument("--jobs", type=int, default=1)
    asked = parser.parse_args(arguments)
    out = asked.out or (Path(tempfile.mkdtemp(prefix="evidence-")) if asked.quick else RESULTS)
    scale = replace(QUICK if asked.quick else FULL, jobs=asked.jobs)
    if asked.sessions:
        scale = replace(scale, n_sessions=asked.sessions)
    for name in [asked.only] if asked.only else EXPERIMENTS:
        wall, cpu = time.perf_counter(), _cpu_s()
        EXPERIMENTS[name](scale, out)
        print(f"{name}: {time.perf_counter() - wall:.0f} s, {_cpu_s() - cpu:.0f} s of CPU; in {out}", flush=True)


def _cpu_s() -> float:
    """Of this process and those that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    main()
