"""From what the user of ``prover init --recipe kernel`` says to the recipe.

Owns its options and the defaults, which look at the data; whatever they settle is written into the task file.
torch is imported when a tangent kernel is measured, not before: ``--help`` reads this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import typer
from jaxtyping import Float64

from protocol.recipes import Kernel, KernelKind, Network
from prover.network_choices import NetworkChoices

N_MEASURED = 100
"""Training rows, the first, that a default penalty is measured on."""

_PANEL = "Recipe kernel"
_DIGITS = 3


@dataclass(frozen=True, kw_only=True)
class KernelChoices:
    """What the user said of a kernel; None where the default may decide.

    gamma : of ``rbf``, by default 1 / (d Var x), d features and the variance of all their values in training rows.
    network_seed : where the weights of ``ntk``'s network begin; the network itself is ``NetworkChoices``'.
    """

    kernel: Annotated[KernelKind, typer.Option(help="linear, rbf or ntk.", rich_help_panel=_PANEL)] = KernelKind.RBF
    gamma: Annotated[
        float | None,
        typer.Option(
            help="rbf is exp(-gamma |x - z|^2); by default 1 / (number of features * their variance).",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None
    network_seed: Annotated[
        int, typer.Option(min=0, help="Seed of the initial weights of ntk's network.", rich_help_panel=_PANEL)
    ] = 0

    def recipe(self, x_train: Float64[np.ndarray, "n d"], l2: float | None, network: NetworkChoices) -> Kernel:
        """Return the recipe for these rows.

        Parameters
        ----------
        l2 : by default the mean of k(x, x), so that one row half believes its own label (1 with ``rbf``).

        Raises
        ------
        ArgumentError, TaskFileError
            As of ``NetworkChoices.recipe``. TrainingError: the network cannot be differentiated.
        """
        is_rbf, tangent = self.kernel is KernelKind.RBF, None
        gamma = (_scale(x_train) if is_rbf else 0.0) if self.gamma is None else self.gamma
        if self.kernel is KernelKind.NTK:
            tangent = network.tangent(self.network_seed)
        if l2 is None:
            l2 = 1.0 if is_rbf else _rounded(_mean_square(x_train[:N_MEASURED], tangent, network))
        return Kernel(kernel=self.kernel, l2=l2, gamma=gamma, network=tangent)


def _scale(x: Float64[np.ndarray, "n d"]) -> float:
    """Return scikit-learn's ``gamma="scale"``."""
    variance = float(x.var())
    return _rounded(1 / (x.shape[1] * variance)) if variance > 0 else 1.0


def _mean_square(x: Float64[np.ndarray, "n d"], tangent: Network | None, network: NetworkChoices) -> float:
    """Return the mean of k(x, x) of a linear or a tangent kernel; 1 where that is 0."""
    if tangent is None:
        mean = float(np.square(x).sum(axis=1).mean())
    else:
        import torch  # noqa: PLC0415 - see the head of this file

        from protocol.training.optima.tangent_kernel import tangent_kernel  # noqa: PLC0415

        mean = float(tangent_kernel(tangent, torch.tensor(x), len(x), network.own).diagonal().mean())
    return mean or 1.0


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
