"""Several filed sessions together: more than one claim by one key is seen, sessions are counted, deltas add up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from protocol.certificate.terms import Answers, Rounds, Terms
from protocol.commitments import SigningKey
from protocol.errors import ArgumentError, DataError
from protocol.game.known import Polynomial
from protocol.session.messages import Outcome
from tests.adversaries.cheat import HONEST, Cheat
from tests.adversaries.margins import most_allowed
from tests.adversaries.random_direction import RandomDirection
from tests.adversaries.terms import delegated_rounds, terms
from tests.adversaries.two_claims import TwoClaims
from tests.adversaries.unlucky import LeavesWhenUnlucky
from tests.journeys.in_memory import meet
from tests.journeys.worlds import KEY, World, of_game
from verifier.comparison import compare
from verifier.filing import file_transcript

pytestmark = pytest.mark.usefixtures("unchecked_shapes")

GAME = Polynomial(n_units=64, w1=0.93, w2=0.055, w3=0.015)
WORLD = of_game(GAME, n_targets=1, noise=0.0)
ANN, BOB = SigningKey(b"ann".ljust(32)), SigningKey(b"bob".ljust(32))
OWN = terms(Answers.OWN)
LENIENT = terms(Answers.DELEGATED, delta=0.6, kurtosis=3.0)
UNSURE = delegated_rounds(WORLD.task, 140, 140)
"""So few pairs that a claim of gap .02 is within epsilon on a lucky challenge only: worth coming back for."""


@pytest.fixture
def unchecked_shapes() -> object:
    import jaxtyping

    jaxtyping.config.update("jaxtyping_disable", value=True)
    yield
    jaxtyping.config.update("jaxtyping_disable", value=False)


def filed(
    path: Path, cheat: Cheat = HONEST, *, seed: int = 1, verifier: SigningKey = ANN, world: World = WORLD,
    asked: Terms = OWN, rounds: Rounds | None = None,
) -> Path:  # fmt: skip
    """File a session and return where."""
    journey = meet(world, asked, cheat, seed=seed, rounds=rounds)
    file_transcript(path, world.task, asked, journey.transcript, verifier)
    return path


def test_two_verifiers_who_were_shown_one_claim_agree(tmp_path: Path) -> None:
    found = compare([filed(tmp_path / "a"), filed(tmp_path / "b", seed=2, verifier=BOB)])
    assert found.two_faced == ()
    assert found.n_accepted == 2
    assert {session.prover for session in found.sessions} == {KEY.public}
    assert [session.verifier for session in found.sessions] == [ANN.public, BOB.public]


def test_a_claim_of_its_own_for_each_verifier_is_accepted_by_both_and_seen_by_the_two(tmp_path: Path) -> None:
    mine = filed(tmp_path / "a", TwoClaims(favourite=0))
    yours = filed(tmp_path / "b", TwoClaims(favourite=7), seed=2, verifier=BOB)
    found = compare([mine, yours])
    assert [session.verdict.outcome for session in found.sessions] == [Outcome.ACCEPT] * 2
    assert found.two_faced == (KEY.public,)
    assert len({session.root for session in found.sessions}) == 2


def test_claims_by_two_provers_are_no_contradiction(tmp_path: Path) -> None:
    other = of_game(GAME, n_targets=1, noise=0.0)
    other = type(other)(**{**other.__dict__, "key": BOB})
    shifted = filed(tmp_path / "b", TwoClaims(), seed=2, world=other)
    assert compare([filed(tmp_path / "a"), shifted]).two_faced == ()


def test_a_prover_that_comes_back_until_it_is_accepted_leaves_its_sessions_on_file(tmp_path: Path) -> None:
    """Each session has a delta of its own, and whoever grants forty of them hears of the one that was lucky."""
    cheat, paths = LeavesWhenUnlucky(gap=0.02), []
    for seed in range(40):
        paths.append(filed(tmp_path / str(seed), cheat, seed=seed, asked=LENIENT, rounds=UNSURE))
        if compare([paths[-1], filed(tmp_path / "honest", seed=99)]).n_accepted == 2:
            break
    found = compare(paths)
    outcomes = [session.verdict.outcome for session in found.sessions]
    assert outcomes == [Outcome.REJECT] * (len(paths) - 1) + [Outcome.ACCEPT], "it came back, and won at last"
    assert len(paths) > 1
    assert "the prover left" in found.sessions[0].verdict.reasons[0]
    assert found.delta == pytest.approx(min(1.0, 0.6 * len(paths)))


def test_a_verifier_that_stops_at_the_first_rejection_is_wrong_at_most_at_rate_delta() -> None:
    cheat = LeavesWhenUnlucky(gap=0.05)
    asked = terms(Answers.DELEGATED, delta=0.2)
    first = [meet(WORLD, asked, cheat, seed=1000 + seed, rounds=UNSURE).verdict.outcome for seed in range(40)]
    assert first.count(Outcome.ACCEPT) <= most_allowed(40, 0.2)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    a = filed(tmp_path / "a")
    with pytest.raises(ArgumentError, match="two transcripts or more to compare, got 1"):
        compare([a])
    with pytest.raises(DataError, match=r"expected a session of its own, got that of .*a; name each once"):
        compare([a, a])
    elsewhere = of_game(GAME, n_targets=1, noise=0.0, width=6.0)
    with pytest.raises(DataError, match="got another task"):
        compare([a, filed(tmp_path / "b", seed=2, world=elsewhere)])
    broken = bytearray(a.read_bytes())
    broken[-40] ^= 1
    (tmp_path / "c").write_bytes(broken)
    with pytest.raises(DataError, match="it supports no verdict"):
        compare([a, tmp_path / "c"])


def test_a_session_without_a_claim_holds_nobody_to_anything(tmp_path: Path) -> None:
    from tests.adversaries import registry

    unsigned = filed(tmp_path / "b", registry.BY_NAME["borrowed-name"], seed=2)
    found = compare([filed(tmp_path / "a"), unsigned])
    assert (found.sessions[1].prover, found.sessions[1].root) == (None, None)
    assert found.two_faced == ()


def test_a_rejected_claim_counts_as_one_that_was_signed(tmp_path: Path) -> None:
    found = compare([filed(tmp_path / "a"), filed(tmp_path / "b", RandomDirection(), seed=2)])
    assert found.sessions[1].verdict.outcome is Outcome.REJECT
    assert found.two_faced == (KEY.public,)


def test_the_sum_of_deltas_is_a_probability(tmp_path: Path) -> None:
    asked = terms(Answers.OWN, delta=0.6)
    found = compare([filed(tmp_path / str(seed), seed=seed, asked=asked) for seed in range(2)])
    assert found.delta == 1.0
    assert np.isclose(sum(session.verdict.terms.delta for session in found.sessions), 1.2)
