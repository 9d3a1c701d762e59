"""Bad input at the command: a clear line and an exit status of its own, or a defined verdict; never a traceback."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from protocol import taskfile
from protocol.commitments import SigningKey
from protocol.task import Task
from protocol.training import Trainer
from tests.verifier.market import Market, MemoryProver
from verifier import cli

pytestmark = pytest.mark.usefixtures("foreseen")

Serve = Callable[[MemoryProver], MemoryProver]
EPSILONS = ["0", "-0.05", "1", "1.5", "nan", "inf", "-inf"]
DELTAS = ["0", "1", "-0.05", "1.5", "nan", "inf"]
WAYS = {
    "moments": [],
    "moments, delegated": ["--answers", "delegated"],
    "every": ["--across", "every"],
    "crossfit": ["--certificate", "crossfit", "--max-retrainings", "4000"],
    "crossfit, delegated": ["--certificate", "crossfit", "--answers", "delegated", "--max-retrainings", "4000"],
    "gaussian": ["--certificate", "gaussian"],
}


class Ran:
    """How a command ended, and the one line that it complained in."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out = status, out
        self.lines = [line for line in err.splitlines() if line and not line.startswith(("plan:", "no verdict"))]


@pytest.fixture
def run(here: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def command(*arguments: object) -> Ran:
        capsys.readouterr()
        status = cli.run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return Ran(status, printed.out, printed.err)

    return command


@pytest.fixture
def verify(run: Callable[..., Ran], served: Serve, market: Market) -> Callable[..., Ran]:
    def command(*arguments: object) -> Ran:
        served(MemoryProver(market))
        return run("verify", "there:1", "--task", market.task_file, "--data", market.data, *arguments)

    return command


def assert_fault(ran: Ran, status: int, line: str) -> None:
    (told,) = ran.lines
    assert ran.status == status, told
    assert ran.out == ""
    assert re.search(line, told), told


# ------------------------------------------------------------------------------------------- epsilon and delta


@pytest.mark.parametrize("way", WAYS)
def test_an_epsilon_that_is_no_share_is_one_line(verify: Callable[..., Ran], way: str) -> None:
    for epsilon in EPSILONS:
        assert_fault(verify("--epsilon", epsilon, *WAYS[way]), 64, rf"^error: .*epsilon.*got {float(epsilon)}")


@pytest.mark.parametrize("way", WAYS)
def test_a_delta_that_is_no_probability_is_one_line(verify: Callable[..., Ran], way: str) -> None:
    for delta in DELTAS:
        assert_fault(verify("--delta", delta, *WAYS[way]), 64, rf"^error: .*delta.*{float(delta)}")


@pytest.mark.parametrize("option", ["--epsilon", "--delta"])
@pytest.mark.parametrize("value", ["nan", "0", "-1", "none"])
def test_a_plan_is_as_strict(run: Callable[..., Ran], market: Market, option: str, value: str) -> None:
    ran = run("plan", "--task", market.task_file, "--no-pilot", option, value)
    assert ran.status == 64
    assert ran.out == ""
    assert len(ran.lines) == 1
    assert option.strip("-") in ran.lines[0]


@pytest.mark.parametrize(("option", "value"), [("--epsilon", "nan"), ("--delta", "0"), ("--max-retrainings", "-3")])
def test_an_audit_of_payouts_is_as_strict(
    run: Callable[..., Ran], served: Serve, market: Market, here: Path, option: str, value: str
) -> None:
    served(MemoryProver(market))
    (here / "p.csv").write_text("\n".join(["contributor,amount", *(f"{name},1" for name in market.worths)]) + "\n")
    named = ("--task", market.task_file, "--data", market.data)
    ran = run("audit", "p.csv", "there:1", *named, option, value)
    assert (ran.status, ran.out, len(ran.lines)) == (64, "", 1)


# ------------------------------------------------------------------------------------------- the budget


@pytest.mark.parametrize(
    "options",
    [
        ["--max-retrainings", "3"],
        ["--max-retrainings", "500", "--kurtosis", "100"],
        ["--max-retrainings", "150", "--across", "every"],
        ["--max-retrainings", "30", "--certificate", "crossfit", "--epsilon", "0.3"],
        ["--max-retrainings", "5", "--answers", "delegated", "--n-checks", "200"],
        ["--max-retrainings", "25", "--answers", "delegated"],
        ["--max-answers", "12", "--answers", "delegated"],
    ],
)
def test_a_budget_that_buys_no_plan_says_what_would(verify: Callable[..., Ran], options: list[str]) -> None:
    given = {"--quiet": ""} | dict(zip(options[::2], options[1::2], strict=True))
    for _ in range(3):  # answers first, then checks of them, may each be too few
        ran = verify(*[word for option in given.items() for word in option if word])
        if ran.status in (0, 2):
            return
        assert_fault(ran, 75, r"^error: .*--max-(retrainings|answers)")
        advised = re.findall(r"(--max-(?:retrainings|answers)) (?:to )?(\d+)", ran.lines[0])
        taken = re.findall(r"take (\d+) retrainings; raise (--max-retrainings) to it", ran.lines[0])
        given |= dict(advised) or {name: number for number, name in taken}
    pytest.fail(f"the advice does not lead to a plan: {ran.lines}")


# ------------------------------------------------------------------------------------------- constant targets


@pytest.fixture(scope="module")
def constant(market: Market, tmp_path_factory: pytest.TempPathFactory) -> Market:
    """The market, with ranges so far off that every output is clipped to one number."""
    folder = tmp_path_factory.mktemp("constant")
    task: Task = replace(market.task, targets=replace(market.task.targets, lo=np.full(20, 50.0), hi=np.full(20, 60.0)))
    (folder / "task.toml").write_text(taskfile.render(task))
    (folder / "rows.csv").write_bytes(market.data.read_bytes())
    claim = replace(
        market.claim, task_digest=task.digest, scores=np.zeros_like(market.claim.scores), intercepts=np.full(20, 50.0)
    )
    return Market(folder, task, market.dataset, Trainer(task, market.dataset), claim)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("claimed", ["nothing", "much"])
def test_targets_that_do_not_vary_leave_the_verdict_open_and_say_why(
    run: Callable[..., Ran], served: Serve, constant: Market, market: Market, way: str, claimed: str
) -> None:
    claim = constant.claim if claimed == "nothing" else replace(constant.claim, scores=market.claim.scores)
    served(MemoryProver(constant, claim))
    named = ("--task", constant.task_file, "--data", constant.data)
    ran = run("verify", "there:1", *named, *WAYS[way], "--max-retrainings", "2000", "--epsilon", "0.9")
    assert ran.status in (1, 2), ran.out or ran.lines
    assert claimed == "much" or ran.status == 2
    assert re.search("does not vary|cannot be told from 0|leave no bound|relative gap is", ran.out)
    assert "clipped; widen the task's range" in ran.out


# ------------------------------------------------------------------------------------------- hardly any units


def test_a_task_of_one_unit_is_no_task_file(run: Callable[..., Ran], contributors_market: Market, here: Path) -> None:
    text = contributors_market.task_file.read_text()
    (here / "one.toml").write_text(re.sub(r"(?m)^n = \d+$", "n = 1", text))
    ran = run("plan", "--task", "one.toml", "--no-pilot")
    assert_fault(ran, 65, r"^error: one\.toml: units\.n: expected 2 to \d+ units, got 1")
    served = run("verify", "there:1", "--task", "one.toml", "--data", contributors_market.data)
    assert served.status != 0
    assert len(served.lines) == 1


def test_the_key_of_another_is_not_taken_for_bad_input(run: Callable[..., Ran], market: Market) -> None:
    """A well-formed key that nobody has is a verdict's business, not an option's."""
    key = SigningKey(bytes(32)).public.raw.hex()
    ran = run("plan", "--task", market.task_file, "--no-pilot", "--prover-key", key)
    assert ran.status == 64, "plan takes no key"
