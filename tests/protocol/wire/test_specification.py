"""proto/SPEC.md says what the code does: labels, states, numbered checks, limits, errors."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.claim import MAX_MAGNITUDE
from protocol.errors import Reason
from protocol.recipes.estimator import MAX_CHARACTERS, MAX_DEPTH
from protocol.recipes.network import MAX_LAYERS, MAX_WIDTH
from protocol.recipes.scikit import _VERSION
from protocol.session.machine import TABLE, Kind, State
from protocol.session.messages import Sender
from protocol.training.descent.networks import MAX_WEIGHTS
from protocol.wire import errors, files, limits
from protocol.wire.generated import attribution_pb2 as pb

ROOT = Path(__file__).parents[3]
SPEC = (ROOT / "proto" / "SPEC.md").read_text(encoding="utf-8")
LABELLED = {"digest": 0, "canonical": 0, "_Stream": 1, "seed_from_integer": 0}
"""What makes something of a label, and which argument the label is (for ``canonical``, the list's first item)."""


def section(number: int) -> str:
    found = re.search(rf"^## {number}\. .*?(?=^## |\Z)", SPEC, flags=re.MULTILINE | re.DOTALL)
    assert found
    return found[0]


def rows(text: str) -> Iterator[list[str]]:
    """Yield the cells of every table row that is not a head or a rule."""
    lines = text.splitlines()
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if line.startswith("|") and not line.startswith("|---") and not after.startswith("|---"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def labels_in(source: str) -> Iterator[str]:
    """Yield every label that is written out in a call that hashes."""
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
        place = LABELLED.get(name)
        if place is None or len(call.args) <= place:
            continue
        argument = call.args[place]
        if isinstance(argument, ast.List) and argument.elts:
            argument = argument.elts[0]
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            yield argument.value


def test_every_hash_label_of_the_code_is_in_the_specification_and_the_other_way_round() -> None:
    in_code = {
        label
        for package in ("protocol", "prover", "verifier")
        for file in (ROOT / package).rglob("*.py")
        for label in labels_in(file.read_text(encoding="utf-8"))
    }
    in_spec = [cells[0].strip("`") for cells in rows(section(3))]
    assert len(in_spec) == len(set(in_spec))
    assert set(in_spec) == in_code


def test_labels_are_found_where_they_are_written() -> None:
    source = "digest('a', x); m.digest('b'); canonical(['c', 1]); _Stream(s, 'd'); seed_from_integer('e', 1); digest(f)"
    assert list(labels_in(source)) == ["a", "b", "c", "d", "e"]


def test_the_state_table_is_the_machines() -> None:
    written = {
        (State(state), Sender(sender), Kind(message)): State(after)
        for state, sender, message, after, _ in rows(section(6))
    }
    over = (State.CLOSED, State.ABORTED)
    aborts = {(state, sender, Kind.ABORTED): State.ABORTED for state in State if state not in over for sender in Sender}
    assert "From every state but closed and aborted, aborted from either party leads to aborted." in " ".join(
        SPEC.split()
    )
    assert written | aborts == TABLE


@pytest.mark.parametrize("role", ["prover", "verifier"])
def test_the_numbered_checks_are_those_of_the_sessions(role: str) -> None:
    letter = role[0].upper()
    source = (ROOT / "protocol" / "session" / f"{role}.py").read_text(encoding="utf-8")
    in_code = re.findall(rf"# ({letter}\d+)\b", source)
    in_spec = [cells[0] for cells in rows(section(8)) if cells[0].startswith(letter)]
    assert in_code == in_spec == [f"{letter}{number + 1}" for number in range(len(in_spec))]


def test_the_limits_are_those_of_the_code() -> None:
    written = {cells[0]: int(cells[1]) for cells in rows(section(9)) if cells[0].isupper()}
    in_code = {
        name: getattr(limits, name) for name in dir(limits) if name.isupper() and name not in ("KIB", "MIB", "GIB")
    }
    assert written == {name: value for name, value in in_code.items() if name != "MAX_TEXT"}
    assert f"magnitude at most {MAX_MAGNITUDE:.0e}".replace("e+", "e") in SPEC


def test_the_bounds_of_recipes_are_those_of_the_code() -> None:
    said = " ".join(section(5).split())
    assert f"at most 2^{MAX_WEIGHTS.bit_length() - 1} weights" in said
    assert 1 << (MAX_WEIGHTS.bit_length() - 1) == MAX_WEIGHTS
    assert f"at most {MAX_LAYERS} widths from 1 to {MAX_WIDTH:,}" in said
    assert f"at most {MAX_CHARACTERS:,} printable ASCII characters and {MAX_DEPTH} values within values" in said
    of_numbers = [re.fullmatch(_VERSION, ".".join(["1" * n] * parts)) for parts in (2, 3) for n in (1, 4)]
    assert all(of_numbers)
    assert "two or three numbers, each of one to four digits" in said
    assert not any(
        _VERSION.fullmatch(text) for text in ("1", "1.2.3.4", "12345.1", "1.12345", "1.1.12345", "1.", "1.9rc1")
    )


def test_the_error_catalogue_is_the_codes() -> None:
    values = {reason.value for reason in Reason}
    assert {cells[0]: cells[1] for cells in rows(section(9)) if cells[0] in values} == {
        reason.value: status for reason, status in errors.STATUS_OF.items()
    }
    assert f"`{errors.ERROR_KEY}`" in section(9)


def test_every_call_of_the_service_is_described() -> None:
    methods = [method.name for method in pb.DESCRIPTOR.services_by_name["Attribution"].methods]
    described = [cells[0] for cells in rows(section(9))][: len(methods)]
    assert described == methods


def test_the_first_lines_of_files_are_the_codes() -> None:
    written = {cells[0]: cells[1].strip("`") for cells in rows(section(11))}
    headers = {"claim": files.CLAIM_HEADER, "transcript": files.TRANSCRIPT_HEADER}
    assert written == {name: header.decode("ascii").removesuffix("\n") for name, header in headers.items()}
