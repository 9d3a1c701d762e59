"""Do payouts' intervals cover the truth, all of them at once, and how wide are they (THEORY 9)?

    python -m benchmarks.payout_intervals_cover [--runs 1000] [--only table,beyond,shares,stopping,digits]

All but the last part need no training: the errors of a claim are games whose true worths are known in closed form.
Misses are the share of runs in which at least one interval of a run fails, with exact limits at 99%; nominal is .025.
Widths are mean half-widths over the mean absolute error of the worths that are wrong. Everything has a fixed seed.

table     THEORY's cases and designs: today's products with Student's error (before), the regression with Student's
          error, and what protocol.certificate.functionals does (after), floors aside.
beyond    cases past what the intervals are made for: how far they may miss.
shares    intervals of shares of a total: expanded at the claim (before), and Fieller's at the corrected worths (after).
stopping  sessions that go on until every interval is as narrow as asked.
digits    100 contributors of 10 rows each on digits: a width of 10% of the mean payout, with real retrainings.

Letters: J contributors of n units, B families of s siblings at correlation rho; S the contributors' centred counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from jaxtyping import Bool, Float64
from rich.console import Console
from rich.table import Table
from scipy import stats

from benchmarks.digits_task import digits_task, independent_outputs_of, least_squares_claim, outputs_of, seed_of
from benchmarks.tables import limits
from protocol.certificate import quantiles
from protocol.certificate.functionals import shares, simultaneous, worth
from protocol.certificate.functionals.worth import Estimator
from protocol.claim import Claim
from protocol.task import Task
from protocol.training import Trainer

DELTA = 0.025
_CHUNK_CELLS = 1 << 23  # unit draws held at once

Bits = np.ndarray
Case = Callable[[Bits, Float64[np.ndarray, "*m j"], np.random.Generator], Float64[np.ndarray, "*m"]]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """J contributors of n units, and a design. p is 1/2."""

    j: int
    n: int
    b: int
    s: int = 1
    rho: float = 1.0

    def __str__(self) -> str:
        return f"{self.j} of {self.n}, {self.b} x {self.s}"

    @property
    def groups(self) -> np.ndarray:
        """Which units each contributor holds."""
        return np.repeat(np.eye(self.j, dtype=bool), self.n, axis=1)

    @property
    def is_below(self) -> bool:
        """Whether the design is below the floors of payouts."""
        return self.b < worth.FEWEST_FAMILIES or self.b * self.s < worth.FEWEST_ROWS

    def draws(self, runs: int, rng: np.random.Generator) -> Iterator[tuple[Bits, Float64[np.ndarray, "r b s j"]]]:
        """Yield challenges, some runs at a time: which units are in, shape (R, B, s, N), and centred counts."""
        n_units = self.j * self.n
        most = max(1, _CHUNK_CELLS // (self.b * self.s * n_units))
        for start in range(0, runs, most):
            shape = (min(most, runs - start), self.b, self.s, n_units)
            if self.s == 1:
                inside = rng.random(shape, dtype=np.float32) < 0.5
            else:
                base = rng.random((shape[0], self.b, 1, n_units), dtype=np.float32) < 0.5
                keep = rng.random(shape, dtype=np.float32) < self.rho**0.5
                inside = np.where(keep, base, rng.random(shape, dtype=np.float32) < 0.5)
            yield inside, inside.reshape(*shape[:3], self.j, self.n).sum(axis=4) - self.n / 2


# ------------------------------------------------------------------------------------------------ cases


def linear(inside: Bits, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Scores wrong by a quarter, with alternating signs: each worth is wrong by n/4."""
    return np.asarray(counts @ _signs(counts.shape[-1]) / 4)


