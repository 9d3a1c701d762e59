"""proto/SPEC.md says what the code does: labels, states, numbered checks, limits, errors."""

from __future__ import annotations

import ast
import enum
import importlib
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from protocol.certificate.crossfit import bound as crossfit
from protocol.certificate.exhaustive import exact
from protocol.certificate.gaussian import families as gaussian
from protocol.certificate.gaussian import looks as gaussian_looks
from protocol.certificate.gaussian import method as gaussian_method
from protocol.certificate.moments import few_units
from protocol.certificate.moments import plan as moments
from protocol.certificate.registry import METHODS
from protocol.certificate.terms import MAX_KURTOSIS, MAX_LOOKS, Across
from protocol.certificate.terms import Answers as WhoAnswers
from protocol.claim import MAX_MAGNITUDE
from protocol.errors import Reason
from protocol.game import HALF, SeedPolicy, Statement
from protocol.game.sampling import MAX_EVALUATIONS, Bases
from protocol.game.tilting import LAMBDAS, UNIFORM_16
from protocol.recipes.estimator import MAX_CHARACTERS, MAX_DEPTH
from protocol.recipes.network import MAX_LAYERS, MAX_WIDTH
from protocol.recipes.scikit import _VERSION
from protocol.session.machine import TABLE, Kind, State
from protocol.session.messages import Message, Outcome, Sender
from protocol.task import ConstantColumns, Scaling, TargetKind, UnitKind
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
    said = "Aborted from either party is taken in every state but closed and aborted, and leads to aborted."
    assert said in " ".join(SPEC.split())
    assert written | aborts == TABLE


@pytest.mark.parametrize("role", ["prover", "verifier"])
def test_the_numbered_checks_are_those_of_the_sessions(role: str) -> None:
    letter = role[0].upper()
    source = (ROOT / "protocol" / "session" / f"{role}.py").read_text(encoding="utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
    in_code = [name for comment in comments for name in re.findall(rf"\b({letter}\d+)\b", comment)]
    in_spec = [cells[0] for cells in rows(section(8)) if re.fullmatch(rf"{letter}\d+", cells[0])]
    assert in_code == in_spec == [f"{letter}{number + 1}" for number in range(len(in_spec))]


ENUMS: dict[str, type[enum.Enum]] = {
    "constant columns": ConstantColumns, "scaling": Scaling, "unit kind": UnitKind, "target kind": TargetKind,
    "seed policy": SeedPolicy, "sender": Sender, "outcome": Outcome, "reason": Reason, "bases": Bases, "across": Across,
    "answers": WhoAnswers,
}  # fmt: skip


def texts_of_enums() -> dict[str, list[str]]:
    table = section(5).partition("| enum | texts |")[2].partition("\n\n")[0]
    return {cells[0]: re.findall(r"`([^`]+)`", cells[1]) for cells in rows(table)}


def test_the_texts_of_enums_are_the_codes() -> None:
    written = texts_of_enums()
    for name, kind in ENUMS.items():
        assert sorted(written[name]) == sorted(member.value for member in kind), name
    assert sorted(written["method"]) == sorted(METHODS)


def test_the_types_that_the_chains_name_are_the_messages() -> None:
    (said,) = re.findall(r"The type is one of (.*?)\. Three are private", " ".join(section(7).split()))
    assert re.findall(r"`(\w+)`", said) == [kind.__name__ for kind in get_args(Message)]


def methods_table() -> dict[tuple[str, str], str]:
    """What section 8 says of the rounds of each method and of each way of answering, in one row or several."""
    said: dict[tuple[str, str], str] = {}
    for cells in rows(section(8)):
        if (name := cells[0].strip("`")) in METHODS:
            said[name, cells[1]] = f"{said.get((name, cells[1]), '')} {cells[2]}"
    return said


def test_the_rounds_of_every_method_are_described_for_everyone_who_may_answer() -> None:
    assert set(methods_table()) == {(name, who.value) for name, method in METHODS.items() for who in method.answers}


def test_the_least_that_methods_take_is_the_codes() -> None:
    written = methods_table()
    own = written["moments", "own"]
    assert f"at least {moments.FLOOR} families in the first" in own
    assert f"N at most {few_units.MAX_UNITS}, " in own
    assert f"1 to {few_units.MAX_GROUPS} groups of pairs" in own
    assert f"at least 2 in each and {few_units.FEWEST_PAIRS} in all" in own
    assert f"at least {crossfit.MIN_PAIRS} independent subsets" in written["crossfit", "own"]
    assert f"N at most {exact.MAX_UNITS};" in written["exhaustive", "own"]
    look = written["gaussian", "own"]
    assert f"at least {gaussian.MIN_FAMILIES} families in the first" in look
    assert f"one look of at least {gaussian_method.MIN_PAIRS} pairs" in look
    assert "p from {} to {}".format(*gaussian_method.P_RANGE) in look
    assert pytest.approx(1 + 1 / 20) == gaussian_looks.MIN_GROWTH
    assert "at least a twentieth of the families before it" in look


def test_the_pilot_is_the_codes() -> None:
    said = " ".join(section(8).split())
    for policy, kind in (("Under a shared", (1, 0)), ("Where each subset has a seed of its own it", (2, 65535))):
        game = Statement(
            name="any", n_units=2, lo=np.zeros(1), hi=np.ones(1), measure=HALF,
            seed_policy=SeedPolicy.SHARED if "shared" in policy else SeedPolicy.PER_SUBSET,
        )  # fmt: skip
        pilot = moments.pilot_design(game)
        assert (pilot.n_siblings, pilot.keep_16) == kind
        assert f"The pilot has {pilot.n_families} families with drawn bases, and complements at p = 1/2." in said
        assert re.search(rf"{policy} [^.]*n_siblings = {kind[0]} and keep_16 = {kind[1]}", said)


def test_tilted_bases_are_described_as_they_are_drawn() -> None:
    """The numbers in the text; that the text gives the same thresholds is shown by the second implementation."""
    said = " ".join(section(4).split())
    assert f"If k < {UNIFORM_16}, the base is drawn uniformly" in said
    assert LAMBDAS == (1.0, 2.0)
    assert "let lambda be 1 when l < 32768 and else 2" in said
    assert "q_i = u_i / U * 2^19" in said


@pytest.mark.parametrize("name", ["UNIFORM_16", "LAMBDAS"])
def test_the_second_implementation_has_the_same_constants(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "proto"))
    assert getattr(importlib.import_module("reference"), name) == {"UNIFORM_16": UNIFORM_16, "LAMBDAS": LAMBDAS}[name]


def test_the_limits_of_values_are_the_codes() -> None:
    said = " ".join(section(5).split())
    assert f"and m of at most {MAX_EVALUATIONS:,}" in said
    assert f"1 to {MAX_LOOKS} of them" in said
    assert f"kurtosis is from 1 to {MAX_KURTOSIS:,.0f}, or none" in said


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
