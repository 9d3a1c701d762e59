"""Algorithm 1's counts against their derivation, its fit against a naive twin, and the claims that it refuses."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from protocol.certificate.algorithm1.bound import (
    SHARES,
    Counts,
    certify,
    check_enough,
    coefficient_norm,
    counts,
    is_certainly_off,
    largest_planned,
    largest_prediction,
    norm_excess,
)
from protocol.certificate.spot_check import detection_probability
from protocol.claim import MAX_MAGNITUDE, Claim
from protocol.encoding import Seed
from protocol.errors import ArgumentError
from protocol.game.known import Majority, Polynomial
from protocol.game.sampling import Design, Draw
from protocol.task import Task
from tests.games import task_of
from tests.protocol.certificate.enumeration import every_subset, values_of, weights

CASES = [(0.9, 0.05, 1.0, 1.0), (0.3, 0.2, 2.0, 0.5), (0.05, 0.05, 1.0, 1.5), (40.0, 0.01, 5.0, 0.0)]
"""epsilon, delta, b, largest"""


def of(case: tuple[float, float, float, float]) -> Counts:
    epsilon, delta, b, largest = case
    return counts(epsilon=epsilon, delta=delta, b=b, largest=largest)


def fitted(rho: float, values: np.ndarray) -> float:
    """B_0 + B_1 of the parabola through h(rho), h(2 rho) and h(0), by numpy."""
    _, first, constant = np.polyfit([rho, 2 * rho, 0.0], values, 2)
    return float(first + constant)


def lagrange(rho: float) -> np.ndarray:
    return np.array([fitted(rho, values) for values in np.eye(3)])


# The counts.


@pytest.mark.parametrize("rho", [0.01, 0.1, 0.25, 1 / 3])
def test_the_parabola_falls_short_of_degree_one_by_what_the_rate_was_chosen_for(rho: float) -> None:
    for degree in range(12):
        short = float(degree <= 1) - fitted(rho, np.array([rho, 2 * rho, 0.0]) ** degree)
        assert -1e-9 <= short <= 2 * rho**2 + 1e-9
        if degree == 3:
            assert short == pytest.approx(2 * rho**2)


@pytest.mark.parametrize("case", CASES)
def test_the_errors_make_half_of_epsilon(case: tuple[float, float, float, float]) -> None:
    (epsilon, _, b, _), asked = case, of(case)
    total = np.abs(lagrange(asked.rho)).sum()
    bias = 2 * asked.rho**2 * b**2
    false = asked.max_false_pairs * 2 * b**2 * total
    statistical = epsilon * (SHARES["fit"] + SHARES["total"] + SHARES["claim"])
    assert bias + false + statistical <= epsilon / 2 * (1 + 1e-9)
    assert 2 * SHARES["bias"] == SHARES["fit"], "where the pairs are fewest"
    spare = epsilon * SHARES["total"] * (1 - np.sqrt(0.5))  # h(1) is a mean over both outputs of a pair
    assert asked.max_false_pairs * b**2 <= spare


@pytest.mark.parametrize("case", CASES)
def test_the_counts_are_hoeffdings_and_no_more(case: tuple[float, float, float, float]) -> None:
    """Each of three means is off by its share with probability delta / 4 at most; with a twentieth less, not so."""
    (epsilon, delta, b, largest), asked = case, of(case)
    weight = lagrange(asked.rho)

    def failure(name: str, ranges: np.ndarray, n: np.ndarray) -> float:
        return float(2 * np.exp(-2 * (SHARES[name] * epsilon) ** 2 / (ranges**2 / n).sum()))

    pairs = np.array(asked.pairs, dtype=float)
    assert failure("fit", 2 * b**2 * weight, pairs) <= delta / 4
    assert failure("total", np.array([b**2]), pairs[2:]) <= delta / 4
    fresh, square = np.array([float(asked.fresh)]), np.array([(b + largest) ** 2])
    assert failure("claim", square, fresh) <= delta / 4 < failure("claim", square, 0.95 * fresh)
    if asked.rho < 1 / 3:  # where the rate is at its ceiling, h(1) may ask for more pairs at 0 than the fit does
        assert failure("fit", 2 * b**2 * weight, 0.95 * pairs) > delta / 4


def test_the_counts_hold_in_the_worst_case_and_half_of_them_do_not() -> None:
    """Products of +-b^2 and squares of 0 or (b + G)^2, each as likely: nothing in its range varies more."""
    epsilon, delta, b, largest = 0.9, 0.05, 1.0, 1.0
    asked, rng, n_runs = of((epsilon, delta, b, largest)), np.random.default_rng(0), 100_000
    weight = lagrange(asked.rho)

    def misses(share: float) -> tuple[int, int]:
        pairs = (share * np.array(asked.pairs)).astype(int)
        products = b**2 * (2 * rng.binomial(pairs, 0.5, (n_runs, 3)) / pairs - 1)
        fresh = int(share * asked.fresh)
        squares = (b + largest) ** 2 * (rng.binomial(fresh, 0.5, n_runs) / fresh - 0.5)
        fit, claim = np.abs(products @ weight), np.abs(squares)
        return int((fit > SHARES["fit"] * epsilon).sum()), int((claim > SHARES["claim"] * epsilon).sum())

    most = stats.binom.ppf(1 - 1e-6, n_runs, delta / 4)
    assert max(misses(1.0)) <= most < min(misses(0.5))


@pytest.mark.parametrize("case", CASES)
def test_clean_checks_leave_no_more_false_pairs_than_were_allowed_for(case: tuple[float, float, float, float]) -> None:
    asked = of(case)
    for n_pairs in asked.pairs:
        if asked.n_checks < 2 * n_pairs:
            n_false = math.floor(asked.max_false_pairs * n_pairs) + 1  # one false answer makes a pair false
            assert 1 - detection_probability(2 * n_pairs, n_false, asked.n_checks) <= case[1] / 12


def test_counts_are_of_the_scale_of_the_range() -> None:
    small, large = of((0.3, 0.05, 1.0, 1.0)), of((0.3 * 9, 0.05, 3.0, 3.0))
    assert replace(large, largest=1.0) == replace(small, max_false_pairs=large.max_false_pairs)
    assert large.max_false_pairs == pytest.approx(small.max_false_pairs)


def test_what_cannot_be_counted_is_refused() -> None:
    for change in ({"epsilon": 0.0}, {"delta": 1.0}, {"b": 0.0}, {"largest": -1.0}):
        with pytest.raises(ArgumentError, match="algorithm1: expected epsilon, b above 0"):
            counts(**{"epsilon": 0.5, "delta": 0.1, "b": 1.0, "largest": 1.0, **change})
    with pytest.raises(ArgumentError, match="algorithm1: expected at most 50000000 trainings a round"):
        of((1e-3, 0.05, 1.0, 1.0)).designs()


# The norm, and whether there is enough.


def task(n_units: int = 3, b: float = 1.0) -> Task:
    return task_of(n_units, bound=b)


def claim_of(asked: Task, scores: np.ndarray, intercept: float = 0.0) -> Claim:
    return Claim(task_digest=asked.digest, intercepts=np.array([intercept]), scores=np.atleast_2d(scores))


def test_the_largest_prediction_is_that_of_enumeration() -> None:
    rng, asked = np.random.default_rng(0), task(6)
    for _ in range(20):
        claim = claim_of(asked, rng.standard_normal(6), float(rng.standard_normal()))
        middle = float(rng.standard_normal())
        predicted = every_subset(6) @ claim.scores[0] + claim.intercepts[0]
        assert largest_prediction(claim, middle) == pytest.approx(np.abs(predicted - middle).max(), rel=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_the_norm_that_was_planned_for_passes_and_a_larger_one_does_not(
    case: tuple[float, float, float, float],
) -> None:
    (epsilon, delta, b, largest), asked = case, task(3, case[2])
    designs = replace(of(case), pairs=(2, 2, 2)).designs()
    share = {"epsilon": epsilon / b**2, "delta": delta}
    for scores, why in (
        (np.array([largest, 0.0, 0.0]), None),
        (np.array([largest, -largest, 0.0]), None),
        (np.array([1.01 * largest + 1e-2 * b, 0.0, 0.0]), "the claim predicts up to "),
        (np.array([0.0, 0.0, -1e6 * b]), "gap over the squared half range is at least "),
        (np.full(3, MAX_MAGNITUDE), "gap over the squared half range is at least "),
    ):
        found = norm_excess(asked, claim_of(asked, scores), designs[-1], **share)
        assert found is why if why is None or found is None else found.startswith(why), found
    assert largest_planned(of(case).fresh, epsilon=epsilon, delta=delta, b=b) >= largest * (1 - 1e-9)


@pytest.mark.parametrize("p", [0.5, 0.2])
def test_a_claim_is_certainly_off_only_where_its_gap_is_above_epsilon_whatever_f_is(p: float) -> None:
    """f as like the claim as its range lets it be: +-b wherever the claim is above or below the middle."""
    rng, asked, subsets = np.random.default_rng(0), task_of(5, p=p, bound=2.0), every_subset(5)
    likely = np.prod(np.where(subsets, asked.measure.p, 1 - asked.measure.p), axis=1)
    n_off = 0
    for _ in range(300):
        claim = claim_of(asked, rng.standard_normal(5) * rng.uniform(0, 6), float(rng.standard_normal()))
        predicted = subsets @ claim.scores[0] + claim.intercepts[0]
        f = 2.0 * np.sign(predicted)
        phi = np.column_stack(
            [np.ones(len(subsets)), (subsets - asked.measure.p) / np.sqrt(asked.measure.p * (1 - asked.measure.p))]
        )
        gap = float(((f - predicted) * likely) @ phi @ phi.T @ ((f - predicted) * likely))
        norm = np.sqrt((predicted * likely) @ phi @ phi.T @ (predicted * likely)) / 2.0
        assert coefficient_norm(asked, claim) == pytest.approx(norm, rel=1e-9)
        off = is_certainly_off(asked, claim, 0.5)
        assert off is bool(norm > 1 + np.sqrt(0.5))
        assert not off or gap > 0.5 * 4
        n_off += off
    assert 30 < n_off < 270


def test_rounds_of_the_counts_are_enough_and_fewer_are_not() -> None:
    asked = counts(epsilon=0.9 * 4, delta=0.5, b=2.0, largest=3.0)
    designs, share = asked.designs(), {"epsilon": 0.9, "delta": 0.5}
    check_enough(task(b=2.0), designs, asked.n_checks, **share)
    least = counts(epsilon=0.9 * 4, delta=0.5, b=2.0, largest=0.0).designs()
    for i, name in enumerate(("rho", "2 rho", "0", "fresh")):
        for change in ({"n_families": least[i].n_families - 1}, {"keep_16": designs[i].keep_16 + 1}):
            fewer = [replace(look, **change) if j == i else look for j, look in enumerate(designs)]
            with pytest.raises(ArgumentError, match=f"algorithm1: expected .* in the round at {name}, keep_16"):
                check_enough(task(b=2.0), tuple(fewer), asked.n_checks, **share)
    with pytest.raises(ArgumentError, match="or more checks a round"):
        check_enough(task(b=2.0), designs, asked.n_checks - 1, **share)


# What four rounds give.


def rounds_of(
    asked: Task, game: Majority | Polynomial, n_pairs: int, fresh: int, rho: float = 0.2
) -> list[tuple[Draw, np.ndarray]]:
    designs: tuple[Design, ...] = Counts(
        rho=rho, pairs=(n_pairs,) * 3, fresh=fresh, n_checks=1, max_false_pairs=0.1, largest=1.0
    ).designs()
    draws = [Draw(seed=Seed(bytes([i]) * 32), design=design) for i, design in enumerate(designs)]
    return [(draw, game.outputs(draw.subsets(asked, np.arange(draw.n_evaluations)))) for draw in draws]


def test_the_parts_are_near_the_truth_and_those_of_the_naive_twin() -> None:
    game, asked, n = Majority(n_units=5), task(5), 4000
    claim = claim_of(asked, game.best, -float(game.best.sum()) / 2 + 0.2)  # an intercept off by 0.2 counts, too
    rounds = rounds_of(asked, game, n, n)
    found = certify(asked, claim, rounds, epsilon=0.5, delta=0.05)
    stability = [float((o.reshape(-1, 2)[:, 0] * o.reshape(-1, 2)[:, 1]).mean()) for _, o in rounds[:3]]
    rhos = [rounds[0][0].design.rho, rounds[1][0].design.rho]
    _, first, constant = np.polyfit([*rhos, 0.0], stability, 2)
    assert (found.degree_0, found.degree_1) == pytest.approx((max(constant, 0.0), first), rel=1e-6, abs=1e-9)
    assert found.total == 1.0
    true = weights(values_of(game.outputs, 5), 5, 0.5)
    assert found.degree_1 == pytest.approx(true[1], abs=4 * np.abs(lagrange(0.2)).sum() / np.sqrt(n))
    assert found.mean_squared_error == pytest.approx(true[2:].sum() + 0.2**2, abs=4 / np.sqrt(n))
    excess = found.mean_squared_error - (found.total - found.degree_0 - found.degree_1)
    assert (found.upper_bound, found.lower_bound) == pytest.approx((excess + 0.25, excess - 0.25))


def test_everything_is_in_shares_of_the_squared_half_range() -> None:
    game, wide = Majority(n_units=3), task(3, b=4.0)
    claim = claim_of(wide, game.best, -1.5)
    rounds = rounds_of(wide, game, 500, 500)
    scaled = claim_of(wide, 2 * game.best, -3.0)
    one = certify(wide, claim, rounds, epsilon=0.5, delta=0.05)
    two = certify(wide, scaled, [(draw, 2 * outputs) for draw, outputs in rounds], epsilon=0.5, delta=0.05)
    assert two.upper_bound - 0.25 == pytest.approx(4 * (one.upper_bound - 0.25))
    assert one.upper_bound - 0.25 == pytest.approx(
        (one.mean_squared_error - one.total + one.degree_0 + one.degree_1) / 16
    )


def test_no_weight_is_negative() -> None:
    """Parity's h is 0 below 1; what noise there is must not come out as a weight below nothing."""
    game, asked = Polynomial(n_units=6, w1=0.0, w2=0.0, w3=1.0), task(6, b=6.0)
    for rho in (0.1, 0.2, 0.3):
        found = certify(
            asked, claim_of(asked, np.zeros(6)), rounds_of(asked, game, 50, 10, rho), epsilon=0.5, delta=0.5
        )
        assert found.degree_0 >= 0.0
        assert found.degree_1 >= 0.0


def test_other_rounds_than_four_and_other_targets_than_one_are_refused() -> None:
    game, asked = Majority(n_units=3), task()
    rounds = rounds_of(asked, game, 2, 2)
    with pytest.raises(ArgumentError, match="expected one target and 4 rounds, got 1 and 3"):
        certify(asked, claim_of(asked, game.best), rounds[:3], epsilon=0.5, delta=0.05)
    two = task_of(3, n_targets=2, bound=1.0)
    claim = Claim(task_digest=two.digest, intercepts=np.zeros(2), scores=np.zeros((2, 3)))
    with pytest.raises(ArgumentError, match="expected one target and 4 rounds, got 2 and 4"):
        certify(two, claim, rounds, epsilon=0.5, delta=0.05)
