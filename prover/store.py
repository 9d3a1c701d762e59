"""What must survive a crash: one directory with a SQLite file, a signing key and a lock.

Owns what is kept and when it is there. Refuses to know what outputs mean, how a session goes and
when to train.

    DIR/store.sqlite   the database (``prover.database``): what a method has saved when it returns
                       is there after kill -9 or a power cut, and what it has not is absent whole
    DIR/signing.key    32 bytes in hexadecimal, mode 0600, made for the first claim, and for another where it
                       was lost; a file of its own, so that copying the database to somebody gives nothing away
    DIR/lock           held by the one process that may write

Every method may be called from any thread, and may raise StoreError for the disk. Saving what is
already there changes nothing, so work that a crash repeats does no harm. Arrays are kept as
little-endian float64 in C order.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from jaxtyping import Float64

from protocol.claim import Claim, Figures
from protocol.commitments import PublicKey, SigningKey
from protocol.commitments.signature import KEY_BYTES
from protocol.encoding import Digest, Seed
from protocol.errors import AttributionProofsError, InternalError, StoreError
from protocol.game.sampling import Design, Draw
from protocol.session.messages import ClaimCommitted, Sender, SignedClaim
from protocol.task import Task
from protocol.taskfile import parse, render
from prover.database import Database, guarded, migrate

KEY = "signing.key"
ANSWERS = "answers"

_COST = (
    "total(n), total(CASE WHEN seconds > 0 THEN n ELSE 0 END), total(n_clipped), total(seconds), total(length(outputs))"
)

_SCHEMA = """
CREATE TABLE task (only INTEGER PRIMARY KEY CHECK (only = 1), toml TEXT NOT NULL, digest BLOB NOT NULL, data_path TEXT);
CREATE TABLE campaign (
    purpose TEXT PRIMARY KEY, seed BLOB NOT NULL, n_families INTEGER NOT NULL, n_siblings INTEGER NOT NULL,
    keep_16 INTEGER NOT NULL, complements INTEGER NOT NULL
);
CREATE TABLE chunk (
    series TEXT NOT NULL, first INTEGER NOT NULL, n INTEGER NOT NULL, n_clipped INTEGER NOT NULL, seconds REAL NOT NULL,
    outputs BLOB NOT NULL, PRIMARY KEY (series, first)
);
CREATE TABLE claim (
    only INTEGER PRIMARY KEY CHECK (only = 1), root BLOB NOT NULL, public_key BLOB NOT NULL, signature BLOB NOT NULL,
    relative_gap REAL NOT NULL, odd_residual REAL NOT NULL, r2 REAL NOT NULL, n_retrainings INTEGER NOT NULL
);
CREATE TABLE score (target INTEGER PRIMARY KEY, intercept REAL NOT NULL, scores BLOB NOT NULL);
CREATE TABLE message (
    session TEXT NOT NULL, number INTEGER NOT NULL, sender TEXT NOT NULL, bytes BLOB NOT NULL,
    PRIMARY KEY (session, number)
);
"""

_MIGRATIONS = {
    1: (  # chunks got their seconds; those of older ones are not known
        "ALTER TABLE chunk RENAME TO chunk_1",
        """CREATE TABLE chunk (
            series TEXT NOT NULL, first INTEGER NOT NULL, n INTEGER NOT NULL, n_clipped INTEGER NOT NULL,
            seconds REAL NOT NULL, outputs BLOB NOT NULL, PRIMARY KEY (series, first)
        )""",
        "INSERT INTO chunk SELECT series, first, n, n_clipped, 0.0, outputs FROM chunk_1",
        "DROP TABLE chunk_1",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A run of evaluations whose outputs are saved: ``first`` to ``first + n - 1``.

    seconds : for how long a device was busy with it; 0 where that is not known.
    """

    first: int
    n: int
    n_clipped: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a series took, or several of them.

    n : trainings. seconds : for how long devices were busy with the ``n_timed`` of them that were timed.
    n_clipped : outputs that lay outside their range; those of answers are not counted.
    n_bytes : of their outputs, as they are kept, what SQLite adds around them not counted.
    """

    n: int
    n_timed: int
    n_clipped: int
    seconds: float
    n_bytes: int


class Store:
    """The state of one prover, for one task.

    Parameters
    ----------
    directory : Path
        Made if it is not there, unless ``read_only``.
    read_only : bool
        Takes no lock, so that a running prover can be looked at; every saving method fails.
    max_bytes : int or None
        Largest size of the database, in bytes; reaching it is like a full disk. None for no limit.

    Raises
    ------
    StoreError
        Another prover holds the directory, it belongs to another version or program, or the
        disk refuses.
    """

    def __init__(self, directory: Path, *, read_only: bool = False, max_bytes: int | None = None) -> None:
        self.directory = directory
        self._db = Database(directory, schema=_SCHEMA, read_only=read_only, max_bytes=max_bytes)

    def close(self) -> None:
        """Let go of the files and of the lock."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # The task and the key

    def check_task(self, task: Task) -> None:
        """Raise StoreError where another task is here."""
        row = self._db.one("SELECT digest FROM task")
        if row is not None and row[0] != task.digest:
            raise StoreError(
                f"store {self.directory}: expected task {row[0].hex()[:16]}, which it holds, "
                f"got {task.digest.hex()[:16]}; choose another directory"
            )

    def set_task(self, task: Task, data_path: Path | None) -> None:
        """Save the task and where its data were found; refuse another task than the one that is here."""
        with self._db.transaction() as db:
            self.check_task(task)
            path = None if data_path is None else str(data_path.resolve())
            db.execute("INSERT OR REPLACE INTO task VALUES (1, ?, ?, ?)", (render(task), task.digest, path))

    def task(self) -> Task:
        """Return the task; StoreError if there is none yet."""
        row = self._db.one("SELECT toml, digest FROM task")
        if row is None:
            raise StoreError(f"store {self.directory}: expected a task, found none; run prover train first")
        with self._intact():
            task = parse(row[0])
        if task.digest != row[1]:
            raise StoreError(f"store {self.directory}: expected the task that was saved, got another; it is damaged")
        return task

    def data_path(self) -> Path | None:
        """Return where the task's data file lies; None for a bundled set."""
        row = self._db.one("SELECT data_path FROM task")
        return None if row is None or row[0] is None else Path(row[0])

    def signing_key(self) -> SigningKey:
        """Return the key that signed the claim, to sign answers with; before there is a claim, the next one's.

        Raises
        ------
        StoreError
            The key is gone or another one: its answers would not be those of whoever signed the claim. Or as
            :meth:`next_signing_key`.
        """
        path, advice = self.directory / KEY, "restore it from a copy, or train or import again"
        with self._db.mutex:
            signer = self.signer()
            if signer is not None and not path.exists():
                raise StoreError(f"{path}: expected the key that signed the claim, found none; {advice}")
            key = self.next_signing_key()
        if signer not in {None, key.public}:
            raise StoreError(f"{path}: expected the key that signed the claim, got another; {advice}")
        return key

    def next_signing_key(self) -> SigningKey:
        """Return the key to sign a claim with that takes the place of any other, made when there is none.

        Raises
        ------
        StoreError
            The key file is not 32 bytes in hexadecimal, or others than its owner may read it.
        """
        path = self.directory / KEY
        with self._db.mutex, guarded(self.directory):
            if not path.exists():
                _write_key(path)
            if path.stat().st_mode & 0o077:
                raise StoreError(f"{path}: expected a key that only its owner can read; run chmod 600 on it")
            text = path.read_bytes().strip()
        try:
            return SigningKey(bytes.fromhex(text.decode("ascii")))
        except (ValueError, InternalError) as error:
            raise StoreError(f"{path}: expected {KEY_BYTES} bytes in hexadecimal; restore it from a copy") from error

    # Campaigns and their outputs

    def add_campaign(self, purpose: str, draw: Draw) -> None:
        """Save a campaign's seed and design, before its first training."""
        d = draw.design
        row = (purpose, draw.seed, d.n_families, d.n_siblings, d.keep_16, d.complements)
        with self._db.transaction() as db:
            db.execute("INSERT INTO campaign VALUES (?, ?, ?, ?, ?, ?)", row)

    def campaign(self, purpose: str) -> Draw | None:
        """Return the draw of a campaign, or None if there is none of that purpose."""
        row = self._db.one(
            "SELECT seed, n_families, n_siblings, keep_16, complements FROM campaign WHERE purpose = ?", purpose
        )
        if row is None:
            return None
        with self._intact():
            design = Design(n_families=row[1], n_siblings=row[2], keep_16=row[3], complements=bool(row[4]))
            return Draw(seed=Seed(row[0]), design=design)

    def save_outputs(
        self, series: str, first: int, outputs: Float64[np.ndarray, "m t"], n_clipped: int, seconds: float = 0.0
    ) -> None:
        """Save the outputs of evaluations ``first``, ``first`` + 1, ... of a series.

        A series is a campaign's purpose or :func:`answers_series`. Saving the same run again
        changes nothing.

        Raises
        ------
        StoreError
            The run overlaps another one in part.
        """
        n = len(outputs)
        with self._db.transaction() as db:
            # Saved runs are disjoint, so that if any overlaps, the last that begins before our end does.
            last = db.execute(
                "SELECT first, n FROM chunk WHERE series = ? AND first < ? ORDER BY first DESC LIMIT 1",
                (series, first + n),
            ).fetchone()
            if last == (first, n):
                return
            if last is not None and sum(last) > first:
                raise StoreError(f"store {self.directory}: expected a run apart from {last} of {series}, got {first}")
            row = (series, first, n, n_clipped, seconds, _to_blob(outputs))
            db.execute("INSERT INTO chunk VALUES (?, ?, ?, ?, ?, ?)", row)

    def chunks(self, series: str) -> list[Chunk]:
        """Return the runs of a series that are saved, ascending."""
        rows = self._db.all("SELECT first, n, n_clipped, seconds FROM chunk WHERE series = ? ORDER BY first", series)
        return [Chunk(first=first, n=n, n_clipped=n_clipped, seconds=seconds) for first, n, n_clipped, seconds in rows]

    def missing(self, series: str, total: int) -> list[range]:
        """Return the runs of 0..total-1 that are not saved, ascending."""
        gaps, next_ = [], 0
        for chunk in self.chunks(series):
            if chunk.first > next_:
                gaps.append(range(next_, min(chunk.first, total)))
            next_ = max(next_, chunk.first + chunk.n)
        return [gap for gap in [*gaps, range(next_, total)] if len(gap)]

    def n_done(self, series: str) -> int:
        """Return how many evaluations of a series are saved."""
        row = self._db.one("SELECT total(n) FROM chunk WHERE series = ?", series)
        return 0 if row is None else int(row[0])

    def cost(self, series: str) -> Cost:
        """Return what a series took."""
        row = self._db.one(f"SELECT {_COST} FROM chunk WHERE series = ?", series)  # noqa: S608  our own constant
        return _cost(*(row or (0, 0, 0, 0.0, 0)))

    def costs(self) -> Mapping[str, Cost]:
        """Return what each series took that there is, by its name; the answers of all sessions as one, ``ANSWERS``."""
        rows = self._db.all(
            f"SELECT CASE WHEN series GLOB ? THEN ? ELSE series END AS name, {_COST} "  # noqa: S608  likewise
            "FROM chunk GROUP BY name ORDER BY name",
            f"{ANSWERS} *",
            ANSWERS,
        )
        return {name: _cost(*row) for name, *row in rows}

    def n_bytes(self) -> int:
        """Return the size of the whole database."""
        return self._db.n_bytes()

    def outputs(self, series: str, first: int, total: int, n_targets: int) -> Float64[np.ndarray, "m t"]:
        """Return the outputs of evaluations ``first`` to ``total`` - 1, shape (total - first, T).

        Raises
        ------
        StoreError
            Some of them are missing, or were saved for another number of targets.
        """
        out = np.empty((max(total - first, 0), n_targets))
        n_filled = 0
        begin = self._db.one("SELECT max(first) FROM chunk WHERE series = ? AND first <= ?", series, first)
        query = "SELECT first, n, outputs FROM chunk WHERE series = ? AND first >= ? AND first < ? ORDER BY first"
        least = first if begin is None or begin[0] is None else begin[0]
        for start, n, blob in self._db.all(query, series, least, total):
            low, high = max(start, first), max(min(start + n, total), first)
            rows = self._from_blob(blob, (n, n_targets))
            out[low - first : high - first] = rows[low - start : high - start]
            n_filled += high - low
        if n_filled != len(out):
            raise StoreError(
                f"store {self.directory}: expected outputs {first} to {total - 1} of {series}, got {n_filled}"
            )
        return out

    # The claim

    def save_claim(self, committed: ClaimCommitted) -> None:
        """Save the claim in the place of any other; sessions stay, as a record of what was said of that one."""
        signed, claim, f = committed.signed, committed.claim, committed.signed.figures
        row = (
            signed.root,
            signed.public_key.raw,
            signed.signature,
            f.relative_gap,
            f.odd_residual,
            f.r2,
            f.n_retrainings,
        )
        with self._db.transaction() as db:
            held = db.execute("SELECT root, signature FROM claim").fetchone()
            if held == (signed.root, signed.signature):
                return
            db.execute("DELETE FROM claim")
            db.execute("DELETE FROM score")
            db.execute("INSERT INTO claim VALUES (1, ?, ?, ?, ?, ?, ?, ?)", row)
            rows = ((t, float(claim.intercepts[t]), _to_blob(claim.scores[t])) for t in range(claim.n_targets))
            db.executemany("INSERT INTO score VALUES (?, ?, ?)", rows)

    def signer(self) -> PublicKey | None:
        """Return the key that the claim is signed by; None if there is no claim yet."""
        row = self._db.one("SELECT public_key FROM claim")
        with self._intact():
            return None if row is None else PublicKey(row[0])

    def claim(self) -> ClaimCommitted | None:
        """Return the signed claim, its signature and root checked; None if there is none yet."""
        with self._db.mutex:
            row = self._db.one(
                "SELECT root, public_key, signature, relative_gap, odd_residual, r2, n_retrainings FROM claim"
            )
            if row is None:
                return None
            task, scores = self.task(), self._db.all("SELECT intercept, scores FROM score ORDER BY target")
        with self._intact():
            signed = SignedClaim(
                task_digest=task.digest,
                root=Digest(row[0]),
                figures=Figures(relative_gap=row[3], odd_residual=row[4], r2=row[5], n_retrainings=row[6]),
                public_key=PublicKey(row[1]),
                signature=row[2],
            )
            claim = Claim(
                task_digest=task.digest,
                intercepts=np.array([intercept for intercept, _ in scores], dtype=np.float64),
                scores=np.stack([self._from_blob(blob, (task.n_units,)) for _, blob in scores]),
            )
            signed.check_signature()
            signed.check_covers(claim)
        return ClaimCommitted(signed=signed, claim=claim)

    # Sessions

    def save_session_message(self, session_id: str, index: int, sender: Sender, data: bytes) -> None:
        """Save message number ``index`` (from 0) of a session; StoreError if another one has that number."""
        with self._db.transaction() as db:
            held = db.execute(
                "SELECT sender, bytes FROM message WHERE session = ? AND number = ?", (session_id, index)
            ).fetchone()
            if held is None:
                db.execute("INSERT INTO message VALUES (?, ?, ?, ?)", (session_id, index, sender.value, data))
            elif held != (sender.value, data):
                raise StoreError(
                    f"store {self.directory}: expected message {index} of session {session_id} to stay as it is"
                )

    def session_messages(self, session_id: str) -> list[tuple[Sender, bytes]]:
        """Return a session's messages, in order; none for a session that is not known."""
        rows = self._db.all("SELECT number, sender, bytes FROM message WHERE session = ? ORDER BY number", session_id)
        if [number for number, _, _ in rows] != list(range(len(rows))):
            raise StoreError(f"store {self.directory}: expected every message of session {session_id}, got some")
        return [(Sender(sender), data) for _, sender, data in rows]

    def session_ids(self) -> list[str]:
        """Return the sessions that have messages, oldest first."""
        return [row[0] for row in self._db.all("SELECT session FROM message WHERE number = 0 ORDER BY rowid")]

    def drop_session(self, session_id: str) -> None:
        """Forget a session's messages and answers."""
        with self._db.transaction() as db:
            db.execute("DELETE FROM message WHERE session = ?", (session_id,))
            db.execute("DELETE FROM chunk WHERE series GLOB ?", (f"{ANSWERS} {session_id} *",))

    def save_answers(self, session_id: str, round_: int, first: int, outputs: Float64[np.ndarray, "m t"]) -> None:
        """Save the answers ``first``, ``first`` + 1, ... of a round, as :meth:`save_outputs`."""
        self.save_outputs(answers_series(session_id, round_), first, outputs, 0)

    def answers(self, session_id: str, round_: int, total: int, n_targets: int) -> Float64[np.ndarray, "m t"]:
        """Return all ``total`` answers of a round, shape (total, T); StoreError if some are missing."""
        return self.outputs(answers_series(session_id, round_), 0, total, n_targets)

    def _from_blob(self, blob: bytes, shape: tuple[int, ...]) -> np.ndarray:
        if len(blob) != 8 * int(np.prod(shape)):
            raise StoreError(f"store {self.directory}: expected {shape} numbers, got {len(blob)} bytes; it is damaged")
        return np.frombuffer(blob, dtype="<f8").reshape(shape).astype(np.float64)

    @contextmanager
    def _intact(self) -> Iterator[None]:
        """Turn what a value refuses into the store's error: nobody else wrote it."""
        try:
            yield
        except StoreError:
            raise
        except (AttributionProofsError, ValueError, TypeError) as error:
            raise StoreError(f"store {self.directory}: expected what was saved, got damage: {error}") from error


def migrated(directory: Path) -> tuple[int, Path] | None:
    """Bring a store of an older version to this one's; as ``prover.database.migrate``."""
    return migrate(directory, _MIGRATIONS)


def answers_series(session_id: str, round_: int) -> str:
    """Return the name under which a round's answers are saved."""
    return f"{ANSWERS} {session_id} {round_}"


def _cost(n: float, n_timed: float, n_clipped: float, seconds: float, n_bytes: float) -> Cost:
    return Cost(n=int(n), n_timed=int(n_timed), n_clipped=int(n_clipped), seconds=float(seconds), n_bytes=int(n_bytes))


def _write_key(path: Path) -> None:
    """Write a fresh key so that a crash leaves either none or a whole one."""
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, secrets.token_hex(KEY_BYTES).encode("ascii") + b"\n")
        os.fsync(file)
    finally:
        os.close(file)
    partial.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _to_blob(array: Float64[np.ndarray, "*shape"]) -> bytes:
    return np.ascontiguousarray(array, dtype="<f8").tobytes()
