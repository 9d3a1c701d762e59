"""A network of the user's own, over gRPC: the code is typed on each machine, and its digest is in the task."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from prover import cli as prover
from tests.journeys.in_memory import Entropy
from verifier import cli as verifier
from verifier import verification

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow

SOURCE = """
from torch import nn

def make(shape, n_outputs, widths):
    return nn.Sequential(nn.Linear(shape[0], *widths), nn.{activation}(), nn.Linear(*widths, n_outputs))
"""
Run = Callable[..., tuple[int, dict[str, object] | None, str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the network's code, a task about it and a store with a claim; the code can be imported from it."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "agreed_network.py").write_text(SOURCE.format(activation="Tanh"))
    (folder / "changed_network.py").write_text(SOURCE.format(activation="ReLU"))
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(folder))
        init = "--data sklearn:iris --n-train 30 --n-targets 5 --recipe sgd --widths 4 --epochs 4 -q"
        own = "--factory agreed_network:make"
        assert prover.run(["init", *f"{init} {own}".split(), "--out", str(folder / "task.toml")]) == 0
        train = f"{own} --gap 0.05 --max-retrainings 800 -q"
        assert prover.run(["train", str(folder / "task.toml"), "--store", str(folder / "s"), *train.split()]) == 0
        yield folder


@pytest.fixture(scope="module")
def address(place: Path) -> Iterator[str]:
    """``prover serve`` in a process of its own."""
    words = [sys.executable, "-c", "from prover.cli import main; main()", "serve", "--store", str(place / "s")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{place}"}
    with subprocess.Popen(
        [*words, "--factory", "agreed_network:make", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as process:
        assert process.stdout is not None
        try:
            said = [process.stdout.readline().decode() for _ in range(3)]
            assert said[-1].startswith("serving "), said
            yield said[-1].split()[1]
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command of the verifier; give its exit status, what it printed as JSON, and what it said beside."""
    monkeypatch.setattr(verification, "verify", partial(verification.verify, entropy=Entropy(1)))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> tuple[int, dict[str, object] | None, str]:
        capsys.readouterr()
        status = verifier.run([*words, "--json", "--quiet"])
        printed = capsys.readouterr()
        return status, json.loads(printed.out) if printed.out else None, printed.err

    return command


@pytest.fixture
def verify(place: Path, address: str) -> tuple[str, ...]:
    return ("verify", address, "--task", str(place / "task.toml"), "--epsilon", "0.3", "--transcript", "t")


def test_whoever_has_the_code_verifies_and_rechecks(run: Run, verify: tuple[str, ...]) -> None:
    status, told, said = run(*verify, "--answers", "delegated", "--factory", "agreed_network:make")
    assert (status, said) == (0, "")
    assert told is not None
    assert told["outcome"] == "ACCEPT"
    assert told["n_answered"] > told["n_retrainings"] > 0  # type: ignore[operator]
    status, told, said = run("recheck", "t", "--retrain", "--factory", "agreed_network:make")
    assert (status, said) == (0, "")
    status, told, said = run("recheck", "t", "--retrain")
    assert (status, told) == (64, None)
    assert "--factory" in said


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ((), "error: factory: expected --factory package.module:function, the one of digest "),
        (("--factory", "changed_network:make"), "error: factory changed_network:make: expected source of digest "),
        (("--factory", "no_network:make"), "error: factory no_network:make: expected a module with a source file"),
        (("--factory", "agreed_network"), "error: factory 'agreed_network': expected package.module:function"),
    ],
)
def test_without_the_code_nothing_is_begun(
    run: Run, verify: tuple[str, ...], tmp_path: Path, options: tuple[str, ...], line: str
) -> None:
    status, told, said = run(*verify, *options)
    assert (status, told) == (64, None)
    assert said.startswith(line)
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "t").exists()
    assert "changed_network" not in sys.modules, "code of another digest is never imported"
