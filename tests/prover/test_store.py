"""The store: what is saved stays, one prover at a time, and the disk's troubles are one line each."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from protocol.claim import Claim, Figures
from protocol.commitments import SigningKey
from protocol.encoding import Seed
from protocol.errors import StoreError
from protocol.game.sampling import Draw, pairs
from protocol.session.messages import ClaimCommitted, Sender
from prover.claiming import commit
from prover.database import DATABASE, LOCK, VERSION, migrate
from prover.report import cost_line, status_json, status_lines
from prover.store import KEY, Cost, Store, answers_series, migrated
from tests.games import task_of

TASK = task_of(6, n_targets=3)
RNG = np.random.default_rng(5)


def rows(n: int) -> np.ndarray:
    return RNG.standard_normal((n, TASK.n_targets))


def a_claim(key: SigningKey, scale: float = 1.0) -> ClaimCommitted:
    claim = Claim(task_digest=TASK.digest, intercepts=np.arange(3.0), scores=scale * np.arange(18.0).reshape(3, 6))
    return commit(claim, Figures(relative_gap=0.1, odd_residual=0.2, r2=0.3, n_retrainings=4), key)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def store(directory: Path) -> Iterator[Store]:
    with Store(directory) as store:
        store.set_task(TASK, None)
        yield store


def test_what_is_saved_is_there_when_opened_again(directory: Path) -> None:
    draw, outputs = Draw(seed=Seed(bytes(range(32))), design=pairs(50)), rows(7)
    with Store(directory) as store:
        store.set_task(TASK, directory / "data.csv")
        committed = a_claim(store.signing_key())
        store.add_campaign("train", draw)
        store.save_outputs("train", 0, outputs, 2)
        store.save_claim(committed)
        store.save_session_message("aa", 0, Sender.VERIFIER, b"hello")
    with Store(directory) as store:
        assert store.task() == TASK
        assert store.data_path() == (directory / "data.csv").resolve()
        assert store.campaign("train") == draw
        assert store.campaign("check") is None
        assert np.array_equal(store.outputs("train", 0, 7, 3), outputs)
        again = store.claim()
        assert again is not None
        assert again.signed == committed.signed
        assert np.array_equal(again.claim.scores, committed.claim.scores)
        assert store.session_messages("aa") == [(Sender.VERIFIER, b"hello")]
        assert store.signing_key().public == committed.signed.public_key


def test_a_second_prover_is_refused_by_name(store: Store, directory: Path) -> None:
    with pytest.raises(StoreError, match=rf"^another prover \(pid {os.getpid()}\) holds store .*choose another direc"):
        Store(directory)


def test_a_second_process_is_refused_too_and_a_dead_one_holds_nothing(directory: Path) -> None:
    code = f"from pathlib import Path; from prover.store import Store; Store(Path({str(directory)!r})); print('held')"
    holder = subprocess.Popen(
        [sys.executable, "-c", code + "; input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path.cwd()
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StoreError, match=rf"another prover \(pid {holder.pid}\)"):
            Store(directory)
    finally:
        holder.kill()
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()
    Store(directory).close()


def test_a_store_can_be_looked_at_while_a_prover_holds_it(store: Store, directory: Path) -> None:
    store.save_outputs("train", 0, rows(4), 0)
    with Store(directory, read_only=True) as seen:
        assert seen.task() == TASK
        assert seen.n_done("train") == 4
        with pytest.raises(StoreError, match="readonly"):
            seen.save_outputs("train", 4, rows(1), 0)


def test_looking_at_nothing_says_what_to_do(directory: Path) -> None:
    with pytest.raises(StoreError, match="expected a prover's store, found none; run prover train first"):
        Store(directory, read_only=True)
    assert not directory.exists()


def test_another_task_is_refused(store: Store) -> None:
    other = task_of(7, n_targets=3)
    with pytest.raises(StoreError, match=f"expected task {TASK.digest.hex()[:16]}.*got {other.digest.hex()[:16]}"):
        store.set_task(other, None)
    assert store.task() == TASK


def set_version(directory: Path, version: int) -> None:
    with sqlite3.connect(directory / DATABASE) as db:
        db.execute(f"PRAGMA user_version = {version}")
    db.close()


@pytest.mark.parametrize(
    ("version", "advice"),
    [(99, "made by a newer attribution-proofs; upgrade this one"), (1, "run prover migrate --store .*keeps a copy")],
)
def test_another_version_is_refused_with_what_to_do(directory: Path, version: int, advice: str) -> None:
    Store(directory).close()
    set_version(directory, version)
    for read_only in (False, True):
        with pytest.raises(StoreError, match=f"expected version {VERSION}, got {version}.*{advice}"):
            Store(directory, read_only=read_only)


VERSION_1 = """
DROP TABLE chunk;
CREATE TABLE chunk (
    series TEXT NOT NULL, first INTEGER NOT NULL, n INTEGER NOT NULL, n_clipped INTEGER NOT NULL, outputs BLOB NOT NULL,
    PRIMARY KEY (series, first)
);
PRAGMA user_version = 1;
"""


def of_version_1(directory: Path, outputs: np.ndarray) -> None:
    """Make a store as version 1 made them, with one chunk."""
    with Store(directory) as store:
        store.set_task(TASK, None)
        store.save_claim(a_claim(store.signing_key()))
    db = sqlite3.connect(directory / DATABASE)
    db.executescript(VERSION_1)
    db.execute("INSERT INTO chunk VALUES ('train', 0, ?, 1, ?)", (len(outputs), outputs.astype("<f8").tobytes()))
    db.commit()
    db.close()


def test_migrating_keeps_everything_and_a_copy(directory: Path) -> None:
    outputs = rows(5)
    of_version_1(directory, outputs)
    assert migrated(directory) == (1, directory / f"{DATABASE}.version-1")
    with Store(directory) as store:
        assert store.task() == TASK
        assert store.claim() is not None
        assert np.array_equal(store.outputs("train", 0, 5, 3), outputs)
        assert [chunk.n_clipped for chunk in store.chunks("train")] == [1]
        assert store.cost("train") == Cost(n=5, n_timed=0, n_clipped=1, seconds=0.0, n_bytes=5 * 3 * 8)
        store.save_outputs("train", 5, rows(2), 0, 0.5)
    assert migrated(directory) is None
    db = sqlite3.connect(directory / f"{DATABASE}.version-1")
    assert db.execute("PRAGMA user_version").fetchone() == (1,)
    assert db.execute("SELECT n FROM chunk").fetchall() == [(5,)]
    db.close()


def test_a_migration_that_fails_leaves_the_store_as_it_was(directory: Path) -> None:
    of_version_1(directory, rows(5))
    with pytest.raises(StoreError, match="no such table: absent"):
        migrate(directory, {1: ("DROP TABLE chunk", "INSERT INTO absent VALUES (1)")})
    assert migrated(directory) is not None
    with Store(directory) as store:
        assert store.n_done("train") == 5


def test_what_cannot_be_migrated_is_refused(directory: Path) -> None:
    with pytest.raises(StoreError, match="expected a prover's store, found none"):
        migrated(directory)
    with Store(directory), pytest.raises(StoreError, match="another prover"):
        migrated(directory)
    for version in (0, 99):
        set_version(directory, version)
        with pytest.raises(StoreError, match=f"expected version 1 to {VERSION}, got {version}; use the version that m"):
            migrated(directory)


def test_what_a_series_took_is_stated(store: Store) -> None:
    store.save_outputs("train", 0, rows(4), 0)
    store.save_outputs("train", 4, rows(6), 0, 1.5)
    store.save_outputs("other", 0, rows(6), 3, 9.0)
    cost = store.cost("train")
    assert cost == Cost(n=10, n_timed=6, n_clipped=0, seconds=1.5, n_bytes=10 * 3 * 8)
    assert store.cost("nothing") == Cost(n=0, n_timed=0, n_clipped=0, seconds=0.0, n_bytes=0)
    assert store.costs() == {"train": cost, "other": store.cost("other")}
    assert cost_line(cost) == "1.5 s of a device, 250 ms each (4 others were not timed); 24 bytes of outputs each"
    assert status_json(store, TASK)["bytes_per_retraining"] == 24


def test_retrainings_of_every_kind_are_counted_and_priced(store: Store) -> None:
    assert "retrainings  0 saved" in status_lines(store, TASK)
    store.save_outputs("check", 0, rows(400), 12, 2.0)
    assert status_lines(store, TASK)[2] == (
        "retrainings  400 saved by import: 2.0 s of a device, 5 ms each; 24 bytes of outputs each"
    )
    store.save_outputs("train", 0, rows(10), 0, 1.0)
    store.save_answers("aa", 0, 0, rows(3))
    store.save_answers("aa", 1, 0, rows(2))
    store.save_answers("bb", 0, 0, rows(2))
    assert status_lines(store, TASK)[2:5] == [
        "retrainings  10 saved by train: 1.0 s of a device, 100 ms each; 24 bytes of outputs each",
        "             400 saved by import: 2.0 s of a device, 5 ms each; 24 bytes of outputs each",
        "             7 saved as answers: their time was not kept; 24 bytes of outputs each",
    ]
    state = status_json(store, TASK)
    assert (state["n_retrainings_saved"], state["n_retrainings_timed"], state["seconds"]) == (417, 410, 3.0)
    assert {what: one["n_retrainings_saved"] for what, one in state["saved"].items()} == {
        "train": 10,
        "check": 400,
        "answers": 7,
    }
    assert (state["saved"]["check"]["clipped"], "clipped" in state["saved"]["answers"]) == (0.01, False)


def test_a_saved_chunk_costs_the_same_however_many_there_are(store: Store) -> None:
    """Steps of SQLite's machine, not seconds: what is looked at must not grow with what is there."""
    store.set_task(TASK, None)
    steps = []
    for n in (50, 1000):
        for k in range(store.n_done("train"), n):
            store.save_outputs("train", k, rows(1), 0)
        counted = 0

        def count() -> int:
            nonlocal counted
            counted += 1
            return 0

        store._db._connection.set_progress_handler(count, 1)
        store.save_outputs("train", 2 * n, rows(1), 0)
        store.outputs("train", n - 1, n, 3)
        store._db._connection.set_progress_handler(None, 1)
        steps.append(counted)
    assert 0 < steps[1] < 2 * steps[0]


