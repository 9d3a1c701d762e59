"""Games made of others: added up, side by side, or repeated. They share units as they please."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from protocol.game.known.game import Known


class _Several:
    """Units and p are those of the first game; all agree."""

    games: tuple[Known, ...]

    @property
    def n_units(self) -> int:
        """N."""
        return self.games[0].n_units

    @property
    def p(self) -> float:
        """The probability with which a unit is in."""
        return self.games[0].p


@dataclass(frozen=True)
class Sum(_Several):
    """Games added up, each times its factor."""

    games: tuple[Known, ...]
    factors: tuple[float, ...]

    def outputs(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m t"]:
        """Return f, shape (m, T)."""
        parts = zip(self.factors, self.games, strict=True)
        return np.asarray(sum(factor * game.outputs(subsets) for factor, game in parts), dtype=np.float64)

    @property
    def best(self) -> Float64[np.ndarray, "t n"]:
        """The best weights are linear in the game."""
        return np.asarray(sum(factor * game.best for factor, game in zip(self.factors, self.games, strict=True)))

    @property
    def largest(self) -> float:
        """No more than all at once."""
        return float(sum(abs(factor) * game.largest for factor, game in zip(self.factors, self.games, strict=True)))


@dataclass(frozen=True)
class Stack(_Several):
    """Games side by side, one after the other's targets."""

    games: tuple[Known, ...]

    def outputs(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m t"]:
        """Return f, shape (m, T)."""
        return np.concatenate([game.outputs(subsets) for game in self.games], axis=1)

    @property
    def best(self) -> Float64[np.ndarray, "t n"]:
        """Game by game."""
        return np.concatenate([game.best for game in self.games])

    @property
    def largest(self) -> float:
        """Of the largest game."""
        return max(game.largest for game in self.games)


@dataclass(frozen=True)
class Repeated(_Several):
    """One target, T times."""

    game: Known
    n_targets: int

    @property
    def games(self) -> tuple[Known, ...]:  # type: ignore[override]
        """The one."""
        return (self.game,)

    def outputs(self, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m t"]:
        """Return f, shape (m, T)."""
        return np.repeat(self.game.outputs(subsets), self.n_targets, axis=1)

    @property
    def best(self) -> Float64[np.ndarray, "t n"]:
        """The one target's."""
        return np.repeat(self.game.best, self.n_targets, axis=0)

    @property
    def largest(self) -> float:
        """Of the game."""
        return self.game.largest
