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
from protocol.task import Task

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


class Method(enum.Enum):
    """Which certificate bounds the gap.

    FAMILIES    rho-correlated families (THEORY 2): few retrainings, one asymptotic step
    CROSSFIT    two rounds of independent pairs (THEORY 5), the second the verifier's own: finite-sample, lies priced in
    ALGORITHM1  the paper's own protocol (THEORY 6), for comparison
    """

    FAMILIES = "families"
    CROSSFIT = "crossfit"
    ALGORITHM1 = "algorithm1"


FAMILIES_P = (0.3, 0.7)
"""Outside, a claim wrong on one unit that is rarely in, or out, is anything but Gaussian (THEORY 2.8)."""

_N_ROUNDS = {Method.CROSSFIT: 2, Method.ALGORITHM1: 4}
_OWN_ROUND = {Method.CROSSFIT: 1, Method.ALGORITHM1: 3}  # which the verifier trains whatever the assurance
CHECK_SHARE = 0.1  # of delta, spent on what clean checks leave possible where the certificate prices it in


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What the verifier asks for.

    epsilon : largest relative gap to accept, above 0 and below 1; of algorithm1 (whose one target's
        variance it cannot know) as a share of the squared half range.
    delta : probability of a wrong ACCEPT allowed, over everything, strictly between 0 and 1.
    looks : the rounds' designs. Of families, one design a look, all with the same siblings and
        correlation; a later look adds its families to those before, and is taken only when they
        were inconclusive. Of crossfit, rounds B and A. Of algorithm1, its four rounds.
    n_checks : answers to recheck in each answered round (audited), 0 when everything is
        retrained (proved). Of crossfit, whole pairs.
    """

    epsilon: float
    delta: float
    across: Across
    assurance: Assurance
    looks: tuple[Design, ...]
    n_checks: int
    method: Method = Method.FAMILIES

    def __post_init__(self) -> None:
        if not (math.isfinite(self.epsilon) and 0 < self.epsilon < 1):
            raise ArgumentError(f"epsilon: expected a relative gap above 0 and below 1, got {self.epsilon}")
        if not 0 < self.delta < 1:
            raise ArgumentError(f"delta: expected a probability strictly between 0 and 1, got {self.delta}")
        if not self.looks:
            raise ArgumentError("looks: expected at least one design, got none")
        if len(self.looks) > MAX_LOOKS:
            raise ArgumentError(f"looks: expected at most {MAX_LOOKS} designs, got {len(self.looks)}")
        self._check_designs()
        if self.assurance is Assurance.PROVED and self.n_checks != 0:
            raise ArgumentError(f"n_checks: expected 0 when every subset is retrained, got {self.n_checks}")
        if self.assurance is Assurance.AUDITED:
            answered = [look for i, look in enumerate(self.looks) if self.is_answered(i)]
            fewest = min(look.n_evaluations // self.check_size(look) for look in answered)
            if not 1 <= self.n_checks <= fewest:
                raise ArgumentError(f"n_checks: expected 1 to {fewest} of each look's answers, got {self.n_checks}")

    def _check_designs(self) -> None:
        n_rounds = _N_ROUNDS.get(self.method)
        if n_rounds is not None and len(self.looks) != n_rounds:
            raise ArgumentError(f"looks: expected {n_rounds} rounds of {self.method.value}, got {len(self.looks)}")
        kinds = [(look.n_siblings, look.keep_16, look.complements) for look in self.looks]
        if self.method is Method.FAMILIES and len(set(kinds)) > 1:
            raise ArgumentError("looks: expected the same siblings, correlation and sides in every look")
        if self.method is Method.CROSSFIT and any(siblings != 1 for siblings, _, _ in kinds):
            raise ArgumentError("looks: expected rounds of independent subsets, got siblings")
        if self.method is Method.ALGORITHM1:
            if self.assurance is not Assurance.AUDITED:
                raise ArgumentError("assurance: expected audited for algorithm1, whose prover answers")
            if [siblings for siblings, _, _ in kinds] != [2, 2, 2, 1] or any(sides for _, _, sides in kinds):
                raise ArgumentError("looks: expected three rounds of pairs and one of fresh subsets, no complements")

    def check_fits(self, task: Task) -> None:
        """Raise :class:`ArgumentError` unless these terms can be asked about ``task``."""
        for look in self.looks:
            look.check_fits(task)
            if self.method is not Method.ALGORITHM1 and look.complements != task.has_complements:
                raise ArgumentError(f"looks: expected complements exactly when p = 1/2, got p = {task.p}")
        if self.method is Method.FAMILIES and not FAMILIES_P[0] <= task.p <= FAMILIES_P[1]:
            raise ArgumentError(
                f"families: expected p from {FAMILIES_P[0]} to {FAMILIES_P[1]}, where its level holds, got {task.p:g}: "
                "use the crossfit certificate"
            )
        if self.method is Method.ALGORITHM1 and task.n_targets != 1:
            raise ArgumentError(f"algorithm1: expected a task of one target, got {task.n_targets}: average them")

    def is_answered(self, round_: int) -> bool:
        """Whether the prover answers this round; else the verifier trains all of it."""
        return self.assurance is Assurance.AUDITED and _OWN_ROUND.get(self.method) != round_

    def check_size(self, design: Design) -> int:
        """Evaluations rechecked together: a whole pair for crossfit, else one."""
        return design.n_sides if self.method is Method.CROSSFIT else 1

    def delta_at(self, look: int) -> float:
        """Return what the bound may spend of delta at look ``look`` (from 0).

        Of families delta/2^(look+1), the last the rest. Of the others all, less what the checks
        spend where the bound prices false answers in.
        """
        if self.method is Method.FAMILIES:
            last = len(self.looks) - 1
            return float(self.delta / 2 ** min(look + 1, last))
        priced = self.method is Method.CROSSFIT and self.assurance is Assurance.AUDITED
        return self.delta * (1 - CHECK_SHARE) if priced else self.delta

    def check_delta_at(self, look: int) -> float:
        """Return the probability with which more answers of this round may be false than its clean checks say."""
        if self.method is Method.CROSSFIT:
            return self.delta * CHECK_SHARE
        if self.method is Method.ALGORITHM1:
            return self.delta / 12
        return self.delta_at(look)

    @property
    def digest(self) -> Digest:
        looks = [[d.n_families, d.n_siblings, d.keep_16, d.complements] for d in self.looks]
        return digest(
            "terms", float(self.epsilon), float(self.delta), self.across.value, self.assurance.value, looks,
            self.n_checks, self.method.value,
        )  # fmt: skip
