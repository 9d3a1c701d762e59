"""What a verification will cost here, by every certificate that can be asked, and how likely an honest claim passes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich.console import Console

from protocol.certificate.lower_bounds import least_possible
from protocol.certificate.method import Method
from protocol.certificate.planning import Outlook, Plan
from protocol.certificate.registry import method_named
from protocol.certificate.terms import Terms
from protocol.claim import Figures
from protocol.game import SeedPolicy
from protocol.task import Task
from verifier.report.text import Json, finite, number, percent, table_of

_READABLE = 10_000_000  # beyond it a count is shown by its first two digits


_LEGEND = (
    "here: retrainings on this machine, on average for such a claim; at most: where only the last look decides; "
    "prover: trainings asked of the prover; accepts: probability that such a claim is accepted; least: the number that "
    "every method with the same assumption needs on independent subsets"
)


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a plan costs here.

    seconds_each : one retraining, timed; None when it was not. figures : the prover's; None for our guess.
    """

    task: Task
    seconds_each: float | None
    figures: Figures | None

    @property
    def figures_from(self) -> str:
        """Whose word the forecast rests on."""
        return "a guess" if self.figures is None else "the prover"

    @property
    def expectation(self) -> str:
        """What the forecast takes the claim to be."""
        outlook = Outlook.of(self.figures)
        said = f"relative gap {number(outlook.relative_gap)}, residual {number(outlook.residual)} of Var f"
        return f"{said} ({'a guess: no claim was read' if self.figures is None else 'the prover says so'})"

    def seconds(self, trainings: float) -> float | None:
        """Return how long so many trainings take here, or None."""
        return None if self.seconds_each is None else self.seconds_each * trainings

    @property
    def claim_bytes(self) -> int:
        """Size of the claim's numbers."""
        return 8 * self.task.n_targets * (self.task.n_units + 1)

    def answers_bytes(self, plan: Plan) -> int:
        """Return the size of the prover's answers."""
        return 8 * self.task.n_targets * plan.n_answered[1]


@dataclass(frozen=True, kw_only=True)
class Option:
    """One certificate that could be asked: its terms and its plan, or why there is none."""

    terms: Terms
    plan: Plan | None
    why_not: str = ""

    @property
    def name(self) -> str:
        """The words of its verdict."""
        return method_named(self.terms.method).describe(self.terms)


def option_json(option: Option, costs: Costs) -> dict[str, Json]:
    """Return one row of ``plan --json``; its keys are listed at the head of this package."""
    terms, plan = option.terms, option.plan
    said: dict[str, Json] = {
        "certificate": terms.method,
        "assumption": method_named(terms.method).assumption(terms),
        "answers": terms.answers.value,
        "across": terms.across.value,
        "epsilon": terms.epsilon,
        "delta": terms.delta,
        "kurtosis": terms.kurtosis,
        "why_not": option.why_not or None,
        "figures_from": costs.figures_from,
        "claim_bytes": costs.claim_bytes,
        "seconds_per_retraining": finite(costs.seconds_each),
        "lower_bound": _least(terms, costs),
    }
    if plan is None:
        return said
    return said | {
        "n_retrained": list(plan.n_retrained),
        "n_answered": list(plan.n_answered),
        "expected_retrained": plan.expected_retrained,
        "expected_answered": plan.expected_answered,
        "n_checks": plan.rounds.n_checks,
        "n_rounds": len(plan.rounds.looks),
        "expected_bound": finite(plan.last.median_bound),
        "power": [plan.first.power, plan.last.power],
        "sufficient": plan.sufficient,
        "seconds": finite(costs.seconds(plan.expected_retrained)),
        "answers_bytes": costs.answers_bytes(plan),
        "summary": plan.summary,
    }


def plans_json(options: list[Option], costs: Costs) -> dict[str, Json]:
    """Return the object of ``plan --json``."""
    return {"plans": [option_json(option, costs) for option in options]}


def print_plans(options: list[Option], costs: Costs, console: Console) -> None:
    """Print one line a certificate: what it takes on average and at most, and how likely an honest claim passes."""
    table = table_of("certificate", "answers", "here", "at most", "prover", "time", "accepts", "least")
    for option in options:
        table.add_row(option.terms.method, option.terms.answers.value, *_cells(option, costs))
    console.print(table)
    for option in options:
        console.print(f"{option.name}: {_said(option)}", soft_wrap=True)
    terms = options[0].terms
    asked = (
        f"asked for: {terms.across.value} relative gap at most {terms.epsilon:g}; a wrong ACCEPT has probability "
        f"{terms.delta:g} at most (algorithm1: epsilon is a share of the squared half range)"
    )
    expected, size = f"expected of the claim: {costs.expectation}", f"the claim takes {costs.claim_bytes:,} bytes"
    for line in (asked, expected, _LEGEND, size):
        console.print(line, soft_wrap=True)


def _said(option: Option) -> str:
    if option.plan is None:
        return option.why_not
    enough = "" if option.plan.sufficient else "; this budget does not accept such a claim reliably"
    return option.plan.summary + enough


def _least(terms: Terms, costs: Costs) -> int | None:
    """Return the fewest retrainings of any method with this assumption; None where none is known.

    The bounds are about independent subsets and a relative gap, and assume no more of the residual than its kurtosis
    (``lower_bounds``). Seed noise is what figures leave of the residual where every training has a seed of its own.
    """
    method = method_named(terms.method)
    others_assumed = bool(method.assumption(terms)) and terms.kurtosis is None
    if terms.delta >= 1 / 2 or others_assumed or method.statement != Method.statement:
        return None
    outlook = Outlook.of(costs.figures)
    noisy = costs.task.seed_policy is SeedPolicy.PER_SUBSET
    noise = max(outlook.residual - outlook.relative_gap, 0.0) if noisy else 0.0
    return least_possible(terms.epsilon, terms.delta, noise, kurtosis=terms.kurtosis or math.inf)


def _cells(option: Option, costs: Costs) -> list[str]:
    plan, least = option.plan, _least(option.terms, costs)
    shown = "-" if least is None else _count(least)
    if plan is None:
        return ["-", "-", "-", "-", "-", shown]
    seconds = costs.seconds(plan.expected_retrained)
    return [
        _count(round(plan.expected_retrained)),
        _count(plan.n_retrained[1]),
        _count(plan.n_answered[1]) if plan.n_answered[1] else "-",
        "-" if seconds is None else f"{seconds:.1f} s",
        percent(plan.last.power),
        shown,
    ]


def _count(n: int) -> str:
    return f"{n:,}" if n < _READABLE else f"{n:.2g}"
