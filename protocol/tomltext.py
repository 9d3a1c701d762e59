"""What the sections of a task file share: types that a key may have, and how values are written.

Knows no key by name. A value is written so that TOML reads the same one back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_WHOLE = 2**63
_LINE = 110


class Section(BaseModel):
    """A table of a task file: every key there and of its very type, none besides."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


# A field's description is what its error says was expected.
Text = Annotated[str, Field(description="text in quotes")]
Whole = Annotated[int, Field(description="a whole number from 0 to 2^63 - 1", ge=0, lt=MAX_WHOLE)]
Number = Annotated[float, Field(description="a number")]


def string(text: str) -> str:
    """Return ``text`` in quotes."""
    # TOML's basic strings are JSON's, but for U+007F and for characters beyond U+FFFF, which JSON writes as two.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def boolean(value: bool) -> str:
    """Return ``true`` or ``false``."""
    return "true" if value else "false"


def number(value: float) -> str:
    """Return the shortest decimal that reads back as the same float64."""
    return repr(float(value))


def array(items: Iterable[str]) -> str:
    """Return a list of written items, wrapped where it is long."""
    lines, line = [], ""
    for item in items:
        if line and len(line) + len(item) > _LINE:
            lines.append(line)
            line = ""
        line += f"{item}, "
    if not lines:
        return f"[{line.removesuffix(', ')}]"
    return "[\n" + "".join(f"    {full.rstrip()}\n" for full in [*lines, line]) + "]"
