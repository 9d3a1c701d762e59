"""An option that nothing would read is refused in one line: whoever gave it would believe that it holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]
WINE = ("init", "--data", "sklearn:wine", "--n-targets", "3", "-q")
IMPORT = ("import", "s.npy", "--task", "task.toml", "--store", "s", "--check-retrainings", "0")

UNREAD = {
    "an option of another recipe, at its default": (
        (*WINE, "--out", "o.toml", "--epochs", "20"),
        "--epochs: expected none with --recipe ridge, which does not read it, got 20; leave it out, or use",
    ),
    "where a recipe that takes no steps stops": (
        (*WINE, "--out", "o.toml", "--gradient-tolerance", "1e-8"),
        "--gradient-tolerance: expected none with --recipe ridge",
    ),
    "a shared seed where each subset has its own": (
        (*WINE, "--out", "o.toml", "--seed-policy", "per-subset", "--seed", "0"),
        "--seed: expected none with --seed-policy per-subset",
    ),
    "force without a file": (
        ("calibrate", "task.toml", "--force"),
        "--force: expected --out FILE beside it, got none",
    ),
    "a factory to calibrate": (
        ("calibrate", "task.toml", "--factory", "json:loads"),
        "--factory: expected none with this task, whose recipe ridge has no network of your own, got json:loads",
    ),
    "a factory to train": (
        ("train", "task.toml", "--store", "s", "--factory", "json:loads", "-q"),
        "--factory: expected none with this task",
    ),
    "a factory to plan": (("plan", "task.toml", "--factory", "json:loads"), "--factory: expected none with this task"),
    "a file of data that are bundled": (
        ("train", "task.toml", "--store", "s", "--data", "wine.csv", "-q"),
        "--data: expected none with this task, whose data are sklearn:wine, got wine.csv",
    ),
    "an engine that checks nothing": ((*IMPORT, "--engine", "local"), "--engine: expected none with --check-retrain"),
    "workers that check nothing": ((*IMPORT, "--workers", "2"), "--workers: expected none with --check-retrainings 0"),
    "a cluster that checks nothing": (
        (*IMPORT, "--ray-address", "auto"),
        "--ray-address: expected none with --check-retrainings 0, which trains nothing; leave it out",
    ),
    "one worker on two devices": (
        ("train", "task.toml", "--store", "s", "--device", "cpu,cpu", "--workers", "1"),
        "--workers: expected --device cpu beside it, got 'cpu,cpu', which has a worker for each device; leave it out",
    ),
}


@pytest.mark.parametrize("what", UNREAD)
def test_what_nothing_reads_is_refused(prover: Run, what: str) -> None:
    assert prover(*WINE)[0] == 0
    arguments, line = UNREAD[what]
    status, out, err = prover(*arguments)
    assert (status, out, err.count("\n")) == (64, "", 1), err
    assert err.startswith(f"error: {line}")
    assert not Path("o.toml").exists()
