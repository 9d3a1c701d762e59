"""Transcripts and scores on disk: whole or not at all, and scores only for an ACCEPT."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from protocol.commitments import SigningKey
from protocol.encoding import Seed
from protocol.errors import DataError, InternalError, StoreError
from protocol.game.sampling import Draw, pairs
from protocol.session.messages import Challenge, Outcome
from protocol.session.recheck import recheck
from tests.verifier.loops import Met, terms
from tests.verifier.market import Market, MemoryProver
from verifier import filing, offline

KEY = SigningKey(bytes(32))


def met(market: Market, **prover: Any) -> tuple[Any, Met]:
    session = Met(market, MemoryProver(market, **prover), terms(epsilon=0.05))
    return session.run(), session


def test_a_filed_transcript_is_read_back_and_decides_the_same(market: Market, tmp_path: Path) -> None:
    verdict, session = met(market)
    path = tmp_path / "a.transcript"
    filing.file_transcript(path, market.task, verdict.terms, session.session.transcript, KEY)
    filed = filing.read_transcript(path)
    assert filed.public_key == KEY.public
    again = recheck(filed)
    assert (again.outcome, again.reasons) == (verdict.outcome, verdict.reasons)


@pytest.mark.parametrize("cut", [0, 10, 200, -1])
def test_a_truncated_transcript_is_refused(market: Market, tmp_path: Path, cut: int) -> None:
    verdict, session = met(market)
    path = tmp_path / "a.transcript"
    filing.file_transcript(path, market.task, verdict.terms, session.session.transcript, KEY)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"ask for the file again"):
        filing.read_transcript(path)


def test_scores_have_the_intercept_first(market: Market, tmp_path: Path) -> None:
    verdict, session = met(market)
    filing.write_scores(tmp_path / "scores.npy", verdict, session.session.transcript)
    table = np.load(tmp_path / "scores.npy", allow_pickle=False)
    assert table.shape == (market.task.n_targets, market.task.n_units + 1)
    np.testing.assert_array_equal(table[:, 0], market.claim.intercepts)
    np.testing.assert_array_equal(table[:, 1:], market.claim.scores)


def test_scores_are_for_an_accept_alone(market: Market, tmp_path: Path) -> None:
    verdict, session = met(market, claim=market.scaled(-1.0))
    assert verdict.outcome is Outcome.REJECT
    with pytest.raises(InternalError, match="scores are for an ACCEPT"):
        filing.write_scores(tmp_path / "scores.npy", verdict, session.session.transcript)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "old"
    path.write_text("old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("verifier.filing.os.fsync", full)
    with pytest.raises(StoreError, match=r"got No space left on device; nothing was changed"):
        filing.write_bytes(path, b"new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["old"]


def test_a_folder_that_is_not_there_is_found_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"got none; make it first"):
        filing.check_writable(tmp_path / "nowhere" / "file")
    with pytest.raises(StoreError, match=r"got a folder's"):
        filing.check_writable(tmp_path)
    filing.check_writable(tmp_path / "file")


def test_a_claim_file_is_read_whole(market: Market, tmp_path: Path) -> None:
    task, committed = offline.read_claim(market.claim_file(tmp_path / "a.claim"))
    assert task == market.task
    np.testing.assert_array_equal(committed.claim.scores, market.claim.scores)


@pytest.mark.parametrize("cut", [0, 10, 3000, -1])
def test_a_truncated_claim_file_is_refused(market: Market, tmp_path: Path, cut: int) -> None:
    path = market.claim_file(tmp_path / "a.claim")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"ask for the file again"):
        offline.read_claim(path)


def test_an_over_long_claim_file_is_refused(market: Market, tmp_path: Path) -> None:
    path = market.claim_file(tmp_path / "a.claim")
    path.write_bytes(path.read_bytes() + b"\x00")
    with pytest.raises(DataError, match=r"ask for the file again"):
        offline.read_claim(path)


def test_a_file_too_large_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "huge").write_bytes(b"12345")
    monkeypatch.setattr("verifier.offline.MAX_FILE_BYTES", 4)
    monkeypatch.setattr(Path, "read_bytes", SimpleNamespace())  # called: a TypeError
    with pytest.raises(DataError, match=r"expected at most 4 bytes, got 5"):
        offline.read_bytes(tmp_path / "huge", "claim file")


def test_a_missing_file_and_a_device_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"got No such file or directory; check the path"):
        offline.read_bytes(tmp_path / "none", "claim file")
    with pytest.raises(DataError, match=r"expected a regular file"):
        offline.read_bytes(Path("/dev/zero"), "claim file")


def test_a_claim_file_is_never_challenged(market: Market) -> None:
    challenge = Challenge(round=0, draw=Draw(seed=Seed(bytes(32)), design=pairs(2)))
    with pytest.raises(InternalError, match="cannot be challenged"):
        offline.FileProver(market.committed()).exchange(challenge, on_progress=lambda _done, _total: None)
