"""Thousands of retrainings: planned, run, resumed, and made into a claim.

Owns how many retrainings a claim takes and the order in which they are done. Subsets are the
prover's own: independent, each with its complement at p = 1/2, from a seed of fresh entropy that
is saved before the first training. What is saved is never trained again, so a campaign that was
killed goes on where it was, and one that is to be larger begins with what the smaller one did.

Stages: a pilot; then, in turns, a fit whose own held-out figures say how many retrainings more
the gap that is wanted takes (``prover.fitting.extrapolation``), and those retrainings; until the fit's gap is
there or the budget is spent.
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from protocol.certificate.planning import Outlook
from protocol.claim import Claim, Figures
from protocol.encoding import SEED_BYTES, Seed
from protocol.errors import ArgumentError
from protocol.game.sampling import MAX_EVALUATIONS, Draw, pairs
from protocol.task import Task
from prover.engines import Done, Engine
from prover.fitting.fit import MIN_EVALUATIONS, Fit, Method, fit, judge
from prover.fitting.heldout import Quality
from prover.fitting.packed import PackedSubsets
from prover.progress import Watcher, unwatched
from prover.store import Store

TRAIN, CHECK = "train", "check"
"""Campaigns: what claims are fitted to, and what claims made elsewhere are judged by. Their seeds are apart."""

MAX_CLIPPED = 1e-3
"""Share of clipped outputs above which a run says so: past it the clipped function is visibly another one."""

HEADROOM = 1.02
"""Trained beyond the plan, so that noise in an estimate does not cost another fit."""

_MIN_GROWTH, _MAX_GROWTH = 1.1, 4.0  # a fit for fewer is not worth its time; a pilot's plan is not trusted further


@dataclass(frozen=True, kw_only=True)
class Goal:
    """When a campaign is done; does not affect outputs.

    gap : the relative gap, mean over targets, that the claim is to be stated with, above 0 and below 1. What is stated
        has its standard error added, so a gap that is there by chance, while it is vague, is not believed.
    max_retrainings : most trainings in all, those that are saved included.
    """

    gap: float = 0.005
    max_retrainings: int = 100_000

    def __post_init__(self) -> None:
        if not 0 < self.gap < 1:
            raise ArgumentError(f"gap: expected a relative gap above 0 and below 1, got {self.gap}")
        least = 2 * MIN_EVALUATIONS
        if not least <= self.max_retrainings <= MAX_EVALUATIONS:
            raise ArgumentError(
                f"max-retrainings: expected {least} to {MAX_EVALUATIONS} retrainings, got {self.max_retrainings}"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What a campaign came to.

    reached : whether the gap that is stated is at most the goal's. n_retrainings : trainings fitted to.
    clipped : share of the outputs that lay outside their range.
    """

    fit: Fit
    reached: bool
    n_retrainings: int
    clipped: float


def guessed_figures() -> Figures:
    """Return what a claim is published with when nobody measured it: what a verifier would guess anyway."""
    outlook = Outlook.of(None)
    return Figures(relative_gap=outlook.relative_gap, odd_residual=outlook.residual, r2=outlook.r2, n_retrainings=0)


