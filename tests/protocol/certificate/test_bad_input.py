"""What makes no sense is refused in one clear line, or has a defined answer; whichever certificate is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import jaxtyping
import numpy as np
import pytest

from protocol.certificate import algorithm1, crossfit_plan, plan
from protocol.certificate.plan import Outlook, Plan
from protocol.certificate.terms import Across, Assurance, Method, Terms
from protocol.errors import ArgumentError, BudgetError, TaskFileError
from protocol.sampling import Design, families, pairs
from protocol.session.messages import Outcome
from protocol.session.verifier import VerifierSession
from protocol.task import UnitKind, Units
from tests.adversaries import registry
from tests.adversaries.cheat import HONEST
from tests.games import Parity, Polynomial, task_of
from tests.journeys.in_memory import meet
from tests.journeys.worlds import World, of_game

TASK = task_of(16, bound=3.0)
WORLD = of_game(Polynomial(n_units=16, w1=0.93, w2=0.055, w3=0.015), n_targets=2, noise=0.0)
GOOD = Outlook(relative_gap=0.005, residual=0.02, r2=0.95)

FAMILIES = (families(n_families=30, n_siblings=2, rho=0.5, complements=True),)
CROSSFIT = (pairs(40), pairs(40))
ALGORITHM1 = (
    *(families(n_families=50, n_siblings=2, rho=rho, complements=False) for rho in (0.1, 0.2, 0.0)),
    families(n_families=50, n_siblings=1, rho=0.0, complements=False),
)
LOOKS = {Method.FAMILIES: FAMILIES, Method.CROSSFIT: CROSSFIT, Method.ALGORITHM1: ALGORITHM1}


def terms_of(method: Method, *, epsilon: float = 0.3, delta: float = 0.05, proved: bool = True) -> Terms:
    audited = method is Method.ALGORITHM1 or not proved
    return Terms(
        epsilon=epsilon, delta=delta, across=Across.MEAN, looks=LOOKS[method], method=method,
        assurance=Assurance.AUDITED if audited else Assurance.PROVED, n_checks=30 if audited else 0,
    )  # fmt: skip


def planned(
    planner: Callable[..., Plan],
    *,
    assurance: Assurance = Assurance.PROVED,
    max_retrainings: int = 20_000,
    **more: float,
) -> Plan:
    asked = {"epsilon": 0.05, "delta": 0.05, **more}
    return planner(
        TASK, across=Across.MEAN, assurance=assurance, outlook=GOOD, max_retrainings=max_retrainings, **asked
    )


ASK: dict[str, Callable[..., object]] = {
    **{f"terms of {method.value}": partial(terms_of, method) for method in Method},
    "the planner": partial(planned, plan.best_within),
    "the planner of cross-fit": partial(planned, crossfit_plan.best_within),
    "the planner, audited": partial(planned, plan.best_within, assurance=Assurance.AUDITED),
    "how many are needed": lambda epsilon=0.05, delta=0.05: plan.retrainings_needed(
        TASK, epsilon=epsilon, delta=delta, across=Across.MEAN, outlook=GOOD
    ),
    "the counts of Algorithm 1": lambda epsilon=0.9, delta=0.5: algorithm1.counts(
        epsilon=epsilon, delta=delta, b=1.0, largest=1.0
    ),
}
NO_NUMBER = [float("nan"), float("inf"), float("-inf")]


# ------------------------------------------------------------------------------------------- epsilon and delta


@pytest.mark.parametrize("ask", ASK)
def test_sensible_numbers_are_taken(ask: str) -> None:
    ASK[ask]()


@pytest.mark.parametrize("epsilon", [0.0, -0.0, -0.05, *NO_NUMBER])
@pytest.mark.parametrize("ask", ASK)
def test_an_epsilon_that_is_not_above_0_is_refused(ask: str, epsilon: float) -> None:
    assert_one_line(ask, epsilon=epsilon)


@pytest.mark.parametrize("epsilon", [1.0, 1.5])
@pytest.mark.parametrize("ask", [name for name in ASK if name != "the counts of Algorithm 1"])
def test_a_relative_gap_of_1_or_more_is_not_worth_asking_for(ask: str, epsilon: float) -> None:
    assert_one_line(ask, epsilon=epsilon)


@pytest.mark.parametrize("delta", [0.0, 1.0, -0.05, 1.5, *NO_NUMBER])
@pytest.mark.parametrize("ask", ASK)
def test_a_delta_that_is_no_probability_is_refused(ask: str, delta: float) -> None:
    assert_one_line(ask, delta=delta)


def assert_one_line(ask: str, **number: float) -> None:
    with pytest.raises(ArgumentError, match=r"expected .*got") as raised:
        ASK[ask](**number)
    assert "\n" not in str(raised.value)
    (name,) = number
    assert name in str(raised.value)


# ------------------------------------------------------------------------------------------- the budget


@pytest.mark.parametrize(
    ("planner", "assurance", "budget"),
    [
        (plan.best_within, Assurance.PROVED, {"max_retrainings": 1}),
        (plan.best_within, Assurance.AUDITED, {"max_retrainings": 40, "max_answers": 30, "n_checks": 10}),
        (plan.best_within, Assurance.AUDITED, {"max_retrainings": 19, "max_answers": 4000, "n_checks": 10}),
        (crossfit_plan.best_within, Assurance.PROVED, {"max_retrainings": 60}),
    ],
    ids=["proved", "answers", "checks", "crossfit"],
)
def test_a_plan_beyond_the_budget_says_what_would_do(
    planner: Callable[..., Plan], assurance: Assurance, budget: dict[str, int]
) -> None:
    with pytest.raises(BudgetError, match=r"at least \d+ .*, got \d+") as raised:
        planned(planner, assurance=assurance, **budget)
    said = re.findall(r"\d+", str(raised.value))
    enough, got = int(said[0]), int(said[1])
    (short,) = [name for name, given in budget.items() if given == got]
    planned(planner, assurance=assurance, **{**budget, short: enough})
    with pytest.raises(BudgetError):
        planned(planner, assurance=assurance, **{**budget, short: enough - 1})


def test_a_budget_that_plans_but_will_not_do_says_so() -> None:
    """The plan is made, with the power that it has; how many trainings would do can be asked for."""
    poor = planned(plan.best_within, max_retrainings=60, epsilon=0.01)
    assert not poor.sufficient
    needed = plan.retrainings_needed(TASK, epsilon=0.01, delta=0.05, across=Across.MEAN, outlook=GOOD)
    assert needed is not None
    assert needed > 60
    assert planned(plan.best_within, max_retrainings=2 * needed, epsilon=0.01).sufficient


def test_no_budget_would_do_for_a_gap_above_epsilon() -> None:
    bad = Outlook(relative_gap=0.2, residual=0.25, r2=0.7)
    assert plan.retrainings_needed(TASK, epsilon=0.1, delta=0.05, across=Across.MEAN, outlook=bad) is None


# ------------------------------------------------------------------------------------------- too few


@pytest.mark.parametrize(
    ("method", "looks"),
    [
        (Method.FAMILIES, (families(n_families=2, n_siblings=2, rho=0.5, complements=True),)),
        (Method.FAMILIES, (pairs(30),)),
        (Method.CROSSFIT, (pairs(19), pairs(40))),
        (Method.CROSSFIT, (pairs(40), pairs(19))),
        (Method.ALGORITHM1, ALGORITHM1),
    ],
)
def test_rounds_too_small_to_be_judged_are_refused_before_anything_is_said(
    method: Method, looks: tuple[Design, ...]
) -> None:
    asked = replace(terms_of(method), looks=looks)
    with pytest.raises(ArgumentError, match=r"expected at least|expected .* pairs|algorithm1: expected"):
        VerifierSession(task=TASK, terms=asked)


# ------------------------------------------------------------------------------------------- constant targets


def constant(value: float = 0.25) -> World:
    """A recipe that gives one number whatever it is trained on; the honest claim says so."""
    claim = replace(WORLD.claim, scores=np.zeros_like(WORLD.claim.scores), intercepts=np.full(2, value))

    def outputs(subsets: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        return np.full((len(subsets), 2), value)

    return replace(WORLD, claim=claim, best=claim.scores, outputs=outputs)


@pytest.mark.parametrize("name", ["honest", "random-direction", "scaled"])
@pytest.mark.parametrize("proved", [True, False])
@pytest.mark.parametrize("method", [Method.FAMILIES, Method.CROSSFIT])
def test_a_target_that_does_not_vary_is_never_accepted(method: Method, proved: bool, name: str) -> None:
    """Its relative gap is 0/0 or infinite, whatever is claimed."""
    cheat = HONEST if name == "honest" else registry.BY_NAME[name]
    verdict = meet(constant(), terms_of(method, proved=proved), cheat, seed=1).verdict
    assert verdict.certificate is not None
    assert verdict.certificate.upper_bound == np.inf
    assert verdict.outcome is not Outcome.ACCEPT
    if name == "honest":
        assert verdict.outcome is Outcome.INCONCLUSIVE
        assert re.search(r"target 0 do(es)? not vary|Var f cannot be told from 0", verdict.reasons[0])


@dataclass(frozen=True)
class Still:
    """A game that is 1/2 whatever is in."""

    n_units: int = 3
    p: float = 0.5
    variance: float = 1.0

    def outputs(self, subsets: np.ndarray) -> np.ndarray:
        return np.full((len(subsets), 1), 0.5)

    @property
    def best(self) -> np.ndarray:
        return np.zeros((1, self.n_units))


def test_algorithm1_bounds_an_absolute_gap_so_a_constant_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gap of the right claim is 0, that of another is not. Rounds of a few hundred prove nothing, but converge."""
    monkeypatch.setattr(algorithm1, "check_enough", lambda *args, **kwargs: None)
    monkeypatch.setattr(algorithm1, "norm_excess", lambda *args, **kwargs: None)
    world = of_game(Still(), n_targets=1, noise=0.0, width=1.0)
    world = replace(world, claim=replace(world.claim, intercepts=np.full(1, 0.5)))
    asked = terms_of(Method.ALGORITHM1, epsilon=0.9)
    assert meet(world, asked, HONEST, seed=1).verdict.outcome is Outcome.ACCEPT
    wrong = replace(world, claim=replace(world.claim, scores=np.full((1, 3), 1.5)))
    assert meet(wrong, asked, HONEST, seed=1).verdict.outcome is Outcome.REJECT


