"""From what the user of ``prover init`` says to a task whose ranges and tolerance are still open.

Owns the defaults. A default here is only a proposal: everything it settles is written into the
task file, and hashed from there. Refuses to know what a pilot run finds (``prover.pilot``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import numpy as np

from protocol.errors import ArgumentError
from protocol.game import Measure
from protocol.game.game import LARGEST
from protocol.numerics import Profile, widest
from protocol.recipes import Kernel, KernelKind, Logistic, Recipe, Ridge, Sgd, Sklearn
from protocol.task import (
    ConstantColumns,
    Data,
    Exact,
    Numerics,
    Scaling,
    SeedPolicy,
    TargetKind,
    Targets,
    Task,
    Units,
)
from protocol.training import Dataset, Table, read_table, split
from prover.choices import BUNDLED, Choices
from prover.estimator_choices import EstimatorChoices
from prover.kernel_choices import KernelChoices
from prover.network_choices import NetworkChoices

MAX_DEFAULT_TRAIN = 1000
MAX_DEFAULT_TARGETS = 200
DIGITS = "sklearn:digits"
_DIGITS_L2 = 256.0
"""RidgeClassifier's alpha = 1 on pixels divided by 16."""

_L2_PER_ROW = {"ridge": 0.03, "logistic": 1e-3}
"""Penalty per training row where none is given: as strong, on scaled features, as the one for digits."""

_RECIPES = {Ridge.name, Logistic.name, Kernel.name, Sgd.name, Sklearn.name}
_OF_TANGENT = {"factory", "widths", "image"}
"""Options of a network that a tangent kernel reads, too."""

_OPEN = LARGEST  # stands for a range that a pilot run is still to propose


def draft(choices: Choices, *, given: Collection[str] = ()) -> tuple[Task, Dataset]:
    """Return the task, its ranges wide open and its tolerance 0, and its data.

    Parameters
    ----------
    given : names of fields that the user typed; one that has another value than its default was typed in any case.

    Raises
    ------
    ArgumentError
        A choice that the data have no room for, or that nothing reads. DataError, TaskFileError: as
        ``training.split`` and ``protocol.task`` say.
    """
    _check_applies(choices, given)
    path = choices.path
    table = read_table(
        choices.data if path is None else path.name,
        path=path,
        target_column=choices.target_column,
        contributor_column=choices.contributor_column,
    )
    data = _data(choices, table, choices.data if path is None else path.name)
    dataset = split(table, data, choices.units)
    recipe = _recipe(choices, data, dataset)
    kind = choices.kind or _default_kind(recipe, table.n_classes)
    n_rows = _n_targets(choices, data.n_test)
    n_targets = 1 if choices.average else n_rows
    task = Task(
        data=data,
        units=Units(kind=choices.units, n=dataset.n_units),
        recipe=recipe,
        targets=Targets(
            kind=kind,
            rows=tuple(range(n_rows)),
            average=choices.average,
            lo=np.full(n_targets, -_OPEN),
            hi=np.full(n_targets, _OPEN),
        ),
        measure=Measure(p_16=_p_16(choices.p)),
        seed_policy=choices.seed_policy,
        seed=choices.seed,
        numerics=_numerics(choices, recipe, dataset, data.n_classes, n_averaged=n_rows if choices.average else 1),
    )
    return task, dataset


def settled(task: Task, *, lo: np.ndarray, hi: np.ndarray, tolerance: float) -> Task:
    """Return ``task`` with its ranges, each of shape (T,), and its tolerance, which an exact task has none of."""
    targets = dataclasses.replace(task.targets, lo=lo, hi=hi)
    numerics = task.numerics if isinstance(task.numerics, Exact) else Numerics(tolerance=tolerance)
    return dataclasses.replace(task, targets=targets, numerics=numerics)


