"""Anchored cross-entropies against torch's own, in both precisions and at any size of offset."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from protocol.training.optima.cross_entropy import CrossEntropy

M, N, D, C, L2 = 4, 50, 5, 3, 0.3
DRAWS = torch.Generator().manual_seed(0)
X = torch.randn(N, D, generator=DRAWS, dtype=torch.float64)
LABELS = torch.randint(C, (N,), generator=DRAWS)
INSIDE = torch.rand(M, N, generator=DRAWS) < 0.5
ANCHORS = torch.randn(M, C * D, generator=DRAWS, dtype=torch.float64)
WAY = torch.randn(M, C * D, generator=DRAWS, dtype=torch.float64)


def _losses(working: torch.dtype) -> CrossEntropy:
    return CrossEntropy(X, LABELS, C, INSIDE, L2, ANCHORS, working)


def _naive(points: Tensor) -> tuple[Tensor, Tensor]:
    values, gradients = [], []
    for point, rows in zip(points, INSIDE, strict=True):
        w = point.clone().requires_grad_()
        scores = X[rows] @ w.reshape(C, D).T
        loss = torch.nn.functional.cross_entropy(scores, LABELS[rows], reduction="sum") + L2 / 2 * w.square().sum()
        loss.backward()
        values.append(loss.detach())
        gradients.append(w.grad)
    return torch.stack(values), torch.stack(gradients)


def test_gradients_at_the_anchors_are_exact() -> None:
    torch.testing.assert_close(_losses(torch.float32).gradients, _naive(ANCHORS)[1], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("size", [3.0, 1.0, 1e-2])
@pytest.mark.parametrize(("working", "accuracy"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_values_and_gradients_follow_an_offset(size: float, working: torch.dtype, accuracy: float) -> None:
    values, _, gradients = _losses(working)((size * WAY).to(working))
    before, after = _naive(ANCHORS), _naive(ANCHORS + size * WAY)
    torch.testing.assert_close(values.double(), after[0] - before[0], rtol=accuracy, atol=0)
    change = after[1] - before[1]
    error = gradients.double() - after[1]
    assert (error.norm(dim=1) <= accuracy * change.norm(dim=1)).all()


def test_single_precision_follows_the_tiniest_offset_to_six_digits() -> None:
    losses = _losses(torch.float32)
    losses._gradients.zero_()  # what is left is the change, which rounding of the anchor's gradient would hide
    change = losses((1e-9 * WAY).float())[2].double()
    hessian_times_way = (_naive(ANCHORS + 1e-5 * WAY)[1] - _naive(ANCHORS - 1e-5 * WAY)[1]) / 2e-5
    torch.testing.assert_close(change / 1e-9, hessian_times_way, rtol=1e-5, atol=1e-5)


def test_a_rise_within_the_noise_is_rounding() -> None:
    losses = _losses(torch.float32)
    for size in (1e-3, 1e-5, 1e-7):
        values, noise, _ = losses((size * WAY).float())
        exact = _losses(torch.float64)(size * WAY)[0]
        assert ((values.double() - exact).abs() <= noise).all()


def test_anchors_move_alone_and_stay_exact() -> None:
    losses = _losses(torch.float32)
    models = torch.tensor([0, 2])
    losses.move(models, WAY[models])
    expected = ANCHORS.clone()
    expected[models] += WAY[models]
    assert torch.equal(losses.anchors, expected)
    torch.testing.assert_close(losses.gradients, _naive(expected)[1], rtol=1e-12, atol=1e-12)
    assert (losses.probabilities.sum(dim=1)[~INSIDE] == 0).all()


def test_what_is_taken_is_the_same_and_apart() -> None:
    losses = _losses(torch.float64)
    models = torch.tensor([1, 2])
    taken = losses.take(models)
    whole, part = losses(WAY), taken(WAY[models])
    for all_of, some in zip(whole, part, strict=True):
        torch.testing.assert_close(some, all_of[models])
    taken.move(torch.arange(2), WAY[models])
    assert torch.equal(losses.anchors, ANCHORS)


def test_evaluating_changes_nothing() -> None:
    for working in (torch.float64, torch.float32):
        losses = _losses(working)
        first = losses(WAY.to(working))
        for one, two in zip(first, losses(WAY.to(working)), strict=True):
            assert torch.equal(one, two)


def test_a_common_anchor_is_everyone_s() -> None:
    common = CrossEntropy(X, LABELS, C, INSIDE, L2, ANCHORS[:1], torch.float64)
    each = CrossEntropy(X, LABELS, C, INSIDE, L2, ANCHORS[:1].expand(M, -1), torch.float64)
    assert torch.equal(common.anchors, ANCHORS[:1].expand(M, -1))
    for one, two in zip(common(WAY), each(WAY), strict=True):
        torch.testing.assert_close(one, two)
    torch.testing.assert_close(common.probabilities, each.probabilities)


@pytest.mark.parametrize("sizes", [(1e-4,) * 4, (1e-3,) * 4, (1e-2,) * 4, (1.0,) * 4, (1e-6, 1e-3, 1e-1, 3.0)])
def test_every_way_to_the_exponentials_keeps_what_two_anchors_need(sizes: tuple[float, ...]) -> None:
    offsets = torch.tensor(sizes, dtype=torch.float64)[:, None] * WAY
    single, double = _losses(torch.float32), _losses(torch.float64)
    for losses in (single, double):
        losses.gradients.zero_()
        losses._gradients.zero_()  # what is left is the change
    values, noise, changes = single(offsets.float())
    exact_values, _, exact = double(offsets)
    assert ((changes.double() - exact).norm(dim=1) <= 1e-4 * exact.norm(dim=1)).all()
    # U - e^U + 1 + U^2 / 2 is U^3 / 6, and the values' share of it that of the gradients'.
    error = (values.double() - exact_values).abs()
    assert (error <= noise + 1e-3 * (offsets * exact).sum(dim=1)).all()
