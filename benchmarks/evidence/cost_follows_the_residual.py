"""Retrainings against epsilon, N and the target's R^2, certificate by certificate.

A perfect claim with true figures about a game of known weights, no seed noise, one target, half a range of 3 sd,
delta = .05. Every certificate's own plan, with a budget that lets it take what it needs; then whole sessions of it: how
many accept, and what they take. A session of ``moments`` plans anew once its pilot is in and stops at its first
decision. Algorithm 1's counts are computed, never run: the least is millions.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.evidence.figures import saved, style_of
from benchmarks.sessions import Subject, of_known, play, rate_of
from protocol.certificate.algorithm1 import bound as algorithm1
from protocol.certificate.terms import Answers
from protocol.claim import Figures
from protocol.errors import BudgetError
from protocol.game.known import Polynomial
from protocol.session.messages import Outcome
from verifier.verification import Asked

DELTA = 0.05
EPSILONS = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005)
UNITS = (100, 1000, 10_000)
R2 = (0.5, 0.8, 0.9, 0.95, 0.99)
LIKE_DIGITS = (0.935, 0.051, 0.014)
HALF_RANGE_SD = 3.0
EPSILON, N_UNITS = 0.05, 1000
MOST_RETRAINED, MOST_ANSWERS = 60_000, 40_000
MOST_TRIED = 20_000_000
"""Trainings times units that the sessions of one row may take; plans beyond are not tried."""

WAYS = (
    ("moments", Answers.OWN), ("moments", Answers.DELEGATED), ("crossfit", Answers.OWN),
    ("crossfit", Answers.DELEGATED), ("gaussian", Answers.OWN),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Row:
    """One certificate's cost at one setting.

    sweep : epsilon, units or r2, and value that of it; the others stay at 0.05, 1,000 and 0.935.
    verifier, prover : trainings expected of each by the plan. how : tried or computed. sufficient : whether the plan
    expects to be accepted in nine sessions of ten. runs, accepted : whole sessions; taken : mean trainings of the
    verifier in them; None where computed.
    """

    sweep: str
    value: float
    certificate: str
    epsilon: float
    n_units: int
    r2: float
    verifier: int
    prover: int
    sufficient: bool
    how: str
    runs: int | None = None
    accepted: int | None = None
    taken: float | None = None

    @property
    def trainings(self) -> int:
        """By both."""
        return self.verifier + self.prover


@dataclass(frozen=True, kw_only=True)
class Slope:
    """The exponent of a certificate's trainings in 1/epsilon, by least squares on logarithms."""

    certificate: str
    counted: str
    slope: float
    from_epsilon: float
    to_epsilon: float


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A game of known weights, and how close the claim shall be shown to be."""

    sweep: str
    value: float
    epsilon: float = EPSILON
    n_units: int = N_UNITS
    weights: tuple[float, float, float] = LIKE_DIGITS

    def subject(self) -> Subject:
        """The game, and its best claim with true figures."""
        w1, w2, w3 = self.weights
        figures = Figures(relative_gap=0.0, odd_residual=w3, r2=w1, n_retrainings=10_000)
        game = Polynomial(n_units=self.n_units, w1=w1, w2=w2, w3=w3)
        return of_known("game", game, figures=figures, half_range=HALF_RANGE_SD)


def settings(
    epsilons: tuple[float, ...] = EPSILONS, units: tuple[int, ...] = UNITS, r2s: tuple[float, ...] = R2
) -> list[Setting]:
    """Return all three sweeps."""
    return [
        *(Setting(sweep="epsilon", value=epsilon, epsilon=epsilon) for epsilon in epsilons),
        *(Setting(sweep="units", value=float(n), n_units=n) for n in units),
        *(Setting(sweep="r2", value=r2, weights=(r2, (1 - r2) / 2, (1 - r2) / 2)) for r2 in r2s),
    ]


def rows(setting: Setting, n_runs: int) -> Iterator[Row]:
    """Yield every certificate's cost."""
    subject = setting.subject()
    for method, answers in WAYS:
        row = _row(setting, subject, method, answers, n_runs)
        if row is not None:
            yield row
    counts = algorithm1.counts(epsilon=setting.epsilon, delta=DELTA, b=HALF_RANGE_SD, largest=HALF_RANGE_SD)
    yield Row(
        sweep=setting.sweep, value=setting.value, certificate="algorithm1, delegated", epsilon=setting.epsilon,
        n_units=setting.n_units, r2=setting.weights[0], verifier=counts.n_retrained, prover=counts.n_answers,
        sufficient=True, how="computed",
    )  # fmt: skip


