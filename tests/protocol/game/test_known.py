"""The games' closed forms against enumeration of all subsets: the oracles of the other tests are themselves checked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocol.game import SeedPolicy, harmonic
from protocol.game.known import (
    SHAPES,
    Alike,
    Bent,
    CharacterTimesSquare,
    CharacterWhereAlike,
    Count,
    HeavyTailed,
    Known,
    Linear,
    Majority,
    OneTarget,
    Parity,
    Polynomial,
    Repeated,
    SharedAmplitude,
    SparsePolynomial,
    Spikes,
    Stack,
    Sum,
    Table,
    Threshold,
    Weighted,
    Wide,
    linears,
    statement_of,
)
from tests.games import task_of
from tests.protocol.certificate.enumeration import coefficients, every_subset, values_of, weights

GAMES: dict[str, OneTarget] = {
    "linear": Linear(n_units=6, w1=2.0),
    "linear, of three units": Linear(n_units=6, width=3, seed=1),
    "linear at p = 0.3": Linear(n_units=5, p=0.3),
    "polynomial": Polynomial(n_units=6, w1=0.7, w2=0.2, w3=0.1),
    "polynomial at p = 0.3": Polynomial(n_units=6, w1=0.7, w2=0.2, w3=0.1, p=0.3),
    "polynomial of one degree": Polynomial(n_units=5, w1=2.0, w2=0.0, w3=0.0, p=0.9),
    "parity of one": Parity(n_units=4, degree=1),
    "parity of two": Parity(n_units=4, degree=2),
    "parity of three": Parity(n_units=4, degree=3),
    "majority of five": Majority(n_units=5),
    "majority of seven": Majority(n_units=7),
    "spikes": Spikes(n_units=6, width=3, height=5.0),
    "one spike a unit": Spikes(n_units=4, width=1, height=2.0),
    "sparse polynomial": SparsePolynomial(n_units=7),
    "sparse polynomial at p = 0.3": SparsePolynomial(n_units=6, p=0.3),
    "heavy-tailed": HeavyTailed(n_units=7, width=6, growth=1.5),
    "heavy-tailed, all of its units": HeavyTailed(n_units=4, width=4, growth=1.3),
    "conjunction": Threshold(n_units=5, width=3, least=3),
    "conjunction at p = 0.3": Threshold(n_units=5, width=2, least=2, first=2, p=0.3),
    "one of two at p = 0.7": Threshold(n_units=4, width=2, least=1, p=0.7),
    "at least four of five": Threshold(n_units=6, width=5, least=4, first=1),
    "alike": Alike(n_units=6, width=4, first=1),
    "alike at p = 0.3": Alike(n_units=5, width=3, p=0.3),
    "majority at p = 0.3": Majority(n_units=5, p=0.3),
    "weighted at p = 0.4": Weighted((1.0, -2.0, 0.0, 0.5), p=0.4),
    "count": Count(n_units=6, units=(4, 0, 2), values=(0.5, -1.0, 3.0, 0.0)),
    "count at p = 0.3": Count(n_units=5, units=(1, 4), values=(1.0, 2.0, -4.0), p=0.3),
    "table": Table(n_units=6, units=(5, 1), values=(0.5, -1.0, 3.0, 0.0)),
    "table at p = 0.3": Table(n_units=5, units=(0, 3, 2), values=(1.0, 2.0, -4.0, 0.0, 0.5, 0.25, 8.0, -1.0), p=0.3),
    "character where alike": CharacterWhereAlike(n_units=6, width=4, first=1),
    "character where one other is alike": CharacterWhereAlike(n_units=3, width=1),
    "character times square": CharacterTimesSquare(n_units=7, width=5, first=1),
    "character times square at p = 0.3": CharacterTimesSquare(n_units=5, width=4, p=0.3),
    **{f"bent, {shape}": Bent(n_units=7, shape=shape, width=6, first=1) for shape in SHAPES},
    **{f"bent, {shape}, at p = 0.3": Bent(n_units=5, shape=shape, width=4, p=0.3) for shape in ("tanh", "clip 1.5")},
}
TOGETHER: dict[str, Known] = {
    "sum": Sum((Linear(n_units=6), Threshold(n_units=6, width=4, least=4), Parity(n_units=6, degree=2)), (1, -2, 0.5)),
    "sum at p = 0.3": Sum((Linear(n_units=5, p=0.3), Threshold(n_units=5, width=2, least=1, p=0.3)), (0.25, 4.0)),
    "stack": Stack((Majority(n_units=5), Linear(n_units=5), SharedAmplitude(n_units=5, n_targets=2, width=3))),
    "wide at p = 0.3": Wide(((1.0, 0.0, 2.0), (0.0, -1.0, 0.5)), p=0.3),
    "linears": linears(n_units=5, n_targets=3),
    "repeated": Repeated(Threshold(n_units=5, width=3, least=2), 3),
    "shared amplitude": SharedAmplitude(n_units=7, n_targets=3, width=4),
    "shared amplitude, flat": SharedAmplitude(n_units=6, n_targets=4, flat=True),
    "sum of two of many targets": Sum(
        (SharedAmplitude(n_units=6, n_targets=2, width=3), SharedAmplitude(n_units=6, n_targets=2, flat=True)), (1, 3.0)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GAMES)
def test_best_weights_and_variance_are_those_of_enumeration(name: str) -> None:
    game = GAMES[name]
    values = values_of(game.outputs, game.n_units)
    exact = coefficients(values, game.n_units, game.p)
    first = np.array([[exact[i,] for i in range(game.n_units)]])
    assert harmonic.coefficients_from_weights(game.best, game.p) == pytest.approx(first, abs=1e-12)
    assert game.variance == pytest.approx(weights(values, game.n_units, game.p)[1:].sum(), rel=1e-12)


@pytest.mark.parametrize("name", TOGETHER)
def test_best_weights_of_several_games_are_those_of_enumeration_target_by_target(name: str) -> None:
    game = TOGETHER[name]
    outputs = game.outputs(every_subset(game.n_units))
    assert outputs.shape[1] == len(game.best)
    for target, best in enumerate(game.best):
        exact = coefficients(outputs[:, target], game.n_units, game.p)
        first = [exact[i,] for i in range(game.n_units)]
        assert harmonic.coefficients_from_weights(best, game.p) == pytest.approx(first, abs=1e-12)


@pytest.mark.parametrize("name", [*GAMES, *TOGETHER])
def test_no_output_is_larger_than_the_largest(name: str) -> None:
    game = (GAMES | TOGETHER)[name]
    assert np.abs(game.outputs(every_subset(game.n_units))).max() <= game.largest * (1 + 1e-12)


@pytest.mark.parametrize(
    "name",
    [
        "majority of five",
        "spikes",
        "heavy-tailed",
        "conjunction",
        "bent, cube",
        "character where alike",
        "stack",
        "linears",
        "table",
        "count",
    ],
)
def test_the_largest_is_reached(name: str) -> None:
    """Where the docstring gives a number rather than a bound."""
    game = (GAMES | TOGETHER)[name]
    assert np.abs(game.outputs(every_subset(game.n_units))).max() == pytest.approx(game.largest, rel=1e-12)


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_a_polynomial_has_the_three_weights_asked_for(p: float) -> None:
    game = Polynomial(n_units=6, w1=0.7, w2=0.2, w3=0.1, p=p)
    expected = np.zeros(7)
    expected[1:4] = 0.7, 0.2, 0.1
    assert weights(values_of(game.outputs, 6), 6, p) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_a_parity_has_all_its_weight_at_one_degree(degree: int) -> None:
    assert weights(values_of(Parity(n_units=4, degree=degree).outputs, 4), 4, 0.5) == pytest.approx(np.eye(5)[degree])


def test_majority_spikes_and_heavy_tails_are_odd() -> None:
    for name in ("majority of five", "spikes", "heavy-tailed"):
        found = weights(values_of(GAMES[name].outputs, GAMES[name].n_units), GAMES[name].n_units, 0.5)
        assert found[::2] == pytest.approx(np.zeros(len(found[::2])), abs=1e-12)
        assert found[3] > 0


@pytest.mark.parametrize("name", GAMES)
def test_the_gap_of_a_claim_is_the_degree_one_weight_of_what_it_leaves(name: str) -> None:
    game = GAMES[name]
    claimed = game.best + np.random.default_rng(5).standard_normal(game.best.shape)

    def residual(subsets: np.ndarray) -> np.ndarray:
        return game.outputs(subsets) - subsets @ claimed.T

    found = weights(values_of(residual, game.n_units), game.n_units, game.p)[1]
    assert harmonic.gap(claimed, game.best, game.p)[0] == pytest.approx(found, rel=1e-9)


@pytest.mark.parametrize(
    "game",
    [
        Linear(n_units=100_000),
        Polynomial(n_units=100_000, w1=0.8, w2=0.1, w3=0.1),
        Majority(n_units=99_999),
        SparsePolynomial(n_units=100_000),
        HeavyTailed(n_units=100_000, width=30, growth=1.3),
        Spikes(n_units=100_000, width=6, height=4.0),
        Bent(n_units=100_000, shape="tanh", width=90_000),
    ],
    ids=lambda game: type(game).__name__,
)
def test_a_game_may_have_a_hundred_thousand_units(game: OneTarget) -> None:
    subsets = np.random.default_rng(0).random((40, game.n_units)) < 0.5
    values = game.outputs(subsets)
    assert values.shape == (40, 1)
    assert game.best.shape == (1, game.n_units)
    assert np.isfinite(values).all()
    assert 0 < harmonic.linear_variance(game.best, 0.5)[0] <= game.variance * (1 + 1e-9)


def test_heavy_tails_are_those_of_a_power() -> None:
    """|f| > growth^k has probability 2^-k below the width."""
    game = HeavyTailed(n_units=12, width=12, growth=1.4)
    sizes = np.abs(values_of(game.outputs, 12))
    for k in range(1, 11):
        assert (sizes > 1.4**k * 1.0001).mean() == pytest.approx(0.5**k)


def test_targets_that_share_an_amplitude_err_together() -> None:
    """f_t^2 is the same for every target at p = 1/2, whatever the subset."""
    squares = TOGETHER["shared amplitude"].outputs(every_subset(7)) ** 2
    assert squares == pytest.approx(np.repeat(squares[:, :1], 3, axis=1), abs=1e-12)
    assert squares[:, 0].max() > 2 * squares[:, 0].mean()


# Statements: a known game as a game without data.


def test_a_statement_is_of_its_games_size_bias_and_reach() -> None:
    game = Threshold(n_units=5, width=2, least=2, p=0.25)
    statement = statement_of(game, n_targets=2, tolerance=0.5, per_subset=True)
    assert (statement.n_units, statement.n_targets, statement.measure.p, statement.tolerance) == (5, 2, 0.25, 0.5)
    assert (statement.lo.tolist(), statement.hi.tolist(), statement.width.tolist()) == ([-1, -1], [1, 1], [2, 2])
    assert (statement.seed_policy, statement.seed) == (SeedPolicy.PER_SUBSET, 0)
    assert statement_of(game, bound=3.0).hi.tolist() == [3.0]


def test_no_two_games_share_a_statement() -> None:
    every = [statement_of(game) for game in (GAMES | TOGETHER).values()]
    game = GAMES["linear"]
    every += [
        statement_of(game, n_targets=2),
        statement_of(game, bound=9.0),
        statement_of(game, tolerance=0.5),
        statement_of(game, per_subset=True),
    ]
    assert len({statement.digest for statement in every}) == len(every)


def test_games_that_differ_in_their_last_part_differ_in_their_statement() -> None:
    """However long their names are."""
    many = tuple(Linear(n_units=4, seed=i) for i in range(100))
    one, other = Stack((*many, Majority(n_units=4))), Stack((*many, Parity(n_units=4, degree=2)))
    bound = max(one.largest, other.largest)
    assert (
        statement_of(one, n_targets=101, bound=bound).digest != statement_of(other, n_targets=101, bound=bound).digest
    )
    assert statement_of(one, n_targets=101).digest == statement_of(replace(one), n_targets=101).digest


def test_a_games_task_is_of_its_size_and_bias() -> None:
    task = task_of(9, n_targets=2, p=0.25, tolerance=0.5)
    assert (task.n_units, task.n_targets, task.measure.p, task.tolerance) == (9, 2, 0.25, 0.5)
