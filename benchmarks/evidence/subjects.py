"""What the certificates are tried on: games with known gaps, two real tasks, and claims about each.

p = 1/2 throughout. Subsets are drawn here by numpy's generator, with the distribution of the protocol's own streams,
which have their own tests; a benchmark is repeatable and has nobody to deceive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64

from benchmarks.digits_task import digits_task, least_squares_claim
from protocol.claim import Claim
from protocol.game import Measure, harmonic
from protocol.game.known import HeavyTailed, Majority, OneTarget, Parity, Polynomial, SparsePolynomial, Spikes
from protocol.game.sampling import Design
from protocol.task import (
    ConstantColumns,
    Data,
    Logistic,
    Numerics,
    Scaling,
    SeedPolicy,
    TargetKind,
    Targets,
    Task,
    UnitKind,
    Units,
)
from protocol.training import Trainer, load, read_table
from tests.games import task_of

EPSILON = 0.05
ABOVE = 1.01
"""A claim "just above epsilon" has this times epsilon for a relative gap."""

REAL_RANGE_SD = 5.0
"""Half a real target's range in sd, as ``prover init`` proposes it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A claim about a subject and the truth about it, target by target.

    scores : shape (T, N). intercepts : shape (T,). gap : shape (T,), true relative gaps.
    """

    name: str
    scores: Float64[np.ndarray, "t n"]
    intercepts: Float64[np.ndarray, " t"]
    gap: Float64[np.ndarray, " t"]

    def claim(self, task: Task) -> Claim:
        """Return it as the protocol's claim."""
        return Claim(task_digest=task.digest, intercepts=self.intercepts, scores=self.scores)


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """f on subsets, T targets, and claims about it.

    targets : a name each. variance : shape (T,), Var f. missing : shape (T, N), the honest claim's residual
    coefficients of degree one; 0 where it is the best. noise : shape (T,), what estimating them added to their square.
    outputs : shape (m, N) to (m, T), clipped into the task's range.
    """

    name: str
    task: Task
    targets: tuple[str, ...]
    variance: Float64[np.ndarray, " t"]
    honest: Case
    missing: Float64[np.ndarray, "t n"]
    outputs: Callable[[Bool[np.ndarray, "m n"]], Float64[np.ndarray, "m t"]]
    is_game: bool
    rare: Float64[np.ndarray, "t n"] | None = None

    @property
    def n_units(self) -> int:
        """N."""
        return self.task.n_units

    def moved(self, name: str, direction: Float64[np.ndarray, "t n"], relative_gap: float) -> Case:
        """Return the honest claim moved along ``direction``, as far as makes its relative gap the one given."""
        return self._along(name, direction, self._step(direction, relative_gap))

    def _step(self, direction: Float64[np.ndarray, "t n"], relative_gap: float) -> Float64[np.ndarray, " t"]:
        norm = np.sqrt(harmonic.linear_variance(direction, 0.5))
        along = (self.missing * harmonic.coefficients_from_weights(direction, 0.5)).sum(axis=1) / norm
        rest = (relative_gap - self.honest.gap) * self.variance
        return np.asarray((along + np.sqrt(np.maximum(along**2 + rest, 0.0))) / norm)

    def _along(self, name: str, direction: Float64[np.ndarray, "t n"], step: Float64[np.ndarray, " t"]) -> Case:
        """|w - t d|^2 = |w|^2 - 2 t <w, d> + t^2 |d|^2, w the coefficients that the honest claim leaves."""
        shift = harmonic.coefficients_from_weights(direction, 0.5) * step[:, None]
        moved = self.honest.gap * self.variance - 2 * (self.missing * shift).sum(axis=1) + (shift**2).sum(axis=1)
        scores = self.honest.scores + direction * step[:, None]
        intercepts = self.honest.intercepts - direction.sum(axis=1) * step / 2
        return Case(name=name, scores=scores, intercepts=intercepts, gap=np.maximum(moved, 0.0) / self.variance)

    def cases(self) -> list[Case]:
        """Return the honest claim and others: halved, and just above epsilon in several ways."""
        n_targets, n = self.honest.scores.shape
        above, honest = EPSILON * ABOVE, self.honest.scores
        one, rng = np.zeros((n_targets, n)), np.random.default_rng(1)
        one[:, 0] = 1.0
        found = [self.honest]
        if (np.abs(honest).max(axis=1) > 0).all():
            found.append(self._along("halved", -honest, np.full(n_targets, 0.5)))
            if (harmonic.linear_variance(honest, 0.5) > above * self.variance).all():
                found.append(self.moved("too small", -honest, above))
        found.append(self.moved("one unit", one, above))
        found.append(self.moved("random direction", rng.standard_normal((n_targets, n)), above))
        if self.rare is not None:
            found.append(self._along("rare part missing", self.rare, np.ones(n_targets)))
            found.append(self.moved("rare part wrong", self.rare, above))
        return found


