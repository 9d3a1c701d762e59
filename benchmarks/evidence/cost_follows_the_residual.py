"""Retrainings follow the claim's residual for families, N too for cross-fit, and f's range for Algorithm 1.

How many retrainings make an honest claim's bound at most epsilon (delta = 0.05), against epsilon, N and the target's
R^2. Plans are the planner's. Those of families are tried: the share of fresh runs that accept. Those of cross-fit are
tried where a run takes at most ``MOST_TRIED`` trainings, and say computed elsewhere; Algorithm 1's counts are computed.
Of cross-fit's, the planner expects the bound to be near epsilon: that is half a promise.
The claim is perfect: only degrees above one are left in its residual, with digits' own weights but along R^2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.evidence.crossfit_covers_the_gap import answered_round, own_round
from benchmarks.evidence.figures import saved, style_of
from benchmarks.evidence.runs import drawn
from benchmarks.evidence.subjects import Subject, game_subject
from protocol.certificate import algorithm1, crossfit, crossfit_plan, plan, spot_check
from protocol.certificate.plan import Outlook
from protocol.certificate.terms import CHECK_SHARE, Across, Assurance
from protocol.errors import BudgetError
from tests.games import Polynomial, task_of

DELTA, POWER = 0.05, 0.9
EPSILONS = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002)
UNITS = (100, 300, 1000, 3000, 10_000)
R2 = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
LIKE_DIGITS = (0.935, 0.051, 0.014)
HALF_RANGE_SD = 3.0
EPSILON, N_UNITS = 0.05, 1000
MOST_TRIED = 30_000
MOST_ANSWERS = 40_000


@dataclass(frozen=True, kw_only=True)
class Row:
    """One certificate's cost at one setting.

    sweep : epsilon, units or r2, and value that of it; the others stay at 0.05, 1,000 and 0.935.
    verifier, prover : trainings by each. how : tried or computed.
    runs, accepted : fresh runs of the plan, and how many had a bound of at most epsilon; None where computed.
    """

    sweep: str
    value: float
    certificate: str
    epsilon: float
    n_units: int
    r2: float
    verifier: int
    prover: int
    how: str
    runs: int | None = None
    accepted: int | None = None

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

    @property
    def outlook(self) -> Outlook:
        """What a perfect claim's honest figures say."""
        return Outlook(relative_gap=0.0, residual=self.weights[2], r2=self.weights[0])

    def subject(self) -> Subject:
        """The game, with a range of 3 sd either way."""
        w1, w2, w3 = self.weights
        subject = game_subject("game", Polynomial(n_units=self.n_units, w1=w1, w2=w2, w3=w3))
        return Subject(**{**vars(subject), "task": task_of(self.n_units, bound=HALF_RANGE_SD)})


def settings(
    epsilons: tuple[float, ...] = EPSILONS, units: tuple[int, ...] = UNITS, r2s: tuple[float, ...] = R2
) -> list[Setting]:
    """Return all three sweeps."""
    return [
        *(Setting(sweep="epsilon", value=epsilon, epsilon=epsilon) for epsilon in epsilons),
        *(Setting(sweep="units", value=float(n), n_units=n) for n in units),
        *(Setting(sweep="r2", value=r2, weights=(r2, (1 - r2) / 2, (1 - r2) / 2)) for r2 in r2s),
    ]


def rows(setting: Setting, n_runs: int, n_crossfit_runs: int) -> Iterator[Row]:
    """Yield every certificate's cost."""
    yield _families(setting, n_runs)
    yield from _crossfit(setting, Assurance.PROVED, n_crossfit_runs)
    yield from _crossfit(setting, Assurance.AUDITED, n_crossfit_runs)
    yield _algorithm1(setting)


def _row(setting: Setting, certificate: str, verifier: int, prover: int, tried: tuple[int, int] | None) -> Row:
    return Row(
        sweep=setting.sweep, value=setting.value, certificate=certificate, epsilon=setting.epsilon,
        n_units=setting.n_units, r2=setting.weights[0], verifier=verifier, prover=prover,
        how="computed" if tried is None else "tried", runs=None if tried is None else tried[1],
        accepted=None if tried is None else tried[0],
    )  # fmt: skip


