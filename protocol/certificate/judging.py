"""From rounds to a certificate: what each method asks of the rounds, so that a session need not know.

A judge is given each round when it is answered and checked, and returns a certificate, or None
while its method needs another round first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from jaxtyping import Float64, Int64

from protocol.certificate import algorithm1, crossfit, families
from protocol.certificate.algorithm1 import Algorithm1Certificate
from protocol.certificate.crossfit import CrossfitCertificate, Round
from protocol.certificate.families import Checked, FamiliesCertificate
from protocol.certificate.readings import Readings, joined, read
from protocol.certificate.spot_check import SpotCheck
from protocol.certificate.terms import Method, Terms
from protocol.claim import Claim
from protocol.errors import ArgumentError
from protocol.sampling import Draw
from protocol.task import Task

Certificate: TypeAlias = FamiliesCertificate | CrossfitCertificate | Algorithm1Certificate


@dataclass(frozen=True, kw_only=True, eq=False)
class Answered:
    """One round, answered and checked.

    outputs : shape (m, T), in evaluation order; the verifier's own where it trained.
    trained : shape (k,), the evaluations that the verifier trained itself, ascending.
    spot_check : what they said of the others; None when the verifier trained all.
    """

    draw: Draw
    outputs: Float64[np.ndarray, "m t"]
    trained: Int64[np.ndarray, " k"]
    spot_check: SpotCheck | None


class Judge(Protocol):
    """One claim's judge, for one session."""

    def take(self, answered: Answered) -> Certificate | None:
        """Return the certificate that the rounds so far give, or None if another must come first."""
        ...


def judge_of(task: Task, claim: Claim, terms: Terms) -> Judge:
    """Return the judge of the terms' method."""
    match terms.method:
        case Method.FAMILIES:
            return _FamiliesJudge(task, claim, terms)
        case Method.CROSSFIT:
            return _CrossfitJudge(task, claim, terms)
        case Method.ALGORITHM1:
            return _Algorithm1Judge(task, claim, terms)


def check_rounds(task: Task, terms: Terms) -> None:
    """Raise :class:`ArgumentError` unless the method can judge what comes of these rounds, before they are paid for."""
    match terms.method:
        case Method.FAMILIES:
            families.check_design(terms.looks[0])
        case Method.CROSSFIT:
            fewest = min(look.n_families for look in terms.looks)
            if fewest < crossfit.MIN_PAIRS:
                raise ArgumentError(
                    f"crossfit: expected at least {crossfit.MIN_PAIRS} independent subsets a round, got {fewest}: "
                    "ask for more retrainings"
                )
        case Method.ALGORITHM1:
            algorithm1.check_enough(task, terms.looks, terms.n_checks, epsilon=terms.epsilon, delta=terms.delta)


def refusal(task: Task, claim: Claim, terms: Terms) -> str | None:
    """Return why the claim is rejected before any challenge is drawn, in one line, or None."""
    if terms.method is not Method.ALGORITHM1:
        return None
    return algorithm1.norm_excess(task, claim, terms.looks[-1], epsilon=terms.epsilon, delta=terms.delta)


class _FamiliesJudge:
    """A look at a time, families pooled, and what was checked of them."""

    def __init__(self, task: Task, claim: Claim, terms: Terms) -> None:
        self._task, self._claim, self._terms = task, claim, terms
        self._readings: list[Readings] = []
        self._checked: list[Checked] = []

    def take(self, answered: Answered) -> FamiliesCertificate:
        look = len(self._readings)
        self._readings.append(read(self._task, self._claim, answered.draw, answered.outputs))
        is_answered = self._terms.is_answered(look)
        if is_answered:
            self._checked.append(self._check(answered))
        return families.certify(
            joined(self._readings),
            delta=self._terms.delta_at(look),
            across=self._terms.across,
            tolerance=self._task.numerics.tolerance if is_answered else 0.0,
            checked=families.joined_checks(self._checked) if is_answered else None,
        )

    def _check(self, answered: Answered) -> Checked:
        subsets = answered.draw.subsets(self._task, answered.trained)
        check = answered.spot_check
        return Checked(
            outputs=answered.outputs[answered.trained],
            linear=(subsets - self._task.p) @ self._claim.scores.T,
            n_false=0 if check is None or check.most_false is None else check.most_false,
        )


class _CrossfitJudge:
    """Round B, which a prover may answer, then round A."""

    def __init__(self, task: Task, claim: Claim, terms: Terms) -> None:
        self._task, self._claim, self._terms = task, claim, terms
        self._rounds: list[Round] = []

    def take(self, answered: Answered) -> CrossfitCertificate | None:
        check = answered.spot_check
        self._rounds.append(
            Round(
                draw=answered.draw,
                outputs=answered.outputs,
                trained=np.unique(answered.trained // answered.draw.design.n_sides),
                n_false=0 if check is None or check.most_false is None else check.most_false,
                tolerance=0.0 if check is None else self._task.numerics.tolerance,
            )
        )
        if len(self._rounds) < len(self._terms.looks):
            return None
        b, a = self._rounds
        delta, across = self._terms.delta_at(1), self._terms.across
        return crossfit.certify(self._task, self._claim, a, b, delta=delta, across=across)


class _Algorithm1Judge:
    """Three answered rounds and one of fresh subsets."""

    def __init__(self, task: Task, claim: Claim, terms: Terms) -> None:
        self._task, self._claim, self._terms = task, claim, terms
        self._rounds: list[tuple[Draw, Float64[np.ndarray, "m t"]]] = []

    def take(self, answered: Answered) -> Algorithm1Certificate | None:
        self._rounds.append((answered.draw, answered.outputs))
        if len(self._rounds) < len(self._terms.looks):
            return None
        epsilon, delta = self._terms.epsilon, self._terms.delta
        return algorithm1.certify(self._task, self._claim, self._rounds, epsilon=epsilon, delta=delta)
