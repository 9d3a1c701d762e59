"""The claim: what the prover says each unit is worth.

For each target an intercept and N scores: the weights of a datamodel on 0/1 inclusion
(THEORY 1). A claim's own figures are used for planning only; a lie there costs time, never
soundness. Committing to a claim is ``protocol.commitments``' business.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from protocol.encoding import Digest, canonical, checked_digest
from protocol.errors import MalformedMessage

MAX_MAGNITUDE = 1e50
"""Largest score taken: (this * 10^7 units / sd f of 10^-6)^4 is finite.

Certificates square mean squares; one that overflowed would leave NaN for a bound.
"""

MOST_RETRAININGS = 2**32 - 1
"""As many as the wire holds."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What the prover says of its own claim, for planning only.

    relative_gap : mean over targets of gap / Var f; at least 0.
    odd_residual : mean over targets of E[odd residual^2] / Var f; at least 0. For p other than
        1/2, of the whole residual.
    r2 : mean over targets of the share of Var f that the claim explains; at most 1.
    n_retrainings : how many trainings the claim was fitted to.
    """

    relative_gap: float
    odd_residual: float
    r2: float
    n_retrainings: int

    def __post_init__(self) -> None:
        for name in ("relative_gap", "odd_residual", "r2"):
            value = getattr(self, name)
            if not math.isfinite(value):
                raise MalformedMessage(f"claim figures: expected a finite {name}, got {value}")
        if self.relative_gap < 0 or self.odd_residual < 0 or self.r2 > 1:
            raise MalformedMessage("claim figures: expected gap and residual of at least 0 and R^2 of at most 1")
        if not 0 <= self.n_retrainings <= MOST_RETRAININGS:
            raise MalformedMessage(f"claim figures: expected 0 to {MOST_RETRAININGS} retrainings")


@dataclass(frozen=True, kw_only=True, eq=False)
class Claim:
    """Scores of every unit for every target.

    intercepts : shape (T,), in the target's unit.
    scores : shape (T, N), in the target's unit per inclusion.
    """

    task_digest: Digest
    intercepts: Float64[np.ndarray, " t"]
    scores: Float64[np.ndarray, "t n"]

    def __post_init__(self) -> None:
        checked_digest(self.task_digest, "claim's task digest")
        if self.scores.ndim != 2 or self.intercepts.shape != self.scores.shape[:1]:
            shapes = f"{self.scores.shape} and {self.intercepts.shape}"
            raise MalformedMessage(f"claim: expected scores (T, N) and intercepts (T,), got {shapes}")
        for name, array in (("intercepts", self.intercepts), ("scores", self.scores)):
            if not bool((np.abs(array) <= MAX_MAGNITUDE).all()):  # also false for NaN
                raise MalformedMessage(f"claim: expected finite {name} of at most {MAX_MAGNITUDE:g}, got others")
            array.setflags(write=False)

    @property
    def n_targets(self) -> int:
        """T."""
        return int(self.scores.shape[0])

    @property
    def n_units(self) -> int:
        """N."""
        return int(self.scores.shape[1])

    def leaves(self) -> Iterator[bytes]:
        """Yield the T leaves that the claim's Merkle root covers (proto/SPEC.md, section 4)."""
        for t in range(self.n_targets):
            yield canonical(["claim leaf", self.task_digest, t, float(self.intercepts[t]), self.scores[t]])
