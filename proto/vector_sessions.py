"""Whole sessions of the vectors, their outputs made up; rounds are far fewer than the methods' own minima."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from vector_values import PROVER_KEY, VERIFIER_KEY, contributors_task, made_up_claim, made_up_task, plain, seed_of

from protocol.certificate.moments.plan import pilot_design
from protocol.certificate.registry import method_named
from protocol.certificate.terms import Across, Rounds, Terms
from protocol.certificate.terms import Answers as WhoAnswers
from protocol.commitments import MerkleTree, SigningKey
from protocol.errors import Reason
from protocol.game import Measure
from protocol.game.sampling import Bases, Design, Draw, choose, families, pairs
from protocol.session.effects import Event, Received, Send, Trained
from protocol.session.messages import (
    Aborted,
    Answers,
    Challenge,
    Closing,
    Message,
    Opening,
    Outcome,
    Retrained,
    RoundsChosen,
    Sender,
    answer_leaves,
)
from protocol.session.prover import ProverSession
from protocol.session.transcript import Entry, Transcript, sign_transcript
from protocol.task import SeedPolicy, Task


class Recorder:
    """Both parties of a session in one place, and what their transcript becomes."""

    def __init__(self, task: Task) -> None:
        self.task, self.committed = task, made_up_claim(task)
        self.record = Transcript(task.digest)
        self.steps: list[dict[str, Any]] = []
        self.prover = ProverSession(
            game=task,
            claim=self.committed.claim,
            signed=self.committed.signed,
            key=SigningKey(PROVER_KEY),
            max_evaluations=1000,
        )

    def verifier_says(self, message: Message, *, private: bool = False) -> None:
        """Record what the verifier says; the prover hears it unless it is private, and answers."""
        self._step(Entry(Sender.VERIFIER, message, private))
        if private:
            return
        self._prover_hears(Received(message))

    def prover_trains(self, outputs: np.ndarray) -> None:
        """Let the prover commit to its outputs and send them."""
        self._prover_hears(Trained(outputs))

    def _prover_hears(self, event: Event) -> None:
        for effect in self.prover.handle(event):
            if isinstance(effect, Send):
                self._step(Entry(Sender.PROVER, effect.message))

    def _step(self, entry: Entry) -> None:
        self.record.append(entry)
        message = entry.message
        step = {"sender": entry.sender.value, "private": entry.private, "type": type(message).__name__}
        step["message"] = plain(message)
        if isinstance(message, Challenge):
            self.draw = message.draw
        if isinstance(message, Answers):
            leaves = list(answer_leaves(self.task, self.draw, message.outputs))
            step["leaves"] = [leaf.hex() for leaf in leaves]
            step["path_of_last_leaf"] = [node.hex() for node in MerkleTree(leaves).path(len(leaves) - 1)]
        heads = {"digest": message.digest, "spoken": self.record.spoken, "head": self.record.head}
        self.steps.append(step | {name: head.hex() for name, head in heads.items()})


def sessions() -> list[dict[str, Any]]:
    """Return whole sessions, their outputs made up: SPEC 6 and 7."""
    return [_moments_own(), _moments_delegated(), _crossfit(), _algorithm1(), _exhaustive(), _gaussian(), _aborted()]


def _outputs(task: Task, n: int, salt: int) -> np.ndarray:
    grid = np.arange(n)[:, None] * 7 + np.arange(task.n_targets)[None, :] * 3 + salt
    return np.asarray((grid % 11 - 5) / 4)


def _moments_own() -> dict[str, Any]:
    """A pilot, then two looks drawn along the claim, all of them the verifier's own; more looks are chosen late."""
    task = made_up_task(n_targets=1)
    look = Design(n_families=80, n_siblings=1, keep_16=65535, complements=True, bases=Bases.TILTED)
    more = replace(look, n_families=4)
    first, then = Rounds(looks=(pilot_design(task), look)), Rounds(looks=(pilot_design(task), look, more))
    return _session("moments, own, two looks", task, _terms("moments", WhoAnswers.OWN, kurtosis=6.0), [first, then])


def _moments_delegated() -> dict[str, Any]:
    """The verifier's own pilot, then pairs that the prover answers; whole pairs are rechecked."""
    task = made_up_task()
    rounds = Rounds(looks=(pilot_design(task), pairs(6)), n_checks=4)
    terms = _terms("moments", WhoAnswers.DELEGATED, kurtosis=9.0)
    return _session("moments, delegated", task, terms, [rounds, rounds])


def _crossfit() -> dict[str, Any]:
    """Rounds B and A; of B whole pairs are rechecked, A is the verifier's own."""
    terms = _terms("crossfit", WhoAnswers.DELEGATED, across=Across.MEAN)
    return _session("crossfit, delegated", made_up_task(), terms, [Rounds(looks=(pairs(6), pairs(5)), n_checks=4)])


def _algorithm1() -> dict[str, Any]:
    """Three answered rounds of pairs without complements, and fresh subsets of the verifier's own; far too few."""
    rhos = ((3, 0.25), (4, 0.5), (5, 0.0))
    looks = [families(n_families=n, n_siblings=2, rho=rho, complements=False) for n, rho in rhos]
    fresh = families(n_families=6, n_siblings=1, rho=0.0, complements=False)
    terms = _terms("algorithm1", WhoAnswers.DELEGATED)
    return _session("algorithm1", made_up_task(n_targets=1), terms, [Rounds(looks=(*looks, fresh), n_checks=3)])


