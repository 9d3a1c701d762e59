"""Plans: what they promise is what mean squares give, none of the grid is cheaper, and an absurd budget is refused.

Fixed seeds. A simulated rate fails a test when its exact binomial probability under the promise is below 1 in 10,000.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy import stats

from protocol.certificate import forecast, plan
from protocol.certificate.families import Checked, certify, degrees_of_freedom, upper_bound_of
from protocol.certificate.forecast import Outlook
from protocol.certificate.plan import Plan, Shape, best_within, retrainings_needed
from protocol.certificate.terms import Across, Assurance
from protocol.claim import Figures
from protocol.errors import ArgumentError, BudgetError
from tests.games import Polynomial, task_of
from tests.protocol.certificate.simulate import World

FALSE_ALARM = 1e-4
GOOD = Outlook(relative_gap=0.006, residual=0.016, r2=0.93)
NOISY = Outlook(relative_gap=0.05, residual=0.55, r2=0.35)


def planned(outlook: Outlook = GOOD, p: float = 0.5, n_targets: int = 1, **asked: object) -> Plan:
    wanted: dict[str, object] = {
        "epsilon": 0.05, "delta": 0.05, "across": Across.MEAN, "assurance": Assurance.PROVED,
        "max_retrainings": 2000, **asked,
    }  # fmt: skip
    return best_within(task_of(30, n_targets=n_targets, p=p), outlook=outlook, **wanted)  # type: ignore[arg-type]


def shape(outlook: Outlook = GOOD, p: float = 0.5, n_targets: int = 1, across: Across = Across.MEAN) -> Shape:
    return Shape(task_of(30, n_targets=n_targets, p=p), across, 0.05, 0.05, outlook)


@pytest.mark.parametrize("p", [0.5, 0.3])
@pytest.mark.parametrize("rank", [1.0, 9.0])
@pytest.mark.parametrize(("outlook", "epsilon"), [(GOOD, 0.05), (NOISY, 0.3)])
def test_power_is_how_often_simulated_mean_squares_give_a_bound_below_epsilon(
    outlook: Outlook, epsilon: float, rank: float, p: float
) -> None:
    """The naive twin draws what the planner integrates: chi-squares, and Var f's estimate as Gaussian."""
    rng, n = np.random.default_rng(5), 4000
    for n_families, s, rho in ((12, 2, 0.6), (40, 4, 0.3), (40, 16, 0.2)):
        g, v, rest = outlook.relative_gap, outlook.residual, 1 - outlook.r2
        between = rho * g + rho ** (3 if p == 0.5 else 2) * (v - g)
        n_b, n_w = degrees_of_freedom(n_families, s, p)
        used = rank**0.5 if p == 0.5 and n_families >= 15 else 1.0
        msb = (v + (s - 1) * between) * rng.chisquare(n_b * rank, n) / (n_b * rank)
        msw = (v - between) * rng.chisquare(n_w * rank, n) / (n_w * rank)
        sd = np.sqrt(min(4 * v + 2 * rest**2, 2) * (1 + (s - 1) * rho) / (s * n_families))
        variance = np.maximum(1 + sd * rng.standard_normal(n), 0.05)
        error = np.full(n, stats.t.ppf(0.95, n_families - 1) * sd) / variance
        upper = upper_bound_of(
            msb / variance, msw / variance, error, np.zeros(n), s=s, rho=rho, n_b=n_b * used, n_w=n_w * used, alpha=0.05
        )
        design = shape(p=p).design(n_families, s, rho)
        expected = shape(replace(outlook, rank=rank), p).power(design, epsilon)
        accepted = int((upper <= epsilon).sum())
        margin = 4 * np.sqrt(max(expected * (1 - expected), 1e-4) / n) + 0.01  # 0.01 for the grid
        assert accepted / n == pytest.approx(expected, abs=margin), (n_families, s, rho)


@pytest.mark.parametrize("alpha", [0.05, 0.00025])
def test_the_largest_mean_square_that_passes_is_the_one_whose_bound_is_epsilon(alpha: float) -> None:
    """The certificate's own bound, met from below and from above, with MSW and the error of Var f from none to much."""
    for (n_b, s, rho), epsilon in product(((10, 2, 0.7), (40, 8, 0.3), (300, 3, 0.2)), (0.02, 0.3)):
        msw, error = (part.ravel() for part in np.meshgrid([0.0, 0.003, 0.02, 0.3], [0.0, 0.2, 0.7, 0.999]))
        boxes = (part[None, None] for part in (msw, error))
        n_w = n_b * (s - 1)
        most = forecast.largest_passing(*boxes, epsilon * s * rho, n_b=n_b, n_w=n_w, alpha=alpha).ravel()
        for side, passes in ((0.999, True), (1.001, False)):
            upper = upper_bound_of(
                most * side, msw, error, np.zeros_like(msw), s=s, rho=rho, n_b=n_b, n_w=n_w, alpha=alpha
            )
            assert ((upper <= epsilon) == passes).all()
    one = np.ones((1, 1, 1))
    assert forecast.largest_passing(one, one, 1.0, n_b=10, n_w=10, alpha=alpha) == 0.0


