"""The test vectors are what the code makes, a second implementation agrees, and no altered vector gets past it."""

from __future__ import annotations

import ast
import importlib
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROTO = Path(__file__).parents[2] / "proto"
VECTORS = PROTO / "vectors"
FILES = sorted(path.name for path in VECTORS.glob("*.json"))


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(PROTO))
    return importlib.import_module("make_vectors")


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(PROTO))
    return importlib.import_module("check_vectors")


def test_the_vectors_are_what_the_code_makes(make: ModuleType) -> None:
    assert sorted(make.FILES) == FILES
    for name, cases in make.FILES.items():
        committed = (VECTORS / name).read_text(encoding="utf-8")
        assert committed == make.text_of(cases()), f"stale {name}: run proto/make_vectors.py"


def test_a_second_implementation_agrees() -> None:
    done = subprocess.run([sys.executable, PROTO / "check_vectors.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == f"{len(FILES)} files of vectors agree with a second implementation of SPEC.md\n"


@pytest.mark.parametrize("program", ["check_vectors.py", "reference.py", "reference_exact.py"])
def test_the_second_implementation_imports_nothing_of_ours(program: str) -> None:
    imported = set()
    for node in ast.walk(ast.parse((PROTO / program).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert node.module
            imported.add(node.module.split(".")[0])
    assert imported <= set(sys.stdlib_module_names) | {"cryptography", "numpy", "reference", "reference_exact"}
    assert not {"importlib", "subprocess", "runpy"} & imported


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield where every text, number, truth value and null of a JSON value is; a case's name says nothing."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield path
        return
    for key, part in items:
        if (len(path), key) != (1, "name"):
            yield from places(part, (*path, key))


def altered(value: Any, path: tuple[str | int, ...]) -> Any:
    """Return ``value`` with the least change at ``path``."""
    if path:
        copy = dict(value) if isinstance(value, dict) else list(value)
        copy[path[0]] = altered(value[path[0]], path[1:])
        return copy
    if value is None:
        return "00" * 32
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value ^ (1 << 14 if value in (655, 16384, 32768) else 1)  # a p_16 one off may change no subset
    if isinstance(value, float):
        return math.nextafter(value, 0.0) if value else 5e-324
    last = value[-1:]
    return value[:-1] + (f"{int(last, 16) ^ 1:x}" if last in "0123456789abcdef" and last else last + "x")


@pytest.mark.parametrize("name", FILES)
def test_no_altered_vector_gets_past_the_second_implementation(name: str, check: ModuleType) -> None:
    cases = json.loads((VECTORS / name).read_text(encoding="utf-8"))
    passed = []
    for path in places(cases):
        case = altered(cases, path)[path[0]]
        assert case != cases[path[0]], path
        try:
            check.CHECKS[name](case)
        except Exception:  # noqa: BLE001, S112 - whatever it raises, the checker reports it
            continue
        passed.append(path)
    assert not passed


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_in_a_file_fails_the_check(name: str, check: ModuleType, tmp_path: Path) -> None:
    folder = shutil.copytree(VECTORS, tmp_path / "vectors")
    text = (folder / name).read_text(encoding="utf-8")
    case = json.loads(text)[0]
    digits = next(v for v in walk(case) if isinstance(v, str) and len(v) >= 2 and set(v) <= set("0123456789abcdef"))
    (folder / name).write_text(text.replace(digits, f"{digits[:-1]}{int(digits[-1], 16) ^ 1:x}", 1), encoding="utf-8")
    assert [fault.split(":")[0] for fault in check.faults(folder)] == [name]
    assert check.main(folder) == 1


def walk(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from walk(part)
    else:
        yield value


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("trees.json", None, "trees.json: expected this file, got none"),
        ("trees.json", "[]", "trees.json: WrongVectorError: expected a list of cases, got none"),
        ("trees.json", "[", "trees.json: JSONDecodeError"),
        ("more.json", "[]", "more.json: expected no such file"),
    ],
)
def test_a_file_that_is_missing_empty_or_unknown_fails_the_check(
    name: str, content: str | None, says: str, check: ModuleType, tmp_path: Path
) -> None:
    folder = shutil.copytree(VECTORS, tmp_path / "vectors")
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content, encoding="utf-8")
    (fault,) = check.faults(folder)
    assert fault.startswith(says)
