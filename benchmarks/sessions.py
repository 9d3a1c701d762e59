"""Whole sessions in one process: both parties' own objects, the real planner, the truth in the place of training.

Owns one subject (a game, an honest claim, what its prover says of it, and how outputs are made), how one session about
it ended, and rates. Refuses to know certificates: a session is asked for in the words of the command. Entropy comes
from a seed, so that every session can be repeated.

Letters: m subsets, N units, T targets.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64

from benchmarks.in_memory import LARGEST_NOISE, InMemory, committed, gaussian_of
from benchmarks.tables import Rate
from protocol.certificate.planning import Plan
from protocol.certificate.terms import Answers, Rounds
from protocol.claim import Claim, Figures
from protocol.game import Game, SeedPolicy
from protocol.game.known import OneTarget
from protocol.session.effects import ChooseRounds, Train
from protocol.session.messages import Outcome
from protocol.session.verdict import Verdict
from protocol.session.verifier import VerifierSession
from protocol.task import Task
from protocol.training import Trainer, load
from tests.games import task_of
from verifier import loop
from verifier.loop import OnProgress
from verifier.offline import read_claim
from verifier.verification import Asked

TOLERANCE = 1e-9
"""Of games: two products of one subset in batches of different sizes round differently."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A game, an honest claim about it, and the truth.

    figures : what the prover says of its claim, also of one that it has changed.
    outputs : from subsets (m, N) and training seeds (m,) to outputs (m, T); sessions clip them to the range.
    """

    name: str
    game: Task
    claim: Claim
    figures: Figures
    outputs: Callable[[Bool[np.ndarray, "m n"], Int64[np.ndarray, " m"]], Float64[np.ndarray, "m t"]]

    def scaled(self, factor: float) -> Subject:
        """Return the same with scores that are so many times the honest ones; intercepts are in no bound."""
        claim = Claim(
            task_digest=self.claim.task_digest, intercepts=self.claim.intercepts, scores=factor * self.claim.scores
        )
        return replace(self, name=f"{self.name} x {factor:g}", claim=claim)

    def trained(self, train: Train) -> Float64[np.ndarray, "k t"]:
        """Return the outputs that a session asks for, clipped."""
        draw, evaluations = train.draw, train.evaluations
        values = self.outputs(draw.subsets(self.game, evaluations), draw.training_seeds(self.game, evaluations))
        return np.asarray(np.clip(values, self.game.lo, self.game.hi))


@dataclass(frozen=True, kw_only=True, eq=False)
class Met:
    """How one session ended.

    n_retrained, n_answered : trainings by the verifier and by the prover. plans : every plan that was made, in order.
    """

    verdict: Verdict
    n_retrained: int
    n_answered: int
    plans: tuple[Plan, ...]

    @property
    def outcome(self) -> Outcome:
        """The verdict's."""
        return self.verdict.outcome

    @property
    def plan(self) -> Plan:
        """The one that the session ended with."""
        return self.plans[-1]

    @property
    def upper(self) -> float:
        """The bound on the gap; infinite where there is none."""
        return float("inf") if self.verdict.certificate is None else self.verdict.certificate.upper_bound


def play(subject: Subject, asked: Asked, seed: int) -> Met:
    """Return how one session ended; the same arguments give the same session."""
    plans: list[Plan] = []

    def choose(event: ChooseRounds) -> Rounds:
        plans.append(asked.plan(subject.game, event.figures, event.claim, seen=event.seen))
        return plans[-1].rounds

    def retrain(train: Train, on_progress: OnProgress) -> Float64[np.ndarray, "k t"]:
        return subject.trained(train)

    claim = committed(subject.game, subject.claim, subject.figures)
    prover = InMemory.of(subject.game, claim, subject.trained, asked.max_answers)
    session = VerifierSession(game=subject.game, terms=asked.terms(subject.game))
    verdict = loop.run(session, prover, choose, retrain, entropy=np.random.default_rng(seed).bytes)
    return Met(verdict=verdict, n_retrained=verdict.n_retrainings, n_answered=prover.n_trained, plans=tuple(plans))


def rate_of(met: list[Met], outcome: Outcome) -> Rate:
    """Return how many of these sessions ended so."""
    return Rate(hits=sum(each.outcome is outcome for each in met), runs=len(met))


def is_delegated(asked: Asked, game: Game) -> bool:
    """Whether the prover answers."""
    return asked.terms(game).answers is Answers.DELEGATED


# ------------------------------------------------------------------------------------------------ games


def of_known(name: str, game: OneTarget, *, noise: float = 0.0, figures: Figures, half_range: float = 0.0) -> Subject:
    """Return a game with closed-form answers and its best claim.

    Parameters
    ----------
    noise : variance that a training seed adds, Gaussian; above 0 every evaluation has a seed of its own.
    half_range : half the target's range; by default wide enough never to clip.
    """
    sd, best = noise**0.5, game.best
    bound = half_range or game.largest * (1 + 1e-9) + LARGEST_NOISE * sd
    task = task_of(game.n_units, p=game.p, bound=bound, tolerance=TOLERANCE)
    if noise > 0:
        task = replace(task, seed_policy=SeedPolicy.PER_SUBSET)

    def outputs(subsets: Bool[np.ndarray, "m n"], seeds: Int64[np.ndarray, " m"]) -> Float64[np.ndarray, "m 1"]:
        values = game.outputs(subsets)
        return np.asarray(values + sd * gaussian_of(seeds)[:, None]) if noise > 0 else values

    claim = Claim(task_digest=task.digest, intercepts=-game.p * best.sum(axis=1), scores=best.copy())
    return Subject(name=name, game=task, claim=claim, figures=figures, outputs=outputs)


# ------------------------------------------------------------------------------------------------ digits


def prover_command(folder: Path, *arguments: str) -> None:
    """Run one of the prover's own commands in ``folder`` to its end, or raise."""
    command = [sys.executable, "-c", "from prover.cli import main; main()", *arguments]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def demo_digits(claim_file: Path | None = None) -> Subject:
    """Return the digits task and claim of ``make demo``: the prover's own defaults, 1,000 units and 200 targets.

    claim_file : one that ``prover export`` wrote; by default the commands are run here, which takes about ten seconds
        of processor time.
    """
    if claim_file is not None:
        return _subject_of(claim_file)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prover_command(folder, "init", "--data", "sklearn:digits", "--out", "task.toml")
        prover_command(folder, "train", "task.toml", "--store", "store")
        prover_command(folder, "export", "--store", "store", "--claim", "digits.claim")
        return _subject_of(folder / "digits.claim")


def _subject_of(claim_file: Path) -> Subject:
    task, read = read_claim(claim_file)
    trainer = Trainer(task, load(task))
    return Subject(
        name=re.sub(r"^sklearn:", "", task.data.source), game=task, claim=read.claim,
        figures=read.signed.figures, outputs=lambda subsets, seeds: trainer.outputs(subsets, seeds).values,
    )  # fmt: skip
