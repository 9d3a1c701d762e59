"""The demonstration's own judgement: it ends well only when every meeting did. ``make demo`` runs the rest."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.adversaries.registry import BY_NAME
from tests.journeys import demo


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(demo, "PLACE", tmp_path / ".demo")
    return demo.PLACE


def ended(status: int, said: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Every command ends so, in place of being run."""
    return lambda *arguments, **options: subprocess.CompletedProcess(arguments, status, stdout=said)


class Started:
    def address(self) -> str:
        return "127.0.0.1:1"


ACCEPTED = "ACCEPT, moments (kurtosis at most 6), own\n  pooled relative gap is at most 0.01 <= 0.05\n"
FALSE = "REJECT, moments (kurtosis at most 12), delegated\n  9 of 30 rechecked answers are false (evaluations 3)\n"


@pytest.mark.parametrize(
    ("number", "status", "said", "expected"),
    [
        (0, 0, ACCEPTED, True),
        (0, 1, ACCEPTED, False),
        (0, 0, FALSE, False),
        (2, 0, ACCEPTED, False),
        (2, 1, FALSE, False),
        (4, 1, FALSE, True),
        (4, 2, FALSE, False),
        (4, 1, "", False),
    ],
)
def test_a_meeting_is_as_expected_when_status_and_reason_are(
    number: int, status: int, said: str, *, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "command", ended(status, said))
    met = demo.verified(demo.MEETINGS[number], Started(), number=number)  # type: ignore[arg-type]
    assert met.as_expected is expected


def _met(*, well: bool) -> demo.Met:
    meeting = demo.MEETINGS[0]
    return demo.Met(meeting=meeting, status=0 if well else 1, outcome="-", reason=ACCEPTED, seconds=0.0)


@pytest.mark.parametrize(("well", "status"), [([True, True], 0), ([True, False], 1)])
def test_one_surprise_makes_the_demonstration_fail(
    well: list[bool], status: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "journey", lambda: [_met(well=each) for each in well])
    assert demo.main() == status


def test_a_command_that_fails_ends_the_demonstration(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(subprocess, "run", ended(71, ""))
    assert demo.main() == 1
    assert "prover init: expected exit status 0, got 71" in capsys.readouterr().out


def test_a_server_that_ends_early_ends_the_demonstration_with_what_it_said(place: Path) -> None:
    place.mkdir()
    with (
        pytest.raises(demo.Unexpected, match="ended early:\nno claim here"),
        demo.Server("honest", ["sh", "-c", "echo no claim here"]) as server,
    ):
        server.address()


def test_it_meets_the_honest_prover_and_three_cheats_that_there_are() -> None:
    cheats = [meeting.cheat for meeting in demo.MEETINGS if meeting.cheat is not None]
    assert cheats == ["flattering-figures", "favoured", "false-fraction"]
    assert set(cheats) <= set(BY_NAME)
    assert [meeting.status for meeting in demo.MEETINGS] == [0, 0, 1, 1, 1]
