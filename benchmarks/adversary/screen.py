"""A quick look at one case: many sessions of the moment certificate at once, from a sample of its families.

Owns what a candidate of the search is judged by before whole sessions are spent on it. A sample of families is drawn
once, by the design that the real planner chooses; sessions then take families from it with replacement, and judge them
by the certificate's own functions. Weights and centres are at their true values, where a session has its pilot's.
Refuses to say what a session would: that is measured by whole sessions.

Letters: M families in the sample, R sessions, B families of a session, s siblings, T targets, N units.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, Int64

from benchmarks.adversary.sessions import Asking, Case
from benchmarks.in_memory import LARGEST_NOISE
from protocol.certificate.gaussian import products, products_plan
from protocol.certificate.moments import bound, certificate, delegated, plan_delegated
from protocol.certificate.moments.scales import scales_of
from protocol.certificate.moments.tally import Rows, Tally
from protocol.certificate.readings import read
from protocol.certificate.registry import method_named
from protocol.certificate.spot_check import detection_probability, most_false
from protocol.certificate.terms import Answers, Rounds
from protocol.encoding import SEED_BYTES, Seed
from protocol.game.sampling import Bases, Design, Draw, pairs
from protocol.game.tilting import LAMBDAS, LARGEST_RATIO, UNIFORM_16, Tilts

METHOD = "moments"
"""The one certificate whose bounds can be looked at so."""

_STEP = 1 << 13  # families drawn at once
_CELLS = 1 << 22  # numbers of sessions held at once


@dataclass(frozen=True, kw_only=True)
class Screening:
    """What is screened for.

    asking : as of whole sessions. is_tilted : whether bases are tilted along the claim where the certificate does so;
    False for a variant that the certificate itself refuses. least_families : no verdict before so many; 0 for the
    certificate's own floor. lies : where a prover answers, how many pairs are false, as a share of what clean checks
    leave possible; checks find them or not. None for all of these, and none of them found.
    """

    asking: Asking
    is_tilted: bool = True
    least_families: int = 0
    lies: float | None = None

    def kurtosis(self, case: Case) -> float:
        """K."""
        return self.asking.terms(case).kurtosis or 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """M families of a design, pooled over targets with weights 1 / (T Var f), so that Var f is 1.

    squares : shape (M,), Y, likelihood ratio included. along : shape (M,), the residual along the claim over the
    claim's length, likewise. below : shape (M,), squared residuals, likewise; square : their mean.
    claim_variance : of the claim.
    """

    squares: Float64[np.ndarray, " m"]
    along: Float64[np.ndarray, " m"]
    below: Float64[np.ndarray, " m"]
    square: float
    claim_variance: float

    @property
    def kurtosis(self) -> float:
        """E Y^2 / (E Y)^2."""
        mean = float(self.squares.mean())
        return float((self.squares**2).mean()) / mean**2 if mean > 0 else 1.0


def rounds_of(case: Case, screening: Screening, rng: np.random.Generator) -> Rounds:
    """Return the rounds that the planner chooses after one pilot."""
    asking, statement = screening.asking, case.statement
    method, terms, budget = method_named(asking.method), asking.terms(case), asking.budget
    committed = case.claim
    claim, figures = committed.claim, committed.signed.figures
    first = method.plan(statement, claim, figures, terms, budget, None).rounds
    draw = Draw(seed=Seed(rng.bytes(SEED_BYTES)), design=first.looks[0])
    outputs = case.outputs(draw, np.arange(draw.n_evaluations, dtype=np.int64))
    seen = scales_of(statement, read(statement, claim, draw, outputs)).seen
    rounds = method.plan(statement, claim, figures, terms, budget, seen).rounds
    if screening.is_tilted or is_by_products(rounds, asking):
        return rounds
    return replace(rounds, looks=tuple(replace(look, bases=Bases.DRAWN) for look in rounds.looks))


# ------------------------------------------------------------------------------------------------------ sampling


def sample_of(case: Case, design: Design, n: int, rng: np.random.Generator) -> Sample:
    """Draw ``n`` families of the design and return what a bound is made of."""
    tilts = Tilts(case.scores) if design.bases is Bases.TILTED else None
    variance = case.variance + case.noise**2
    weights = 1 / (len(variance) * variance)
    parts = [_residuals(case, design, tilts, min(_STEP, n - start), rng) for start in range(0, n, _STEP)]
    residual, linear, ratio = (np.concatenate(each) for each in zip(*parts, strict=True))
    if not design.complements:
        residual = residual - residual.mean(axis=(0, 1))
    rho = design.rho if design.n_siblings > 1 else 1.0
    claim_variance = float(weights @ _variances(case))
    length = np.sqrt(claim_variance) if claim_variance > 0 else 1.0
    below = ratio * ((residual**2).mean(axis=1) @ weights)
    return Sample(
        squares=ratio * (residual.mean(axis=1) ** 2 @ weights) / rho,
        along=ratio * ((residual * linear).mean(axis=1) @ weights) / length,
        below=below, square=max(float(below.mean()), 1e-9), claim_variance=claim_variance,
    )  # fmt: skip


def _variances(case: Case) -> Float64[np.ndarray, " t"]:
    """Var g of every target's claim."""
    return case.statement.measure.linear_variance(case.scores)


