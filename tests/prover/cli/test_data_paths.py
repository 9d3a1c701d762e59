"""Where a command looks for the task's data, and which path a store remembers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command

from prover import cli, planning
from prover.store import Store

Run = Callable[..., tuple[int, str, str]]
SHORT = ("--gap", "0.3", "--max-retrainings", "200", "-q")
IMPORT = ("import", "s.npy", "--task", "task.toml", "--store", "state")


def write(path: Path, seed: int) -> None:
    path.parent.mkdir(exist_ok=True)
    rows = [f"{a:.3f},{b:.3f},{int(a + b > 0)}" for a, b in np.random.default_rng(seed).standard_normal((60, 2))]
    path.write_text("a,b,y\n" + "\n".join(rows) + "\n")


@pytest.fixture
def trained(prover: Run) -> Path:
    """A store whose data are in a directory of their own, where only ``--data`` finds them."""
    write(Path("there/t.csv"), 0)
    write(Path("wrong/w.csv"), 1)
    options = ("--target-column", "y", "--n-targets", "3", "-q")
    assert prover("init", "--data", "there/t.csv", *options)[0] == 0
    assert prover("train", "task.toml", "--store", "state", "--data", "there/t.csv", *SHORT)[0] == 0
    return Path("there/t.csv").resolve()


def remembered(store: str = "state") -> Path | None:
    with Store(Path(store), read_only=True) as state:
        return state.data_path()


def test_data_that_are_refused_are_named_and_not_remembered(prover: Run, trained: Path) -> None:
    status, _, err = prover("train", "task.toml", "--store", "state", "--data", "wrong/w.csv", *SHORT)
    assert status == 65
    assert err.startswith("error: wrong/w.csv: data set 't.csv': expected digest ")
    assert err.count("\n") == 1
    assert remembered() == trained
    assert prover("train", "task.toml", "--store", "state", *SHORT)[0] == 0


@pytest.mark.parametrize("checks", ["0", "100"])
def test_an_import_of_refused_data_remembers_nothing_either(prover: Run, trained: Path, checks: str) -> None:
    assert prover("export", "--store", "state", "--scores", "s.npy")[0] == 0
    status, _, err = prover(*IMPORT, "--check-retrainings", checks, "--data", "wrong/w.csv", "-q")
    assert status == 65
    assert err.startswith("error: wrong/w.csv: data set 't.csv': expected digest ")
    assert remembered() == trained
    assert prover(*IMPORT, "--check-retrainings", checks, "-q")[0] == 0


def test_a_file_that_cannot_be_read_is_named_once(prover: Run, trained: Path) -> None:
    Path("wrong/w.csv").write_text("a,b,y\nword,1,0\n" * 9)
    status, _, err = prover("serve", "--store", "state", "--data", "wrong/w.csv")
    assert status == 65
    assert err.startswith("error: wrong/w.csv: expected numbers in feature column 'a'")
    status, _, err = prover("train", "task.toml", "--store", "other", "-q")
    assert (status, err) == (65, "error: t.csv: expected a data file, found none there; check the path\n")
    assert remembered("other") is None


def test_another_task_is_refused_before_its_data_are_looked_for(prover: Run, trained: Path) -> None:
    assert prover("init", "--data", "wrong/w.csv", "--target-column", "y", "--out", "other.toml", "-q")[0] == 0
    status, _, err = prover("train", "other.toml", "--store", "state", "-q")
    assert status == 74
    assert "expected task " in err


def test_a_plan_from_a_store_looks_where_its_data_were(
    prover: Run, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "TIMED_S", 0.05)
    status, out, err = prover("plan", "task.toml", "--store", "state", "-q")
    assert (status, err) == (0, "")
    assert "saved   200 retrainings" in out
    status, _, err = prover("plan", "task.toml", "-q")
    assert (status, err) == (65, "error: t.csv: expected a data file, found none there; check the path\n")


def test_the_help_says_where_data_are_looked_for_and_whether_a_store_is_made() -> None:
    commands = get_command(cli.app).commands  # type: ignore[attr-defined]
    said = {name: {option.name: option.help for option in command.params} for name, command in commands.items()}
    beside = {name for name, options in said.items() if "beside the task file" in (options.get("data") or "")}
    before = {name for name, options in said.items() if "where it was" in (options.get("data") or "")}
    assert (beside, before) == (
        {"calibrate", "plan", "train", "import"},
        {"plan", "train", "import", "serve", "export"},
    )
    assert {name for name, options in said.items() if "made if" in (options.get("store") or "")} == {"train", "import"}
