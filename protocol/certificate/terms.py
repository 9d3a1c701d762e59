"""What a verifier asks for: how close, how sure, over which targets, at what cost.

Terms are the verifier's alone. The prover never needs them, and the transcript records them,
because a verdict means nothing without them.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from protocol.encoding import Digest, digest
from protocol.errors import ArgumentError
from protocol.sampling import Design

MAX_LOOKS = 64
"""A challenge's round is from 0 to 63."""


class Across(enum.Enum):
    """What one verdict over T targets says (THEORY 3).

    mean   the relative gap, averaged over targets, is at most epsilon
    every  each target's relative gap is, all at once
    """

    MEAN = "mean"
    EVERY = "every"


class Assurance(enum.Enum):
    """What a verdict rests on (THEORY 4).

    PROVED   every subset retrained by the verifier; one asymptotic step, a family's residuals
             taken as Gaussian
    AUDITED  subsets answered by the prover, some retrained: conditional on the unchecked
             answers being right
    """

    PROVED = "proved"
    AUDITED = "audited"


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What the verifier asks for.

    epsilon : largest relative gap to accept, above 0 and below 1.
    delta : probability of a wrong ACCEPT allowed, over all looks, strictly between 0 and 1.
    looks : one design a look, all with the same siblings and correlation; a later look adds
        its families to those before, and is taken only when they were inconclusive.
    n_checks : answers to recheck in each look (audited), 0 when everything is retrained (proved).
    """

    epsilon: float
    delta: float
    across: Across
    assurance: Assurance
    looks: tuple[Design, ...]
    n_checks: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.epsilon) and 0 < self.epsilon < 1):
            raise ArgumentError(f"epsilon: expected a relative gap above 0 and below 1, got {self.epsilon}")
        if not 0 < self.delta < 1:
            raise ArgumentError(f"delta: expected a probability strictly between 0 and 1, got {self.delta}")
        if not self.looks:
            raise ArgumentError("looks: expected at least one design, got none")
        if len(self.looks) > MAX_LOOKS:
            raise ArgumentError(f"looks: expected at most {MAX_LOOKS} designs, got {len(self.looks)}")
        first = self.looks[0]
        for look in self.looks:
            if (look.n_siblings, look.keep_16, look.complements) != (
                first.n_siblings,
                first.keep_16,
                first.complements,
            ):
                raise ArgumentError("looks: expected the same siblings, correlation and sides in every look")
        if self.assurance is Assurance.PROVED and self.n_checks != 0:
            raise ArgumentError(f"n_checks: expected 0 when every subset is retrained, got {self.n_checks}")
        if self.assurance is Assurance.AUDITED:
            fewest = min(look.n_evaluations for look in self.looks)
            if not 1 <= self.n_checks <= fewest:
                raise ArgumentError(f"n_checks: expected 1 to {fewest} of each look's answers, got {self.n_checks}")

    def delta_at(self, look: int) -> float:
        """Return the share of delta that look ``look`` (from 0) may spend: delta/2^(look+1), the last the rest."""
        last = len(self.looks) - 1
        return float(self.delta / 2 ** min(look + 1, last))

    @property
    def digest(self) -> Digest:
        looks = [[d.n_families, d.n_siblings, d.keep_16, d.complements] for d in self.looks]
        fields = (float(self.epsilon), float(self.delta), self.across.value, self.assurance.value, looks, self.n_checks)
        return digest("terms", *fields)
