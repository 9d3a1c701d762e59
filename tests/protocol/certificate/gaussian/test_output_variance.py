"""Var f: the estimate against its naive twin, and the upper bound against worlds built to slip under it.

Fixed seeds; a level is broken when misses exceed what Binomial(n, alpha) reaches but once in 10,000.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from protocol.certificate.concentration import betting_upper
from protocol.certificate.gaussian import output_variance
from protocol.game.known import Polynomial
from tests.protocol.certificate.simulate import World

RUNS = 300
ALPHA = 0.05


def world(p: float = 0.5, n_families: int = 30) -> World:
    game = Polynomial(n_units=20, w1=0.8, w2=0.15, w3=0.05, p=p)
    return World(
        outputs=game.outputs, scores=game.best * 0.9, p=p, n_families=n_families, n_siblings=3, rho=0.4
    )  # fmt: skip


def spiked(n_alike: int) -> tuple[World, float, float]:
    """A linear f of variance 1 and an even spike of the same variance where some units are alike; Var f, its height."""
    weights = np.random.default_rng(7).standard_normal(20)
    weights /= np.linalg.norm(weights)
    share = 2.0 ** (1 - n_alike)
    height = float(np.sqrt(1 / (share * (1 - share))))

    def outputs(subsets: np.ndarray) -> np.ndarray:
        few = subsets[:, :n_alike]
        alike = few.all(axis=1) | (~few).all(axis=1)
        return ((2.0 * subsets - 1) @ weights + height * alike)[:, None]

    return World(outputs=outputs, scores=2 * weights[None], p=0.5, n_families=30, n_siblings=2, rho=0.5), 2.0, height


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_the_upper_bound_is_that_of_two_naive_second_moments(p: float) -> None:
    readings = world(p).readings(np.random.default_rng(1))
    lo, hi = np.array([-6.0]), np.array([9.0])
    sides = [readings.output] if readings.even is None else [
        readings.even + readings.output, readings.even - readings.output
    ]  # fmt: skip
    families = [np.concatenate([side[b, :, 0] for side in sides]) for b in range(30)]
    pilot = float(np.mean(np.concatenate(families[:6])))
    middle = [np.mean((values - 1.5) ** 2) / 7.5**2 for values in families]
    most = max(9 - pilot, pilot + 6) ** 2
    about = [np.mean((values - pilot) ** 2) / most for values in families[6:]]
    expected = min(
        7.5**2 * betting_upper(np.array(middle), ALPHA / 2), most * betting_upper(np.array(about), ALPHA / 2)
    )
    assert output_variance.upper(readings, lo, hi, ALPHA) == pytest.approx([expected], rel=1e-9)


@pytest.mark.parametrize("n_alike", [5, 8, 11])
def test_a_rare_even_spike_does_not_slip_under_the_upper_bound(n_alike: int) -> None:
    """Where 8 units are alike, in 1 of 128 subsets: most challenges of 120 trainings hardly meet it."""
    spike, variance, height = spiked(n_alike)
    rng, lo, hi = np.random.default_rng(2), np.array([-4.5]), np.array([4.5 + height])
    readings = [spike.readings(rng) for _ in range(RUNS)]
    misses = sum(bool(output_variance.upper(one, lo, hi, ALPHA)[0] < variance) for one in readings)
    assert misses <= stats.binom.ppf(1 - 1e-4, RUNS, ALPHA)
    if n_alike == 8:
        plain = sum(bool(output_variance.estimate(one).variance[0] < variance / 1.5) for one in readings)
        assert plain > stats.binom.ppf(1 - 1e-4, RUNS, ALPHA), "the estimate alone is far too small far too often"


@pytest.mark.parametrize("shift", [0.0, 4.0, -4.0])
def test_many_families_bring_it_near_the_variance_wherever_outputs_lie(shift: float) -> None:
    base = world(n_families=1500)
    moved = World(
        outputs=lambda subsets: base.outputs(subsets) + shift, scores=base.scores, p=0.5, n_families=1500,
        n_siblings=3, rho=0.4,
    )  # fmt: skip
    found = output_variance.upper(moved.readings(np.random.default_rng(3)), np.array([-8.0]), np.array([8.0]), ALPHA)
    assert 1.0 < found[0] < 1.6  # about the middle of the range it would be 17


def test_outputs_beyond_the_range_are_read_at_its_end() -> None:
    readings = world().readings(np.random.default_rng(4))
    found = output_variance.upper(readings, np.array([-1e-3]), np.array([1e-3]), ALPHA)
    assert 0 < found[0] <= 4e-6


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_the_estimate_is_unbiased(p: float) -> None:
    rng = np.random.default_rng(5)
    found = [float(output_variance.estimate(world(p).readings(rng)).variance[0]) for _ in range(RUNS)]
    bias = 0.06 if p != 0.5 else 0.02  # of order 1/B: the mean and beta come from the same families
    assert np.mean(found) == pytest.approx(1.0, abs=4 * np.std(found) / np.sqrt(RUNS) + bias)
