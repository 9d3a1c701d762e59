"""With its defences switched off every cheat of one session is accepted, and with them it is not: one row a cheat.

The worlds and terms are the same with and without, and accept the honest prover. Cheats whose defence takes more than
a line to switch off have tests of their own (``test_defences``); a cheat in neither fails the last test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest

from protocol.certificate import readings
from protocol.certificate.terms import Terms
from protocol.sampling import Draw
from protocol.session import verifier
from protocol.session.messages import Outcome, SignedClaim
from protocol.session.verifier import VerifierSession
from tests.adversaries import registry
from tests.adversaries.cheat import HONEST, Cheat
from tests.adversaries.duplicated_answers import DuplicatedAnswers
from tests.adversaries.not_finite_scores import NotFiniteScores
from tests.adversaries.terms import terms
from tests.adversaries.weakened import (
    WITHIN_EPSILON,
    believes_the_claim,
    rewrite_certify,
    sees_nothing,
    takes_noise_off,
    without,
)
from tests.games import Polynomial
from tests.journeys.in_memory import Journey, meet
from tests.journeys.worlds import World, of_game

pytestmark = pytest.mark.usefixtures("unchecked_shapes")

SEED = 5

Weaken: TypeAlias = Callable[[pytest.MonkeyPatch], type[VerifierSession]]


@pytest.fixture(scope="module")
def world() -> World:
    """With seed noise, so that a wrong seed is a lie; ranges wide enough to lie in."""
    return of_game(Polynomial(n_units=64, w1=0.93, w2=0.055, w3=0.015), n_targets=1, noise=0.005, width=6.0)


def asked_of(cheat: Cheat) -> Terms:
    return terms(cheat.fate.assurance)


def met(world: World, cheat: Cheat, weakened: Callable[..., VerifierSession] = VerifierSession) -> Journey:
    return meet(world, asked_of(cheat), cheat, seed=SEED, verifier=weakened)


def takes_any_root(monkeypatch: pytest.MonkeyPatch) -> type[VerifierSession]:
    monkeypatch.setattr(SignedClaim, "check_covers", lambda self, claim: None)
    return VerifierSession


def takes_any_signature(monkeypatch: pytest.MonkeyPatch) -> type[VerifierSession]:
    monkeypatch.setattr(SignedClaim, "check_signature", lambda self: None)
    return VerifierSession


def takes_any_task(monkeypatch: pytest.MonkeyPatch) -> type[VerifierSession]:
    monkeypatch.setattr(verifier, "check_shapes", lambda task, claim: None)
    return VerifierSession


def takes_any_outputs(_: pytest.MonkeyPatch) -> type[VerifierSession]:
    return without("_take_answers", "MerkleTree(answer_leaves(self._task, draw, answers.outputs)).root != answers.root")


def sees_noise_and_takes_it_off(monkeypatch: pytest.MonkeyPatch) -> type[VerifierSession]:
    takes_noise_off(monkeypatch)
    return sees_nothing(monkeypatch)


def sees_no_copies(monkeypatch: pytest.MonkeyPatch) -> type[VerifierSession]:
    believes = believes_the_claim(monkeypatch)
    sees_nothing(monkeypatch)
    return believes


OFF: dict[str, Weaken] = {
    **{cheat.name: believes_the_claim for cheat in registry.CLAIMS if cheat.name != "not-finite-scores"},
    "copied-answers": sees_no_copies,
    "mirrored-answers": sees_nothing,
    "false-fraction": sees_nothing,
    "surrogate-answers": sees_nothing,
    "cut-short": sees_nothing,
    "another-dataset": sees_nothing,
    "wrong-seed": sees_nothing,
    "greedy-answers": sees_nothing,
    "cancelled-outliers": sees_noise_and_takes_it_off,
    "swapped-answers": sees_nothing,
    "permuted-answers": sees_nothing,
    "another-task": takes_any_task,
    "borrowed-name": takes_any_signature,
    "two-faced": takes_any_root,
    "changed-answers": takes_any_outputs,
}
"""What is switched off, by the cheat that then wins."""

ELSEWHERE = {
    "not-finite-scores", "duplicated-answers", "wrong-shape",  # below
    "greedy-pairs",  # test_crossfit_cheats
    "inflated-noise", "drift-by-tolerance", "nan-answers", "out-of-range-answers", "too-few-answers",
    "too-many-answers", "another-key", "second-thoughts", "replayed", "leaves-when-unlucky",  # test_defences
}  # fmt: skip


@pytest.mark.parametrize("name", OFF)
def test_with_its_defence_switched_off_a_cheat_wins(world: World, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cheat = registry.BY_NAME[name]
    assert met(world, cheat).verdict.outcome is Outcome.REJECT
    assert met(world, cheat, OFF[name](monkeypatch)).verdict.outcome is Outcome.ACCEPT


@pytest.mark.parametrize("assurance", ["proved", "audited"])
def test_the_honest_prover_is_accepted_on_these_terms(world: World, assurance: str) -> None:
    asked = {cheat.fate.assurance.value: asked_of(cheat) for cheat in registry.ALL}[assurance]
    assert meet(world, asked, HONEST, seed=SEED).verdict.outcome is Outcome.ACCEPT


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_scores_that_are_no_numbers_have_three_checks_to_pass(
    world: World, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are no message; where Var f is no number the bound is infinite; and a bound that is none is not within."""
    cheat = NotFiniteScores(value)
    assert met(world, cheat).verdict.outcome is Outcome.REJECT

    def outcome(weakened: type[VerifierSession]) -> Outcome:
        with np.errstate(invalid="ignore"):
            return meet(
                world, asked_of(cheat), cheat, seed=SEED, verifier=weakened, deliver=lambda message: message
            ).verdict.outcome

    turned_round = without("_decide", WITHIN_EPSILON, "not certificate.upper_bound > epsilon")
    assert outcome(turned_round) is Outcome.INCONCLUSIVE
    rewrite_certify(
        monkeypatch, "upper=np.where(undefined, np.inf, upper)", "upper=rows.factor * (rows.msb - rows.msw)"
    )
    assert outcome(VerifierSession) is Outcome.INCONCLUSIVE
    assert outcome(turned_round) is Outcome.ACCEPT