def _data(choices: Choices, table: Table, source: str) -> Data:
    n_train = min(MAX_DEFAULT_TRAIN, 2 * table.n_rows // 3) if choices.n_train is None else choices.n_train
    n_test = table.n_rows - n_train if choices.n_test is None else choices.n_test
    if n_train >= table.n_rows:
        raise ArgumentError(
            f"--n-train: expected at most {table.n_rows - 1} of the {table.n_rows} rows, so that one is left to test, "
            f"got {n_train}"
        )
    bundled = source.startswith(BUNDLED)
    return Data(
        source=source,
        digest=table.digest,
        target_column=choices.target_column,
        contributor_column=choices.contributor_column,
        n_classes=table.n_classes,
        n_train=n_train,
        n_test=n_test,
        split_seed=choices.split_seed,
        constant_columns=choices.constant_columns or _default_constant_columns(choices, bundled=bundled),
        scaling=choices.scaling or _default_scaling(choices, source),
    )


def _check_applies(choices: Choices, given: Collection[str]) -> None:
    """Refuse an option that nothing reads: whoever gave it would believe that it holds."""
    if choices.recipe not in _RECIPES:
        return  # which ``_recipe`` says
    recipe, kernel = f"--recipe {choices.recipe}", f"--kernel {choices.kernel.kernel.value}"
    is_tangent = choices.recipe == Kernel.name and choices.kernel.kernel is KernelKind.NTK
    for group, of in (choices.kernel, Kernel.name), (choices.network, Sgd.name), (choices.estimator, Sklearn.name):
        for field in dataclasses.fields(group):
            if choices.recipe != of and not (is_tangent and field.name in _OF_TANGENT):
                _refuse(group, field.name, given, recipe, instead=f"--recipe {of}")
    if choices.recipe == Kernel.name and not is_tangent:
        _refuse(choices.kernel, "network_seed", given, kernel, instead=f"--kernel {KernelKind.NTK.value}")
    if choices.recipe != Logistic.name:
        _refuse(choices, "gradient_tolerance", given, recipe, instead=f"--recipe {Logistic.name}")
    if choices.seed_policy is SeedPolicy.PER_SUBSET:
        _refuse(choices, "seed", given, "--seed-policy per-subset", instead="--seed-policy shared")
    if choices.l2 is not None and choices.recipe in (Sgd.name, Sklearn.name):
        raise ArgumentError(
            f"--l2: expected none with --recipe {choices.recipe}, which does not read it, got {choices.l2}; "
            "use --weight-decay (sgd), or the estimator's own (sklearn)"
        )


def _refuse(
    group: Choices | KernelChoices | NetworkChoices | EstimatorChoices,
    name: str,
    given: Collection[str],
    beside: str,
    *,
    instead: str,
) -> None:
    """Refuse an option that is not read beside another, if it was given."""
    value = getattr(group, name)
    default = next(field.default for field in dataclasses.fields(group) if field.name == name)
    if name in given or value != default:
        raise ArgumentError(
            f"--{name.replace('_', '-')}: expected none with {beside}, which does not read it, "
            f"got {getattr(value, 'value', value)}; leave it out, or use {instead}"
        )


def _recipe(choices: Choices, data: Data, dataset: Dataset) -> Recipe:
    match choices.recipe:
        case Ridge.name:
            return Ridge(l2=_penalty(choices, data))
        case Logistic.name:
            return Logistic(l2=_penalty(choices, data), gradient_tolerance=choices.gradient_tolerance)
        case Kernel.name:
            return choices.kernel.recipe(dataset.x_train, choices.l2, choices.network)
        case Sgd.name:
            return choices.network.recipe(data.n_classes, exact=choices.exact)
        case Sklearn.name:
            return choices.estimator.recipe(data.n_classes)
    raise ArgumentError(f"--recipe: expected ridge, logistic, kernel, sgd or sklearn, got {choices.recipe!r}")


def _numerics(choices: Choices, recipe: Recipe, dataset: Dataset, n_classes: int, *, n_averaged: int) -> Profile:
    """Return the profile; an exact one of the most bits that are proved to fit, where the recipe has an exact form."""
    if not choices.exact:
        return Numerics(tolerance=0.0)
    if not isinstance(recipe, Sgd):
        return Exact()  # for the task to refuse
    n_features = dataset.x_train.shape[1]
    return widest(recipe, n_features=n_features, n_outputs=n_classes or 1, n_averaged=n_averaged)


def _penalty(choices: Choices, data: Data) -> float:
    if choices.l2 is not None:
        return choices.l2
    unscaled_digits = data.source == DIGITS and data.scaling is Scaling.NONE and choices.recipe == Ridge.name
    return _DIGITS_L2 if unscaled_digits else _L2_PER_ROW[choices.recipe] * data.n_train


def _default_constant_columns(choices: Choices, *, bundled: bool) -> ConstantColumns:
    if choices.network.image:
        return ConstantColumns.KEEP
    return ConstantColumns.DROP if bundled else ConstantColumns.REFUSE


def _default_scaling(choices: Choices, source: str) -> Scaling:
    if choices.exact:
        return Scaling.RANGE
    return Scaling.NONE if source == DIGITS and choices.recipe != Sgd.name else Scaling.STANDARD


def _default_kind(recipe: Recipe, n_classes: int) -> TargetKind:
    if not n_classes:
        return TargetKind.PREDICTION
    # A forest's probabilities are often 0: their logarithms end at a floor, and margins leap.
    leaps = isinstance(recipe, Sklearn) and recipe.has_probabilities
    return TargetKind.PROBABILITY if leaps else TargetKind.MARGIN


def _n_targets(choices: Choices, n_test: int) -> int:
    if choices.n_targets is None:
        return min(MAX_DEFAULT_TARGETS, n_test)
    if not 1 <= choices.n_targets <= n_test:
        raise ArgumentError(f"--n-targets: expected 1 to {n_test}, the test rows there are, got {choices.n_targets}")
    return choices.n_targets


def _p_16(p: float) -> int:
    p_16 = round(65536 * p) if 0 < p < 1 else 0
    if not 0 < p_16 < 1 << 16:
        raise ArgumentError(f"--p: expected a probability strictly between 0 and 1, to 16 bits, got {p}")
    return p_16