def test_tails_of_many_targets_are_exact() -> None:
    """One target of 200 may miss with probability 1 in 2,000: a grid of quantiles would see 0 or 1 in grid's size."""
    design = shape().design(60, 2, 0.5)
    missed = 1 - shape().power(design)
    assert 1e-6 < missed < 5e-3
    doubled = shape().design(120, 2, 0.5)
    assert 0 < 1 - shape().power(doubled) < missed / 10


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_power_rises_with_families_and_falls_with_the_gap(p: float) -> None:
    powers = [shape(p=p).power(shape(p=p).design(n, 4, 0.3)) for n in (10, 20, 40, 80, 160)]
    assert powers == sorted(powers)
    assert powers[0] < powers[-1]
    design = shape(p=p).design(40, 4, 0.3)
    worse = [shape(replace(GOOD, relative_gap=gap), p).power(design) for gap in (0.0, 0.004, 0.008, 0.016)]
    assert worse == sorted(worse, reverse=True)
    assert worse[0] > worse[-1]


def test_a_claim_at_epsilon_is_accepted_no_more_often_than_delta() -> None:
    """What the planner forecasts and what the certificate guarantees agree where they meet; all of v is the gap."""
    at = Outlook(relative_gap=0.05, residual=0.05, r2=0.95)
    for n_families, s, rho in ((15, 2, 0.7), (50, 4, 0.3)):
        assert 0.02 < shape(at).power(shape(at).design(n_families, s, rho)) <= 0.055


@pytest.mark.parametrize(("outlook", "p", "epsilon"), [(GOOD, 0.5, 0.05), (GOOD, 0.3, 0.2), (NOISY, 0.5, 0.8)])
def test_no_design_of_the_grid_is_cheaper(outlook: Outlook, p: float, epsilon: float) -> None:
    task = task_of(30, p=p)
    found = retrainings_needed(task, epsilon=epsilon, delta=0.05, across=Across.MEAN, outlook=outlook)
    assert found is not None
    searched = Shape(task, Across.MEAN, epsilon, 0.05, outlook)
    for s, rho in product(plan.SIBLINGS, plan.RHOS):
        n_families = plan.MIN_FAMILIES
        while (design := searched.design(n_families, s, rho)).n_evaluations < found:
            assert searched.power(design) < 0.9, f"{design} costs {design.n_evaluations}, the plan {found}"
            n_families += 1


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_an_honest_claim_is_accepted_as_often_as_promised(p: float) -> None:
    game = Polynomial(n_units=30, w1=0.92, w2=0.06, w3=0.02, p=p)
    missed = 0.02 if p == 0.5 else 0.08
    one = planned(Outlook(relative_gap=0.0, residual=missed, r2=0.92), p, epsilon=0.12, n_looks=1)
    design = one.terms.looks[0]
    world = World(
        outputs=game.outputs, scores=game.best, p=p, n_families=design.n_families, n_siblings=design.n_siblings,
        rho=design.rho,
    )  # fmt: skip
    rng, runs = np.random.default_rng(11), 150
    accepted = sum(
        certify(world.readings(rng), delta=0.05, across=Across.MEAN).upper_bound <= 0.12 for _ in range(runs)
    )
    assert one.first.power >= 0.9
    assert accepted >= stats.binom.ppf(FALSE_ALARM, runs, one.first.power)


@pytest.mark.parametrize("audited", [False, True])
@pytest.mark.parametrize("p", [0.5, 0.3])
def test_the_error_of_var_f_is_expected_as_large_as_certificates_find_it(p: float, audited: bool) -> None:
    """A checked answer is a whole output: its even part stands beside the claim, too."""
    game = Polynomial(n_units=30, w1=0.72, w2=0.2, w3=0.08, p=p)
    world = World(outputs=game.outputs, scores=game.best, p=p, n_families=200, n_siblings=2, rho=0.05)
    rng, found = np.random.default_rng(2), []
    for _ in range(60):
        readings = world.readings(rng)
        even = 0.0 if readings.even is None else readings.even[:, 0]
        checked = Checked(outputs=readings.output[:, 0] + even, linear=readings.linear[:, 0], n_false=0)
        made = certify(readings, delta=0.05, across=Across.MEAN, checked=checked if audited else None)
        found.append((made.variance_error[0] / stats.t.ppf(0.95, 199)) ** 2 * 200 * (1 if audited else 2 / 1.05))
    beside = np.full((1, 1, 1), 0.08 if p == 0.5 and not audited else 0.28)
    expected = float(forecast.share_variance(beside, np.full((1, 1, 1), 0.28))[0, 0, 0])
    assert 0.5 * expected < np.mean(found) < 1.1 * expected


