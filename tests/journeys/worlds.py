"""Worlds that sessions are run in: a task, the truth, and an honest claim.

A world of games knows its truth in closed form and trains nothing, so that a whole session takes milliseconds; a world
of trainings runs a real recipe on real data. Both offer a cheat what it needs beside the truth: another training set,
a cheaper recipe, the variance of f.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from protocol.certificate.planning import Budget
from protocol.certificate.terms import Rounds, Terms
from protocol.claim import Claim, Figures
from protocol.commitments import SigningKey
from protocol.game import harmonic
from protocol.game.known import Linear, OneTarget, Polynomial
from protocol.game.sampling import Draw
from protocol.task import SeedPolicy, Task
from tests.adversaries.cheat import Outputs, Scene
from tests.adversaries.terms import BUDGET
from tests.games import task_of

KEY = SigningKey(bytes(range(32)))
"""The prover's key in every world: fixed, so that runs repeat to the bit."""


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """A statement and its truth.

    claim : the honest one. best : shape (T, N), the scores of gap 0 where they are known, else the honest claim's.
    variance : shape (T,), Var f. figures : what the honest prover says of its claim.
    outputs, elsewhere, cut_short, stale : see ``Scene``.
    """

    task: Task
    claim: Claim
    figures: Figures
    variance: np.ndarray
    best: np.ndarray
    outputs: Outputs
    elsewhere: Outputs
    cut_short: Outputs
    stale: Callable[[], Claim]
    key: SigningKey = KEY

    @property
    def favourite(self) -> np.ndarray:
        """The first tenth of the units: the contributor that cheats favour."""
        return np.arange(max(1, self.task.n_units // 10))

    def scene(
        self,
        terms: Terms,
        rng: np.random.Generator,
        *,
        budget: Budget = BUDGET,
        rounds: Rounds | None = None,
        leaked: tuple[Draw, ...] = (),
    ) -> Scene:
        """Return what a prover of this world has at hand when it faces ``terms``."""
        return Scene(
            task=self.task, key=self.key, outputs=self.outputs, elsewhere=self.elsewhere, cut_short=self.cut_short,
            stale=self.stale, variance=self.variance, favourite=self.favourite, terms=terms, budget=budget, rng=rng,
            rounds=rounds, leaked=leaked,
        )  # fmt: skip

    def relative_gap(self, claim: Claim) -> np.ndarray:
        """Return a claim's true gap over Var f, target by target; shape (T,)."""
        return np.asarray(harmonic.gap(claim.scores, self.best, self.task.measure.p) / self.variance)


def of_game(
    game: OneTarget = Polynomial(n_units=200, w1=0.93, w2=0.055, w3=0.015),  # noqa: B008  frozen
    *,
    n_targets: int = 3,
    noise: float = 0.005,
    tolerance: float = 1e-9,
    width: float = 5.0,
) -> World:
    """Return the world of a game: target t is the game played with the units moved on by t.

    Parameters
    ----------
    noise : share of Var f that a training seed's own noise adds; above 0, every subset has a seed of its own.
    width : the targets' range, in standard deviations of f to either side of its mean.
    """
    sd = np.sqrt(game.variance * (1 + noise))
    task = task_of(game.n_units, n_targets=n_targets, p=game.p, bound=width * sd, tolerance=tolerance)
    if noise > 0:
        task = replace(task, seed_policy=SeedPolicy.PER_SUBSET)
    played = _Played(game, n_targets, noise * game.variance)
    claim = _claim(task, played.best, game.p)
    return World(
        task=task,
        claim=claim,
        figures=Figures(relative_gap=0.0, odd_residual=0.02, r2=float(_r2(game)), n_retrainings=0),
        variance=np.full(n_targets, game.variance * (1 + noise)),
        best=played.best,
        outputs=played,
        elsewhere=_Moved(played, by=game.n_units // 2),
        cut_short=lambda subsets, seeds: 0.95 * played(subsets, seeds),
        stale=lambda: _claim(task, np.roll(played.best, game.n_units // 2, axis=1), game.p),
    )


@dataclass(frozen=True)
class EvenSpike:
    """A linear game of weight ``w1`` plus a rare even spike of weight 1 - w1, where ``width`` units are all alike.

    One pair in 2^(width - 1) sees the spike, which is most of Var f. It is in no odd part, and so in no residual.
    """

    n_units: int
    width: int
    w1: float
    p: float = 0.5

    def outputs(self, subsets: np.ndarray) -> np.ndarray:
        first = subsets[:, : self.width]
        spike = first.all(axis=1) | ~first.any(axis=1)
        even = np.asarray(self.height * (spike - self._share))
        return np.asarray(self._linear.outputs(subsets) + even[:, None])

    @property
    def _linear(self) -> Linear:
        return Linear(self.n_units, self.w1)

    @property
    def _share(self) -> float:
        return float(2.0 ** (1 - self.width))

    @property
    def height(self) -> float:
        return float(np.sqrt((1 - self.w1) / (self._share * (1 - self._share))))

    @property
    def best(self) -> np.ndarray:
        return self._linear.best

    @property
    def variance(self) -> float:
        return 1.0

    @property
    def largest(self) -> float:
        return self._linear.largest + self.height


@dataclass(frozen=True)
class _Played:
    """A game as a recipe of T targets, with the noise of a training seed."""

    game: OneTarget
    n_targets: int
    noise_variance: float

    def __call__(self, subsets: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        values = np.hstack([self.game.outputs(np.roll(subsets, -t, axis=1)) for t in range(self.n_targets)])
        if self.noise_variance > 0:
            draws = [np.random.default_rng(seed).standard_normal(self.n_targets) for seed in seeds.tolist()]
            values = values + np.sqrt(self.noise_variance) * np.array(draws).reshape(values.shape)
        return values

    @cached_property
    def best(self) -> np.ndarray:
        return np.vstack([np.roll(self.game.best, t, axis=1) for t in range(self.n_targets)])


@dataclass(frozen=True)
class _Moved:
    """The same game on other rows: every unit plays the part of another."""

    played: _Played
    by: int

    def __call__(self, subsets: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        return self.played(np.roll(subsets, -self.by, axis=1), seeds)


def _claim(task: Task, scores: np.ndarray, p: float) -> Claim:
    """Return a claim with these scores whose mean is 0, as every game's is but for its even part."""
    return Claim(task_digest=task.digest, intercepts=-p * scores.sum(axis=1), scores=scores.copy())


def _r2(game: OneTarget) -> float:
    return float(harmonic.linear_variance(game.best, game.p)[0] / game.variance)
