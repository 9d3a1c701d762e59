"""Plans: what they promise is what mean squares give, none of the grid is cheaper, and an absurd budget is refused.

Fixed seeds. A simulated rate fails a test when its exact binomial probability under the promise is below 1 in 10,000.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate, pairwise, product

import numpy as np
import pytest
from scipy import stats

from protocol.certificate.gaussian import forecast, plan
from protocol.certificate.gaussian.families import MIN_FAMILIES, certify, spread_degrees, upper_bound_of
from protocol.certificate.gaussian.looks import MIN_GROWTH, shared_level
from protocol.certificate.gaussian.plan import Planned, Shape, best_within, retrainings_needed
from protocol.certificate.planning import SPREAD, Outlook
from protocol.certificate.readings import joined
from protocol.certificate.terms import Across
from protocol.claim import Figures
from protocol.errors import ArgumentError, BudgetError
from protocol.game.known import Polynomial
from tests.games import task_of
from tests.protocol.certificate.simulate import World

FALSE_ALARM = 1e-4
GOOD = Outlook(relative_gap=0.006, residual=0.016, r2=0.93)
NOISY = Outlook(relative_gap=0.05, residual=0.55, r2=0.35)


def planned(outlook: Outlook = GOOD, p: float = 0.5, n_targets: int = 1, **asked: object) -> Planned:
    wanted: dict[str, object] = {
        "epsilon": 0.05, "delta": 0.05, "across": Across.MEAN, "max_retrainings": 2000, **asked,
    }  # fmt: skip
    return best_within(task_of(30, n_targets=n_targets, p=p), outlook=outlook, **wanted)  # type: ignore[arg-type]


def trainings(found: Planned) -> int:
    """All that a plan asks for, if every look is taken."""
    return sum(look.n_evaluations for look in found.looks)


def shape(outlook: Outlook = GOOD, p: float = 0.5, n_targets: int = 1, across: Across = Across.MEAN) -> Shape:
    alpha = 0.05 / (n_targets if across is Across.EVERY else 1)
    return Shape(task_of(30, n_targets=n_targets, p=p), across, 0.05, alpha, outlook)


@pytest.mark.parametrize("noise", [0.0, 0.4])
@pytest.mark.parametrize("rank", [1, 9])
@pytest.mark.parametrize(("outlook", "epsilon"), [(GOOD, 0.05), (NOISY, 0.3)])
def test_power_is_how_often_simulated_families_give_a_bound_below_epsilon(
    outlook: Outlook, epsilon: float, rank: int, noise: float
) -> None:
    """The naive twin draws Gaussian families, target by target, and judges them as the certificate does."""
    rng, n = np.random.default_rng(5), 1200
    outlook = replace(outlook, rank=float(rank), noise=noise * outlook.residual)
    g, v, rest = outlook.relative_gap, outlook.residual, 1 - outlook.r2
    for n_families, s, rho in ((25, 2, 0.6), (40, 4, 0.3), (40, 16, 0.2)):
        between = rho * g + rho**3 * (v - g - outlook.noise)
        means = rng.standard_normal((n, n_families, rank)) * np.sqrt((v + (s - 1) * between) / s)
        within = (v - between) * rng.chisquare(s - 1, (n, n_families, rank)) / (s - 1)
        values, spreads = s * (means**2).mean(axis=2).T, within.mean(axis=2).T
        n_b = spread_degrees(values, n_families * rank**0.5)
        n_w = spread_degrees(spreads, n_families * (s - 1) * rank**0.5)
        sd = np.sqrt(min(4 * v + 2 * rest**2, 2) * (1 + (s - 1) * rho) / (s * n_families))
        variance = np.maximum(1 + sd * rng.standard_normal(n), 0.05)
        upper = upper_bound_of(
            values.mean(axis=0) / variance, spreads.mean(axis=0) / variance,
            stats.t.ppf(0.95, n_families - 1) * sd / variance, s=s, rho=rho, n_b=n_b, n_w=n_w, alpha=0.05,
        )  # fmt: skip
        expected = shape(outlook).power(shape().design(n_families, s, rho), epsilon)
        accepted = float((upper <= epsilon).mean())
        margin = 4 * np.sqrt(max(expected * (1 - expected), 1e-3) / n)
        assert expected - margin - 0.01 <= accepted <= expected + margin + 0.1, (n_families, s, rho)


@pytest.mark.parametrize("alpha", [0.05, 0.00025])
def test_the_largest_mean_square_that_passes_is_the_one_whose_bound_is_epsilon(alpha: float) -> None:
    """The certificate's own bound, met from below and from above, with MSW and the error of Var f from none to much."""
    for (n_b, s, rho), epsilon in product(((10.0, 2, 0.7), (40.0, 8, 0.3), (300.0, 3, 0.2)), (0.02, 0.3)):
        msw, error = (part.ravel() for part in np.meshgrid([0.0, 0.003, 0.02, 0.3], [0.0, 0.2, 0.7, 0.999]))
        boxes = (part[None, None] for part in (msw, error))
        n_w = n_b * (s - 1)
        most = forecast.largest_passing(*boxes, epsilon * s * rho, n_b=n_b, n_w=n_w, alpha=alpha).ravel()
        for side, passes in ((0.999, True), (1.001, False)):
            upper = upper_bound_of(most * side, msw, error, s=s, rho=rho, n_b=n_b, n_w=n_w, alpha=alpha)
            assert ((upper <= epsilon) == passes).all()
    one = np.ones((1, 1, 1))
    assert forecast.largest_passing(one, one, 1.0, n_b=10.0, n_w=10.0, alpha=alpha) == 0.0


