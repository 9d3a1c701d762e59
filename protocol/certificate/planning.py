"""What every planner is given and what it returns.

A plan is an expectation, never a promise about the verdict's level: what it rests on comes partly
from the prover (figures) and may be false, which makes the plan too small or too large and changes
nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.certificate.terms import Rounds
from protocol.claim import Figures
from protocol.errors import ArgumentError

SPREAD = 0.5
"""Standard deviation over targets of the logarithm of a claim's error, of which figures give the mean.

Measured: 0.6 on digits, whose worst of 200 targets errs 3.1 times the mean (0.5 has it at 3.5); 0.3 on breast cancer.
"""

GAUSSIAN_SD = 2.0**0.5
"""Standard deviation of a squared Gaussian over its mean."""

_LIKELY_SD = 1.3  # nine pilots in ten are within so many standard deviations
_LARGEST = 1e30  # of a residual, as a share of Var f; scores are the prover's, and no plan reaches so far
_LEAST_KEPT = 0.45  # ten squared Gaussians are seldom less than this share of their mean

POWER = 0.9
"""Probability with which a claim as good as its figures is to be accepted."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What may be spent.

    max_retrainings : most trainings that the verifier does, over all rounds. max_answers : most asked of the prover.
    n_checks : answers rechecked in each answered round; None lets the planner choose.
    n_looks : most looks of a method that looks a fixed number of times; None for the method's own choice.
    max_served : most trainings that the prover's server answers in one session; None where it does not say.
    goes_on : whether the session may go on after its verdict, for payouts; then a method that can looks again and again
        until the budget is spent.
    """

    max_retrainings: int
    max_answers: int = 10_000
    n_checks: int | None = None
    n_looks: int | None = None
    max_served: int | None = None
    goes_on: bool = False

    def __post_init__(self) -> None:
        for name in ("max_retrainings", "max_answers"):
            if getattr(self, name) < 1:
                raise ArgumentError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.n_checks is not None and self.n_checks < 1:
            raise ArgumentError(f"n_checks: expected at least 1, got {self.n_checks}")
        if self.n_looks is not None and self.n_looks < 1:
            raise ArgumentError(f"looks: expected at least 1, got {self.n_looks}")

    @property
    def answers(self) -> int:
        """Most trainings that can be asked of the prover."""
        return self.max_answers if self.max_served is None else min(self.max_answers, self.max_served)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a pilot of the verifier's own says of claim and game, over all targets, as shares of Var f.

    residual : odd residual's mean square, seed noise included. noise : the seed noise in it.
    explained : the claim's own variance, exact but for Var f. odd : what odd parts have of Var f, noise included.
    residual_sd, output_sd : of one family's squared residual, and squared odd output, over their means.
    n_subsets : independent subsets of the pilot.
    """

    n_subsets: int
    residual: float
    noise: float
    explained: float
    odd: float
    residual_sd: float
    output_sd: float


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What is expected of a claim; see ``claim.Figures`` for the first three numbers.

    rank : effective rank of the residuals over targets, from 1 (all err together, the least power) to T. Figures do not
        say it, so what is planned from them is planned for 1.
    spread : standard deviation over targets of the logarithm of gap and residual; matters across every only.
    noise : share of Var f that is seed noise and part of the residual; 0 where it is unknown or absent.
    odd : share of Var f in the odd parts of outputs. residual_sd, output_sd : see :class:`Seen`; Gaussian unless seen.
    """

    relative_gap: float
    residual: float
    r2: float
    rank: float = 1.0
    spread: float = SPREAD
    noise: float = 0.0
    odd: float = 1.0
    residual_sd: float = GAUSSIAN_SD
    output_sd: float = GAUSSIAN_SD

    @staticmethod
    def of(figures: Figures | None, seen: Seen | None = None) -> Outlook:
        """Return the outlook that figures and a pilot give, kept within what is possible; a guess without figures."""
        gap, residual, r2 = (0.01, 0.05, 0.9) if figures is None else _within(figures)
        if seen is None:
            return Outlook(relative_gap=gap, residual=residual, r2=r2)
        # What was said counts within what a pilot of so few subsets leaves open.
        doubt = _LIKELY_SD * seen.residual_sd / seen.n_subsets**0.5
        low, high = seen.residual / (1 + doubt), seen.residual / max(1 - doubt, _LEAST_KEPT)
        residual = max(seen.residual if figures is None else min(max(residual, low), high), 1e-9)
        residual = min(residual, _LARGEST)
        return Outlook(
            relative_gap=min(gap, residual),
            residual=residual,
            r2=min(seen.explained, 1.0),
            noise=min(seen.noise, residual),
            odd=min(seen.odd, 1.0),
            residual_sd=seen.residual_sd,
            output_sd=seen.output_sd,
        )


def _within(figures: Figures) -> tuple[float, float, float]:
    gap = min(figures.relative_gap, 1.0)
    return gap, min(max(figures.odd_residual, gap, 1e-9), 2.0), max(figures.r2, 0.0)


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a rounds is expected to give, for a claim as good as its outlook.

    median_bound : of the upper bound on the gap; across every, of the largest.
    power : probability that the claim is accepted.
    """

    median_bound: float
    power: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A rounds and what it is expected to cost and to give.

    first, last : forecasts at the first look that may accept, and with every look taken.
    n_retrained : (by the first such look, by the last) trainings done by the verifier.
    n_answered : the same, asked of the prover.
    expected_retrained, expected_answered : on average, if the claim is as good as the outlook says.
    sufficient : whether the last look's power reaches POWER.
    summary : the rounds in one line.
    """

    rounds: Rounds
    first: Forecast
    last: Forecast
    n_retrained: tuple[int, int]
    n_answered: tuple[int, int]
    expected_retrained: float
    expected_answered: float
    sufficient: bool
    summary: str