def _row(setting: Setting, subject: Subject, method: str, answers: Answers, n_runs: int) -> Row | None:
    asked = Asked(
        method=method, answers=answers, epsilon=setting.epsilon, delta=DELTA, max_retrainings=MOST_RETRAINED,
        max_answers=MOST_ANSWERS,
    )  # fmt: skip
    try:
        plan = asked.plan(subject.game, subject.figures, subject.claim)
    except BudgetError:
        return None
    runs = accepted = taken = None
    spent = plan.expected_retrained + plan.expected_answered
    n_tried = min(n_runs, int(MOST_TRIED / (spent * setting.n_units)))
    if n_tried >= 2 and plan.sufficient:
        first = zlib.crc32(f"{method} {answers.value} {setting.sweep} {setting.value}".encode()) << 16
        met = [play(subject, asked, first + run) for run in range(n_tried)]
        runs, accepted = n_tried, rate_of(met, Outcome.ACCEPT).hits
        taken = float(np.mean([each.n_retrained for each in met]))
    return Row(
        sweep=setting.sweep, value=setting.value, certificate=f"{method}, {answers.value}", epsilon=setting.epsilon,
        n_units=setting.n_units, r2=setting.weights[0], verifier=round(plan.expected_retrained),
        prover=round(plan.expected_answered), sufficient=plan.sufficient, how="computed" if runs is None else "tried",
        runs=runs, accepted=accepted, taken=taken,
    )  # fmt: skip


def slopes(found: list[Row]) -> list[Slope]:
    """Return the slopes of the sweep over epsilon, where a plan is larger than the smallest that there is.

    The prover's have none but Algorithm 1's: a planner takes as many answers as it may (``MOST_ANSWERS``).
    """
    out = []
    for name in dict.fromkeys(row.certificate for row in found):
        line = [row for row in found if (row.sweep, row.certificate) == ("epsilon", name) and row.sufficient]
        for counted in ("verifier", "prover") if name.startswith("algorithm1") else ("verifier",):
            counts = [getattr(row, counted) for row in line]
            kept = [(row.epsilon, n) for row, n in zip(line, counts, strict=True) if n > min(counts)]
            if len(kept) < 2:
                continue
            x, y = np.log(np.array(kept, dtype=float)).T
            slope = float(-np.polyfit(x, y, 1)[0])
            ends = {"from_epsilon": kept[0][0], "to_epsilon": kept[-1][0]}
            out.append(Slope(certificate=name, counted=counted, slope=slope, **ends))
    return out


def plot(found: list[Row], path: Path) -> None:
    """Draw the three sweeps, log-log, with the slopes in 1/epsilon in the legend; sufficient plans alone."""
    names = list(dict.fromkeys(row.certificate for row in found))
    slope_of = {(slope.certificate, slope.counted): slope.slope for slope in slopes(found)}
    with saved(path, columns=3) as axes:
        for axis, sweep in zip(axes, ("epsilon", "units", "r2"), strict=True):
            for number, name in enumerate(names):
                line = [row for row in found if (row.sweep, row.certificate) == (sweep, name) and row.sufficient]
                slope = slope_of.get((name, "verifier"))
                label = name + (f", slope {slope:.2f}" if slope else "")
                axis.plot([row.value for row in line], [row.verifier for row in line], label=label, **style_of(number))
            axis.set(
                xlabel={"epsilon": "epsilon", "units": "units N", "r2": "R$^2$ of the target"}[sweep], yscale="log"
            )
            if sweep != "r2":
                axis.set_xscale("log")
        axes[0].set(ylabel="retrainings by the verifier")
        axes[1].legend(frameon=False, fontsize=7, loc="center")
