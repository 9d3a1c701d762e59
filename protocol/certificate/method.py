"""What a certificate's method must offer, so that nothing else needs to know which method it is.

A method is one folder with its bound, its planner, its judge and what it reports, and one line in
``protocol.certificate.registry``. The session asks a judge what each round says; the verifier's
shell asks the planner what to draw; reports print the parts that a certificate hands over.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from jaxtyping import Float64, Int64

from protocol.certificate.planning import Budget, Plan, Seen
from protocol.certificate.spot_check import SpotCheck
from protocol.certificate.terms import Across, Answers, Rounds, Terms
from protocol.claim import Claim, Figures
from protocol.errors import ArgumentError
from protocol.game import Game, Measure
from protocol.game.sampling import Design, Draw

Part: TypeAlias = tuple[str, str, str]
"""What it is, its value, what it holds under."""

Value: TypeAlias = float | int | str | bool | list[int] | None
"""What a certificate says under one key of a report; a number that is infinite or unknown is None."""


class Certificate(Protocol):
    """A bound on the gap, with every part that makes it up."""

    @property
    def upper_bound(self) -> float:
        """With probability 1 - delta the gap is at most this; infinite where nothing is known."""
        ...

    @property
    def lower_bound(self) -> float:
        """With probability 1 - delta the gap is at least this."""
        ...

    @property
    def undecided(self) -> str | None:
        """Why the upper bound is infinite and what to do, in one line; None where it is finite."""
        ...

    def parts(self, game: Game) -> list[Part]:
        """Return the parts by name, the bounds first, for a person to read."""
        ...

    def values(self) -> dict[str, Value]:
        """Return the method's own parts under stable keys, for a program to read."""
        ...

    def notes(self) -> list[str]:
        """Return lines that whoever reads the verdict should know, beside it."""
        ...


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
        """Return the certificate that the rounds so far give, or None if another round must come first."""
        ...

    def replan(self, rounds: Rounds) -> None:
        """Take over the rounds not yet drawn."""
        ...

    def seen(self) -> Seen | None:
        """Return what the verifier's own pilot says of the claim, once there is one, for planning the next rounds."""
        ...


class Method(ABC):
    """One certificate. Where a method does not say otherwise: one way of answering, and nothing assumed."""

    name: str
    """As the user types it."""

    statement = "relative gap"
    """What is bounded, in the words of a verdict's reason."""

    answers: tuple[Answers, ...] = (Answers.OWN,)
    """Who may train."""

    across: tuple[Across, ...] = tuple(Across)
    """What a verdict may say of many targets."""

    weighs_units = True
    """Whether its rounds say what each unit is worth, so that payouts can be held against them."""

    takes_looks = False
    """Whether the user may choose how often it looks."""

    @abstractmethod
    def assumption(self, terms: Terms) -> str:
        """Return what the verdict assumes, to stand in parentheses behind the method's name; "" for nothing."""

    @abstractmethod
    def check_rounds(self, game: Game, terms: Terms, rounds: Rounds) -> None:
        """Raise :class:`ArgumentError` unless the method can judge what comes of these rounds."""

    @abstractmethod
    def judge(self, game: Game, claim: Claim, terms: Terms, rounds: Rounds) -> Judge:
        """Return the judge of one claim."""

    @abstractmethod
    def plan(
        self, game: Game, claim: Claim | None, figures: Figures | None, terms: Terms, budget: Budget, seen: Seen | None
    ) -> Plan:
        """Return the cheapest rounds expected to accept a claim as good as its figures say.

        ``claim`` and ``figures`` come from the prover and serve expectation only. ``seen`` is the verifier's own
        pilot, None before it is in; the plan then keeps the pilot's round as its first.

        Raises
        ------
        BudgetError
            The budget does not reach the least that the method can use; the message says what would.
        """

    def check_terms(self, game: Game, terms: Terms) -> None:
        """Raise :class:`ArgumentError` unless these terms can be asked about ``game``."""
        if terms.answers not in self.answers:
            offered = " or ".join(answers.value for answers in self.answers)
            raise ArgumentError(f"answers: {self.name} works with {offered} answers, got {terms.answers.value}")
        if terms.across not in self.across:
            offered = " or ".join(across.value for across in self.across)
            raise ArgumentError(f"across: {self.name} works across {offered}, got {terms.across.value}")
        if (terms.kurtosis is None) != (self.kurtosis_of(terms.answers, game.measure) is None):
            raise ArgumentError(
                f"kurtosis: {self.name} {'needs a' if terms.kurtosis is None else 'assumes no'} bound on it"
            )

    def kurtosis_of(self, answers: Answers, measure: Measure) -> float | None:
        """Return K unless the user states one; None for a method that assumes none."""
        return None

    def is_answered(self, terms: Terms, round_: int) -> bool:
        """Whether the prover answers this round; else the verifier trains all of it."""
        return terms.answers is Answers.DELEGATED

    def check_size(self, design: Design) -> int:
        """Return how many evaluations are rechecked together."""
        return 1

    def check_delta(self, terms: Terms, rounds: Rounds) -> float:
        """Return the probability with which more answers of a round may be false than its clean checks say."""
        return terms.delta

    def replans_after(self, game: Game, round_: int) -> bool:
        """Whether the rounds that follow this one are chosen anew in the light of it."""
        return False

    def refusal(self, game: Game, claim: Claim, terms: Terms, rounds: Rounds) -> str | None:
        """Return why the claim is rejected before any challenge is drawn, in one line, or None."""
        return None

    def describe(self, terms: Terms) -> str:
        """Return the words of a verdict: certificate, assumption, who answered."""
        assumed = self.assumption(terms)
        return f"{self.name}{f' ({assumed})' if assumed else ''}, {terms.answers.value}"
