"""Readings against loops over evaluations and units; joined looks; claims of another shape or task."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocol.certificate import readings as readings_module
from protocol.certificate.readings import Readings, check_shapes, joined, linear_part, read
from protocol.claim import Claim
from protocol.encoding import Digest, Seed
from protocol.errors import InternalError, MalformedMessage
from protocol.game.sampling import Design, Draw
from protocol.task import Task
from tests.games import task_of

SEED = Seed(bytes(range(32)))


def case(p: float, n_families: int = 3, seed: Seed = SEED) -> tuple[Task, Claim, Draw, np.ndarray]:
    task = task_of(6, n_targets=2, p=p)
    rng = np.random.default_rng(4)
    claim = Claim(
        task_digest=task.digest, intercepts=rng.standard_normal(2), scores=rng.standard_normal((2, 6))
    )  # fmt: skip
    design = Design(n_families=n_families, n_siblings=2, keep_16=45000, complements=task.measure.has_complements)
    draw = Draw(seed=seed, design=design)
    return task, claim, draw, np.random.default_rng(n_families).standard_normal((draw.n_evaluations, 2))


def predicted(claim: Claim, subset: np.ndarray, t: int) -> float:
    """The claim's g of one subset and target."""
    return float(claim.intercepts[t] + sum(claim.scores[t, i] for i in range(len(subset)) if subset[i]))


@pytest.mark.parametrize("p", [0.5, 0.25])
def test_readings_are_those_of_a_loop(p: float) -> None:
    task, claim, draw, outputs = case(p)
    found = read(task, claim, draw, outputs)
    n_sides = draw.design.n_sides
    everything = draw.subsets(task, np.arange(draw.n_evaluations))
    for b in range(3):
        for j in range(2):
            for t in range(2):
                e = (b * 2 + j) * n_sides
                g = predicted(claim, everything[e], t)
                linear = sum(claim.scores[t, i] * (float(everything[e, i]) - p) for i in range(6))
                assert found.linear[b, j, t] == pytest.approx(linear, abs=1e-12)
                if p == 0.5:
                    other = predicted(claim, everything[e + 1], t)
                    odd = (outputs[e, t] - outputs[e + 1, t]) / 2 - (g - other) / 2
                    assert found.residual[b, j, t] == pytest.approx(odd, abs=1e-12)
                    assert found.even is not None
                    assert found.even[b, j, t] == (outputs[e, t] + outputs[e + 1, t]) / 2
                    # THEORY 2: the intercept and every even part are out of the odd residual.
                    assert (g + other) / 2 == pytest.approx(found.claim_mean[t], abs=1e-12)
                else:
                    assert found.output[b, j, t] == outputs[e, t]
                    assert found.residual[b, j, t] - found.claim_mean[t] == pytest.approx(outputs[e, t] - g, abs=1e-12)
    assert (found.n_families, found.n_siblings, found.n_targets) == (3, 2, 2)
    assert (found.rho, found.p) == (draw.design.rho, p)
    assert (found.even is None) == (p != 0.5)
    for t in range(2):
        assert found.claim_variance[t] == pytest.approx(sum(p * (1 - p) * w**2 for w in claim.scores[t]), rel=1e-12)


def test_readings_do_not_depend_on_how_subsets_are_cut_into_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    task, claim, draw, _ = case(0.5)
    whole = linear_part(task, claim, draw)
    monkeypatch.setattr(readings_module, "_CHUNK_CELLS", 1)
    assert linear_part(task, claim, draw) == pytest.approx(whole, abs=1e-14)


@pytest.mark.parametrize("p", [0.5, 0.25])
def test_an_enormous_intercept_leaves_residuals_as_they_are(p: float) -> None:
    task, claim, draw, outputs = case(p)
    plain = read(task, claim, draw, outputs)
    enormous = read(task, replace(claim, intercepts=np.array([2.0**60, -(2.0**60)])), draw, outputs)
    assert (enormous.residual == plain.residual).all()
    assert enormous.even is plain.even or (enormous.even == plain.even).all()


def test_joined_looks_are_all_families_in_order() -> None:
    first, second = (read(*case(0.5, n, Seed(bytes([n]) * 32))) for n in (3, 4))
    both = joined([first, second])
    assert both.n_families == 7
    for name in ("output", "linear", "even", "residual"):
        assert (getattr(both, name) == np.concatenate([getattr(first, name), getattr(second, name)])).all()
    assert (both.rho, both.p) == (first.rho, first.p)
    assert (both.claim_variance == first.claim_variance).all()
    assert (both.claim_mean == first.claim_mean).all()
    assert joined([read(*case(0.25))]).even is None


@pytest.mark.parametrize("change", [{"rho": 0.9}, {"even": None}], ids=["another rho", "another p"])
def test_families_of_two_kinds_are_never_joined(change: dict[str, object]) -> None:
    first = read(*case(0.5))
    with pytest.raises(InternalError, match="only families of one kind"):
        joined([first, replace(first, **change)])


def test_siblings_of_two_numbers_are_never_joined() -> None:
    first = read(*case(0.5))
    one = Readings(
        output=first.output[:, :1], linear=first.linear[:, :1], even=None if first.even is None else first.even[:, :1],
        claim_mean=first.claim_mean, claim_variance=first.claim_variance, rho=first.rho, p=first.p,
    )  # fmt: skip
    with pytest.raises(InternalError, match="only families of one kind"):
        joined([first, one])


def test_outputs_of_another_shape_are_a_bug() -> None:
    task, claim, draw, outputs = case(0.5)
    with pytest.raises(InternalError, match=r"expected outputs of shape \(12, 2\), got \(11, 2\)"):
        read(task, claim, draw, outputs[1:])


def test_a_claim_of_another_shape_or_task_is_refused() -> None:
    task, claim, _, _ = case(0.5)
    check_shapes(task, claim)
    with pytest.raises(MalformedMessage, match=r"scores of shape \(2, 6\) \(targets, units\), got \(2, 5\)"):
        check_shapes(task, replace(claim, scores=np.zeros((2, 5))))
    with pytest.raises(MalformedMessage, match=r"scores of shape \(2, 6\) \(targets, units\), got \(1, 6\)"):
        check_shapes(task, replace(claim, intercepts=np.zeros(1), scores=np.zeros((1, 6))))
    with pytest.raises(MalformedMessage, match="expected one for the task of this session, got one for another task"):
        check_shapes(task, replace(claim, task_digest=Digest(bytes(32))))