def test_another_programs_database_is_refused(directory: Path) -> None:
    directory.mkdir()
    with sqlite3.connect(directory / DATABASE) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()
    with pytest.raises(StoreError, match="got another program's"):
        Store(directory)


def test_junk_in_place_of_a_database_is_refused_and_lets_go_of_the_lock(directory: Path) -> None:
    directory.mkdir()
    (directory / DATABASE).write_bytes(b"junk" * 1000)
    for _ in range(2):  # a lock that stayed would say "another prover" the second time
        with pytest.raises(StoreError, match="not a database"):
            Store(directory)


def test_a_file_in_place_of_the_directory_is_refused(directory: Path) -> None:
    directory.write_text("")
    with pytest.raises(StoreError, match="File exists"):
        Store(directory)


def test_the_key_is_its_owners_alone(store: Store, directory: Path) -> None:
    store.signing_key()
    path = directory / KEY
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(StoreError, match="expected a key that only its owner can read; run chmod 600"):
        store.signing_key()


def test_a_damaged_key_is_never_replaced(store: Store, directory: Path) -> None:
    store.signing_key()
    (directory / KEY).write_text("00ff")
    with pytest.raises(StoreError, match="expected 32 bytes in hexadecimal; restore it"):
        store.signing_key()
    assert (directory / KEY).read_text() == "00ff"


