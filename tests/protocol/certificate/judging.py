"""Games of closed form judged round by round through a method, without a session: what a judge is given, it gets here.

Who answers is simulated, too: a prover's answers may be replaced, and are checked as a session checks them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from protocol.certificate import spot_check
from protocol.certificate.method import Answered, Certificate, Judge, Method
from protocol.certificate.planning import Budget, Plan, Seen
from protocol.certificate.terms import Across, Answers, Rounds, Terms
from protocol.claim import Claim, Figures
from protocol.encoding import Seed, digest
from protocol.game import Statement, harmonic
from protocol.game.known import Known, statement_of
from protocol.game.sampling import Design, Draw, choose
from protocol.game.tilting import Tilts

GOOD = Figures(relative_gap=0.0, odd_residual=0.03, r2=0.9, n_retrainings=0)

Lie = Callable[[np.ndarray], np.ndarray]
"""A prover's outputs, shape (m, T), to what it answers."""


@dataclass(frozen=True, kw_only=True)
class Played:
    """A known game with its statement; each training's own noise is uniform, of standard deviation ``noise``."""

    known: Known
    statement: Statement
    noise: float = 0.0

    def claim(self, factor: float = 1.0) -> Claim:
        """The best scores times ``factor``, with an intercept that fits about the middle."""
        scores = factor * self.known.best
        return Claim(
            task_digest=self.statement.digest, intercepts=-self.known.p * scores.sum(axis=1), scores=scores.copy()
        )

    def gap(self, claim: Claim) -> np.ndarray:
        """The claim's gap, target by target."""
        return np.asarray(harmonic.gap(claim.scores, self.known.best, self.known.p))

    def outputs(self, draw: Draw) -> np.ndarray:
        """All evaluations of a draw, clipped into the ranges."""
        every = np.arange(draw.n_evaluations)
        values = self.known.outputs(draw.subsets(self.statement, every))
        if self.noise:
            uniform = draw.training_seeds(self.statement, every) * 2.0**-63
            values = values + self.noise * np.sqrt(12) * (uniform - 0.5)[:, None]
        return np.clip(values, self.statement.lo, self.statement.hi)


def played(
    known: Known, *, n_targets: int = 1, noise: float = 0.0, bound: float | None = None, tolerance: float = 0.0
) -> Played:
    """A game with room for its noise; every subset has a seed of its own where there is some."""
    reach = (known.largest if bound is None else bound) + 2 * noise
    statement = statement_of(known, n_targets=n_targets, bound=reach, tolerance=tolerance, per_subset=noise > 0)
    return Played(known=known, statement=statement, noise=noise)


def terms_of(
    method: Method, *, epsilon: float = 0.05, delta: float = 0.05, across: Across | None = None,
    answers: Answers | None = None,
) -> Terms:  # fmt: skip
    """Terms of the method's first way of answering and across, unless others are asked for."""
    return Terms(
        epsilon=epsilon, delta=delta, across=across or method.across[0], answers=answers or method.answers[0],
        method=method.name,
    )  # fmt: skip


def planned(
    method: Method, game: Played, terms: Terms, budget: Budget, *, claim: Claim | None = None, seen: Seen | None = None
) -> Plan:
    """The method's plan, whose rounds the method takes."""
    method.check_terms(game.statement, terms)
    found = method.plan(game.statement, claim or game.claim(), GOOD, terms, budget, seen)
    method.check_rounds(game.statement, terms, found.rounds)
    return found


def seed_of(*words: str | int) -> Seed:
    """A seed for every occasion."""
    return Seed(digest("judging", *words))


def answered(
    method: Method, game: Played, claim: Claim, terms: Terms, rounds: Rounds, round_: int, run: int, lie: Lie | None
) -> Answered:
    """One round: answered and checked where a prover answers it, else trained."""
    look = rounds.looks[round_]
    along = Tilts(claim.scores) if look.bases.value == "tilted" else None
    draw = Draw(seed=seed_of("challenge", run, round_), design=look, along=along)
    true, every = game.outputs(draw), np.arange(draw.n_evaluations)
    if not method.is_answered(terms, round_):
        return Answered(draw=draw, outputs=true, trained=every, spot_check=None)
    size = method.check_size(look)
    drawn = choose(seed_of("check", run, round_), draw.n_evaluations // size, rounds.n_checks)
    checked = (drawn[:, None] * size + np.arange(size)).ravel()
    said = true if lie is None else lie(true)
    check = spot_check.compare(
        evaluations=checked, answered=said[checked], retrained=true[checked], tolerance=game.statement.tolerance,
        n_answers=draw.n_evaluations, delta=method.check_delta(terms, rounds), size=size,
    )  # fmt: skip
    merged = said.copy()
    merged[checked] = true[checked]
    return Answered(draw=draw, outputs=merged, trained=checked, spot_check=check)


def judged(
    method: Method, game: Played, terms: Terms, rounds: Rounds, *, claim: Claim | None = None, run: int = 0,
    lie: Lie | None = None, judge: Judge | None = None,
) -> list[Certificate | None]:  # fmt: skip
    """What the method's judge says after each round."""
    claim = claim or game.claim()
    judge = judge or method.judge(game.statement, claim, terms, rounds)
    return [
        judge.take(answered(method, game, claim, terms, rounds, round_, run, lie))
        for round_ in range(len(rounds.looks))
    ]


def last(found: list[Certificate | None]) -> Certificate:
    """The last certificate, which there must be."""
    assert found[-1] is not None
    return found[-1]


def assert_reportable(found: Certificate, game: Played) -> None:
    """Parts have a name and a value each, values are numbers that a report can hold, and notes are lines."""
    parts = found.parts(game.statement)
    assert all(name and value for name, value, _ in parts)
    assert len({name for name, _, _ in parts}) == len(parts)
    for value in found.values().values():
        assert not isinstance(value, float) or np.isfinite(value)
    assert all("\n" not in note for note in found.notes())


def with_look(rounds: Rounds, at: int, **changes: object) -> Rounds:
    """The same rounds, one look's design changed."""
    looks: list[Design] = list(rounds.looks)
    looks[at] = replace(looks[at], **changes)  # type: ignore[arg-type]
    return replace(rounds, looks=tuple(looks))