def game_subject(name: str, game: OneTarget, usual: Float64[np.ndarray, "1 n"] | None = None) -> Subject:
    """Return a game as a subject; ``usual`` are the best scores of the game without its rare events."""
    best = game.best
    # A hair wider than f: no output is clipped.
    task = task_of(game.n_units, bound=game.largest * (1 + 1e-9), tolerance=1e-9)
    variance = np.array([game.variance])
    honest = Case(name="honest", scores=best, intercepts=-best.sum(axis=1) / 2, gap=np.zeros(1))
    return Subject(
        name=name, task=task, targets=("f",), variance=variance, honest=honest, missing=np.zeros_like(best),
        outputs=game.outputs, is_game=True, rare=None if usual is None else usual - best,
    )  # fmt: skip


def games(n_units: int = 24) -> list[Subject]:
    """Return every game of the evidence at about ``n_units`` units, at least 12."""
    heavy = HeavyTailed(n_units=n_units, width=12, growth=1.3)
    linear = np.full((1, n_units), 2 / np.sqrt(n_units))
    return [
        game_subject("linear", Polynomial(n_units=n_units, w1=1.0, w2=0.0, w3=0.0)),
        game_subject("quadratic", Polynomial(n_units=n_units, w1=0.8, w2=0.2, w3=0.0)),
        game_subject("majority", Majority(n_units=n_units + 1 - n_units % 2)),
        game_subject("parity of three", Parity(n_units=n_units, degree=3)),
        game_subject("sparse cubic", SparsePolynomial(n_units=n_units)),
        game_subject("heavy-tailed", heavy, HeavyTailed(n_units=n_units, width=4, growth=1.3).best),
        game_subject("spikes", Spikes(n_units=n_units, width=6, height=4.0), linear),
        game_subject("rare spikes", Spikes(n_units=n_units, width=10, height=60.0), linear),
    ]


