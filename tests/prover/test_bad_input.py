"""What nothing can be attributed in, at the prover's command: one clear line, or a claim that says what it is worth."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from protocol import taskfile

WINE = ("--data", "sklearn:wine", "--n-targets", "3")
Run = Callable[..., tuple[int, str, str]]


def assert_one_line(ended: tuple[int, str, str], status: int, line: str) -> None:
    got, out, err = ended
    assert (got, out, len(err.splitlines())) == (status, "", 1), err
    assert line in err


def test_targets_that_do_not_vary_make_a_claim_of_nothing(prover: Run) -> None:
    """Ranges far from every output leave one number: the scores are 0, and so is what they explain."""
    assert prover("init", *WINE, "-q")[0] == 0
    task = taskfile.parse(Path("task.toml").read_text())
    off = replace(task, targets=replace(task.targets, lo=np.full(3, 500.0), hi=np.full(3, 600.0)))
    Path("task.toml").write_text(taskfile.render(off))
    status, _, err = prover("train", "task.toml", "--store", "state", "--gap", "0.2", "--max-retrainings", "200", "-q")
    assert status == 0, err
    claim = json.loads(prover("status", "--store", "state", "--json")[1])["claim"]
    assert (claim["relative_gap"], claim["r2"]) == (0.0, 0.0)
    assert prover("export", "--store", "state", "--scores", "s.npy")[0] == 0
    np.testing.assert_array_equal(np.load("s.npy")[:, 1:], 0.0)


def test_one_contributor_is_no_task(prover: Run) -> None:
    rng = np.random.default_rng(0)
    rows = [f"{a:.3f},{b:.3f},{int(a + b > 0)},ann" for a, b in rng.standard_normal((60, 2))]
    Path("t.csv").write_text("a,b,y,who\n" + "\n".join(rows) + "\n")
    options = ("--target-column", "y", "--contributor-column", "who", "--units", "contributor", "--n-targets", "4")
    assert_one_line(prover("init", "--data", "t.csv", *options, "-q"), 65, "units.n: expected 2 to")
    assert not Path("task.toml").exists()


@pytest.mark.parametrize("gap", ["0", "-0.1", "nan", "1.5"])
def test_a_gap_to_reach_is_a_share(prover: Run, gap: str) -> None:
    assert prover("init", *WINE, "-q")[0] == 0
    ended = prover("train", "task.toml", "--store", "state", "--gap", gap, "-q")
    assert_one_line(ended, 64, f"gap: expected a relative gap above 0 and below 1, got {float(gap)}")


def test_a_budget_that_buys_no_claim_says_so(prover: Run) -> None:
    assert prover("init", *WINE, "-q")[0] == 0
    ended = prover("train", "task.toml", "--store", "state", "--gap", "0.2", "--max-retrainings", "3", "-q")
    assert_one_line(ended, 64, "max-retrainings: expected 40 to 50000000 retrainings, got 3")