def _residuals(
    case: Case, design: Design, tilts: Tilts | None, n: int, rng: np.random.Generator
) -> tuple[Float64[np.ndarray, "m s t"], Float64[np.ndarray, "m s t"], Float64[np.ndarray, " m"]]:
    """Return residuals, the claim's own part and likelihood ratios of ``n`` families."""
    p, n_units, s = case.game.p, case.game.n_units, design.n_siblings
    bases = rng.random((n, n_units)) < _chances(tilts, n, p, rng)
    ratio = np.ones(n) if tilts is None else tilts.likelihood(bases)
    keep = rng.random((n, s, n_units), dtype=np.float32) < design.keep_16 / 65536
    subsets = np.where(keep, bases[:, None], rng.random((n, s, n_units), dtype=np.float32) < p)
    if s == 1 and (tilts is not None or not design.keep_16):
        subsets = bases[:, None]
    flat = subsets.reshape(-1, n_units)
    linear = (flat - p) @ case.scores.T
    ours = _outputs(case, flat, rng)
    if design.complements:
        ours = (ours - _outputs(case, ~flat, rng)) / 2
    shape = (n, s, len(case.scores))
    return (ours - linear).reshape(shape), linear.reshape(shape), ratio


def _chances(tilts: Tilts | None, n: int, p: float, rng: np.random.Generator) -> Float64[np.ndarray, "m n"]:
    """How likely each unit of each base is in."""
    if tilts is None:
        return np.full((n, 1), p)
    every = tilts.thresholds(np.arange(tilts.n_targets)) / 65536
    chosen = every[rng.integers(tilts.n_targets, size=n), rng.integers(len(LAMBDAS), size=n)]
    return np.where(rng.random((n, 1)) < UNIFORM_16 / 65536, p, chosen)


def _outputs(case: Case, subsets: Bool[np.ndarray, "m n"], rng: np.random.Generator) -> Float64[np.ndarray, "m t"]:
    outputs = case.game.outputs(subsets)
    if case.noise == 0:
        return outputs
    return np.asarray(outputs + case.noise * np.clip(rng.standard_normal(outputs.shape), -LARGEST_NOISE, LARGEST_NOISE))


# ------------------------------------------------------------------------------------------------------ sessions


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """What R quick sessions came to.

    bounds : shape (R,), the least bound on the gap over all looks, over epsilon: the relative gap's, were Var f known.
    accepted : shape (R,), whether the certificate's own bound on the relative gap is at most epsilon at some look.
    """

    bounds: Float64[np.ndarray, " r"]
    accepted: Bool[np.ndarray, " r"]


