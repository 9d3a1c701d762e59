"""A verifier and a prover's server in two processes, on loopback, on a task that is really trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from protocol.certificate.planning import Budget
from protocol.certificate.terms import Answers
from protocol.session.effects import Train
from protocol.session.messages import Outcome
from protocol.training import Trainer, load
from tests.adversaries.terms import quick, terms
from tests.journeys.loopback import QUICK, ServerProcess, fill_with_wine, rounds_of, verify, wine
from verifier import loop
from verifier.client import ProverClient


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("wine")
    fill_with_wine(directory)
    with ServerProcess(directory) as process:
        yield process.address
        assert process.terminate() == 0, process.stderr
        assert process.stderr == ""


@cache
def retrainer() -> loop.Retrain:
    task = wine()
    trainer = Trainer(task, load(task))

    def retrain(train: Train, _: object) -> np.ndarray:
        draw, evaluations = train.draw, train.evaluations
        return trainer.outputs(draw.subsets(task, evaluations), draw.training_seeds(task, evaluations)).values

    return retrain


@pytest.mark.parametrize("answers", list(Answers))
def test_an_honest_claim_is_accepted(address: str, answers: Answers) -> None:
    task = wine()
    with ProverClient(address, patience=QUICK) as client:
        assert client.get_task() == task
        asked = replace(quick(answers), epsilon=0.5)  # fresh coins, so far from the bound
        verdict = verify(client, asked, rounds=rounds_of(asked, task=task), task=task, retrain=retrainer())
    assert verdict.outcome is Outcome.ACCEPT, verdict.reasons
    assert verdict.n_retrainings == 20 + (160 if answers is Answers.OWN else 300)


def test_the_planner_chooses_what_a_claim_over_the_network_takes(address: str) -> None:
    """Its first choice is made of the claim's figures, its second of a pilot trained here."""
    task, asked = wine(), replace(terms(Answers.OWN), epsilon=0.2)
    with ProverClient(address, patience=QUICK) as client:
        verdict = verify(client, asked, budget=Budget(max_retrainings=1000), task=task, retrain=retrainer())
    assert verdict.outcome is Outcome.ACCEPT, verdict.reasons
    assert verdict.rounds is not None
    assert verdict.n_retrainings <= 1000


def test_health_says_that_the_service_is_served(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        for name in ("", "attribution_proofs.v1.Attribution"):
            request = health_pb2.HealthCheckRequest(service=name)
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_names_the_service(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=5)
    names = [service.name for service in answer.list_services_response.service]
    assert "attribution_proofs.v1.Attribution" in names