def pilot_size(n_units: int, method: Method) -> int:
    """Return how many independent evaluations show what the rest will take: about half a unit's worth each."""
    return max(n_units // 2, 5 * MIN_EVALUATIONS, method.least_evaluations(n_units))


class Campaign:
    """One series of retrainings in a store.

    Parameters
    ----------
    purpose : ``TRAIN`` or ``CHECK``.
    device : where fits run; does not affect outputs.
    method : how scores are fitted; does not affect outputs.
    """

    def __init__(
        self,
        store: Store,
        task: Task,
        engine: Engine,
        *,
        purpose: str = TRAIN,
        device: str = "cpu",
        method: Method = Method.RIDGE,
        watch: Watcher = unwatched,
    ) -> None:
        self._store, self._task, self._engine = store, task, engine
        self._purpose, self._device, self._method, self._watch = purpose, device, method, watch
        self._sides = task.measure.n_sides
        self._draw = self._saved_draw()

    def run(self, goal: Goal) -> Outcome:
        """Train and fit until the claim's own gap is the goal's or the budget is spent.

        Raises
        ------
        ArgumentError
            The budget does not reach what the method needs at least, or LASSO's memory what its scores need.
        TrainingError
            A training gave no number.
        StoreError
            The disk refuses; what was saved before is kept.
        """
        most = goal.max_retrainings // self._sides
        self._method.check_enough(most, self._task.n_units, self._sides)
        n = min(max(pilot_size(self._task.n_units, self._method), self._n_saved()), most)
        while True:
            fitted = self._fit(n)
            reached = fitted.figures.relative_gap <= goal.gap
            if reached or n >= most:
                break
            n = min(self._planned(fitted, goal.gap), most)
        return Outcome(fit=fitted, reached=reached, n_retrainings=n * self._sides, clipped=self.clipped)

    def judge(self, claim: Claim, n_retrainings: int) -> Quality:
        """Return the figures of a claim made elsewhere, from this campaign's first ``n_retrainings`` trainings."""
        n = -(-n_retrainings // self._sides)
        outputs = self._outputs(n)
        return judge(self._task, claim, self._subsets(n), outputs, device=self._device)

    @property
    def clipped(self) -> float:
        """Share of the saved outputs that lay outside their range."""
        chunks = self._store.chunks(self._purpose)
        n = max(sum(chunk.n for chunk in chunks), 1)
        return sum(chunk.n_clipped for chunk in chunks) / (n * self._task.n_targets)

    def _saved_draw(self) -> Draw:
        draw = self._store.campaign(self._purpose)
        if draw is None:
            # As long as any campaign can be: a subset depends on its number and the seed alone.
            design = pairs(MAX_EVALUATIONS // self._sides, complements=self._task.measure.has_complements)
            draw = Draw(seed=Seed(secrets.token_bytes(SEED_BYTES)), design=design)
            self._store.add_campaign(self._purpose, draw)
        return draw

    def _n_saved(self) -> int:
        return self._store.n_done(self._purpose) // self._sides

    def _planned(self, fitted: Fit, gap: float) -> int:
        n = fitted.n_evaluations
        return math.ceil(min(max(fitted.evaluations_for(gap) * HEADROOM, n * _MIN_GROWTH), n * _MAX_GROWTH))

    def _fit(self, n: int) -> Fit:
        outputs = self._outputs(n)
        return fit(
            self._task,
            self._subsets(n),
            outputs,
            method=self._method,
            device=self._device,
            on_progress=lambda done, total: self._watch("fitting", done, total),
        )

    def _outputs(self, n: int) -> Float64[np.ndarray, "n s t"]:
        """Return the outputs of the first n independent evaluations, trained where they are not saved."""
        total = n * self._sides
        done = total - sum(len(gap) for gap in self._store.missing(self._purpose, total))
        self._watch("training", done, total)

        def save(chunk: Done) -> None:
            nonlocal done
            first = int(chunk.evaluations[0])
            self._store.save_outputs(self._purpose, first, chunk.outputs, chunk.n_clipped, chunk.seconds)
            done += len(chunk.evaluations)
            self._watch("training", done, total)

        for gap in self._store.missing(self._purpose, total):
            self._engine.run(self._draw, np.arange(gap.start, gap.stop, dtype=np.int64), save)
        outputs = self._store.outputs(self._purpose, 0, total, self._task.n_targets)
        return outputs.reshape(n, self._sides, self._task.n_targets)

    def _subsets(self, n: int) -> PackedSubsets:
        return PackedSubsets.drawn(self._draw, self._task, np.arange(0, n * self._sides, self._sides, dtype=np.int64))
