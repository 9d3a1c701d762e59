"""Cost does not grow with N: the same bound from the same retrainings at 1,000, 10,000 and 100,000 units.

    python -m benchmarks.cost_does_not_grow_with_units [--runs 100]

A synthetic game whose answer is known (degrees one to three, the digits task's weights), one target; a claim of
relative gap 0.0055. Whole sessions of the default certificate. What does grow with N is deriving subsets and their
products with the claim: the session's own processor time, in which the game's outputs are not counted.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, Int64
from rich.console import Console
from rich.table import Table

from benchmarks.sessions import Subject, of_known, play, rate_of
from benchmarks.tables import Rate
from protocol.claim import Claim, Figures
from protocol.game.known import Polynomial
from protocol.session.messages import Outcome
from verifier.verification import Asked

GAP = 0.0055
REST = 0.009
UNITS = (1000, 10_000, 100_000)


@dataclass(frozen=True, kw_only=True)
class Size:
    """What sessions about a game of one size came to; bound and retrainings are medians, seconds a session's mean."""

    n_units: int
    bound: float
    covered: Rate
    accepted: Rate
    retrainings: float
    seconds: float


class _Clocked:
    """A game's outputs, and the processor seconds that they took."""

    def __init__(self, subject: Subject) -> None:
        self._subject, self.seconds = subject, 0.0

    def __call__(self, subsets: Bool[np.ndarray, "m n"], seeds: Int64[np.ndarray, " m"]) -> Float64[np.ndarray, "m t"]:
        start = time.process_time()
        outputs = self._subject.outputs(subsets, seeds)
        self.seconds += time.process_time() - start
        return outputs


def subject_of(n_units: int) -> Subject:
    """Return the game and a claim that is off by GAP in a random direction, with true figures."""
    game = Polynomial(n_units=n_units, w1=1 - 0.051 - REST, w2=0.051, w3=REST)
    figures = Figures(relative_gap=GAP, odd_residual=GAP + REST, r2=1 - 0.051 - REST - GAP, n_retrainings=10_000)
    subject = of_known(f"{n_units:,} units", game, figures=figures)
    direction = np.random.default_rng(0).standard_normal(game.best.shape)
    direction *= 2 * np.sqrt(GAP) / np.linalg.norm(direction)
    claim = subject.claim
    off = Claim(task_digest=claim.task_digest, intercepts=claim.intercepts, scores=claim.scores + direction)
    return replace(subject, claim=off)


def measure(n_units: int, runs: int) -> Size:
    """Return what ``runs`` sessions came to."""
    subject = subject_of(n_units)
    clocked, start = _Clocked(subject), time.process_time()
    met = [play(replace(subject, outputs=clocked), Asked(), seed) for seed in range(runs)]
    seconds = time.process_time() - start - clocked.seconds
    return Size(
        n_units=n_units, bound=float(np.median([each.upper for each in met])),
        covered=Rate(hits=sum(each.upper >= GAP for each in met), runs=runs), accepted=rate_of(met, Outcome.ACCEPT),
        retrainings=float(np.median([each.n_retrained for each in met])), seconds=seconds / runs,
    )  # fmt: skip


def main() -> None:
    """Measure three sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    runs = parser.parse_args().runs
    table = Table(title=f"moments, own: true relative gap {GAP}, epsilon = delta = .05, {runs} sessions")
    for column in (
        "units",
        "retrainings",
        "median bound",
        "bound above the gap",
        "accepted",
        "session, CPU s",
        "claim, MB",
    ):
        table.add_column(column)
    for size in (measure(n_units, runs) for n_units in UNITS):
        table.add_row(
            f"{size.n_units:,}", f"{size.retrainings:.0f}", f"{size.bound:.4f}", str(size.covered), str(size.accepted),
            f"{size.seconds:.2f}", f"{8 * size.n_units / 1e6:g}",
        )  # fmt: skip
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
