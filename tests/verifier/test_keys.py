"""The verifier's signing key: made once, for its owner alone."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from protocol.errors import DataError, StoreError
from verifier import keys


def test_a_key_is_made_on_first_use_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "config" / "verifier.key"
    first = keys.load_or_create(path, create=True)
    assert keys.load_or_create(path, create=True).public == first.public
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["verifier.key"]


def test_two_verifiers_that_make_the_key_at_once_share_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "verifier.key"

    def other_first(n_bytes: int) -> bytes:
        path.write_bytes(b"o" * 32)
        path.chmod(0o600)
        return b"m" * n_bytes

    monkeypatch.setattr("verifier.keys.os.urandom", other_first)
    made = keys.load_or_create(path, create=True)
    assert made.public == keys.SigningKey(b"o" * 32).public


def test_a_key_that_was_named_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a file, got none; leave --key out"):
        keys.load_or_create(tmp_path / "mine.key", create=False)


@pytest.mark.parametrize("n_bytes", [0, 31, 33])
def test_a_key_of_another_size_is_refused(tmp_path: Path, n_bytes: int) -> None:
    path = tmp_path / "verifier.key"
    path.write_bytes(bytes(n_bytes))
    path.chmod(0o600)
    with pytest.raises(DataError, match=rf"expected 32 bytes, got {n_bytes}"):
        keys.load_or_create(path, create=True)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "verifier.key"
    path.write_bytes(bytes(32))
    path.chmod(0o640)
    with pytest.raises(DataError, match=r"got mode 640; chmod 600 it"):
        keys.load_or_create(path, create=True)


def test_a_key_that_cannot_be_made_is_the_disks_fault(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match=r"expected to read or make it"):
        keys.load_or_create(tmp_path / "config" / "verifier.key", create=True)


@pytest.mark.parametrize(
    ("configured", "expected"), [("/etc/xdg", "/etc/xdg"), ("", "/home/me/.config"), ("relative", "/home/me/.config")]
)
def test_the_key_lies_in_the_users_configuration(
    monkeypatch: pytest.MonkeyPatch, configured: str, expected: str
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CONFIG_HOME", configured)
    assert keys.default_key_path() == Path(expected) / "attribution-proofs" / "verifier.key"
