"""A claim well below epsilon is accepted with 100 retrainings, one near it needs more, and one above it is not helped.

Acceptance by families at epsilon = delta = 0.05 against the true relative gap: of a game with the digits task's
weights, and of digits itself, whose honest claim is moved in a random direction. All gaps are judged on the same runs.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.evidence.families_cover_the_gap import design_key, design_of, name_of
from benchmarks.evidence.figures import saved, style_of
from benchmarks.evidence.runs import drawn
from benchmarks.evidence.subjects import EPSILON, Subject
from benchmarks.evidence.tables import Rate

DELTA = 0.05
DESIGNS = {100: (25, 2, 0.5), 200: (50, 2, 0.5), 400: (25, 8, 0.3), 1600: (100, 8, 0.3)}
"""Families for each number of retrainings: the table of THEORY 10, and four times its last row."""

GAPS = (0.0, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.045, 0.0505, 0.06, 0.07, 0.08, 0.1, 0.125, 0.15)


@dataclass(frozen=True, kw_only=True)
class Row:
    """How often a claim of one true gap was accepted; limits are Clopper and Pearson's at 95%."""

    subject: str
    retrainings: int
    design: str
    gap: float
    runs: int
    accepted: int
    rate: float
    low: float
    high: float


def rows(subject: Subject, budget: int, n_runs: int) -> Iterator[Row]:
    """Yield the power curve at every number of retrainings, on at most ``budget`` evaluations each."""
    direction = np.random.default_rng(3).standard_normal(subject.honest.scores.shape)
    cases = [
        subject.moved(f"{gap:g}", direction, gap) if gap > 0 else subject.honest
        for gap in GAPS
        if gap == 0 or gap > float(subject.honest.gap.max())
    ]
    for retrainings, kind in DESIGNS.items():
        design = design_of(*kind)
        rng = np.random.default_rng([zlib.crc32(subject.name.encode()), *design_key(design), 4])
        runs = drawn(subject, design, min(n_runs, budget // retrainings), cases, rng)
        for number, case in enumerate(cases):
            upper = runs.upper(number, 0, DELTA)
            accepted = Rate(hits=int((upper <= EPSILON).sum()), runs=len(upper))
            yield Row(
                subject=subject.name, retrainings=retrainings, design=name_of(design), gap=float(case.gap[0]),
                runs=len(upper), accepted=accepted.hits, rate=accepted.value, low=accepted.limits[0],
                high=accepted.limits[1],
            )  # fmt: skip


def plot(found: list[Row], path: Path) -> None:
    """Draw acceptance against the true gap, a panel a subject, a line a number of retrainings."""
    names = list(dict.fromkeys(row.subject for row in found))
    with saved(path, columns=len(names)) as axes:
        for axis, name in zip(axes, names, strict=True):
            for number, retrainings in enumerate(DESIGNS):
                line = [row for row in found if (row.subject, row.retrainings) == (name, retrainings)]
                gaps = [row.gap for row in line]
                axis.plot(gaps, [row.rate for row in line], label=f"{retrainings:,}", **style_of(number))
                axis.fill_between(
                    gaps, [row.low for row in line], [row.high for row in line], alpha=0.15,
                    color=style_of(number)["color"],
                )  # fmt: skip
            axis.axvline(EPSILON, color="0.6", linewidth=1)
            axis.axhline(DELTA, color="0.6", linewidth=1, linestyle=":")
            axis.set(title=name, xlabel="true relative gap", ylabel="accepted", xlim=(0, 0.15), ylim=(-0.02, 1.02))
        axes[-1].legend(title="retrainings", frameon=False)
