"""A claim's own figures plan, and nothing else: given the rounds they change no verdict, and no lie is accepted."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.certificate.planning import Plan
from protocol.certificate.terms import Across, Answers, Rounds, Terms
from protocol.claim import Figures
from protocol.errors import ArgumentError, BudgetError
from protocol.game.known import Polynomial
from protocol.game.sampling import pairs
from protocol.session.messages import Outcome
from protocol.session.verdict import Verdict
from protocol.wire.files import claim_file_to_bytes
from prover.claiming import commit
from tests.adversaries.cheat import HONEST, Cheat
from tests.adversaries.margins import most_allowed
from tests.adversaries.random_direction import RandomDirection
from tests.adversaries.scaled import Scaled
from tests.adversaries.terms import delegated_rounds, own_rounds
from tests.journeys.in_memory import meet
from tests.journeys.worlds import of_game
from tests.verifier.loops import terms
from tests.verifier.market import PROVER_KEY, Market
from verifier import cli
from verifier.verification import Asked

TINY, HUGE = sys.float_info.min, sys.float_info.max
DENORMAL = float(np.nextafter(0.0, 1.0))

LIES = {
    "flawless": Figures(relative_gap=0.0, odd_residual=0.0, r2=1.0, n_retrainings=0),
    "hopeless": Figures(relative_gap=1.0, odd_residual=1.0, r2=0.0, n_retrainings=1),
    "flattered": Figures(relative_gap=1e-4, odd_residual=1e-3, r2=0.999, n_retrainings=10**6),
    "near epsilon": Figures(relative_gap=0.049, odd_residual=0.05, r2=0.9, n_retrainings=1000),
    "contradictory": Figures(relative_gap=0.5, odd_residual=0.0, r2=1.0, n_retrainings=0),
    "tiny": Figures(relative_gap=TINY, odd_residual=TINY, r2=TINY, n_retrainings=0),
    "denormal": Figures(relative_gap=DENORMAL, odd_residual=DENORMAL, r2=-DENORMAL, n_retrainings=0),
    "huge": Figures(relative_gap=HUGE, odd_residual=HUGE, r2=-HUGE, n_retrainings=2**32 - 1),
    "huge residual": Figures(relative_gap=0.0, odd_residual=HUGE, r2=1.0, n_retrainings=0),
    "huge gap": Figures(relative_gap=HUGE, odd_residual=0.0, r2=-HUGE, n_retrainings=0),
}

WORLD = of_game(Polynomial(n_units=16, w1=0.93, w2=0.055, w3=0.015), n_targets=1, noise=0.0)
NO_COMPLEMENTS = of_game(Polynomial(n_units=16, w1=0.95, w2=0.03, w3=0.02, p=0.3), n_targets=2, noise=0.0)


@pytest.fixture(autouse=True)
def _unchecked_shapes() -> Iterator[None]:
    jaxtyping.config.update("jaxtyping_disable", value=True)
    yield
    jaxtyping.config.update("jaxtyping_disable", value=False)


# ------------------------------------------------------------------------------------------- given the rounds

ROUNDS: dict[str, tuple[Terms, Rounds]] = {
    "moments": (terms(), own_rounds(WORLD.task, 80, 20)),
    "moments, delegated": (terms(Answers.DELEGATED), delegated_rounds(WORLD.task, 200, 60)),
    "crossfit": (terms(method="crossfit"), Rounds(looks=(pairs(120),) * 2)),
    "crossfit, delegated": (terms(Answers.DELEGATED, method="crossfit"), Rounds(looks=(pairs(120),) * 2, n_checks=40)),
    "gaussian": (terms(method="gaussian"), Rounds(looks=(pairs(60),))),
}


@pytest.mark.parametrize("cheat", [HONEST, Scaled(0.5)], ids=["honest", "halved"])
@pytest.mark.parametrize("way", ROUNDS)
def test_given_the_rounds_no_figure_changes_a_verdict(way: str, cheat: Cheat) -> None:
    asked, rounds = ROUNDS[way]
    told = meet(WORLD, asked, cheat, seed=3, rounds=rounds).verdict
    assert told.certificate is not None
    for name, figures in LIES.items():
        lied = meet(replace(WORLD, figures=figures), asked, cheat, seed=3, rounds=rounds).verdict
        assert parts(lied) == parts(told), name


def parts(verdict: Verdict) -> list[object]:
    """All that a verdict says, comparable to the bit."""
    certificate = dataclasses.asdict(verdict.certificate)  # type: ignore[call-overload]
    numbers = [
        np.asarray(value).tobytes() if isinstance(value, np.ndarray) else repr(value) for value in certificate.values()
    ]
    return [verdict.outcome, verdict.reasons, verdict.claim_root, verdict.n_retrainings, verdict.spot_checks, *numbers]


# ------------------------------------------------------------------------------------------- planning


def planner(asked: Asked, *, at_half: bool = True) -> Callable[[Figures], Plan]:
    world = WORLD if at_half else NO_COMPLEMENTS
    return lambda figures: asked.plan(world.task, figures, world.claim)


CROSSFIT = Asked(method="crossfit", max_retrainings=3000, max_answers=20_000)
PLANS: dict[str, Callable[[Figures], Plan]] = {
    "moments": planner(Asked()),
    "moments, every": planner(Asked(across=Across.EVERY), at_half=False),
    "moments, mean": planner(Asked(across=Across.MEAN), at_half=False),
    "moments, p 0.3": planner(Asked(), at_half=False),
    "moments, delegated": planner(Asked(answers=Answers.DELEGATED)),
    "moments, delegated, p 0.3": planner(Asked(answers=Answers.DELEGATED), at_half=False),
    "crossfit": planner(CROSSFIT),
    "crossfit, delegated": planner(replace(CROSSFIT, answers=Answers.DELEGATED)),
    "crossfit, p 0.3": planner(CROSSFIT, at_half=False),
    "gaussian": planner(Asked(method="gaussian")),
    "algorithm1": planner(
        Asked(method="algorithm1", epsilon=0.99, delta=0.9, max_retrainings=10**8, max_answers=10**8)
    ),
}


@pytest.mark.parametrize("name", LIES)
@pytest.mark.parametrize("way", PLANS)
def test_absurd_figures_give_a_plan_within_the_budget_or_a_refusal(way: str, name: str) -> None:
    assert_planned_or_refused(way, LIES[name])


anything = st.floats(min_value=0, allow_nan=False, allow_infinity=False)


@settings(max_examples=20, deadline=None)
@given(
    way=st.sampled_from([way for way in PLANS if "p 0.3" not in way]),
    gap=anything,
    residual=anything,
    r2=st.floats(max_value=1, allow_nan=False, allow_infinity=False),
)
def test_any_figures_give_a_plan_within_the_budget_or_a_refusal(
    way: str, gap: float, residual: float, r2: float
) -> None:
    assert_planned_or_refused(way, Figures(relative_gap=gap, odd_residual=residual, r2=r2, n_retrainings=0))


def assert_planned_or_refused(way: str, figures: Figures) -> None:
    plan = plan_or_refusal(way, figures)
    if isinstance(plan, str):
        assert plan
        assert "\n" not in plan
        return
    assert not np.isnan(plan.first.median_bound)
    assert 0 <= plan.first.power <= 1
    assert 0 <= plan.last.power <= 1
    assert plan.n_retrained[0] <= plan.n_retrained[1] <= 10**8
    assert 0 < plan.expected_retrained <= plan.n_retrained[1]
    if way.startswith(("moments", "gaussian")):
        assert plan.n_retrained[1] <= Asked.max_retrainings
        assert plan.n_answered[1] <= Asked.max_answers


def plan_or_refusal(way: str, figures: Figures) -> Plan | str:
    try:
        return PLANS[way](figures)
    except (BudgetError, ArgumentError) as error:
        return str(error)


@pytest.mark.parametrize("way", [way for way in PLANS if way != "algorithm1"])
def test_honest_figures_give_a_plan(way: str) -> None:
    """Or the test above might take refusals for an answer."""
    PLANS[way](Figures(relative_gap=0.002, odd_residual=0.02, r2=0.97, n_retrainings=1000))


# ------------------------------------------------------------------------------------------- the two together


@pytest.mark.parametrize("answers", list(Answers))
@pytest.mark.parametrize("name", LIES)
def test_no_figures_get_a_bad_claim_accepted_more_often_than_delta(name: str, answers: Answers) -> None:
    """The claim is off by a little more than epsilon, and the rounds are planned from what its maker says of it.

    At a rate of exactly delta a run fails with the probability that ``most_allowed`` states.
    """
    n_runs, world = 20, replace(WORLD, figures=LIES[name])
    asked = terms(answers, epsilon=0.05)
    outcomes = [meet(world, asked, RandomDirection(gap=0.051), seed=seed).verdict.outcome for seed in range(n_runs)]
    assert outcomes.count(Outcome.ACCEPT) <= most_allowed(n_runs, 0.05)


# ------------------------------------------------------------------------------------------- the command


@pytest.mark.parametrize("name", ["flawless", "hopeless", "contradictory", "huge"])
@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_the_command_tells_a_good_claim_from_a_halved_one_whatever_they_say_of_themselves(
    market: Market, here: Path, name: str, factor: float, foreseen: None
) -> None:
    claim = commit(market.scaled(factor), LIES[name], PROVER_KEY)
    (here / "lie.claim").write_bytes(claim_file_to_bytes(market.task, claim))
    trusted = ("--task", str(market.task_file), "--data", str(market.data))
    status = cli.run(["verify", "--claim", "lie.claim", *trusted, "--quiet"])
    assert status in ({0, 2} if factor == 1 else {1, 2}), "a lie may cost a decision, never a wrong one"
    assert cli.run(["plan", "--claim", "lie.claim", "--data", str(market.data), "--no-pilot"]) == 0
