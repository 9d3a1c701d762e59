"""The effect loop: what is drawn when, and what becomes of a prover that fails, leaves or lies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from protocol.certificate.terms import Across, Assurance, Terms
from protocol.errors import InternalError, MalformedMessage, Reason, Refused, TrainingError, TransportError
from protocol.sampling import families
from protocol.session.effects import Train
from protocol.session.messages import Aborted, Answers, Challenge, Closing, Opening, Outcome, Retrained
from protocol.session.verifier import VerifierSession
from tests.journeys.in_memory import Entropy
from tests.verifier.market import Market, MemoryProver
from verifier import audit
from verifier.audit import OpenedProver, Progressed

GONE = TransportError("the server is gone")


def terms(assurance: Assurance = Assurance.PROVED, *, epsilon: float = 0.05) -> Terms:
    n_checks = 20 if assurance is Assurance.AUDITED else 0
    look = families(n_families=20, n_siblings=2, rho=0.5, complements=True)
    return Terms(epsilon=epsilon, delta=0.05, across=Across.MEAN, assurance=assurance, looks=(look,), n_checks=n_checks)


class Met:
    """One session of the loop against a prover in memory."""

    def __init__(self, market: Market, prover: Any, asked: Terms, **options: Any) -> None:
        self.market, self.prover = market, prover
        self.session = VerifierSession(task=market.task, terms=asked)
        self.drawn: list[tuple[int, list[str]]] = []
        self.events: list[Progressed] = []
        self.n_trained = 0
        self._options = options
        self._coins = Entropy(2)

    def run(self) -> Any:
        return audit.run(
            self.session, self.prover, self.retrain, entropy=self.entropy, on_event=self.events.append, **self._options
        )

    def entropy(self, n_bytes: int) -> bytes:
        said = [type(entry.message).__name__ for entry in self.session.transcript.entries]
        self.drawn.append((n_bytes, said))
        return self._coins(n_bytes)

    def retrain(self, train: Train, on_progress: Callable[[int, int], None]) -> np.ndarray:
        self.n_trained += len(train.evaluations)
        on_progress(len(train.evaluations), len(train.evaluations))
        return self.market.outputs(train.draw, train.evaluations)


def test_an_honest_claim_is_accepted_and_the_prover_hears_of_it(market: Market) -> None:
    prover = MemoryProver(market)
    met = Met(market, prover, terms())
    assert met.run().outcome is Outcome.ACCEPT
    assert prover.heard == ["Opening", "Closing"]
    assert met.n_trained == 80


def test_the_prover_answers_when_audited(market: Market) -> None:
    prover = MemoryProver(market)
    met = Met(market, prover, terms(Assurance.AUDITED))
    assert met.run().outcome is Outcome.ACCEPT
    assert prover.heard == ["Opening", "Challenge", "Closing"]
    assert met.n_trained == 20
    assert {event.what for event in met.events} == {"answers from the prover", "retraining here"}


def test_entropy_is_drawn_only_when_it_is_due(market: Market) -> None:
    met = Met(market, MemoryProver(market), terms(Assurance.AUDITED))
    met.run()
    assert met.drawn == [
        (16, []),
        (32, ["Opening", "ClaimCommitted"]),
        (32, ["Opening", "ClaimCommitted", "Challenge", "Answers"]),
    ]


@pytest.mark.parametrize("assurance", list(Assurance))
def test_a_prover_gone_before_the_challenge_is_a_fault_of_the_network(market: Market, assurance: Assurance) -> None:
    met = Met(market, MemoryProver(market, fails={Opening: GONE}), terms(assurance))
    with pytest.raises(TransportError, match="the server is gone"):
        met.run()


def test_a_prover_gone_after_the_challenge_has_failed(market: Market) -> None:
    prover = MemoryProver(market, fails={Challenge: GONE})
    met = Met(market, prover, terms(Assurance.AUDITED))
    verdict = met.run()
    assert verdict.outcome is Outcome.REJECT
    assert verdict.reasons == ("the prover did not answer the challenge: the server is gone",)
    assert prover.heard == ["Opening", "Challenge"], "there is nobody left to say a last word to"


def test_a_prover_that_declines_the_challenge_has_failed(market: Market) -> None:
    prover = MemoryProver(market, fails={Challenge: Refused("too many", Reason.TOO_LARGE)})
    verdict = Met(market, prover, terms(Assurance.AUDITED)).run()
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
    verdict = Met(market, prover, terms(Assurance.AUDITED)).run()
    assert verdict.outcome is Outcome.REJECT
    assert "20 of 20 rechecked answers are false" in verdict.reasons[0]


def test_a_session_runs_on_the_claim_that_its_plan_was_made_for(market: Market) -> None:
    prover = MemoryProver(market)
    opened = audit.open_claim(prover, market.task, entropy=Entropy(3))
    assert opened.figures == market.committed().signed.figures
    met = Met(market, opened, terms())
    assert met.run().outcome is Outcome.ACCEPT
    assert prover.heard == ["Opening", "Closing"], "the claim is fetched once"
    opening = met.session.transcript.entries[0].message
    assert isinstance(opening, Opening)
    assert opening.nonce == Entropy(3)(16)
    assert [n for n, _ in met.drawn] == [32], "the nonce is the opened session's, the challenge is fresh"


def test_a_claim_that_broke_the_protocol_when_it_was_fetched_is_rejected_by_the_session(market: Market) -> None:
    opened = audit.open_claim(MemoryProver(market, fails={Opening: MalformedMessage("over-long")}), market.task)
    assert opened.figures is None
    verdict = Met(market, opened, terms()).run()
    assert (verdict.outcome, verdict.claim_root) == (Outcome.REJECT, None)


@pytest.mark.parametrize("error", [GONE, Refused("full", Reason.BUSY)])
def test_a_prover_that_cannot_be_asked_for_its_claim_is_a_fault(market: Market, error: Exception) -> None:
    with pytest.raises(TransportError):
        audit.open_claim(MemoryProver(market, fails={Opening: error}), market.task)


def test_an_opened_session_is_never_run_under_another_nonce(market: Market) -> None:
    opened = audit.open_claim(MemoryProver(market), market.task, entropy=Entropy(3))
    other = Opening(version=1, nonce=bytes(16), task_digest=market.task.digest)
    with pytest.raises(InternalError, match="one nonce"):
        opened.exchange(other, on_progress=lambda _done, _total: None)
    assert isinstance(opened, OpenedProver)


def test_a_training_that_fails_here_is_no_verdict(market: Market) -> None:
    met = Met(market, MemoryProver(market), terms())

    def fail(_train: Train, _on_progress: Callable[[int, int], None]) -> np.ndarray:
        raise TrainingError("no number")

    with pytest.raises(TrainingError, match="no number"):
        audit.run(met.session, met.prover, fail, entropy=Entropy(1))


def test_leaving_tells_the_prover_and_records_nothing(market: Market) -> None:
    prover = MemoryProver(market)
    met = Met(market, prover, terms())
    opened = audit.open_claim(prover, market.task)
    audit.leave(opened, "over")
    assert prover.heard == ["Opening", "Aborted"]
    assert met.session.transcript.entries == []
    audit.leave(MemoryProver(market, fails={Aborted: GONE}), "whether it hears it or not")


@pytest.mark.parametrize(("assurance", "kind"), [(Assurance.PROVED, Retrained), (Assurance.AUDITED, Answers)])
def test_a_round_has_every_output_once(market: Market, assurance: Assurance, kind: type) -> None:
    met = Met(market, MemoryProver(market), terms(assurance))
    met.run()
    ((draw, outputs),) = audit.outputs_by_round(met.session.transcript)
    whole = [entry.message for entry in met.session.transcript.entries if isinstance(entry.message, kind)]
    assert outputs is whole[0].outputs
    assert outputs.shape == (draw.n_evaluations, market.task.n_targets)
