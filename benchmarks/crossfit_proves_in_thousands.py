"""Cross-fit proves a relative gap of 0.05 in a few thousand retrainings: finite-sample, for every bounded f (THEORY 5).

    python -m benchmarks.crossfit_proves_in_thousands [--runs 5]

The digits task with each target's range cut to its mean +- 3 standard deviations; across the mean of 200 targets, and
one target at a time at delta (the median of them). First everything retrained by the verifier; then round B answered by
a prover, where pairs are what the verifier retrains: round A and what it rechecks of B. Nobody lies, but as many false
answers as the checks leave possible are priced in.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

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
from protocol.certificate import spot_check
from protocol.certificate.crossfit.bound import CHECK_SHARE, certify
from protocol.certificate.crossfit.rounds import Round
from protocol.certificate.terms import Across
from protocol.claim import Claim
from protocol.game.sampling import Draw, choose, pairs
from protocol.task import Task
from protocol.training import Trainer

PAIRS = (250, 500, 750, 1000, 1500, 3000)
ANSWERED = 10_000
OWN = ((450, 300), (600, 400), (900, 600))
"""Pairs in round A, and pairs of B rechecked."""
DELTA = 0.05
COLUMNS = ("honest, mean, at most", "worst run", "honest, one target", "halved, at least", "wrong")


def round_of(task: Task, trainer: Trainer, name: str, n_pairs: int, run: int) -> Round:
    """Return one round, all of it trained by the verifier."""
    seed = seed_of(f"crossfit {name} {n_pairs}", run)
    _, outputs = outputs_of(task, trainer, seed, n_pairs)
    draw = Draw(seed=seed, design=pairs(n_pairs))
    return Round(draw=draw, outputs=outputs, trained=np.arange(n_pairs), n_false=0, tolerance=0.0)


def rechecked(task: Task, answers: Round, n_checks: int, run: int) -> Round:
    """Return the same round as a prover's answers, of which the verifier rechecked some pairs."""
    trained = choose(seed_of(f"crossfit checks {n_checks}", run), answers.n_pairs, n_checks)
    n_false = spot_check.most_false(answers.n_pairs, n_checks, DELTA * CHECK_SHARE)
    return replace(answers, trained=trained, n_false=n_false, tolerance=task.tolerance)


class Measured:
    """The certificates of several runs with one plan."""

    def __init__(self, truth: np.ndarray) -> None:
        self.truth, self.wrong = truth, 0
        self.upper: list[float] = []
        self.each: list[float] = []
        self.lower: list[float] = []

    def take(self, task: Task, claims: tuple[Claim, Claim], a: Round, b: Round, delta: float) -> None:
        """Certify both claims across the mean, and every target of the honest one at ``delta`` each."""
        honest, halved = claims
        mean = certify(task, honest, a, b, delta=delta, across=Across.MEAN)
        one = certify(task, honest, a, b, delta=delta * task.n_targets, across=Across.EVERY)
        bad = certify(task, halved, a, b, delta=delta, across=Across.MEAN)
        self.upper.append(mean.upper_bound)
        self.each.append(float(np.median(one.upper)))
        self.lower.append(bad.lower_bound)
        self.wrong += int((one.upper < self.truth).sum()) + (mean.upper_bound < self.truth.mean())

    @property
    def cells(self) -> list[str]:
        """The row's figures."""
        row = (np.median(self.upper), max(self.upper), np.median(self.each), np.median(self.lower))
        return [*(f"{value:.4f}" for value in row), str(self.wrong)]


def main() -> None:
    """Measure every number of pairs, for an honest claim and a halved one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    task, trainer = digits_task(width_in_sd=3.0)
    honest = least_squares_claim(task, *independent_outputs_of(task, trainer, seed_of("honest", 0), 12_000))
    claims = (honest, Claim(task_digest=task.digest, intercepts=honest.intercepts / 2, scores=honest.scores / 2))
    reference = outputs_of(task, trainer, seed_of("reference", 0), 10_000)
    gaps, variance = true_gaps(task, list(claims), *reference)
    truth, halved = gaps[0] / variance, float((gaps[1] / variance).mean())
    console = Console(width=130)
    console.print(f"true relative gap: honest {truth.mean():.4f}, halved {halved:.3f}")
    table = Table("retrainings", *COLUMNS, title="all retrained by the verifier")
    for n_pairs in PAIRS:
        measured = Measured(truth)
        for run in track(range(runs), description=f"{n_pairs} pairs a round", transient=True):
            a, b = (round_of(task, trainer, name, n_pairs, run) for name in ("A", "B"))
            measured.take(task, claims, a, b, DELTA)
        table.add_row(f"{4 * n_pairs:,}", *measured.cells)
    console.print(table)
    table = Table("pairs here", "A + rechecked", *COLUMNS, title=f"{ANSWERED:,} pairs answered by a prover")
    answers = [round_of(task, trainer, "answered", ANSWERED, run) for run in range(runs)]
    for own, checks in OWN:
        measured = Measured(truth)
        for run in track(range(runs), description=f"{own} + {checks} pairs", transient=True):
            a = round_of(task, trainer, "A", own, run)
            b = rechecked(task, answers[run], checks, run)
            measured.take(task, claims, a, b, DELTA * (1 - CHECK_SHARE))
        table.add_row(f"{own + checks:,}", f"{own} + {checks}", *measured.cells)
    console.print(table)


if __name__ == "__main__":
    main()