def test_targets_of_unlike_quality_cost_more_and_those_that_err_apart_less() -> None:
    design = shape().design(60, 4, 0.4)
    every = [
        shape(replace(GOOD, spread=spread), n_targets=50, across=Across.EVERY).power(design, 0.1)
        for spread in (0.0, 0.3, 0.6)
    ]
    assert every == sorted(every, reverse=True)
    assert every[0] > every[-1]
    mean = [
        shape(replace(GOOD, rank=rank), n_targets=50).power(shape().design(20, 2, 0.6)) for rank in (1.0, 4.0, 25.0)
    ]
    assert mean == sorted(mean)
    assert mean[0] < mean[-1]


def test_across_every_counts_every_target_once_and_none_as_better_than_it_is() -> None:
    shares = shape(n_targets=200, across=Across.EVERY).rows
    assert sum(count for _, count in shares) == 200
    scores = stats.norm.ppf((np.arange(200, 0, -1) - 0.375) / 200.25)
    taken = np.repeat([worse for worse, _ in shares], [int(count) for _, count in shares])
    assert (taken >= np.exp(forecast.SPREAD * scores - forecast.SPREAD**2 / 2) - 1e-12).all()


@pytest.mark.parametrize("across", Across)
def test_one_target_is_planned_alike_across_the_mean_and_across_every(across: Across) -> None:
    assert planned(across=across).terms.looks == planned().terms.looks


def test_expected_retrainings_count_a_later_look_as_often_as_it_is_taken() -> None:
    found = planned(max_retrainings=400)
    sizes = [look.n_evaluations for look in found.terms.looks]
    assert found.expected_retrained == pytest.approx(sizes[0] + (1 - found.first.power) * sizes[1])
    assert found.n_retrained[0] <= found.expected_retrained <= found.n_retrained[1] == sum(sizes)
    assert found.expected_answered == 0.0


def test_audited_plans_expect_answers_and_checks_alike() -> None:
    found = planned(assurance=Assurance.AUDITED, max_retrainings=200, max_answers=2000)
    looks = sum(found.undecided)
    assert 1.0 <= looks < 1.2
    assert found.expected_retrained == pytest.approx(found.terms.n_checks * looks)
    assert found.n_answered[0] <= found.expected_answered <= found.n_answered[1]


def test_a_larger_budget_buys_a_larger_first_look_only_where_that_saves_more() -> None:
    small, large = planned(max_retrainings=300), planned(max_retrainings=4000)
    assert large.n_retrained[0] > small.n_retrained[0]
    assert large.first.power > small.first.power >= 0.9
    alone = planned(max_retrainings=4000, n_looks=1)
    least = alone.n_retrained[0]
    assert least <= small.n_retrained[0]
    left = (1 - small.first.power) * (4000 - small.n_retrained[0])
    assert large.expected_retrained < small.n_retrained[0] + left


@pytest.mark.parametrize("across", Across)
def test_a_budget_too_small_for_the_promise_is_spent_and_said_so(across: Across) -> None:
    found = planned(n_targets=20, across=across, epsilon=0.02, max_retrainings=100)
    assert not found.sufficient
    assert found.last.power < 0.9
    assert found.n_retrained[1] > 90


def test_a_budget_below_the_smallest_design_is_refused_with_what_would_do() -> None:
    with pytest.raises(BudgetError, match="at least 40 retrainings, got 39: raise --max-retrainings to 40"):
        planned(max_retrainings=39)
    assert planned(max_retrainings=40).n_retrained[1] == 40


def test_no_number_of_retrainings_accepts_a_claim_whose_own_gap_is_epsilon() -> None:
    task = task_of(30)
    outlook = replace(GOOD, relative_gap=0.05, residual=0.05)
    assert retrainings_needed(task, epsilon=0.05, delta=0.05, across=Across.MEAN, outlook=outlook) is None


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"epsilon": 0.0}, "epsilon: expected"),
        ({"epsilon": float("nan")}, "epsilon: expected"),
        ({"delta": 1.0}, "delta: expected"),
        ({"n_looks": 0}, "looks: expected 1 to 16"),
        ({"assurance": Assurance.AUDITED, "n_checks": 1}, "at least 2 answers to recheck"),
    ],
)
def test_a_number_out_of_range_is_refused_by_name(asked: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        planned(**asked)


@pytest.mark.parametrize(
    "figures",
    [
        Figures(relative_gap=0.0, odd_residual=0.0, r2=1.0, n_retrainings=0),
        Figures(relative_gap=1e300, odd_residual=0.0, r2=-1e300, n_retrainings=0),
        Figures(relative_gap=0.0, odd_residual=1e300, r2=1.0, n_retrainings=10**9),
        Figures(relative_gap=5e-324, odd_residual=5e-324, r2=-5e-324, n_retrainings=1),
    ],
    ids=["perfect", "absurd gap", "absurd residual", "denormal"],
)
@pytest.mark.parametrize("assurance", Assurance)
@pytest.mark.parametrize("across", Across)
def test_any_figures_give_a_plan_within_the_budget(figures: Figures, assurance: Assurance, across: Across) -> None:
    found = planned(Outlook.of(figures), n_targets=3, assurance=assurance, across=across, max_retrainings=300)
    assert found.n_retrained[1] <= 300
    assert 0 <= found.first.power <= found.last.power <= 1