def test_saving_a_run_again_changes_nothing(store: Store) -> None:
    first = rows(4)
    store.save_outputs("train", 0, first, 1)
    store.save_outputs("train", 0, rows(4), 3)
    assert np.array_equal(store.outputs("train", 0, 4, 3), first)
    assert [chunk.n_clipped for chunk in store.chunks("train")] == [1]


def test_a_run_that_overlaps_in_part_is_refused(store: Store) -> None:
    store.save_outputs("train", 4, rows(4), 0)
    for first, n in ((2, 3), (7, 2), (5, 1), (3, 6), (4, 5)):
        with pytest.raises(StoreError, match="expected a run apart from"):
            store.save_outputs("train", first, rows(n), 0)
    assert store.n_done("train") == 4


def test_missing_runs_are_those_between_the_saved(store: Store) -> None:
    assert store.missing("train", 10) == [range(10)]
    store.save_outputs("train", 2, rows(3), 0)
    store.save_outputs("train", 7, rows(1), 0)
    store.save_outputs("other", 0, rows(10), 0)
    assert store.missing("train", 10) == [range(2), range(5, 7), range(8, 10)]
    assert store.missing("train", 8) == [range(2), range(5, 7)]
    assert store.missing("train", 4) == [range(2)]
    assert store.missing("train", 1) == [range(1)]


def test_outputs_are_cut_from_whatever_runs_hold_them(store: Store) -> None:
    whole = rows(10)
    for first, stop in ((6, 10), (0, 1), (1, 6)):
        store.save_outputs("train", first, whole[first:stop], 0)
    for first, total in ((0, 10), (0, 3), (2, 8), (5, 6), (9, 10), (4, 4)):
        assert np.array_equal(store.outputs("train", first, total, 3), whole[first:total])


def test_outputs_that_are_not_there_are_not_made_up(store: Store) -> None:
    store.save_outputs("train", 0, rows(2), 0)
    store.save_outputs("train", 3, rows(2), 0)
    with pytest.raises(StoreError, match="expected outputs 0 to 4 of train, got 4"):
        store.outputs("train", 0, 5, 3)
    with pytest.raises(StoreError, match="damaged"):
        store.outputs("train", 0, 2, 4)


def test_a_claim_that_the_disk_changed_is_not_served(store: Store, directory: Path) -> None:
    store.save_claim(a_claim(store.signing_key()))
    with sqlite3.connect(directory / DATABASE) as db:
        db.execute("UPDATE score SET intercept = intercept + 1e-9 WHERE target = 2")
    db.close()
    with pytest.raises(StoreError, match="expected what was saved, got damage"):
        store.claim()


