"""What a cheat is: which of the prover's words it replaces, what it has at hand, what stops it and how it ends.

A cheat overrides some of four moments and is honest in the rest:

    claim     the scores that are committed to
    figures   what it says of its claim, from which the verifier plans
    answers   the outputs that are given for a challenge
    said      a whole message, on its way out (order, replay, silence)

Rules: a cheat knows everything that a prover can know (the true function, the claim's quality, the verifier's terms,
budget and code), and never the verifier's entropy before the verifier has spent it. ``Scene.leaked`` is empty as built;
the mutation tests fill it to show what the order of messages is for.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np

from protocol.certificate.planning import Budget
from protocol.certificate.terms import Answers as Who
from protocol.certificate.terms import Rounds, Terms
from protocol.claim import Claim, Figures
from protocol.commitments import MerkleTree, SigningKey
from protocol.game.sampling import Draw
from protocol.session.messages import Answers, Message, Outcome, answer_leaves
from protocol.session.transcript import Transcript
from protocol.task import Task

Outputs: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(subsets (m, N) bool, training seeds (m,) int64) -> outputs (m, T) float64, clipped into the targets' ranges."""

Made = TypeVar("Made")


class Defence(enum.Enum):
    """What stops a lie: the verifier's numbered checks (proto/SPEC.md, section 8) and the order of messages."""

    CLAIM_FIRST = "the challenge is drawn after the claim is in (THEORY 8)"
    VALUES = "a message is validated when it is made"
    V1 = "the claim comes in order"
    V2 = "the claim is by the prover that was named"
    V3 = "the claim is about this task, a score for every unit and target"
    V4 = "the claim's signature"
    V5 = "the claim's Merkle root"
    V6 = "the answers come in order"
    V7 = "an answer for every evaluation of this round"
    V8 = "every answer within its target's range"
    V9 = "the answers' Merkle root"
    V10 = "the answers' signature, over this session"
    V11 = "spot checks, drawn after the answers are in"
    V12 = "the upper bound on the gap"
    V13 = "the lower bound on the gap"
    EXPECTED = "figures say what to expect, and no bound reads them"
    PILOT = "targets are weighted by the verifier's own pilot, never by the claim or by answers"
    TILTED = "some subsets are drawn along the claim, where it errs if it is tangent to f"
    ALLOWANCE = "the bound's price for answers off by the tolerance"
    PRICED = "the bound's room for as many false pairs as clean checks leave possible"
    LEAVING = "leaving after the challenge fails the run (THEORY 8)"
    DERIVED = "numbers, subsets and seeds are derived from the verifier's own challenge"
    COMPARED = "verifiers compare the claims that they were shown"
    COUNTED = "every session is filed, and spends a delta of its own"


@dataclass(frozen=True, kw_only=True)
class Fate:
    """How a cheat ends, on terms that accept the honest prover.

    who : trains when it is to be met; a false answer is no lie where none is asked for.
    outcome : what the verdict is in every run.
    reason : regular expression that the verdict's first reason matches.
    """

    who: Who
    outcome: Outcome
    reason: str


GAP_FOUND = Fate(who=Who.OWN, outcome=Outcome.REJECT, reason=r"^pooled relative gap is at least")
NOT_SHOWN = Fate(
    who=Who.OWN,
    outcome=Outcome.INCONCLUSIVE,
    reason=r"^pooled relative gap is between|^the claim explains nothing",
)
"""The bound from below looks along the claim alone; what errs in other directions is never accepted, nor rejected."""

FALSE_ANSWERS = Fate(who=Who.DELEGATED, outcome=Outcome.REJECT, reason=r"^\d+ of \d+ rechecked answers are false")


