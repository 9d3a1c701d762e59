"""The paper's protocol over gRPC, as docs/guides/algorithm1.md has it: real commands, a server in a process of its own.

A tenth of the guide's trainings, by a larger epsilon.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from protocol.certificate.algorithm1.bound import is_certainly_off, largest_prediction
from protocol.claim import Claim
from prover import cli as prover
from prover.claiming import commit
from prover.store import Store
from verifier import cli as verifier
from verifier.verification import Asked

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow

EPSILON = 0.95
TERMS = ("--certificate", "algorithm1", "--epsilon", EPSILON, "--delta", 0.2)
BUDGETS = ("--max-answers", 200_000, "--max-retrainings", 200_000)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the guide's data, task and claim."""
    folder = tmp_path_factory.mktemp("yesno")
    subprocess.run(
        [sys.executable, ROOT / "docs/guides/pricing_example.py", "rows", "cellars.csv"], cwd=folder, check=True
    )
    init = (
        "--data", folder / "cellars.csv", "--target-column", "cultivar", "--contributor-column", "grower", "--units",
        "contributor", "--n-train", 140, "--n-targets", 1, "--out", folder / "yesno.toml",
    )  # fmt: skip
    assert prover.run([str(word) for word in ("init", *init, "--quiet")]) == 0
    text = (folder / "yesno.toml").read_text()
    for key, value in (("rows", "[11]"), ("lo", "0.2"), ("hi", "0.36")):
        text, n = re.subn(rf"^{key} = .*$", f"{key} = {value}", text, flags=re.MULTILINE)
        assert n == 1
    (folder / "yesno.toml").write_text(text)
    train = (
        "train", folder / "yesno.toml", "--store", folder / "honest", "--data", folder / "cellars.csv", "--gap", 0.01
    )  # fmt: skip
    assert prover.run([str(word) for word in (*train, "--quiet")]) == 0
    return folder


def scaled_store(place: Path, factor: float) -> Path:
    """A store like the honest one, every coefficient of its claim about the middle multiplied."""
    directory = place / f"scaled {factor}"
    with Store(place / "honest", read_only=True) as honest:
        task, committed = honest.task(), honest.claim()
        assert committed is not None
        claim, middle = committed.claim, float(task.targets.lo[0] + task.targets.hi[0]) / 2
        scaled = Claim(
            task_digest=task.digest,
            intercepts=middle + factor * (claim.intercepts - middle),
            scores=factor * claim.scores,
        )
        assert largest_prediction(scaled, middle) == pytest.approx(abs(factor) * largest_prediction(claim, middle))
    with Store(directory) as store:
        store.set_task(task, place / "cellars.csv")
        store.save_claim(commit(scaled, replace(committed.signed.figures), store.signing_key()))
    return directory


@contextmanager
def served(store: Path, place: Path, most: int) -> Iterator[str]:
    """``prover serve`` in a process of its own; gives its address."""
    command = [sys.executable, "-c", "from prover.cli import main; main()", "serve", "--store", store]
    options = ["--data", place / "cellars.csv", "--port", 0, "--max-retrainings", most, "--threads", 1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [str(word) for word in (*command, *options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd=place,
    ) as process:
        assert process.stdout is not None
        try:
            said = [process.stdout.readline().decode() for _ in range(3)]
            assert said[-1].startswith("serving "), said
            yield said[-1].split()[1]
        finally:
            process.terminate()
            process.wait(20)


def verify(
    address: str, place: Path, capsys: pytest.CaptureFixture[str], *options: object
) -> tuple[int, dict[str, object] | None, str]:
    """Run ``verifier verify``; give its exit status, what it printed as JSON, and what it said beside."""
    capsys.readouterr()
    words = (
        "verify", address, "--task", place / "yesno.toml", "--data", place / "cellars.csv", "--key", place / "key",
        "--transcript", place / "t", "--json", "--quiet", "--threads", 1, *TERMS, *options,
    )  # fmt: skip
    status = verifier.run([str(word) for word in words])
    printed = capsys.readouterr()
    return status, json.loads(printed.out) if printed.out else None, printed.err


@pytest.fixture(autouse=True)
def _own_key(place: Path) -> None:
    (place / "key").write_bytes(bytes(range(32)))
    (place / "key").chmod(0o600)


def test_an_honest_claim_is_accepted_and_the_same_with_every_sign_turned_is_rejected(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(place / "honest", place, 150_000) as address:
        status, told, said = verify(address, place, capsys, *BUDGETS, "--scores-out", place / "scores.npy")
    assert (status, said) == (0, ""), said
    assert told is not None
    assert (told["outcome"], told["certificate_name"], told["answers"]) == ("ACCEPT", "algorithm1", "delegated")
    assert told["assumption"] == "tolerance far below epsilon"
    assert told["n_answered"] > 50_000  # type: ignore[operator]
    assert np.load(place / "scores.npy").shape == (1, 25)
    assert verifier.run(["recheck", str(place / "t"), "--quiet"]) == 0
    # Every score has its size and the wrong sign: no norm shows it, and the gap is 4 times the weight at degree one.
    with served(scaled_store(place, -1.0), place, 150_000) as address:
        status, told, said = verify(address, place, capsys, *BUDGETS)
    assert (status, said) == (1, ""), said
    assert told is not None
    assert told["reasons"][0].startswith("gap over the squared half range is at least ")  # type: ignore[index]
    assert told["certificate"]["lower"] > EPSILON  # type: ignore[index]


def test_a_claim_scaled_beyond_what_any_f_allows_is_rejected_with_nothing_trained(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = scaled_store(place, 3.0)
    with Store(store, read_only=True) as scaled:
        committed = scaled.claim()
        assert committed is not None
        assert is_certainly_off(scaled.task(), committed.claim, EPSILON)
    with served(store, place, 10) as address:
        status, told, said = verify(address, place, capsys)
    assert (status, said) == (1, ""), said
    assert told is not None
    assert "the claim's coefficients have norm" in told["reasons"][0]  # type: ignore[index]
    assert (told["n_retrainings"], told["n_answered"]) == (0, 0)


def test_budgets_and_servers_that_do_not_reach_are_refused_with_the_counts(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(place / "honest", place, 50_000) as address:
        status, told, said = verify(address, place, capsys)
        assert (status, told) == (75, None)
        needed = re.search(
            r"^error: algorithm1: expected budgets of (\d+) answers and (\d+) retrainings, "
            rf"got {Asked.max_answers} and {Asked.max_retrainings}: raise max-answers and max-retrainings, or epsilon$",
            said,
            re.MULTILINE,
        )
        assert needed, said
        exact = ("--max-answers", needed[1], "--max-retrainings", needed[2])
        status, told, said = verify(address, place, capsys, *exact)
        assert (status, told) == (75, None)
        assert f"a server that answers {needed[1]} trainings a session, got one that answers 50000" in said
