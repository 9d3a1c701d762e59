"""What certificates may know of a game: a statement, validated and named by every field, and its measure B_p."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from protocol.encoding import digest
from protocol.errors import ArgumentError
from protocol.game import HALF, MAX_TARGETS, MAX_UNITS, Measure, SeedPolicy, Statement

STATEMENT = Statement(
    name="made up", n_units=3, lo=np.array([-1.0, 0.0]), hi=np.array([1.0, 2.0]), measure=HALF, seed=7, tolerance=0.25
)

OTHER_VALUES: dict[str, list[dict[str, Any]]] = {
    "name": [{"name": "made up, too"}],
    "n_units": [{"n_units": 4}],
    "lo": [{"lo": np.array([-1.0, 0.5])}],
    "hi": [{"hi": np.array([1.5, 2.0])}],
    "measure": [{"measure": Measure(p_16=100)}],
    "seed_policy": [{"seed_policy": SeedPolicy.PER_SUBSET, "seed": 0}, {"seed": 0}],
    "seed": [{"seed": 8}],
    "tolerance": [{"tolerance": 0.0}],
}


def test_every_field_is_in_a_statements_digest() -> None:
    assert sorted(OTHER_VALUES) == sorted(field.name for field in fields(Statement))
    others = [replace(STATEMENT, **change) for changes in OTHER_VALUES.values() for change in changes]
    assert len({statement.digest for statement in (STATEMENT, *others)}) == len(others) + 1
    assert STATEMENT.digest == digest(
        "game", "made up", 3, STATEMENT.lo, STATEMENT.hi, 32768, "shared", 7, 0.25
    )  # fmt: skip
    assert replace(STATEMENT, tolerance=0).digest == replace(STATEMENT, tolerance=0.0).digest


@pytest.mark.parametrize(
    "change",
    [
        {"n_units": 0},
        {"n_units": MAX_UNITS + 1},
        {"measure": Measure(p_16=0)},
        {"measure": Measure(p_16=65536)},
        {"lo": np.array([-1.0])},
        {"lo": np.empty(0), "hi": np.empty(0)},
        {"lo": np.zeros(MAX_TARGETS + 1), "hi": np.ones(MAX_TARGETS + 1)},
        {"lo": np.array([-1.0, 2.0])},
        {"lo": np.array([-1.0, np.nan])},
        {"hi": np.array([1.0, np.inf])},
        {"seed": -1},
        {"seed": 2**63},
        {"seed_policy": SeedPolicy.PER_SUBSET},
        {"tolerance": -0.5},
        {"tolerance": np.nan},
        {"tolerance": np.inf},
    ],
    ids=str,
)
def test_a_faulty_statement_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=r"^game: expected "):
        replace(STATEMENT, **change)


def test_a_game_may_have_a_single_unit() -> None:
    assert replace(STATEMENT, n_units=1).n_units == 1


@pytest.mark.parametrize("p_16", [1, 6554, 20000, 32768, 60000, 65535])
def test_a_measures_moments_are_those_of_enumeration(p_16: int) -> None:
    measure = Measure(p_16=p_16)
    subsets = np.array(list(itertools.product([False, True], repeat=3)))
    chance = np.array([np.prod([measure.p if bit else 1 - measure.p for bit in row]) for row in subsets])
    weights, intercepts = np.array([[0.5, -2.0, 1.0], [1.0, 1.0, 1.0]]), np.array([3.0, -1.0])
    values = subsets @ weights.T + intercepts
    mean = chance @ values
    np.testing.assert_allclose(measure.mean_of(intercepts, weights), mean, rtol=1e-12)
    # The variance is a difference of numbers near 10, so it is known to 1e-14 of those.
    np.testing.assert_allclose(measure.linear_variance(weights), chance @ (values - mean) ** 2, rtol=1e-9)
    np.testing.assert_allclose(chance @ measure.centred(subsets), 0, atol=1e-12)
    products = (measure.characters(subsets).T * chance) @ values
    np.testing.assert_allclose(measure.coefficients(weights), products.T, atol=1e-9)


@pytest.mark.parametrize("p_16", [655, 6554, 20000, 32768, 60000])
def test_no_linear_function_has_a_larger_kurtosis_than_a_claim_can_give_itself(p_16: int) -> None:
    """About its mean at p = 1/2, where the mean is known; elsewhere about any centre at all."""
    measure, rng = Measure(p_16=p_16), np.random.default_rng(p_16)
    subsets = np.array(list(itertools.product([False, True], repeat=6)))
    chance = np.prod(np.where(subsets, measure.p, 1 - measure.p), axis=1)
    phi = measure.characters(subsets)
    for spread in (0.0, 1.0, 3.0):  # from alike to one that outweighs the rest
        weights = rng.standard_normal((6, 40)) * np.exp(spread * rng.standard_normal((6, 40)))
        weights[:, 0] = np.eye(6)[0]
        sd = np.sqrt((weights**2).sum(axis=0))
        for centre in [0.0] if measure.has_complements else np.linspace(-3, 3, 61):
            h = phi @ weights - centre * sd
            kurtosis = chance @ h**4 / (chance @ h**2) ** 2
            assert (kurtosis <= measure.linear_kurtosis * (1 + 1e-9)).all()


def test_one_unit_comes_near_to_the_least_kurtosis_where_p_is_small() -> None:
    """About the value that it nearly always has, a unit that is in with probability p has 1/p."""
    measure = Measure(p_16=655)
    h = np.array([0.0, 1.0])
    chance = np.array([1 - measure.p, measure.p])
    kurtosis = chance @ h**4 / (chance @ h**2) ** 2
    assert kurtosis == pytest.approx(1 / measure.p)
    assert kurtosis <= measure.linear_kurtosis < 1.1 * kurtosis
    assert HALF.linear_kurtosis == 3.0


def test_complements_are_there_at_one_half_alone() -> None:
    assert HALF.has_complements
    assert HALF.n_sides == 2
    for p_16 in (1, 32767, 32769, 65535):
        assert not Measure(p_16=p_16).has_complements
        assert Measure(p_16=p_16).n_sides == 1


@pytest.mark.parametrize("p", [0.5, 0.4, 0.3, 0.2, 0.1, 0.05])
def test_no_scaled_claim_has_more_kurtosis_along_itself_than_is_assumed(p: float) -> None:
    """The square of a linear form, by enumeration of up to eight units: equal scores, and scores at random."""
    measure, rng, largest = Measure(p_16=round(65536 * p)), np.random.default_rng(0), 0.0
    for n in range(1, 9):
        inside = (np.arange(2**n)[:, None] >> np.arange(n)) % 2 == 1
        chance = np.where(inside, measure.p, 1 - measure.p).prod(axis=1)
        for scores in (np.ones(n), *np.exp(rng.standard_normal((30, n))), *rng.standard_normal((30, n))):
            square = ((inside - measure.p) @ scores) ** 2
            off = square - chance @ square
            if chance @ off**2 > 1e-12 * (chance @ square) ** 2:
                largest = max(largest, float(chance @ off**4 / (chance @ off**2) ** 2))
    assert largest <= measure.squared_linear_kurtosis
    assert p > 0.3 or largest > 0.8 * measure.squared_linear_kurtosis
