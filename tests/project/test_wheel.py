"""What is shipped: the wheel holds the three packages and no more, and both commands run from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import protocol

ROOT = Path(__file__).parents[2]
SHIPPED = ("protocol", "prover", "verifier")
METADATA = f"attribution_proofs-{protocol.__version__}.dist-info"


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command that sees neither this checkout nor this environment's settings, and return what it prints."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PIP_", "VIRTUAL_ENV"))}
    environment |= {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "TERM": "dumb", "COLUMNS": "120"}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel, built from a copy of the checkout: a build finds what earlier ones left behind."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info")
    shutil.copytree(ROOT, source, ignore=ignored, dirs_exist_ok=True)
    assert (source / "tests").is_dir(), "nothing would be left out"
    assert (source / "proto").is_dir(), "nothing would be left out"
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, source, cwd=source)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a fresh environment with the wheel installed and, for its dependencies only, a view of this one's."""
    place = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", place, cwd=place)
    run(sys.executable, "-m", "pip", "--python", place, "install", "--no-deps", wheel, cwd=place)
    (packages,) = place.glob("lib/python*/site-packages")
    # Path files are not followed from here, so an editable install of this checkout stays out of sight.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place


def test_the_wheel_holds_the_three_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        rooms = {name.split("/")[0] for name in archive.namelist()}
    assert rooms == {*SHIPPED, METADATA}


def test_every_module_of_the_checkout_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    ours = {p.relative_to(ROOT).as_posix() for room in SHIPPED for p in (ROOT / room).rglob("*.py")}
    assert ours <= names
    assert {f"{room}/py.typed" for room in SHIPPED} <= names


def test_the_wheel_names_its_licence_and_holds_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"{METADATA}/METADATA").decode()
        licence = archive.read(f"{METADATA}/licenses/LICENSE").decode()
    assert "License-Expression: Apache-2.0\n" in metadata
    assert "Version 2.0, January 2004" in licence


def test_the_packages_come_from_the_wheel(environment: Path) -> None:
    code = "import protocol, prover, verifier; print(protocol.__file__, prover.__file__, verifier.__file__)"
    places = run(environment / "bin/python", "-c", code, cwd=environment).split()
    assert all(Path(place).is_relative_to(environment) for place in places), places


@pytest.mark.parametrize("command", ["prover", "verifier"])
def test_a_command_runs_from_the_wheel(environment: Path, command: str) -> None:
    assert "Usage" in run(environment / "bin" / command, "--help", cwd=environment)
