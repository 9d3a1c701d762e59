"""The families certificate covers the true gap but for a share delta of runs, where residuals are near Gaussian.

Where they are not (games whose residual is rare spikes), it does not, and the rows say so (THEORY 2.10). Audited rows
have an honest prover: lies are priced in tests/adversaries and docs/theory.md, 7.3.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np

from benchmarks.evidence.coverage import DELTAS, Cell, cell_of
from benchmarks.evidence.runs import Runs, drawn
from benchmarks.evidence.subjects import Subject
from protocol.certificate.spot_check import most_false
from protocol.certificate.terms import FAMILIES_P
from protocol.sampling import Design, families

DESIGNS = ((10, 2, 0.7), (15, 2, 0.7), (25, 2, 0.5), (50, 2, 0.5), (25, 8, 0.3))
AUDITED = (25, 8, 0.3)
N_CHECKS = 60
assert FAMILIES_P[0] <= 0.5 <= FAMILIES_P[1]


def design_of(n_families: int, n_siblings: int, rho: float) -> Design:
    """Return B families of s siblings with complements."""
    return families(n_families=n_families, n_siblings=n_siblings, rho=rho, complements=True)


def name_of(design: Design) -> str:
    """Return the design in words."""
    return f"B={design.n_families} s={design.n_siblings} rho={design.rho:.2g}"


def cells(subject: Subject, budget: int, n_runs: int) -> Iterator[Cell]:
    """Yield every design's cells: ``n_runs`` runs each, fewer where they would take over ``budget`` evaluations."""
    cases = subject.cases()
    for kind in DESIGNS:
        design = design_of(*kind)
        rng = np.random.default_rng([zlib.crc32(subject.name.encode()), *design_key(design)])
        runs = drawn(subject, design, min(n_runs, budget // design.n_evaluations), cases, rng)
        yield from _cells(runs, "families", None)
        if kind == AUDITED:
            yield from _cells(runs, "families, answered", rng)


def design_key(design: Design) -> tuple[int, int, int]:
    """Return what tells one design's random numbers from another's."""
    return design.n_families, design.n_siblings, design.keep_16


def _cells(runs: Runs, certificate: str, checks: np.random.Generator | None) -> Iterator[Cell]:
    subject, design = runs.subject, runs.design
    for target, label in enumerate(subject.targets):
        for number, case in enumerate(runs.cases):
            for delta in DELTAS:
                checked = None
                if checks is not None:
                    n_false = most_false(design.n_evaluations, N_CHECKS, delta)
                    checked = runs.checked(number, target, N_CHECKS, n_false, checks)
                yield cell_of(
                    runs.upper(number, target, delta, checked), float(case.gap[target]), certificate=certificate,
                    kind="asymptotic", design=name_of(design) + ("" if checks is None else f" k={N_CHECKS}"),
                    retrainings=design.n_evaluations, subject=subject.name + ("" if subject.is_game else f", {label}"),
                    n_units=subject.n_units, claim=case.name, delta=delta,
                )  # fmt: skip
