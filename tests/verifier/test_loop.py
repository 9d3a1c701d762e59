"""The effect loop: what is drawn and planned when, and what becomes of a prover that fails, leaves or lies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from protocol.certificate.terms import Answers, Rounds
from protocol.errors import (
    BudgetError,
    CommitmentError,
    MalformedMessage,
    Reason,
    Refused,
    TrainingError,
    TransportError,
)
from protocol.session.effects import ChooseRounds, Train
from protocol.session.messages import Aborted, Challenge, ClaimCommitted, Closing, Opening, Outcome
from protocol.session.transcript import Transcript
from tests.journeys.in_memory import Entropy
from tests.verifier.loops import Met, terms
from tests.verifier.market import Market, MemoryProver
from verifier import loop

GONE = TransportError("the server is gone")
DELEGATED = terms(Answers.DELEGATED)


def test_an_honest_claim_is_accepted_and_the_prover_hears_of_it(market: Market) -> None:
    prover = MemoryProver(market)
    met = Met(market, prover, terms(epsilon=0.05))
    verdict = met.run()
    assert verdict.outcome is Outcome.ACCEPT
    assert prover.heard == ["Opening", "Closing"], "own rounds are nobody else's business"
    assert met.n_trained == verdict.n_retrainings == 180, "the pilot and the first look"


def test_delegated_answers_come_from_the_prover(market: Market) -> None:
    prover = MemoryProver(market)
    met = Met(market, prover, DELEGATED)
    verdict = met.run()
    assert verdict.outcome is Outcome.ACCEPT
    assert prover.heard == ["Opening", "Challenge", "Closing"]
    assert met.n_trained == 20 + 2 * met.chosen[-1].n_checks, "the pilot and the checked pairs"
    assert {event.what for event in met.events} == {"answers from the prover", "retraining here"}


def test_entropy_is_drawn_only_when_it_is_due(market: Market) -> None:
    met = Met(market, MemoryProver(market), DELEGATED)
    met.run()
    pilot = ["Opening", "ClaimCommitted", "RoundsChosen"]
    answered = [*pilot, "Challenge", "Retrained", "RoundsChosen"]
    assert met.drawn == [(16, []), (32, pilot), (32, answered), (32, [*answered, "Challenge", "Answers"])]


def test_rounds_are_planned_on_the_claim_and_again_on_what_the_pilot_saw(market: Market) -> None:
    asked: list[ChooseRounds] = []
    met = Met(market, MemoryProver(market), terms())

    def choose(wanted: ChooseRounds) -> Rounds:
        asked.append(wanted)
        return met.choose(wanted)

    loop.run(met.session, met.prover, choose, met.retrain, entropy=Entropy(1))
    first, second = asked
    assert first.figures == second.figures == market.committed().signed.figures
    assert first.seen is None
    assert second.seen is not None


class Forging(MemoryProver):
    """Changes a score after it has signed the claim."""

    def exchange(self, message: object, *, on_progress: object) -> object:
        reply = super().exchange(message, on_progress=on_progress)  # type: ignore[arg-type]
        if not isinstance(reply, ClaimCommitted):
            return reply
        return replace(reply, claim=replace(reply.claim, scores=reply.claim.scores + 1))


def test_a_claim_that_its_signature_does_not_cover_never_reaches_the_planner(market: Market) -> None:
    def choose(wanted: ChooseRounds) -> Rounds:
        raise AssertionError(wanted)

    met = Met(market, Forging(market), terms())
    verdict = loop.run(met.session, met.prover, choose, met.retrain, entropy=met.entropy)
    assert (verdict.outcome, verdict.rounds, verdict.claim_root) == (Outcome.REJECT, None, None)
    assert [n_bytes for n_bytes, _ in met.drawn] == [16], "no challenge was drawn"


@pytest.mark.parametrize("asked", [terms(), DELEGATED], ids=["own", "delegated"])
def test_a_prover_gone_before_the_challenge_is_a_fault_of_the_network(market: Market, asked: object) -> None:
    met = Met(market, MemoryProver(market, fails={Opening: GONE}), asked)
    with pytest.raises(TransportError, match="the server is gone"):
        met.run()


def test_a_prover_gone_after_the_challenge_has_failed(market: Market) -> None:
    prover = MemoryProver(market, fails={Challenge: GONE})
    verdict = Met(market, prover, DELEGATED).run()
    assert verdict.outcome is Outcome.REJECT
    assert verdict.reasons == ("the prover did not answer the challenge: the server is gone",)
    assert prover.heard == ["Opening", "Challenge"], "there is nobody left to say a last word to"


def test_a_prover_that_declines_the_challenge_has_failed(market: Market) -> None:
    prover = MemoryProver(market, fails={Challenge: Refused("too many", Reason.TOO_LARGE)})
    verdict = Met(market, prover, DELEGATED).run()
    assert verdict.outcome is Outcome.REJECT
    assert verdict.reasons == ("the prover declined: too many",)


def test_a_prover_that_sends_junk_is_rejected(market: Market) -> None:
    prover = MemoryProver(market, fails={Opening: MalformedMessage("claim: expected 8 bytes, got 7")})
    verdict = Met(market, prover, terms()).run()
    assert verdict.outcome is Outcome.REJECT
    assert verdict.reasons == ("the prover broke the protocol: claim: expected 8 bytes, got 7",)
    assert prover.heard == ["Opening", "Aborted"]


def test_a_busy_prover_has_broken_nothing_before_the_challenge(market: Market) -> None:
    prover = MemoryProver(market, fails={Opening: Refused("too many sessions", Reason.BUSY)})
    with pytest.raises(TransportError, match="too many sessions; try again later"):
        Met(market, prover, terms()).run()


def test_a_lost_last_word_changes_no_verdict(market: Market) -> None:
    met = Met(market, MemoryProver(market, fails={Closing: GONE}), terms())
    assert met.run().outcome is Outcome.ACCEPT


def test_false_answers_are_rejected(market: Market) -> None:
    prover = MemoryProver(market, answer=lambda outputs: np.clip(outputs + 0.01, -6, 6))
    met = Met(market, prover, DELEGATED)
    verdict = met.run()
    n_checked = 2 * met.chosen[-1].n_checks
    assert verdict.outcome is Outcome.REJECT
    assert f"{n_checked} of {n_checked} rechecked answers are false" in verdict.reasons[0]


def test_a_session_goes_on_past_its_decision_where_more_is_wanted(market: Market) -> None:
    offered: list[int] = []

    def is_enough(transcript: Transcript) -> bool:
        offered.append(len(transcript.entries))
        return len(offered) == 3

    met = Met(market, MemoryProver(market), terms(), is_enough=is_enough)
    assert met.run().outcome is Outcome.ACCEPT
    assert len(offered) == 3
    assert met.n_trained > 180


def test_a_training_that_fails_here_is_no_verdict(market: Market) -> None:
    met = Met(market, MemoryProver(market), terms())

    def fail(_train: Train, _on_progress: Callable[[int, int], None]) -> np.ndarray:
        raise TrainingError("no number")

    with pytest.raises(TrainingError, match="no number"):
        loop.run(met.session, met.prover, met.choose, fail, entropy=Entropy(1))


def test_a_budget_that_does_not_reach_is_no_verdict(market: Market) -> None:
    met = Met(market, MemoryProver(market), terms())

    def refuse(_wanted: ChooseRounds) -> Rounds:
        raise BudgetError("too little")

    with pytest.raises(BudgetError, match="too little"):
        loop.run(met.session, met.prover, refuse, met.retrain, entropy=Entropy(1))
    assert met.n_trained == 0


# ------------------------------------------------------------------------------------------- reading a claim, leaving


def test_a_claim_is_read_checked_and_left(market: Market) -> None:
    prover = MemoryProver(market)
    figures, claim = loop.read_claim(prover, market.task, entropy=Entropy(3))
    assert figures == market.committed().signed.figures
    assert claim is not None
    np.testing.assert_array_equal(claim.scores, market.claim.scores)
    assert prover.heard == ["Opening", "Aborted"]


@pytest.mark.parametrize("error", [MalformedMessage("over-long"), CommitmentError("no"), Refused("no", Reason.FAILED)])
def test_a_claim_that_breaks_the_protocol_plans_nothing(market: Market, error: Exception) -> None:
    prover = MemoryProver(market, fails={Opening: error})
    assert loop.read_claim(prover, market.task) == (None, None)


def test_a_claim_that_its_signature_does_not_cover_plans_nothing(market: Market) -> None:
    assert loop.read_claim(Forging(market), market.task) == (None, None)


@pytest.mark.parametrize("error", [GONE, Refused("full", Reason.BUSY)])
def test_a_prover_that_cannot_be_asked_for_its_claim_is_a_fault(market: Market, error: Exception) -> None:
    with pytest.raises(TransportError):
        loop.read_claim(MemoryProver(market, fails={Opening: error}), market.task)


def test_leaving_tells_the_prover_and_raises_nothing(market: Market) -> None:
    prover = MemoryProver(market)
    loop.read_claim(prover, market.task)
    loop.leave(prover, "over")
    assert prover.heard[-1] == "Aborted"
    loop.leave(MemoryProver(market, fails={Aborted: GONE}), "whether it hears it or not")
