"""The networks that recipe ``sgd`` trains and recipe ``kernel`` differentiates, by the name of their factory.

A network here is a torch module whose parameters say what there is to train; where they begin is
``sgd``'s business, and whatever values they are built with are never looked at. A row's outputs
must depend on that row alone: batch norm mixes the rows of a batch, and dropout draws at random,
so both are refused.

A factory of the user's own is a function ``make(shape, n_outputs, widths)`` that returns a
module: ``shape`` is (d,), or (channels, height, width) where the recipe says so. It is named by an
import path that the user types on this machine, and by nothing that a peer says; its source file and
its own name must have the digest that the task holds, which is looked at before anything is imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from protocol.encoding import Digest
from protocol.errors import ArgumentError, TaskFileError, TrainingError
from protocol.recipes import Factory, HasNetwork, digest_of_factory

Make = Callable[[tuple[int, ...], int, tuple[int, ...]], nn.Module]

MAX_WEIGHTS = 1 << 28
"""Of one of our networks: 1 GB in float32, seven times a ResNet-9 of width 256."""


@dataclass(frozen=True, kw_only=True)
class OwnFactory:
    """A factory of the user's own: where it is imported from, and the digest of its source file and name."""

    path: str
    digest: Digest

    def make(self) -> Make:
        """Import it. This runs the user's file."""
        module_name, _, function = self.path.partition(":")
        try:
            make: Make = getattr(importlib.import_module(module_name), function)
        except Exception as error:  # the user's own code may raise anything
            raise ArgumentError(f"factory {self.path}: expected it to import, got {_line(error)}") from error
        return make


def own_factory(path: str) -> OwnFactory:
    """Return the factory at ``package.module:function``, found and hashed, not yet imported.

    Raises
    ------
    ArgumentError
        There is no such module, or it has no source file.
    """
    module, _, function = path.partition(":")
    if not module or not function:
        raise ArgumentError(f"factory {path!r}: expected package.module:function")
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        raise ArgumentError(f"factory {path}: expected a module to import, got {_line(error)}") from error
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise ArgumentError(f"factory {path}: expected a module with a source file, found none; is it on PYTHONPATH?")
    return OwnFactory(path=path, digest=digest_of_factory(Path(spec.origin).read_bytes(), function))


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
    shape, make = _shape(recipe, n_features), _maker(recipe, own)
    if recipe.factory is not Factory.CUSTOM:
        _check_size(make, shape, n_outputs, recipe.widths)
    module = make(shape, n_outputs, recipe.widths)
    if not isinstance(module, nn.Module):
        raise TrainingError(f"factory: expected a torch.nn.Module, got {type(module).__name__}")
    for name, layer in module.named_modules():
        _refuse(name, layer)
    return module


def _maker(recipe: HasNetwork, own: OwnFactory | None) -> Make:
    if recipe.factory is not Factory.CUSTOM:
        return {Factory.MLP: mlp, Factory.CNN: cnn, Factory.RESNET9: resnet9}[recipe.factory]
    named = recipe.factory_digest.hex()[:16]
    if own is None:
        raise ArgumentError(f"factory: expected --factory package.module:function, the one of digest {named}, got none")
    if own.digest != recipe.factory_digest:
        raise ArgumentError(
            f"factory {own.path}: expected source of digest {named}, file and function, got {own.digest.hex()[:16]}"
        )
    return own.make()


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


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]
