"""What a verification will cost here, and how likely it is to accept an honest claim."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from protocol.certificate import algorithm1, crossfit_plan
from protocol.certificate.plan import Outlook, Plan
from protocol.certificate.terms import Assurance, Method, Terms
from protocol.claim import Figures
from protocol.task import Task
from verifier.report.text import Json, finite, number, percent, table_of

_CROSSFIT_LIMIT = 1_000_000


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

    def seconds(self, plan: Plan) -> float | None:
        """Return how long the verifier's first look takes, or None."""
        return None if self.seconds_each is None else self.seconds_each * plan.n_retrained[0]

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
        "n_checks": terms.n_checks,
        "expected_bound": finite(plan.first.median_bound),
        "power": [plan.first.power, plan.last.power],
        "sufficient": plan.sufficient,
        "seconds_per_retraining": finite(costs.seconds_each),
        "seconds": finite(costs.seconds(plan)),
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


def print_others(costs: Costs, terms: Terms, console: Console) -> None:
    """Print what the finite-sample certificates would take for the same epsilon and delta."""
    outlook, asked = Outlook.of(costs.figures), f"epsilon {terms.epsilon:g}, delta {terms.delta:g}"
    crossfit = crossfit_plan.best_within(
        costs.task, epsilon=terms.epsilon, delta=terms.delta, across=terms.across, assurance=Assurance.PROVED,
        outlook=outlook, max_retrainings=_CROSSFIT_LIMIT,
    )  # fmt: skip
    needs = (
        f"{crossfit.n_retrained[0]:,} retrainings" if crossfit.sufficient else f"over {_CROSSFIT_LIMIT:,} retrainings"
    )
    console.print(f"finite-sample, {asked}: --certificate crossfit takes about {needs} here", soft_wrap=True)
    half = crossfit_plan.HALF_RANGE_SD
    paper = algorithm1.counts(epsilon=terms.epsilon, delta=terms.delta, b=half, largest=half)
    console.print(
        f"the paper's Algorithm 1, {asked}, one target of half range {half:g} sd: {paper.n_answers:.2g} trainings by "
        f"the prover, {paper.n_retrained:.2g} here",
        soft_wrap=True,
    )


def plan_line(plan: Plan) -> str:
    """Return the plan in one line."""
    design, n_looks = plan.terms.looks[0], len(plan.terms.looks)
    if plan.terms.method is Method.CROSSFIT:
        return (
            f"plan: cross-fit, two rounds of {design.n_families} independent subsets, "
            f"{plan.n_retrained[0]} retrainings here; expected bound {number(plan.first.median_bound)}"
        )
    asked = f", {plan.n_answered[0]} trainings asked of the prover" if plan.n_answered[0] else ""
    first = "" if n_looks == 1 else f" in the first of {n_looks} looks"
    return (
        f"plan: {design.n_families} families of {design.n_siblings}, rho {design.rho:.3g}{asked}, "
        f"{plan.n_retrained[0]} retrainings here{first}; expected bound {number(plan.first.median_bound)}"
    )


def _plan_rows(plans: list[Plan], costs: Costs) -> list[tuple[str, list[str]]]:
    designs = [plan.terms.looks[0] for plan in plans]
    seconds = [costs.seconds(plan) for plan in plans]
    return [
        ("families x siblings", [f"{d.n_families} x {d.n_siblings}" for d in designs]),
        ("rho", [f"{d.rho:.3g}" for d in designs]),
        ("retrainings here", [_both(plan.n_retrained) for plan in plans]),
        ("trainings asked of the prover", [_both(plan.n_answered) for plan in plans]),
        ("expected upper bound", [number(plan.first.median_bound) for plan in plans]),
        ("honest claim accepted", [f"{percent(p.first.power)} ({percent(p.last.power)})" for p in plans]),
        ("time here, estimated", ["not timed" if s is None else f"{s:.1f} s" for s in seconds]),
        ("bytes of the claim", [f"{costs.claim_bytes:,}" for _ in plans]),
        ("bytes of the answers", [f"{costs.answers_bytes(plan):,}" for plan in plans]),
    ]


def _both(counts: tuple[int, int]) -> str:
    return f"{counts[0]}" if counts[0] == counts[1] else f"{counts[0]} ({counts[1]})"
