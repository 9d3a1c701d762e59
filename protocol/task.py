"""The task: the statement that is proved.

Owns everything that can change an output. Whatever is not here may change how fast an output
is computed, never its value (within the tolerance); it belongs to a party's configuration.
Values are validated when made and never change; ``Task.digest`` names the whole.

Rules: no data is read here (``protocol.training.data.datasets`` does), and no file is parsed
(``protocol.taskfile`` does).
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64

from protocol.encoding import DIGEST_BYTES, Digest, Value, canonical, digest
from protocol.game import MAX_SEED, MAX_TARGETS, MAX_UNITS, Measure, SeedPolicy
from protocol.game.game import RANGES, is_range
from protocol.numerics import Exact, Numerics, Profile, check_exact, check_sums
from protocol.recipes import Logistic, Recipe, Ridge, Sgd, require

__all__ = [
    "MAX_SEED", "MAX_TARGETS", "MAX_UNITS", "ConstantColumns", "Data", "Exact", "Logistic", "Numerics",
    "Recipe", "Ridge", "Scaling", "SeedPolicy", "Sgd", "TargetKind", "Targets", "Task", "UnitKind", "Units",
]  # fmt: skip


class Scaling(enum.Enum):
    """What is done to the features, from all training rows, before any subset is taken.

    standard  less the mean, over the standard deviation
    range     less the middle of the range, over the least power of two that is no less than half of it: within
              [-1, 1], and with nothing to be rounded differently on another machine
    """

    NONE = "none"
    STANDARD = "standard"
    RANGE = "range"


class ConstantColumns(enum.Enum):
    """What is done about features that take one value on all rows; an image keeps its pixels."""

    REFUSE = "refuse"
    DROP = "drop"
    KEEP = "keep"


class UnitKind(enum.Enum):
    """What is left in or out."""

    ROW = "row"
    CONTRIBUTOR = "contributor"


class TargetKind(enum.Enum):
    """The number that is read off a trained model at one test row.

    margin         score of the row's class less the largest other score
    probability    predicted probability of the row's class
    loss           the recipe's own training loss at the row
    prediction     predicted value (regression)
    squared-error  (predicted - true)^2 (regression)
    """

    MARGIN = "margin"
    PROBABILITY = "probability"
    LOSS = "loss"
    PREDICTION = "prediction"
    SQUARED_ERROR = "squared-error"

    @property
    def for_regression(self) -> bool:
        return self in (TargetKind.PREDICTION, TargetKind.SQUARED_ERROR)

    @property
    def larger_is_worse(self) -> bool:
        """Whether a unit that raises the target does harm (THEORY 9: its worth changes sign)."""
        return self in (TargetKind.LOSS, TargetKind.SQUARED_ERROR)


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which rows are trained on and which are tested.

    source : ``sklearn:NAME`` for a bundled set, else the file's name (its place is the reader's).
    digest : of the whole table as read, before the split (``training.data.datasets``).
    target_column, contributor_column : names in a .csv, .parquet or .npz; ``""`` for none.
    n_classes : 0 for regression.
    split_seed : the shuffle that gives the first ``n_train`` rows to training, the next
        ``n_test`` to testing.
    """

    source: str
    digest: Digest
    target_column: str
    contributor_column: str
    n_classes: int
    n_train: int
    n_test: int
    split_seed: int
    constant_columns: ConstantColumns
    scaling: Scaling

    def __post_init__(self) -> None:
        require(bool(self.source), "data.source", "sklearn:NAME or a file name", "nothing")
        n_bytes = len(self.digest)
        require(n_bytes == DIGEST_BYTES, "data.digest", f"{DIGEST_BYTES} bytes", f"{n_bytes} bytes")
        require(
            self.n_classes == 0 or self.n_classes >= 2, "data.n_classes", "0 (regression) or at least 2", self.n_classes
        )
        require(self.n_train >= 1, "data.n_train", "at least 1 training row", self.n_train)
        require(self.n_test >= 1, "data.n_test", "at least 1 test row (the test set is empty)", self.n_test)
        require(0 <= self.split_seed < MAX_SEED, "data.split_seed", "an integer from 0 to 2^63 - 1", self.split_seed)

    @property
    def fields(self) -> Value:
        return [
            self.source, self.digest, self.target_column, self.contributor_column, self.n_classes, self.n_train,
            self.n_test, self.split_seed, self.constant_columns.value, self.scaling.value,
        ]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Units:
    """What is left in or out: ``n`` of them."""

    kind: UnitKind
    n: int

    def __post_init__(self) -> None:
        require(2 <= self.n <= MAX_UNITS, "units.n", f"2 to {MAX_UNITS} units", self.n)

    @property
    def fields(self) -> Value:
        return [self.kind.value, self.n]


