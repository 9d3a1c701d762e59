"""Rates with exact limits, and rows as CSV. Knows nothing of what is measured."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from scipy import special

RESULTS = Path(__file__).parents[1] / "results"
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How often something happened, and the exact limits of its probability."""

    hits: int
    runs: int

    @property
    def value(self) -> float:
        """Hits a run."""
        return self.hits / self.runs

    @property
    def limits(self) -> tuple[float, float]:
        """Clopper and Pearson's two-sided limits at LEVEL."""
        k, n, tail = self.hits, self.runs, (1 - LEVEL) / 2
        low = 0.0 if k == 0 else float(special.betaincinv(k, n - k + 1, tail))
        high = 1.0 if k == n else float(special.betaincinv(k + 1, n - k, 1 - tail))
        return low, high

    def __str__(self) -> str:
        """In percent, as "99.2% (97.8 to 99.9)"."""
        low, high = self.limits
        return f"{100 * self.value:.1f}% ({100 * low:.1f} to {100 * high:.1f})"


def write_rows(path: Path, rows: Sequence[Any]) -> None:
    """Write dataclass rows of one type as CSV, floats to four significant digits, None as nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(rows[0])])
        for row in rows:
            writer.writerow([_cell(value) for value in asdict(row).values()])


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
