"""Payouts' corrections against a naive twin, and their intervals where the true worths are known."""

from __future__ import annotations

import numpy as np
import pytest

from protocol.certificate.payouts import PayoutsCertificate, certify
from protocol.claim import Claim
from protocol.encoding import Seed
from protocol.sampling import Design, Draw, families, pairs
from protocol.task import Task
from tests.adversaries.margins import most_allowed
from tests.games import Polynomial, task_of

N = 12
GROUPS = np.repeat(np.eye(4, dtype=bool), 3, axis=1)  # four contributors of three units
STATED = np.full(4, 25.0)


def setting(p: float) -> tuple[Polynomial, Task, Claim]:
    """A game, and a claim that is wrong about everybody; its worths are all above 0."""
    game = Polynomial(n_units=N, w1=0.9, w2=0.05, w3=0.05, p=p)
    task = task_of(N, p=p, bound=20.0)
    scores = np.abs(game.best) + np.linspace(0.5, 1.0, N)
    return game, task, Claim(task_digest=task.digest, intercepts=np.array([0.3]), scores=scores)


def played(game: Polynomial, task: Task, design: Design, seed: int) -> tuple[Draw, np.ndarray]:
    draw = Draw(seed=Seed(seed.to_bytes(32, "big")), design=design)
    return draw, game.outputs(draw.subsets(task, np.arange(draw.n_evaluations, dtype=np.int64)))


def naive_corrections(task: Task, claim: Claim, draw: Draw, outputs: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Each kept family's mean of r(x) sum over K of (x_i - p) / (p(1-p)), one sibling after another."""
    design, p = draw.design, task.p
    per_family = design.n_siblings * design.n_sides
    residuals: dict[tuple[int, int], float] = {}
    sums: dict[tuple[int, int], np.ndarray] = {}
    for b in kept.tolist():
        for j in range(design.n_siblings):
            e = b * per_family + j * design.n_sides
            centred = draw.subsets(task, np.array([e]))[0] - p
            f = float(outputs[e, 0])
            if design.complements:
                f = (f - float(outputs[e + 1, 0])) / 2
            residuals[b, j] = f - float(claim.scores[0] @ centred)
            sums[b, j] = np.array([centred[group].sum() for group in GROUPS])
    mean = 0.0 if design.complements else float(np.mean(list(residuals.values())))
    rows = [
        np.mean([(residuals[b, j] - mean) * sums[b, j] for j in range(design.n_siblings)], axis=0)
        for b in kept.tolist()
    ]
    return np.array(rows) / (p * (1 - p))


DESIGNS = [
    (0.5, pairs(20)),
    (0.3, pairs(20, complements=False)),
    (0.5, families(n_families=8, n_siblings=3, rho=0.5, complements=True)),
    (0.3, families(n_families=8, n_siblings=3, rho=0.5, complements=False)),
]


@pytest.mark.parametrize(("p", "design"), DESIGNS)
@pytest.mark.parametrize("kept", [None, [0, 3, 4, 7]], ids=["all", "some"])
def test_corrections_are_those_of_the_naive_twin(p: float, design: Design, kept: list[int] | None) -> None:
    game, task, claim = setting(p)
    draw, outputs = played(game, task, design, 1)
    chosen = np.arange(design.n_families) if kept is None else np.array(kept)
    relied_on = None if kept is None else [chosen]
    found = certify(task, claim, [(draw, outputs)], GROUPS, STATED, delta=0.1, relied_on=relied_on)
    expected = naive_corrections(task, claim, draw, outputs, chosen)
    assert found.n_families == len(chosen)
    np.testing.assert_allclose(found.worth_correction, expected.mean(axis=0), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("p", "design"), DESIGNS)
def test_outputs_that_are_not_relied_on_are_not_read(p: float, design: Design) -> None:
    game, task, claim = setting(p)
    draw, outputs = played(game, task, design, 2)
    kept = np.array([1, 2, 5, 6])
    per_family = design.n_siblings * design.n_sides
    false = np.full_like(outputs, 19.0)
    rows = (kept[:, None] * per_family + np.arange(per_family)).ravel()
    false[rows] = outputs[rows]

    def bounds_of(answers: np.ndarray) -> PayoutsCertificate:
        return certify(task, claim, [(draw, answers)], GROUPS, STATED, delta=0.1, relied_on=[kept])

    np.testing.assert_array_equal(bounds_of(false).lower, bounds_of(outputs).lower)
    np.testing.assert_array_equal(bounds_of(false).upper, bounds_of(outputs).upper)


@pytest.mark.parametrize("p", [0.5, 0.3])
def test_intervals_from_pairs_of_two_rounds_hold_the_true_worths_together(p: float) -> None:
    """Cross-fit's shape: one round of which some pairs count, and one of which all do."""
    (game, task, claim), delta, n_runs = setting(p), 0.2, 300
    true = GROUPS @ game.best[0] - GROUPS @ claim.scores[0]
    n_missed, rng = 0, np.random.default_rng(0)
    for seed in range(n_runs):
        rounds = [played(game, task, pairs(n, complements=p == 0.5), 2 * seed + i) for i, n in enumerate((120, 80))]
        relied_on = [np.sort(rng.choice(120, 40, replace=False)), np.arange(80)]
        found = certify(task, claim, rounds, GROUPS, STATED, delta=delta, relied_on=relied_on)
        assert found.n_families == 120
        n_missed += bool((np.abs(found.worth_correction - true) > found.worth_error).any())
    assert n_missed <= most_allowed(n_runs, delta)
    assert n_missed > 0, "intervals that never miss would be far too wide"
