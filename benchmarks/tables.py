"""Rates with exact limits, and rows as CSV. Knows nothing of what is measured."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from scipy import special

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RESULTS = Path(__file__).parent / "results"
LEVEL = 0.95

RowT = TypeVar("RowT", bound="DataclassInstance")


def limits(hits: int, runs: int, level: float = LEVEL) -> tuple[float, float]:
    """Return Clopper and Pearson's two-sided limits of a probability."""
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else float(special.betaincinv(hits, runs - hits + 1, tail))
    high = 1.0 if hits == runs else float(special.betaincinv(hits + 1, runs - hits, 1 - tail))
    return low, high


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
        """At LEVEL."""
        return limits(self.hits, self.runs)

    def __str__(self) -> str:
        """In percent, as "99.2% (97.8 to 99.9)"."""
        low, high = self.limits
        return f"{100 * self.value:.1f}% ({100 * low:.1f} to {100 * high:.1f})"


def write_rows(path: Path, rows: Sequence[Any]) -> None:
    """Write dataclass rows of one type as CSV, floats to five significant digits, None as nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(rows[0])])
        for row in rows:
            writer.writerow([_cell(value) for value in asdict(row).values()])


def read_rows(path: Path, kind: type[RowT]) -> list[RowT]:
    """Return the rows that :func:`write_rows` wrote, of text, numbers and truths; none where there is no file."""
    if not path.exists():
        return []
    parsers: dict[str, Callable[[str], object]] = {"str": str, "int": int, "float": float, "bool": "True".__eq__}
    parse = {field.name: parsers[str(field.type)] for field in fields(kind)}
    with path.open(newline="") as file:
        return [kind(**{name: parse[name](text) for name, text in line.items()}) for line in csv.DictReader(file)]


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value)