def test_tails_of_many_targets_are_exact() -> None:
    """One target of 200 may miss with probability 1 in 2,000: a grid of quantiles would see 0 or 1 in grid's size."""
    design = shape().design(60, 2, 0.5)
    missed = 1 - shape().power(design)
    assert 1e-7 < missed < 5e-3
    doubled = shape().design(120, 2, 0.5)
    assert 0 < 1 - shape().power(doubled) < missed / 10


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_power_rises_with_families_and_falls_with_the_gap(p: float) -> None:
    powers = [shape(p=p).power(shape(p=p).design(n, 4, 0.3)) for n in (25, 35, 50, 80, 160)]
    assert powers == sorted(powers)
    assert powers[0] < powers[-1]
    design = shape(p=p).design(40, 4, 0.3)
    worse = [shape(replace(GOOD, relative_gap=gap), p).power(design) for gap in (0.0, 0.004, 0.008, 0.016)]
    assert worse == sorted(worse, reverse=True)
    assert worse[0] > worse[-1]


def test_a_claim_at_epsilon_is_accepted_no_more_often_than_delta() -> None:
    """What the planner forecasts and what the certificate guarantees agree where they meet; all of v is the gap."""
    at = Outlook(relative_gap=0.05, residual=0.05, r2=0.95)
    for n_families, s, rho in ((25, 2, 0.7), (50, 4, 0.3)):
        assert 0.01 < shape(at).power(shape(at).design(n_families, s, rho)) <= 0.055


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


