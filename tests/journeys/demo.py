"""``make demo``: one honest prover, three dishonest ones, each in a process of its own, and a verifier that meets them.

Every step is a command that a user could type, run as it stands: nothing is mocked, and nothing of ours is imported.
All files are in .demo/, which is emptied first. Exit status: 0 when every verdict is the expected one, 1 otherwise.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / ".demo"
BIN = Path(sys.executable).parent
ENVIRONMENT = {**os.environ, "XDG_CONFIG_HOME": str(PLACE / "config"), "PYTHONUNBUFFERED": "1"}
START_S = 120.0
"""Longest that a server may take to read its data and answer, on a slow machine."""

console = Console(highlight=False)


class Unexpected(Exception):
    """A step did not end as it must."""


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """A prover that the verifier meets, and what must come of it.

    cheat : a name of ``tests.adversaries.registry``, or None for the honest prover.
    options : what the verifier's command has beside the rest.
    status : exit status of ``verifier verify``. reason : regular expression that its reason matches.
    """

    prover: str
    cheat: str | None
    options: tuple[str, ...] = ()
    status: int
    reason: str


DELEGATED = ("--answers", "delegated")

MEETINGS = (
    Meeting(prover="honest", cheat=None, status=0, reason="pooled relative gap is at most"),
    Meeting(
        prover="honest, and it does the training", cheat=None, options=DELEGATED, status=0,
        reason="pooled relative gap is at most",
    ),
    Meeting(
        prover="dishonest: every score halved, and said to be perfect", cheat="flattering-figures", status=1,
        reason="pooled relative gap is at least",
    ),
    Meeting(
        prover="dishonest: the rows of one contributor (units 0 to 99) favoured", cheat="favoured", status=1,
        reason="pooled relative gap is at least",
    ),
    Meeting(
        prover="dishonest: honest claim, three answers in ten false", cheat="false-fraction", options=DELEGATED,
        status=1, reason="rechecked answers are false",
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Met:
    """How a meeting ended."""

    meeting: Meeting
    status: int
    outcome: str
    reason: str
    seconds: float

    @property
    def as_expected(self) -> bool:
        return self.status == self.meeting.status and re.search(self.meeting.reason, self.reason) is not None


class Server:
    """A prover's server in a process of its own, told to stop at the end of its block."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self._name, self._log = name, PLACE / f"{name}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, env=ENVIRONMENT, start_new_session=True
            )

    def address(self) -> str:
        """Return HOST:PORT as soon as it answers."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            said = self._log.read_text(errors="replace")
            found = re.search(r"^serving (\S+)$", said, re.MULTILINE)
            if found:
                return found[1]
            if self._process.poll() is not None:
                raise Unexpected(f"the {self._name} prover's server ended early:\n{said}")
            time.sleep(0.05)
        raise Unexpected(f"the {self._name} prover's server did not answer within {START_S:g} s: see {self._log}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main() -> int:
    started = time.monotonic()
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir()
    try:
        met = journey()
    except Unexpected as error:
        console.print(f"\n{error}", style="bold red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("\ninterrupted", style="bold red")
        return 130
    summarise(met, time.monotonic() - started)
    return 0 if all(each.as_expected for each in met) else 1


def journey() -> list[Met]:
    """Train, serve, verify; return how every meeting ended."""
    heading("A prover trains on digits and claims how much each of 1,000 rows matters to 200 predictions")
    command("prover", "init", "--data", "sklearn:digits", "--out", ".demo/task.toml")
    command("prover", "train", ".demo/task.toml", "--store", ".demo/prover")
    with ExitStack() as stack:
        cheats = list(dict.fromkeys(meeting.cheat for meeting in MEETINGS))
        running = {cheat: stack.enter_context(started_server(cheat)) for cheat in cheats}
        met = []
        for meeting in MEETINGS:
            heading(f"A verifier meets a prover: {meeting.prover}")
            met.append(verified(meeting, running[meeting.cheat], number=len(met)))
        return met


def started_server(cheat: str | None) -> Server:
    """Start a server, and do not wait for it: they load while the verifier is busy elsewhere."""
    if cheat is None:
        return Server("honest", [str(BIN / "prover"), "serve", "--store", ".demo/prover", "--port", "0"])
    options = ["--store", ".demo/prover", "--port", "0", "--threads", "1"]
    return Server(cheat, [sys.executable, "-m", "tests.adversaries.serve", cheat, *options])


def verified(meeting: Meeting, server: Server, *, number: int) -> Met:
    """Run ``verifier verify`` against a server; show the honest prover's certificate, of the others the reason."""
    with console.status("the prover's server is starting"):
        address = server.address()
    started = time.monotonic()
    said = command(
        "verifier", "verify", address, "--task", ".demo/task.toml", "--max-retrainings", "1000",
        "--transcript", f".demo/{number}.transcript", *meeting.options, capture=True, expected=None,
    )  # fmt: skip
    seconds = time.monotonic() - started
    lines = said.stdout.splitlines()
    outcome, reason = (line.strip() for line in [*lines[:2], "", ""][:2])
    shown = lines if number == 0 else lines[:2]
    for line in shown:
        bold = "bold green" if line.startswith("ACCEPT") else "bold red" if line.startswith("REJECT") else None
        console.print(line, style=bold, markup=False, soft_wrap=True)
    met = Met(meeting=meeting, status=said.returncode, outcome=outcome, reason=reason, seconds=seconds)
    if not met.as_expected:
        console.print(f"expected exit status {meeting.status} and a reason like: {meeting.reason}", style="bold red")
    return met


def command(
    name: str, *arguments: str, capture: bool = False, expected: int | None = 0
) -> subprocess.CompletedProcess[str]:
    """Show a command and run it; its progress bars go to this terminal, and so does what it says unless ``capture``."""
    console.print(f"[dim]$[/dim] {name} {' '.join(arguments)}", style="cyan", soft_wrap=True)
    columns = {"COLUMNS": str(console.width)}
    done = subprocess.run(
        [str(BIN / name), *arguments], cwd=ROOT, env={**ENVIRONMENT, **columns}, text=True, check=False,
        stdout=subprocess.PIPE if capture else None,
    )  # fmt: skip
    if expected is not None and done.returncode != expected:
        raise Unexpected(f"{name} {arguments[0]}: expected exit status {expected}, got {done.returncode}")
    return done


def heading(text: str) -> None:
    console.print(f"\n{text}", style="bold", markup=False, soft_wrap=True)


def summarise(met: Sequence[Met], seconds: float) -> None:
    """Print what came of every meeting."""
    heading("What came of it")
    table = Table(box=None, pad_edge=False)
    for name in ("prover", "verdict", "seconds"):
        table.add_column(name, justify="right" if name == "seconds" else "left", overflow="fold")
    for each in met:
        style = "green" if each.as_expected else "bold red"
        verdict = " ".join(each.outcome.split()) + ("" if each.as_expected else ", not as expected")
        table.add_row(each.meeting.prover, f"[{style}]{verdict}[/{style}]", f"{each.seconds:.1f}")
    console.print(table)
    surprises = sum(not each.as_expected for each in met)
    verdict = "every verdict is as expected" if surprises == 0 else f"{surprises} verdicts are not as expected"
    console.print(f"\n{verdict}; {seconds:.0f} s in all; transcripts and logs are in .demo/")


if __name__ == "__main__":
    sys.exit(main())
