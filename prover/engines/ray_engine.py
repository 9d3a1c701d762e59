"""Trainings on a Ray cluster: one that runs already, or one of this machine that is started here.

Owns reaching the cluster and what its faults mean. Ray's own retries are off: what is to be done again
is for ``dispatch`` to say, as for every other kind of worker. Ray is optional, and imported here alone.

What travels between driver and nodes is pickled by Ray: a cluster's nodes are its owner's, and trust
each other. Never give the address of a cluster that others use.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import Any, Self

import grpc
import numpy as np
from jaxtyping import Int64

from protocol.errors import ArgumentError, TrainingError, TransportError
from protocol.game.sampling import Draw
from protocol.task import Task
from protocol.training import ChunkSize, Dataset
from prover.engines import ray_worker
from prover.engines.dispatch import Failed, LostWorker, Report, dispatch
from prover.engines.engine import OnDone

ANSWER_S = 10.0
"""How long an address has to answer: longer than any handshake, shorter than Ray's own minutes of silence."""
START_S = 120.0
"""How long a node has to start its first process and import what is installed there."""
LOOK_S = 10.0
"""How long no chunk may be finished before the nodes are looked at: one that none can hold waits in silence."""

_SLOTS_PER_WORKER = 2  # one chunk waits on the cluster while another trains: saving one keeps no worker waiting


class RayEngine:
    """An :class:`prover.engines.Engine`. Any thread may run it; runs take turns.

    Parameters
    ----------
    dataset : the task's own, from ``training.load``; nodes get it from here.
    address : ``HOST:PORT`` of a cluster's head, ``ray://HOST:PORT`` or ``auto``; None starts a cluster on this machine.
    device : ``cpu``, each training task asking for ``n_threads`` processors; or ``cuda``, for one GPU.
    n_workers : how many chunks train at once, at most; by default, as many as the cluster has room for.
    factory : ``package.module:function`` of the user's own network, to be importable on every node. None of
        these affects outputs beyond the task's tolerance.

    Raises
    ------
    ArgumentError
        Ray is not installed, or the device names a card, which is for the cluster to choose.
    TransportError
        No cluster answers at the address.
    TrainingError
        No node has such a device or so many processors, or one has another version of this program.
    """

    def __init__(
        self,
        task: Task,
        dataset: Dataset,
        *,
        address: str | None = None,
        device: str = "cpu",
        n_workers: int | None = None,
        n_threads: int | None = None,
        factory: str | None = None,
    ) -> None:
        if device not in {"cpu", "cuda"}:
            raise ArgumentError(
                f"--device: expected cpu or cuda on a Ray cluster, which chooses the card, got {device!r}"
            )
        self._ray = _imported()
        self._turn = threading.Lock()
        self._size = ChunkSize(task)
        n_threads = n_threads or 1
        ask = _Ask(n_cpus=n_threads, n_gpus=int(device == "cuda"))
        self._is_ours = not self._ray.is_initialized()
        is_started_here = self._is_ours and address is None
        if self._is_ours:
            n_cpus = None if n_workers is None else n_workers * n_threads
            _connect(self._ray, address, n_cpus)
        try:
            room = _room(self._ray, ask)
            self._n_workers = min(n_workers or room, room)
            if not is_started_here:
                _check_nodes(self._ray, ask)
            ours = (None if is_started_here else ray_worker.version(), self._ray.put(task), self._ray.put(dataset))
            train = self._ray.remote(max_retries=0, num_cpus=ask.n_cpus, num_gpus=ask.n_gpus)(ray_worker.train)
            self._crew = _Tasks(
                self._ray,
                ask,
                lambda *chunk: train.remote(*ours, device, n_threads, factory, *chunk),
                _slots(room, None if is_started_here else n_workers),
            )
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def n_workers(self) -> int:
        """How many the cluster had room for when it was reached, or as many as were asked for."""
        return self._n_workers

    def close(self) -> None:
        """Leave the cluster, and stop it if it was started here."""
        if self._is_ours:
            self._ray.shutdown()

    def run(self, draw: Draw, evaluations: Int64[np.ndarray, " m"], on_done: OnDone) -> None:
        """Train on the numbered evaluations; see :class:`prover.engines.Engine`."""
        with self._turn:
            dispatch(self._crew, self._n_workers, draw, evaluations, self._size, on_done)


