"""What makes no sense is refused in one clear line, or has a defined answer; whichever certificate is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import jaxtyping
import numpy as np
import pytest

from protocol.certificate import algorithm1
from protocol.certificate.algorithm1 import bound as algorithm1_bound
from protocol.certificate.exhaustive.method import design_of
from protocol.certificate.gaussian import plan as gaussian_plan
from protocol.certificate.method import Method
from protocol.certificate.planning import Budget, Outlook
from protocol.certificate.registry import METHODS, method_named
from protocol.certificate.terms import LEAST, MAX_KURTOSIS, Across, Answers, Rounds, Terms
from protocol.claim import MAX_MAGNITUDE, Claim, Figures
from protocol.errors import ArgumentError, BudgetError, MalformedMessage, TaskFileError
from protocol.game import Game, Statement
from protocol.game.known import Known, Linear, Parity, Polynomial, statement_of
from protocol.game.measure import HALF
from protocol.game.sampling import Bases, Design, families, pairs
from protocol.session.messages import Outcome
from protocol.task import UnitKind, Units
from tests.adversaries import registry
from tests.adversaries.cheat import HONEST
from tests.adversaries.terms import delegated_rounds, own_rounds
from tests.journeys.in_memory import meet
from tests.journeys.worlds import World, of_game

BUDGET = Budget(max_retrainings=5000)
LARGE = Budget(max_retrainings=10**7, max_answers=10**7)
"""Algorithm 1 takes no less."""
GAME = Polynomial(n_units=12, w1=0.93, w2=0.055, w3=0.015)
SMALL = Linear(n_units=3)
GOOD = Outlook(relative_gap=0.005, residual=0.02, r2=0.95)
WAYS = [(method, answers) for method in METHODS.values() for answers in method.answers]
WAY = pytest.mark.parametrize(
    ("method", "answers"), WAYS, ids=[f"{method.name}, {answers.value}" for method, answers in WAYS]
)
NO_NUMBER = [float("nan"), float("inf"), float("-inf")]


def budget_of(method: Method) -> Budget:
    return LARGE if method.name == "algorithm1" else BUDGET


def game_of(method: Method, known: Known | None = None) -> Statement:
    """Algorithm 1 needs few units, or none of its counts fits a challenge."""
    return statement_of(known or (SMALL if method.name == "algorithm1" else GAME))


def terms_of(method: Method, answers: Answers, game: Game, **changes: object) -> Terms:
    asked: dict[str, object] = {
        "epsilon": 0.9 if method.name == "algorithm1" else 0.1, "delta": 0.05, "across": Across.POOLED,
        "answers": answers, "method": method.name, "kurtosis": method.kurtosis_of(answers, game.measure), **changes,
    }  # fmt: skip
    return Terms(**asked)  # type: ignore[arg-type]


def claim_of(game: Game, known: Known) -> Claim:
    return Claim(task_digest=game.digest, intercepts=-known.best.sum(axis=1) / 2, scores=known.best.copy())


def planned(
    method: Method, answers: Answers, *, known: Known | None = None, figures: Figures | None = None,
    budget: Budget | None = None, **changes: object,
) -> Rounds:  # fmt: skip
    """The plan's rounds, which the method takes."""
    budget = budget or budget_of(method)
    known = known or (SMALL if method.name == "algorithm1" else GAME)
    game = game_of(method, known)
    terms = terms_of(method, answers, game, **changes)
    method.check_terms(game, terms)
    found = method.plan(game, claim_of(game, known), figures, terms, budget, None)
    method.check_rounds(game, terms, found.rounds)
    assert found.expected_retrained <= found.n_retrained[1] <= budget.max_retrainings
    assert 0 <= found.first.power <= 1
    assert 0 <= found.last.power <= 1
    assert not np.isnan([found.first.median_bound, found.last.median_bound]).any()
    return found.rounds


# ------------------------------------------------------------------------------------------- epsilon and delta


@WAY
@pytest.mark.parametrize("epsilon", [0.0, -0.0, -0.05, 1.0, 1.5, LEAST / 10, 5e-324, *NO_NUMBER])
def test_an_epsilon_that_is_no_share_is_refused(method: Method, answers: Answers, epsilon: float) -> None:
    with pytest.raises(ArgumentError, match=r"^epsilon: expected [^\n]*, got [^\n]*$"):
        terms_of(method, answers, game_of(method), epsilon=epsilon)


