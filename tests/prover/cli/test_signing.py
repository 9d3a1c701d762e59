"""The key that a store's claim is signed by: answers are signed by no other, and a new one is never made unsaid."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from protocol.commitments import PublicKey
from prover.store import KEY, Store

Run = Callable[..., tuple[int, str, str]]
STORE = Path("state")
TRAIN = ("train", "task.toml", "--store", "state", "--gap", "0.3", "--max-retrainings", "200", "-q")


def signer() -> PublicKey | None:
    with Store(STORE, read_only=True) as state:
        return state.signer()


@pytest.fixture
def key(prover: Run) -> Path:
    assert prover("init", "--data", "sklearn:wine", "--n-targets", "3", "-q")[0] == 0
    status, _, err = prover(*TRAIN)
    assert (status, err) == (0, "")
    shutil.copy(STORE / KEY, "copy.key")
    return STORE / KEY


def test_a_claim_whose_key_is_gone_is_not_served(prover: Run, key: Path) -> None:
    key.unlink()
    status, out, err = prover("serve", "--store", "state", "--port", "0")
    assert (status, out) == (74, "")
    assert err == (
        "error: state/signing.key: expected the key that signed the claim, found none; restore it from a copy, or "
        "train or import again\n"
    )
    assert not key.exists()


def test_a_claim_of_another_key_is_not_served(prover: Run, key: Path) -> None:
    key.write_text("ab" * 32)
    status, out, err = prover("serve", "--store", "state", "--port", "0")
    assert (status, out) == (74, "")
    assert "expected the key that signed the claim, got another; restore it from a copy" in err


def test_training_again_signs_with_a_new_key_and_says_so(prover: Run, key: Path) -> None:
    before = signer()
    key.unlink()
    status, _, err = prover(*TRAIN)
    assert status == 0
    assert err.startswith("warning: expected the key that signed the claim before, got another in state")
    with Store(STORE) as state:
        assert state.signing_key().public == state.signer() != before
    assert prover(*TRAIN)[2] == ""


def test_importing_again_with_the_key_restored_says_nothing(prover: Run, key: Path) -> None:
    before = signer()
    assert prover("export", "--store", "state", "--scores", "s.npy")[0] == 0
    bring = ("import", "s.npy", "--task", "task.toml", "--store", "state", "--check-retrainings", "0")
    key.unlink()
    assert "warning: expected the key" in prover(*bring)[2]
    assert signer() != before
    shutil.copy("copy.key", key)
    assert "warning: expected the key" in prover(*bring)[2]
    assert signer() == before
    assert prover(*bring)[2] == ""