def uneven(inside: Bits, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same errors of worths, spread unequally over a contributor's units."""
    j = counts.shape[-1]
    weights = np.random.default_rng(5).exponential(size=(j, inside.shape[-1] // j))
    weights *= (_signs(j) / 4 / weights.mean(axis=1))[:, None]
    return np.asarray((inside - 0.5) @ weights.ravel())


def noise(inside: Bits, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Linear, and Gaussian noise of the same variance."""
    sd = np.sqrt(inside.shape[-1] / 4) / 4
    return np.asarray(linear(inside, counts, rng) + sd * rng.standard_normal(counts.shape[:-1]))


def event(inside: Bits, counts: np.ndarray, rng: np.random.Generator, *, width: int, everybody: bool) -> np.ndarray:
    """Errors only where the last ``width`` units are all in or all out: probability 2^(1 - width).

    Everybody's (alternating, as linear), or the first contributor's alone. Larger by one over that probability.
    """
    alike = inside[..., -width:].all(axis=-1) | ~inside[..., -width:].any(axis=-1)
    wrong = linear(inside, counts, rng) if everybody else counts[..., 0] / 4
    return np.asarray(wrong * alike * 2 ** (width - 1))


def power(inside: Bits, counts: np.ndarray, rng: np.random.Generator, *, degree: int) -> np.ndarray:
    """An odd power of the first contributor's count."""
    j = counts.shape[-1]
    return np.asarray(counts[..., 0] ** degree * _power_scale(inside.shape[-1] // j, degree))


def _signs(j: int) -> np.ndarray:
    return (-1.0) ** np.arange(j)


def _power_scale(n: int, degree: int) -> float:
    """So that the worth is wrong by n/4: 4 E[S^degree S] times this."""
    count = np.arange(n + 1)
    return float(n / 4 / (4 * stats.binom.pmf(count, n, 0.5) @ (count - n / 2) ** (degree + 1)))


def truth(name: str, shape: Shape) -> np.ndarray:
    """True less claimed worths of a case."""
    quarter = shape.n / 4
    if name in ("linear", "uneven", "noise"):
        return np.asarray(_signs(shape.j) * quarter)
    if "all" not in name:
        return np.asarray(np.eye(shape.j)[0] * quarter)
    width = CASES[name].keywords["width"]  # given the event its units are alike, so the last count varies more
    last = (shape.n - width + width**2) / 4
    return np.asarray(_signs(shape.j) * np.where(np.arange(shape.j) == shape.j - 1, last, quarter))


CASES: dict[str, partial[np.ndarray]] = {
    "linear": partial(linear),
    "uneven": partial(uneven),
    "noise": partial(noise),
    "event 1/4, all": partial(event, width=3, everybody=True),
    "event 1/4, one": partial(event, width=3, everybody=False),
    "cube": partial(power, degree=3),
    "event 1/16, one": partial(event, width=5, everybody=False),
    "event 1/64, one": partial(event, width=7, everybody=False),
    "fifth power": partial(power, degree=5),
}

# ------------------------------------------------------------------------------------------------ intervals

Groups = Bool[np.ndarray, "j n"]
Values = Float64[np.ndarray, "b k"]
Ends = tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]


def student(values: Values) -> Ends:
    """Ends of today's intervals: Student's error, and nothing else."""
    error = quantiles.mean_error(values, DELTA / (2 * values.shape[1]))
    return values.mean(axis=0) - error, values.mean(axis=0) + error


def guarded(values: Values) -> Ends:
    """Ends of the intervals of protocol.certificate.functionals."""
    found = simultaneous.intervals(values, delta=DELTA)
    return found.lower, found.upper


def rule(shape: Shape) -> Estimator:
    """The estimator for a design; below the floors, which the table names, the same rule without units."""
    if shape.is_below:
        enough = shape.b >= 50 and shape.b * shape.s >= worth.ROWS_PER_CONTRIBUTOR * shape.j
        return Estimator.REGRESSION if enough else Estimator.PRODUCTS
    return worth.estimator_for(
        n_contributors=shape.j, n_units=shape.j * shape.n, n_families=shape.b, n_siblings=shape.s
    )


def estimate(estimator: Estimator, residual: np.ndarray, inside: Bits, groups: Groups, *, p: float = 0.5) -> Values:
    """Values of one challenge: residuals (B, s), units (B, s, N), contributors' units (J, N)."""
    if estimator is Estimator.UNITS:
        ones = np.ones(groups.shape[1], dtype=np.int64)
        return worth.regression(residual, inside - p, p=p, sizes=ones, groups=groups)
    counts = (inside - p) @ groups.T
    chosen = worth.products if estimator is Estimator.PRODUCTS else worth.regression
    return chosen(residual, counts, p=p, sizes=groups.sum(axis=1))


@dataclass
class Tally:
    """Runs, those in which an interval failed, and the sum of mean half-widths."""

    runs: int = 0
    missed: int = 0
    width: float = 0.0

    def add(self, ends: Ends, true: np.ndarray) -> None:
        """Count one run; rounding is no miss."""
        lower, upper = ends
        slack = 1e-9 * max(1.0, float(np.abs(true).max()))
        self.runs += 1
        self.missed += bool(((lower > true + slack) | (upper < true - slack)).any())
        self.width += float((upper - lower).mean() / 2)

    def cells(self, unit: float) -> list[str]:
        """Misses with limits, and the width in ``unit``."""
        low, high = limits(self.missed, self.runs, 0.99)
        return [f"{self.missed / self.runs:.3f} [{low:.3f}, {high:.3f}]", f"{self.width / self.runs / unit:.2f}"]


METHODS: dict[str, tuple[Estimator | None, Callable[[Values], Ends]]] = {
    "before: products, Student": (Estimator.PRODUCTS, student),
    "regression, Student": (Estimator.REGRESSION, student),
    "after": (None, guarded),
}


def coverage(shape: Shape, name: str, runs: int, seed: int) -> dict[str, Tally]:
    """Every method on the same challenges of one case."""
    rng = np.random.default_rng(seed)
    true, tallies = truth(name, shape), {method: Tally() for method in METHODS}
    for inside, counts in shape.draws(runs, rng):
        residual = CASES[name](inside, counts, rng)
        for r, x in zip(residual, inside, strict=True):
            for method, (estimator, ends) in METHODS.items():
                chosen = rule(shape) if estimator is None else estimator
                tallies[method].add(ends(estimate(chosen, r, x, shape.groups)), true)
    return tallies


SHAPES = [
    Shape(j=4, n=10, b=10, s=2, rho=0.7),
    Shape(j=4, n=10, b=50, s=2, rho=0.7),
    Shape(j=20, n=5, b=50, s=2, rho=0.7),
    Shape(j=4, n=10, b=25, s=8, rho=0.3),
    Shape(j=4, n=10, b=100, s=2, rho=0.7),
    Shape(j=4, n=10, b=200),
    Shape(j=4, n=10, b=1000),
    Shape(j=20, n=5, b=200),
    Shape(j=100, n=10, b=400),
    Shape(j=100, n=10, b=600),
]
BEYOND = ["event 1/16, one", "event 1/64, one", "fifth power"]
WITHIN = ["linear", "uneven", "noise", "event 1/4, all", "event 1/4, one", "cube"]


def coverage_table(shapes: list[Shape], names: list[str], runs: int) -> Table:
    """One row a design and case."""
    table = Table(title="misses (nominal .025) and half-width over mean error; * is below the floor: no payouts there")
    for column in ("design", "case", *(c for method in METHODS for c in (method, "width"))):
        table.add_column(column)
    for shape in shapes:
        enough = max(1, runs // 5) if shape.j * shape.b > 8000 else runs
        for name in names:
            true = truth(name, shape)
            unit = float(np.abs(true)[true != 0].mean())
            found = coverage(shape, name, enough, seed=len(table.rows))
            cells = (cell for tally in found.values() for cell in tally.cells(unit))
            table.add_row(f"{shape}{'*' if shape.is_below else ''} ({rule(shape).value})", name, *cells)
    return table


# ------------------------------------------------------------------------------------------------ shares


def at_claim(claimed: np.ndarray, values: Values, total: float) -> Ends:
    """Ends of today's intervals of shares: first order in the claim's error, about the claim."""
    positive = claimed > 0
    pool = claimed[positive].sum()
    paid = np.where(positive, claimed, 0.0)
    shift = total / pool * (values - np.outer(values[:, positive].sum(axis=1), paid / pool))
    lower, upper = student(shift)
    centre = claimed * total / pool
    return np.maximum(centre + lower, 0.0), np.maximum(centre + upper, 0.0)


def fieller(claimed: np.ndarray, values: Values, total: float) -> Ends:
    """Ends of the intervals of protocol.certificate.functionals."""
    found = shares.share_intervals(claimed, values, total=total, delta=DELTA)
    return found.lower, found.upper


CLAIMS = {  # claimed, true; per unit
    "wrong by 25%, alternating": ([0.75, 1.25, 0.75, 1.25], [1, 1, 1, 1]),
    "all claimed at half": ([0.5, 0.5, 0.5, 0.5], [1, 1, 1, 1]),
    "first claimed at thrice": ([3, 1, 1, 1], [1, 1, 1, 1]),
    "last is worth nothing": ([0.75, 1.25, 0.75, 0.25], [1, 1, 1, 0]),
    "last is worth less": ([0.75, 1.25, 0.75, 0.25], [1, 1, 1, -0.3]),
}


def share_table(runs: int) -> Table:
    """Linear errors and noise, as in the case of that name."""
    table = Table(title="shares of 100: misses (nominal .025) and half-width over the mean share")
    for column in ("design", "claim", "before", "width", "after", "width"):
        table.add_column(column)
    for shape in (Shape(j=4, n=10, b=200), Shape(j=4, n=10, b=1000)):
        for name, (claimed, best) in CLAIMS.items():
            claim, true = np.array(claimed, dtype=float), np.array(best, dtype=float)
            owed = 100 * np.maximum(true, 0) / np.maximum(true, 0).sum()
            rng, before, after = np.random.default_rng(len(table.rows)), Tally(), Tally()
            for inside, counts in shape.draws(runs, rng):
                residual = counts @ (true - claim) + 0.8 * rng.standard_normal(counts.shape[:3])
                for r, x in zip(residual, inside, strict=True):
                    products = estimate(Estimator.PRODUCTS, r, x, shape.groups)
                    before.add(at_claim(claim * shape.n, products, 100.0), owed)
                    after.add(fieller(claim * shape.n, estimate(rule(shape), r, x, shape.groups), 100.0), owed)
            table.add_row(str(shape), name, *before.cells(25.0), *after.cells(25.0))
    return table


# ------------------------------------------------------------------------------------------------ stopping

ASKED = {"noise": 0.25, "event 1/4, all": 0.6, "event 1/4, one": 0.35, "cube": 0.2}
"""Half-widths over the mean error that take some hundreds of pairs."""
_MOST_PAIRS = 50_000


def session(name: str, half_width: float, rng: np.random.Generator, looks: str) -> tuple[Ends, int, int]:
    """Go on until every interval of a worth is narrow enough; the last intervals, the pairs and the looks.

    looks : "spent" has planned looks and a share of the level for each, "whole" all of it at each; "5% apart", too, but
        looks as often as that, which is the most that a stop on the width can do.
    """
    shape, n_looks = Shape(j=4, n=10, b=worth.FEWEST_ROWS), 0
    residual, inside = np.empty((0, 1)), np.empty((0, 1, 40), dtype=bool)
    while True:
        for more, counts in replace(shape, b=shape.b - len(inside)).draws(1, rng):
            residual = np.concatenate([residual, CASES[name](more, counts, rng)[0]])
            inside = np.concatenate([inside, more[0]])
        n_looks += 1
        delta, following = (
            DELTA * (simultaneous.look_share(look) if looks == "spent" else 1) for look in (n_looks, n_looks + 1)
        )
        values = estimate(rule(shape), residual, inside, shape.groups)
        found = simultaneous.intervals(values, delta=delta)
        if found.half_width.max() <= half_width or shape.b > _MOST_PAIRS:
            return (found.lower, found.upper), shape.b, n_looks
        plan = simultaneous.families_for(values, half_width, alpha=following / (2 * shape.j))
        shape = replace(shape, b=int(np.ceil(1.05 * shape.b)) if looks == "5% apart" else plan)


def stopping_table(runs: int) -> Table:
    """Every way of looking, on the same seeds."""
    table = Table(title="stopped once every half-width is as asked (4 of 10, pairs, from 200 on): misses, nominal .025")
    for column in ("case", "asked", "looks", "misses", "width", "mean pairs", "most pairs", "mean looks"):
        table.add_column(column)
    for name, share in ASKED.items():
        true = truth(name, Shape(j=4, n=10, b=1))
        unit = float(np.abs(true)[true != 0].mean())
        for way in ("spent", "whole", "5% apart"):
            rng, tally = np.random.default_rng(len(table.rows)), Tally()
            pairs, looks = [], []
            for _ in range(runs):
                ends, n_pairs, n_looks = session(name, share * unit, rng, way)
                tally.add(ends, true)
                pairs.append(n_pairs)
                looks.append(n_looks)
            table.add_row(
                name, f"{share}", way, *tally.cells(unit), f"{np.mean(pairs):.0f}",
                f"{max(pairs)}", f"{np.mean(looks):.1f}",
            )  # fmt: skip
    return table


# ------------------------------------------------------------------------------------------------ digits

HOLDERS = Shape(j=100, n=10, b=1)
_PAIRS_AT_ONCE = 4000


@dataclass(frozen=True, kw_only=True)
class Digits:
    """The digits task with a fitted claim; 100 contributors hold 10 rows each, and worth is in the mean margin."""

    task: Task
    trainer: Trainer
    claim: Claim

    @property
    def claimed(self) -> np.ndarray:
        """Claimed, shape (100,)."""
        return np.asarray(HOLDERS.groups @ self.claim.scores.mean(axis=0))

    def pairs(self, label: str, n_pairs: int) -> tuple[np.ndarray, np.ndarray]:
        """Odd residuals (B, 1) of retrained pairs, and which units are in, (B, 1, N)."""
        residuals, inside = [], []
        for start in range(0, n_pairs, _PAIRS_AT_ONCE):
            n = min(_PAIRS_AT_ONCE, n_pairs - start)
            subsets, outputs = outputs_of(self.task, self.trainer, seed_of(label, start), n)
            odd = (outputs[::2] - outputs[1::2]).mean(axis=1) / 2
            residuals.append(odd - (subsets[::2] - 0.5) @ self.claim.scores.mean(axis=0))
            inside.append(subsets[::2])
        return np.concatenate(residuals)[:, None], np.concatenate(inside)[:, None]

    def values(self, residual: np.ndarray, inside: np.ndarray) -> Values:
        """Values of the estimator that the rule names."""
        return estimate(rule(replace(HOLDERS, b=len(residual))), residual, inside, HOLDERS.groups)


def digits() -> Digits:
    """Fit the claim to 12,000 retrainings."""
    task, trainer = digits_task()
    claim = least_squares_claim(task, *independent_outputs_of(task, trainer, seed_of("honest", 0), 12_000))
    return Digits(task=task, trainer=trainer, claim=claim)


def digits_table(runs: int) -> Table:
    """Sessions of 400 pairs against worths from 20,000 others, and one that goes on to a tenth of the mean payout."""
    table = Table(title="digits, 100 contributors of 10 rows: shares of 100, so a mean payout of 1")
    for column in ("session", "misses", "mean half-width", "largest", "pairs", "retrainings", "looks", "seconds"):
        table.add_column(column)
    game, started, tally = digits(), time.perf_counter(), Tally()
    best = np.maximum(game.claimed + game.values(*game.pairs("reference", 20_000)).mean(axis=0), 0.0)
    for run in range(max(1, runs // 20)):
        values = game.values(*game.pairs(f"session {run}", 400))
        tally.add(fieller(game.claimed, values, 100.0), 100 * best / best.sum())
    seconds = f"{time.perf_counter() - started:.0f}"
    table.add_row(f"400 pairs, {tally.runs} times", *tally.cells(1.0), "", "400", "800", "1", seconds)
    for asked in (0.2, 0.1):
        found, n_pairs, n_looks, seconds = long_session(game, asked)
        half = found.half_width
        table.add_row(
            f"until {asked}", "", f"{half.mean():.3f}", f"{half.max():.3f}", f"{n_pairs}", f"{2 * n_pairs}",
            f"{n_looks}", seconds,
        )  # fmt: skip
    return table


def long_session(game: Digits, asked: float) -> tuple[simultaneous.Intervals, int, int, str]:
    """Go on until every share's interval is narrow enough; intervals, pairs, looks and seconds.

    All of the level at every look, which "stopping" measures. No look is beyond five times the one before, because the
    estimator may change on the way and the plan does not know.
    """
    residual, inside = np.empty((0, 1)), np.empty((0, 1, 1000), dtype=bool)
    n_pairs, n_looks, started = 2000, 0, time.perf_counter()
    while True:
        more = game.pairs(f"until {asked} {n_looks}", n_pairs - len(inside))
        residual, inside = np.concatenate([residual, more[0]]), np.concatenate([inside, more[1]])
        values, n_looks = game.values(residual, inside), n_looks + 1
        found = shares.share_intervals(game.claimed, values, total=100.0, delta=DELTA)
        if found.half_width.max() <= asked:
            return found, n_pairs, n_looks, f"{time.perf_counter() - started:.0f}"
        effects = shares.share_values(game.claimed, values, total=100.0)
        n_pairs = min(simultaneous.families_for(effects, asked, alpha=DELTA / 200), 5 * n_pairs)


def main() -> None:
    """Measure what is asked for and print a table each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--only", default="table,beyond,shares,stopping,digits")
    arguments = parser.parse_args()
    console, runs = Console(width=200), arguments.runs
    parts: dict[str, Callable[[], Table]] = {
        "table": lambda: coverage_table(SHAPES, WITHIN, runs),
        "beyond": lambda: coverage_table(
            [SHAPES[5], SHAPES[6]], ["event 1/16, one", "event 1/64, one", "fifth power"], runs
        ),
        "shares": lambda: share_table(runs),
        "stopping": lambda: stopping_table(runs),
        "digits": lambda: digits_table(runs),
    }
    for part in arguments.only.split(","):
        console.print(parts[part]())


if __name__ == "__main__":
    main()
