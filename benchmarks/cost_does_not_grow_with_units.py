"""Cost does not grow with N: the same bound from the same retrainings at 1,000, 10,000 and 100,000 units.

    python -m benchmarks.cost_does_not_grow_with_units [--runs 100]

A synthetic game of which the answer is known (degrees one to three, the digits task's weights), one target; a claim of
relative gap 0.0055. What does grow with N is deriving subsets and multiplying them with the claim: milliseconds a run.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.digits_task import seed_of
from protocol.certificate.families import certify
from protocol.certificate.readings import read
from protocol.certificate.terms import Across
from protocol.claim import Claim
from protocol.sampling import Draw, families
from tests.games import Polynomial, task_of

GAP = 0.0055


def measure(n_units: int, runs: int) -> tuple[float, float, float, float]:
    """Return the median bound, coverage, the share accepted at 0.05, and the verifier's own seconds a run."""
    game, task = Polynomial(n_units=n_units, w1=0.94, w2=0.051, w3=0.009), task_of(n_units)
    direction = np.random.default_rng(0).standard_normal(game.best.shape)
    direction *= 2 * np.sqrt(GAP) / np.linalg.norm(direction)
    claim = Claim(task_digest=task.digest, intercepts=np.zeros(1), scores=game.best + direction)
    design = families(n_families=50, n_siblings=2, rho=0.5, complements=True)
    evaluations = np.arange(design.n_evaluations, dtype=np.int64)
    bounds, seconds = [], 0.0
    for run in range(runs):
        draw = Draw(seed=seed_of(f"N {n_units}", run), design=design)
        outputs = game.outputs(draw.subsets(task, evaluations))
        start = time.perf_counter()
        certificate = certify(read(task, claim, draw, outputs), delta=0.05, across=Across.MEAN)
        seconds += time.perf_counter() - start
        bounds.append(certificate.upper_bound)
    found = np.array(bounds)
    return float(np.median(found)), float((found >= GAP).mean()), float((found <= 0.05).mean()), seconds / runs


def main() -> None:
    """Measure three sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    runs = parser.parse_args().runs
    table = Table(title=f"200 retrainings, true relative gap {GAP}, {runs} runs")
    for column in ("units", "median bound", "coverage", "accepted at 0.05", "certificate, s a run", "claim, MB"):
        table.add_column(column)
    for n_units in (1000, 10_000, 100_000):
        bound, coverage, accepted, seconds = measure(n_units, runs)
        row = (f"{bound:.4f}", f"{coverage:.2f}", f"{accepted:.2f}", f"{seconds:.3f}", f"{8 * n_units / 1e6:g}")
        table.add_row(f"{n_units:,}", *row)
    Console().print(table)


if __name__ == "__main__":
    main()
