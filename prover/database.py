"""One SQLite file in a directory, one writer, one mutex: what ``prover.store`` is built on.

Owns the connection, its durability, the lock and the store's version. Refuses to know what the
tables mean.

Write-ahead log and synchronous=FULL: a transaction that has ended is on the disk. Everything the
disk or SQLite raises becomes a StoreError of one line.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from protocol.errors import StoreError

VERSION = 2
DATABASE, LOCK = "store.sqlite", "lock"

_APPLICATION_ID = 0x41545052  # "ATPR", so that no other program's SQLite file is taken for ours
_BUSY_TIMEOUT_S = 30.0


class Database:
    """A connection that any thread may use; see :class:`prover.store.Store` for the parameters.

    schema : the statements that make an empty database, ended by ``;`` at a line's end.
    """

    def __init__(self, directory: Path, *, schema: str, read_only: bool, max_bytes: int | None) -> None:
        self.directory = directory
        self.mutex = threading.RLock()
        self._lock_file: int | None = None
        with guarded(directory):
            if read_only:
                if not (directory / DATABASE).is_file():
                    raise StoreError(
                        f"store {directory}: expected a prover's store, found none; run prover train first"
                    )
                self._connection = _connect(directory, "?mode=ro")
                self._check_version()
                return
            directory.mkdir(parents=True, exist_ok=True)
            self._lock_file = _lock(directory)
            try:
                self._connection = _connect(directory, "")
                self._prepare(schema, max_bytes)
            except BaseException:
                os.close(self._lock_file)
                raise

    def close(self) -> None:
        """Let go of the file and of the lock; a second time does nothing."""
        with self.mutex:
            self._connection.close()
            if self._lock_file is not None:
                os.close(self._lock_file)
                self._lock_file = None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is done within is saved when it ends, or none of it."""
        db = self._connection
        with self.mutex, guarded(self.directory):
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:  # a full disk may have ended it already
                    db.execute("ROLLBACK")
                raise

    def one(self, query: str, *values: object) -> tuple[Any, ...] | None:
        """Return the first row of a query, or None."""
        rows = self.all(query, *values)
        return rows[0] if rows else None

    def all(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self.mutex, guarded(self.directory):
            return self._connection.execute(query, values).fetchall()

    def n_bytes(self) -> int:
        """Return the size of the database, what is still in its log included."""
        with self.mutex, guarded(self.directory):
            pages = self._connection.execute("PRAGMA page_count").fetchone()[0]
            return int(pages * self._connection.execute("PRAGMA page_size").fetchone()[0])

    def _prepare(self, schema: str, max_bytes: int | None) -> None:
        db = self._connection
        if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            self._check_version()
        db.execute("PRAGMA journal_mode = WAL")
        if max_bytes is not None:
            page_bytes = db.execute("PRAGMA page_size").fetchone()[0]
            db.execute(f"PRAGMA max_page_count = {max(max_bytes // page_bytes, 1)}")
        with self.transaction():
            if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                for statement in schema.split(";\n"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {VERSION}")
                db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")

    def _check_version(self) -> None:
        version = _version(self._connection, self.directory)
        if version > VERSION:
            raise StoreError(
                f"store {self.directory}: expected version {VERSION}, got {version}, made by a newer attribution-proofs"
                "; upgrade this one, or choose another directory"
            )
        if version != VERSION:
            raise StoreError(
                f"store {self.directory}: expected version {VERSION}, got {version}; "
                f"run prover migrate --store {self.directory}, which keeps a copy"
            )


def migrate(directory: Path, steps: Mapping[int, Sequence[str]]) -> tuple[int, Path] | None:
    """Bring a store of an older version to this one's, after copying it.

    Parameters
    ----------
    steps : from a version to the statements that make the next one of it.

    Returns
    -------
    The version that it had, and where its copy is; None for a store that needs nothing.

    Raises
    ------
    StoreError
        There is no store, another prover holds it, it is newer than this program or older than
        every step, or the disk refuses: the store is then as it was.
    """
    with guarded(directory):
        if not (directory / DATABASE).is_file():
            raise StoreError(f"store {directory}: expected a prover's store, found none; run prover train first")
        lock = _lock(directory)
        try:
            with closing(_connect(directory, "")) as db:
                return _migrate(db, directory, steps)
        finally:
            os.close(lock)


def _migrate(db: sqlite3.Connection, directory: Path, steps: Mapping[int, Sequence[str]]) -> tuple[int, Path] | None:
    version = _version(db, directory)
    if version == VERSION:
        return None
    missing = [step for step in range(version, VERSION) if step not in steps]
    if version > VERSION or missing:
        raise StoreError(
            f"store {directory}: expected version {min(steps)} to {VERSION}, got {version}; "
            "use the version that made it: prover export saves its claim"
        )
    copy = directory / f"{DATABASE}.version-{version}"
    copy.unlink(missing_ok=True)
    db.execute("VACUUM INTO ?", (str(copy),))
    db.execute("BEGIN IMMEDIATE")
    try:
        for step in range(version, VERSION):
            for statement in steps[step]:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return version, copy


def _version(db: sqlite3.Connection, directory: Path) -> int:
    if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:  # another prover is at making it
        raise StoreError(f"store {directory}: expected a prover's store, found none; run prover train first")
    if db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION_ID:
        raise StoreError(f"store {directory}: expected a prover's store, got another program's {DATABASE}")
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _connect(directory: Path, mode: str) -> sqlite3.Connection:
    uri = (directory / DATABASE).resolve().as_uri() + mode
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT_S)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


@contextmanager
def guarded(directory: Path) -> Iterator[None]:
    """Turn what the disk and SQLite raise into a :class:`StoreError` of one line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(directory) from error
        raise StoreError(f"store {directory}: {error.strerror or error}") from error
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise _full(directory) from error
        raise StoreError(f"store {directory}: the database cannot be used: {error}") from error


def _full(directory: Path) -> StoreError:
    advice = "make room and run the same command again, what was saved is kept"
    return StoreError(f"store {directory}: the disk is full; {advice}")


def _lock(directory: Path) -> int:
    file = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(file, 20, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(file)
        raise StoreError(
            f"another prover (pid {holder}) holds store {directory}; wait for it, stop it, or choose another directory"
        ) from error
    os.ftruncate(file, 0)
    os.pwrite(file, f"{os.getpid()}\n".encode("ascii"), 0)
    return file
