"""Families hold their level: coverage, false accepts and power on the digits task (THEORY 10).

    python -m benchmarks.families_hold_their_level [--runs 300] [--json benchmarks/results/families.json]

Every run is a fresh challenge, retrained; all claims are judged on the same challenges. Coverage is the share of runs
in which the upper bound is at or above the true relative gap, itself measured on 20,000 independent pairs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.digits_task import (
    N_UNITS,
    digits_task,
    independent_outputs_of,
    least_squares_claim,
    outputs_of,
    seed_of,
    true_gaps,
)
from protocol.certificate.families import certify
from protocol.certificate.readings import read
from protocol.certificate.terms import Across
from protocol.claim import Claim
from protocol.sampling import Design, Draw, families
from protocol.task import Task
from protocol.training import Trainer

EPSILON, DELTA = 0.05, 0.05
DESIGNS = [
    (4, 2, 0.7),
    (6, 2, 0.7),
    (8, 2, 0.7),
    (10, 2, 0.7),
    (12, 2, 0.7),
    (15, 2, 0.7),
    (25, 2, 0.5),
    (50, 2, 0.5),
    (25, 8, 0.3),
]


def claims_of(task: Task, trainer: Trainer, gaps_at: tuple[np.ndarray, np.ndarray]) -> dict[str, Claim]:
    """The honest claim, and dishonest ones made from it whose gap is near epsilon, or far above."""
    subsets, outputs = independent_outputs_of(task, trainer, seed_of("honest", 0), 12_000)
    honest = least_squares_claim(task, subsets, outputs)
    (gap,), variance = true_gaps(task, [honest], *gaps_at)
    rng = np.random.default_rng(1)
    missing = np.sqrt(np.maximum(0.0505 * variance - gap, 0.0))[:, None]  # what a direction must add, as sd of g

    def moved(direction: np.ndarray) -> Claim:
        unit = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
        return _claim(task, honest, honest.scores + 2 * missing * unit)

    favoured = np.zeros(N_UNITS)
    favoured[:100] = 1.0
    spike = np.zeros(N_UNITS)
    spike[17] = 1.0
    return {
        "honest": honest,
        "halved": _claim(task, honest, honest.scores / 2),
        "random direction": moved(rng.standard_normal((task.n_targets, N_UNITS))),
        "100 units favoured": moved(favoured),
        "one unit": moved(spike),
    }


def _claim(task: Task, honest: Claim, scores: np.ndarray) -> Claim:
    intercepts = honest.intercepts + (honest.scores.sum(axis=1) - scores.sum(axis=1)) / 2
    return Claim(task_digest=task.digest, intercepts=intercepts, scores=scores)


def run_design(
    task: Task, trainer: Trainer, claims: dict[str, Claim], design: Design, runs: int
) -> dict[str, dict[str, np.ndarray]]:
    """Return, per claim, upper and lower bounds of every run: per target at delta each, across the mean, and every."""
    found: dict[str, dict[str, list[np.ndarray]]] = {
        name: {k: [] for k in ("upper", "lower", "mean_upper", "mean_lower", "every_upper")} for name in claims
    }
    evaluations = np.arange(design.n_evaluations, dtype=np.int64)
    for run in track(range(runs), description=f"B={design.n_families} s={design.n_siblings}", transient=True):
        draw = Draw(seed=seed_of(f"challenge {design}", run), design=design)
        subsets = draw.subsets(task, evaluations)
        outputs = trainer.outputs(subsets, draw.training_seeds(task, evaluations)).values
        for name, claim in claims.items():
            readings = read(task, claim, draw, outputs)
            # Across.EVERY at delta * T spends delta on each target: the table of THEORY 10 is per target.
            each = certify(readings, delta=DELTA * task.n_targets, across=Across.EVERY)
            mean = certify(readings, delta=DELTA, across=Across.MEAN)
            every = certify(readings, delta=DELTA, across=Across.EVERY)
            for key, value in (
                ("upper", each.upper), ("lower", each.lower), ("mean_upper", mean.upper), ("mean_lower", mean.lower),
                ("every_upper", np.array([every.upper_bound])),
            ):  # fmt: skip
                found[name][key].append(value)
    return {name: {k: np.array(v) for k, v in bounds.items()} for name, bounds in found.items()}


def summary(bounds: dict[str, np.ndarray], relative_gap: np.ndarray) -> dict[str, float]:
    """Rates over runs and targets, and over runs for the mean."""
    mean_gap = relative_gap.mean()
    at_least = relative_gap >= EPSILON
    accepted = bounds["upper"] <= EPSILON
    return {
        "gap": float(mean_gap),
        "bound": float(np.median(bounds["upper"])),
        "coverage": float((bounds["upper"] >= relative_gap).mean()),
        "worst_target_coverage": float((bounds["upper"] >= relative_gap).mean(axis=0).min()),
        "accepted": float(accepted.mean()),
        "accepted_of_gap_eps": float(accepted[:, at_least].mean()) if at_least.any() else float("nan"),
        "lower_coverage": float((bounds["lower"] <= relative_gap).mean()),
        "mean_bound": float(np.median(bounds["mean_upper"])),
        "mean_lower": float(np.median(bounds["mean_lower"])),
        "mean_coverage": float((bounds["mean_upper"] >= mean_gap).mean()),
        "mean_accepted": float((bounds["mean_upper"] <= EPSILON).mean()),
        "mean_rejected": float((bounds["mean_lower"] > EPSILON).mean()),
        "every_bound": float(np.median(bounds["every_upper"])),
        "every_accepted": float((bounds["every_upper"] <= EPSILON).mean()),
    }


def main() -> None:
    """Measure every design and print a table each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    console = Console(width=230)
    task, trainer = digits_task()
    reference = outputs_of(task, trainer, seed_of("reference", 0), 20_000)
    claims = claims_of(task, trainer, reference)
    gaps, variance = true_gaps(task, list(claims.values()), *reference)
    rows = []
    for n_families, n_siblings, rho in DESIGNS:
        design = families(n_families=n_families, n_siblings=n_siblings, rho=rho, complements=True)
        bounds = run_design(task, trainer, claims, design, arguments.runs)
        table = Table(
            title=f"B={n_families} s={n_siblings} rho={rho}: {design.n_evaluations} retrainings, {arguments.runs} runs"
        )
        for (name, claim_bounds), gap in zip(bounds.items(), gaps, strict=True):
            row = summary(claim_bounds, gap / variance)
            rows.append({"B": n_families, "s": n_siblings, "rho": rho, "runs": arguments.runs, "claim": name, **row})
            if not table.columns:
                for column in ("claim", *row):
                    table.add_column(column.replace("_", " "))
            table.add_row(name, *(f"{value:.3g}" for value in row.values()))
        console.print(table)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
