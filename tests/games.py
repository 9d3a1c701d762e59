"""A task of a game's size, for tests that need a ``Task`` where ``protocol.game.known.statement_of`` would do.

The games themselves are ``protocol.game.known``'s.
"""

from __future__ import annotations

import numpy as np

from protocol.encoding import Digest
from protocol.game import Measure
from protocol.task import (
    ConstantColumns,
    Data,
    Numerics,
    Ridge,
    Scaling,
    SeedPolicy,
    TargetKind,
    Targets,
    Task,
    UnitKind,
    Units,
)


def task_of(n_units: int, *, n_targets: int = 1, p: float = 0.5, bound: float = 1e6, tolerance: float = 0.0) -> Task:
    """Return a task of the game's size. Its data are never read: a game needs no training."""
    return Task(
        data=Data(
            source="game", digest=Digest(bytes(32)), target_column="", contributor_column="", n_classes=0,
            n_train=n_units, n_test=n_targets, split_seed=0, constant_columns=ConstantColumns.REFUSE,
            scaling=Scaling.NONE,
        ),
        units=Units(kind=UnitKind.ROW, n=n_units),
        recipe=Ridge(l2=1.0),
        targets=Targets(
            kind=TargetKind.PREDICTION, rows=tuple(range(n_targets)), average=False,
            lo=np.full(n_targets, -bound), hi=np.full(n_targets, bound),
        ),
        measure=Measure(p_16=round(65536 * p)),
        seed_policy=SeedPolicy.SHARED,
        seed=0,
        numerics=Numerics(tolerance=tolerance),
    )  # fmt: skip
