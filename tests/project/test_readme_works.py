"""README's three uses, run as written and in order; the guides' commands exist."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.project.test_documents import commands_in, faults_of

ROOT = Path(__file__).parents[2]
PORT = "50051"
START_S = 60.0
MAX_AUDITS = 2
"""An honest audit flags some amount with probability delta, 0.01 in the README: twice in a row, 1 time in 10,000."""


def commands_of_the_uses(markdown: str) -> list[str]:
    """Return the commands below "Three uses", a line each, comments and continuations as a shell takes them."""
    (uses,) = re.findall(r"^## Three uses$(.*?)^## ", markdown, re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^```sh\n(.*?)^```$", uses, re.MULTILINE | re.DOTALL)
    return [line for line in "".join(blocks).replace("\\\n", " ").splitlines() if line]


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def wait_for_server(server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while "serving" not in log.read_text():
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


@pytest.mark.slow
def test_the_three_uses_run_as_written(tmp_path: Path) -> None:
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "XDG_CONFIG_HOME": str(tmp_path / "config")}
    port, log, servers = free_port(), tmp_path / "serve.log", []
    commands = commands_of_the_uses((ROOT / "README.md").read_text())
    assert sum(command.startswith("prover serve") for command in commands) == 1
    try:
        for command in commands:
            typed = command.replace(PORT, port)
            if command.startswith("prover serve"):
                with log.open("wb") as out:
                    servers.append(
                        subprocess.Popen(["bash", "-c", f"exec {typed}"], cwd=tmp_path, env=environment, stdout=out)
                    )
                wait_for_server(servers[-1], log)
                continue
            for _ in range(MAX_AUDITS if command.startswith("verifier audit") else 1):
                done = subprocess.run(
                    ["bash", "-c", typed], cwd=tmp_path, env=environment, capture_output=True, text=True
                )
                if done.returncode == 0:
                    break
            assert done.returncode == 0, f"{typed}\n{done.stdout}{done.stderr}"
    finally:
        for server in servers:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=START_S)
    for made in ("trusted.toml", "scores.npy", "verdict.transcript", "payouts.csv"):
        assert (tmp_path / made).stat().st_size > 0


@pytest.mark.parametrize("guide", sorted((ROOT / "docs" / "guides").glob("*.md")), ids=lambda path: path.stem)
def test_every_command_and_option_of_the_guides_exists(guide: Path) -> None:
    commands = commands_in(guide.read_text())
    assert commands
    faults = [fault for words in commands for fault in faults_of(words)]
    assert not faults, "\n".join(faults)


def test_commands_are_read_across_lines() -> None:
    text = "## Three uses\n```sh\na b \\\n    c\nd  # e\n```\n## Next\n```sh\nf\n```\n"
    assert commands_of_the_uses(text) == ["a b      c", "d  # e"]