@WAY
@pytest.mark.parametrize("delta", [0.0, 1.0, -0.05, 1.5, LEAST / 10, 5e-324, *NO_NUMBER])
def test_a_delta_that_is_no_probability_is_refused(method: Method, answers: Answers, delta: float) -> None:
    with pytest.raises(ArgumentError, match=r"^delta: expected [^\n]*, got [^\n]*$"):
        terms_of(method, answers, game_of(method), delta=delta)


@WAY
@pytest.mark.parametrize(("epsilon", "delta"), list(product([LEAST, 1 - 1e-16], [LEAST, 1 - 1e-16])))
def test_the_ends_of_what_may_be_asked_are_planned_or_refused_in_one_line(
    method: Method, answers: Answers, epsilon: float, delta: float
) -> None:
    try:
        planned(method, answers, epsilon=epsilon, delta=delta)
    except (ArgumentError, BudgetError) as error:
        refused = str(error)
    else:
        return
    assert re.fullmatch(r"[^\n]*\d[^\n]*", refused), "says in one line what it got, or what would do"


@pytest.mark.parametrize("number", [{"epsilon": value} for value in NO_NUMBER] + [{"delta": 0.0}, {"epsilon": 1.0}])
def test_planners_that_are_called_directly_refuse_it_too(number: dict[str, float]) -> None:
    asked = {"epsilon": 0.05, "delta": 0.05, **number}
    with pytest.raises(ArgumentError, match=f"{next(iter(number))}: expected"):
        gaussian_plan.retrainings_needed(statement_of(GAME), across=Across.MEAN, outlook=GOOD, **asked)
    if number != {"epsilon": 1.0}:  # an absolute gap may be
        with pytest.raises(ArgumentError, match="algorithm1: expected epsilon, b above 0, delta in"):
            algorithm1_bound.counts(b=1.0, largest=1.0, **asked)


# ------------------------------------------------------------------------------------------- K


@WAY
@pytest.mark.parametrize("kurtosis", [0.999, 0.0, -1.0, 2 * MAX_KURTOSIS, *NO_NUMBER])
def test_a_kurtosis_that_nothing_has_is_refused(method: Method, answers: Answers, kurtosis: float) -> None:
    with pytest.raises(ArgumentError, match=r"^kurtosis: expected a bound from 1 to"):
        terms_of(method, answers, game_of(method), kurtosis=kurtosis)


@WAY
def test_a_method_that_assumes_one_needs_it_and_the_others_take_none(method: Method, answers: Answers) -> None:
    game = game_of(method)
    if method.kurtosis_of(answers, game.measure) is None:
        with pytest.raises(ArgumentError, match=f"kurtosis: {method.name} assumes no bound on it"):
            method.check_terms(game, terms_of(method, answers, game, kurtosis=9.0))
    else:
        with pytest.raises(ArgumentError, match=f"kurtosis: {method.name} needs a bound on it"):
            method.check_terms(game, terms_of(method, answers, game, kurtosis=None))
        with pytest.raises(ArgumentError, match="kurtosis: a claim's own linear error can reach 3"):
            method.check_terms(game, terms_of(method, answers, game, kurtosis=2.9))


@pytest.mark.parametrize("answers", Answers)
def test_a_kurtosis_that_leaves_no_bound_within_the_budget_says_which_budget_would_do(answers: Answers) -> None:
    method, asked = METHODS["moments"], {"kurtosis": 2000.0}
    with pytest.raises(BudgetError, match=r"kurtosis 2000") as refused:
        planned(method, answers, budget=replace(BUDGET, max_retrainings=500, max_answers=500), **asked)
    for flag, number in re.findall(r"--(max-[a-z]+) (?:to )?(\d+)", str(refused.value)):
        assert int(number) > 500, flag
    numbers = dict(re.findall(r"--(max-[a-z]+) (?:to )?(\d+)", str(refused.value)))
    enough = {name.replace("-", "_"): int(number) for name, number in numbers.items()}
    assert enough
    planned(method, answers, budget=replace(BUDGET, **{"max_retrainings": 10**6, **enough}), **asked)


