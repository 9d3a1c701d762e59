"""Cross-fit's bound is below the true gap in at most a share delta of runs, spikes and lies included (THEORY 5).

Rounds are the protocol's own draws. Answered rows leave as many false pairs in round B as clean checks leave possible,
none of them among the pairs checked: that is given, so their level is what the bound itself spends. A greedy prover
knows everything but what it must not (it cannot choose what is checked): it turns round A's direction against the
test, on the pairs where that moves the verifier's own statistic most.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from benchmarks.evidence.coverage import DELTAS, Cell, cell_of
from benchmarks.evidence.subjects import Case, Subject
from protocol import harmonic
from protocol.certificate import spot_check
from protocol.certificate.crossfit import Round, certify
from protocol.certificate.terms import CHECK_SHARE, Across
from protocol.claim import Claim
from protocol.encoding import Seed, digest
from protocol.sampling import Draw, pairs
from protocol.task import Task
from tests.games import task_of


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Pairs in rounds A and B; pairs of B rechecked, 0 when the verifier trains all."""

    m_a: int
    m_b: int
    n_checks: int

    @property
    def name(self) -> str:
        """In words."""
        return f"A={self.m_a} B={self.m_b}" + (f" k={self.n_checks}" if self.n_checks else "")


PLANS = (
    Plan(m_a=150, m_b=150, n_checks=0),
    Plan(m_a=1500, m_b=1500, n_checks=0),
    Plan(m_a=1000, m_b=4000, n_checks=1000),
)


def own_round(subject: Subject, n_pairs: int, run: int) -> Round:
    """Return a round that the verifier trained itself."""
    seed = Seed(digest("benchmark", f"evidence {subject.name}", run))
    draw = Draw(seed=seed, design=pairs(n_pairs))
    subsets = draw.subsets(subject.task, np.arange(draw.n_evaluations, dtype=np.int64))
    outputs = np.clip(subject.outputs(subsets), subject.task.targets.lo, subject.task.targets.hi)
    return Round(draw=draw, outputs=outputs, trained=np.arange(n_pairs), n_false=0, tolerance=0.0)


def answered_round(round_: Round, n_checks: int, n_false: int) -> Round:
    """Return the same answered by the prover, ``n_checks`` of its pairs rechecked, ``n_false`` possibly false.

    Its pairs are independent, so that the first ones may stand for any that are drawn.
    """
    return replace(round_, trained=np.arange(n_checks), n_false=n_false)


def greedy(task: Task, claim: Claim, a: Round, b: Round) -> Round:
    """Return B with its budget of lies spent where they lower <w_A, w> most, on pairs that nobody rechecks.

    The residual of a false pair is made as large as the range allows, against the sign that round A's direction has
    there: the certificate draws it in to the ball, so that no larger lie would do more. Each target has liars of its
    own: bounds are read target by target.
    """
    phi_a, phi_b = (_characters(task, round_) for round_ in (a, b))
    scores = harmonic.coefficients_from_weights(claim.scores, 0.5)
    residual_a, residual_b = (_odd(round_) - phi @ scores.T for round_, phi in ((a, phi_a), (b, phi_b)))
    along = phi_b @ (residual_a.T @ phi_a).T  # (m, T): round A's direction at B's pairs
    radius = 2 * np.abs(residual_a).max(axis=0)
    gain = np.clip(residual_b, -radius, radius) * along + radius * np.abs(along)
    gain[b.trained] = -np.inf
    false = np.argsort(-gain, axis=0)[: b.n_false]
    lo, hi = task.targets.lo, task.targets.hi
    outputs = b.outputs.copy().reshape(b.n_pairs, 2, -1)
    for target in range(task.n_targets):
        chosen = false[:, target]
        up = along[chosen, target] < 0
        outputs[chosen, 0, target] = np.where(up, hi[target], lo[target])
        outputs[chosen, 1, target] = np.where(up, lo[target], hi[target])
    return replace(b, outputs=outputs.reshape(b.outputs.shape))


