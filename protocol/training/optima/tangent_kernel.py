"""The empirical neural tangent kernel of a network where it begins.

k(x, z) is the inner product of the gradients, in all weights, of the network's one output at x and
at z. The weights are those that recipe ``sgd`` begins with (``sgd.first_values``), in float64.

The gradients of all rows need not fit in memory: they are made for some weights at a time, and the
kernel is the sum of what those add. Each such part goes through the network once more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from protocol.errors import TrainingError
from protocol.recipes import Factory, Network
from protocol.training.descent.networks import OwnFactory, network
from protocol.training.descent.own_networks import trying
from protocol.training.descent.sgd import first_values

GRADIENT_BYTES = 1 << 30
"""What the gradients held at once may take. Does not affect outputs."""

_ROWS = 32  # rows differentiated at once, fewer for a large network: their activations are held, too
_ROWS_BYTES = 1 << 28


@dataclass(frozen=True, kw_only=True)
class _Slice:
    """Some numbers of one parameter, from ``start`` to before ``stop`` of it flattened."""

    name: str
    start: int
    stop: int


def tangent_kernel(
    recipe: Network, x: Float64[Tensor, "r d"], n_columns: int, own: OwnFactory | None
) -> Float64[Tensor, "r n"]:
    """Return k of every row of ``x`` and each of the first ``n_columns`` of them, shape (r, n_columns).

    Raises
    ------
    ArgumentError, TaskFileError, TrainingError
        As ``networks.network`` says; the network has not one output, or cannot be differentiated row by row.
    """
    module = network(recipe, x.shape[1], 1, own).to(x)
    weights = _first_weights(module, recipe.seed, x)
    rows = x.unflatten(1, recipe.image) if recipe.image[0] else x
    if recipe.factory is Factory.CUSTOM:
        with trying(module):
            _gradients(module, weights, next(_parts(weights, 1)), rows[:2])
    kernel = x.new_zeros(len(x), n_columns)
    for part in _parts(weights, max(GRADIENT_BYTES // (8 * len(x)), 1)):
        gradients = _gradients(module, weights, part, rows)
        kernel.addmm_(gradients, gradients[:n_columns].T)
    return kernel


def _first_weights(module: nn.Module, seed: int, like: Tensor) -> dict[str, Tensor]:
    return {
        name: torch.from_numpy(first_values(name, tuple(parameter.shape), seed, j)).to(like)
        for j, (name, parameter) in enumerate(module.named_parameters())
    }


def _parts(weights: dict[str, Tensor], most: int) -> Iterator[list[_Slice]]:
    """Yield all numbers of all parameters, at most ``most`` at a time."""
    part: list[_Slice] = []
    room = most
    for name, weight in weights.items():
        start = 0
        while start < weight.numel():
            stop = min(start + room, weight.numel())
            part.append(_Slice(name=name, start=start, stop=stop))
            room -= stop - start
            start = stop
            if not room:
                yield part
                part, room = [], most
    if part:
        yield part


def _gradients(
    module: nn.Module, weights: dict[str, Tensor], part: list[_Slice], rows: Float64[Tensor, "r ..."]
) -> Float64[Tensor, "r k"]:
    """Return each row's gradient in the numbers of ``part``."""
    chosen = {piece.name: weights[piece.name] for piece in part}

    def output(some: dict[str, Tensor], row: Float64[Tensor, "*shape"]) -> Float64[Tensor, ""]:
        scores: Tensor = functional_call(module, weights | some, (row.unsqueeze(0),))
        if scores.numel() != 1:
            raise TrainingError(f"factory: expected one output for one row, got shape {tuple(scores.shape)}")
        return scores.sum()

    of_rows = vmap(grad(output), in_dims=(None, 0), randomness="error")
    at_once = min(max(_ROWS_BYTES // (8 * sum(weight.numel() for weight in chosen.values())), 1), _ROWS)
    gradients = rows.new_empty(len(rows), sum(piece.stop - piece.start for piece in part))
    for start in range(0, len(rows), at_once):
        found = of_rows(chosen, rows[start : start + at_once])
        flat = [found[piece.name].flatten(1)[:, piece.start : piece.stop] for piece in part]
        torch.cat(flat, dim=1, out=gradients[start : start + at_once])
    return gradients
