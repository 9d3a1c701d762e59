"""What clean checks leave possible: against scipy.stats.hypergeom, exact fractions and enumeration of every choice."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from protocol.certificate.spot_check import checks_needed, compare, detection_probability, most_false
from protocol.errors import ArgumentError
from protocol.game.sampling import MAX_EVALUATIONS


def miss(m: int, c: int, k: int) -> Fraction:
    """C(m-c, k) / C(m, k), exactly."""
    return Fraction(math.comb(m - c, k), math.comb(m, k))


def naive_most_false(m: int, k: int, delta: float) -> int:
    return max(c for c in range(m - k + 1) if miss(m, c, k) >= Fraction(str(delta)))  # 0.05 is meant as 1/20


def enumerated_detection(m: int, c: int, k: int) -> float:
    """Over every choice of k checks among m answers, the first c of them false."""
    choices = list(itertools.combinations(range(m), k))
    return sum(any(i < c for i in choice) for choice in choices) / len(choices)


@pytest.mark.parametrize("m", [1, 2, 5, 7])
def test_detection_is_that_of_enumeration(m: int) -> None:
    for c, k in itertools.product(range(m + 1), repeat=2):
        assert detection_probability(m, c, k) == pytest.approx(enumerated_detection(m, c, k), abs=1e-12)


@settings(max_examples=200)
@given(st.integers(1, 400), st.data())
def test_detection_is_hypergeometric(m: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, m)), data.draw(st.integers(0, m))
    assert detection_probability(m, c, k) == pytest.approx(float(1 - miss(m, c, k)), rel=1e-11, abs=1e-15)
    assert detection_probability(m, c, k) == pytest.approx(1 - stats.hypergeom.pmf(0, m, c, k), abs=1e-9)


@settings(max_examples=100)
@given(st.integers(1, 120), st.data())
def test_most_false_is_the_largest_number_still_possible(m: int, data: st.DataObject) -> None:
    k, delta = data.draw(st.integers(0, m)), data.draw(st.sampled_from([0.5, 0.05, 0.025, 1e-6]))
    assert most_false(m, k, delta) == naive_most_false(m, k, delta)


@pytest.mark.parametrize(
    ("m", "k", "delta", "c"), [(5, 1, 0.2, 4), (10, 8, 0.2, 1), (16, 2, 0.05, 12), (20, 1, 0.05, 19)]
)
def test_a_probability_of_delta_itself_is_still_possible(m: int, k: int, delta: float, c: int) -> None:
    """Here the miss has probability 1/5 or 1/20 exactly, and its logarithm rounds to below delta's."""
    assert miss(m, c, k) == Fraction(str(delta))
    assert most_false(m, k, delta) == c


@pytest.mark.parametrize(("m", "c", "k"), [(50_000_000, 1, 1), (50_000_000, 3, 7), (49_999_999, 2, 1_000_000)])
def test_few_among_millions_are_found_as_seldom_as_they_are(m: int, c: int, k: int) -> None:
    """Log-gammas cancel here: they gave (50 million, 1, 1) six times its probability of 2e-8."""
    few, many = sorted((c, k))
    product = math.prod(Fraction(m - i - many, m - i) for i in range(few))
    assert detection_probability(m, c, k) == pytest.approx(float(1 - product), rel=1e-9)


@pytest.mark.parametrize(("c", "k"), [(4097, 100_000), (5000, 5000), (20_000, 30_000)])
def test_where_both_are_many_the_product_and_log_gamma_agree(c: int, k: int) -> None:
    m = MAX_EVALUATIONS
    naive = math.fsum(math.log1p(-k / (m - i)) for i in range(c))
    assert math.log1p(-detection_probability(m, c, k)) == pytest.approx(naive, abs=1e-5)


@pytest.mark.parametrize("m", [1000, 5_000_000, MAX_EVALUATIONS])
@pytest.mark.parametrize("k", [1, 60, 3000])
@pytest.mark.parametrize("delta", [0.05, 1e-4])
def test_one_false_answer_more_would_have_been_found(m: int, k: int, delta: float) -> None:
    k = min(k, m)
    c = most_false(m, k, delta)
    log_miss = [math.fsum(math.log1p(-n / (m - i)) for i in range(k)) if n <= m - k else -math.inf for n in (c, c + 1)]
    assert log_miss[0] >= math.log(delta) - 1e-9
    assert log_miss[1] < math.log(delta) + 1e-9


