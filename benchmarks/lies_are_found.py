"""Spot checks find lies as often as the exact hypergeometric promise says, whatever the lie.

    python -m benchmarks.lies_are_found [--runs 2000]

Every cheat of ``tests/adversaries`` that answers falsely meets challenges of a game, and answers each once. What it got
wrong is what ``spot_check.compare`` calls false when everything is retrained. Then the verifier's own draw of what to
recheck (``sampling.choose``) is made again and again: a run is a draw from a seed of its own, on one of the challenges
in turn. The promise is 1 - C(m-c, k)/C(m, k), its mean over the challenges where c differs between them. Algorithm 1
rechecks answer by answer, moments and crossfit pair by pair.

Writes benchmarks/results/detection.csv and detection.png. No training: about a minute.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64
from matplotlib import colormaps
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import stats

from benchmarks.tables import LEVEL, RESULTS, Rate, write_rows
from protocol.certificate import spot_check
from protocol.certificate.moments.plan import pilot_design
from protocol.certificate.terms import Answers, Rounds
from protocol.encoding import Seed
from protocol.game.known import Polynomial
from protocol.game.sampling import Design, Draw, choose, pairs
from tests.adversaries import registry
from tests.adversaries.cancelled_outliers import CancelledOutliers
from tests.adversaries.cheat import Cheat, Defence, Scene
from tests.adversaries.drift_by_tolerance import DriftByTolerance
from tests.adversaries.false_fraction import FalseFraction
from tests.adversaries.greedy_answers import GreedyAnswers
from tests.adversaries.terms import terms
from tests.journeys.worlds import World, of_game

CHECKS = (1, 2, 5, 10, 20, 50, 100, 200, 400)
N_CHALLENGES = 20
FALSE_ALARM = 1e-3
"""Probability that the last line says "more than chance" although every promise holds."""

LIES: tuple[tuple[str, Cheat], ...] = (
    *((cheat.name, cheat) for cheat in registry.ANSWERS if Defence.V11 in cheat.stopped_by),
    *((f"false-fraction {share:g}", FalseFraction(share)) for share in (0.00125, 0.01, 0.05, 0.1)),
    *((f"greedy-answers {share:g}", GreedyAnswers(share=share)) for share in (0.05, 0.2, 0.5)),
    *((f"cancelled-outliers {share:g}", CancelledOutliers(share=share)) for share in (0.02, 0.1)),
    ("drift-by-tolerance", DriftByTolerance()),
)
"""At their default strength, then made sparse; and a drift, which no check may call false."""

STOPPED_BEFORE = {"nan-answers", "out-of-range-answers"}
"""Cheats whose answers no spot check is drawn for: they are no message, or outside their range."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is rechecked together: ``size`` answers of ``design``."""

    name: str
    design: Design
    size: int

    @property
    def n_drawn_from(self) -> int:
        """m: answers, or pairs."""
        return self.design.n_evaluations // self.size

    def takes(self, cheat: Cheat) -> bool:
        """Whether the cheat can be met here."""
        return cheat.name not in STOPPED_BEFORE


SETTINGS = (
    Setting(name="answers", design=pairs(400), size=1),
    Setting(name="pairs", design=pairs(800), size=2),
)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cheat, one number of checks.

    rechecked : answers, or pairs. m, k : how many there are, how many are drawn. c : how many are false, the mean over
    challenges. low, high : exact limits of the rate. promised : the hypergeometric promise. outside : whether it is
    not within the limits.
    """

    cheat: str
    rechecked: str
    m: int
    c: float
    k: int
    runs: int
    found: int
    rate: float
    low: float
    high: float
    promised: float
    outside: bool


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, help="draws of the spot check a cell")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the CSV and the plot")
    options = parser.parse_args()
    cells = list(measured(options.runs))
    write_rows(options.results / "detection.csv", cells)
    _plot(cells, options.results / "detection.png")
    console = Console(width=190)
    for setting in SETTINGS:
        console.print(_table(setting, cells))
    console.print(agreement(cells))


def measured(runs: int) -> Iterator[Cell]:
    """Yield every cell."""
    world = of_game(Polynomial(n_units=64, w1=0.93, w2=0.055, w3=0.015), n_targets=1, noise=0.005, width=6.0)
    for setting in SETTINGS:
        met = [(name, cheat) for name, cheat in LIES if setting.takes(cheat)]
        honest = [_honest(world, setting, i) for i in range(N_CHALLENGES)]
        for name, cheat in track(met, description=setting.name, transient=True):
            false = [false_in(world, cheat, setting, i, truth) for i, truth in enumerate(honest)]
            for k in CHECKS:
                yield cell(name, setting, false, k, runs)


def false_in(
    world: World, cheat: Cheat, setting: Setting, number: int, honest: Float64[np.ndarray, "e t"]
) -> Bool[np.ndarray, " m"]:
    """Return which answers, or pairs, of challenge ``number`` a verifier that retrains everything calls false."""
    scene = _scene(world, setting, number)
    claim = cheat.claim(world.claim, scene)
    draw = _draw(setting, number)
    found = spot_check.compare(
        evaluations=np.arange(draw.n_evaluations, dtype=np.int64),
        answered=cheat.answers(draw, honest, claim, scene),
        retrained=honest,
        tolerance=world.task.tolerance,
        n_answers=draw.n_evaluations,
        delta=scene.terms.delta,
        size=setting.size,
    )
    false = np.zeros(setting.n_drawn_from, dtype=bool)
    false[np.array(found.mismatches, dtype=np.int64) // setting.size] = True
    return false


def cell(name: str, setting: Setting, false: list[Bool[np.ndarray, " m"]], k: int, runs: int) -> Cell:
    """Return how often k checks meet one of the false, over ``runs`` draws."""
    m = setting.n_drawn_from
    seeds = (_seed("check", name, setting.name, k, run) for run in range(runs))
    hits = sum(bool(false[run % len(false)][choose(seed, m, k)].any()) for run, seed in enumerate(seeds))
    rate = Rate(hits=hits, runs=runs)
    low, high = rate.limits
    counts = [int(where.sum()) for where in false]
    promised = float(np.mean([spot_check.detection_probability(m, c, k) for c in counts]))
    return Cell(
        cheat=name, rechecked=setting.name, m=m, c=float(np.mean(counts)), k=k, runs=runs, found=hits, rate=rate.value,
        low=low, high=high, promised=promised, outside=not low <= promised <= high,
    )  # fmt: skip


def agreement(cells: list[Cell]) -> str:
    """Return how many promises lie outside their cell's limits, and how many chance alone explains.

    Cells whose rate is 0 or 1 by necessity have no chance to be outside and are not counted.
    """
    open_cells = [each for each in cells if 0 < each.promised < 1]
    outside = sum(each.outside for each in cells)
    most = int(stats.binom.ppf(1 - FALSE_ALARM, len(open_cells), 1 - LEVEL))
    said = "no more than chance" if outside <= most else "MORE THAN CHANCE"
    return (
        f"{outside} of {len(open_cells)} promises strictly between 0 and 1 lie outside their {LEVEL:.0%} limits; "
        f"up to {most} would by chance alone: {said}"
    )


def _scene(world: World, setting: Setting, number: int) -> Scene:
    """Return what a prover has at hand; cheats that look at the rounds find the challenge's own design last."""
    rounds = Rounds(looks=(pilot_design(world.task), setting.design), n_checks=20)
    return world.scene(terms(Answers.DELEGATED), np.random.default_rng(number), rounds=rounds)


