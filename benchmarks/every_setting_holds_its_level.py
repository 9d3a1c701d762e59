"""Every setting holds its level, or is named: p, seed noise, many targets, several looks (THEORY 2.8, 3.3, 3.4, 5).

    python -m benchmarks.every_setting_holds_its_level [--runs 2000] [--only p,seeds,targets,looks,crossfit]

No training: games whose gap is known in closed form at every p. A row is a setting, a game, a claim, a design and a
delta: how often the upper bound was below the true relative gap (a false ACCEPT at any epsilon just below it), and how
often the lower bound was above, each with exact limits at 99%. A rate whose lower limit is above delta is a failure.

Writes settings.csv and settings.png below benchmarks/results.

Letters: B families, s siblings, rho; R runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import matplotlib as mpl
import numpy as np
from jaxtyping import Float64
from rich.console import Console
from rich.table import Table

from benchmarks.digits_task import RESULTS, seed_of
from benchmarks.simulated import (
    CONFIDENCE,
    N_UNITS,
    Game,
    Subsets,
    Values,
    Vector,
    claims_of,
    enumerated,
    games,
    in_chunks,
    judged,
    limits,
    linear_weights,
    read_csv,
    readings_of,
    subsets_of,
    write_csv,
)
from protocol import harmonic
from protocol.certificate import crossfit
from protocol.certificate.crossfit import CrossfitCertificate, Round
from protocol.certificate.families import FamiliesCertificate, certify
from protocol.certificate.readings import Readings
from protocol.certificate.terms import Across, Assurance, Terms
from protocol.claim import Claim
from protocol.sampling import Draw, families, pairs
from protocol.task import Task
from tests.games import task_of

mpl.use("Agg")
from matplotlib import pyplot as plt

DELTAS = (0.01, 0.05, 0.2)
PS = (0.3, 0.4, 0.5, 0.6, 0.7)
DESIGNS = ((10, 2, 0.7), (15, 2, 0.7), (25, 8, 0.3), (50, 4, 0.2))
GAP = 0.05


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured rate.

    missed : of ``runs``, those in which the bound was on the wrong side of the truth. low, high : exact limits.
    """

    part: str
    setting: str
    game: str
    claim: str
    design: str
    gap: float
    delta: float
    side: str
    runs: int
    missed: int
    rate: float
    low: float
    high: float

    @property
    def fails(self) -> bool:
        """Whether the rate is above delta beyond doubt."""
        return self.low > self.delta


def rows_of(part: str, setting: str, game: str, claim: str, design: str, gap: float, delta: float,
            uppers: Values, lowers: Values, truth: float | None = None) -> list[Row]:  # fmt: skip
    """Return both sides' rows from the bounds of R runs."""
    true = gap if truth is None else truth
    found = []
    for side, missed in (("upper", int((uppers < true).sum())), ("lower", int((lowers > true).sum()))):
        low, high = limits(missed, len(uppers))
        found.append(
            Row(
                part=part, setting=setting, game=game, claim=claim, design=design, gap=gap, delta=delta, side=side,
                runs=len(uppers), missed=missed, rate=missed / len(uppers), low=low, high=high,
            )
        )  # fmt: skip
    return found


# ------------------------------------------------------------------------------------------------ parts


def of_one_target(
    part: str, setting: str, game: Game, design: tuple[int, int, float], runs: int, rng: np.random.Generator,
    noise: Callable[[Subsets], Values] | None = None, noise_variance: float = 0.0,
) -> Iterator[Row]:  # fmt: skip
    """Every claim of a game on the same challenges; noise is drawn afresh for every evaluation."""
    variance = game.variance + noise_variance
    claims = claims_of(game, variance, GAP)
    bounds: dict[tuple[str, float], list[FamiliesCertificate]] = {(k, d): [] for k in claims for d in DELTAS}
    for n in in_chunks(runs, design):
        subsets = subsets_of(rng, n, design, game.p)
        one, other = game.outputs(subsets), game.outputs(~subsets)
        if noise is not None:
            one, other = one + noise(subsets), other + noise(~subsets)
        phi = harmonic.characters(subsets, game.p)
        for name, c in claims.items():
            readings = readings_of(one, other, phi @ c, float(c @ c), game.p, design[2])
            for delta in DELTAS:
                bounds[name, delta].append(judged(readings, delta))
    for (name, delta), found in bounds.items():
        gap = float(((claims[name] - game.first) ** 2).sum() / variance)
        uppers, lowers = (np.concatenate([getattr(f, side) for f in found]) for side in ("upper", "lower"))
        yield from rows_of(part, setting, game.name, name, _design(design), gap, delta, uppers, lowers)


