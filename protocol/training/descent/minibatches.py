"""Which rows a step of recipe ``sgd`` takes, and what each weighs for which model.

The order is the recipe's: it comes from the training seed, and a subset has no part in it. Where
all models share a seed a batch may be looked up once; else each model has rows of its own, and those
that are out are left away, which at p = 1/2 nearly halves the work.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from protocol.game.sampling import augmentations, row_order
from protocol.recipes import Sgd
from protocol.training.descent.augment import augmented

Share: TypeAlias = Callable[[Tensor], Tensor]
"""Numbers of rows in a batch to what each of them weighs."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """What a step takes; b is at most the recipe's batch size.

    x, aim : shapes (b, d) and (b, C), of all models, or (m, b, d) and (m, b, C).
    weight : shape (m, b), 0 for a row that is out. idle : models without a row, None where there are none.
    """

    x: Tensor
    aim: Tensor
    weight: Float[Tensor, "m b"]
    idle: Bool[Tensor, " m"] | None


class Minibatches:
    """The batches of all epochs.

    Parameters
    ----------
    x, aim : shapes (n, d) and (n, C), the training rows.
    share : what a row weighs that is one of so many.
    is_packed : whether models that share a seed have rows of their own, too: no more than the fullest of them
        has in. Else all take the same rows. Does not affect outputs beyond the order of additions.
    """

    def __init__(
        self,
        recipe: Sgd,
        x: Float[Tensor, "n d"],
        aim: Float[Tensor, "n c"],
        share: Share,
        *,
        is_packed: bool = False,
    ) -> None:
        self._recipe, self._x, self._aim, self._share, self._is_packed = recipe, x, aim, share, is_packed

    @property
    def n_steps(self) -> int:
        """Steps of all epochs."""
        return self._recipe.epochs * self._n_batches

    @property
    def _n_batches(self) -> int:
        return -(-len(self._x) // self._recipe.batch_size)

    def __call__(self, inside: Bool[Tensor, "m n"], seeds: Int64[np.ndarray, " m"]) -> Iterator[Batch]:
        """Yield the batches of all epochs; the last of an epoch is filled up with rows of weight 0."""
        m, n_batches, size = len(inside), self._n_batches, self._recipe.batch_size
        shared = bool((seeds == seeds[0]).all())
        packed = self._is_packed or not shared
        for epoch in range(self._recipe.epochs):
            order, moves = self._order(seeds[:1] if shared else seeds, epoch)
            ordered = inside[:, order[0]] if shared else inside.gather(1, order)
            ordered = _filled(ordered, n_batches * size).view(m, n_batches, size)
            order = _filled(order, n_batches * size).view(-1, n_batches, size)
            counts = ordered.sum(dim=2)
            weights = ordered * self._share(counts.clamp(min=1)).unsqueeze(2)
            if packed:
                order, weights = _packed(order.expand(m, -1, -1), ordered, weights, int(counts.max()))
            weights = weights.transpose(0, 1).contiguous()
            any_idle = (counts == 0).any(dim=0).tolist()
            for k in range(n_batches):
                rows = order[:, k]
                x, aim = self._x[rows], self._aim[rows]
                if moves is not None:
                    x = self._augmented(x, moves, rows)
                idle = counts[:, k] == 0 if any_idle[k] else None
                yield Batch(x=x if packed else x[0], aim=aim if packed else aim[0], weight=weights[k], idle=idle)

    def _order(self, seeds: Int64[np.ndarray, " s"], epoch: int) -> tuple[Int64[Tensor, "s n"], Tensor | None]:
        """Return the order of the rows under each seed, and their augmentations if there are any."""
        n, recipe, device = len(self._x), self._recipe, self._x.device
        order = np.stack([_cached_order(int(seed), epoch, n) for seed in seeds])
        if not recipe.flips and not recipe.crop_padding:
            return torch.from_numpy(order).to(device), None
        moves = np.stack([augmentations(int(seed), epoch, n, recipe.crop_padding) for seed in seeds])
        return torch.from_numpy(order).to(device), torch.from_numpy(moves).to(device)

    def _augmented(
        self, x: Float[Tensor, "s b d"], moves: Int64[Tensor, "_ n 3"], rows: Int64[Tensor, "s b"]
    ) -> Float[Tensor, "s b d"]:
        own = moves.expand(len(rows), -1, -1).gather(1, rows.unsqueeze(2).expand(-1, -1, 3)).flatten(0, 1)
        if not self._recipe.flips:
            own[:, 0] = 0
        images = x.flatten(0, 1).unflatten(1, self._recipe.image)
        return augmented(images, own, self._recipe.crop_padding).view_as(x)


@functools.lru_cache(maxsize=64)  # a seed that all share is asked for again by every tile of models
def _cached_order(seed: int, epoch: int, n: int) -> Int64[np.ndarray, " n"]:
    return row_order(seed, epoch, n)


def _filled(x: Tensor, length: int) -> Tensor:
    """Return ``x`` with zeros at the end of its rows."""
    return torch.nn.functional.pad(x, (0, length - x.shape[1]))


def _packed(
    order: Int64[Tensor, "m k b"], inside: Bool[Tensor, "m k b"], weights: Float[Tensor, "m k b"], most: int
) -> tuple[Int64[Tensor, "m k c"], Float[Tensor, "m k c"]]:
    """Return the rows and weights of every batch: those that are in, in their order, then as many as ``most`` takes."""
    first = inside.to(torch.uint8).sort(dim=2, descending=True, stable=True).indices[:, :, : max(most, 1)]
    return order.gather(2, first), weights.gather(2, first)