# ------------------------------------------------------------------------------------------- figures


@pytest.mark.parametrize("name", ["relative_gap", "odd_residual", "r2"])
@pytest.mark.parametrize("value", NO_NUMBER)
def test_figures_that_are_no_numbers_are_refused(name: str, value: float) -> None:
    with pytest.raises(MalformedMessage, match=f"claim figures: expected a finite {name}, got"):
        Figures(**{"relative_gap": 0.0, "odd_residual": 0.0, "r2": 1.0, "n_retrainings": 0, name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"relative_gap": -1e-9}, "gap and residual of at least 0"),
        ({"odd_residual": -1e-9}, "gap and residual of at least 0"),
        ({"r2": 1.0 + 1e-9}, "R.2 of at most 1"),
        ({"n_retrainings": -1}, "0 to 4294967295 retrainings"),
        ({"n_retrainings": 2**32}, "0 to 4294967295 retrainings"),
    ],
)
def test_figures_that_no_claim_has_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(MalformedMessage, match=f"claim figures: expected .*{message}"):
        Figures(**{"relative_gap": 0.0, "odd_residual": 0.0, "r2": 1.0, "n_retrainings": 0, **change})


FIGURES = {
    "perfect": Figures(relative_gap=0.0, odd_residual=0.0, r2=1.0, n_retrainings=0),
    "worse than nothing": Figures(relative_gap=1e300, odd_residual=1e300, r2=-1e300, n_retrainings=0),
    "all gap, no residual": Figures(relative_gap=0.9, odd_residual=0.0, r2=1.0, n_retrainings=10**9),
    "all residual, R^2 of 1": Figures(relative_gap=0.0, odd_residual=1e300, r2=1.0, n_retrainings=1),
    "no residual, R^2 of 0": Figures(relative_gap=0.0, odd_residual=0.0, r2=0.0, n_retrainings=1),
    "denormal": Figures(relative_gap=5e-324, odd_residual=5e-324, r2=-5e-324, n_retrainings=1),
}


@WAY
@pytest.mark.parametrize("figures", FIGURES)
def test_enormous_and_contradictory_figures_give_a_plan_that_can_be_judged(
    method: Method, answers: Answers, figures: str
) -> None:
    """Figures serve expectation only, so whatever they say, the plan is admissible and within the budget."""
    planned(method, answers, figures=FIGURES[figures])


@WAY
@pytest.mark.parametrize("size", [0.0, 1e-300, MAX_MAGNITUDE])
def test_a_claim_of_any_size_can_be_planned(method: Method, answers: Answers, size: float) -> None:
    game = game_of(method)
    terms = terms_of(method, answers, game)
    claim = Claim(task_digest=game.digest, intercepts=np.zeros(1), scores=np.full((1, game.n_units), size))
    found = method.plan(game, claim, None, terms, budget_of(method), None)
    method.check_rounds(game, terms, found.rounds)


# ------------------------------------------------------------------------------------------- designs and checks

FAMILY = families(n_families=100, n_siblings=2, rho=0.5, complements=True)
CHANGES: dict[str, Callable[[Design], Design]] = {
    "siblings": lambda look: replace(look, n_siblings=look.n_siblings + 1),
    "sides": lambda look: replace(look, complements=not look.complements, bases=Bases.DRAWN),
    "bases": lambda look: replace(
        look, bases={Bases.DRAWN: Bases.ALL, Bases.TILTED: Bases.DRAWN, Bases.ALL: Bases.DRAWN}[look.bases],
        complements=False if look.bases is Bases.DRAWN else look.complements,
        keep_16=0 if look.bases is Bases.DRAWN else look.keep_16,
    ),
    "hardly any": lambda look: replace(look, n_families=1),
}  # fmt: skip


