"""The minimiser on functions with known minima, and the preconditioner against autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from protocol.training.optima import preconditioner
from protocol.training.optima.minimiser import minimise
from protocol.training.optima.preconditioner import Preconditioner


class Bowls:
    """Sum of a * (sqrt(1 + (x - b)^2) - 1) + l/2 (x - b)^2: flat far out, so that full steps overshoot."""

    penalty = 1e-2

    def __init__(self, a: Tensor, b: Tensor, anchors: Tensor | None = None) -> None:
        self.a, self.b = a, b
        self.anchors = torch.zeros_like(b) if anchors is None else anchors.clone()
        self.gradients = self.at(self.anchors)[1]

    def at(self, points: Tensor) -> tuple[Tensor, Tensor]:
        away = points - self.b
        root = torch.sqrt(1 + away**2)
        values = (self.a * away**2 / (1 + root) + self.penalty / 2 * away**2).sum(dim=1)
        return values, self.a * away / root + self.penalty * away

    def __call__(self, offsets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        here, (there, gradients) = self.at(self.anchors)[0], self.at(self.anchors + offsets)
        real = offsets.dtype
        return (there - here).to(real), 1e-12 * here.to(real), gradients.to(real)

    def move(self, models: Tensor, offsets: Tensor) -> None:
        self.anchors[models] += offsets
        self.gradients = self.at(self.anchors)[1]

    def take(self, models: Tensor) -> Bowls:
        return Bowls(self.a[models], self.b[models], self.anchors[models])


def _bowls(m: int, k: int) -> Bowls:
    draws = torch.Generator().manual_seed(0)
    a = 10 ** (2 * torch.rand(m, k, generator=draws, dtype=torch.float64) - 1)
    return Bowls(a, 10 * torch.randn(m, k, generator=draws, dtype=torch.float64))


@pytest.mark.parametrize("scale", [1.0, 100.0, 0.1])
@pytest.mark.parametrize("working", [torch.float64, torch.float32])
def test_every_model_reaches_its_own_minimum(scale: float, working: torch.dtype) -> None:
    bowls = _bowls(40, 5)
    found, done = minimise(bowls, lambda v: scale * v, 1e-9, 300, working)
    assert done.all()
    assert (bowls.at(found)[1].norm(dim=1) <= 1e-9).all()
    torch.testing.assert_close(found, bowls.b, rtol=0, atol=1e-6)


def test_a_model_alone_ends_where_it_ends_in_company() -> None:
    bowls = _bowls(9, 5)
    together, _ = minimise(_bowls(9, 5), lambda v: v, 1e-3, 300)
    for i in range(9):
        alone, _ = minimise(bowls.take(torch.arange(9) == i), lambda v: v, 1e-3, 300)
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-10)


def test_a_model_that_starts_at_its_minimum_stays() -> None:
    bowls = _bowls(3, 5)
    found, done = minimise(Bowls(bowls.a, bowls.b, bowls.b), lambda v: v, 1e-9, 300)
    assert done.all()
    assert torch.equal(found, bowls.b)


def test_too_few_rounds_say_which_models_are_not_done_and_keep_what_was_gained() -> None:
    bowls = _bowls(4, 5)
    start = torch.zeros(4, 5, dtype=torch.float64)
    start[2] = bowls.b[2]
    found, done = minimise(Bowls(bowls.a, bowls.b, start), lambda v: v, 1e-9, 3)
    assert done.tolist() == [False, False, True, False]
    gained = bowls.at(found)[0] < bowls.at(start)[0]
    assert gained.tolist() == [True, True, False, True]


@pytest.mark.parametrize("rounds", range(0, 60, 4))
def test_done_is_said_of_exactly_those_whose_gradient_is_small(rounds: int) -> None:
    bowls = _bowls(20, 5)
    found, done = minimise(_bowls(20, 5), lambda v: v, 1e-6, rounds)
    assert torch.equal(done, bowls.at(found)[1].norm(dim=1) <= 1e-6)


@pytest.mark.parametrize("precondition", [lambda v: -v, lambda v: v * torch.nan], ids=["indefinite", "nan"])
def test_a_preconditioner_that_points_uphill_is_never_done_and_ends(precondition) -> None:
    found, done = minimise(_bowls(4, 5), precondition, 1e-9, 1000)
    assert not done.any()
    assert torch.isfinite(found).all()


def test_a_loss_that_is_not_a_number_is_never_done_and_ends() -> None:
    broken = Bowls(torch.full((2, 3), torch.nan, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64))
    _, done = minimise(broken, lambda v: v, 1e-9, 300)
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
    found = Preconditioner(x, 0.5 * torch.softmax(x @ weights.T, dim=1).T.unsqueeze(0), 0.1, torch.float64)(v)
    torch.testing.assert_close(found, torch.linalg.solve(hessian * kept, v.T).T)


def test_the_preconditioner_of_some_models_inverts_the_mean_of_their_hessians() -> None:
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(30, 4, generator=draws, dtype=torch.float64)
    labels = torch.randint(3, (30,), generator=draws)
    weights = torch.randn(2, 3, 4, generator=draws, dtype=torch.float64)
    inside = torch.rand(2, 30, generator=draws) < 0.5
    pairs = list(zip(inside, weights, strict=True))
    mean = sum(_hessian(x[rows], labels[rows], w, 1.0, 0.1) for rows, w in pairs) / 2
    probabilities = torch.stack([torch.softmax(x @ w.T, dim=1).T * rows for rows, w in pairs])
    v = torch.randn(5, 12, generator=draws, dtype=torch.float64)
    torch.testing.assert_close(Preconditioner(x, probabilities, 0.1, torch.float64)(v), torch.linalg.solve(mean, v.T).T)


def test_a_hessian_singular_to_rounding_still_preconditions() -> None:
    x = torch.ones(3, 2, dtype=torch.float64) * 1e12
    precondition = Preconditioner(x, torch.full((1, 2, 3), 0.5, dtype=torch.float64), 1e-30, torch.float64)
    v = torch.ones(1, 4, dtype=torch.float64)
    assert ((precondition(v) * v).sum() > 0).all()
