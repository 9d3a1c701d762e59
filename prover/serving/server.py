"""The server: address, TLS, threads, health, reflection, and an end that loses nothing.

Owns the gRPC server and its budgets (``limits``). What a call means is ``servicer``'s business. Plaintext is for this
machine only, unless the operator says otherwise: claims and answers are signed, but anyone on the way could read them
and pretend that the prover refuses.

To stop, it refuses new calls, lets those under way end within the grace and lets the trainer finish and write its
chunk. A process that is killed instead loses at most that chunk: every session goes on after a restart.
"""

from __future__ import annotations

import ipaddress
import logging
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from protocol.commitments import SigningKey
from protocol.errors import ArgumentError, DataError, TransportError
from protocol.session.messages import ClaimCommitted
from protocol.session.prover import ProverSession
from protocol.task import Task
from protocol.wire.limits import MAX_MESSAGE_BYTES
from prover.engines import Engine
from prover.serving.limits import Limits
from prover.serving.live import Served
from prover.serving.servicer import SERVICE, Servicer
from prover.serving.sessions import Sessions
from prover.serving.streams import StreamLimits
from prover.store import Store

logger = logging.getLogger(__name__)

SWEEP_S = 1.0
"""How often idle sessions and overdue streams are looked for."""

DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, kw_only=True)
class Tls:
    """Where the server's certificate chain and private key are, both PEM."""

    certificate: Path
    key: Path


def honest(
    *, task: Task, committed: ClaimCommitted, key: SigningKey, engine: Engine, limits: Limits = DEFAULT_LIMITS
) -> Served:
    """Return what an honest prover serves: its one claim, and answers that its engine trained."""

    def make_session() -> ProverSession:
        return ProverSession(
            game=task,
            claim=committed.claim,
            signed=committed.signed,
            key=key,
            max_evaluations=limits.max_evaluations(task.n_targets),
        )

    return Served(task=task, make_session=make_session, engine=engine)


class ProverServer:
    """A server that is bound when made and answers from :meth:`start` to :meth:`stop`.

    Parameters
    ----------
    served : :func:`honest`, or what a test makes of it.
    store : where sessions are kept; the caller closes it, after :meth:`stop`.
    address : ``HOST:PORT``, ``[ADDRESS]:PORT`` for IPv6; port 0 takes a free one.
    tls : None for plaintext, which only a loopback address may have, unless ``insecure``.

    Raises
    ------
    ArgumentError
        Not an address, or plaintext for other machines.
    DataError
        The certificate or key cannot be read.
    TransportError
        The address cannot be taken: another program has the port, or it is not this machine's.
    """

    def __init__(
        self,
        served: Served,
        store: Store,
        *,
        address: str,
        tls: Tls | None = None,
        insecure: bool = False,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self.host, port = _parsed(address)
        if tls is None and not insecure and not _is_loopback(self.host):
            raise ArgumentError(
                f"expected a certificate to serve {self.host} to other machines, got none: give --tls-cert and "
                "--tls-key, or say --insecure"
            )
        self._limits = limits
        self._streams = StreamLimits(limits.max_open_streams, limits.max_stream_s)
        self._grpc = self._make_grpc()
        self.port = self._bind(port, tls)
        self._sessions = Sessions(served, store, limits)
        self._health = health.HealthServicer(experimental_non_blocking=False)  # so that its streams are counted
        self._stopped = threading.Event()
        self._grpc.add_generic_rpc_handlers((Servicer(served, self._sessions, limits).handler(),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._grpc)
        self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)

    @property
    def address(self) -> str:
        """``HOST:PORT`` with the port that was taken."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def start(self) -> None:
        """Answer calls; health says SERVING from here on, since the claim is there."""
        self._grpc.start()
        threading.Thread(target=self._sweep, name="sweep", daemon=True).start()
        self._set_health(health_pb2.HealthCheckResponse.SERVING)

    def stop(self, grace_s: float | None = None) -> None:
        """Refuse new calls, and end those under way and the chunk that is being trained within ``grace_s``."""
        grace_s = self._limits.shutdown_grace_s if grace_s is None else grace_s
        self._health.enter_graceful_shutdown()
        self._stopped.set()
        ended = self._grpc.stop(grace_s)
        if not self._sessions.stop(grace_s):
            logger.warning("a chunk of answers took longer than %g s to train and will be trained again", grace_s)
        ended.wait()

    def _make_grpc(self) -> Any:
        n_threads = self._limits.max_open_streams + self._limits.n_unary_threads
        return grpc.server(
            ThreadPoolExecutor(n_threads, thread_name_prefix="call"),
            interceptors=(self._streams,),
            options=(
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                ("grpc.so_reuseport", 0),  # else two servers would share a port, and answer each other's sessions
                ("grpc.keepalive_time_ms", 30_000),  # finds out about callers whose machine went away
                ("grpc.keepalive_timeout_ms", 20_000),
            ),
            maximum_concurrent_rpcs=4 * n_threads,
        )

    def _bind(self, port: int, tls: Tls | None) -> int:
        address = f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"
        try:
            if tls is None:
                return int(self._grpc.add_insecure_port(address))
            return int(self._grpc.add_secure_port(address, _credentials(tls)))
        except RuntimeError as error:
            raise TransportError(
                f"expected to serve at {address}, got no such place: the port is taken or the address is not this "
                "machine's; choose another"
            ) from error

    def _set_health(self, status: int) -> None:
        for name in ("", SERVICE):
            self._health.set(name, status)

    def _sweep(self) -> None:
        while not self._stopped.wait(SWEEP_S):
            self._streams.cut_off()
            self._sessions.sweep()


def serve(
    served: Served,
    store: Store,
    *,
    address: str,
    tls: Tls | None = None,
    insecure: bool = False,
    limits: Limits = DEFAULT_LIMITS,
    on_ready: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve until SIGTERM or SIGINT, then stop and lose nothing. For the main thread only.

    Parameters
    ----------
    on_ready : told the address, with the port that was taken, once calls are answered.

    Raises
    ------
    ArgumentError, DataError, TransportError
        As :class:`ProverServer`.
    """
    server = ProverServer(served, store, address=address, tls=tls, insecure=insecure, limits=limits)
    told = threading.Event()

    def tell(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one does not wait
        told.set()

    before = {number: signal.signal(number, tell) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.start()
        on_ready(server.address)
        told.wait()
    finally:
        server.stop()
        for number, handler in before.items():
            signal.signal(number, handler)


def _parsed(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ArgumentError(f"expected an address HOST:PORT to serve at, got {address!r}")
    return host, int(port)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _credentials(tls: Tls) -> Any:
    key, certificate = _read(tls.key), _read(tls.certificate)
    try:  # gRPC takes anything, and then says that the port is taken
        first = x509.load_pem_x509_certificates(certificate)[0]
        matches = load_pem_private_key(key, password=None).public_key() == first.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise DataError(
            f"TLS: expected a PEM certificate {tls.certificate} and an unencrypted PEM key {tls.key}, got others"
        ) from error
    if not matches:
        raise DataError(f"TLS: expected the key of certificate {tls.certificate}, got another's in {tls.key}")
    return grpc.ssl_server_credentials(((key, certificate),))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"TLS {path}: expected a file to read, got {error.strerror}; check the path") from error
