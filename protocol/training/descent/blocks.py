"""The weights of many models of one shape, or something of their shape: one block a parameter."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor


class Blocks:
    """Numbers of m models: for each parameter a block of shape (m, *shape), all in one buffer.

    So what is done to every number alike is one operation on ``flat``, and the products of a layer
    for all models are one on its block.

    Attributes
    ----------
    flat : shape (m * numbers of a model,). blocks : views of it, one a parameter.
    """

    def __init__(self, shapes: list[tuple[int, ...]], m: int, dtype: torch.dtype, device: torch.device) -> None:
        sizes = [m * math.prod(shape) for shape in shapes]
        self.shapes, self.m = shapes, m
        self.flat = torch.zeros(sum(sizes), dtype=dtype, device=device)
        parts = self.flat.split(sizes)
        self.blocks = [part.view(m, *shape) for part, shape in zip(parts, shapes, strict=True)]

    def like(self) -> Blocks:
        """Return zeros of the same shape."""
        return Blocks(self.shapes, self.m, self.flat.dtype, self.flat.device)

    def of(self, models: Bool[Tensor, " m"]) -> list[Tensor]:
        """Return copies of the numbers of some models, for :meth:`put_back`."""
        return [block[models] for block in self.blocks]

    def put_back(self, models: Bool[Tensor, " m"], numbers: list[Tensor]) -> None:
        """Set the numbers of some models to what :meth:`of` returned."""
        for block, old in zip(self.blocks, numbers, strict=True):
            block[models] = old

    def spread(self, of_model: Shaped[Tensor, " m"]) -> Shaped[Tensor, " k"]:
        """Return a buffer like ``flat`` that holds a model's number at each of its places."""
        out = self.like()
        for block in out.blocks:
            block.copy_(of_model.view(-1, *[1] * (block.ndim - 1)).expand_as(block))
        return out.flat
