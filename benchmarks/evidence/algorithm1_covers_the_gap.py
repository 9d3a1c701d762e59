"""Algorithm 1 at its own derived counts covers the true gap, in all runs but a share far below delta (THEORY 6).

Millions of answers a run, so games of five units or so, whose outputs take few values: the rounds' statistics depend
on how often each pair of values came, and those counts are drawn from their exact multinomial distribution instead of
a training at a time. The conclusion's formula is ``algorithm1.certify``'s, which a test compares on whole rounds.

Letters: h the three noise stabilities, b half the range; gaps are shares of b^2 and count the intercept's error.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from benchmarks.evidence.coverage import Cell, cell_of
from benchmarks.evidence.subjects import ABOVE, Case, Subject, game_subject
from protocol.certificate.algorithm1 import bound as algorithm1
from protocol.certificate.algorithm1.bound import Counts
from protocol.game.known import HeavyTailed, Majority, Parity, Polynomial, SparsePolynomial, Spikes

EPSILON = 0.5
"""A share of b^2: with b of a few sd the smallest that a challenge's 50 million evaluations allow."""

DELTAS = (0.05, 0.2)


def tiny_games() -> list[Subject]:
    """Return the evidence's games at five to seven units."""
    n, few = 6, 5
    linear = np.full((1, n), 2 / np.sqrt(n))
    return [
        game_subject("linear", Polynomial(n_units=few, w1=1.0, w2=0.0, w3=0.0)),
        game_subject("quadratic", Polynomial(n_units=few, w1=0.8, w2=0.2, w3=0.0)),
        game_subject("majority", Majority(n_units=5)),
        game_subject("parity of three", Parity(n_units=n, degree=3)),
        game_subject("sparse cubic", SparsePolynomial(n_units=n)),
        game_subject("heavy-tailed", HeavyTailed(n_units=n, width=6, growth=1.3)),
        game_subject("spikes", Spikes(n_units=n, width=6, height=4.0), linear),
    ]


def every_subset(n_units: int) -> Bool[np.ndarray, "x n"]:
    """Return all 2^N subsets."""
    return (np.arange(1 << n_units)[:, None] >> np.arange(n_units) & 1).astype(bool)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """What Algorithm 1 reads off its three answered rounds, a run each.

    stability : shape (R, 3), h at rho, 2 rho and 0. total : shape (R,), h(1). rhos : the first two, as used.
    """

    stability: Float64[np.ndarray, "r 3"]
    total: Float64[np.ndarray, " r"]
    rhos: tuple[float, float]

    def upper_bound(
        self, mean_squared_error: Float64[np.ndarray, " r"], b: float, epsilon: float
    ) -> Float64[np.ndarray, " r"]:
        """Return what ``algorithm1.certify`` concludes, in shares of b^2."""
        a, c = self.rhos
        weights = np.array([c / (a * (c - a)), -a / (c * (c - a)), 1 - (a + c) / (a * c)])
        degree_0 = np.maximum(self.stability[:, 2], 0.0)
        degree_1 = np.maximum(self.stability @ weights - self.stability[:, 2], 0.0)
        return np.asarray((mean_squared_error - (self.total - degree_0 - degree_1)) / b**2 + epsilon / 2)


def pairs_of(subject: Subject, counts: Counts, n_runs: int, rng: np.random.Generator) -> dict[bool, Pairs]:
    """Return ``n_runs`` runs of the answered rounds: of an honest prover, and of one that lies (True)."""
    subsets = every_subset(subject.n_units)
    values, which = np.unique(np.round(subject.outputs(subsets)[:, 0], 12), return_inverse=True)
    designs, b = counts.designs(), float(subject.task.targets.hi[0])
    found = [
        rng.multinomial(design.n_families, _joint(subsets, design.rho, which, len(values)).ravel(), size=n_runs)
        for design in designs[:3]
    ]
    sizes, rhos = np.array(counts.pairs), (designs[0].rho, designs[1].rho)
    replaced = [lied(counted, values, b, counts, number) for number, counted in enumerate(found)]
    return {
        False: _pairs(found, values, sizes, rhos),
        True: _pairs(replaced, np.append(values, b), sizes, rhos),
    }


def _pairs(
    found: list[Int64[np.ndarray, "r v2"]],
    values: Float64[np.ndarray, " v"],
    sizes: Int64[np.ndarray, " 3"],
    rhos: tuple[float, float],
) -> Pairs:
    products, squares = np.outer(values, values).ravel(), np.add.outer(values**2, values**2).ravel() / 2
    stability = np.column_stack([counted @ products for counted in found]) / sizes
    return Pairs(stability=stability, total=found[2] @ squares / sizes[2], rhos=rhos)


