"""Kernel ridge regression on a fixed kernel."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from protocol.encoding import Value
from protocol.recipes.keys import require, require_positive
from protocol.recipes.loss import Loss
from protocol.recipes.network import Factory, check_network

MAX_NETWORK_SEED = 2**63


class KernelKind(enum.Enum):
    """k(x, z) of two rows' features.

    linear  <x, z>
    rbf     exp(-gamma |x - z|^2)
    ntk     the empirical neural tangent kernel: <dg/dw (x), dg/dw (z)>, summed over all weights w of a
            network g with one output, where they begin
    """

    LINEAR = "linear"
    RBF = "rbf"
    NTK = "ntk"


@dataclass(frozen=True, kw_only=True)
class Network:
    """The network of a tangent kernel; fields as of ``network.HasNetwork``.

    seed : from 0 to 2^63 - 1; its weights begin as recipe ``sgd``'s do under this training seed.
    """

    factory: Factory
    factory_digest: bytes
    widths: tuple[int, ...]
    image: tuple[int, int, int]
    seed: int

    def __post_init__(self) -> None:
        check_network(self)
        require(0 <= self.seed < MAX_NETWORK_SEED, "recipe.network_seed", "an integer from 0 to 2^63 - 1", self.seed)

    @property
    def fields(self) -> Value:
        return [self.factory.value, self.factory_digest, list(self.widths), list(self.image), self.seed]


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """min over h of sum over the subset's rows of (y - h(x))^2 + l2 |h|^2, h in the kernel's space, no intercept.

    Classification regresses on +1 for the row's class and -1 for the others. A regression's y is
    less its mean over all training rows, which is added to what is predicted. So the model of the
    empty subset scores 0 everywhere, or predicts that mean. It takes no training seed.

    gamma : above 0 for ``rbf``, in one over the features' unit squared; else 0.
    network : of ``ntk``; else None.
    """

    kernel: KernelKind
    l2: float
    gamma: float
    network: Network | None
    name = "kernel"
    loss = Loss.SQUARED
    takes_regression = True
    takes_classes = True
    has_probabilities = False

    def __post_init__(self) -> None:
        require_positive("recipe.l2", self.l2)
        if self.kernel is KernelKind.RBF:
            require_positive("recipe.gamma", self.gamma)
        else:
            require(self.gamma == 0, "recipe.gamma", f"0 with kernel {self.kernel.value}", self.gamma)
        if self.kernel is KernelKind.NTK:
            require(self.network is not None, "recipe.factory", "a network with kernel ntk", "none")
        else:
            require(self.network is None, "recipe.factory", f"none with kernel {self.kernel.value}", "a network")

    @property
    def fields(self) -> Value:
        network = None if self.network is None else self.network.fields
        return [self.name, self.kernel.value, float(self.l2), float(self.gamma), network]
