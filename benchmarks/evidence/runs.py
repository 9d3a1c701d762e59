"""Many independent runs of one design at once: a run a column, so that one certificate call judges them all.

``families.certify`` across every target treats targets apart from each other, each at delta / T. Runs of one target,
each with families of its own, are put in the targets' place and delta times their number is spent: each run then has
the bound that it would have alone at delta, and two thousand runs cost one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from benchmarks.evidence.subjects import Case, Subject, family_subsets
from protocol import harmonic
from protocol.certificate.families import Checked, FamiliesCertificate, certify
from protocol.certificate.readings import Readings
from protocol.certificate.terms import Across
from protocol.sampling import Design

_CHUNK_CELLS = 1 << 23  # of subsets held at once; does not affect outputs


@dataclass(frozen=True, kw_only=True, eq=False)
class Runs:
    """Evaluations of R runs, and every case's own predictions of them.

    odd, even : shape (R, B, s, T). linear : shape (C, R, B, s, T), one row a case.
    """

    subject: Subject
    design: Design
    cases: tuple[Case, ...]
    odd: Float64[np.ndarray, "r b s t"]
    even: Float64[np.ndarray, "r b s t"]
    linear: Float64[np.ndarray, "c r b s t"]

    @property
    def n_runs(self) -> int:
        """R."""
        return len(self.odd)

    def readings(self, case: int, target: int) -> Readings:
        """Return one case's readings of one target, a run a column."""
        scores = self.cases[case].scores[target]
        mean = float(self.cases[case].intercepts[target] + scores.sum() / 2)
        odd, even, linear = (
            np.moveaxis(values[..., target], 0, -1) for values in (self.odd, self.even, self.linear[case])
        )
        return Readings(
            output=odd, linear=linear, even=even, claim_mean=np.full(self.n_runs, mean),
            claim_variance=np.full(self.n_runs, harmonic.linear_variance(scores, 0.5)), rho=self.design.rho, p=0.5,
        )  # fmt: skip

    def upper(self, case: int, target: int, delta: float, checked: Checked | None = None) -> Float64[np.ndarray, " r"]:
        """Return every run's upper bound at delta."""
        return self.certificate(case, target, delta, checked).upper

    def certificate(self, case: int, target: int, delta: float, checked: Checked | None = None) -> FamiliesCertificate:
        """Return every run's certificate at delta, a run a row."""
        spent = delta * self.n_runs
        return certify(self.readings(case, target), delta=spent, across=Across.EVERY, checked=checked)

    def checked(self, case: int, target: int, n_checks: int, n_false: int, rng: np.random.Generator) -> Checked:
        """Return ``n_checks`` rechecked answers of every run, drawn without replacement, all right."""
        ours = np.stack([self.even + self.odd, self.even - self.odd], axis=-2)[..., target].reshape(self.n_runs, -1)
        linear = np.stack([self.linear[case], -self.linear[case]], axis=-2)[..., target].reshape(self.n_runs, -1)
        chosen = np.argsort(rng.random(ours.shape), axis=1)[:, :n_checks]
        return Checked(
            outputs=np.take_along_axis(ours, chosen, axis=1).T,
            linear=np.take_along_axis(linear, chosen, axis=1).T,
            n_false=n_false,
        )


def drawn(subject: Subject, design: Design, n_runs: int, cases: Sequence[Case], rng: np.random.Generator) -> Runs:
    """Return ``n_runs`` fresh, independent runs of the design."""
    n_b, n_s, n_t = design.n_families, design.n_siblings, len(subject.targets)
    shape = (n_runs * n_b, n_s, n_t)
    odd, even, linear = np.empty(shape), np.empty(shape), np.empty((len(cases), *shape))
    step = max(1, _CHUNK_CELLS // (n_s * subject.n_units))
    for start in range(0, n_runs * n_b, step):
        part = slice(start, min(start + step, n_runs * n_b))
        siblings = family_subsets(design, subject.n_units, part.stop - start, rng)
        subsets = siblings.reshape(-1, subject.n_units)
        ours, theirs = subject.outputs(subsets), subject.outputs(~subsets)
        odd[part], even[part] = ((ours + side * theirs).reshape(-1, n_s, n_t) / 2 for side in (-1, 1))
        stacked = np.concatenate([case.scores for case in cases])
        along = ((subsets - 0.5) @ stacked.T).reshape(-1, n_s, len(cases), n_t)
        linear[:, part] = np.moveaxis(along, 2, 0)
    whole = (n_runs, n_b, n_s, n_t)
    return Runs(
        subject=subject, design=design, cases=tuple(cases), odd=odd.reshape(whole), even=even.reshape(whole),
        linear=linear.reshape(len(cases), *whole),
    )  # fmt: skip
