"""Where a server listens, what it says of itself, and what it asks before others may hear it."""

from __future__ import annotations

import datetime as dt
import socket
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protocol.certificate.terms import Answers
from protocol.errors import ArgumentError, DataError, TransportError
from protocol.session.messages import Outcome
from prover.serving.limits import Limits
from prover.serving.server import ProverServer, Tls
from prover.store import Store
from tests.adversaries.terms import terms
from tests.journeys.loopback import QUICK, GameEngine, fill_with_game, served_from, server, verify
from verifier.client import ProverClient


@pytest.fixture
def store(tmp_path: Path) -> Store:
    fill_with_game(tmp_path / "store")
    return Store(tmp_path / "store")


def made(store: Store, address: str, **options: object) -> ProverServer:
    return ProverServer(served_from(store, GameEngine(), Limits()), store, address=address, **options)  # type: ignore[arg-type]


def self_signed(directory: Path, name: str) -> Tls:
    """Write a certificate for localhost and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = Tls(certificate=directory / f"{name}.pem", key=directory / f"{name}.key")
    paths.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


def test_port_0_takes_a_free_port_and_says_which(tmp_path: Path) -> None:
    fill_with_game(tmp_path)
    with server(tmp_path) as running:
        assert running.address == f"127.0.0.1:{running.port}"
        assert running.port > 0


def test_health_is_serving_from_start_to_stop(tmp_path: Path) -> None:
    fill_with_game(tmp_path)
    with server(tmp_path) as running, grpc.insecure_channel(running.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=10)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        running.stop(grace_s=0.5)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_a_port_that_is_taken_is_one_line(store: Store) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with store, pytest.raises(TransportError, match=rf"^expected to serve at {address}, .*port is taken[^\n]*$"):
            made(store, address)


def test_two_servers_do_not_share_a_port(tmp_path: Path, store: Store) -> None:
    fill_with_game(tmp_path / "other")
    with server(tmp_path / "other") as running, store, pytest.raises(TransportError, match="port is taken"):
        made(store, running.address)


@pytest.mark.parametrize("address", ["", "localhost", "localhost:", ":50051", "localhost:port", "localhost:65536"])
def test_what_is_no_address_is_refused(store: Store, address: str) -> None:
    with store, pytest.raises(ArgumentError, match="expected an address HOST:PORT"):
        made(store, address)


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "10.0.0.1", "prover.example.org"])  # noqa: S104
def test_plaintext_for_other_machines_has_to_be_said(store: Store, host: str) -> None:
    with store, pytest.raises(ArgumentError, match=r"expected a certificate .* got none: give --tls-cert"):
        made(store, f"{host}:0")


def test_plaintext_for_other_machines_can_be_said(store: Store) -> None:
    with store:
        running = made(store, "0.0.0.0:0", insecure=True)
        running.start()
        running.stop(0)


def test_tls_serves_those_who_trust_the_certificate_and_no_others(tmp_path: Path, store: Store) -> None:
    ours, others = self_signed(tmp_path, "ours"), self_signed(tmp_path, "others")
    with store:
        running = made(store, "localhost:0", tls=ours)
        running.start()
        try:
            with ProverClient(running.address, tls_ca=ours.certificate, patience=QUICK) as client:
                assert verify(client, terms(Answers.OWN)).outcome is Outcome.ACCEPT
            for trusted in (others.certificate, None):
                with (
                    ProverClient(running.address, tls_ca=trusted, patience=QUICK) as client,
                    pytest.raises(TransportError, match=r"^prover at localhost:\d+: expected an answer, got UNAV"),
                ):
                    client.get_task()
        finally:
            running.stop(0)


def test_tls_files_that_cannot_be_used_are_named(tmp_path: Path, store: Store) -> None:
    good, other = self_signed(tmp_path, "good"), self_signed(tmp_path, "other")
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    with store:
        for tls, message in (
            (Tls(certificate=tmp_path / "none.pem", key=good.key), r"none\.pem: expected a file to read"),
            (Tls(certificate=junk, key=good.key), r"expected a PEM certificate .*junk\.pem"),
            (Tls(certificate=good.certificate, key=junk), r"unencrypted PEM key .*junk\.pem"),
            (Tls(certificate=good.certificate, key=other.key), r"expected the key of certificate .*good\.pem"),
        ):
            with pytest.raises(DataError, match=message):
                made(store, "localhost:0", tls=tls)


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_limit_is_above_0(value: float) -> None:
    with pytest.raises(ArgumentError, match="expected max_stream_s above 0"):
        Limits(max_stream_s=value)


def test_a_session_may_not_ask_for_more_answers_than_can_be_sent() -> None:
    assert Limits(max_evaluations_per_session=10**9).max_evaluations(n_targets=1 << 20) == 128
