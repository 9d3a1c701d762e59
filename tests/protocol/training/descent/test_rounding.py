"""A precision rounds the operands of every product that it sees, and those that it does not see are known by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from protocol.recipes import Precision
from protocol.training.descent.rounding import Rounding, rounded, unrounded

A, B = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)), torch.linspace(-1, 1, 16).view(4, 4)
IMAGE, FILTERS = A.view(1, 1, 4, 4), B[:3, :3].reshape(1, 1, 3, 3)

SEEN: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Tensor, Tensor]] = {
    "linear": (functional.linear, A, B),
    "conv1d": (functional.conv1d, A[None], B[None]),
    "conv2d": (functional.conv2d, IMAGE, FILTERS),
    "conv3d": (functional.conv3d, IMAGE[None], FILTERS[None]),
    "conv_transpose1d": (functional.conv_transpose1d, A[None], B[..., None]),
    "conv_transpose2d": (functional.conv_transpose2d, IMAGE, FILTERS),
    "conv_transpose3d": (functional.conv_transpose3d, IMAGE[None], FILTERS[None]),
    "matmul": (torch.matmul, A, B),
    "@": (lambda a, b: a @ b, A, B),
    "mm": (torch.mm, A, B),
    "bmm": (torch.bmm, A[None], B[None]),
    "mv": (torch.mv, A, B[0]),
    "tensordot": (lambda a, b: torch.tensordot(a, b, 1), A, B),
    "einsum": (lambda a, b: torch.einsum("ij,kj->ik", a, b), A, B),
}
UNSEEN: dict[str, Callable[[], Tensor]] = {
    "scaled_dot_product_attention": lambda: functional.scaled_dot_product_attention(IMAGE, IMAGE, IMAGE),
    "linear": lambda: functional.linear(A, weight=B),
    "einsum": lambda: torch.einsum("ij,jk,kl->il", A, B, A),
    "bilinear": lambda: functional.bilinear(A, B, A[None]),
    "addmm": lambda: torch.addmm(A, A, B),
    "baddbmm": lambda: torch.baddbmm(A[None], A[None], B[None]),
    "cdist": lambda: torch.cdist(A, B),
    "linalg_solve": lambda: torch.linalg.solve(A, B),
}


@pytest.mark.parametrize("name", SEEN)
def test_operands_of_products_are_rounded(name: str) -> None:
    product, a, b = SEEN[name]
    expected = product(rounded(a, Precision.BF16), rounded(b, Precision.BF16))
    with Rounding(Precision.BF16):
        found = product(a, b)
    assert torch.equal(found, expected)
    assert not torch.equal(found, product(a, b))
    assert unrounded(lambda: product(a, b)) == []


@pytest.mark.parametrize("name", UNSEEN)
def test_products_that_are_not_seen_are_named(name: str) -> None:
    assert unrounded(UNSEEN[name]) == [name]


def test_what_multiplies_no_matrices_is_no_product() -> None:
    def run() -> None:
        functional.layer_norm(A, (4,))
        functional.prelu(functional.gelu(A), torch.ones(1))
        functional.avg_pool2d(IMAGE, 2).softmax(1).norm()
        (A[:, None] * B).sum(2)

    assert unrounded(run) == []