def other_p(runs: int, rng: np.random.Generator) -> Iterator[Row]:
    """Every game at every p."""
    for p in PS:
        for game in games(p):
            for design in DESIGNS:
                yield from of_one_target("p", f"p={p}", game, design, runs, rng)


def seed_noise(runs: int, rng: np.random.Generator) -> Iterator[Row]:
    """Seed policy per-subset: noise of each output, a share of its variance, of three kinds."""
    for p in (0.5, 0.3):
        game = next(games(p))
        for share in (0.2, 0.8):
            variance = game.variance * share / (1 - share)
            kinds = {kind: partial(_noise, kind, rng, variance**0.5, p) for kind in NOISES}
            for name, noise in kinds.items():
                for design in DESIGNS:
                    setting = f"p={p}, {share:.0%} {name}"
                    yield from of_one_target("seeds", setting, game, design, runs, rng, noise, variance)


NOISES = ("gaussian", "where unit 9 is in", "rare jumps")
RARE = 0.02


def _noise(kind: str, rng: np.random.Generator, sd: float, p: float, subsets: Subsets) -> Values:
    shape = subsets.shape[:-1]
    if kind == "rare jumps":
        return np.asarray(sd / RARE**0.5 * rng.choice((-1.0, 0.0, 1.0), shape, p=(RARE / 2, 1 - RARE, RARE / 2)))
    scale = sd / p**0.5 * subsets[..., 9] if kind == "where unit 9 is in" else sd
    return np.asarray(scale * rng.standard_normal(shape))


def many_targets(runs: int, rng: np.random.Generator, n_targets: int = 10) -> Iterator[Row]:
    """Targets that share their linear part and differ in their degree two; a claim errs in three ways."""
    for p in (0.5, 0.3):
        first = np.sqrt(0.85) * linear_weights()
        directions = np.random.default_rng(3).standard_normal((n_targets, N_UNITS))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        errors = {
            "one direction": GAP**0.5 * directions[:1].repeat(n_targets, axis=0),
            "each its own": GAP**0.5 * directions,
            "one target": (n_targets * GAP) ** 0.5 * directions * (np.arange(n_targets) == 0)[:, None],
        }
        for design in ((15, 2, 0.7), (25, 8, 0.3)):
            for claim, error in errors.items():
                gaps = (error**2).sum(axis=1)  # Var f is 1
                found: dict[tuple[Across, float], list[tuple[bool, bool]]] = {
                    (across, delta): [] for across in Across for delta in DELTAS
                }
                for _ in range(runs):
                    readings = _joint_readings(subsets_of(rng, 1, design, p)[0], first, error, p, design[2])
                    for (across, delta), missed in found.items():
                        bounds = certify(readings, delta=delta, across=across)
                        true = gaps if across is Across.EVERY else gaps.mean(keepdims=True)
                        missed.append((bool((bounds.upper < true - 1e-12).any()), bool((bounds.lower > true).any())))
                for (across, delta), missed in found.items():
                    flags = np.array(missed, dtype=float)  # a bound that misses stands for 1 below and above 0
                    yield from rows_of(
                        "targets", f"p={p}, {across.value} of {n_targets}", "shared linear part", claim,
                        _design(design), GAP, delta, 1 - 2 * flags[:, 0], 2 * flags[:, 1] - 1, truth=0.0,
                    )  # fmt: skip


def _joint_readings(
    subsets: Subsets, first: Vector, error: Float64[np.ndarray, "t n"], p: float, rho: float
) -> Readings:
    def outputs(x: Subsets) -> Float64[np.ndarray, "b s t"]:
        phi = harmonic.characters(x, p)
        turned = np.stack([phi * np.roll(phi, t + 1, axis=-1) for t in range(len(error))], axis=-1)
        return np.asarray((phi @ first)[..., None] + np.sqrt(0.15 / N_UNITS) * turned.sum(axis=-2))

    one, other = outputs(subsets), outputs(~subsets)
    scores = first + error
    known = p == 0.5
    return Readings(
        output=(one - other) / 2 if known else one,
        linear=harmonic.characters(subsets, p) @ scores.T,
        even=(one + other) / 2 if known else None,
        claim_mean=np.zeros(len(error)),
        claim_variance=(scores**2).sum(axis=1),
        rho=rho,
        p=p,
    )


