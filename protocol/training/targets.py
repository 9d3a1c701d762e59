"""From a model's scores at the target rows to the task's outputs.

Owns what each ``TargetKind`` means. A score is a number per class, (m, q, C) for m models and q
target rows; a regression has C = 1. Only the target rows are ever scored.
"""

from __future__ import annotations

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from protocol.errors import InternalError
from protocol.recipes import Recipe
from protocol.task import TargetKind, Targets
from protocol.training.losses import aims, losses, one_hot


def outputs_from_scores(
    scores: Float64[Tensor, "m q c"],
    labels: Int64[Tensor, " q"] | Float64[Tensor, " q"],
    targets: Targets,
    recipe: Recipe,
) -> Float64[Tensor, "m t"]:
    """Return the outputs of m models, not clipped.

    Parameters
    ----------
    scores : shape (m, q, C), float64, of the q target rows in the order of ``targets.rows``.
    labels : shape (q,), their true class ids or values.
    targets : their kind, and whether the q numbers are averaged into one.
    recipe : whose training loss the kind ``loss`` is.

    Returns
    -------
    shape (m, T), float64, in the kind's unit.
    """
    values = _values(scores, labels, targets.kind, recipe)
    if not targets.average:
        return values
    total = values.sum(dim=1, keepdim=True)
    return total / torch.full_like(total, values.shape[1])  # by a plain number CUDA divides with two roundings


def _values(scores: Tensor, labels: Tensor, kind: TargetKind, recipe: Recipe) -> Float64[Tensor, "m q"]:
    match kind:
        case TargetKind.PREDICTION:
            return scores[:, :, 0]
        case TargetKind.SQUARED_ERROR:
            return (scores[:, :, 0] - labels).square()
        case TargetKind.MARGIN:
            true = _of_class(scores, labels)
            own = one_hot(labels, scores.shape[2]).to(torch.bool)
            return true - scores.masked_fill(own, -torch.inf).amax(dim=2)
        case TargetKind.PROBABILITY:
            return _of_class(torch.softmax(scores, dim=2), labels)
        case TargetKind.LOSS:
            aim = aims(labels, scores.shape[2], recipe.loss)
            return losses(scores, aim.expand_as(scores), recipe.loss)
    raise InternalError(f"no reading of target kind {kind}")


def _of_class(scores: Float64[Tensor, "m q c"], labels: Int64[Tensor, " q"]) -> Float64[Tensor, "m q"]:
    return scores.gather(2, labels.expand(len(scores), -1).unsqueeze(2)).squeeze(2)