@WAY
@pytest.mark.parametrize("change", CHANGES)
def test_a_plan_with_its_last_look_changed_is_refused(method: Method, answers: Answers, change: str) -> None:
    game = game_of(method)
    terms = terms_of(method, answers, game)
    good = planned(method, answers)
    if change == "hardly any" and method.name == "moments":  # a later look may be as small as it likes, the first not
        good = replace(good, looks=good.looks[:2], n_checks=min(good.n_checks, 2))
    changed = replace(good, looks=(*good.looks[:-1], CHANGES[change](good.looks[-1])))
    with pytest.raises(ArgumentError, match=f"{method.name}|n_checks"):
        method.check_rounds(game, terms, changed)


@WAY
def test_rounds_with_one_more_or_less_are_refused_where_their_number_is_fixed(method: Method, answers: Answers) -> None:
    game = game_of(method)
    terms = terms_of(method, answers, game)
    good = planned(method, answers)
    if answers is Answers.OWN and method.name in ("moments", "gaussian"):
        shorter = replace(good, looks=good.looks[:1])
        if method.name == "moments":
            with pytest.raises(ArgumentError, match="expected a look after the pilot"):
                method.check_rounds(game, terms, shorter)
        return
    for looks in ((*good.looks, good.looks[-1]), good.looks[:-1]):
        if looks:
            with pytest.raises(ArgumentError, match=method.name):
                method.check_rounds(game, terms, replace(good, looks=looks))


@WAY
@pytest.mark.parametrize("n_checks", [0, 1, 10**9])
def test_checks_are_asked_for_exactly_where_a_prover_answers(method: Method, answers: Answers, n_checks: int) -> None:
    game = game_of(method)
    terms = terms_of(method, answers, game)
    rounds = replace(planned(method, answers), n_checks=n_checks)
    fine = {Answers.OWN: n_checks == 0, Answers.DELEGATED: n_checks == 1 and method.name != "algorithm1"}[answers]
    if fine:
        method.check_rounds(game, terms, rounds)
    else:
        with pytest.raises(ArgumentError, match="checks"):
            method.check_rounds(game, terms, rounds)


@pytest.mark.parametrize(
    "change",
    [
        {"n_families": 0}, {"n_siblings": 0}, {"keep_16": -1}, {"keep_16": 65536}, {"n_families": 10**8},
        {"bases": Bases.ALL}, {"bases": Bases.TILTED, "complements": False},
    ],
)  # fmt: skip
def test_a_design_that_cannot_be_drawn_is_none(change: dict[str, object]) -> None:
    with pytest.raises(MalformedMessage, match="design: expected"):
        replace(FAMILY, **change)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------- games


@pytest.mark.parametrize(
    "change",
    [
        {"n_units": 0}, {"lo": np.array([1.0]), "hi": np.array([1.0])}, {"lo": np.array([-np.inf])},
        {"hi": np.array([np.nan])}, {"tolerance": -1.0}, {"tolerance": float("nan")}, {"seed": -1},
        {"lo": np.zeros(0), "hi": np.zeros(0)}, {"measure": replace(HALF, p_16=0)},
        {"measure": replace(HALF, p_16=1 << 16)},
    ],
)  # fmt: skip
def test_a_game_that_means_nothing_is_refused(change: dict[str, object]) -> None:
    good = {"name": "none", "n_units": 1, "lo": np.array([0.0]), "hi": np.array([1.0]), "measure": HALF}
    assert Statement(**good).n_units == 1  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="game: expected"):
        Statement(**{**good, **change})  # type: ignore[arg-type]


def test_one_unit_is_no_task() -> None:
    """With one unit there is nothing to compare it with: its score is f(1) - f(0), two trainings."""
    with pytest.raises(TaskFileError, match=r"units\.n: expected 2 to \d+ units, got 1"):
        Units(kind=UnitKind.ROW, n=1)


@WAY
def test_one_unit_is_a_game_and_can_be_planned(method: Method, answers: Answers) -> None:
    planned(method, answers, known=Linear(n_units=1))


def test_every_subset_of_too_many_units_is_refused() -> None:
    method = METHODS["exhaustive"]
    game = statement_of(Linear(n_units=17))
    with pytest.raises(ArgumentError, match=r"at most 16 units .* the game has 17; use moments"):
        method.check_terms(game, terms_of(method, Answers.OWN, game))
    with pytest.raises(ArgumentError, match="every subset of 12 units is needed once, 4096 in all, got 131072"):
        method.check_rounds(
            statement_of(GAME), terms_of(method, Answers.OWN, game), Rounds(looks=(design_of(game, 1),))
        )


