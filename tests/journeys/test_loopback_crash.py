"""The server dies, stops or never comes back, in the middle of a session with a verifier."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from protocol.certificate.terms import Answers as Who
from protocol.encoding import Seed
from protocol.game.sampling import Draw
from protocol.session.messages import NONCE_BYTES, PROTOCOL_VERSION, Answers, Challenge, Opening, Outcome
from protocol.session.verdict import Verdict
from tests.adversaries.terms import delegated_rounds, quick
from tests.journeys.loopback import QUICK, WORLD, ServerProcess, fill_with_game, played, verify
from verifier.client import ProverClient

DELEGATED, ROUNDS = quick(Who.DELEGATED), delegated_rounds(WORLD.task, 160, 80)
N_ANSWERS = 320
"""In 20 chunks of 16."""

SLOW = ("--pause", "0.1")


@contextmanager
def verifying(client: ProverClient, answering: threading.Event) -> Iterator[Future[Verdict]]:
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(verify, client, DELEGATED, rounds=ROUNDS, on_progress=answering)


def times_trained(log: Path) -> Counter[int]:
    runs = [map(int, line.split()) for line in log.read_text().splitlines()]
    return Counter(e for first, last in runs for e in range(first, last + 1))


def test_a_server_killed_while_it_answers_goes_on_after_a_restart(tmp_path: Path) -> None:
    fill_with_game(tmp_path / "store")
    log, answering = tmp_path / "log", threading.Event()
    options = (*SLOW, "--log", str(log))
    with (
        ServerProcess(tmp_path / "store", *options) as first,
        ProverClient(first.address, patience=QUICK) as client,
        verifying(client, answering) as verdict,
    ):
        assert answering.wait(20)
        first.kill()
        n_before = sum(times_trained(log).values())
        assert 0 < n_before < N_ANSWERS
        with ServerProcess(tmp_path / "store", *options, address=first.address):
            assert verdict.result(timeout=30).outcome is Outcome.ACCEPT
    trained = times_trained(log)
    assert set(trained) == set(range(N_ANSWERS))
    repeated = [e for e, n in trained.items() if n > 1]
    assert len(repeated) <= 16  # the chunk that was under way


def test_a_server_told_to_stop_while_it_answers_loses_no_training(tmp_path: Path) -> None:
    fill_with_game(tmp_path / "store")
    log, answering = tmp_path / "log", threading.Event()
    options = (*SLOW, "--log", str(log))
    with (
        ServerProcess(tmp_path / "store", *options) as first,
        ProverClient(first.address, patience=QUICK) as client,
        verifying(client, answering) as verdict,
    ):
        assert answering.wait(20)
        begun = time.monotonic()
        assert first.terminate() == 0
        assert time.monotonic() - begun < 10
        assert first.stderr == ""
        assert sum(times_trained(log).values()) < N_ANSWERS
        with ServerProcess(tmp_path / "store", *options, address=first.address):
            assert verdict.result(timeout=30).outcome is Outcome.ACCEPT
    assert times_trained(log) == Counter(range(N_ANSWERS))


def test_a_server_that_is_gone_for_good_has_failed_the_run(tmp_path: Path) -> None:
    fill_with_game(tmp_path / "store")
    answering = threading.Event()
    patience = replace(QUICK, reconnect_s=1.0)
    with (
        ServerProcess(tmp_path / "store", *SLOW) as server,
        ProverClient(server.address, patience=patience) as client,
        verifying(client, answering) as result,
    ):
        assert answering.wait(20)
        server.kill()
        begun = time.monotonic()
        verdict = result.result(timeout=20)
        assert time.monotonic() - begun < 5
    assert verdict.outcome is Outcome.REJECT
    assert "did not answer the challenge" in verdict.reasons[0]
    assert "UNAVAILABLE" in verdict.reasons[0]
    assert "\n" not in verdict.reasons[0]


def test_a_restarted_server_is_told_an_opening_again(tmp_path: Path) -> None:
    """An opening alone is not written down, so that nobody can fill a disk with them."""
    fill_with_game(tmp_path / "store")
    opening = Opening(version=PROTOCOL_VERSION, nonce=bytes(NONCE_BYTES), task_digest=WORLD.task.digest)
    challenge = Challenge(round=1, draw=Draw(seed=Seed(bytes(32)), design=ROUNDS.looks[1]))
    with ServerProcess(tmp_path / "store") as first, ProverClient(first.address, patience=QUICK) as client:
        client.exchange(opening)
        first.kill()
        with ServerProcess(tmp_path / "store", address=first.address):
            answers = client.exchange(challenge)
    assert isinstance(answers, Answers)
    np.testing.assert_allclose(answers.outputs, played(WORLD.task, challenge.draw, np.arange(N_ANSWERS)), atol=1e-12)