def test_a_prover_that_may_say_what_it_answered_answers_its_best_family_again_and_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verifier that takes evaluation numbers from the prover, and recomputes everything else from them."""
    cheat, told = DuplicatedAnswers(), []

    class Tells(DuplicatedAnswers):
        def answers(self, draw, honest, claim, scene):  # type: ignore[no-untyped-def]
            told.append(self.answered(draw, honest, claim, scene))
            return honest[told[0]]

    assert met(world, cheat).verdict.outcome is Outcome.REJECT
    for name in ("subsets", "training_seeds"):
        derived = getattr(Draw, name)

        def taken(self, task, evaluations, derived=derived):  # type: ignore[no-untyped-def]
            return derived(self, task, told[0][evaluations] if told else evaluations)

        monkeypatch.setattr(Draw, name, taken)
    assert met(world, Tells()).verdict.outcome is Outcome.ACCEPT


def test_without_the_check_of_shape_a_short_claim_brings_the_verifier_down(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheat = registry.BY_NAME["wrong-shape"]
    assert met(world, cheat).verdict.outcome is Outcome.REJECT
    monkeypatch.setattr(verifier, "check_shapes", lambda task, claim: None)
    monkeypatch.setattr(readings, "check_shapes", lambda task, claim: None)
    with pytest.raises(ValueError, match="matmul"):
        met(world, cheat)


def test_every_cheat_of_one_session_has_its_defence_switched_off_somewhere() -> None:
    assert set(OFF) | ELSEWHERE == {cheat.name for cheat in registry.ALL}
    assert not set(OFF) & ELSEWHERE
