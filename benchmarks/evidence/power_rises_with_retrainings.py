"""A claim well below epsilon is accepted at the least that a certificate takes; one near it needs more; none above is.

Whole sessions with one large budget: a session stops at its first decision, so that one run says for every number of
retrainings whether the claim would have been accepted with it. The prover's figures say how large the residual is, as
an honest prover's would; where a certificate is planned by them, it is planned for an honest claim. Subjects: a game
with the weights of digits, and one target of digits itself, whose honest claim is moved in a random direction.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.evidence.figures import saved, style_of
from benchmarks.evidence.sessions_cover_the_gap import played
from benchmarks.evidence.subjects import EPSILON, Subject
from benchmarks.sessions import play
from benchmarks.tables import Rate
from protocol.claim import Figures
from protocol.session.messages import Outcome
from verifier.verification import Asked

DELTA = 0.05
BUDGETS = (200, 300, 600)
METHODS = ("moments", "gaussian")
GAPS = (0.0, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.0505, 0.07, 0.1)
REST = 0.014
"""The odd residual of an honest claim about digits, its gap left out."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """How often a claim of one true gap was accepted; limits are Clopper and Pearson's at 95%."""

    subject: str
    certificate: str
    retrainings: int
    gap: float
    runs: int
    accepted: int
    rate: float
    low: float
    high: float


def rows(subject: Subject, n_runs: int) -> Iterator[Row]:
    """Yield the power curve of each certificate at every number of retrainings."""
    direction = np.random.default_rng(3).standard_normal(subject.honest.scores.shape)
    cases = [
        subject.moved(f"{gap:g}", direction, gap) if gap > 0 else subject.honest
        for gap in GAPS
        if gap == 0 or gap > float(subject.honest.gap.max())
    ]
    for method in METHODS:
        asked = Asked(method=method, epsilon=EPSILON, delta=DELTA, max_retrainings=max(BUDGETS))
        for case in cases:
            gap = float(case.gap[0])
            figures = Figures(relative_gap=gap, odd_residual=gap + REST, r2=0.93 - gap, n_retrainings=10_000)
            about = replace(played(subject, case, 0), figures=figures)
            first = zlib.crc32(f"{method} {subject.name} {case.name}".encode()) << 16
            met = [play(about, asked, first + run) for run in range(n_runs)]
            accepted = [each.n_retrained for each in met if each.outcome is Outcome.ACCEPT]
            for budget in BUDGETS:
                rate = Rate(hits=sum(n <= budget for n in accepted), runs=n_runs)
                yield Row(
                    subject=subject.name, certificate=method, retrainings=budget, gap=gap, runs=n_runs,
                    accepted=rate.hits, rate=rate.value, low=rate.limits[0], high=rate.limits[1],
                )  # fmt: skip


def plot(found: list[Row], path: Path) -> None:
    """Draw acceptance against the true gap, a panel a subject and certificate, a line a number of retrainings."""
    panels = list(dict.fromkeys((row.subject, row.certificate) for row in found))
    with saved(path, columns=len(panels)) as axes:
        for axis, panel in zip(axes, panels, strict=True):
            for number, retrainings in enumerate(BUDGETS):
                line = [
                    row for row in found if (row.subject, row.certificate, row.retrainings) == (*panel, retrainings)
                ]
                gaps = [row.gap for row in line]
                axis.plot(gaps, [row.rate for row in line], label=f"{retrainings:,}", **style_of(number))
                axis.fill_between(
                    gaps, [row.low for row in line], [row.high for row in line], alpha=0.15,
                    color=style_of(number)["color"],
                )  # fmt: skip
            axis.axvline(EPSILON, color="0.6", linewidth=1)
            axis.axhline(DELTA, color="0.6", linewidth=1, linestyle=":")
            axis.set(title=", ".join(panel), xlabel="true relative gap", ylabel="accepted", ylim=(-0.02, 1.02))
        axes[-1].legend(title="retrainings, at most", frameon=False)
