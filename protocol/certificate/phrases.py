"""How certificates put numbers into words; every method reports through these."""

from __future__ import annotations

import math

from protocol.certificate.terms import Across
from protocol.game import Game


def number(value: float) -> str:
    """Return four digits of a number."""
    return f"{float(value):.4g}"


def percent(value: float) -> str:
    """Return a share in percent."""
    return f"{100 * float(value):.3g}%"


def sure(delta: float) -> str:
    """Return a confidence in words."""
    return f"{100 * (1 - delta):.4g}% sure"


def over(across: Across, row: int, game: Game) -> str:
    """Return what a row is about."""
    if game.n_targets == 1:
        return "the one target"
    if across is Across.EVERY:
        return f"target {row}, the worst upper bound"
    return f"{game.n_targets} targets, {across.value}"


def finite(value: float) -> float | None:
    """Return the number, or None where a report has no word for it."""
    return float(value) if math.isfinite(value) else None
