"""Task files: every task survives the round trip, every fault names its key."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import TaskFileError
from protocol.game import Measure
from protocol.task import MAX_TARGETS, Logistic, Task
from protocol.taskfile import MAX_CHARACTERS, parse, render
from tests.games import task_of
from tests.protocol.wire.values import tasks


def a_task() -> Task:
    task = task_of(10, n_targets=3, bound=2.0)
    targets = dataclasses.replace(task.targets, lo=np.array([-1.0, -2.0, 0.125]), hi=np.array([1.0, 2.0, 0.25]))
    return dataclasses.replace(task, targets=targets)


TEXT = render(a_task())


@given(tasks())
def test_every_task_survives_the_round_trip(task: Task) -> None:
    again = parse(render(task))
    assert again == task
    assert again.digest == task.digest


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_any_text_survives_the_round_trip(text: str) -> None:
    task = a_task()
    task = dataclasses.replace(task, data=dataclasses.replace(task.data, source=text, target_column=text))
    assert parse(render(task)).data == task.data


@given(st.text())
def test_any_text_parses_or_is_a_task_file_error(text: str) -> None:
    with pytest.raises(TaskFileError):
        parse(text)


@pytest.mark.parametrize("p_16", [1, 2, 6554, 21845, 32768, 65535])
def test_p_survives_as_a_decimal(p_16: int) -> None:
    assert parse(render(dataclasses.replace(a_task(), measure=Measure(p_16=p_16)))).measure.p_16 == p_16


def test_p_is_rounded_to_sixteen_bits() -> None:
    assert parse(TEXT.replace("p = 0.5", "p = 0.1")).measure.p_16 == round(0.1 * 65536)


def test_one_range_stands_for_all_targets() -> None:
    text = re.sub(r"^lo = .*$", "lo = -3", TEXT, flags=re.MULTILINE)
    assert parse(text).targets.lo.tolist() == [-3.0, -3.0, -3.0]


def wide(n_targets: int) -> Task:
    task = task_of(2, n_targets=n_targets)
    width = np.random.default_rng(0).random(n_targets)
    return dataclasses.replace(task, targets=dataclasses.replace(task.targets, lo=-width, hi=width))


def test_a_task_of_the_most_targets_fits_a_file() -> None:
    assert len(render(wide(MAX_TARGETS))) < MAX_CHARACTERS


def test_long_lists_are_wrapped_and_read_back() -> None:
    task = wide(5000)
    text = render(task)
    assert max(map(len, text.splitlines())) <= 120
    assert parse(text) == task


def test_comments_explain_every_section() -> None:
    for section in ("data", "units", "recipe", "targets", "sampling", "numerics"):
        assert re.search(rf"^\[{section}\]\n# ", TEXT, re.MULTILINE), section


FAULTS = {
    "unknown key": ("l2 = 1.0", "lamda = 1.0", "recipe.lamda: unknown key; expected l2"),
    "unknown section": ("[units]", "[unit]", "unit: unknown key; expected format, data, units"),
    "unknown key at the top": ("format = 1", "format = 1\nwidth = 2", "width: unknown key"),
    "another recipe's key": ("l2 = 1.0", "l2 = 1.0\ngradient_tolerance = 1.0", "recipe.gradient_tolerance: unknown"),
    "missing key": ("l2 = 1.0", "", "recipe.l2: expected a number, got nothing; add it"),
    "misplaced section": ("[numerics]", "[sampling.numerics]", "sampling.numerics: unknown key; expected p, seed_pol"),
    "p of one": ("p = 0.5", "p = 1.0", "sampling.p: expected a number strictly between 0 and 1, got 1.0"),
    "p of zero": ("p = 0.5", "p = 0", "sampling.p: expected a number strictly between 0 and 1, got 0"),
    "p of zero in 16 bits": ("p = 0.5", "p = 1e-9", "sampling.p: expected a number strictly between 0 and 1 to 16"),
    "p of NaN": ("p = 0.5", "p = nan", "sampling.p: expected a number strictly between 0 and 1, got nan"),
    "p as text": ("p = 0.5", 'p = "0.5"', "sampling.p: expected a number strictly between 0 and 1, got '0.5'"),
    "unknown recipe": ('name = "ridge"', 'name = "rigde"', "recipe.name: expected \"ridge\" or \"logistic\""),
    "no recipe": ('name = "ridge"', "", "recipe.name: expected \"ridge\" or \"logistic\" or \"kernel\""),
    "boolean for a number": ("l2 = 1.0", "l2 = true", "recipe.l2: expected a number, got true"),
    "infinite penalty": ("l2 = 1.0", "l2 = inf", "recipe.l2: expected a number above 0, got inf"),
    "fraction for a count": ("n_test = 3", "n_test = 2.5", "data.n_test: expected a whole number"),
    "count beyond 63 bits": ("n_classes = 0", f"n_classes = {2**63}", "data.n_classes: expected a whole number from 0"),
    "negative row": ("rows = [0", "rows = [-1", "targets.rows: expected a list of test row numbers, got -1"),
    "empty test set": ("n_test = 3", "n_test = 0", "data.n_test: expected at least 1 test row"),
    "no targets": ("rows = [0, 1, 2]", "rows = []", "targets.rows: expected at least one test row"),
    "row beyond the test set": ("rows = [0, 1, 2]", "rows = [0, 1, 3]", "targets.rows: expected row numbers below"),
    "lo of hi": ("hi = [1.0, 2.0", "hi = [1.0, -2.0", "targets.lo: expected lo < hi for every target, got lo = -2.0"),
    "lo above hi": ("hi = [1.0, 2.0", "hi = [1.0, -3", "targets.lo: expected lo < hi for every target, got lo = -2.0"),
    "too few ranges": ("hi = [1.0, 2.0, 0.25]", "hi = [1.0]", "targets.hi: expected 3 numbers, one per target, got 1"),
    "text in a range": ("hi = [1.0", 'hi = ["x"', "targets.hi: expected a number, or a list of one number per target"),
    "short digest": ('digest = "00', 'digest = "', "data.digest: expected 64 hexadecimal digits"),
    "unknown choice": ('kind = "row"', 'kind = "rows"', "units.kind: expected \"row\" or \"contributor\", got 'rows'"),
    "another format": ("format = 1", "format = 2", "format: expected 1, the format that this version reads, got 2"),
    "no TOML": ("format = 1", "format 1", "task file: expected TOML, got"),
    "deep nesting": ("format = 1", "format = " + "[" * 100_000, "task file: expected TOML, got"),
    "endless digits": ("l2 = 1.0", "l2 = 1" + "0" * 5000, "task file: expected TOML, got"),
    "per-subset seed": ('"shared"', '"per-subset"\nseed = 7 #', "task file: expected TOML"),
    "huge": ("format = 1", "#" * MAX_CHARACTERS + "\nformat = 1", f"task file: expected at most {MAX_CHARACTERS} char"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_file_is_refused_in_one_line_that_names_the_key(fault: str) -> None:
    before, after, message = FAULTS[fault]
    assert before in TEXT
    with pytest.raises(TaskFileError, match="^" + re.escape(message)) as caught:
        parse(TEXT.replace(before, after, 1))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_missing_section_is_named() -> None:
    with pytest.raises(TaskFileError, match=r"^numerics: expected a section \[numerics\], got nothing; add it$"):
        parse(TEXT[: TEXT.index("[numerics]")])


def test_logistic_files_name_their_keys() -> None:
    task = task_of(10)
    data = dataclasses.replace(task.data, n_classes=2)
    targets = dataclasses.replace(task.targets, kind=type(task.targets.kind).MARGIN)
    task = dataclasses.replace(task, data=data, targets=targets, recipe=Logistic(l2=1.0, gradient_tolerance=1e-6))
    assert parse(render(task)) == task
    with pytest.raises(TaskFileError, match=r"^recipe\.gradient_tolerance: expected a number, got nothing"):
        parse(render(task).replace("gradient_tolerance = 1e-06", ""))
