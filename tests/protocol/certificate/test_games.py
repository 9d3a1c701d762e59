"""The games' closed forms against enumeration of all subsets: the oracles of the other tests are themselves checked."""

from __future__ import annotations

import numpy as np
import pytest

from protocol import harmonic
from tests.games import Game, HeavyTailed, Majority, Parity, Polynomial, SparsePolynomial, Spikes, task_of
from tests.protocol.certificate.enumeration import coefficients, values_of, weights

GAMES: dict[str, Game] = {
    "polynomial": Polynomial(n_units=6, w1=0.7, w2=0.2, w3=0.1),
    "polynomial at p = 0.3": Polynomial(n_units=6, w1=0.7, w2=0.2, w3=0.1, p=0.3),
    "linear": Polynomial(n_units=5, w1=2.0, w2=0.0, w3=0.0, p=0.9),
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
}


@pytest.mark.parametrize("name", GAMES)
def test_best_weights_and_variance_are_those_of_enumeration(name: str) -> None:
    game = GAMES[name]
    values = values_of(game.outputs, game.n_units)
    exact = coefficients(values, game.n_units, game.p)
    first = np.array([[exact[i,] for i in range(game.n_units)]])
    assert harmonic.coefficients_from_weights(game.best, game.p) == pytest.approx(first, abs=1e-12)
    assert game.variance == pytest.approx(weights(values, game.n_units, game.p)[1:].sum(), rel=1e-12)
    assert np.abs(values).max() <= game.largest * (1 + 1e-12)


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
        Polynomial(n_units=100_000, w1=0.8, w2=0.1, w3=0.1),
        Majority(n_units=99_999),
        SparsePolynomial(n_units=100_000),
        HeavyTailed(n_units=100_000, width=30, growth=1.3),
        Spikes(n_units=100_000, width=6, height=4.0),
    ],
    ids=lambda game: type(game).__name__,
)
def test_a_game_may_have_a_hundred_thousand_units(game: Game) -> None:
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


def test_a_games_task_is_of_its_size_and_bias() -> None:
    task = task_of(9, n_targets=2, p=0.25, tolerance=0.5)
    assert (task.n_units, task.n_targets, task.p, task.numerics.tolerance) == (9, 2, 0.25, 0.5)
