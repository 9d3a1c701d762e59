"""Who may import whom: the contracts of pyproject.toml bite, and ``import protocol`` stays light."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "grpc", "google", "sklearn", "pyarrow", "ray", "prover", "verifier")
HEAVY_ROOMS = ("protocol.training", "protocol.wire")

IMPORT_ALL_LIGHT = f"""
import importlib, pkgutil, sys
import protocol

def light(name):
    return not any(name == room or name.startswith(room + ".") for room in {HEAVY_ROOMS!r})

found = [m.name for m in pkgutil.iter_modules(protocol.__path__, "protocol.") if light(m.name)]
for name in found:
    module = importlib.import_module(name)
    found += [m.name for m in pkgutil.iter_modules(getattr(module, "__path__", []), name + ".")]
print(*found)
loaded = sorted({{name.split(".")[0] for name in sys.modules}} & set({HEAVY!r}))
sys.exit("loaded " + ", ".join(loaded) if loaded else 0)
"""


def test_the_protocol_loads_without_learning_or_network_libraries() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL_LIGHT], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rooms = {
        "protocol.session",
        "protocol.certificate.registry",
        "protocol.commitments",
        "protocol.task",
        "protocol.game",
    }
    assert rooms <= set(done.stdout.split())


BROKEN = {
    "prover and verifier import the protocol, never each other": ("prover/a.py", "import verifier"),
    "the protocol knows neither party": ("protocol/session/a.py", "import prover"),
    "inside the protocol, downwards only": ("protocol/encoding.py", "import protocol.task"),
    "only the registry knows which certificates there are": (
        "protocol/session/a.py",
        "from protocol.certificate.moments import bound",
    ),
    "inside the protocol, only training learns": ("protocol/certificate/a.py", "import torch.nn"),
    "inside the protocol, only wire knows protobuf and gRPC": ("protocol/session/a.py", "import google.protobuf"),
    "the protocol has no network, clock, entropy, threads or log of its own": ("protocol/claim.py", "import time"),
    "what is shipped imports nothing that is not": ("verifier/a.py", "import tests.adversaries"),
}
PACKAGES = (
    "prover",
    "verifier",
    *(
        f"protocol{p}"
        for p in ("", "/training", "/wire", "/session", "/certificate", "/commitments", "/game", "/recipes")
    ),
    *(f"protocol/certificate/{m}" for m in ("moments", "crossfit", "exhaustive", "algorithm1", "gaussian")),
)
MODULES = ("claim", "taskfile", "recipefile", "task", "numerics", "tomltext", "encoding", "errors")


def lint_imports(project: Path) -> subprocess.CompletedProcess[str]:
    """Run the contracts of pyproject.toml on the packages below ``project``."""
    shutil.copy(ROOT / "pyproject.toml", project)
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=project, capture_output=True, text=True)


@pytest.fixture
def skeleton(tmp_path: Path) -> Path:
    """Return a project with every room of the house, all of them empty but for imports that are allowed."""
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    for module in MODULES:
        (tmp_path / "protocol" / f"{module}.py").touch()
    (tmp_path / "protocol/training/ridge.py").write_text(
        "import torch, sklearn.datasets, pyarrow\nimport protocol.task\n"
    )
    (tmp_path / "protocol/wire/codec.py").write_text("import google.protobuf, grpc\nimport protocol.session\n")
    (tmp_path / "protocol/certificate/moments/bound.py").touch()
    (tmp_path / "protocol/certificate/registry.py").write_text("import protocol.certificate.moments.bound\n")
    (tmp_path / "protocol/certificate/gaussian/method.py").write_text("import protocol.certificate.moments.bound\n")
    (tmp_path / "prover/server.py").write_text("import grpc, time, sqlite3, torch\nimport protocol.wire.codec\n")
    return tmp_path


def test_the_contracts_allow_the_house_as_designed(skeleton: Path) -> None:
    done = lint_imports(skeleton)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("contract", BROKEN)
def test_the_contracts_refuse(skeleton: Path, contract: str) -> None:
    place, line = BROKEN[contract]
    (skeleton / place).write_text(line + "\n")
    done = lint_imports(skeleton)
    assert done.returncode == 1, done.stdout
    assert f"{contract} BROKEN" in done.stdout


def test_a_room_that_is_on_no_list_is_refused(skeleton: Path) -> None:
    (skeleton / "protocol/utils.py").touch()
    done = lint_imports(skeleton)
    assert done.returncode == 1, done.stdout
    assert "utils" in done.stdout