# ------------------------------------------------------------------------------------------- hardly any units


def test_one_unit_is_no_task() -> None:
    """With one unit there is nothing to compare it with: its score is f(1) - f(0), two trainings."""
    with pytest.raises(TaskFileError, match=r"units\.n: expected 2 to \d+ units, got 1"):
        Units(kind=UnitKind.ROW, n=1)


@pytest.mark.parametrize("proved", [True, False])
@pytest.mark.parametrize("method", [Method.FAMILIES, Method.CROSSFIT])
def test_two_units_are_judged(method: Method, proved: bool) -> None:
    world = of_game(Parity(n_units=2, degree=1), n_targets=1, noise=0.0, width=3.0)
    asked = replace(terms_of(method, epsilon=0.2, proved=proved))
    if method is Method.CROSSFIT:
        asked = replace(asked, looks=(pairs(600), pairs(600)), n_checks=0 if proved else 500)
    assert meet(world, asked, HONEST, seed=1).verdict.outcome is Outcome.ACCEPT
    assert meet(world, asked, registry.BY_NAME["zero"], seed=1).verdict.outcome is not Outcome.ACCEPT


@pytest.fixture(autouse=True)
def _unchecked_shapes():  # type: ignore[no-untyped-def]
    jaxtyping.config.update("jaxtyping_disable", value=True)
    yield
    jaxtyping.config.update("jaxtyping_disable", value=False)
