"""How a number, a foreign text and a table are shown."""

from __future__ import annotations

import json
import math
import unicodedata
from pathlib import Path
from typing import TypeAlias

from rich import box
from rich.table import Table
from rich.text import Text

from protocol.session.messages import Outcome
from protocol.wire.fields import one_line

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None

STYLE = {Outcome.ACCEPT: "bold green", Outcome.REJECT: "bold red", Outcome.INCONCLUSIVE: "bold yellow"}


def json_text(value: Json) -> str:
    """Return the one JSON object that goes to stdout."""
    return json.dumps(value, indent=2, allow_nan=False)


def visible(text: str) -> str:
    """Return TOML text with every control or formatting character but the line's end as its escape."""
    hidden = {c for c in set(text) if unicodedata.category(c) in ("Cc", "Cf") and c != "\n"}
    return "".join(f"\\U{ord(c):08x}" if c in hidden else c for c in text)


def plain(text: str) -> Text:
    """Return ``text`` as it is to be shown: one line, no markup, no control characters."""
    return Text(one_line(text))


def table_of(*columns: str) -> Table:
    """Return an empty table: the first column and a last one of words to the left, numbers to the right.

    A cell that is too long for the terminal goes on in the next line; nothing is cut off.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for i, column in enumerate(columns):
        words = i == 0 or i == len(columns) - 1 > 1
        table.add_column(column, justify="left" if words else "right", overflow="fold")
    return table


def number(value: float) -> str:
    """Return four digits of a number."""
    return f"{float(value):.4g}"


def percent(value: float) -> str:
    """Return a share in percent."""
    return f"{100 * float(value):.3g}%"


def finite(value: float | None) -> float | None:
    """Return the number, or None where JSON has no word for it."""
    return float(value) if value is not None and math.isfinite(value) else None


def path_text(path: Path | None) -> str | None:
    """Return the path as text, or None where there is none."""
    return None if path is None else str(path)
