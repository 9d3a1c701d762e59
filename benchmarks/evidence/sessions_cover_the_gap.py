"""No certificate's sessions miss the true gap, or accept a claim just above epsilon, more often than delta.

Whole sessions, honest answers, the real planner; the verifier asks for an epsilon just below the claim's true gap, so
that every ACCEPT is false. The prover's figures are those of a good claim: they steer the plan. Where a certificate
assumes something that a game breaks (the Gaussian look of rare events; moments of a kurtosis beyond K), rows say so.
Lies in answers are benchmarks/levels_hold_in_whole_sessions.py's.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64, Int64

from benchmarks.evidence.coverage import Cell, cell_of
from benchmarks.evidence.subjects import ABOVE, EPSILON, Case, Subject
from benchmarks.sessions import Met, play
from benchmarks.sessions import Subject as Played
from protocol.certificate.terms import Answers
from protocol.claim import Claim, Figures
from protocol.session.messages import Outcome
from verifier.verification import Asked

DELTA = 0.05
FIGURES = Figures(relative_gap=0.01, odd_residual=0.02, r2=0.95, n_retrainings=10_000)
LEAST_GAP = 0.001
"""No epsilon is set just below a gap smaller than this."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """One certificate as it is asked for. weight : sessions a cell, as a share of the cheapest's."""

    name: str
    kind: str
    asked: Asked
    weight: float = 1.0


CERTIFICATES = (
    Certificate(name="moments, own", kind="finite-sample, bounded kurtosis", asked=Asked(max_retrainings=300)),
    Certificate(
        name="moments, delegated", kind="finite-sample, bounded kurtosis", weight=0.25,
        asked=Asked(answers=Answers.DELEGATED, max_retrainings=300, max_answers=2000),
    ),
    Certificate(
        name="crossfit, own", kind="finite-sample", weight=0.25, asked=Asked(method="crossfit", max_retrainings=2000)
    ),
    Certificate(
        name="gaussian, own", kind="Gaussian residuals", weight=4.0, asked=Asked(method="gaussian", max_retrainings=300)
    ),
)  # fmt: skip
"""Crossfit's delegated sessions take half a second each: benchmarks/levels_hold_in_whole_sessions.py has them."""


def cells(subject: Subject, n_runs: int, certificates: tuple[Certificate, ...] = CERTIFICATES) -> Iterator[Cell]:
    """Yield a cell for each certificate, target and claim, of at least two sessions each."""
    for certificate in certificates:
        for target, label in enumerate(subject.targets):
            for case in subject.cases():
                name = subject.name + ("" if subject.is_game else f", {label}")
                yield _cell(certificate, subject, name, case, target, max(2, round(certificate.weight * n_runs)))


def _cell(certificate: Certificate, subject: Subject, name: str, case: Case, target: int, n_runs: int) -> Cell:
    gap = float(case.gap[target])
    epsilon = gap / ABOVE if gap >= LEAST_GAP else EPSILON
    asked, about = replace(certificate.asked, epsilon=min(epsilon, 0.99), delta=DELTA), played(subject, case, target)
    first = zlib.crc32(f"{certificate.name} {name} {case.name}".encode()) << 16
    met = [play(about, asked, first + run) for run in range(n_runs)]
    return cell_of(
        np.array([each.upper for each in met]), gap,
        accepted=sum(each.outcome is Outcome.ACCEPT for each in met) if gap >= LEAST_GAP else None,
        certificate=certificate.name, kind=certificate.kind, retrainings=_spent(met), subject=name,
        n_units=subject.n_units, claim=case.name, delta=DELTA, epsilon=asked.epsilon,
    )  # fmt: skip


def _spent(met: list[Met]) -> int:
    return round(sum(each.n_retrained + each.n_answered for each in met) / len(met))


def played(subject: Subject, case: Case, target: int) -> Played:
    """Return one claim about one target as a session has it."""
    targets = subject.task.targets
    task = replace(
        subject.task,
        targets=replace(
            targets, rows=targets.rows[target : target + 1], lo=targets.lo[target : target + 1],
            hi=targets.hi[target : target + 1],
        ),
    )  # fmt: skip

    def outputs(subsets: Bool[np.ndarray, "m n"], _seeds: Int64[np.ndarray, " m"]) -> Float64[np.ndarray, "m 1"]:
        return subject.outputs(subsets)[:, target : target + 1]

    claim = Claim(
        task_digest=task.digest, intercepts=case.intercepts[target : target + 1].copy(),
        scores=case.scores[target : target + 1].copy(),
    )  # fmt: skip
    return Played(name=subject.name, game=task, claim=claim, figures=FIGURES, outputs=outputs)