@dataclass(frozen=True, kw_only=True, eq=False)
class Targets:
    """Which numbers are read off a trained model, and the range each is clipped into.

    rows : indices of test rows, each a target of its own; with ``average``, their mean is the one target.
    lo, hi : shape (T,), lo < hi.
    """

    kind: TargetKind
    rows: tuple[int, ...]
    average: bool
    lo: Float64[np.ndarray, " t"]
    hi: Float64[np.ndarray, " t"]

    def __post_init__(self) -> None:
        require(len(self.rows) >= 1, "targets.rows", "at least one test row (the test set is empty)", "none")
        require(len(set(self.rows)) == len(self.rows), "targets.rows", "each test row once", "a row twice")
        require(min(self.rows) >= 0, "targets.rows", "row numbers from 0", min(self.rows))
        require(self.n <= MAX_TARGETS, "targets.rows", f"at most {MAX_TARGETS} targets", self.n)
        for key, bound in (("targets.lo", self.lo), ("targets.hi", self.hi)):
            require(bound.shape == (self.n,), key, f"{self.n} numbers, one per target", f"{bound.size}")
            require(bool(np.isfinite(bound).all()), key, "finite numbers", "NaN or infinity")
            bound.setflags(write=False)
        for fits, wanted in ((self.lo < self.hi, "lo < hi"), (is_range(self.lo, self.hi), f"bounds {RANGES}")):
            t = int(np.argmin(fits))
            got = f"lo = {self.lo[t]}, hi = {self.hi[t]} at target {t}"
            require(bool(fits[t]), "targets.lo", f"{wanted} for every target", got)

    @property
    def n(self) -> int:
        """T, the number of targets."""
        return 1 if self.average else len(self.rows)

    @property
    def width(self) -> Float64[np.ndarray, " t"]:
        """hi - lo, shape (T,), in the target's unit."""
        return np.asarray(self.hi - self.lo)

    @property
    def fields(self) -> Value:
        return [self.kind.value, np.array(self.rows, dtype=np.int64), self.average, self.lo, self.hi]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Targets) and canonical(self.fields) == canonical(other.fields)

    def __hash__(self) -> int:
        return hash(canonical(self.fields))


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """The statement: on these data, with this recipe, what do the units matter to these targets?

    A task is a ``Game``: training the recipe on a subset is the function that is attributed.

    measure : the law of random subsets.
    seed : the training seed under ``SeedPolicy.SHARED``; unused and 0 otherwise.
    """

    data: Data
    units: Units
    recipe: Recipe
    targets: Targets
    measure: Measure
    seed_policy: SeedPolicy
    seed: int
    numerics: Profile

    def __post_init__(self) -> None:
        p = self.measure.p
        require(0 < self.measure.p_16 < 1 << 16, "sampling.p", "a probability strictly between 0 and 1", p)
        require(0 <= self.seed < MAX_SEED, "sampling.seed", "an integer from 0 to 2^63 - 1", self.seed)
        if self.seed_policy is SeedPolicy.PER_SUBSET:
            require(self.seed == 0, "sampling.seed", "0 when every subset has a seed of its own", self.seed)
        last = max(self.targets.rows)
        require(last < self.data.n_test, "targets.rows", f"row numbers below n_test = {self.data.n_test}", last)
        if self.units.kind is UnitKind.ROW:
            require(self.units.n == self.data.n_train, "units.n", f"n_train = {self.data.n_train}", self.units.n)
        else:
            require(bool(self.data.contributor_column), "units.kind", "data.contributor_column to be set", "none")
            require(
                self.units.n <= self.data.n_train, "units.n", f"at most n_train = {self.data.n_train}", self.units.n
            )
        self._check_kinds()

    def _check_kinds(self) -> None:
        kind, regression = self.targets.kind, self.data.n_classes == 0
        if regression:
            require(kind.for_regression, "targets.kind", "prediction or squared-error for a regression", kind.value)
            fits = self.recipe.takes_regression
            takers = "ridge, kernel, sgd with loss squared or sklearn with reading prediction, for a regression"
            require(fits, "recipe.name", takers, self.recipe.name)
        else:
            require(not kind.for_regression, "targets.kind", "margin, probability or loss for classes", kind.value)
            fits = self.recipe.takes_classes
            require(fits, "recipe.reading", "log-probability or decision for classes", "prediction")
        if kind is TargetKind.PROBABILITY:
            has = self.recipe.has_probabilities
            expected = f"margin or loss for recipe {self.recipe.name}, which has no probabilities"
            require(has, "targets.kind", expected, kind.value)
        if isinstance(self.numerics, Exact):
            self._check_exact(self.numerics)

    def _check_exact(self, numerics: Exact) -> None:
        """Refuse what has no exact form; the width of a row that is no image is the trainer's to check."""
        check_exact(self.recipe, numerics, standard_scaling=self.data.scaling is Scaling.STANDARD)
        if not isinstance(self.recipe, Sgd):
            return
        mean_of_values = self.data.n_classes == 0 and self.targets.average
        require(not mean_of_values, "targets.average", "false for a regression with profile exact", "true")
        check_sums(
            self.recipe,
            numerics,
            n_features=max(math.prod(self.recipe.image), 1),
            n_outputs=self.data.n_classes or 1,
            n_averaged=len(self.targets.rows) if self.targets.average else 1,
        )

    @property
    def n_units(self) -> int:
        """N."""
        return self.units.n

    @property
    def n_targets(self) -> int:
        """T."""
        return self.targets.n

    @property
    def lo(self) -> Float64[np.ndarray, " t"]:
        """Lower ends of the targets' ranges, shape (T,)."""
        return self.targets.lo

    @property
    def hi(self) -> Float64[np.ndarray, " t"]:
        """Upper ends of the targets' ranges, shape (T,)."""
        return self.targets.hi

    @property
    def width(self) -> Float64[np.ndarray, " t"]:
        """hi - lo, shape (T,), in the target's unit."""
        return self.targets.width

    @property
    def tolerance(self) -> float:
        """By how much two honest trainings of one subset may differ, in the targets' unit."""
        return self.numerics.tolerance

    @cached_property
    def digest(self) -> Digest:
        """Name of the task: two tasks with one digest are the same statement."""
        return digest(
            "task", self.data.fields, self.units.fields, self.recipe.fields, self.targets.fields, self.measure.p_16,
            self.seed_policy.value, self.seed, self.numerics.fields,
        )  # fmt: skip

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Task) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)
