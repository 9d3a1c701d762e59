"""What a verification will cost here, and how likely it is to accept an honest claim."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from protocol.certificate import algorithm1, crossfit_plan
from protocol.certificate.plan import Outlook, Plan
from protocol.certificate.terms import Assurance, Method, Terms
from protocol.claim import Claim, Figures
from protocol.task import Task
from verifier.report.text import Json, finite, number, percent, table_of

_CROSSFIT_LIMIT = 1_000_000
_READABLE = 10_000_000  # beyond it a count is shown by its two first digits


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a plan costs here.

    seconds_each : one retraining, timed; None when it was not. figures : the prover's; None for our guess.
    claim : what it is about, unchecked; None where none was read.
    """

    task: Task
    seconds_each: float | None
    figures: Figures | None
    claim: Claim | None = None

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

    def seconds(self, plan: Plan) -> float | None:
        """Return how long the verifier's first look takes, or None."""
        return None if self.seconds_each is None else self.seconds_each * plan.n_retrained[0]

    def prover_seconds(self, plan: Plan) -> float | None:
        """Return how long the prover's first look would take on this machine, or None; its own is not known here."""
        return None if self.seconds_each is None else self.seconds_each * plan.n_answered[0]

    @property
    def claim_bytes(self) -> int:
        return 8 * self.task.n_targets * (self.task.n_units + 1)

    def answers_bytes(self, plan: Plan) -> int:
        """Return the size of the prover's answers to the first look."""
        return 8 * self.task.n_targets * plan.n_answered[0]


def plan_json(plan: Plan, costs: Costs) -> dict[str, Json]:
    """Return one row of ``plan --json``; its keys are listed at the head of this file."""
    terms, design = plan.terms, plan.terms.looks[0]
    return {
        "assurance": terms.assurance.value,
        "across": terms.across.value,
        "epsilon": terms.epsilon,
        "delta": terms.delta,
        "n_families": design.n_families,
        "n_siblings": design.n_siblings,
        "rho": design.rho,
        "n_looks": len(terms.looks),
        "n_retrained": list(plan.n_retrained),
        "n_answered": list(plan.n_answered),
        "expected_retrained": plan.expected_retrained,
        "expected_answered": plan.expected_answered,
        "n_checks": terms.n_checks,
        "expected_bound": finite(plan.first.median_bound),
        "power": [plan.first.power, plan.last.power],
        "sufficient": plan.sufficient,
        "seconds_per_retraining": finite(costs.seconds_each),
        "seconds": finite(costs.seconds(plan)),
        "prover_seconds": finite(costs.prover_seconds(plan)),
        "claim_bytes": costs.claim_bytes,
        "answers_bytes": costs.answers_bytes(plan),
        "figures_from": costs.figures_from,
    }


def print_plans(plans: list[Plan], costs: Costs, console: Console) -> None:
    """Print one column a plan; counts are of the first look, with all looks in parentheses."""
    names = [plan.terms.assurance.value for plan in plans]
    table = table_of("", *names)
    for title, cells in _plan_rows(plans, costs):
        table.add_row(title, *cells)
    console.print(table)
    first = plans[0].terms
    asked = (
        f"relative gap ({first.across.value}) at most {first.epsilon:g}, wrong with probability {first.delta:g} at most"
    )
    console.print(f"asked for: {asked}", soft_wrap=True)
    console.print(f"expected of the claim: {costs.expectation}", soft_wrap=True)
    for plan in plans:
        if not plan.sufficient:
            console.print(
                f"note: {plan.terms.assurance.value}: no plan within the budget accepts such a claim reliably"
            )


@dataclass(frozen=True, kw_only=True)
class Other:
    """What another certificate would take for the same epsilon, delta and targets.

    n_retrained, n_answered : trainings here and by the prover; of crossfit None where over a million.
    half_range_sd : half a target's range in sd of f, which the count rests on.
    asked : the epsilon to ask that certificate for; of algorithm1 a share of the squared half range.
    """

    certificate: Method
    n_retrained: int | None
    n_answered: int
    half_range_sd: float
    asked: float


def others(costs: Costs, terms: Terms) -> list[Other]:
    """Return what the finite-sample certificates take: cross-fit, and the paper's Algorithm 1 for one target."""
    half = crossfit_plan.half_range_of(costs.task, costs.claim)
    crossfit = crossfit_plan.best_within(
        costs.task, epsilon=terms.epsilon, delta=terms.delta, across=terms.across, assurance=Assurance.PROVED,
        outlook=Outlook.of(costs.figures), max_retrainings=_CROSSFIT_LIMIT, half_range_sd=half,
    )  # fmt: skip
    paper = algorithm1.counts(epsilon=terms.epsilon, delta=terms.delta, b=half, largest=half)  # in sd of f
    return [
        Other(
            certificate=Method.CROSSFIT, n_retrained=crossfit.n_retrained[0] if crossfit.sufficient else None,
            n_answered=0, half_range_sd=half, asked=terms.epsilon,
        ),
        Other(
            certificate=Method.ALGORITHM1, n_retrained=paper.n_retrained, n_answered=paper.n_answers,
            half_range_sd=half, asked=terms.epsilon / half**2,
        ),
    ]  # fmt: skip