def errors_of(
    subject: Subject, case: Case, n_fresh: int, n_runs: int, rng: np.random.Generator
) -> Float64[np.ndarray, " r"]:
    """Return the claim's mean squared error over ``n_fresh`` subsets, a run each."""
    subsets = every_subset(subject.n_units)
    residual = subject.outputs(subsets)[:, 0] - (subsets @ case.scores[0] + case.intercepts[0])
    squares, which = np.unique(np.round(residual**2, 12), return_inverse=True)
    chances = np.bincount(which) / len(subsets)
    return np.asarray(rng.multinomial(n_fresh, chances, size=n_runs) @ squares / n_fresh)


def _joint(
    subsets: Bool[np.ndarray, "x n"], rho: float, which: Int64[np.ndarray, " x"], n_values: int
) -> Float64[np.ndarray, "v v"]:
    """P(f(x) = v, f(x') = v') over pairs at correlation rho, p = 1/2."""
    alike = (subsets[:, None] == subsets[None]).sum(axis=2)
    n = subsets.shape[1]
    chances = ((1 + rho) / 4) ** alike * ((1 - rho) / 4) ** (n - alike)
    joint = np.zeros((n_values, n_values))
    np.add.at(joint, (which[:, None], which[None]), chances)
    return np.asarray(joint / joint.sum())


def lied(
    found: Int64[np.ndarray, "r v2"], values: Float64[np.ndarray, " v"], b: float, counts: Counts, number: int
) -> Int64[np.ndarray, "r w2"]:
    """The share of pairs that may be false, replaced where that lowers the bound most; values are joined by b.

    At rho the smallest product counts (weight positive), so (b, -b) replaces the largest; at 2 rho and 0 the largest,
    so (b, b) replaces the smallest, and raises h(1) as well.
    """
    n_runs, n_values = len(found), len(values)
    products = np.outer(values, values).ravel()
    order = np.argsort(-products if number == 0 else products, kind="stable")
    n_false = int(counts.max_false_pairs * counts.pairs[number])
    ordered = found[:, order]
    before = np.cumsum(ordered, axis=1) - ordered
    taken = np.clip(n_false - before, 0, ordered)
    kept = np.empty_like(found)
    kept[:, order] = ordered - taken
    square = np.zeros((n_runs, n_values + 1, n_values + 1), dtype=np.int64)
    square[:, :n_values, :n_values] = kept.reshape(n_runs, n_values, n_values)
    moved = taken.sum(axis=1)
    if number == 0:  # a product of -b^2: b with the value nearest to -b, which every game here reaches or nears
        square[:, n_values, int(np.argmin(values))] += moved
    else:
        square[:, n_values, n_values] += moved
    return square.reshape(n_runs, -1)


def cells(subject: Subject, n_runs: int) -> Iterator[Cell]:
    """Yield the cells of an honest prover and of one that lies as much as the checks leave possible."""
    b, cases = float(subject.task.targets.hi[0]), _cases(subject, float(subject.task.targets.hi[0]))
    rng = np.random.default_rng([zlib.crc32(subject.name.encode()), 1])
    for delta in DELTAS:
        counts = [_counts(subject, case, b, delta) for case in cases]  # they differ in the fresh round alone
        pairs = pairs_of(subject, counts[0], n_runs, rng)
        for case, counted in zip(cases, counts, strict=True):
            errors = errors_of(subject, case, counted.fresh, n_runs, rng)
            for lies, name in ((False, "algorithm1"), (True, "algorithm1, false answers")):
                gap, upper = (
                    float(case.gap[0] * subject.variance[0] / b**2),
                    pairs[lies].upper_bound(errors, b, EPSILON),
                )
                false = int((upper <= EPSILON).sum()) if gap > EPSILON else None
                yield cell_of(
                    upper, gap, accepted=false, epsilon=EPSILON, certificate=name, kind="finite-sample",
                    retrainings=counted.n_answers + counted.n_retrained, subject=subject.name,
                    n_units=subject.n_units, claim=case.name, delta=delta,
                )  # fmt: skip


def _counts(subject: Subject, case: Case, b: float, delta: float) -> Counts:
    norm = algorithm1.largest_prediction(case.claim(subject.task), 0.0)
    return algorithm1.counts(epsilon=EPSILON * b**2, delta=delta, b=b, largest=norm)


def _cases(subject: Subject, b: float) -> list[Case]:
    """The evidence's cases, and one whose gap is just above EPSILON as a share of b^2."""
    direction = np.random.default_rng(2).standard_normal((1, subject.n_units))
    above = EPSILON * ABOVE * b**2 / float(subject.variance[0])
    return [*subject.cases(), subject.moved("random, above epsilon", direction, above)]