def _exhaustive() -> dict[str, Any]:
    """Every subset of three units, twice each, with a seed for every training."""
    task = made_up_task(n_units=3, p_16=20000, seed_policy=SeedPolicy.PER_SUBSET, seed=0)
    every = Design(n_families=8, n_siblings=2, keep_16=0, complements=False, bases=Bases.ALL)
    return _session("exhaustive", task, _terms("exhaustive", WhoAnswers.OWN), [Rounds(looks=(every,))])


def _gaussian() -> dict[str, Any]:
    """A quick look: a pilot, because every training has a seed of its own, then one look at families."""
    task = contributors_task()
    task = replace(task, measure=Measure(p_16=26214))
    look = families(n_families=4, n_siblings=2, rho=0.3, complements=False)
    rounds = Rounds(looks=(pilot_design(task), look))
    terms = _terms("gaussian", WhoAnswers.OWN, across=Across.EVERY)
    return _session("gaussian, with a pilot", task, terms, [rounds, rounds], outcome=Outcome.REJECT)


def _terms(method: str, answers: WhoAnswers, *, across: Across = Across.POOLED, kurtosis: float | None = None) -> Terms:
    return Terms(epsilon=0.05, delta=0.01, across=across, answers=answers, method=method, kurtosis=kurtosis)


def _session(
    name: str, task: Task, terms: Terms, choices: list[Rounds], outcome: Outcome = Outcome.INCONCLUSIVE
) -> dict[str, Any]:
    """Every round of the last of ``choices``, which are made before the first round, the second, and so on."""
    session, method = Recorder(task), method_named(terms.method)
    session.verifier_says(Opening(version=1, nonce=seed_of(f"nonce of {name}")[:16], task_digest=task.digest))
    for number, look in enumerate(choices[-1].looks):
        if number < len(choices):
            session.verifier_says(RoundsChosen(rounds=choices[number]), private=True)
        draw = Draw(seed=seed_of(f"challenge {number}"), design=look)
        challenge, outputs = Challenge(round=number, draw=draw), _made_up_outputs(task, look.n_evaluations, number)
        if method.is_answered(terms, number):
            _answered(session, challenge, outputs, method.check_size(look), choices[-1].n_checks)
        else:
            _trained_here(session, challenge, outputs)
    session.verifier_says(Closing(outcome=outcome, reason="the outputs are made up"))
    return _session_json(name, session, terms)


def _made_up_outputs(task: Task, n: int, salt: int) -> np.ndarray:
    """Within every target's range."""
    return np.asarray(np.clip(_outputs(task, n, salt), task.lo, task.hi))


def _answered(session: Recorder, challenge: Challenge, outputs: np.ndarray, size: int, n_checks: int) -> None:
    """The prover answers a round, and ``size`` answers at a time are rechecked."""
    session.verifier_says(challenge)
    session.prover_trains(outputs)
    check_seed = seed_of(f"spot check {challenge.round}")
    members = choose(check_seed, len(outputs) // size, n_checks)
    chosen = (size * members[:, None] + np.arange(size)).ravel()
    checked = Retrained(round=challenge.round, check_seed=check_seed, evaluations=chosen, outputs=outputs[chosen])
    session.verifier_says(checked, private=True)


def _trained_here(session: Recorder, challenge: Challenge, outputs: np.ndarray) -> None:
    """The verifier trains a round itself and says nothing of it."""
    session.verifier_says(challenge, private=True)
    everything = np.arange(len(outputs), dtype=np.int64)
    own = Retrained(round=challenge.round, check_seed=None, evaluations=everything, outputs=outputs)
    session.verifier_says(own, private=True)


def _aborted() -> dict[str, Any]:
    """The verifier leaves after the challenge."""
    task = made_up_task()
    rounds = Rounds(looks=(pairs(2), pairs(2)), n_checks=1)
    session = Recorder(task)
    session.verifier_says(Opening(version=1, nonce=bytes(range(16, 32)), task_digest=task.digest))
    session.verifier_says(RoundsChosen(rounds=rounds), private=True)
    session.verifier_says(Challenge(round=0, draw=Draw(seed=seed_of("no answer"), design=pairs(2))))
    session.verifier_says(Aborted(reason=Reason.FAILED, text="no answer in time: é\n\tgave up"))
    return _session_json("aborted after the challenge", session, _terms("crossfit", WhoAnswers.DELEGATED))


def _session_json(name: str, session: Recorder, terms: Terms) -> dict[str, Any]:
    signed = sign_transcript(session.task, terms, session.record, SigningKey(VERIFIER_KEY))
    return {
        "name": name,
        "task": plain(session.task),
        "first_head": Transcript(session.task.digest).head.hex(),
        "entries": session.steps,
        "terms": plain(terms),
        "terms_digest": terms.digest.hex(),
        "private_key": VERIFIER_KEY.hex(),
        "public_key": signed.public_key.raw.hex(),
        "signed_digest": signed.digest_of(terms, session.record.head).hex(),
        "signature": signed.signature.hex(),
    }