def like_digits(n_units: int) -> Subject:
    """Return a game with the digits task's weights: R^2 0.935, even part 0.051, odd part 0.014."""
    return game_subject("like digits", Polynomial(n_units=n_units, w1=0.935, w2=0.051, w3=0.014))


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How many trainings the truth about a real task is worth.

    n_train : rows. n_fit : subsets that the honest claim is fitted to. n_reference : pairs for its true gap.
    """

    n_train: int
    n_fit: int
    n_reference: int


def digits_ridge(effort: Effort, seed: int = 0) -> Subject:
    """Return ``effort.n_train`` rows of digits with ridge regression, two margins."""
    task, _ = digits_task()
    task = replace(
        task,
        data=replace(task.data, n_train=effort.n_train),
        units=replace(task.units, n=effort.n_train),
    )
    return _real_subject("digits, ridge", task, effort, seed)


def breast_cancer_logistic(effort: Effort, seed: int = 1) -> Subject:
    """Return ``effort.n_train`` rows of breast_cancer with logistic regression, two margins."""
    table = read_table("sklearn:breast_cancer", path=None, target_column="", contributor_column="")
    data = Data(
        source="sklearn:breast_cancer", digest=table.digest, target_column="", contributor_column="", n_classes=2,
        n_train=effort.n_train, n_test=200, split_seed=0, constant_columns=ConstantColumns.DROP,
        scaling=Scaling.STANDARD,
    )  # fmt: skip
    targets = Targets(
        kind=TargetKind.MARGIN, rows=tuple(range(100)), average=False, lo=np.full(100, -1e3), hi=np.full(100, 1e3)
    )
    task = Task(
        data=data, units=Units(kind=UnitKind.ROW, n=effort.n_train), recipe=Logistic(l2=1.0, gradient_tolerance=1e-6),
        targets=targets, measure=Measure(p_16=1 << 15), seed_policy=SeedPolicy.SHARED, seed=0,
        numerics=Numerics(tolerance=1e-5),
    )  # fmt: skip
    return _real_subject("breast cancer, logistic", task, effort, seed)


def _real_subject(name: str, task: Task, effort: Effort, seed: int) -> Subject:
    """Choose two targets, their ranges, the least-squares claim, and measure what it leaves."""
    rng, dataset = np.random.default_rng(seed), load(task)
    subsets = rng.random((effort.n_fit, task.n_units)) < 0.5
    outputs = _outputs(Trainer(task, dataset), subsets)
    rows = _typical_and_heaviest(task, subsets, outputs)
    chosen = outputs[:, rows]
    middle, half = chosen.mean(axis=0), REAL_RANGE_SD * chosen.std(axis=0)
    targets = replace(
        task.targets, rows=tuple(task.targets.rows[row] for row in rows), lo=middle - half, hi=middle + half
    )
    task = replace(task, targets=targets)
    trainer = Trainer(task, dataset)
    claim = least_squares_claim(task, subsets, np.clip(chosen, targets.lo, targets.hi))
    missing, square, variance = _missing(task, trainer, claim, effort.n_reference, rng)
    honest = Case(name="honest", scores=claim.scores, intercepts=claim.intercepts, gap=square / variance)
    return Subject(
        name=name, task=task, targets=("typical row", "heaviest-tailed row"), variance=variance, honest=honest,
        missing=missing, outputs=lambda x: _outputs(trainer, x), is_game=False,
    )  # fmt: skip


def _outputs(trainer: Trainer, subsets: Bool[np.ndarray, "m n"]) -> Float64[np.ndarray, "m t"]:
    return trainer.outputs(subsets, np.zeros(len(subsets), dtype=np.int64)).values


def _typical_and_heaviest(
    task: Task, subsets: Bool[np.ndarray, "m n"], outputs: Float64[np.ndarray, "m t"]
) -> list[int]:
    """Return the targets whose least-squares residual has the median and the largest excess kurtosis."""
    claim = least_squares_claim(task, subsets, outputs)
    residual = outputs - (subsets @ claim.scores.T + claim.intercepts)
    kurtosis = (residual**4).mean(axis=0) / (residual**2).mean(axis=0) ** 2
    order = np.argsort(kurtosis)
    return [int(order[len(order) // 2]), int(order[-1])]


def _missing(
    task: Task, trainer: Trainer, claim: Claim, n_pairs: int, rng: np.random.Generator
) -> tuple[Float64[np.ndarray, "t n"], Float64[np.ndarray, " t"], Float64[np.ndarray, " t"]]:
    """Return the residual's coefficients of degree one, the unbiased estimate of their square, and Var f."""
    total = np.zeros((task.n_targets, task.n_units))
    squares = np.zeros(task.n_targets)
    sums = np.zeros((2, task.n_targets))
    for start in range(0, n_pairs, 5000):
        subsets = rng.random((min(5000, n_pairs - start), task.n_units)) < 0.5
        ours, theirs = _outputs(trainer, subsets), _outputs(trainer, ~subsets)
        residual = (ours - theirs) / 2 - (subsets - 0.5) @ claim.scores.T
        total += residual.T @ harmonic.characters(subsets, 0.5)
        squares += (residual**2).sum(axis=0)
        sums += [(ours + theirs).sum(axis=0), (ours**2 + theirs**2).sum(axis=0)]
    square = ((total**2).sum(axis=1) - task.n_units * squares) / (n_pairs * (n_pairs - 1))
    mean, mean_square = sums / (2 * n_pairs)
    return total / n_pairs, np.maximum(square, 0.0), mean_square - mean**2


def family_subsets(
    design: Design, n_units: int, n_families: int, rng: np.random.Generator
) -> Bool[np.ndarray, "b s n"]:
    """Return ``n_families`` families of the design's siblings, complements left out; p = 1/2."""
    shape = (n_families, design.n_siblings, n_units)
    base = _coins((n_families, 1, n_units), rng)
    kept = rng.integers(0, 1 << 16, size=shape, dtype=np.uint16) < design.keep_16
    return np.where(kept, base, _coins(shape, rng))


def _coins(shape: tuple[int, ...], rng: np.random.Generator) -> Bool[np.ndarray, "*shape"]:
    return rng.integers(0, 2, size=shape, dtype=np.uint8).astype(bool)