def _families(setting: Setting, n_runs: int) -> Row:
    subject = setting.subject()
    planned = plan.best_within(
        subject.task, epsilon=setting.epsilon, delta=DELTA, across=Across.MEAN, assurance=Assurance.PROVED,
        outlook=setting.outlook, max_retrainings=100_000, n_looks=1, power=POWER,
    )  # fmt: skip
    (design,) = planned.terms.looks
    few = max(20, n_runs * 1000 // max(setting.n_units, 1000) // max(1, design.n_evaluations // 1000))
    runs = drawn(subject, design, min(n_runs, few), [subject.honest], np.random.default_rng(5))
    accepted = int((runs.upper(0, 0, DELTA) <= setting.epsilon).sum())
    return _row(setting, "families", design.n_evaluations, 0, (accepted, runs.n_runs))


def _crossfit(setting: Setting, assurance: Assurance, n_runs: int) -> Iterator[Row]:
    subject = setting.subject()
    try:
        planned = crossfit_plan.best_within(
            subject.task, epsilon=setting.epsilon, delta=DELTA, across=Across.MEAN, assurance=assurance,
            outlook=setting.outlook, max_retrainings=4 * MOST_ANSWERS, max_answers=MOST_ANSWERS,
            half_range_sd=HALF_RANGE_SD,
        )  # fmt: skip
    except BudgetError:
        return
    if not planned.sufficient:
        return
    name = "crossfit" if assurance is Assurance.PROVED else "crossfit, answered"
    verifier, prover = planned.n_retrained[1], planned.n_answered[1]
    tried = None
    if verifier + prover <= MOST_TRIED:
        design_b, design_a = (look.n_families for look in planned.terms.looks)
        tried = (
            sum(_accepts(subject, setting, design_a, design_b, planned.terms.n_checks, run) for run in range(n_runs)),
            n_runs,
        )
    yield _row(setting, name, verifier, prover, tried)


def _accepts(subject: Subject, setting: Setting, m_a: int, m_b: int, n_checks: int, run: int) -> bool:
    a, spent = own_round(subject, m_a, 2 * run), DELTA
    if n_checks == 0:
        b = own_round(subject, m_b, 2 * run + 1)
    else:
        spent = DELTA * (1 - CHECK_SHARE)
        n_false = spot_check.most_false(m_b, n_checks, DELTA * CHECK_SHARE)
        b = answered_round(own_round(subject, m_b, 2 * run + 1), n_checks, n_false)
    claim = subject.honest.claim(subject.task)
    return crossfit.certify(subject.task, claim, a, b, delta=spent, across=Across.MEAN).upper_bound <= setting.epsilon


def _algorithm1(setting: Setting) -> Row:
    b = HALF_RANGE_SD
    counts = algorithm1.counts(epsilon=setting.epsilon, delta=DELTA, b=b, largest=b)
    return _row(setting, "algorithm1", counts.n_retrained, counts.n_answers, None)


def slopes(found: list[Row]) -> list[Slope]:
    """Return the slopes of the sweep over epsilon, where a plan is larger than the smallest that there is.

    The prover's of cross-fit have none: the planner takes as many answers as it may (``MOST_ANSWERS``).
    """
    out = []
    for name in dict.fromkeys(row.certificate for row in found):
        line = [row for row in found if (row.sweep, row.certificate) == ("epsilon", name)]
        for counted in ("verifier", "prover") if name == "algorithm1" else ("verifier",):
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
    """Draw the three sweeps, log-log, with the slopes in 1/epsilon in the legend."""
    names = list(dict.fromkeys(row.certificate for row in found))
    slope_of = {(slope.certificate, slope.counted): slope.slope for slope in slopes(found)}
    with saved(path, columns=3) as axes:
        for axis, sweep in zip(axes, ("epsilon", "units", "r2"), strict=True):
            for number, name in enumerate(names):
                line = [row for row in found if (row.sweep, row.certificate) == (sweep, name)]
                answered = any(row.prover for row in line)
                slope = slope_of.get((name, "verifier"))
                label = name + (" (verifier)" if answered else "") + (f", slope {slope:.2f}" if slope else "")
                axis.plot([row.value for row in line], [row.verifier for row in line], label=label, **style_of(number))
                if answered:
                    both = {**style_of(number), "linestyle": ":", "marker": None}
                    axis.plot([row.value for row in line], [row.trainings for row in line], **both)
            axis.set(
                xlabel={"epsilon": "epsilon", "units": "units N", "r2": "R$^2$ of the target"}[sweep], yscale="log"
            )
            if sweep != "r2":
                axis.set_xscale("log")
        axes[0].set(ylabel="trainings (dotted: verifier and prover)")
        axes[1].legend(frameon=False, fontsize=7, loc="center")
