"""Cheats over real gRPC: what is stopped in memory is stopped on the wire."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from protocol.certificate.terms import Answers
from protocol.claim import Claim
from protocol.errors import StoreError
from protocol.session.messages import NONCE_BYTES, PROTOCOL_VERSION, ClaimCommitted, Opening
from protocol.session.verdict import Verdict
from protocol.task import Task
from prover.serving.live import Served
from prover.store import Store
from tests.adversaries import registry
from tests.adversaries.cheat import HONEST, Cheat
from tests.adversaries.dishonest import DishonestProver
from tests.adversaries.serve import dishonest
from tests.adversaries.terms import delegated_rounds, own_rounds, quick
from tests.journeys import loopback
from verifier.client import ProverClient

pytestmark = pytest.mark.usefixtures("unchecked_shapes")

NOT_TO_BE_MET = {"second-thoughts", "another-key"}
"""The server's own order of calls leaves no room for the one, and a verifier that names no key takes any."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("prover")
    loopback.fill_with_game(directory)
    return directory


def verdict_over_grpc(cheat: Cheat, store: Path) -> Verdict:
    world, asked = loopback.WORLD, quick(cheat.fate.who)
    own = asked.answers is Answers.OWN
    rounds = own_rounds(world.task, 80, 60, 150) if own else delegated_rounds(world.task, 300, 75)
    scene = world.scene(asked, np.random.default_rng(3), rounds=rounds)
    prover = DishonestProver(cheat=cheat, scene=scene, honest=world.claim, figures=world.figures)
    served = Served(task=world.task, make_session=prover.session, engine=loopback.GameEngine(chunk=512))
    with (
        loopback.server(store, served=served) as server,
        ProverClient(server.address, patience=loopback.QUICK) as client,
    ):
        return loopback.verify(client, asked, rounds=rounds)


@pytest.mark.parametrize(
    "cheat", [HONEST, *(c for c in registry.ALL if c.name not in NOT_TO_BE_MET)], ids=lambda cheat: cheat.name
)
def test_a_cheat_ends_over_grpc_as_it_ends_in_memory(cheat: Cheat, store: Path) -> None:
    verdict = verdict_over_grpc(cheat, store)
    assert verdict.outcome is cheat.fate.outcome
    assert re.search(cheat.fate.reason, verdict.reasons[0]), verdict.reasons[0]


def test_a_process_of_its_own_serves_the_cheat_that_it_is_told(tmp_path: Path) -> None:
    task, scores = loopback.wine(), np.random.default_rng(0).standard_normal((6, 100))
    claim = Claim(task_digest=task.digest, intercepts=np.zeros(6), scores=scores)
    loopback.fill(tmp_path, task, claim, loopback.WORLD.figures)
    command = [sys.executable, "-m", "tests.adversaries.serve", "scaled", "--store", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().decode() for _ in range(3)]
        try:
            assert lines[2].startswith("serving 127.0.0.1:"), lines
            served = claim_served_at(lines[2].removeprefix("serving ").strip(), task)
        finally:
            process.terminate()
            process.communicate(timeout=20)
    np.testing.assert_array_equal(served.claim.scores, 0.5 * scores)
    assert lines[1].split() == ["claim", served.signed.root.hex()]
    assert process.returncode == 0


def claim_served_at(address: str, task: Task) -> ClaimCommitted:
    opening = Opening(version=PROTOCOL_VERSION, nonce=bytes(NONCE_BYTES), task_digest=task.digest)
    with ProverClient(address, patience=loopback.QUICK) as client:
        committed = client.exchange(opening)
    assert isinstance(committed, ClaimCommitted)
    return committed


def test_a_store_without_a_claim_is_refused_in_one_line(tmp_path: Path) -> None:
    with Store(tmp_path) as state:
        state.set_task(loopback.wine(), None)
    with (
        Store(tmp_path, read_only=True) as state,
        pytest.raises(StoreError, match="found none; run prover train"),
    ):
        dishonest("scaled", state)
