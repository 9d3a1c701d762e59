"""What a verifier asks for, and the rounds by which it finds out.

Terms are the user's wish: how close, how sure, over which targets, by which certificate and whose
trainings. They are fixed before the session starts and owe nothing to the prover. A rounds is
chosen after the claim is in and checked: which subsets are drawn, round by round, and how many
answers are rechecked. The transcript records both, because a verdict means nothing without them.

What a method makes of terms and rounds is its own business (``protocol.certificate.registry``).
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from protocol.encoding import Digest, digest
from protocol.errors import ArgumentError
from protocol.game.sampling import Design

MAX_LOOKS = 64
"""A challenge's round is from 0 to 63."""

MAX_KURTOSIS = 1e6
"""Larger bounds on kurtosis would need more retrainings than a challenge may hold."""

LEAST = 1e-50
"""Smaller epsilon and delta would need more retrainings than any challenge holds, and their squares would underflow."""


class Across(enum.Enum):
    """What one verdict over T targets says (THEORY 3).

    pooled  the summed gap is at most epsilon times the summed variance, each target weighted by its own scale
    mean    the relative gap, averaged over targets, is at most epsilon
    every   each target's relative gap is at most epsilon, all at once
    """

    POOLED = "pooled"
    MEAN = "mean"
    EVERY = "every"


class Answers(enum.Enum):
    """Who trains on the subsets that are drawn (THEORY 4).

    own        the verifier trains on every subset itself
    delegated  a prover answers, and the verifier trains on some of the subsets to check it
    """

    OWN = "own"
    DELEGATED = "delegated"


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What the verifier asks for.

    epsilon : largest relative gap to accept, above 0 and below 1; of algorithm1 (whose one target's
        variance it cannot know) as a share of the squared half range.
    delta : probability of a wrong ACCEPT allowed, over everything, strictly between 0 and 1.
    method : the certificate's name, one of the registry's.
    kurtosis : K, the assumption of methods that assume one; None where the method assumes none.
    """

    epsilon: float
    delta: float
    across: Across
    answers: Answers
    method: str
    kurtosis: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.epsilon) and 0 < self.epsilon < 1):
            raise ArgumentError(f"epsilon: expected a relative gap above 0 and below 1, got {self.epsilon}")
        if not 0 < self.delta < 1:
            raise ArgumentError(f"delta: expected a probability strictly between 0 and 1, got {self.delta}")
        for name in ("epsilon", "delta"):
            if getattr(self, name) < LEAST:
                raise ArgumentError(f"{name}: expected at least {LEAST:g}, got {getattr(self, name)}")
        if self.kurtosis is not None and not 1 <= self.kurtosis <= MAX_KURTOSIS:
            raise ArgumentError(f"kurtosis: expected a bound from 1 to {MAX_KURTOSIS:g}, got {self.kurtosis}")

    @property
    def digest(self) -> Digest:
        """Names the terms in the transcript."""
        kurtosis = None if self.kurtosis is None else float(self.kurtosis)
        return digest(
            "terms", float(self.epsilon), float(self.delta), self.across.value, self.answers.value, self.method,
            kurtosis,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """The rounds of a session, chosen once the claim is in; a later choice may replace the rounds not yet drawn.

    looks : the rounds' designs, in order.
    n_checks : how many of each answered round's answers are rechecked; 0 where the verifier trains everything.
    """

    looks: tuple[Design, ...]
    n_checks: int = 0

    def __post_init__(self) -> None:
        if not 1 <= len(self.looks) <= MAX_LOOKS:
            raise ArgumentError(f"looks: expected 1 to {MAX_LOOKS} designs, got {len(self.looks)}")
        if self.n_checks < 0:
            raise ArgumentError(f"n_checks: expected at least 0, got {self.n_checks}")

    @property
    def digest(self) -> Digest:
        """Names the rounds in the transcript."""
        return digest("rounds", [look.fields for look in self.looks], self.n_checks)