def _characters(task: Task, round_: Round) -> Float64[np.ndarray, "m n"]:
    members = np.arange(0, round_.draw.n_evaluations, 2, dtype=np.int64)
    return harmonic.characters(round_.draw.subsets(task, members), 0.5)


def _odd(round_: Round) -> Float64[np.ndarray, "m t"]:
    whole = round_.outputs.reshape(round_.n_pairs, 2, -1)
    return np.asarray((whole[:, 0] - whole[:, 1]) / 2)


def cells(subject: Subject, n_runs: int, budget: int, plans: tuple[Plan, ...] = PLANS) -> Iterator[Cell]:
    """Yield every plan's cells: ``n_runs`` runs each, fewer where they would take over ``budget`` evaluations."""
    cases, n_targets = _cases(subject), len(subject.targets)
    task, claim = _side_by_side(subject, cases)
    for plan in plans:
        found: dict[tuple[str, float], list[Float64[np.ndarray, " t"]]] = {}
        for run in range(min(n_runs, budget // (2 * (plan.m_a + plan.m_b)))):
            for key, upper in _bounds(subject, task, claim, plan, run):
                found.setdefault(key, []).append(upper)
        for (certificate, delta), uppers in found.items():
            for column, upper in enumerate(np.array(uppers).T):
                case, target = cases[column // n_targets], column % n_targets
                yield cell_of(
                    upper, float(case.gap[target]), certificate=certificate, kind="finite-sample", design=plan.name,
                    retrainings=2 * (plan.m_a + plan.m_b + plan.n_checks),
                    subject=subject.name + ("" if subject.is_game else f", {subject.targets[target]}"),
                    n_units=subject.n_units, claim=case.name, delta=delta,
                )  # fmt: skip


def _cases(subject: Subject) -> list[Case]:
    """Those with a gap to miss: an honest claim of gap 0 is covered whatever the bound."""
    wanted = ("halved", "random direction" if subject.rare is None else "rare part missing")
    return [case for case in subject.cases() if case.name in wanted]


def _side_by_side(subject: Subject, cases: list[Case]) -> tuple[Task, Claim]:
    """The cases as targets of one task, to be bounded each at delta from one round's subsets, derived once."""
    n, targets = len(cases), subject.task.targets
    task = task_of(subject.n_units, n_targets=n * len(subject.targets))
    task = replace(task, targets=replace(task.targets, lo=np.tile(targets.lo, n), hi=np.tile(targets.hi, n)))
    scores, intercepts = (np.concatenate([getattr(case, name) for case in cases]) for name in ("scores", "intercepts"))
    return task, Claim(task_digest=task.digest, intercepts=intercepts, scores=scores)


def _bounds(
    subject: Subject, task: Task, claim: Claim, plan: Plan, run: int
) -> Iterator[tuple[tuple[str, float], Float64[np.ndarray, " t"]]]:
    """One run's bounds of every case at every delta."""
    first = 2 * run + zlib.crc32(plan.name.encode()) % 1000 * 1_000_000
    a, b = (own_round(subject, m, first + i) for i, m in enumerate((plan.m_a, plan.m_b)))
    copies = task.n_targets // len(subject.targets)
    a, b = (replace(round_, outputs=np.tile(round_.outputs, copies)) for round_ in (a, b))
    for delta in DELTAS:
        spent = delta * task.n_targets  # across every: delta each
        if plan.n_checks == 0:
            yield ("crossfit", delta), certify(task, claim, a, b, delta=spent, across=Across.EVERY).upper
            continue
        n_false = spot_check.most_false(plan.m_b, plan.n_checks, delta * CHECK_SHARE)
        answered, spent = answered_round(b, plan.n_checks, n_false), spent * (1 - CHECK_SHARE)
        for name, round_ in (("", answered), (", greedy lies", greedy(task, claim, a, answered))):
            upper = certify(task, claim, a, round_, delta=spent, across=Across.EVERY).upper
            yield (f"crossfit, answered{name}", delta), upper
