"""Effective degrees of freedom hold their level: where B sqrt(nu) covers, and where B nu does not (THEORY 3).

    python -m benchmarks.effective_degrees_hold_their_level [--runs 4000]

Family means of T targets are drawn Gaussian with a given spectrum; each rule's upper bound on their mean square is
compared with the truth. Spectra range from one direction (all targets lie together) to twenty equal ones; the hard
ones are one heavy direction over a long tail, which is what a claim that favours some units looks like.
"""

from __future__ import annotations

import argparse

import numpy as np
from rich.console import Console
from rich.table import Table

from protocol.certificate import bounds
from protocol.certificate.families import effective_rank

FAMILIES = (4, 6, 8, 10, 15, 25, 50)
DELTAS = (0.01, 0.05, 0.2)


def spectra() -> dict[str, np.ndarray]:
    """Eigenvalues that sum to 1."""
    found = {"one direction": np.ones(1), "two equal": np.full(2, 0.5), "twenty equal": np.full(20, 0.05)}
    for heavy in (0.95, 0.85, 0.7, 0.5, 0.3):
        found[f"{heavy} and a tail"] = np.r_[heavy, np.full(200, (1 - heavy) / 200)]
    geometric = 0.7 ** np.arange(30)
    return {**found, "geometric 0.7": geometric / geometric.sum()}


def coverage(eigenvalues: np.ndarray, n_families: int, runs: int, rng: np.random.Generator) -> np.ndarray:
    """Return coverage by rule (B, B sqrt nu, B nu) and delta; shape (3, 3)."""
    covered = np.zeros((3, len(DELTAS)))
    for _ in range(runs):
        means = rng.standard_normal((n_families, len(eigenvalues))) * np.sqrt(eigenvalues)
        mean_square, nu = float((means**2).sum()) / n_families, effective_rank(means)
        for rule, degrees in enumerate((n_families, n_families * nu**0.5, n_families * nu)):
            for column, delta in enumerate(DELTAS):
                covered[rule, column] += mean_square * degrees / bounds.chi2_quantile(delta, degrees) >= 1
    return covered / runs


def main() -> None:
    """Measure every spectrum and number of families."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=4000)
    runs = parser.parse_args().runs
    rng = np.random.default_rng(0)
    table = Table(title=f"coverage less 1 - delta, in points ({runs} runs; negative: the bound fails too often)")
    for column in ("spectrum", "B", *(f"{rule}, {delta:g}" for rule in ("B", "B sqrt nu", "B nu") for delta in DELTAS)):
        table.add_column(column)
    for name, eigenvalues in spectra().items():
        for n_families in FAMILIES:
            excess = 100 * (coverage(eigenvalues, n_families, runs, rng) - (1 - np.array(DELTAS)))
            table.add_row(name, str(n_families), *(f"{value:+.1f}" for value in excess.ravel()))
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