def look(
    sample: Sample, pilot: Sample, screening: Screening, case: Case, rounds: Rounds, runs: int, rng: np.random.Generator
) -> Look:
    """Play R quick sessions of families, or of a prover's answers."""
    asking, kurtosis = screening.asking, screening.kurtosis(case)
    if asking.answers is Answers.DELEGATED:
        return _delegated(sample, pilot, screening, kurtosis, rounds, runs, rng)
    ends, design = _ends(rounds, screening), rounds.looks[-1]
    quantiles = np.array([bound.anytime_quantile(n, kurtosis, _alpha(asking)) for n in ends])
    parts = []
    step = max(1, _CELLS // ends[-1])
    for start in range(0, runs, step):
        chosen = _choice(rng, len(sample.squares), (ends[-1], min(step, runs - start)))
        totals = np.cumsum(sample.squares[chosen], axis=0)[np.array(ends) - 1]
        means = totals / np.maximum(quantiles, 1e-300)[:, None]
        # About the gaps' bounds, were Var f known (it is 1): no bound on it can do more.
        gaps = certificate.without_own_squares(
            means, np.full(means.shape, sample.square), n_siblings=design.n_siblings, rho=design.rho
        )
        rows, accepted = _rows(sample, pilot, chosen.shape[1], rng), np.zeros(chosen.shape[1], dtype=bool)
        for n, mean, gap in zip(ends, means, gaps, strict=True):
            open_ = np.flatnonzero(~accepted & (gap <= asking.epsilon))
            if len(open_):
                accepted[open_] = _upper(sample, rows, chosen[:n], open_, mean, asking, kurtosis, design)
        parts.append((gaps.min(axis=0) / asking.epsilon, accepted))
    bounds, accepts = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Look(bounds=bounds, accepted=accepts)


def _upper(
    sample: Sample, rows: Rows, chosen: Int64[np.ndarray, "n r"], which: Int64[np.ndarray, " k"],
    mean: Float64[np.ndarray, " r"], asking: Asking, kurtosis: float, design: Design,
) -> Bool[np.ndarray, " k"]:  # fmt: skip
    """Whether these sessions' upper bounds are at most epsilon; each is a row of one certificate, at its own delta."""
    ours, taken = _rows_of(rows, which), chosen[:, which]
    tally = Tally(
        squares=sample.squares[taken], along=sample.along[taken], below=sample.below[taken],
        above=np.zeros(taken.shape), by_target=np.zeros((len(taken), 1)), ratio=LARGEST_RATIO,
    )  # fmt: skip
    delta = asking.delta * len(which)
    squares = certificate.squares_shown(tally, ours, delta=delta)
    shown = certificate.variance_shown(tally, ours, squares, kurtosis=kurtosis, delta=delta)
    gaps = certificate.without_own_squares(mean[which], squares, n_siblings=design.n_siblings, rho=design.rho)
    upper, _, _ = certificate.relative_upper(gaps, ours, shown)
    return np.asarray(upper <= asking.epsilon)


def _rows(sample: Sample, pilot: Sample, runs: int, rng: np.random.Generator) -> Rows:
    """One row a session, each with a pilot of its own for what lies along the claim."""
    first = pilot.along[_choice(rng, len(pilot.along), (10, runs))]
    scale = first.std(axis=0, ddof=1)
    ones = np.ones(runs)
    return Rows(
        weights=ones, pooled=False, claim_variance=sample.claim_variance * ones,
        square=sample.square * ones, length=np.sqrt(sample.claim_variance) * ones,
        along=first.mean(axis=0), along_scale=np.where(scale > 0, scale, 1e-9), origin=ones, spread=ones,
        along_floor=15.0,
    )  # fmt: skip


def _rows_of(rows: Rows, which: Int64[np.ndarray, " k"]) -> Rows:
    """Some of the rows; what is a target's stays."""
    whole = ("along_floor", "pooled")
    picked = {name: getattr(rows, name)[which] for name in Rows.__dataclass_fields__ if name not in whole}
    return replace(rows, **picked)


def _delegated(
    sample: Sample, pilot: Sample, screening: Screening, kurtosis: float, rounds: Rounds, runs: int,
    rng: np.random.Generator,
) -> Look:  # fmt: skip
    """Sessions with lies on the largest squares, and Var f bounded by the pairs that are checked."""
    asking, n, k = screening.asking, rounds.looks[-1].n_families, rounds.n_checks
    c = most_false(n, k, plan_delegated.CHECK_SHARE * asking.delta)
    n_lies = c if screening.lies is None else max(1, round(screening.lies * c))
    alpha = plan_delegated.GAP_SHARE * asking.delta
    cutoff = plan_delegated.cutoff_of(n, c, kurtosis, alpha, is_one=True)
    chosen = _choice(rng, len(sample.squares), (n, runs))
    reported = np.sort(sample.squares[chosen], axis=0)
    reported[max(n - n_lies, 0) :] = 0.0
    unseen = np.ones(runs, dtype=bool)
    if screening.lies is not None:
        unseen = rng.random(runs) >= detection_probability(n, min(n_lies, n), k)
    gap = np.full(runs, np.inf)
    for run in np.flatnonzero(unseen):
        gap[run] = delegated.upper_despite_lies(reported[:, run], c, kurtosis, alpha, 0.0, cutoff=cutoff)
    accepted, open_ = np.zeros(runs, dtype=bool), np.flatnonzero(gap <= asking.epsilon)
    if len(open_):
        rows = _rows(sample, pilot, runs, rng)
        scaled = replace(asking, delta=plan_delegated.VARIANCE_SHARE * asking.delta)
        accepted[open_] = _upper(sample, rows, chosen[:k], open_, gap, scaled, kurtosis, pairs(k))
    return Look(bounds=gap / asking.epsilon, accepted=accepted)


def look_at_products(case: Case, screening: Screening, rounds: Rounds, runs: int, rng: np.random.Generator) -> Look:
    """Play R quick sessions of products across pairs, Var f known."""
    asking, kurtosis, p = screening.asking, screening.kurtosis(case), case.game.p
    n_groups, m = len(rounds.looks) - 1, sum(look.n_families for look in rounds.looks[1:])
    variance = case.variance + case.noise**2
    subsets = rng.random((max(_STEP, 4 * m), case.game.n_units)) < p
    odd = (_outputs(case, subsets, rng) - _outputs(case, ~subsets, rng)) / 2
    residual = (odd - (subsets - p) @ case.scores.T) / np.sqrt(variance * len(variance))
    characters, squares = np.where(subsets, 1.0, -1.0), (residual**2).sum(axis=1)
    found = np.empty(runs)
    for run in range(runs):
        chosen = _choice(rng, len(subsets), (m,))
        cap = products_plan.CAP * max(float(squares[_choice(rng, len(subsets), (10,))].mean()), 1e-12)
        found[run] = products.upper_by_moments(
            residual[chosen], characters[chosen], alpha=_alpha(asking), kurtosis=kurtosis, n_groups=n_groups, cap=cap
        )
    return Look(bounds=found / asking.epsilon, accepted=found <= asking.epsilon)


def is_by_products(rounds: Rounds, asking: Asking) -> bool:
    """Whether the rounds are groups of independent pairs, whose products are looked at."""
    first = rounds.looks[1]
    apart = first.n_siblings == 1 and first.keep_16 == 0 and first.bases is Bases.DRAWN
    return asking.answers is Answers.OWN and first.complements and apart


def _alpha(asking: Asking) -> float:
    return certificate.GAP_SHARE * asking.delta


def _ends(rounds: Rounds, screening: Screening) -> list[int]:
    """Families at each look of one session."""
    ends = np.cumsum([look.n_families for look in rounds.looks[1:]])
    return [int(n) for n in ends if n >= screening.least_families]


def _choice(rng: np.random.Generator, n: int, shape: tuple[int, ...]) -> Int64[np.ndarray, ...]:
    return rng.integers(n, size=shape)