@pytest.mark.parametrize("p", [0.2, 0.8, 1e-4])
def test_a_p_that_leaves_residuals_far_from_gaussian_is_refused_by_the_quick_look_alone(p: float) -> None:
    game = statement_of(replace(GAME, p=p))
    for method, answers in WAYS:
        if method.name == "gaussian":
            with pytest.raises(ArgumentError, match=r"p from 0\.3 to 0\.7 is needed.*use moments or crossfit"):
                method.check_terms(game, terms_of(method, answers, game))
        else:
            method.check_terms(game, terms_of(method, answers, game))


def test_a_certificate_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ArgumentError, match=r"expected one of moments, crossfit, exhaustive.*got 'families'"):
        method_named("families")


# ------------------------------------------------------------------------------------------- the budget


@WAY
@pytest.mark.parametrize("name", ["max_retrainings", "max_answers", "n_checks", "n_looks"])
def test_a_budget_of_nothing_is_no_budget(method: Method, answers: Answers, name: str) -> None:
    with pytest.raises(ArgumentError, match="expected at least 1, got 0"):
        planned(method, answers, budget=replace(BUDGET, **{name: 0}))


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("moments", Answers.OWN), ("crossfit", Answers.OWN), ("crossfit", Answers.DELEGATED), ("gaussian", Answers.OWN),
        ("exhaustive", Answers.OWN),
    ],
)  # fmt: skip
def test_a_plan_beyond_the_budget_says_what_would_do(name: str, answers: Answers) -> None:
    method = METHODS[name]
    with pytest.raises(BudgetError, match=r"--max-retrainings (to )?\d+") as refused:
        planned(method, answers, budget=replace(BUDGET, max_retrainings=1))
    enough = int(re.findall(r"--max-retrainings (?:to )?(\d+)", str(refused.value))[0])
    planned(method, answers, budget=replace(BUDGET, max_retrainings=enough))
    with pytest.raises(BudgetError):
        planned(method, answers, budget=replace(BUDGET, max_retrainings=enough - 1))


def test_a_budget_that_plans_but_will_not_do_says_so() -> None:
    """The plan is made, with the power that it has; how many trainings would do can be asked for."""
    method, game = METHODS["gaussian"], statement_of(Polynomial(n_units=3000, w1=0.95, w2=0.0, w3=0.05))
    terms = terms_of(method, Answers.OWN, game, epsilon=0.01)
    figures = Figures(relative_gap=0.0, odd_residual=0.05, r2=0.95, n_retrainings=0)
    poor = method.plan(game, None, figures, terms, Budget(max_retrainings=120), None)
    assert not poor.sufficient
    needed = gaussian_plan.retrainings_needed(
        game, epsilon=0.01, delta=0.05, across=Across.MEAN, outlook=Outlook.of(figures)
    )
    assert needed is not None
    assert needed > 120
    assert method.plan(game, None, figures, terms, Budget(max_retrainings=2 * needed), None).sufficient


def test_no_budget_would_do_for_a_gap_above_epsilon() -> None:
    bad = Outlook(relative_gap=0.2, residual=0.25, r2=0.7)
    found = gaussian_plan.retrainings_needed(
        statement_of(GAME), epsilon=0.1, delta=0.05, across=Across.MEAN, outlook=bad
    )
    assert found is None


# ------------------------------------------------------------------------------------------- whole sessions

WORLD = of_game(Polynomial(n_units=16, w1=0.93, w2=0.055, w3=0.015), n_targets=2, noise=0.0)
SESSIONS = [(name, answers) for name in ("moments", "crossfit", "gaussian") for answers in METHODS[name].answers]


