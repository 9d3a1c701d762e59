"""With its defences switched off every cheat of one session is accepted, and with them it is not: one row a cheat.

The worlds and terms are the same with and without, and accept the honest prover. Cheats whose defence takes more than
a line to switch off have tests of their own (``test_defences``); a cheat in neither fails the last test.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest

from protocol.certificate import readings
from protocol.certificate.terms import Answers
from protocol.errors import AttributionProofsError, InternalError
from protocol.game.known import Polynomial
from protocol.game.sampling import Draw
from protocol.session import messages, verifier
from protocol.session.messages import Outcome, SignedClaim
from protocol.session.verifier import VerifierSession
from tests.adversaries import registry
from tests.adversaries.cheat import HONEST, Cheat
from tests.adversaries.duplicated_answers import DuplicatedAnswers
from tests.adversaries.not_finite_scores import NotFiniteScores
from tests.adversaries.terms import delegated_rounds, own_rounds, quick
from tests.adversaries.weakened import (
    believes_the_claim,
    sees_nothing,
    takes_the_pilot_for_var_f,
    without,
)
from tests.journeys.in_memory import Journey, meet
from tests.journeys.worlds import World, of_game

pytestmark = pytest.mark.usefixtures("unchecked_shapes")

SEED = 5

Weaken: TypeAlias = Callable[[pytest.MonkeyPatch], type[VerifierSession]]


@pytest.fixture(scope="module")
def world() -> World:
    """With seed noise, so that a wrong seed is a lie; ranges wide enough to lie in."""
    return of_game(Polynomial(n_units=64, w1=0.93, w2=0.065, w3=0.005), n_targets=1, noise=0.005, width=6.0)


def met(
    world: World,
    cheat: Cheat,
    weakened: Callable[..., VerifierSession] = VerifierSession,
    deliver: Callable[[messages.Message], messages.Message] | None = None,
) -> Journey:
    """A session in which the certificate looks once, and a quarter of the answers that are asked for is rechecked."""
    who, task = cheat.fate.who, world.task
    rounds = own_rounds(task, 150) if who is Answers.OWN else delegated_rounds(task, 400, 100)
    options = {} if deliver is None else {"deliver": deliver}
    return meet(world, quick(who), cheat, seed=SEED, rounds=rounds, verifier=weakened, **options)


def takes_any_root(monkeypatch: pytest.MonkeyPatch) -> type[VerifierSession]:
    monkeypatch.setattr(SignedClaim, "check_covers", lambda self, claim: None)
    return VerifierSession


def takes_any_signature(monkeypatch: pytest.MonkeyPatch) -> type[VerifierSession]:
    monkeypatch.setattr(SignedClaim, "check_signature", lambda self: None)
    return VerifierSession


def takes_any_task(monkeypatch: pytest.MonkeyPatch) -> type[VerifierSession]:
    monkeypatch.setattr(messages, "check_shapes", lambda game, claim: None)
    return VerifierSession


def takes_any_outputs(_: pytest.MonkeyPatch) -> type[VerifierSession]:
    return without("_take_answers", "MerkleTree(answer_leaves(game, draw, answers.outputs)).root != answers.root")


def sees_no_copies(monkeypatch: pytest.MonkeyPatch) -> type[VerifierSession]:
    believes = believes_the_claim(monkeypatch)
    sees_nothing(monkeypatch)
    return believes


def sees_no_mirror(monkeypatch: pytest.MonkeyPatch) -> type[VerifierSession]:
    takes_the_pilot_for_var_f(monkeypatch)
    return sees_nothing(monkeypatch)


OFF: dict[str, Weaken] = {
    **{cheat.name: believes_the_claim for cheat in registry.CLAIMS if cheat.name != "not-finite-scores"},
    "flattering-figures": believes_the_claim,
    "steering-figures": believes_the_claim,
    "copied-answers": sees_no_copies,
    "mirrored-answers": sees_no_mirror,
    "false-fraction": sees_nothing,
    "surrogate-answers": sees_nothing,
    "cut-short": sees_nothing,
    "another-dataset": sees_nothing,
    "wrong-seed": sees_nothing,
    "greedy-answers": sees_nothing,
    "swapped-answers": sees_nothing,
    "permuted-answers": sees_nothing,
    "another-task": takes_any_task,
    "borrowed-name": takes_any_signature,
    "two-faced": takes_any_root,
    "changed-answers": takes_any_outputs,
}
"""What is switched off, by the cheat that then wins."""

ELSEWHERE = {
    "not-finite-scores", "duplicated-answers", "wrong-shape", "impossible-figures",  # below
    "greedy-pairs",  # test_crossfit_cheats
    "cancelled-outliers", "inflated-noise", "drift-by-tolerance", "nan-answers", "out-of-range-answers",
    "too-few-answers", "too-many-answers", "another-key", "second-thoughts", "replayed",
    "leaves-when-unlucky",  # test_defences
}  # fmt: skip


@pytest.mark.parametrize("name", OFF)
def test_with_its_defence_switched_off_a_cheat_wins(world: World, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cheat = registry.BY_NAME[name]
    assert met(world, cheat).verdict.outcome is not Outcome.ACCEPT
    assert met(world, cheat, OFF[name](monkeypatch)).verdict.outcome is Outcome.ACCEPT


@pytest.mark.parametrize("name", ["scaled", "false-fraction"])
def test_the_honest_prover_is_accepted_on_these_terms(world: World, name: str) -> None:
    honest = type("Honest", (type(HONEST),), {"fate": registry.BY_NAME[name].fate})()
    assert met(world, honest).verdict.outcome is Outcome.ACCEPT


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_scores_that_are_no_numbers_are_no_message_and_would_win_nothing_as_one(world: World, value: float) -> None:
    """Past the message's own check they meet bounds that are no numbers, or no bounds at all."""
    cheat = NotFiniteScores(value)
    assert met(world, cheat).verdict.outcome is Outcome.REJECT
    with np.errstate(invalid="ignore"):
        try:
            outcome = met(world, cheat, deliver=lambda message: message).verdict.outcome
        except (AttributionProofsError, ValueError):
            return
    assert outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(("figure", "value"), [
    ("relative_gap", float("nan")), ("relative_gap", -1.0), ("odd_residual", float("inf")), ("odd_residual", -1e-9),
    ("r2", float("-inf")), ("r2", 1.5), ("n_retrainings", -1),
])  # fmt: skip
def test_figures_that_cannot_be_are_no_message_and_past_that_not_what_was_signed(
    world: World, figure: str, value: float
) -> None:
    cheat = type(registry.BY_NAME["impossible-figures"])(figure=figure, value=value)  # type: ignore[call-arg]
    verdict = met(world, cheat).verdict
    assert verdict.outcome is Outcome.REJECT
    assert verdict.n_retrainings == 0
    assert "claim figures: expected" in verdict.reasons[0]
    if not math.isfinite(value):
        with pytest.raises(InternalError, match="expected a finite float"):
            met(world, cheat, deliver=lambda message: message)
        return
    past = met(world, cheat, deliver=lambda message: message).verdict
    assert past.outcome is Outcome.REJECT
    assert "signature does not fit" in past.reasons[0]


def test_a_prover_that_may_say_what_it_answered_answers_its_best_pair_again_and_again(
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
    monkeypatch.setattr(messages, "check_shapes", lambda game, claim: None)
    with pytest.raises(ValueError, match=r"matmul|broadcast"):
        met(world, cheat)


def test_every_cheat_of_one_session_has_its_defence_switched_off_somewhere() -> None:
    assert set(OFF) | ELSEWHERE == {cheat.name for cheat in registry.ALL}
    assert not set(OFF) & ELSEWHERE


def test_what_is_switched_off_here_is_there_as_built() -> None:
    """The replaced names are those that the verifier calls."""
    assert messages.check_shapes is readings.check_shapes
    assert verifier.ClaimCommitted is messages.ClaimCommitted
