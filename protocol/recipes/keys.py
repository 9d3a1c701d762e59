"""How a recipe, a profile and a task refuse a value: naming its key in the task file."""

from __future__ import annotations

import math

from protocol.errors import TaskFileError


def require(holds: bool, key: str, expected: str, got: object) -> None:
    """Raise :class:`TaskFileError` naming the task file's ``key`` unless ``holds``."""
    if not holds:
        raise TaskFileError(f"{key}: expected {expected}, got {got}")


def require_positive(key: str, value: float) -> None:
    """Raise :class:`TaskFileError` naming ``key`` unless ``value`` is finite and above 0."""
    require(math.isfinite(value) and value > 0, key, "a number above 0", value)