def several_looks(runs: int, rng: np.random.Generator) -> Iterator[Row]:
    """A run that stops at its first decision: false ACCEPTs and false REJECTs at a gap of epsilon."""
    for p, kind, n_looks in product((0.5, 0.3), ((15, 2, 0.7), (10, 8, 0.3)), (2, 4)):
        game = next(games(p))
        claims = claims_of(game, game.variance, GAP)
        look = families(n_families=kind[0], n_siblings=kind[1], rho=kind[2], complements=p == 0.5)
        looks, proved = (look,) * n_looks, Assurance.PROVED
        terms = [
            Terms(epsilon=GAP, delta=d, across=Across.MEAN, assurance=proved, looks=looks, n_checks=0) for d in DELTAS
        ]
        whole = (kind[0] * n_looks, *kind[1:])
        decided: dict[tuple[str, float], list[Values]] = {}
        for n in in_chunks(runs, whole):
            subsets = subsets_of(rng, n, whole, p)
            one, other, phi = game.outputs(subsets), game.outputs(~subsets), harmonic.characters(subsets, p)
            for claim in ("random direction", "one unit"):
                c = claims[claim]
                readings = readings_of(one, other, phi @ c, float(c @ c), p, kind[2])
                for asked in terms:
                    decided.setdefault((claim, asked.delta), []).append(_first_decision(readings, asked))
        for (claim, delta), outcomes in decided.items():
            outcome = np.concatenate(outcomes)
            yield from rows_of(
                "looks", f"p={p}, {n_looks} looks", game.name, claim, _design(kind), GAP, delta,
                outcome, outcome, truth=0.0,
            )  # fmt: skip


def _first_decision(readings: Readings, terms: Terms) -> Values:
    """-1 where the first look to decide says ACCEPT, 1 where REJECT, else 0; at a gap of epsilon both are wrong."""
    outcome, n_families = np.zeros(readings.n_targets), 0
    for look, design in enumerate(terms.looks):
        n_families += design.n_families
        found = judged(_first_families(readings, n_families), terms.delta_at(look))
        verdict = np.where(found.upper <= terms.epsilon, -1.0, np.where(found.lower > terms.epsilon, 1.0, 0.0))
        outcome = np.where(outcome == 0, verdict, outcome)
    return outcome


def _first_families(readings: Readings, n: int) -> Readings:
    even = None if readings.even is None else readings.even[:n]
    return replace(readings, output=readings.output[:n], linear=readings.linear[:n], even=even)


N_CROSSFIT_UNITS, N_PAIRS, CROSSFIT_RANGE = 12, 200, 3.0


