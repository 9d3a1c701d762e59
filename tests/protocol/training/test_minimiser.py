"""The minimiser on functions with known minima, and the preconditioner against autograd."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from protocol.training import preconditioner
from protocol.training.minimiser import minimise
from protocol.training.preconditioner import Preconditioner


@dataclass
class Bowls:
    """Sum of a * (sqrt(1 + (x - b)^2) - 1) + l/2 (x - b)^2: flat far out, so that full steps overshoot."""

    a: Tensor
    b: Tensor
    penalty: float = 1e-2

    def __call__(self, points: Tensor) -> tuple[Tensor, Tensor]:
        away = points - self.b
        root = torch.sqrt(1 + away**2)
        value = (self.a * away**2 / (1 + root) + self.penalty / 2 * away**2).sum(dim=1)
        return value, self.a * away / root + self.penalty * away

    def take(self, models: Tensor) -> Bowls:
        return Bowls(self.a[models], self.b[models], self.penalty)


def _bowls(m: int, k: int) -> Bowls:
    draws = torch.Generator().manual_seed(0)
    a = 10 ** (2 * torch.rand(m, k, generator=draws, dtype=torch.float64) - 1)
    return Bowls(a, 10 * torch.randn(m, k, generator=draws, dtype=torch.float64))


@pytest.mark.parametrize(
    "precondition", [lambda v: v, lambda v: 100 * v, lambda v: 0.1 * v], ids=["fit", "large", "small"]
)
def test_every_model_reaches_its_own_minimum_whatever_the_preconditioner(precondition) -> None:
    bowls = _bowls(40, 5)
    found, done = minimise(bowls, torch.zeros(40, 5, dtype=torch.float64), precondition, 1e-9, 300)
    assert done.all()
    torch.testing.assert_close(found, bowls.b, rtol=0, atol=1e-6)


def test_a_model_alone_ends_where_it_ends_in_company() -> None:
    bowls = _bowls(9, 5)
    together, _ = minimise(bowls, torch.zeros(9, 5, dtype=torch.float64), lambda v: v, 1e-3, 300)
    for i in range(9):
        alone, _ = minimise(
            bowls.take(torch.arange(9) == i), torch.zeros(1, 5, dtype=torch.float64), lambda v: v, 1e-3, 300
        )
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-10)


def test_a_model_that_starts_at_its_minimum_stays() -> None:
    bowls = _bowls(3, 5)
    assert torch.equal(minimise(bowls, bowls.b.clone(), lambda v: v, 1e-9, 300)[0], bowls.b)


def test_too_few_rounds_say_which_models_are_not_done() -> None:
    bowls = _bowls(4, 5)
    start = torch.zeros(4, 5, dtype=torch.float64)
    start[2] = bowls.b[2]
    found, done = minimise(bowls, start, lambda v: v, 1e-9, 3)
    assert done.tolist() == [False, False, True, False]
    assert (bowls(found)[0] <= bowls(start)[0]).all()


def test_a_loss_that_is_not_a_number_is_never_done_and_ends() -> None:
    broken = Bowls(torch.full((2, 3), torch.nan, dtype=torch.float64), torch.zeros(2, 3, dtype=torch.float64))
    _, done = minimise(broken, torch.ones(2, 3, dtype=torch.float64), lambda v: v, 1e-9, 300)
    assert not done.any()


def _hessian(x: Tensor, labels: Tensor, weights: Tensor, p: float, l2: float) -> Tensor:
    def loss(w: Tensor) -> Tensor:
        scores = x @ w.reshape(weights.shape).T
        return p * torch.nn.functional.cross_entropy(scores, labels, reduction="sum") + l2 / 2 * w.square().sum()

    return torch.autograd.functional.hessian(loss, weights.flatten())


@pytest.mark.parametrize("kind", ["full", "block", "diagonal"])
def test_the_preconditioner_inverts_its_part_of_the_hessian(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(30, 4, generator=draws, dtype=torch.float64)
    labels = torch.randint(3, (30,), generator=draws)
    weights = torch.randn(3, 4, generator=draws, dtype=torch.float64)
    hessian = _hessian(x, labels, weights, 0.5, 0.1)
    monkeypatch.setattr(preconditioner, "MAX_FULL", 12 if kind == "full" else 11)
    monkeypatch.setattr(preconditioner, "MAX_BLOCK", 4 if kind == "block" else 3)
    same_class = torch.arange(12)[:, None] // 4 == torch.arange(12) // 4
    kept = {"full": torch.ones(12, 12), "block": same_class, "diagonal": torch.eye(12)}[kind]
    v = torch.randn(5, 12, generator=draws, dtype=torch.float64)
    found = Preconditioner(x, 0.5 * torch.softmax(x @ weights.T, dim=1).T, 0.1)(v)
    torch.testing.assert_close(found, torch.linalg.solve(hessian * kept, v.T).T)


def test_a_hessian_singular_to_rounding_still_preconditions() -> None:
    x = torch.ones(3, 2, dtype=torch.float64) * 1e12
    precondition = Preconditioner(x, torch.full((2, 3), 0.5, dtype=torch.float64), 1e-30)
    v = torch.ones(1, 4, dtype=torch.float64)
    assert ((precondition(v) * v).sum() > 0).all()
