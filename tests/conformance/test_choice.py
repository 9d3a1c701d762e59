"""Which engine a command means, and what it says of one that is not there."""

from __future__ import annotations

import builtins
import re
import socket
import sys
import time
from pathlib import Path

import pytest

from protocol.errors import ArgumentError, AttributionProofsError, TrainingError, TransportError
from prover.engines import choice
from prover.engines.choice import Choice, opened
from prover.engines.local import LocalEngine
from prover.engines.processes import ProcessEngine
from tests.conformance.worlds import wine

needs_ray = pytest.mark.ray


def opening(**what: object) -> str:
    with opened(Choice(**what), *wine()):  # type: ignore[arg-type]
        pytest.fail("expected a refusal")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"kind": "slurm"}, "--engine: expected local or ray, got 'slurm'"),
        ({"address": "head:6379"}, "--ray-address: expected --engine ray beside it, got --engine local"),
        ({"workers": 0}, "--workers: expected 1 to 1024, got 0"),
        (
            {"workers": 2, "device": "cuda"},
            "--workers: expected --device cpu beside it.*worker for each device; leave it out",
        ),
        ({"workers": 1, "device": "cuda:0,cuda:1"}, "--workers: expected --device cpu beside it, got 'cuda:0,cuda:1'"),
    ],
)
def test_choices_that_make_no_sense_are_refused(what: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Choice(**what)  # type: ignore[arg-type]


def test_devices_are_spelt_in_one_word() -> None:
    assert Choice().devices == ("cpu",)
    assert Choice(workers=3).devices == ("cpu", "cpu", "cpu")
    assert Choice(device="cuda:1, cuda:0").devices == ("cuda:1", "cuda:0")
    assert Choice(device="cuda:1,cuda:0").fit_device == "cuda:1"
    assert Choice(kind="ray", device="cuda").fit_device == "cpu"


def test_all_cards_are_those_that_torch_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert Choice(device="cuda:all").devices == ("cuda:0", "cuda:1")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(TrainingError, match="device 'cuda:all': expected GPUs that torch can use here, found none"):
        opening(device="cuda:all")


def test_one_device_needs_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(Choice(), *wine()) as engine:
        assert isinstance(engine, LocalEngine)
    monkeypatch.setattr(choice, "ProcessEngine", Held)
    with opened(Choice(workers=2, threads=3), *wine()) as engine:
        assert isinstance(engine, Held)
        assert engine.what == {"devices": ("cpu", "cpu"), "n_threads": 3, "factory": None}


class Held(ProcessEngine):
    def __init__(self, task: object, dataset: object, **what: object) -> None:
        self.what = what

    def close(self) -> None:
        pass


def test_a_device_that_is_not_there_is_said_by_its_worker() -> None:
    with pytest.raises(TrainingError, match="device 'nonsense:1': expected one that torch can use here"):
        opening(device="cpu,nonsense:1")


def test_without_ray_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def no_ray(name: str, *rest: object) -> object:
        if name == "ray":
            raise ImportError("No module named 'ray'")
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.setattr(builtins, "__import__", no_ray)
    with pytest.raises(ArgumentError, match=re.escape("run pip install 'attribution-proofs[ray]'")) as caught:
        opening(kind="ray")
    assert "\n" not in str(caught.value)


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@needs_ray
@pytest.mark.parametrize("prefix", ["", "ray://"])
def test_an_address_where_nobody_is_ends_in_one_line_and_its_status(prefix: str) -> None:
    refused(f"{prefix}127.0.0.1:{closed_port()}", TransportError, "expected a Ray cluster, got none .*ray start --head")


@needs_ray
def test_an_address_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="Ray is optional")
    monkeypatch.setattr("prover.engines.ray_engine.ANSWER_S", 0.5)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        started = time.monotonic()
        refused(f"127.0.0.1:{mute.getsockname()[1]}", TransportError, "expected a Ray cluster, got none .no answer in")
    assert time.monotonic() - started < 30


@needs_ray
@pytest.mark.parametrize("address", ["nonsense", ":6379", "head:", "head:port"])
def test_an_address_that_is_none_is_a_wrong_option(address: str) -> None:
    refused(address, ArgumentError, "--ray-address: expected HOST:PORT, ray://HOST:PORT or auto")


@needs_ray
def test_a_card_is_the_clusters_to_choose() -> None:
    with pytest.raises(ArgumentError, match="--device: expected cpu or cuda on a Ray cluster, which chooses"):
        opening(kind="ray", device="cuda:1")


def refused(address: str, kind: type[AttributionProofsError], message: str) -> None:
    pytest.importorskip("ray", reason="Ray is optional")
    with pytest.raises(kind, match=message) as caught:
        opening(kind="ray", address=address)
    assert "\n" not in str(caught.value)


@needs_ray
def test_a_cluster_too_small_for_one_training_is_refused_with_what_it_has() -> None:
    pytest.importorskip("ray", reason="Ray is optional")
    with pytest.raises(
        TrainingError, match=r"expected a node with 9999 CPU and 0 GPU for one training, got nodes: 1 with \d+ CPU"
    ):
        opening(kind="ray", threads=9999)


def test_ray_is_imported_by_one_file_alone() -> None:
    imports = re.compile(r"^\s*(import|from) ray\b", re.MULTILINE)
    importing = [path.name for path in Path("prover").rglob("*.py") if imports.search(path.read_text())]
    assert importing == ["ray_engine.py"]
