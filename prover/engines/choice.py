"""Which engine a command means.

Owns the words ``local``, ``ray``, ``cuda:0,cuda:1`` and ``cuda:all``. Nothing here affects outputs
beyond the task's tolerance, so none of it belongs to the task.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from protocol.errors import ArgumentError, TrainingError
from protocol.recipes import Factory, Kernel, Network, Sgd
from protocol.task import Task
from protocol.training import Dataset
from protocol.training.descent.networks import own_factory
from prover.engines.engine import Engine
from prover.engines.local import LocalEngine
from prover.engines.processes import ProcessEngine

LOCAL, RAY = "local", "ray"
ALL_GPUS = "cuda:all"
MAX_WORKERS = 1024


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Where trainings are to run; does not affect outputs.

    kind : ``local`` or ``ray``.
    device : one of torch's names; for ``local`` also several with commas between, or ``cuda:all``.
    workers : processes on device ``cpu`` (local; None for one), or chunks at once (ray; None for as many as fit).
    threads : processor threads of each worker; None for a fair share. address : of a Ray cluster; None starts one.
    factory : where the task's own network is imported from.
    """

    kind: str = LOCAL
    device: str = "cpu"
    workers: int | None = None
    threads: int | None = None
    address: str | None = None
    factory: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in {LOCAL, RAY}:
            raise ArgumentError(f"--engine: expected {LOCAL} or {RAY}, got {self.kind!r}")
        if self.address is not None and self.kind != RAY:
            raise ArgumentError(f"--ray-address: expected --engine ray beside it, got --engine {self.kind}")
        if self.workers is not None and not 1 <= self.workers <= MAX_WORKERS:
            raise ArgumentError(f"--workers: expected 1 to {MAX_WORKERS}, got {self.workers}")
        if self.kind == LOCAL and self.workers is not None and self.device != "cpu":
            raise ArgumentError(
                f"--workers: expected --device cpu beside it, got {self.device!r}, which has a worker for each device; "
                "leave it out"
            )

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices of engine ``local``, one for each worker."""
        if self.device == ALL_GPUS:
            return _all_gpus()
        if self.device == "cpu":
            return ("cpu",) * (self.workers or 1)
        return tuple(name.strip() for name in self.device.split(","))

    @property
    def fit_device(self) -> str:
        """The device where a claim is fitted: the first of them that is on this machine."""
        return self.devices[0] if self.kind == LOCAL else "cpu"


@contextmanager
def opened(choice: Choice, task: Task, dataset: Dataset) -> Iterator[Engine]:
    """Hold an engine; its workers stop at the end.

    Parameters
    ----------
    dataset : the task's own, from ``training.load``.

    Raises
    ------
    ArgumentError, TrainingError, TransportError
        As the engines and :func:`check_factory` say.
    """
    check_factory(task, choice.factory)
    if choice.kind == RAY:
        from prover.engines.ray_engine import RayEngine  # noqa: PLC0415  and gRPC with it, only when it is asked for

        with RayEngine(
            task, dataset, address=choice.address, device=choice.device, n_workers=choice.workers,
            n_threads=choice.threads, factory=choice.factory,
        ) as engine:  # fmt: skip
            yield engine
        return
    devices = choice.devices
    if len(devices) == 1:
        own = own_factory(choice.factory) if choice.factory else None
        yield LocalEngine(task, dataset, device=devices[0], n_threads=choice.threads, factory=own)
        return
    with ProcessEngine(task, dataset, devices=devices, n_threads=choice.threads, factory=choice.factory) as engines:
        yield engines


def check_factory(task: Task, factory: str | None) -> None:
    """Raise ArgumentError for code of the user's own that the task has no use for: nothing would read it."""
    match task.recipe:
        case Sgd(factory=Factory.CUSTOM) | Kernel(network=Network(factory=Factory.CUSTOM)):
            return
    if factory is not None:
        raise ArgumentError(
            f"--factory: expected none with this task, whose recipe {task.recipe.name} has no network of your own, "
            f"got {factory[:80]}; leave it out"
        )


def _all_gpus() -> tuple[str, ...]:
    import torch  # noqa: PLC0415  a choice that names no GPU needs no torch

    n = torch.cuda.device_count()
    if not n:
        raise TrainingError(f"device {ALL_GPUS!r}: expected GPUs that torch can use here, found none; use device cpu")
    return tuple(f"cuda:{i}" for i in range(n))
