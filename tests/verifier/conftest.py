"""The market is made once a worker: its claim takes three thousand trainings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from protocol.task import UnitKind
from tests.journeys.in_memory import Entropy
from tests.verifier.market import Market, MemoryProver, make_market
from verifier import verification


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    return make_market(tmp_path_factory.mktemp("market"))


@pytest.fixture(scope="session")
def contributors_market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    return make_market(tmp_path_factory.mktemp("contributors"), UnitKind.CONTRIBUTOR)


@pytest.fixture
def foreseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Entropy that repeats, so that no test of a statistical outcome ever fails by chance."""
    monkeypatch.setattr(verification, "verify", partial(verification.verify, entropy=Entropy(1)))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of its own to run a command in, with a configuration of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Callable[[MemoryProver], MemoryProver]:
    """Put a prover in memory behind every address."""

    def serve(prover: MemoryProver) -> MemoryProver:
        monkeypatch.setattr("verifier.party._connect", lambda *_: prover)
        return prover

    return serve
