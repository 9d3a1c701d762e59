"""Features that both recipes take: on one device, and no wider than the rows they span.

A penalised linear model's weights lie in the span of its training rows. Where there are more
features than rows, training in an orthonormal basis of that span is the same problem with the
same scores, penalty and gradient norm, in fewer numbers.
"""

from __future__ import annotations

import torch
from jaxtyping import Float64
from torch import Tensor


def in_row_space(
    x_train: Float64[Tensor, "n d"], x_target: Float64[Tensor, "q d"]
) -> tuple[Float64[Tensor, "n k"], Float64[Tensor, "q k"]]:
    """Return both in an orthonormal basis of the training rows' span if that is narrower, else as they are.

    k is min(n, d). What a target row has outside the span meets no weight, and is dropped.
    """
    n, d = x_train.shape
    if d <= n:
        return x_train, x_target
    basis = torch.linalg.qr(x_train.T)[0]
    return x_train @ basis, x_target @ basis
