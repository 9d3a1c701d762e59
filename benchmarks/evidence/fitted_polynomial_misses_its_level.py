"""A polynomial fitted to the residual's noise stability misses its level at every budget.

The plain relative of Algorithm 1: pairs of subsets at several noise rates, h(rho) = E r(x) r(x') = sum_k rho^k W_k[r]
estimated at each, and a polynomial with non-negative coefficients fitted through them; its coefficient of degree one is
the gap. Nodes are equispaced or Chebyshev's; the residual is whole (degrees 0 to 3), as the paper has it, or its odd
part (degrees 1, 3 and 5). Its 95% bound is a parametric bootstrap's: noise of each h redrawn, fit anew. It is told
Var f, which a certificate must bound.

Letters: J nodes, K coefficients, R runs.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from benchmarks.evidence.subjects import Case, Subject, family_subsets, game_subject, like_digits
from benchmarks.tables import Rate
from protocol.game.known import Majority
from protocol.game.sampling import families

DELTA, HIGHEST, N_NODES, N_BOOTSTRAPS = 0.05, 0.96, 4, 200
RETRAININGS = (200, 400, 1600)

NODES = {
    "equispaced": np.linspace(0.0, HIGHEST, N_NODES),
    "Chebyshev": HIGHEST * (1 - np.cos((2 * np.arange(1, N_NODES + 1) - 1) * np.pi / (2 * N_NODES))) / 2,
}
DEGREES = {"whole": (0, 1, 2, 3), "odd": (1, 3, 5)}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One estimator on one claim; gap, bias, error and bound relative to Var f.

    missed : runs whose 95% bound was below the gap; limits are Clopper and Pearson's.
    """

    estimator: str
    nodes: str
    subject: str
    claim: str
    gap: float
    retrainings: int
    runs: int
    bias: float
    rmse: float
    median_bound: float
    missed: int
    miss_rate: float
    miss_low: float
    miss_high: float


def subjects(n_units: int = 60) -> list[Subject]:
    """Return a game of the digits task's weights and one with weight at every odd degree."""
    return [like_digits(n_units), game_subject("majority", Majority(n_units=25))]


def rows(subject: Subject, n_runs: int) -> Iterator[Row]:
    """Yield every estimator's rows at every number of retrainings."""
    cases = [case for case in subject.cases() if case.name in ("honest", "halved", "random direction")]
    for retrainings in RETRAININGS:
        for (nodes, rhos), part in itertools.product(NODES.items(), DEGREES):
            yield from _of_fit(subject, cases, retrainings, nodes, rhos, part, n_runs)


def _of_fit(
    subject: Subject,
    cases: list[Case],
    retrainings: int,
    nodes: str,
    rhos: Float64[np.ndarray, " j"],
    part: str,
    n_runs: int,
) -> Iterator[Row]:
    rng = np.random.default_rng([zlib.crc32(f"{subject.name} {nodes} {part}".encode()), retrainings])
    sides = 2 if part == "odd" else 1
    n_pairs = retrainings // (2 * sides * len(rhos))
    stability = np.array([_products(subject, cases, float(rho), n_pairs, part, n_runs, rng) for rho in rhos])
    powers = rhos[:, None] ** np.array(DEGREES[part])
    one = DEGREES[part].index(1)
    for number, case in enumerate(cases):
        products = stability[:, number]  # (J, R, pairs)
        h, error = products.mean(axis=2), products.std(axis=2, ddof=1) / np.sqrt(n_pairs)
        estimate = non_negative_fit(powers, h)[one]
        noise = rng.standard_normal((len(rhos), n_runs, N_BOOTSTRAPS))
        redrawn = (h[:, :, None] + error[:, :, None] * noise).reshape(len(rhos), -1)
        again = non_negative_fit(powers, redrawn)[one].reshape(n_runs, N_BOOTSTRAPS)
        bound = np.quantile(again, 1 - DELTA, axis=1)
        spent = 2 * sides * n_pairs * len(rhos)
        scale = float(subject.variance[0])
        yield _row(f"fit of h, {part} residual", nodes, subject, case, spent, estimate / scale, bound / scale)


def _products(
    subject: Subject, cases: list[Case], rho: float, n_pairs: int, part: str, n_runs: int, rng: np.random.Generator
) -> Float64[np.ndarray, "c r n"]:
    """r(x) r(x') of independent pairs at one noise rate."""
    design = families(n_families=n_pairs, n_siblings=2, rho=rho, complements=part == "odd")
    out = np.empty((len(cases), n_runs, n_pairs))
    for run in range(0, n_runs, 50):
        count = min(50, n_runs - run)
        subsets = family_subsets(design, subject.n_units, count * n_pairs, rng).reshape(-1, subject.n_units)
        f = subject.outputs(subsets)[:, 0]
        if part == "odd":
            f = (f - subject.outputs(~subsets)[:, 0]) / 2
        for number, case in enumerate(cases):
            linear = (subsets - 0.5) @ case.scores[0]
            whole = 0.0 if part == "odd" else case.intercepts[0] + case.scores[0].sum() / 2
            residual = (f - linear - whole).reshape(count, n_pairs, 2)
            out[number, run : run + count] = residual[..., 0] * residual[..., 1]
    return out


def non_negative_fit(powers: Float64[np.ndarray, "j k"], h: Float64[np.ndarray, "j m"]) -> Float64[np.ndarray, "k m"]:
    """Return the least-squares coefficients, none below 0, of each column of ``h``: every active set tried."""
    n = powers.shape[1]
    best, least = np.zeros((n, h.shape[1])), (h**2).sum(axis=0)
    for size in range(1, n + 1):
        for active in map(list, itertools.combinations(range(n), size)):
            found = np.linalg.pinv(powers[:, active]) @ h
            left = ((h - powers[:, active] @ found) ** 2).sum(axis=0)
            better = (found >= 0).all(axis=0) & (left < least)
            least = np.where(better, left, least)
            best[:, better] = 0.0
            best[np.ix_(np.array(active), np.flatnonzero(better))] = found[:, better]
    return best


def _row(
    estimator: str,
    nodes: str,
    subject: Subject,
    case: Case,
    retrainings: int,
    estimate: Float64[np.ndarray, " r"],
    bound: Float64[np.ndarray, " r"],
) -> Row:
    gap = float(case.gap[0])
    missed = Rate(hits=int((bound < gap).sum()), runs=len(bound))
    return Row(
        estimator=estimator, nodes=nodes, subject=subject.name, claim=case.name, gap=gap, retrainings=retrainings,
        runs=len(bound), bias=float(estimate.mean() - gap), rmse=float(np.sqrt(((estimate - gap) ** 2).mean())),
        median_bound=float(np.median(bound)), missed=missed.hits, miss_rate=missed.value, miss_low=missed.limits[0],
        miss_high=missed.limits[1],
    )  # fmt: skip
