"""The losses of recipe ``sgd``, in scores of many models and in what training aims at.

A row's aim is +1 for its class and -1 for the others; with cross-entropy 1 and 0; for a
regression its value, less the mean and over the deviation of all training rows.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from protocol.errors import InternalError
from protocol.recipes import Loss


def aims(labels: Int64[Tensor, " n"], n_classes: int, loss: Loss) -> Float64[Tensor, "n c"]:
    """Return what the scores of rows with these class ids are trained towards."""
    return one_hot(labels, n_classes) if loss is Loss.CROSS_ENTROPY else coded(labels, n_classes)


def coded(labels: Int64[Tensor, " n"], n_classes: int) -> Float64[Tensor, "n c"]:
    """Return +1 for each row's class and -1 for the others: what squared losses aim at."""
    return 2.0 * one_hot(labels, n_classes) - 1.0


def one_hot(labels: Int64[Tensor, " n"], n_classes: int) -> Float64[Tensor, "n c"]:
    """Return 1 for each row's class and 0 for the others."""
    return torch.nn.functional.one_hot(labels, n_classes).to(torch.float64)


def losses(scores: Float[Tensor, "*b c"], aim: Float[Tensor, "*b c"], loss: Loss) -> Float[Tensor, "*b"]:
    """Return each row's loss."""
    match loss:
        case Loss.CROSS_ENTROPY:
            return -(torch.log_softmax(scores, dim=-1) * aim).sum(dim=-1)
        case Loss.SQUARED:
            return (scores - aim).square().sum(dim=-1)
        case Loss.SQUARED_HINGE:
            return (1 - aim * scores).clamp(min=0).square().sum(dim=-1)
    raise InternalError(f"no loss {loss}")


def slopes(
    scores: Float[Tensor, "m c b"], aim: Float[Tensor, "*m c b"], weight: Float[Tensor, "m 1 b"], loss: Loss
) -> Float[Tensor, "m c b"]:
    """Return the slope in each score of the sum over rows of weight times loss; may overwrite ``scores``."""
    match loss:
        case Loss.CROSS_ENTROPY:
            return torch.softmax(scores, dim=1).sub_(aim).mul_(weight)
        case Loss.SQUARED:
            return scores.sub_(aim).mul_(2 * weight)
        case Loss.SQUARED_HINGE:
            return scores.mul_(aim).neg_().add_(1).clamp_(min=0).mul_(aim).mul_(-2 * weight)
    raise InternalError(f"no loss {loss}")