def crossfit_at_the_ends(runs: int, rng: np.random.Generator) -> Iterator[Row]:
    """Cross-fit at the p that families refuse, with and without seed noise; ranges of 3 sd, which cut f's tails.

    So few subsets leave bounds many times the gap, which is printed: that none misses says little then. Spikes at
    p = 0.2 are left out: the bound is infinite there, and could not miss.
    """
    runs = -(-runs // 5)  # each takes a hundred times as long as one of families
    for p, noise in product((0.2, 0.8), (0.0, 0.6)):
        judgeable = {"polynomial"} if p < 0.5 else {"polynomial", "spikes"}
        for game in (game for game in games(p, N_CROSSFIT_UNITS) if game.name in judgeable):
            sd, task = game.variance**0.5, task_of(N_CROSSFIT_UNITS, p=p, bound=CROSSFIT_RANGE * game.variance**0.5)
            first, variance = enumerated(game, CROSSFIT_RANGE * sd, noise * sd)
            named = claims_of(replace(game, first=first), variance, GAP)
            claims = {k: c for k, c in named.items() if k in {"random direction", "spike unseen"}}
            bounds: dict[tuple[str, float], list[CrossfitCertificate]] = {(k, d): [] for k in claims for d in DELTAS}
            for run in range(runs):
                rounds = [_round(task, game, noise * sd, rng, f"{p} {noise} {game.name} {run} {half}") for half in "AB"]
                for (name, delta), found in bounds.items():
                    scores = harmonic.weights_from_coefficients(claims[name], task.p)[None]
                    claim = Claim(task_digest=task.digest, intercepts=-task.p * scores.sum(axis=1), scores=scores)
                    found.append(crossfit.certify(task, claim, *rounds, delta=delta, across=Across.MEAN))
            for (name, delta), found in bounds.items():
                gap = float(((claims[name] - first) ** 2).sum() / variance)
                uppers, lowers = (np.array([getattr(f, side)[0] for f in found]) for side in ("upper", "lower"))
                setting = f"p={p}, {'seed noise' if noise else 'shared seed'}"
                design = f"2 x {N_PAIRS} subsets"
                finite = float(np.isfinite(uppers).mean())
                print(
                    f"cross-fit, {setting}, {game.name}, {name}, delta {delta:g}: gap {gap:.3f}, median bound "
                    f"{np.median(uppers):.2f}, finite in {finite:.0%}"
                )
                yield from rows_of("crossfit", setting, game.name, name, design, gap, delta, uppers, lowers)


def _round(task: Task, game: Game, noise: float, rng: np.random.Generator, label: str) -> Round:
    draw = Draw(seed=seed_of(label, 0), design=pairs(N_PAIRS, complements=False))
    subsets = draw.subsets(task, np.arange(N_PAIRS, dtype=np.int64))
    outputs = game.outputs(subsets) + noise * rng.choice((-1.0, 1.0), N_PAIRS)
    outputs = np.clip(outputs, task.targets.lo[0], task.targets.hi[0])[:, None]
    return Round(draw=draw, outputs=outputs, trained=np.arange(N_PAIRS), n_false=0, tolerance=0.0)


# ---------------------------------------------------------------------------------------------- report


def _design(design: tuple[int, int, float]) -> str:
    return f"B={design[0]} s={design[1]} rho={design[2]:g}"


def plot(rows: Sequence[Row], path: Path) -> None:
    """Rates of the upper bound over delta, part by part; a row that fails is red."""
    parts = list(dict.fromkeys(row.part for row in rows))
    figure, axes = plt.subplots(len(parts), 1, figsize=(10, 3.6 * len(parts)), squeeze=False, layout="constrained")
    for axis, part in zip(axes[:, 0], parts, strict=True):
        shown = [row for row in rows if row.part == part and row.side == "upper"]
        for i, row in enumerate(shown):
            colour = "tab:red" if row.fails else "tab:blue"
            axis.plot([i, i], [row.low / row.delta, row.high / row.delta], color=colour, lw=0.8, alpha=0.6)
            axis.plot(i, row.rate / row.delta, ".", color=colour, ms=3)
        axis.axhline(1.0, color="black", lw=0.8)
        axis.set(title=f"{part}: upper bound below the gap, rate over delta, {CONFIDENCE:.0%} limits")
        axis.set_yscale("symlog", linthresh=1)
        axis.set_ylim(bottom=0)
        starts = [i for i, row in enumerate(shown) if i == 0 or _group(row) != _group(shown[i - 1])]
        axis.set_xticks(starts, [_group(shown[i]) for i in starts], rotation=90, fontsize=6)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _group(row: Row) -> str:
    return f"{row.setting} {row.game}" if row.part in {"p", "crossfit"} else row.setting


def summary(rows: Sequence[Row]) -> Table:
    """The worst rate of each part, setting's first word, game, side and delta."""
    table = Table(title="worst design and claim: rate (99% limits); FAILS where the lower limit is above delta")
    for column in ("part", "setting", "game", "side", *(f"delta {delta:g}" for delta in DELTAS), "failing rows"):
        table.add_column(column)
    keys = list(dict.fromkeys((row.part, row.setting, row.game, row.side) for row in rows))
    for key in keys:
        group = [row for row in rows if (row.part, row.setting, row.game, row.side) == key]
        cells = []
        for delta in DELTAS:
            worst = max((row for row in group if row.delta == delta), key=lambda row: row.rate, default=None)
            text = "-" if worst is None else f"{worst.rate:.4f} ({worst.low:.4f} to {worst.high:.4f})"
            cells.append(text + (" FAILS" if worst is not None and worst.fails else ""))
        table.add_row(*key, *cells, f"{sum(row.fails for row in group)} of {len(group)}")
    return table


PARTS: dict[str, Callable[[int, np.random.Generator], Iterator[Row]]] = {
    "p": other_p,
    "seeds": seed_noise,
    "targets": many_targets,
    "looks": several_looks,
    "crossfit": crossfit_at_the_ends,
}


def main() -> None:
    """Measure the parts asked for, and write what they gave."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, comma-separated")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    measured = arguments.only.split(",")
    rows = [row for row in read_csv(Row, arguments.out / "settings.csv") if row.part not in measured]
    for name in measured:
        found = list(PARTS[name](arguments.runs, np.random.default_rng(list(PARTS).index(name))))
        Console(width=200).print(summary(found))
        rows += found
    rows.sort(key=lambda row: list(PARTS).index(row.part))
    write_csv(rows, arguments.out / "settings.csv")
    plot(rows, arguments.out / "settings.png")


if __name__ == "__main__":
    main()
