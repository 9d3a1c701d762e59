"""The verifier's signing key: 32 bytes in a file that only its owner can read.

A transcript signed by it says who decided; the verdict needs no trust in it. Made on first use.
"""

from __future__ import annotations

import os
from pathlib import Path

from protocol.commitments import SigningKey
from protocol.commitments.signature import KEY_BYTES
from protocol.errors import DataError, StoreError

OWNER_ONLY = 0o600


def default_key_path() -> Path:
    """Return where the key lies when the user names no other place: below ``$XDG_CONFIG_HOME`` or ``~/.config``."""
    configured = os.environ.get("XDG_CONFIG_HOME", "")
    # The XDG specification says to ignore a relative path.
    base = Path(configured) if Path(configured).is_absolute() else Path.home() / ".config"
    return base / "attribution-proofs" / "verifier.key"


def load_or_create(path: Path, *, create: bool) -> SigningKey:
    """Return the key in ``path``, made from fresh entropy if there is none and ``create`` says so.

    Raises
    ------
    DataError
        No such file and not to be created, not a key, or one that others can read.
    StoreError
        The disk refuses.
    """
    try:
        raw = _read(path)
        if raw is None and create:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            raw = _create(path)
    except OSError as error:
        raise StoreError(
            f"key {path}: expected to read or make it, got {error.strerror}; name another: --key"
        ) from error
    if raw is None:
        raise DataError(f"key {path}: expected a file, got none; leave --key out to have one made")
    if len(raw) != KEY_BYTES:
        raise DataError(f"key {path}: expected {KEY_BYTES} bytes, got {len(raw)}; move it away to have a new one made")
    return SigningKey(raw)


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            if mode & 0o077:
                raise DataError(f"key {path}: expected nobody else to have access, got mode {mode:o}; chmod 600 it")
            return file.read(KEY_BYTES + 1)
    except FileNotFoundError:
        return None


def _create(path: Path) -> bytes:
    """Another verifier may be making it at this moment: whoever links its file first has made the key."""
    raw = os.urandom(KEY_BYTES)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return _read(path) or b""
    finally:
        draft.unlink()
    return raw
