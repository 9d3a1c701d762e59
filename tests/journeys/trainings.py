"""The world of a real task: its recipe on its data, and what a cheat can train beside it.

Nothing is trained, and no data are read, before something asks for it. Apart from ``worlds`` because it needs torch.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from protocol.claim import Claim
from protocol.commitments import SigningKey
from protocol.encoding import Seed
from protocol.game import harmonic
from protocol.game.sampling import Draw, pairs
from protocol.session.messages import ClaimCommitted
from protocol.task import Logistic, Task
from protocol.training import Trainer, load
from prover.claiming import commit
from prover.fitting.fit import Fit, fit
from prover.fitting.packed import PackedSubsets
from tests.adversaries.cheat import Outputs
from tests.journeys.worlds import KEY, World

N_PAIRS = 1000
"""Enough for a claim whose own faults are small beside being about other rows."""


def trained_world(task: Task, *, n_pairs: int = N_PAIRS, data: Path | None = None) -> World:
    """Return the world of ``task`` with an honest claim fitted to ``n_pairs`` pairs of trainings."""
    found = _fit(task, _outputs(task, data, None), n_pairs)
    return world_of(task, commit(found.claim, found.figures, KEY), KEY, data=data, n_pairs=n_pairs)


def world_of(
    task: Task,
    committed: ClaimCommitted,
    key: SigningKey,
    *,
    data: Path | None = None,
    n_threads: int | None = None,
    n_pairs: int = N_PAIRS,
) -> World:
    """Return the world of ``task``, where ``committed`` is the honest claim; a stale one takes ``n_pairs`` to fit.

    The other training set is that of another split of the same table; the cheaper recipe has ten times the penalty or,
    for ``logistic``, ten thousand times the gradient left.
    """
    claim, figures = committed.claim, committed.signed.figures
    other = replace(task, data=replace(task.data, split_seed=task.data.split_seed + 1))
    elsewhere = _outputs(other, data, n_threads)

    @cache
    def stale() -> Claim:
        return _fit(other, elsewhere, n_pairs).claim

    return World(
        task=task,
        claim=claim,
        figures=figures,
        variance=harmonic.linear_variance(claim.scores, task.measure.p) / max(figures.r2, 0.1),
        best=claim.scores,
        outputs=_outputs(task, data, n_threads),
        elsewhere=elsewhere,
        cut_short=_outputs(_cheaper(task), data, n_threads),
        stale=stale,
        key=key,
    )


def _outputs(task: Task, data: Path | None, n_threads: int | None) -> Outputs:
    @cache
    def trainer() -> Trainer:
        return Trainer(task, load(task, data), n_threads=n_threads)

    def outputs(subsets: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        return trainer().outputs(subsets, seeds).values

    return outputs


def _cheaper(task: Task) -> Task:
    recipe = task.recipe
    if isinstance(recipe, Logistic):
        return replace(task, recipe=replace(recipe, gradient_tolerance=1e4 * recipe.gradient_tolerance))
    return replace(task, recipe=replace(recipe, l2=10 * recipe.l2))


def _fit(task: Task, outputs: Outputs, n_pairs: int) -> Fit:
    draw = Draw(seed=Seed(bytes(32)), design=pairs(n_pairs, complements=task.measure.has_complements))
    everything = np.arange(draw.n_evaluations, dtype=np.int64)
    subsets = draw.subsets(task, everything)
    values = outputs(subsets, draw.training_seeds(task, everything))
    sides = draw.design.n_sides
    return fit(task, PackedSubsets.of(subsets[::sides]), values.reshape(-1, sides, task.n_targets))