@pytest.mark.parametrize(("m", "n_false", "delta"), [(100, 5, 0.05), (100, 0, 0.05), (400, 20, 0.025), (37, 36, 0.5)])
def test_checks_needed_are_the_fewest(m: int, n_false: int, delta: float) -> None:
    k = checks_needed(m, n_false, delta)
    assert most_false(m, k, delta) <= n_false
    assert k == 0 or most_false(m, k - 1, delta) > n_false


def test_no_checks_leave_everything_possible_and_all_leave_nothing() -> None:
    assert most_false(40, 0, 0.05) == 40
    assert most_false(40, 40, 0.05) == 0
    assert checks_needed(40, 40, 0.05) == 0


@pytest.mark.parametrize(("m", "c", "k"), [(5, 6, 1), (5, -1, 1), (5, 1, 6), (5, 1, -1)])
def test_more_than_all_answers_are_refused(m: int, c: int, k: int) -> None:
    with pytest.raises(ArgumentError, match=f"from 0 to {m}, got {c} and {k}"):
        detection_probability(m, c, k)


def compared(answered: list[list[float]], retrained: list[list[float]], tolerance: float = 0.5) -> tuple[int, ...]:
    check = compare(
        evaluations=np.array([3, 8, 9][: len(answered)]),
        answered=np.array(answered),
        retrained=np.array(retrained),
        tolerance=tolerance,
        n_answers=20,
        delta=0.05,
    )
    return check.mismatches


def test_an_answer_within_the_tolerance_is_true_and_beyond_it_false() -> None:
    answered = [[0.0, 0.0], [0.0, 0.5], [0.0, -0.75]]
    assert compared(answered, [[0.0, 0.0]] * 3) == (9,)
    assert compared(answered, [[0.0, 0.0]] * 3, tolerance=0.0) == (8, 9)
    assert compared(answered, [[0.0, 0.0]] * 3, tolerance=1.0) == ()


def test_one_false_target_makes_an_answer_false() -> None:
    assert compared([[0.0, 9.0], [9.0, 0.0]], [[0.0, 0.0]] * 2) == (3, 8)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_false(value: float) -> None:
    assert compared([[0.0], [value]], [[0.0], [0.0]]) == (8,)


def test_pairs_are_counted_as_they_are_drawn_and_false_when_either_is() -> None:
    numbers = {"evaluations": np.array([2, 3, 8, 9]), "tolerance": 0.1, "n_answers": 40, "delta": 0.05, "size": 2}
    clean = compare(answered=np.zeros((4, 1)), retrained=np.full((4, 1), 0.05), **numbers)
    assert (clean.n_answers, clean.n_checked, clean.mismatches) == (20, 2, ())
    assert clean.most_false == most_false(20, 2, 0.05) < most_false(40, 4, 0.05)
    for false, number in enumerate(numbers["evaluations"].tolist()):
        retrained = np.zeros((4, 1))
        retrained[false] = 0.2
        found = compare(answered=np.zeros((4, 1)), retrained=retrained, **numbers)
        assert (found.mismatches, found.most_false) == ((number,), None)


def test_a_clean_check_bounds_the_false_and_a_mismatch_does_not() -> None:
    numbers = {"evaluations": np.array([1, 4]), "tolerance": 0.1, "n_answers": 30, "delta": 0.05}
    clean = compare(answered=np.zeros((2, 1)), retrained=np.array([[0.05], [-0.1]]), **numbers)
    assert (clean.mismatches, clean.most_false) == ((), most_false(30, 2, 0.05))
    assert (clean.n_answers, clean.n_checked, clean.delta, clean.largest_difference) == (30, 2, 0.05, 0.1)
    false = compare(answered=np.zeros((2, 1)), retrained=np.array([[0.05], [-0.2]]), **numbers)
    assert (false.mismatches, false.most_false, false.largest_difference) == ((4,), None, 0.2)
