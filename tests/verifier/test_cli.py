"""The command: what it prints where, how it ends, and one line for every fault."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from protocol import taskfile
from protocol.errors import Reason, Refused, TransportError
from protocol.recipes import Reading, Sklearn
from protocol.session.messages import Challenge, Opening
from protocol.task import Task
from tests.verifier.market import Market, MemoryProver
from verifier import cli
from verifier.verification import read_task

pytestmark = pytest.mark.usefixtures("foreseen")

Serve = Callable[[MemoryProver], MemoryProver]
ROOT = Path(__file__).parents[2]


class Ran:
    """How a command ended and what it printed."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def told(self) -> dict:
        return json.loads(self.out)


@pytest.fixture
def run(here: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run the command in a folder of its own."""

    def command(*arguments: object) -> Ran:
        capsys.readouterr()
        status = cli.run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Ran(status, printed.out, printed.err)

    return command


@pytest.fixture
def trusted(market: Market) -> tuple[object, ...]:
    return ("--task", market.task_file, "--data", market.data)


def assert_fault(ran: Ran, status: int, line: str) -> None:
    assert ran.status == status, ran.err
    assert ran.out == ""
    assert line in ran.err
    (last,) = [said for said in ran.err.splitlines() if said and not said.startswith(("plan:", "no verdict;"))]
    assert last.startswith("error: "), "expected one line"


# ------------------------------------------------------------------------------------------- verify


def test_an_honest_claim_is_accepted(run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple) -> None:
    prover = served(MemoryProver(market))
    ran = run("verify", "there:1", *trusted, "--transcript", "t", "--scores-out", "scores.npy")
    assert ran.status == 0, ran.err
    assert ran.out.startswith("ACCEPT, moments (kurtosis at most 6), own\n  pooled relative gap is at most 0.0")
    for part in ("relative gap, at most", "mean square of the residual", "what it holds under", "transcript: t"):
        assert part in ran.out
    assert np.load("scores.npy").shape == (20, 121)
    assert prover.is_closed


def test_an_inverted_claim_is_rejected_and_its_scores_are_kept_back(
    run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple, here: Path
) -> None:
    served(MemoryProver(market, market.scaled(-1.0)))
    ran = run("verify", "there:1", *trusted, "--transcript", "t", "--scores-out", "scores.npy")
    assert ran.status == 1
    assert ran.out.startswith("REJECT")
    assert (here / "t").is_file()
    assert not (here / "scores.npy").exists()


def test_too_few_retrainings_are_inconclusive(
    run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple, here: Path
) -> None:
    served(MemoryProver(market))
    ran = run("verify", "there:1", *trusted, "--epsilon", 0.002, "--max-retrainings", 200, "--scores-out", "s.npy")
    assert ran.status == 2, ran.out
    assert "with 0.002 between: allow more retrainings" in ran.out
    assert not (here / "s.npy").exists()
    assert len(list(here.glob("verdict-*.transcript"))) == 1, "filed here by default"


CERTIFICATES = [
    ("moments", "own", ()),
    ("moments", "delegated", ("--epsilon", 0.2)),
    ("crossfit", "own", ("--epsilon", 0.2, "--max-retrainings", 4000)),
    ("crossfit", "delegated", ("--epsilon", 0.35, "--max-retrainings", 4000, "--max-answers", 20_000)),
    ("gaussian", "own", ()),
]


@pytest.mark.parametrize(("certificate", "answers", "options"), CERTIFICATES)
def test_every_certificate_accepts_an_honest_claim_and_no_inverted_one(
    run: Callable[..., Ran],
    served: Serve,
    market: Market,
    trusted: tuple,
    certificate: str,
    answers: str,
    options: tuple[object, ...],
) -> None:
    asked = ("verify", "there:1", *trusted, "--certificate", certificate, "--answers", answers, *options, "--json")
    served(MemoryProver(market))
    ran = run(*asked)
    # Plans are made to be enough, but not in every run: with these coins cross-fit's was not.
    assert ran.status == (2 if (certificate, answers) == ("crossfit", "delegated") else 0), ran.err or ran.out
    told = ran.told
    assert (told["certificate_name"], told["answers"]) == (certificate, answers)
    assert (told["n_answered"] > 0) == bool(told["spot_checks"]) == (answers == "delegated")
    served(MemoryProver(market, market.scaled(-1.0)))
    inverted = run(*asked)
    assert inverted.status in (1, 2)
    assert inverted.told["certificate"]["lower"] > told["certificate"]["lower"]


def test_every_subset_of_few_units_decides_exactly(
    run: Callable[..., Ran], contributors_market: Market, here: Path
) -> None:
    market = contributors_market
    asked = ("--task", market.task_file, "--data", market.data, "--certificate", "exhaustive", "--json")
    ran = run("verify", "--claim", market.claim_file(here / "a.claim"), *asked)
    assert (ran.status, ran.told["n_retrainings"]) == (0, 64)
    assert ran.told["certificate"]["lower"] == ran.told["certificate"]["upper"] <= 0.05
    halved = run("verify", "--claim", market.claim_file(here / "b.claim", market.scaled(0.5)), *asked)
    assert halved.status == 1


def test_more_units_than_every_subset_can_be_taken_of_are_refused(
    run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple
) -> None:
    prover = served(MemoryProver(market))
    ran = run("verify", "there:1", *trusted, "--certificate", "exhaustive")
    assert_fault(ran, 64, "units can be taken in every combination, and the game has 120; use moments")
    assert prover.heard == []


@pytest.mark.parametrize("across", ["pooled", "mean", "every"])
def test_a_verdict_says_what_it_is_across(
    run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple, across: str
) -> None:
    served(MemoryProver(market))
    ran = run("verify", "there:1", *trusted, "--across", across, "--epsilon", 0.3, "--json")
    assert ran.told["across"] == across
    assert f"{across} relative gap is" in ran.told["reasons"][0]


def test_a_larger_kurtosis_takes_more_and_is_part_of_the_verdict(
    run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple
) -> None:
    taken = []
    for kurtosis in (4, 16, 30):
        served(MemoryProver(market))
        ran = run("verify", "there:1", *trusted, "--kurtosis", kurtosis, "--json")
        assert ran.told["assumption"] == f"kurtosis at most {kurtosis}"
        assert ran.told["certificate"]["kurtosis"] == kurtosis
        taken.append(ran.told["n_retrainings"])
    assert taken[0] <= taken[1] < taken[2]


@pytest.mark.parametrize(
    ("kurtosis", "line"),
    [
        ("0.5", "kurtosis: expected a bound from 1 to 1e+06, got 0.5"),
        ("nan", "kurtosis: expected a bound from 1 to 1e+06, got nan"),
        ("1e7", "kurtosis: expected a bound from 1 to 1e+06, got 1"),
        ("3.5", "kurtosis: a claim's own linear error can reach 3.75 in this design"),
    ],
)
def test_a_kurtosis_that_cannot_be_assumed_is_refused(
    run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple, kurtosis: str, line: str
) -> None:
    prover = served(MemoryProver(market))
    assert_fault(run("verify", "there:1", *trusted, "--kurtosis", kurtosis), 64, line)
    assert_fault(run("plan", "there:1", "--no-pilot", "--kurtosis", kurtosis), 64, line)
    assert "Challenge" not in prover.heard


def test_a_kurtosis_that_leaves_no_bound_names_a_budget_that_does(
    run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple
) -> None:
    asked = ("verify", "there:1", *trusted, "--kurtosis", 200)
    served(MemoryProver(market))
    ran = run(*asked)
    assert_fault(ran, 75, "1000 retrainings leave no bound at kurtosis 200; the least is --max-retrainings ")
    enough = ran.err.split("--max-retrainings ")[1].strip()
    served(MemoryProver(market))
    assert run(*asked, "--max-retrainings", int(enough) - 2).status == 75
    served(MemoryProver(market))
    assert run(*asked, "--max-retrainings", enough).status in (0, 2)


def test_no_budget_reaches_an_enormous_kurtosis_and_no_time_is_lost(
    run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple
) -> None:
    prover = served(MemoryProver(market))
    assert run("verify", "there:1", *trusted, "--kurtosis", "1e6").status == 75
    assert prover.heard == ["Opening", "Aborted"]


def test_delegated_answers_are_rechecked(
    run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple
) -> None:
    prover = served(MemoryProver(market))
    asked = ("--answers", "delegated", "--epsilon", 0.3, "--n-checks", 100, "--json")
    ran = run("verify", "there:1", *trusted, *asked)
    assert ran.status == 0, ran.out
    assert ran.told["n_retrainings"] == 20 + 2 * 100, "the pilot and the checked pairs"
    assert [(check["n_checked"], check["n_mismatches"]) for check in ran.told["spot_checks"]] == [(100, 0)]
    assert prover.heard == ["Opening", "Challenge", "Closing"]


def test_false_answers_are_rejected(run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple) -> None:
    served(MemoryProver(market, answer=lambda outputs: np.clip(outputs + 1e-3, -6, 6)))
    ran = run("verify", "there:1", *trusted, "--answers", "delegated", "--epsilon", 0.2, "--json")
    assert ran.status == 1
    assert "rechecked answers are false" in ran.told["reasons"][0]
    assert ran.told["certificate"] is None


def test_a_claim_file_is_verified_with_nobody_there(
    run: Callable[..., Ran], market: Market, trusted: tuple, here: Path
) -> None:
    ran = run("verify", "--claim", market.claim_file(here / "a.claim"), *trusted, "--json")
    assert (ran.status, ran.told["outcome"]) == (0, "ACCEPT")
    inverted = run("verify", "--claim", market.claim_file(here / "b.claim", market.scaled(-1.0)), *trusted, "--quiet")
    assert inverted.status == 1
    assert inverted.err == ""
    assert len(inverted.out.splitlines()) == 2


def test_algorithm1_needs_somebody_who_answers_and_one_target(
    run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple, here: Path
) -> None:
    asked = (*trusted, "--certificate", "algorithm1")
    ran = run("verify", "--claim", market.claim_file(here / "a.claim"), *asked)
    assert_fault(ran, 64, "algorithm1: expected a task of one target, got 20")
    prover = served(MemoryProver(market))
    assert_fault(run("verify", "there:1", *asked), 64, "algorithm1: expected a task of one target, got 20")
    assert prover.heard == []


@pytest.mark.parametrize(
    ("certificate", "said", "line"),
    [
        ("algorithm1", ("--answers", "own"), "answers: algorithm1 works with delegated answers, got own"),
        ("algorithm1", ("--across", "mean"), "across: algorithm1 works across pooled, got mean"),
        ("algorithm1", ("--looks", 2), "looks: certificate algorithm1 chooses its looks itself; leave it out"),
        ("crossfit", ("--looks", 1), "looks: certificate crossfit chooses its looks itself; leave it out"),
        ("moments", ("--looks", 1), "looks: certificate moments chooses its looks itself; leave it out"),
        ("moments", ("--n-checks", 5), "n-checks: the verifier trains every subset itself"),
        ("crossfit", ("--n-checks", 5), "n-checks: the verifier trains every subset itself"),
        ("crossfit", ("--kurtosis", 9), "kurtosis: crossfit assumes no bound on it"),
        ("gaussian", ("--kurtosis", 9), "kurtosis: gaussian assumes no bound on it"),
        ("gaussian", ("--answers", "delegated"), "answers: gaussian works with own answers, got delegated"),
        (
            "nothing",
            (),
            "certificate: expected one of moments, crossfit, exhaustive, algorithm1, gaussian, got 'nothing'",
        ),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(
    run: Callable[..., Ran],
    served: Serve,
    market: Market,
    trusted: tuple,
    certificate: str,
    said: tuple[object, ...],
    line: str,
) -> None:
    prover = served(MemoryProver(market))
    assert_fault(run("verify", "there:1", *trusted, "--certificate", certificate, *said), 64, line)
    assert prover.heard == []


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (("--max-retrainings", 10), "the least is --max-retrainings 180"),
        (
            ("--answers", "delegated", "--max-answers", 3),
            "the least is --max-answers 160, where the server answers as many",
        ),
        (("--answers", "delegated", "--max-retrainings", 21), "take 180 retrainings; raise --max-retrainings to it"),
        (("--answers", "delegated", "--n-checks", 600), "take 1220 retrainings; raise --max-retrainings to it"),
        (("--certificate", "crossfit", "--max-retrainings", 10), "raise --max-retrainings to "),
        (("--certificate", "crossfit", "--answers", "delegated", "--max-answers", 3), "raise --max-answers to "),
        (("--certificate", "gaussian", "--max-retrainings", 3), "--max-retrainings"),
    ],
)
def test_a_budget_that_does_not_reach_names_the_option(
    run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple, said: tuple[object, ...], line: str
) -> None:
    served(MemoryProver(market))
    assert_fault(run("verify", "there:1", *trusted, *said), 75, line)


def test_no_more_is_asked_than_the_server_says_it_answers(
    run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple
) -> None:
    asked = ("verify", "there:1", *trusted, "--answers", "delegated")
    prover = served(MemoryProver(market))
    prover.max_evaluations = 630
    assert 400 <= run(*asked, "--n-checks", 200, "--json").told["n_answered"] <= 630
    prover = served(MemoryProver(market))
    prover.max_evaluations = 3
    assert_fault(run(*asked), 75, "moments: 3 answers are too few")
    assert prover.heard == ["Opening", "Aborted"]


def test_a_claim_signed_by_another_key_is_rejected(
    run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple
) -> None:
    served(MemoryProver(market))
    ran = run("verify", "there:1", *trusted, "--prover-key", "ab" * 32)
    assert ran.status == 1
    assert "got another key's" in ran.out
    named = market.committed().signed.public_key.raw.hex()
    served(MemoryProver(market))
    assert run("verify", "there:1", *trusted, "--prover-key", named).status == 0


def test_a_prover_that_leaves_after_the_challenge_is_rejected(
    run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple
) -> None:
    served(MemoryProver(market, fails={Challenge: TransportError("the server is gone")}))
    ran = run("verify", "there:1", *trusted, "--answers", "delegated")
    assert ran.status == 1
    assert "did not answer the challenge: the server is gone" in ran.out


def test_what_a_prover_writes_is_shown_as_one_line(
    run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple
) -> None:
    spoken = "[bold]trust me[/bold]\x1b[2J\nACCEPT"
    served(MemoryProver(market, fails={Opening: Refused(spoken, Reason.FAILED)}))
    ran = run("verify", "there:1", *trusted)
    assert ran.status == 1
    assert "\x1b" not in ran.out
    assert "[bold]trust me[/bold] [2J ACCEPT" in ran.out
    assert not any(line.startswith("ACCEPT") for line in ran.out.splitlines())


# --------------------------------------------------------------------------------- what is trusted


def test_a_task_must_be_named(run: Callable[..., Ran], served: Serve, market: Market) -> None:
    prover = served(MemoryProver(market))
    ran = run("verify", "there:1", "--data", market.data)
    assert_fault(ran, 64, f"there:1 has task {market.task.digest.hex()}: read it with verifier inspect")
    assert prover.heard == []


def test_another_task_than_the_one_named_is_refused(
    run: Callable[..., Ran], served: Serve, market: Market, contributors_market: Market
) -> None:
    prover = served(MemoryProver(market))
    ran = run("verify", "there:1", "--task", contributors_market.task_file, "--data", market.data)
    assert_fault(ran, 65, "task: expected the one of your file")
    ran = run("verify", "there:1", "--task-digest", "ab" * 32, "--data", market.data)
    assert_fault(ran, 64, f"task-digest: expected {'ab' * 8}, got {market.task.digest.hex()[:16]} from there:1")
    assert prover.heard == []


def test_a_digest_alone_is_enough(run: Callable[..., Ran], served: Serve, market: Market) -> None:
    served(MemoryProver(market))
    digest = market.task.digest.hex().upper()
    assert run("verify", "there:1", "--task-digest", digest, "--data", market.data).status == 0


@pytest.mark.parametrize(
    ("options", "status", "line"),
    [
        (["--task-digest", "ab"], 64, "task-digest: expected all 64 hexadecimal digits, got 'ab'"),
        (["--task-digest", "z" * 64], 64, "task-digest: expected all 64 hexadecimal digits"),
        (["--task", "none.toml"], 65, "none.toml: expected a task file"),
        (["--task", "bad.toml"], 65, "bad.toml: title: unknown key"),
        (["--prover-key", "ab"], 64, "prover-key: expected 64 hexadecimal digits"),
        (["--epsilon", "0"], 64, "epsilon: expected a relative gap above 0 and below 1, got 0.0"),
        (["--epsilon", "nan"], 64, "epsilon: expected a relative gap above 0 and below 1, got nan"),
        (["--delta", "1"], 64, "delta: expected a probability strictly between 0 and 1, got 1.0"),
        (["--kurtosis", "none"], 64, "--kurtosis"),
        (["--max-retrainings", "0"], 64, "--max-retrainings"),
        (["--across", "some"], 64, "--across"),
        (["--looks", "17"], 64, "--looks"),
        (["--answers", "audited"], 64, "--answers"),
        (["--certificate", "families"], 64, "certificate: expected one of moments"),
        (["--transcript", "nowhere/t"], 74, "expected a folder nowhere to write into"),
        (["--scores-out", "nowhere/s"], 74, "expected a folder nowhere to write into"),
        (["--key", "none.key"], 65, "expected a file, got none"),
        (["--device", "abacus"], 71, "device 'abacus'"),
        (["--data", "none.csv"], 65, "none.csv"),
    ],
)
def test_a_wrong_option_is_one_line(
    run: Callable[..., Ran],
    served: Serve,
    market: Market,
    trusted: tuple,
    here: Path,
    options: list[str],
    status: int,
    line: str,
) -> None:
    served(MemoryProver(market))
    (here / "bad.toml").write_text('title = "none"\n')
    named = ["--data", market.data] if {"--task", "--task-digest"} & set(options) else [*trusted]
    assert_fault(run("verify", "there:1", *named, *options), status, line)
    assert not list(here.glob("verdict-*")), "nothing was begun"


def test_other_data_are_refused(
    run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple, here: Path
) -> None:
    prover = served(MemoryProver(market))
    other = market.data.read_text().replace("ann", "zoe", 1)
    (here / "other.csv").write_text(other)
    assert_fault(run("verify", "there:1", *trusted[:2], "--data", "other.csv"), 65, "expected digest")
    assert prover.heard == []


def test_one_party_is_asked(run: Callable[..., Ran], market: Market, trusted: tuple, here: Path) -> None:
    assert_fault(run("verify", *trusted), 64, "expected one of HOST:PORT and --claim FILE, got neither")
    claim = market.claim_file(here / "a.claim")
    assert_fault(run("verify", "there:1", "--claim", claim, *trusted), 64, "got both")
    delegated = run("verify", "--claim", claim, *trusted, "--answers", "delegated")
    assert_fault(delegated, 64, "a claim file cannot answer a challenge")


def test_a_broken_claim_file_is_one_line(run: Callable[..., Ran], market: Market, trusted: tuple, here: Path) -> None:
    whole = market.claim_file(here / "a.claim").read_bytes()
    (here / "short.claim").write_bytes(whole[:-9])
    (here / "long.claim").write_bytes(whole + b"x")
    for name in ("short.claim", "long.claim"):
        assert_fault(run("verify", "--claim", name, *trusted), 65, "ask for the file again")
    assert_fault(run("verify", "--claim", "none.claim", *trusted), 65, "expected a file to read")


def test_a_claim_file_whose_scores_were_changed_is_rejected(
    run: Callable[..., Ran], market: Market, trusted: tuple, here: Path
) -> None:
    whole = market.claim_file(here / "a.claim").read_bytes()
    score = np.float64(market.claim.scores[3, 7]).tobytes()
    assert whole.count(score) == 1
    (here / "b.claim").write_bytes(whole.replace(score, np.float64(1.0).tobytes()))
    ran = run("verify", "--claim", "b.claim", *trusted)
    assert ran.status == 1
    assert "not those under the signed Merkle root" in ran.out


def test_no_server_is_a_fault_of_the_network(
    run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple
) -> None:
    served(MemoryProver(market, fails={Opening: TransportError("nobody answers at there:1; check the address")}))
    assert_fault(run("verify", "there:1", *trusted), 69, "nobody answers at there:1; check the address")


def test_a_full_disk_loses_no_verdict(
    run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    served(MemoryProver(market))
    assert run("verify", "there:1", *trusted, "--quiet").status == 0, "the key is made"

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("verifier.filing.os.fsync", full)
    served(MemoryProver(market))
    ran = run("verify", "there:1", *trusted)
    assert ran.status == 74
    assert ran.out.startswith("ACCEPT")
    assert "No space left on device" in ran.err
    assert "transcript:" not in ran.out


def test_ctrl_c_says_where_the_transcript_is(
    run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prover = served(MemoryProver(market))

    def interrupted(*_: object) -> np.ndarray:
        raise KeyboardInterrupt

    monkeypatch.setattr("verifier.retrain.Retrainer.__call__", interrupted)
    ran = run("verify", "there:1", *trusted, "--transcript", "t")
    assert ran.status == 130
    assert "the transcript so far is in t" in ran.err
    assert prover.heard == ["Opening", "Aborted"]
    assert prover.is_closed
    assert (here / "t").is_file()
    assert_fault(run("recheck", "t", "--quiet"), 65, "expected entries up to a verdict")


# ------------------------------------------------------------------------------- inspect and plan


def test_a_served_task_can_be_read_before_it_is_trusted(
    run: Callable[..., Ran], served: Serve, market: Market, here: Path
) -> None:
    served(MemoryProver(market))
    ran = run("inspect", "there:1", "--out", "seen.toml")
    assert ran.status == 0
    assert taskfile.parse(ran.out) == market.task, "stdout itself is a task file"
    assert ran.out.splitlines()[-1] == f"# digest: {market.task.digest.hex()}"
    assert read_task(here / "seen.toml") == market.task
    told = run("inspect", "there:1", "--json").told
    assert told["task_digest"] == market.task.digest.hex()
    assert taskfile.parse(told["task"]) == market.task


def test_a_claim_files_task_can_be_read(run: Callable[..., Ran], market: Market, here: Path) -> None:
    ran = run("inspect", "--claim", market.claim_file(here / "a.claim"))
    assert (ran.status, taskfile.parse(ran.out)) == (0, market.task)


def test_a_task_cannot_write_on_the_terminal(
    run: Callable[..., Ran], served: Serve, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    served(MemoryProver(market))
    monkeypatch.setattr("protocol.taskfile.render", lambda _task: 'source = "a\x9b2J\u202eb"\n')
    assert run("inspect", "there:1").out.splitlines()[0] == 'source = "a\\U0000009b2J\\U0000202eb"'


def test_a_budget_that_does_not_reach_leaves_the_prover_and_a_transcript(
    run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple, here: Path
) -> None:
    prover = served(MemoryProver(market))
    ran = run("verify", "there:1", *trusted, "--max-retrainings", 10, "--transcript", "t")
    assert ran.status == 75
    assert "no verdict; the transcript so far is in t" in ran.err
    assert prover.heard == ["Opening", "Aborted"]
    assert (here / "t").is_file()


def test_a_disk_that_is_full_hides_no_error(
    run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    served(MemoryProver(market))
    assert run("verify", "there:1", *trusted, "--quiet").status == 0, "the key is made"

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("verifier.filing.os.fsync", full)
    prover = served(MemoryProver(market))
    assert_fault(run("verify", "there:1", *trusted, "--max-retrainings", 10), 75, "the least is --max-retrainings")
    assert prover.heard == ["Opening", "Aborted"]


def test_a_plan_shows_every_certificate(run: Callable[..., Ran], served: Serve, market: Market) -> None:
    prover = served(MemoryProver(market))
    ran = run("plan", "there:1", "--data", market.data)
    assert ran.status == 0, ran.err
    assert "the prover says so" in ran.out
    for certificate in ("moments (kurtosis at most 6), own: a pilot", "crossfit, own", "crossfit, delegated"):
        assert certificate in ran.out
    assert "gaussian (Gaussian residuals), own" in ran.out
    assert "asked for: pooled relative gap at most 0.05; a wrong ACCEPT has probability 0.05" in ran.out
    assert prover.heard == ["Opening", "Aborted"]


def test_a_plan_needs_no_claim(run: Callable[..., Ran], market: Market) -> None:
    plan = ("plan", "--task", market.task_file, "--max-retrainings", 400, "--json")
    found = run(*plan, "--no-pilot").told["plans"]
    rows = {(row["certificate"], row["answers"]): row for row in found}
    assert set(rows) == {
        ("moments", "own"), ("moments", "delegated"), ("crossfit", "own"), ("crossfit", "delegated"),
        ("gaussian", "own"),
    }, "120 units are too many for every subset, 20 targets for algorithm1"  # fmt: skip
    own = rows["moments", "own"]
    assert own["n_retrained"][0] <= own["expected_retrained"] <= own["n_retrained"][1] <= 400
    assert (own["figures_from"], own["seconds"], own["claim_bytes"]) == ("a guess", None, 8 * 20 * 121)
    assert rows["crossfit", "own"]["why_not"] is not None or not rows["crossfit", "own"]["sufficient"]
    timed = run(*plan, "--data", market.data).told["plans"][0]
    assert timed["seconds"] == pytest.approx(timed["seconds_per_retraining"] * timed["expected_retrained"])


def test_a_plan_of_one_target_has_the_papers_protocol_and_of_few_units_every_subset(
    run: Callable[..., Ran], contributors_market: Market, here: Path
) -> None:
    task = contributors_market.task
    one = replace(task, targets=replace(task.targets, rows=(0,), lo=np.full(1, -6.0), hi=np.full(1, 6.0)))
    (here / "one.toml").write_text(taskfile.render(one))
    rows = {row["certificate"]: row for row in run("plan", "--task", "one.toml", "--no-pilot", "--json").told["plans"]}
    assert list(rows) == ["moments", "crossfit", "exhaustive", "algorithm1", "gaussian"]
    assert rows["exhaustive"]["n_retrained"] == [64, 64]
    assert rows["algorithm1"]["why_not"].startswith("algorithm1: ")
    assert rows["exhaustive"]["lower_bound"] is rows["algorithm1"]["lower_bound"] is None


def test_no_estimator_of_another_party_is_trained_for_a_plan(
    run: Callable[..., Ran], market: Market, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endless = "MLPClassifier(max_iter=1000000000, tol=0.0, n_iter_no_change=1000000000)"
    recipe = Sklearn(estimator=endless, version="1.9.1", reading=Reading.LOG_PROBABILITY)
    task = replace(market.task, recipe=recipe)
    theirs = replace(market, task=task, claim=replace(market.claim, task_digest=task.digest))
    asked = []

    def prepare(task: Task, **_: object) -> None:
        asked.append(task)
        raise TransportError("trained")

    monkeypatch.setattr("verifier.cli.tasks.prepare", prepare)
    plan = ("plan", "--claim", theirs.claim_file(here / "a.claim"), "--json")
    ran = run(*plan)
    assert (ran.status, asked) == (0, []), ran.err
    assert ran.told["plans"][0]["seconds"] is None
    assert "not timed" in ran.err
    assert run(*plan, "--pilot").status == 69
    assert asked == [task]


def test_a_claim_file_answers_nothing(run: Callable[..., Ran], market: Market, here: Path) -> None:
    ran = run("plan", "--claim", market.claim_file(here / "a.claim"), "--no-pilot", "--json")
    assert {plan["answers"] for plan in ran.told["plans"]} == {"own"}
    assert ran.told["plans"][0]["figures_from"] == "the prover"


def test_a_claim_that_its_signature_does_not_cover_is_not_planned_for(
    run: Callable[..., Ran], market: Market, here: Path
) -> None:
    whole = market.claim_file(here / "a.claim").read_bytes()
    score = np.float64(market.claim.scores[3, 7]).tobytes()
    (here / "b.claim").write_bytes(whole.replace(score, np.float64(1.0).tobytes()))
    told = run("plan", "--claim", "b.claim", "--no-pilot", "--json").told
    assert {row["figures_from"] for row in told["plans"]} == {"a guess"}


def test_a_plan_of_nothing_is_refused(run: Callable[..., Ran], market: Market) -> None:
    assert_fault(run("plan"), 64, "got none or several")
    assert_fault(run("plan", "there:1", "--task", market.task_file), 64, "got none or several")


# ---------------------------------------------------------------------------------------- recheck


@pytest.fixture
def filed(run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple) -> Path:
    served(MemoryProver(market))
    assert (
        run("verify", "there:1", *trusted, "--answers", "delegated", "--epsilon", 0.2, "--transcript", "t").status == 0
    )
    return Path("t")


def test_a_filed_transcript_is_decided_again(run: Callable[..., Ran], filed: Path, market: Market) -> None:
    believed = run("recheck", filed)
    assert believed.status == 0
    assert believed.out.startswith("ACCEPT, moments")
    assert "the verifier's retrainings are believed" in believed.out
    assert market.task.digest.hex() in believed.out
    again = run("recheck", filed, "--retrain", "--data", market.data, "--json")
    assert (again.status, again.told["outcome"]) == (0, "ACCEPT")
    assert "the verifier's own retrainings were done again" in again.told["notes"]


def test_a_rejection_is_decided_again(run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple) -> None:
    served(MemoryProver(market, market.scaled(-1.0)))
    assert run("verify", "there:1", *trusted, "--transcript", "t").status == 1
    assert run("recheck", "t").status == 1


def test_a_transcript_of_another_task_or_verifier_is_refused(
    run: Callable[..., Ran], filed: Path, contributors_market: Market
) -> None:
    assert_fault(run("recheck", filed, "--task", contributors_market.task_file), 65, "expected the one of your file")
    assert_fault(run("recheck", filed, "--verifier-key", "ab" * 32), 65, "got another key's")


def test_a_tampered_transcript_supports_no_verdict(run: Callable[..., Ran], filed: Path, here: Path) -> None:
    whole = bytearray(filed.read_bytes())
    whole[-40] ^= 1  # in the signature
    (here / "bad").write_bytes(whole)
    assert_fault(run("recheck", "bad", "--quiet"), 65, "it supports no verdict")
    assert_fault(run("recheck", "none"), 65, "expected a file to read")


# ---------------------------------------------------------------------------------------- compare


def test_transcripts_of_one_claim_agree_and_of_two_do_not(
    run: Callable[..., Ran], market: Market, trusted: tuple, here: Path
) -> None:
    nudged = replace(market.claim, scores=market.claim.scores * 1.001)
    for name, claim in (("a", None), ("b", None), ("c", nudged)):
        file = market.claim_file(here / f"{name}.claim", claim)
        assert run("verify", "--claim", file, *trusted, "--transcript", name).status == 0
    agreed = run("compare", "a", "b")
    assert agreed.status == 0, agreed.err
    assert "2 sessions, 2 accepted: in one of them a wrong ACCEPT has probability 0.1 at most" in agreed.out
    assert "no prover signed more than one claim" in agreed.out
    shown = run("compare", "a", "b", "c")
    assert shown.status == 1
    key = market.committed().signed.public_key.raw.hex()
    assert f"prover {key} signed more than one claim about this task" in shown.out
    told = run("compare", "a", "c", "--json").told
    assert told["two_faced"] == [key]
    assert (told["task_digest"], told["n_sessions"], told["n_accepted"]) == (market.task.digest.hex(), 2, 2)
    assert len({session["claim_root"] for session in told["sessions"]}) == 2


def test_what_cannot_be_compared_is_one_line(
    run: Callable[..., Ran], market: Market, trusted: tuple, here: Path
) -> None:
    assert run("verify", "--claim", market.claim_file(here / "x.claim"), *trusted, "--transcript", "a").status == 0
    assert_fault(run("compare", "a"), 64, "expected two transcripts or more to compare, got 1")
    assert_fault(run("compare", "a", "a"), 65, "expected a session of its own, got that of a")
    assert_fault(run("compare", "a", "none"), 65, "expected a file to read")


# ------------------------------------------------------------------------------------------ audit


def pay(market: Market, path: Path, **factors: float) -> Path:
    due = {name: max(worth, 0.0) for name, worth in market.worths.items()}
    total = sum(due.values())
    rows = [f"{name},{1000 * amount / total * factors.get(name, 1.0):.2f}" for name, amount in due.items()]
    path.write_text("\n".join(["contributor,amount", *rows]) + "\n")
    return path


def test_honest_payouts_pass_and_an_inflated_one_is_flagged(
    run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple, here: Path
) -> None:
    served(MemoryProver(market))
    honest = run("audit", pay(market, here / "honest.csv"), "there:1", *trusted, "--json")
    assert honest.status == 0
    assert honest.told["payouts"]["n_outside"] == 0
    served(MemoryProver(market))
    inflated = run("audit", pay(market, here / "inflated.csv", bob=1.6), "there:1", *trusted, "--json")
    assert (inflated.status, inflated.told["outcome"], inflated.told["claim_outcome"]) == (1, "REJECT", "ACCEPT")
    rows = {row["contributor"]: row for row in inflated.told["payouts"]["contributors"]}
    assert rows["bob"]["outside"]
    assert rows["bob"]["stated"] > rows["bob"]["upper"] >= rows["bob"]["lower"]
    served(MemoryProver(market))
    shown = run("audit", here / "inflated.csv", "there:1", *trusted)
    assert shown.status == 1
    (line,) = [line for line in shown.out.splitlines() if line.split()[:1] == ["bob"]]
    assert line.rstrip().endswith("OUTSIDE")
    assert "payouts: REJECT" in shown.out


def test_payouts_are_audited_with_every_certificate_that_weighs_units(
    run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple, here: Path
) -> None:
    asked = ("audit", pay(market, here / "p.csv", bob=1.6), "there:1", *trusted, "--json")
    crossfit = ("--certificate", "crossfit", "--epsilon", 0.3, "--max-retrainings", 4000)
    delegated = ("--answers", "delegated", "--epsilon", 0.2, "--n-checks", 200)
    for options in (crossfit, delegated):
        served(MemoryProver(market))
        ran = run(*asked, *options)
        assert ran.status == 1, ran.err
        assert (ran.told["outcome"], ran.told["payouts"]["n_outside"] > 0) == ("REJECT", True)
    prover = served(MemoryProver(market))
    refused = run(*asked, "--certificate", "algorithm1")
    assert_fault(refused, 64, "certificate: algorithm1 does not bound the scores of single units")
    assert prover.heard == []


def test_an_audit_of_every_subset_is_exact(run: Callable[..., Ran], contributors_market: Market, here: Path) -> None:
    market = contributors_market
    claim, paid = market.claim_file(here / "a.claim"), pay(market, here / "p.csv", bob=1.001)
    asked = ("--claim", claim, "--task", market.task_file, "--data", market.data, "--certificate", "exhaustive")
    ran = run("audit", paid, *asked, "--json")
    assert ran.status == 1
    found = ran.told["payouts"]
    assert (found["estimator"], found["half_width"], found["delta"]) == ("all subsets", 0, 0)
    assert "no assumption: every subset was taken" in run("audit", paid, *asked).out


def test_an_audit_goes_on_until_intervals_are_narrow(
    run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple, here: Path
) -> None:
    asked = ("audit", pay(market, here / "p.csv"), "there:1", *trusted)
    served(MemoryProver(market))
    plain = run(*asked, "--json").told
    mean = sum(row["stated"] for row in plain["payouts"]["contributors"]) / 6
    for option, goal in (("--resolve", 0.8 * plain["payouts"]["half_width"]), ("--width", 0.1)):
        served(MemoryProver(market))
        narrow = run(*asked, option, goal, "--max-retrainings", 6000, "--json").told
        assert narrow["payouts"]["half_width"] <= (goal if option == "--resolve" else goal * mean)
        assert narrow["n_retrainings"] > plain["n_retrainings"]
    served(MemoryProver(market))
    assert "wider than asked for: allow more retrainings" in run(*asked, "--resolve", 1e-6).out


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--resolve", "0"), "resolve: expected an amount above 0, got 0.0"),
        (("--resolve", "-1"), "resolve: expected an amount above 0, got -1.0"),
        (("--resolve", "nan"), "resolve: expected an amount above 0, got nan"),
        (("--width", "0"), "width: expected a share of the mean payout above 0, got 0.0"),
        (("--width", "nan"), "width: expected a share of the mean payout above 0, got nan"),
        (("--width", "0.1", "--resolve", "3"), "not both"),
        (("--width", "0.1", "--answers", "delegated"), "delegated answers cannot go on until intervals are narrow"),
    ],
)
def test_a_width_that_cannot_be_had_is_one_line(
    run: Callable[..., Ran],
    served: Serve,
    market: Market,
    trusted: tuple,
    here: Path,
    options: tuple[str, ...],
    line: str,
) -> None:
    prover = served(MemoryProver(market))
    assert_fault(run("audit", pay(market, here / "p.csv"), "there:1", *trusted, *options), 64, line)
    assert prover.heard == []


def test_payouts_are_audited_from_a_claim_file(
    run: Callable[..., Ran], contributors_market: Market, here: Path
) -> None:
    market = contributors_market
    claim = market.claim_file(here / "a.claim")
    asked = ("--claim", claim, "--task", market.task_file, "--data", market.data, "--epsilon", 0.2)
    ran = run("audit", pay(market, here / "p.csv"), *asked)
    assert ran.status == 0, ran.err
    assert "payouts: ACCEPT  no stated amount is outside its interval" in ran.out


def test_an_audit_of_a_rejected_claim_is_rejected(
    run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple, here: Path
) -> None:
    served(MemoryProver(market, market.scaled(-1.0)))
    assert run("audit", pay(market, here / "p.csv"), "there:1", *trusted).status == 1
    served(MemoryProver(market, fails={Challenge: TransportError("gone")}))
    ran = run("audit", here / "p.csv", "there:1", *trusted, "--answers", "delegated")
    assert ran.status == 1
    assert "payouts: REJECT  no intervals: too few subsets were trained here" in ran.out


def test_a_payout_file_is_checked_before_anyone_is_asked(
    run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple, here: Path
) -> None:
    prover = served(MemoryProver(market))
    (here / "p.csv").write_text("contributor,amount\nann,none\n")
    assert_fault(run("audit", "p.csv", "there:1", *trusted), 65, "row 2: expected an amount")
    (here / "p.csv").write_text("contributor,amount\nann,1\n")
    assert_fault(run("audit", "p.csv", "there:1", *trusted), 65, "expected every contributor of the training rows")
    assert prover.heard == []


# --------------------------------------------------------------------------------- the command itself


@pytest.mark.parametrize("command", ["inspect", "plan", "verify", "recheck", "compare", "audit"])
def test_every_option_is_documented(here: Path, command: str) -> None:
    shown = CliRunner().invoke(cli.app, [command, "--help"])
    assert shown.exit_code == 0
    assert "Exit status: 0 ACCEPT, 1 REJECT, 2 INCONCLUSIVE" in " ".join(shown.stdout.split())
    options = [line for line in shown.stdout.splitlines() if line.lstrip("│ ").startswith("--")]
    assert options
    assert all(len(line.strip("│ ").split("  ")) > 1 for line in options)


@pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["verify", "--no-such-option"], ["recheck"]])
def test_a_usage_error_is_no_verdict(run: Callable[..., Ran], arguments: list[str]) -> None:
    ran = run(*arguments)
    assert ran.status == 64
    assert "Traceback" not in ran.err


def test_a_bug_is_no_verdict(run: Callable[..., Ran], served: Serve, market: Market, trusted: tuple) -> None:
    served(MemoryProver(market, fails={Opening: ZeroDivisionError("a bug")}))
    ran = run("verify", "there:1", *trusted)
    assert ran.status == 70
    assert "ZeroDivisionError: a bug" in ran.err


def process(here: Path, *arguments: object, **options: object) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "verifier.cli", *map(str, arguments)]
    return subprocess.Popen(command, cwd=here, env=environment, **options)  # type: ignore[call-overload]


@pytest.mark.slow
def test_the_process_ends_with_the_verdict(market: Market, trusted: tuple, here: Path) -> None:
    inverted = market.claim_file(here / "a.claim", market.scaled(-1.0))
    ended = process(here, "verify", "--claim", inverted, *trusted, "--quiet", stdout=subprocess.PIPE)
    printed, _ = ended.communicate(timeout=120)
    assert ended.returncode == 1
    assert printed.startswith(b"REJECT, moments")


def test_the_process_ends_with_the_fault(here: Path) -> None:
    ends = [
        process(here, "recheck", "none", stderr=subprocess.DEVNULL),
        process(here, "verify", "--no-such-option", stderr=subprocess.DEVNULL),
    ]
    assert [end.wait(timeout=60) for end in ends] == [65, 64]


def test_a_reader_who_leaves_is_no_verdict(market: Market, here: Path) -> None:
    claim = market.claim_file(here / "a.claim")
    ended = process(here, "inspect", "--claim", claim, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert ended.stdout is not None
    ended.stdout.close()
    assert ended.wait(timeout=60) == 0
    assert ended.stderr is not None
    assert ended.stderr.read() == b""
    ended.stderr.close()


def test_a_wrong_command_loads_no_learning_library(here: Path) -> None:
    code = (
        "import sys, verifier.cli; sys.exit(', '.join({'torch', 'sklearn', 'grpc', 'pyarrow'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
