"""A game: a function on subsets of N units with T outputs, and all that a certificate may know of it.

What the function *is* stays with whoever computes it: a task trains a recipe on the subset, a game
of closed form evaluates a formula. Session, sampling and certificates see only what is here, so
they serve every game alike.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float64

from protocol.encoding import Digest, digest
from protocol.errors import ArgumentError
from protocol.game.measure import Measure

MAX_UNITS = 10_000_000
MAX_TARGETS = 100_000
MAX_SEED = 2**63
LARGEST = 1e50
"""No bound of a range is larger in size, nor is a range narrower than its inverse: their fourth powers stay finite."""

RANGES = f"of size at most {LARGEST:g} and at least {1 / LARGEST:g} apart"


def is_range(lo: Float64[np.ndarray, " t"], hi: Float64[np.ndarray, " t"]) -> Bool[np.ndarray, " t"]:
    """Whether outputs can be clipped into [lo, hi], target by target."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray((np.maximum(np.abs(lo), np.abs(hi)) <= LARGEST) & (hi - lo >= 1 / LARGEST))


class SeedPolicy(enum.Enum):
    """Whether all subsets share one seed, or each evaluation has its own (THEORY 1)."""

    SHARED = "shared"
    PER_SUBSET = "per-subset"


class Game(Protocol):
    """What both parties agree on, whatever the function; a ``Task`` is one, and so is a :class:`Statement`.

    digest : names the function, its units, ranges and measure; two games with one digest are one game.
    n_units : N, what is left in or out. n_targets : T.
    lo, hi : shape (T,); every output is clipped into [lo, hi], and the clipped function is what is attributed.
    measure : the law of random subsets.
    seed_policy, seed : which seed an evaluation gets; ``seed`` is 0 unless it is shared.
    tolerance : by how much two honest evaluations may differ, in the targets' unit.
    """

    @property
    def digest(self) -> Digest: ...

    @property
    def n_units(self) -> int: ...

    @property
    def n_targets(self) -> int: ...

    @property
    def lo(self) -> Float64[np.ndarray, " t"]: ...

    @property
    def hi(self) -> Float64[np.ndarray, " t"]: ...

    @property
    def width(self) -> Float64[np.ndarray, " t"]: ...

    @property
    def measure(self) -> Measure: ...

    @property
    def seed_policy(self) -> SeedPolicy: ...

    @property
    def seed(self) -> int: ...

    @property
    def tolerance(self) -> float: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Statement:
    """A game that needs no data: named by ``name``, which must say all that its outputs depend on.

    See :class:`Game` for the fields. ``n_units`` may be 1, which no task allows.
    """

    name: str
    n_units: int
    lo: Float64[np.ndarray, " t"]
    hi: Float64[np.ndarray, " t"]
    measure: Measure
    seed_policy: SeedPolicy = SeedPolicy.SHARED
    seed: int = 0
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.n_units <= MAX_UNITS:
            raise ArgumentError(f"game: expected 1 to {MAX_UNITS} units, got {self.n_units}")
        if not 0 < self.measure.p_16 < 1 << 16:
            raise ArgumentError(f"game: expected p strictly between 0 and 1, got {self.measure.p}")
        if self.lo.shape != self.hi.shape or not 1 <= self.lo.size <= MAX_TARGETS:
            raise ArgumentError(f"game: expected one range per target, got {self.lo.size} and {self.hi.size} bounds")
        if not is_range(self.lo, self.hi).all():
            raise ArgumentError(f"game: expected lo < hi for every target, {RANGES}")
        if not 0 <= self.seed < MAX_SEED or (self.seed_policy is SeedPolicy.PER_SUBSET and self.seed != 0):
            raise ArgumentError(
                f"game: expected a seed from 0 to 2^63 - 1, 0 where each subset has its own: {self.seed}"
            )
        if not 0 <= self.tolerance <= LARGEST:
            raise ArgumentError(f"game: expected a tolerance from 0 to {LARGEST:g}, got {self.tolerance}")

    @property
    def n_targets(self) -> int:
        """T."""
        return int(self.lo.size)

    @property
    def width(self) -> Float64[np.ndarray, " t"]:
        """hi - lo, shape (T,), in the target's unit."""
        return np.asarray(self.hi - self.lo)

    @property
    def digest(self) -> Digest:
        """Names the game; covers every field."""
        return digest(
            "game", self.name, self.n_units, self.lo, self.hi, self.measure.p_16, self.seed_policy.value, self.seed,
            float(self.tolerance),
        )  # fmt: skip