def test_what_is_known_to_be_noise_asks_for_far_fewer_retrainings() -> None:
    """It is in no covariance of siblings, so a large correlation is free: THEORY 10."""
    task = task_of(30)
    for v, epsilon, half, all_noise in ((0.25, 0.05, 2496, 480), (0.25, 0.02, 11712, 1200), (0.4, 0.02, 33216, 2160)):
        counts = [
            retrainings_needed(
                task, epsilon=epsilon, delta=0.05, across=Across.MEAN,
                outlook=Outlook(relative_gap=0.0, residual=v, r2=1 - v, noise=share * v),
            )
            for share in (0.5, 1.0, 7.0)
        ]  # fmt: skip
        assert counts == [half, all_noise, all_noise], "pinned: no more than the residual can be noise"
        unknown = retrainings_needed(
            task, epsilon=epsilon, delta=0.05, across=Across.MEAN,
            outlook=Outlook(relative_gap=0.0, residual=v, r2=1 - v),
        )  # fmt: skip
        assert unknown is not None
        assert unknown > 7 * all_noise


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("p", [0.5, 0.3])
def test_an_honest_claim_is_accepted_as_often_as_promised(p: float, noisy: bool) -> None:
    game = Polynomial(n_units=30, w1=0.92, w2=0.06, w3=0.02, p=p)
    missed = 0.02 if p == 0.5 else 0.08
    noise = 0.1 if noisy else 0.0
    outlook = Outlook(relative_gap=0.0, residual=missed + noise, r2=0.92 - noise, noise=noise)
    one = planned(outlook, p, epsilon=0.12, n_looks=1)
    design = one.looks[0]
    rng, runs = np.random.default_rng(11), 150
    sd = np.sqrt(noise * (2 if p == 0.5 else 1))  # halved in the odd part

    def outputs(subsets: np.ndarray) -> np.ndarray:
        return game.outputs(subsets) + sd * rng.standard_normal((len(subsets), 1))

    world = World(
        outputs=outputs, scores=game.best, p=p, n_families=design.n_families, n_siblings=design.n_siblings,
        rho=design.rho,
    )  # fmt: skip
    ends = np.full(1, 8.0)
    accepted = sum(
        certify(world.readings(rng), delta=0.05, across=Across.MEAN, lo=-ends, hi=ends).upper_bound <= 0.12
        for _ in range(runs)
    )
    assert one.first.power >= 0.9
    assert accepted >= stats.binom.ppf(FALSE_ALARM, runs, one.first.power)


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_the_error_of_var_f_is_expected_as_large_as_certificates_find_it(p: float) -> None:
    game = Polynomial(n_units=30, w1=0.72, w2=0.2, w3=0.08, p=p)
    world = World(outputs=game.outputs, scores=game.best, p=p, n_families=200, n_siblings=2, rho=0.05)
    rng, found, ends = np.random.default_rng(2), [], np.full(1, 8.0)
    for _ in range(60):
        made = certify(world.readings(rng), delta=0.05, across=Across.MEAN, lo=-ends, hi=ends)
        found.append((made.variance_error[0] / stats.t.ppf(0.95, 199)) ** 2 * 200 * 2 / 1.05)
    beside = np.full((1, 1, 1), 0.08 if p == 0.5 else 0.28)
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
        shape(replace(GOOD, rank=rank), n_targets=50).power(shape().design(25, 2, 0.6), 0.02)
        for rank in (1.0, 4.0, 25.0)
    ]
    assert mean == sorted(mean)
    assert mean[0] < mean[-1]


def test_across_every_counts_every_target_once_and_none_as_better_than_it_is() -> None:
    shares = shape(n_targets=200, across=Across.EVERY).rows
    assert sum(count for _, count in shares) == 200
    scores = stats.norm.ppf((np.arange(200, 0, -1) - 0.375) / 200.25)
    taken = np.repeat([worse for worse, _ in shares], [int(count) for _, count in shares])
    assert (taken >= np.exp(SPREAD * scores - SPREAD**2 / 2) - 1e-12).all()


@pytest.mark.parametrize("across", Across)
def test_one_target_is_planned_alike_across_the_mean_and_across_every(across: Across) -> None:
    assert planned(across=across).looks == planned().looks


def test_expected_retrainings_count_a_later_look_as_often_as_it_is_taken() -> None:
    found = planned(max_retrainings=400)
    sizes = [look.n_evaluations for look in found.looks]
    totals = tuple(accumulate(look.n_families for look in found.looks))
    at = Shape(task_of(30), Across.MEAN, 0.05, shared_level(totals, 0.05), GOOD)
    powers = [at.power(replace(found.looks[0], n_families=total)) for total in totals]
    reached = [max(powers[: look + 1]) for look in range(len(sizes))]
    taken = [1.0, *(1 - power for power in reached[:-1])]
    assert found.expected == pytest.approx(sum(size * share for size, share in zip(sizes, taken, strict=True)))
    assert sizes[0] <= found.expected <= sum(sizes) <= 400


