"""``prover train --fit``: other scores from the same retrainings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from prover import cli
from prover.store import Store

TRAIN = ("train", "task.toml", "--store", "state", "--gap", "0.9", "--max-retrainings", "400", "-q")


@pytest.fixture(autouse=True)
def in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_same_retrainings_are_fitted_in_every_way(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(("init", "--data", "sklearn:wine", "--n-targets", "3", "-q")) == 0
    assert cli.run((*TRAIN[:-2], "40", "-q", "--fit", "least-squares")) == 64
    assert "to fit by least-squares, got 40: train more, or fit ridge" in capfd.readouterr().err
    fitted = {method: trained("--fit", method) for method in ("least-squares", "ridge", "lasso")}
    assert fitted["ridge"][1] == fitted["lasso"][1] == fitted["least-squares"][1] > 0  # trained once, for all
    ridge, lasso, least_squares = (fitted[method][0] for method in ("ridge", "lasso", "least-squares"))
    assert np.array_equal(ridge, trained()[0])
    assert (lasso == 0).any()  # few: a mean of folds' scores is 0 where theirs all are
    assert (ridge != 0).all()
    assert np.linalg.norm(ridge) < np.linalg.norm(least_squares)


def trained(*arguments: str) -> tuple[np.ndarray, int]:
    """Train by a fit; return its scores and how many trainings are saved."""
    assert cli.run((*TRAIN, *arguments)) == 0
    with Store(Path("state")) as store:
        committed, n = store.claim(), store.n_done("train")
    assert committed is not None
    return np.asarray(committed.claim.scores), n


def test_an_unknown_fit_names_the_known_ones(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run((*TRAIN, "--fit", "magic")) == 64
    assert "'ridge', 'lasso', 'least-squares'" in capfd.readouterr().err