def session_rounds(name: str, answers: Answers, game: Game, n: int = 60) -> Rounds:
    """Rounds of the smallest useful size."""
    delegated = answers is Answers.DELEGATED
    if name == "moments":
        return delegated_rounds(game, 3 * n, n) if delegated else own_rounds(game, 2 * n)
    if name == "gaussian":
        return Rounds(looks=(families(n_families=n, n_siblings=2, rho=0.5, complements=True),))
    return Rounds(looks=(pairs(n), pairs(n)), n_checks=n // 2 if delegated else 0)


def constant(value: float = 0.25) -> World:
    """A recipe that gives one number whatever it is trained on; the honest claim says so."""
    claim = replace(WORLD.claim, scores=np.zeros_like(WORLD.claim.scores), intercepts=np.full(2, value))

    def outputs(subsets: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        return np.full((len(subsets), 2), value)

    return replace(WORLD, claim=claim, best=claim.scores, outputs=outputs)


@pytest.mark.parametrize("cheat", ["honest", "random-direction", "scaled"])
@pytest.mark.parametrize(("name", "answers"), SESSIONS)
def test_a_target_that_does_not_vary_is_never_accepted(name: str, answers: Answers, cheat: str) -> None:
    """Its relative gap is 0/0 or infinite, whatever is claimed."""
    met = HONEST if cheat == "honest" else registry.BY_NAME[cheat]
    world = constant()
    terms = terms_of(METHODS[name], answers, world.task, epsilon=0.3)
    verdict = meet(world, terms, met, seed=1, rounds=session_rounds(name, answers, world.task)).verdict
    assert verdict.outcome is not Outcome.ACCEPT
    if cheat == "honest":
        assert verdict.outcome is Outcome.INCONCLUSIVE
        assert verdict.certificate is not None
        assert verdict.certificate.upper_bound == np.inf
        assert "vary" in verdict.reasons[0] or "varies" in verdict.reasons[0]


@dataclass(frozen=True)
class Still:
    """A game that is 1/2 whatever is in."""

    n_units: int = 3
    p: float = 0.5
    variance: float = 1.0
    largest: float = 0.5

    def outputs(self, subsets: np.ndarray) -> np.ndarray:
        return np.full((len(subsets), 1), 0.5)

    @property
    def best(self) -> np.ndarray:
        return np.zeros((1, self.n_units))


def test_algorithm1_bounds_an_absolute_gap_so_a_constant_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gap of the right claim is 0, that of another is not. Rounds of a few hundred prove nothing, but converge."""
    monkeypatch.setattr(algorithm1.bound, "check_enough", lambda *args, **kwargs: None)
    monkeypatch.setattr(algorithm1.bound, "norm_excess", lambda *args, **kwargs: None)
    world = of_game(Still(), n_targets=1, noise=0.0, width=1.0)
    world = replace(world, claim=replace(world.claim, intercepts=np.full(1, 0.5)))
    rounds = Rounds(
        looks=(
            *(families(n_families=50, n_siblings=2, rho=rho, complements=False) for rho in (0.1, 0.2, 0.0)),
            families(n_families=50, n_siblings=1, rho=0.0, complements=False),
        ),
        n_checks=30,
    )
    terms = terms_of(METHODS["algorithm1"], Answers.DELEGATED, world.task)
    assert meet(world, terms, HONEST, seed=1, rounds=rounds).verdict.outcome is Outcome.ACCEPT
    wrong = replace(world, claim=replace(world.claim, scores=np.full((1, 3), 1.5)))
    assert meet(wrong, terms, HONEST, seed=1, rounds=rounds).verdict.outcome is Outcome.REJECT


@pytest.mark.parametrize(("name", "answers"), SESSIONS)
def test_two_units_are_judged(name: str, answers: Answers) -> None:
    world = of_game(Parity(n_units=2, degree=1), n_targets=1, noise=0.0, width=3.0)
    terms = terms_of(METHODS[name], answers, world.task, epsilon=0.2)
    rounds = session_rounds(name, answers, world.task, n=600 if name == "crossfit" else 100)
    assert meet(world, terms, HONEST, seed=1, rounds=rounds).verdict.outcome is Outcome.ACCEPT
    zero = meet(world, terms, registry.BY_NAME["zero"], seed=1, rounds=rounds).verdict
    assert zero.outcome is not Outcome.ACCEPT


@pytest.fixture(autouse=True)
def _unchecked_shapes():  # type: ignore[no-untyped-def]
    jaxtyping.config.update("jaxtyping_disable", value=True)
    yield
    jaxtyping.config.update("jaxtyping_disable", value=False)