@dataclass(frozen=True, kw_only=True)
class _Node:
    """A machine of the cluster, by Ray's number and its own address, with all that it has, busy or not."""

    number: str
    place: str
    n_cpus: int
    n_gpus: int


@dataclass(frozen=True, kw_only=True)
class _Ask:
    """What one training asks a node for: Ray never splits a task over two."""

    n_cpus: int
    n_gpus: int

    def room(self, node: _Node) -> int:
        """Return how many trainings a node holds at once."""
        on_cpus = node.n_cpus // self.n_cpus
        return min(on_cpus, node.n_gpus // self.n_gpus) if self.n_gpus else on_cpus


class _Tasks:
    """A :class:`prover.engines.dispatch.Crew`: each chunk is one of Ray's tasks."""

    def __init__(self, ray: ModuleType, ask: _Ask, start: Any, n_slots: int) -> None:
        self._ray, self._ask, self._start, self._n_slots = ray, ask, start, n_slots
        self._tickets: dict[Any, int] = {}

    def has_room(self) -> bool:
        return len(self._tickets) < self._n_slots

    def give(self, ticket: int, draw: Draw, evaluations: Int64[np.ndarray, " k"]) -> None:
        self._tickets[self._start(draw, evaluations)] = ticket

    def wait(self) -> list[tuple[int, Report]]:
        # Those that are finished already come with the first; fetch_local, so that a node lost now is noticed by get.
        while not (finished := self._ray.wait(list(self._tickets), num_returns=1, timeout=LOOK_S)[0]):
            _room(self._ray, self._ask)  # or what is under way would wait for ever: nobody trains any of it
        return [(self._tickets.pop(task), self._outcome(task)) for task in finished]

    def drop(self) -> None:
        for task in self._tickets:
            with contextlib.suppress(Exception):  # best effort, on a cluster that may be the reason why we stop
                self._ray.cancel(task)
        self._tickets.clear()

    def _outcome(self, task: object) -> Report:
        errors = self._ray.exceptions
        try:
            outcome: Report = self._ray.get(task)
        except errors.RayTaskError as error:
            return Failed(error=_unlike(error))
        except errors.RayError as error:  # a worker or a node that died or was killed, an object lost with it
            return LostWorker(reason=f"{type(error).__name__}: {_line(error)}")
        return outcome


def _imported() -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # whoever trains on private data tells nobody of it
    try:
        import ray  # noqa: PLC0415  optional
        import ray.exceptions  # noqa: PLC0415
        import ray.util.scheduling_strategies  # noqa: PLC0415
    except ImportError as error:
        raise ArgumentError(
            f"--engine ray: expected Ray, which cannot be imported here ({error}); "
            "run pip install 'attribution-proofs[ray]'"
        ) from error
    module: ModuleType = ray
    return module


def _connect(ray: ModuleType, address: str | None, n_cpus: int | None) -> None:
    quiet = {"configure_logging": False, "log_to_driver": False}
    if address is None:
        with _own_signals():
            ray.init(address="local", num_cpus=n_cpus, include_dashboard=False, **quiet)
        return
    if address != "auto":
        _require_answer(address)
    try:
        with _own_signals():
            ray.init(address=address, **quiet)
    except (OSError, RuntimeError, ValueError, SystemExit, ray.exceptions.RayError) as error:  # it exits, after minutes
        hint = "if it asks for a token, RAY_AUTH_MODE=token has to be set here, too"
        raise _silent(address, f"{_line(error)}; {hint}") from error


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what this program does on SIGTERM, where it does anything: Ray would end the process with status 15."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if callable(before) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def _require_answer(address: str) -> None:
    """Refuse an address where no gRPC server is: Ray itself would ask it for minutes, and then end the process."""
    place = address.removeprefix("ray://")
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit():
        raise ArgumentError(f"--ray-address: expected HOST:PORT, ray://HOST:PORT or auto, got {address!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise _silent(address, _line(error)) from error
    if os.environ.get("RAY_USE_TLS", "0") not in {"", "0"}:
        return  # Ray has the certificates
    with grpc.insecure_channel(place) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=ANSWER_S)
        except grpc.FutureTimeoutError as error:
            raise _silent(address, f"no answer in {ANSWER_S:.0f} s") from error


def _silent(address: str, reason: str) -> TransportError:
    return TransportError(
        f"ray at {address}: expected a Ray cluster, got none ({reason}); start one with ray start --head, or leave out "
        "--ray-address to start one here"
    )


def _alive(ray: ModuleType) -> list[_Node]:
    return [
        _Node(
            number=node["NodeID"],
            place=node["NodeManagerAddress"],
            n_cpus=int(node["Resources"].get("CPU", 0)),
            n_gpus=int(node["Resources"].get("GPU", 0)),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def _room(ray: ModuleType, ask: _Ask) -> int:
    """Return how many trainings the cluster's nodes hold at once, at least 1; TrainingError if none holds any."""
    nodes = _alive(ray)
    room = sum(ask.room(node) for node in nodes)
    if room < 1:
        kinds = Counter(f"{node.n_cpus} CPU and {node.n_gpus} GPU" for node in nodes)
        there = "; ".join(f"{n} with {kind}" for kind, n in sorted(kinds.items())) or "none"
        raise TrainingError(
            f"ray: expected a node with {ask.n_cpus} CPU and {ask.n_gpus} GPU for one training, got nodes: {there}; "
            "add one that is large enough, or ask for less"
        )
    return room


def _slots(room: int, most: int | None) -> int:
    """Return how many chunks Ray is given: where nodes have room for more than ``most``, none of it waits."""
    n_slots = _SLOTS_PER_WORKER * room
    return n_slots if most is None else min(n_slots, most)


def _check_nodes(ray: ModuleType, ask: _Ask) -> None:
    """Refuse a cluster of which a node that would train cannot run what is installed here.

    Every chunk is checked as well, for nodes that join later; this says so before there is any.
    """
    nearby = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    version = ray.remote(num_cpus=0, max_retries=1)(ray_worker.version)
    asked = {
        version.options(scheduling_strategy=nearby(node.number, soft=False)).remote(): node.place
        for node in _alive(ray)
        if ask.room(node)
    }
    answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=START_S)
    for answer in answered:
        try:
            theirs = ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            raise _unlike(error) from error
        except ray.exceptions.RayError:
            continue  # gone since: what a lost worker costs is for ``dispatch`` to say
        if theirs != ray_worker.version():
            raise ray_worker.unlike(ray_worker.version(), f"{theirs} at {asked[answer]}")
    for answer in silent:
        raise TrainingError(
            f"ray: expected an answer of node {asked[answer]}, got none in {START_S:.0f} s; can it start Python there?"
        )


def _unlike(error: BaseException) -> TrainingError:
    """Return what a RayTaskError means: our tasks raise nothing, so that the node could not even begin with one."""
    text = str(error).strip()
    where = re.search(r"\bip=([^\s,)]+)", text)  # the one place that every kind of it has
    last = text.rpartition("\n")[2].strip()[:160]
    ours = ray_worker.unlike(
        ray_worker.version(), f"a node at {where[1] if where else 'an unknown address'} that cannot train ({last})"
    )
    ours.add_note(text)
    return ours


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160]
