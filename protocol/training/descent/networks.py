"""The networks that recipe ``sgd`` trains and recipe ``kernel`` differentiates, by the name of their factory.

A network here is a torch module whose parameters say what there is to train; where they begin is
``sgd``'s business, and whatever values they are built with are never looked at. A row's outputs
must depend on that row alone: batch norm mixes the rows of a batch, and dropout draws at random,
so both are refused. A network of the user's own is found and built in ``own_networks``.
"""

from __future__ import annotations

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from protocol.errors import ArgumentError, TaskFileError, TrainingError
from protocol.recipes import Factory, HasNetwork
from protocol.training.descent.own_networks import Make, OwnFactory, own_factory

__all__ = ["MAX_WEIGHTS", "OwnFactory", "cnn", "mlp", "network", "own_factory", "resnet9"]

MAX_WEIGHTS = 1 << 28
"""Of one of our networks: 1 GB in float32, seven times a ResNet-9 of width 256."""


def network(recipe: HasNetwork, n_features: int, n_outputs: int, own: OwnFactory | None) -> nn.Module:
    """Return the recipe's network, its parameters not yet meaningful.

    Raises
    ------
    TaskFileError
        The rows are no images of the recipe's size, or one of our networks has more than ``MAX_WEIGHTS``.
    ArgumentError
        The recipe's factory is the user's own, and ``own`` is not given or another one.
    TrainingError
        It cannot be built, or has a layer that mixes rows or draws at random.
    """
    shape = _shape(recipe, n_features)
    if recipe.factory is Factory.CUSTOM:
        module = _checked(recipe, own).built(shape, n_outputs, recipe.widths)
    else:
        make = {Factory.MLP: mlp, Factory.CNN: cnn, Factory.RESNET9: resnet9}[recipe.factory]
        _check_size(make, shape, n_outputs, recipe.widths)
        module = make(shape, n_outputs, recipe.widths)
    for name, layer in module.named_modules():
        _refuse(name, layer)
    return module


def _checked(recipe: HasNetwork, own: OwnFactory | None) -> OwnFactory:
    named = recipe.factory_digest.hex()[:16]
    if own is None:
        raise ArgumentError(f"factory: expected --factory package.module:function, the one of digest {named}, got none")
    if own.digest != recipe.factory_digest:
        raise ArgumentError(
            f"factory {own.path}: expected source of digest {named}, file and function, got {own.digest.hex()[:16]}"
        )
    return own


def _check_size(make: Make, shape: tuple[int, ...], n_outputs: int, widths: tuple[int, ...]) -> None:
    """Refuse, before it takes any memory, what a few digits in a task file could ask for."""
    with torch.device("meta"):
        n_weights = sum(parameter.numel() for parameter in make(shape, n_outputs, widths).parameters())
    if n_weights > MAX_WEIGHTS:
        raise TaskFileError(
            f"recipe.widths: expected a network of at most {MAX_WEIGHTS} weights, got {n_weights} with {list(widths)}"
        )


def _shape(recipe: HasNetwork, n_features: int) -> tuple[int, ...]:
    channels, height, width = recipe.image
    if not channels:
        return (n_features,)
    if channels * height * width != n_features:
        raise TaskFileError(
            f"recipe.image: expected {n_features} values, the features of a row, got {channels} x {height} x {width}; "
            'set data.constant_columns = "keep" where pixels never vary, or change the image'
        )
    return recipe.image


def _refuse(name: str, layer: nn.Module) -> None:
    kind, where = type(layer).__name__, f"layer {name or 'of the whole'}"
    if isinstance(layer, _NormBase) and (layer.track_running_stats or "BatchNorm" in kind):
        raise TrainingError(
            f"{where}: expected no {kind}, which mixes the rows of a batch; use GroupNorm or LayerNorm instead"
        )
    if "Dropout" in kind and getattr(layer, "p", 1.0) > 0:
        raise TrainingError(
            f"{where}: expected no {kind}, which draws at random; set its p to 0 and use recipe.weight_decay"
        )
    rate = getattr(layer, "dropout", 0.0)  # attention's
    if isinstance(rate, int | float) and rate > 0:
        raise TrainingError(
            f"{where}: expected a {kind} without dropout, which draws at random; "
            "set its dropout to 0 and use recipe.weight_decay"
        )
    if isinstance(layer, nn.RNNBase | nn.LazyLinear):
        raise TrainingError(f"{where}: expected layers that torch.func can stack, got {kind}; use attention or a CNN")


def mlp(shape: tuple[int, ...], n_outputs: int, widths: tuple[int, ...]) -> nn.Module:
    """Return dense layers with ReLU between them; an image is flattened."""
    sizes = [math.prod(shape), *widths, n_outputs]
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cnn(shape: tuple[int, ...], n_outputs: int, widths: tuple[int, ...]) -> nn.Module:
    """Return 3x3 convolutions with ReLU, mean pooling by 2 before each but the first, a mean, a dense layer."""
    layers: list[nn.Module] = []
    channels, *side = shape
    for k, width in enumerate(widths):
        if k and min(side) >= 2:
            layers.append(nn.AvgPool2d(2))
            side = [length // 2 for length in side]
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, n_outputs))


def resnet9(shape: tuple[int, ...], n_outputs: int, widths: tuple[int, ...]) -> nn.Module:
    """Return the ResNet-9 of the speed records (David Page's), with group norm of 4 groups for batch norm."""
    w = widths[0]
    return nn.Sequential(
        _conv(shape[0], w),
        _conv(w, 2 * w, pool=True),
        _Residual(nn.Sequential(_conv(2 * w, 2 * w), _conv(2 * w, 2 * w))),
        _conv(2 * w, 4 * w, pool=True),
        _conv(4 * w, 4 * w, pool=True),
        _Residual(nn.Sequential(_conv(4 * w, 4 * w), _conv(4 * w, 4 * w))),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * w, n_outputs),
    )


def _conv(inputs: int, outputs: int, *, pool: bool = False) -> nn.Module:
    layers = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.GroupNorm(4, outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(2)) if pool else nn.Sequential(*layers)


class _Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Return ``x`` plus what the inner layers make of it."""
        out: Tensor = x + self.inner(x)
        return out
