"""Recipes: all that turns a subset and a training seed into a trained model.

Owns their parameters, the texts and the order in which a task's digest covers them, and what each
can be asked for. What the parameters do is written in ``protocol.training``, one file a recipe.

To add a recipe: a frozen dataclass here, with ``name``, ``loss``, ``takes_regression``,
``takes_classes``, ``has_probabilities`` and ``fields``, and a member of ``Recipe``; a section in
``protocol.recipefile``, a message in ``protocol.wire.recipe_codec`` and proto/attribution.proto; a
line in SPEC 5, proto/reference.py and a vector; a solver in ``protocol.training``, made by its ``trainer``.
"""

from __future__ import annotations

from typing import TypeAlias

from protocol.recipes.estimator import Call, Node
from protocol.recipes.kernel import Kernel, KernelKind, Network
from protocol.recipes.keys import require
from protocol.recipes.linear import Logistic, Ridge
from protocol.recipes.loss import Loss
from protocol.recipes.network import MAX_LAYERS, Factory, HasNetwork, digest_of_factory
from protocol.recipes.scikit import Reading, Sklearn
from protocol.recipes.sgd import Optimiser, Precision, Schedule, Sgd

Recipe: TypeAlias = Ridge | Logistic | Kernel | Sgd | Sklearn

__all__ = [
    "MAX_LAYERS", "Call", "Factory", "HasNetwork", "Kernel", "KernelKind", "Logistic", "Loss", "Network", "Node",
    "Optimiser", "Precision", "Reading", "Recipe", "Ridge", "Schedule", "Sgd", "Sklearn", "digest_of_factory",
    "require",
]  # fmt: skip