def broken_protocol(reason: str, who: Who = Who.DELEGATED) -> Fate:
    """Return the fate of a message that no honest party sends; ``reason`` is a regular expression."""
    return Fate(who=who, outcome=Outcome.REJECT, reason=reason)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """What a prover has at hand.

    outputs : the true function; calling it is honest work.
    elsewhere : the same recipe on another training set of the same size.
    cut_short : the same recipe stopped before it is done, or a cheaper one.
    stale : an honest claim about the other training set.
    variance : shape (T,); Var f.
    favourite : shape (K,); the units of the contributor that a cheat favours.
    terms, budget : what the verifier asks for and may spend. A prover is told neither; a cheat guesses right.
    rounds : the verifier's, where a test chooses them in the planner's place; else None.
    leaked : every round's challenge before the claim is made; empty unless the order is broken.
    rng : the prover's own coins.
    """

    task: Task
    key: SigningKey
    outputs: Outputs
    elsewhere: Outputs
    cut_short: Outputs
    stale: Callable[[], Claim]
    variance: np.ndarray
    favourite: np.ndarray
    terms: Terms
    budget: Budget
    rng: np.random.Generator
    rounds: Rounds | None = None
    leaked: tuple[Draw, ...] = ()

    @property
    def n_checks(self) -> int:
        """How many pairs of the prover's answers the verifier rechecks, by its rounds or its budget."""
        known = self.budget.n_checks if self.rounds is None else self.rounds.n_checks
        if known is None:
            raise ValueError("expected rounds, or a budget that fixes the checks; the planner's choice is unknown")
        return known

    def moved(self, honest: Claim, direction: np.ndarray, relative_gap: float) -> Claim:
        """Return ``honest`` moved along ``direction`` (T, N) by as much as costs each target ``relative_gap``.

        gap = p (1-p) |change|^2 (THEORY 1), on top of what the honest claim gives away already.
        """
        square = self.task.measure.p * (1 - self.task.measure.p) * (direction**2).sum(axis=1)
        step = np.sqrt(relative_gap * self.variance / square)
        return replace(honest, scores=honest.scores + step[:, None] * direction)

    def clipped(self, outputs: np.ndarray) -> np.ndarray:
        """Return ``outputs`` clipped into the targets' ranges, as answers must be."""
        return np.asarray(np.clip(outputs, self.task.lo, self.task.hi))

    def trained(self, draw: Draw, outputs: Outputs, seeds_off_by: int = 0) -> np.ndarray:
        """Return what ``outputs`` gives for every evaluation of ``draw``, in order."""
        everything = np.arange(draw.n_evaluations, dtype=np.int64)
        seeds = draw.training_seeds(self.task, everything) + seeds_off_by
        return self.clipped(outputs(draw.subsets(self.task, everything), seeds))


class Cheat:
    """A prover that is honest but for what a subclass overrides.

    ``name`` is the lie; ``stopped_by`` what stops it, the first to do so first; ``fate`` how it ends.
    """

    name: ClassVar[str]
    stopped_by: ClassVar[tuple[Defence, ...]]
    fate: ClassVar[Fate]

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        """Return what is claimed."""
        return honest

    def figures(self, honest: Figures, claim: Claim, scene: Scene) -> Figures:
        """Return what is said of ``claim``, when an honest prover would say ``honest`` of its own."""
        return honest

    def answers(self, draw: Draw, honest: np.ndarray, claim: Claim, scene: Scene) -> np.ndarray:
        """Return what is answered, when the truth is ``honest`` (m, T) and ``claim`` was committed to."""
        return honest

    def said(self, message: Message, draw: Draw | None, heard: Transcript, scene: Scene) -> Message | None:
        """Return what is sent in place of ``message``, or None to fall silent.

        draw : the challenge to which ``message`` replies, None before there is one.
        heard : all that was said before.
        """
        return message


class Honest(Cheat):
    """No cheat at all: what every other is measured against."""

    name = "honest"
    stopped_by = ()
    fate = Fate(who=Who.OWN, outcome=Outcome.ACCEPT, reason=r"^pooled relative gap is at most")


HONEST = Honest()


def unchecked(of: type[Made], **fields: Any) -> Made:
    """Return a value of a frozen dataclass that was never validated, as a stranger's bytes may spell it."""
    value = object.__new__(of)
    for name, given in fields.items():
        object.__setattr__(value, name, given)
    return value


def answers_over(
    *, task: Task, key: SigningKey, draw: Draw, round_: int, outputs: np.ndarray, heard: Transcript
) -> Answers:
    """Return ``outputs`` committed and signed as the prover's session does, whatever they are."""
    root = MerkleTree(answer_leaves(task, draw, outputs)).root
    signature = key.sign(Answers.digest_of(heard.spoken, round_, root))
    return unchecked(Answers, round=round_, outputs=outputs, root=root, signature=signature)


def predicted(task: Task, claim: Claim, draw: Draw) -> np.ndarray:
    """Return the claim's prediction of every evaluation of ``draw``; shape (m, T)."""
    subsets = draw.subsets(task, np.arange(draw.n_evaluations, dtype=np.int64))
    return np.asarray(claim.intercepts + subsets @ claim.scores.T)
