"""Cross-fit proves a relative gap of 0.05 in a few thousand retrainings: finite-sample, for every bounded f (THEORY 5).

    python -m benchmarks.crossfit_proves_in_thousands [--runs 5]

The digits task with each target's range cut to its mean +- 3 standard deviations; everything retrained by the
verifier; across the mean of 200 targets, and one target at a time (the median of them).
"""

from __future__ import annotations

import argparse

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.digits_task import (
    digits_task,
    independent_outputs_of,
    least_squares_claim,
    outputs_of,
    seed_of,
    true_gaps,
)
from protocol.certificate.crossfit import Round, certify
from protocol.certificate.terms import Across
from protocol.claim import Claim
from protocol.sampling import Draw, pairs
from protocol.task import Task
from protocol.training import Trainer

PAIRS = (500, 1000, 1500, 2000, 3000)
DELTA = 0.05


def rounds_of(task: Task, trainer: Trainer, n_pairs: int, run: int) -> list[Round]:
    """Return rounds A and B of one run, all trained by the verifier."""
    found = []
    for name in ("A", "B"):
        seed = seed_of(f"crossfit {name} {n_pairs}", run)
        _, outputs = outputs_of(task, trainer, seed, n_pairs)
        draw = Draw(seed=seed, design=pairs(n_pairs))
        found.append(Round(draw=draw, outputs=outputs, trained=np.arange(n_pairs), n_false=0, tolerance=0.0))
    return found


def main() -> None:
    """Measure every number of pairs, for an honest claim and a halved one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    task, trainer = digits_task(width_in_sd=3.0)
    honest = least_squares_claim(task, *independent_outputs_of(task, trainer, seed_of("honest", 0), 12_000))
    halved = Claim(task_digest=task.digest, intercepts=honest.intercepts / 2, scores=honest.scores / 2)
    reference = outputs_of(task, trainer, seed_of("reference", 0), 10_000)
    gaps, variance = true_gaps(task, [honest, halved], *reference)
    table = Table(
        title=f"true relative gap: honest {(gaps[0] / variance).mean():.4f}, halved {(gaps[1] / variance).mean():.3f}"
    )
    columns = (
        "retrainings",
        "honest, mean of targets, at most",
        "worst run",
        "honest, one target",
        "halved, at least",
        "wrong",
    )
    for column in columns:
        table.add_column(column)
    for n_pairs in PAIRS:
        upper, each, lower, wrong = [], [], [], 0
        for run in track(range(runs), description=f"{n_pairs} pairs a round", transient=True):
            a, b = rounds_of(task, trainer, n_pairs, run)
            mean = certify(task, honest, a, b, delta=DELTA, across=Across.MEAN)
            one = certify(task, honest, a, b, delta=DELTA * task.n_targets, across=Across.EVERY)
            bad = certify(task, halved, a, b, delta=DELTA, across=Across.MEAN)
            upper.append(mean.upper_bound)
            each.append(float(np.median(one.upper)))
            lower.append(bad.lower_bound)
            wrong += int((one.upper < gaps[0] / variance).sum()) + (mean.upper_bound < (gaps[0] / variance).mean())
        row = (np.median(upper), max(upper), np.median(each), np.median(lower))
        table.add_row(f"{4 * n_pairs:,}", *(f"{value:.4f}" for value in row), str(wrong))
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
