"""Exact limits of rates, and rows as CSV, for benchmarks that simulate. Refuses to know what is measured."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from scipy import special

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

CONFIDENCE = 0.99


def limits(missed: int, runs: int) -> tuple[float, float]:
    """Return Clopper and Pearson's limits."""
    tail = (1 - CONFIDENCE) / 2
    low = 0.0 if missed == 0 else float(special.betaincinv(missed, runs - missed + 1, tail))
    high = 1.0 if missed == runs else float(special.betaincinv(missed + 1, runs - missed, 1 - tail))
    return low, high


def write_csv(rows: Sequence[DataclassInstance], path: Path) -> None:
    """Write rows of one dataclass, numbers to five digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(rows[0])])
        writer.writerows([[f"{v:.5g}" if isinstance(v, float) else v for v in astuple(row)] for row in rows])


RowT = TypeVar("RowT", bound="DataclassInstance")


def read_csv(kind: type[RowT], path: Path) -> list[RowT]:
    """Return the rows that :func:`write_csv` wrote; none where there is no file."""
    if not path.exists():
        return []
    parsers: dict[str, Callable[[str], object]] = {"str": str, "int": int, "float": float, "bool": "True".__eq__}
    parse = {field.name: parsers[str(field.type)] for field in fields(kind)}
    with path.open(newline="") as file:
        return [kind(**{name: parse[name](text) for name, text in line.items()}) for line in csv.DictReader(file)]