def test_a_new_claim_takes_the_old_ones_place_and_sessions_stay(store: Store) -> None:
    key = store.signing_key()
    store.save_claim(a_claim(key))
    store.save_session_message("aa", 0, Sender.VERIFIER, b"1")
    newer = a_claim(key, scale=2.0)
    store.save_claim(newer)
    held = store.claim()
    assert held is not None
    assert held.signed == newer.signed
    assert store.session_ids() == ["aa"]


def test_a_session_message_is_written_once(store: Store) -> None:
    store.save_session_message("aa", 0, Sender.VERIFIER, b"1")
    store.save_session_message("aa", 0, Sender.VERIFIER, b"1")
    with pytest.raises(StoreError, match="expected message 0 of session aa to stay"):
        store.save_session_message("aa", 0, Sender.VERIFIER, b"2")
    with pytest.raises(StoreError, match="to stay"):
        store.save_session_message("aa", 0, Sender.PROVER, b"1")
    store.save_session_message("aa", 2, Sender.PROVER, b"3")
    with pytest.raises(StoreError, match="expected every message of session aa"):
        store.session_messages("aa")


def test_dropping_a_session_leaves_the_others(store: Store) -> None:
    for session in ("aa", "ab"):
        store.save_session_message(session, 0, Sender.VERIFIER, b"1")
        store.save_answers(session, 0, 0, rows(2))
        store.save_answers(session, 1, 0, rows(2))
    store.drop_session("aa")
    assert store.session_ids() == ["ab"]
    assert store.n_done(answers_series("aa", 0)) == store.n_done(answers_series("aa", 1)) == 0
    assert store.answers("ab", 1, 2, 3).shape == (2, 3)


def test_a_full_disk_is_one_line_and_loses_nothing(directory: Path) -> None:
    big = np.ones((2000, 3))
    with Store(directory, max_bytes=200_000) as store:
        store.set_task(TASK, None)

        def fill() -> None:
            for k in range(100):
                store.save_outputs("train", 2000 * k, k * big, 0)

        with pytest.raises(StoreError, match="the disk is full; make room and run the same command again") as caught:
            fill()
        assert "\n" not in str(caught.value)
        n_saved = store.n_done("train")
        assert 0 < n_saved < 200_000
    with Store(directory) as store:  # room was made
        assert store.n_done("train") == n_saved
        store.save_outputs("train", n_saved, n_saved // 2000 * big, 0)
        saved = store.outputs("train", 0, n_saved + 2000, 3)
        assert np.array_equal(saved[::2000, 0], np.arange(n_saved // 2000 + 1))


def test_a_transaction_that_fails_leaves_nothing(store: Store) -> None:
    committed = a_claim(store.signing_key())
    store.save_claim(committed)
    broken = a_claim(store.signing_key(), scale=3.0)
    object.__setattr__(broken.claim, "intercepts", np.array([0.0, 1.0, object()], dtype=object))
    with pytest.raises(TypeError):
        store.save_claim(broken)
    held = store.claim()
    assert held is not None
    assert held.signed == committed.signed


def test_any_thread_may_save(store: Store) -> None:
    failures: list[BaseException] = []

    def save(k: int) -> None:
        try:
            for first in range(k, 40, 4):
                store.save_outputs("train", first, np.full((1, 3), float(first)), 0)
                store.missing("train", 40)
        except BaseException as error:  # noqa: BLE001 - reported by the test
            failures.append(error)

    threads = [threading.Thread(target=save, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert store.outputs("train", 0, 40, 3)[:, 0].tolist() == list(range(40))


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from prover.store import Store
store = Store(Path(sys.argv[1]))
for k in range(10**6):
    store.save_outputs("train", 10 * k, np.full((10, 3), float(k)), 0)
    print(k, flush=True)
"""


def test_what_a_killed_process_had_saved_is_there_whole(directory: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(directory)], stdout=subprocess.PIPE, cwd=Path.cwd())
    assert process.stdout is not None
    for _ in range(20):
        last = int(process.stdout.readline())
    process.kill()
    last = int([str(last).encode(), *process.stdout.read().split()][-1])
    process.wait()
    process.stdout.close()
    with Store(directory) as store:
        n = store.n_done("train")
        assert n >= 10 * (last + 1)
        assert store.outputs("train", 0, n, 3)[:, 0].tolist() == [float(k) for k in range(n // 10) for _ in range(10)]


def test_the_lock_says_who_holds_it(store: Store, directory: Path) -> None:
    assert (directory / LOCK).read_text() == f"{os.getpid()}\n"
