"""The prover's command line in this process, in a directory of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from prover import cli

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def prover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command; return its exit status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        status = cli.run(arguments)
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return status, out, err

    return run
