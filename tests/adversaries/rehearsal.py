"""The verifier's own judge, run by a prover on its own coins: what a verdict will be, as far as it can be known."""

from __future__ import annotations

import numpy as np

from protocol.certificate import spot_check
from protocol.certificate.method import Answered, Certificate, Judge
from protocol.certificate.registry import method_named
from protocol.certificate.spot_check import SpotCheck
from protocol.certificate.terms import Rounds
from protocol.claim import Claim
from protocol.encoding import SEED_BYTES, Seed
from protocol.game.sampling import Draw, choose
from tests.adversaries.cheat import Scene


def after_pilot(claim: Claim, rounds: Rounds, scene: Scene) -> Judge:
    """Return a judge of ``claim`` that has taken a pilot: not the verifier's, but one drawn like it."""
    judge = method_named(scene.terms.method).judge(scene.task, claim, scene.terms, rounds)
    draw = Draw(seed=Seed(scene.rng.bytes(SEED_BYTES)), design=rounds.looks[0])
    everything = np.arange(draw.n_evaluations, dtype=np.int64)
    outputs = scene.trained(draw, scene.outputs)
    judge.take(Answered(draw=draw, outputs=outputs, trained=everything, spot_check=None))
    return judge


def certificate(claim: Claim, rounds: Rounds, draw: Draw, outputs: np.ndarray, scene: Scene) -> Certificate:
    """Return a certificate of these answers to ``draw``, on a pilot and clean checks of the prover's own guess."""
    method, terms = method_named(scene.terms.method), scene.terms
    size, delta = method.check_size(draw.design), method.check_delta(terms, rounds)
    n_answers = draw.n_evaluations // size
    chosen = choose(Seed(scene.rng.bytes(SEED_BYTES)), n_answers, rounds.n_checks)
    clean = SpotCheck(
        n_answers=n_answers, n_checked=rounds.n_checks, delta=delta, mismatches=(), largest_difference=0.0,
        most_false=spot_check.most_false(n_answers, rounds.n_checks, delta),
    )  # fmt: skip
    trained = (size * chosen[:, None] + np.arange(size)).ravel()
    found = after_pilot(claim, rounds, scene).take(
        Answered(draw=draw, outputs=outputs, trained=trained, spot_check=clean)
    )
    if found is None:
        raise ValueError("expected a method whose last round is the one that is answered")
    return found