def _draw(setting: Setting, number: int) -> Draw:
    return Draw(seed=_seed("challenge", setting.name, number), design=setting.design)


def _honest(world: World, setting: Setting, number: int) -> Float64[np.ndarray, "e t"]:
    scene = _scene(world, setting, number)
    return scene.trained(_draw(setting, number), world.outputs)


def _seed(*label: object) -> Seed:
    """Bytes for a benchmark that anyone can repeat; a verifier takes the operating system's."""
    return Seed(hashlib.sha256(repr(label).encode()).digest())


def _table(setting: Setting, cells: list[Cell]) -> Table:
    mine = [each for each in cells if each.rechecked == setting.name]
    title = (
        f"found, in percent, when k of {setting.n_drawn_from} {setting.name} are rechecked (promised, where it differs)"
    )
    table = Table(title=title)
    table.add_column("cheat")
    for head in ("c", *map(str, CHECKS)):
        table.add_column(head, justify="right")
    for name in dict.fromkeys(each.cheat for each in mine):
        row = [each for each in mine if each.cheat == name]
        table.add_row(name, f"{row[0].c:.4g}", *map(_percent, row))
    return table


def _percent(each: Cell) -> str:
    rate, promised = f"{100 * each.rate:.1f}", f"{100 * each.promised:.1f}"
    return rate if rate == promised else f"{rate} ({promised})"


def _plot(cells: list[Cell], path: Path) -> None:
    """One panel a setting: measured rates with their limits on the exact promise; one cheat for each number of lies."""
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    axes = figure.subplots(1, len(SETTINGS), sharey=True)
    for setting, ax in zip(SETTINGS, axes, strict=True):
        rows = _one_a_count([each for each in cells if each.rechecked == setting.name])
        for i, row in enumerate(rows):
            colour = colormaps["viridis"](0.95 * i / max(len(rows) - 1, 1))
            k, rate = [each.k for each in row], [each.rate for each in row]
            off = [[each.rate - each.low for each in row], [each.high - each.rate for each in row]]
            ax.plot(k, [each.promised for each in row], linewidth=1, color=colour)
            label = f"{row[0].cheat}: {row[0].c:.4g} false"
            ax.errorbar(k, rate, yerr=off, fmt="o", markersize=3, capsize=2, color=colour, label=label)
        ax.set_xscale("log")
        ax.set_xticks(CHECKS, labels=[str(k) for k in CHECKS])
        ax.set_xlabel(f"{setting.name} rechecked, of {setting.n_drawn_from}")
        ax.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2, frameon=False)
    axes[0].set_ylabel(f"lies found: measured ({LEVEL:.0%} limits), on the promise (lines)")
    figure.savefig(path, dpi=110)


def _one_a_count(cells: list[Cell]) -> list[list[Cell]]:
    """Return the cells of the first cheat of each number of lies, the fewest lies first."""
    first: dict[float, str] = {}
    for each in cells:
        first.setdefault(each.c, each.cheat)
    return [[each for each in cells if each.cheat == cheat] for _, cheat in sorted(first.items())]


if __name__ == "__main__":
    main()
