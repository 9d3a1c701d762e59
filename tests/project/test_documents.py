"""The documents say what the code does: commands, options, exit statuses, version.

What README.md must have for it:

- commands in fenced blocks marked ``sh``, as typed: a ``$ `` before them, a ``#`` comment and a trailing backslash are
  understood; output goes into blocks marked ``text``;
- between ``<!-- exit-status -->`` and ``<!-- /exit-status -->`` a table whose first column is the status and whose last
  names, in backticks, the verdicts or the classes of ``protocol.errors`` that end with it.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import protocol
from protocol import errors

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PARTIES = ("prover", "verifier")
MUST_SHOW = (
    "make demo", "make test", "prover init", "prover train", "prover serve", "verifier plan", "verifier verify",
    "verifier audit",
)  # fmt: skip
USAGE_ERROR = errors.ArgumentError.exit_status


def commands_in(markdown: str) -> list[list[str]]:
    """Return the words of every command in the fenced ``sh`` blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", markdown, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line.removeprefix("$ "), comments=True))]


def statuses_in(markdown: str) -> dict[int, set[str]]:
    """Return the exit-status table: each status with the names in its row's last column."""
    (table,) = re.findall(r"^<!-- exit-status -->$(.*?)^<!-- /exit-status -->$", markdown, re.MULTILINE | re.DOTALL)
    rows = [row.strip().strip("|").split("|") for row in table.strip().splitlines()]
    return {int(row[0]): set(re.findall(r"`(\w+)`", row[-1])) for row in rows if row[0].strip().isdigit()}


def statuses_in_code() -> dict[int, set[str]]:
    """Return each exit status with the verdict and the classes of errors that end with it."""
    statuses = {0: {"ACCEPT"}, 1: {"REJECT"}, 2: {"INCONCLUSIVE"}}
    for error in descendants(errors.AttributionProofsError):
        if "exit_status" in vars(error):  # the others end as their parents do
            statuses.setdefault(error.exit_status, set()).add(error.__name__)
    return statuses


def descendants(error: type[errors.AttributionProofsError]) -> Iterator[type[errors.AttributionProofsError]]:
    for child in error.__subclasses__():
        yield child
        yield from descendants(child)


def run(party: str, *words: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; from {party}.cli import main; sys.argv[0] = {party!r}; sys.exit(main())"
    environment = os.environ | {"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@functools.cache
def help_of(party: str, subcommand: str) -> str:
    done = run(party, subcommand, "--help") if subcommand else run(party, "--help")
    return done.stdout if done.returncode == 0 else ""


def faults_of(words: list[str]) -> list[str]:
    """Return what is wrong with a command: no such target, no such subcommand, no such option."""
    program, *rest = words
    if program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return [f"make has no target {word}" for word in rest if "=" not in word and word not in targets]
    if program not in PARTIES:
        return []
    subcommand = rest[0] if rest and not rest[0].startswith("-") else ""
    text = help_of(program, subcommand)
    if not text:
        return [f"{program} has no command {subcommand}"]
    options = [word.split("=")[0] for word in rest if re.match(r"--?[a-zA-Z]", word)]
    return [
        f"{program} {subcommand} has no option {o}" for o in options if not re.search(rf"(?<![\w-]){o}(?![\w-])", text)
    ]


@pytest.fixture(scope="module")
def readme() -> str:
    assert README.is_file(), "expected README.md at the root of the project, found none"
    return README.read_text()


def test_the_readme_shows_the_two_set_up_commands_and_the_three_uses(readme: str) -> None:
    shown = {" ".join(words[:2]) for words in commands_in(readme)}
    assert set(MUST_SHOW) <= shown


def test_every_command_and_option_of_the_readme_exists(readme: str) -> None:
    faults = [fault for words in commands_in(readme) for fault in faults_of(words)]
    assert not faults, "\n".join(faults)


def test_the_readme_table_of_exit_statuses_is_the_codes(readme: str) -> None:
    assert statuses_in(readme) == statuses_in_code()


@pytest.mark.parametrize("party", PARTIES)
def test_a_wrong_option_never_ends_like_a_verdict(party: str) -> None:
    done = run(party, "--no-such-option")
    assert done.returncode == USAGE_ERROR, done.stderr
    assert "Traceback" not in done.stderr


def test_the_changelog_names_the_version() -> None:
    assert protocol.__version__ in (ROOT / "CHANGELOG.md").read_text()


SAMPLE = """
```sh
$ make demo  # two minutes
prover serve \\
    --no-such-thing 3
make coffee
prover cook
```
```text
verifier out of sight
```
"""


def test_the_checker_reads_commands_as_typed() -> None:
    assert commands_in(SAMPLE) == [
        ["make", "demo"], ["prover", "serve", "--no-such-thing", "3"], ["make", "coffee"], ["prover", "cook"],
    ]  # fmt: skip


def test_the_checker_finds_what_does_not_exist() -> None:
    assert [fault for words in commands_in(SAMPLE) for fault in faults_of(words)] == [
        "prover serve has no option --no-such-thing", "make has no target coffee", "prover has no command cook",
    ]  # fmt: skip


def test_the_checker_reads_the_table_of_exit_statuses() -> None:
    table = "<!-- exit-status -->\n| status | when | names |\n|---|---|---|\n| 0 | good | `ACCEPT` |\n"
    table += "| 64 | a `--wrong` option | `ArgumentError` |\n<!-- /exit-status -->\n"
    assert statuses_in(table) == {0: {"ACCEPT"}, 64: {"ArgumentError"}}