def other_json(other: Other) -> dict[str, Json]:
    """Return one row of the ``others`` of ``plan --json``; its keys are listed at the head of this package."""
    return {
        "certificate": other.certificate.value,
        "n_retrained": other.n_retrained,
        "n_answered": other.n_answered,
        "half_range_sd": other.half_range_sd,
        "asked_epsilon": other.asked,
    }


def plans_json(plans: list[Plan], rows: list[Other], costs: Costs) -> dict[str, Json]:
    """Return the object of ``plan --json``."""
    return {"plans": [plan_json(plan, costs) for plan in plans], "others": [other_json(row) for row in rows]}


def print_others(rows: list[Other], plans: list[Plan], console: Console) -> None:
    """Print one line a certificate, ours first: trainings for the same epsilon and delta."""
    table = table_of("certificate", "trainings here", "by the prover", "")
    for plan in plans:
        name = f"{plan.terms.method.value}, {plan.terms.assurance.value}"
        table.add_row(name, _count(plan.n_retrained[0]), _count(plan.n_answered[0]), "asymptotic")
    for row in rows:
        here = f"over {_CROSSFIT_LIMIT:,}" if row.n_retrained is None else _count(row.n_retrained)
        one = ", one target, the paper's" if row.certificate is Method.ALGORITHM1 else ""
        table.add_row(row.certificate.value, here, _count(row.n_answered), f"finite-sample{one}")
    console.print(table)
    terms = plans[0].terms
    console.print(
        f"for epsilon {terms.epsilon:g} and delta {terms.delta:g} each; the last two rest on half ranges of "
        f"{rows[0].half_range_sd:.3g} sd; --certificate algorithm1 counts epsilon in squared half ranges, so "
        f"{rows[-1].asked:.2g} there",
        soft_wrap=True,
    )


def plan_line(plan: Plan) -> str:
    """Return the plan in one line."""
    design, n_looks = plan.terms.looks[0], len(plan.terms.looks)
    if plan.terms.method is Method.ALGORITHM1:
        return _algorithm1_line(plan)
    if plan.terms.method is Method.CROSSFIT:
        own, answered = plan.terms.looks[1].n_families, plan.n_answered[0]
        asked = f", {answered} trainings asked of the prover" if answered else ""
        return (
            f"plan: cross-fit, rounds of {design.n_families} and {own} independent subsets{asked}, "
            f"{plan.n_retrained[0]} retrainings here; expected bound {number(plan.first.median_bound)}"
        )
    asked = f", {plan.n_answered[0]} trainings asked of the prover" if plan.n_answered[0] else ""
    first = "" if n_looks == 1 else f" in the first of {n_looks} looks"
    return (
        f"plan: {design.n_families} families of {design.n_siblings}, rho {design.rho:.3g}{asked}, "
        f"{plan.n_retrained[0]} retrainings here{first}; expected bound {number(plan.first.median_bound)}"
    )


def _algorithm1_line(plan: Plan) -> str:
    if not plan.n_answered[0]:
        return "plan: Algorithm 1 trains nothing, since the claim is ruled out as it stands"
    *answered, fresh = plan.terms.looks
    pairs = ", ".join(str(look.n_families) for look in answered)
    return (
        f"plan: Algorithm 1, pairs at rho {answered[0].rho:.3g}, twice that and 0 ({pairs}), "
        f"{plan.n_answered[0]} trainings asked of the prover; {plan.n_retrained[0]} retrainings here, "
        f"{plan.terms.n_checks} checks a round and {fresh.n_families} fresh"
    )


def _plan_rows(plans: list[Plan], costs: Costs) -> list[tuple[str, list[str]]]:
    designs = [plan.terms.looks[0] for plan in plans]
    here = [_seconds(costs.seconds(plan)) for plan in plans]
    there = [_seconds(costs.prover_seconds(plan)) if plan.n_answered[0] else "-" for plan in plans]
    return [
        ("families x siblings", [f"{d.n_families} x {d.n_siblings}" for d in designs]),
        ("rho", [f"{d.rho:.3g}" for d in designs]),
        ("retrainings here", [_both(plan.n_retrained) for plan in plans]),
        ("trainings asked of the prover", [_both(plan.n_answered) for plan in plans]),
        ("here on average, at most", [f"{plan.expected_retrained:,.0f}" for plan in plans]),
        ("by the prover on average, at most", [f"{plan.expected_answered:,.0f}" for plan in plans]),
        ("expected upper bound", [number(plan.first.median_bound) for plan in plans]),
        ("honest claim accepted, at least", [f"{percent(p.first.power)} ({percent(p.last.power)})" for p in plans]),
        ("time here, estimated", here),
        ("the prover's, were it this machine", there),
        ("bytes of the claim", [f"{costs.claim_bytes:,}" for _ in plans]),
        ("bytes of the answers", [f"{costs.answers_bytes(plan):,}" for plan in plans]),
    ]


def _seconds(value: float | None) -> str:
    return "not timed" if value is None else f"{value:.1f} s"


def _count(n: int) -> str:
    return f"{n:,}" if n < _READABLE else f"{n:.2g}"


def _both(counts: tuple[int, int]) -> str:
    return f"{counts[0]}" if counts[0] == counts[1] else f"{counts[0]} ({counts[1]})"