@pytest.mark.parametrize(("epsilon", "budget"), [(0.05, 400), (0.05, 2000), (0.02, 4000), (0.01, 20_000)])
@pytest.mark.parametrize("n_looks", [1, 2, 5, 10, 16])
def test_looks_are_as_many_as_asked_for_grow_and_fill_the_budget(epsilon: float, budget: int, n_looks: int) -> None:
    found = planned(epsilon=epsilon, max_retrainings=budget, n_looks=n_looks)
    totals = list(accumulate(look.n_families for look in found.looks))
    assert 1 <= len(totals) <= n_looks
    assert totals[0] >= MIN_FAMILIES
    assert all(after >= MIN_GROWTH * before for before, after in pairwise(totals))
    per_family = found.looks[0].n_evaluations // found.looks[0].n_families
    assert n_looks == 1 or budget - per_family < trainings(found) <= budget
    assert found.last.power >= 0.9


def test_looking_often_costs_less_and_one_look_at_the_end_the_most() -> None:
    expected = [planned(epsilon=0.02, n_looks=looks).expected for looks in (2, 4, 10)]
    assert expected == sorted(expected, reverse=True)
    assert expected[2] < 0.85 * expected[0]


@pytest.mark.slow
def test_a_session_of_ten_looks_takes_no_more_retrainings_than_expected() -> None:
    """Two hundred honest sessions, stopped at their first ACCEPT; four standard errors of the mean allowed."""
    found = planned(Outlook(relative_gap=0.0, residual=0.02, r2=0.98), epsilon=0.03, max_retrainings=1000)
    game = Polynomial(n_units=30, w1=0.98, w2=0.0, w3=0.02)
    totals = tuple(accumulate(look.n_families for look in found.looks))
    rng, ends, used = np.random.default_rng(7), np.full(1, 6.0), []
    for _ in range(200):
        parts, trained = [], 0
        for look in found.looks:
            world = World(
                outputs=game.outputs, scores=game.best, p=0.5, n_families=look.n_families, n_siblings=look.n_siblings,
                rho=look.rho,
            )  # fmt: skip
            parts.append(world.readings(rng))
            trained += look.n_evaluations
            judged = certify(joined(parts), delta=0.05, across=Across.MEAN, lo=-ends, hi=ends, looks=totals)
            if judged.upper_bound <= 0.03:
                break
        used.append(trained)
    assert np.mean(used) <= found.expected + 4 * np.std(used) / np.sqrt(200)
    assert np.mean(used) >= 0.6 * found.expected


@pytest.mark.parametrize("across", Across)
def test_a_budget_too_small_for_the_promise_is_spent_and_said_so(across: Across) -> None:
    found = planned(n_targets=20, across=across, epsilon=0.01, max_retrainings=110)
    assert found.last.power < 0.9
    assert trainings(found) > 100


def test_a_budget_below_the_smallest_design_is_refused_with_what_would_do() -> None:
    with pytest.raises(BudgetError, match="at least 100 retrainings, got 99: raise --max-retrainings to 100"):
        planned(max_retrainings=99)
    assert trainings(planned(max_retrainings=100)) == 100


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
        ({"n_looks": 17}, "looks: expected 1 to 16"),
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
@pytest.mark.parametrize("across", Across)
def test_any_figures_give_a_plan_within_the_budget(figures: Figures, across: Across) -> None:
    found = planned(Outlook.of(figures), n_targets=3, across=across, max_retrainings=300)
    assert trainings(found) <= 300
    assert 0 <= found.first.power <= found.last.power <= 1
