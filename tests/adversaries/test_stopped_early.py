"""Fewer epochs, on a real iterative recipe: optimisation stopped early passes for training only where nobody looks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocol.certificate.spot_check import detection_probability
from protocol.certificate.terms import Answers
from protocol.encoding import Seed
from protocol.game.sampling import Draw
from protocol.session.messages import Outcome
from protocol.task import Logistic, Numerics, Task
from tests.adversaries.cheat import HONEST
from tests.adversaries.cut_short import CutShort
from tests.adversaries.terms import delegated_rounds, quick
from tests.adversaries.weakened import sees_nothing
from tests.journeys.in_memory import meet
from tests.journeys.worlds import World

pytestmark = pytest.mark.usefixtures("unchecked_shapes")

SEED = 5
ASKED = replace(quick(Answers.DELEGATED), epsilon=0.3)
N_PAIRS, N_CHECKS = 160, 40


def logistic() -> Task:
    """100 rows of wine: a training is an optimisation, stopped at a gradient of 1e-7."""
    from tests.journeys.loopback import wine

    recipe = Logistic(l2=3.0, gradient_tolerance=1e-7)
    ridge = wine()
    targets = replace(ridge.targets, lo=np.full(6, -12.0), hi=np.full(6, 12.0))
    return replace(ridge, recipe=recipe, targets=targets, numerics=Numerics(tolerance=1e-5))


@pytest.fixture(scope="module")
def world() -> World:
    """Its cheaper recipe is the same one stopped at ten thousand times the gradient: a part of the steps."""
    from tests.journeys.trainings import trained_world

    return trained_world(logistic(), n_pairs=400)


def test_stopping_early_is_close_to_training_and_is_not_training(world: World) -> None:
    rounds = delegated_rounds(world.task, N_PAIRS, N_CHECKS)
    scene = world.scene(ASKED, np.random.default_rng(SEED), rounds=rounds)
    draw = Draw(seed=Seed(bytes(32)), design=rounds.looks[1])
    off = np.abs(scene.trained(draw, world.cut_short) - scene.trained(draw, world.outputs))
    false = (off > world.task.tolerance).any(axis=1).reshape(N_PAIRS, 2).any(axis=1)
    assert off.max() < 0.1 * np.sqrt(world.variance.min()), "nobody would see it in the claim's fit"
    assert detection_probability(N_PAIRS, int(false.sum()), N_CHECKS) > 0.999


def test_stopping_early_is_found_by_retraining_and_wins_where_nobody_looks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = delegated_rounds(world.task, N_PAIRS, N_CHECKS)
    assert meet(world, ASKED, HONEST, seed=SEED, rounds=rounds).verdict.outcome is Outcome.ACCEPT
    found = meet(world, ASKED, CutShort(), seed=SEED, rounds=rounds).verdict
    assert found.outcome is Outcome.REJECT
    assert "rechecked answers are false" in found.reasons[0]
    unseen = meet(world, ASKED, CutShort(), seed=SEED, rounds=rounds, verifier=sees_nothing(monkeypatch)).verdict
    assert unseen.outcome is Outcome.ACCEPT
