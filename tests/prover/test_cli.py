"""The command line: one line and a documented exit status for every fault, and the whole way from data to claim."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command

from protocol import errors, taskfile
from protocol.session.messages import ClaimCommitted
from protocol.wire.files import claim_file_from_bytes
from prover import cli, store
from prover.store import Store

WINE = ("--data", "sklearn:wine", "--n-targets", "3")


@pytest.fixture(autouse=True)
def in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def prover(capfd: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Run a command in this process; return its exit status, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        status = cli.run(arguments)
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return status, out, err

    return run


@pytest.fixture
def trained(prover) -> Path:  # type: ignore[no-untyped-def]
    assert prover("init", *WINE, "-q")[0] == 0
    assert prover("train", "task.toml", "--store", "state", "--gap", "0.2", "--max-retrainings", "400", "-q")[0] == 0
    return Path("state")


def test_from_data_to_a_claim_that_verifies(prover, trained: Path) -> None:  # type: ignore[no-untyped-def]
    status, out, _ = prover("status", "--store", "state", "--json")
    assert status == 0
    state = json.loads(out)
    assert state["task_digest"] == taskfile.parse(Path("task.toml").read_text()).digest.hex()
    assert state["claim"]["n_retrainings"] == state["n_retrainings_saved"] > 0
    assert 0 <= state["claim"]["relative_gap"] <= 0.2
    status, out, _ = prover("export", "--store", "state", "--claim", "claim.bin", "--scores", "scores.npy")
    assert (status, out) == (0, "wrote   scores.npy\nwrote   claim.bin\n")
    task, committed = claim_file_from_bytes(Path("claim.bin").read_bytes())
    assert isinstance(committed, ClaimCommitted)
    committed.signed.check_signature()
    committed.signed.check_covers(committed.claim)
    assert task.digest.hex() == state["task_digest"]
    assert np.array_equal(np.load("scores.npy")[:, 1:], committed.claim.scores)


def test_init_says_what_it_wrote_and_what_comes_next(prover) -> None:  # type: ignore[no-untyped-def]
    status, out, err = prover("init", *WINE, "--out", "mine.toml", "-q")
    assert (status, err) == (0, "")
    task = taskfile.parse(Path("mine.toml").read_text())
    assert task.digest.hex() in out
    assert "next: prover train mine.toml --store DIR" in out
    assert (task.targets.lo < task.targets.hi).all()
    assert task.tolerance > 0


def test_init_replaces_a_file_by_force_alone(prover) -> None:  # type: ignore[no-untyped-def]
    Path("task.toml").write_text("precious")
    status, _, err = prover("init", *WINE, "-q")
    assert status == 64
    assert err == "error: task.toml: expected no such file yet; choose another name, or --force to replace it\n"
    assert Path("task.toml").read_text() == "precious"
    assert prover("init", *WINE, "-q", "--force")[0] == 0


def test_a_contributors_task_from_a_file(prover) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    rows = [
        f"{a:.3f},{b:.3f},{a + b > 0},{'who-' + str(k % 7)}" for k, (a, b) in enumerate(rng.standard_normal((90, 2)))
    ]
    Path("data").mkdir()
    Path("data/t.csv").write_text("a,b,y,who\n" + "\n".join(rows) + "\n")
    options = ("--target-column", "y", "--contributor-column", "who", "--units", "contributor", "--n-targets", "4")
    assert prover("init", "--data", "data/t.csv", *options, "--out", "data/task.toml", "-q")[0] == 0
    # The data file is found beside the task file, and from then on where it was.
    assert (
        prover("train", "data/task.toml", "--store", "state", "--gap", "0.3", "--max-retrainings", "200", "-q")[0] == 0
    )
    status, _, err = prover("export", "--store", "state", "--scores", "scores.csv")
    assert (status, err) == (0, "")
    lines = Path("scores.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["unit", "intercept", *(f"who-{k}" for k in range(7))]


@pytest.mark.parametrize("suffix", ["npy", "safetensors", "csv"])
def test_scores_made_elsewhere_become_the_claim(prover, trained: Path, suffix: str) -> None:  # type: ignore[no-untyped-def]
    assert prover("export", "--store", "state", "--scores", f"s.{suffix}")[0] == 0
    with Store(trained) as ours:
        before = ours.claim()
    status, out, err = prover("import", f"s.{suffix}", "--task", "task.toml", "--store", "other", "-q")
    assert (status, err) == (0, "")
    assert re.search(r"check   relative gap -?0\.\d+ \+- 0\.\d+, mean over targets", out)
    with Store(Path("other")) as theirs:
        after = theirs.claim()
        assert theirs.n_done("check") == 400
        assert theirs.n_done("train") == 0
    assert before is not None
    assert after is not None
    assert np.array_equal(after.claim.scores, before.claim.scores)
    assert after.signed.public_key != before.signed.public_key
    assert after.signed.figures.n_retrainings == 0


def test_figures_may_stay_unknown(prover, trained: Path) -> None:  # type: ignore[no-untyped-def]
    assert prover("export", "--store", "state", "--scores", "s.npy")[0] == 0
    status, out, _ = prover("import", "s.npy", "--task", "task.toml", "--store", "other", "--check-retrainings", "0")
    assert status == 0
    assert "figures unknown" in out
    with Store(Path("other")) as theirs:
        assert theirs.n_done("check") == 0


def test_every_target_is_reported_when_asked(prover) -> None:  # type: ignore[no-untyped-def]
    prover("init", *WINE, "-q")
    train = ("train", "task.toml", "--store", "state", "--gap", "0.3", "--max-retrainings", "200", "-q", "--per-target")
    out = prover(*train)[1]
    assert re.findall(r"│ +(\d+) │ +-?[0-9.]+ \+- ", out) == ["0", "1", "2"]


def test_a_budget_that_is_too_small_says_how_to_go_on(prover) -> None:  # type: ignore[no-untyped-def]
    prover("init", *WINE, "-q")
    status, out, _ = prover("train", "task.toml", "--store", "s", "--gap", "1e-6", "--max-retrainings", "200", "-q")
    assert status == 0
    assert "raise --max-retrainings above 200 to go on from here" in out


BAD = {
    "no command": ((), 64, ""),
    "unknown command": (("cook",), 64, "No such command 'cook'"),
    "unknown option": (("init", "--dta", "x"), 64, "No such option"),
    "missing option": (("init",), 64, "Missing option '--data'"),
    "word for a number": (("init", *WINE, "--n-train", "many"), 64, "--n-train"),
    "unknown choice": (("init", *WINE, "--units", "rows"), 64, "'rows' is not one of"),
    "unknown data set": (("init", "--data", "sklearn:nope"), 65, "expected a known one, got 'nope'"),
    "missing data file": (("init", "--data", "no.csv", "--target-column", "y"), 65, "found none there"),
    "no target column": (("init", "--data", "t.csv"), 65, "expected the name of the target column"),
    "words for features": (
        ("init", "--data", "t.csv", "--target-column", "y"),
        65,
        "expected numbers in feature column 'a'",
    ),
    "constant column": (("init", "--data", "constant.csv", "--target-column", "y"), 65, "expected columns that vary"),
    "NaN": (("init", "--data", "nan.csv", "--target-column", "y"), 65, "'a'"),
    "p of one": (("init", *WINE, "--p", "1"), 64, "--p: expected a probability strictly between 0 and 1"),
    "p of zero": (("init", *WINE, "--p", "0"), 64, "--p: expected a probability strictly between 0 and 1"),
    "too many rows": (("init", *WINE, "--n-train", "500"), 64, "--n-train: expected at most 177 of the 178 rows"),
    "empty test set": (("init", *WINE, "--n-test", "0"), 65, "the test set is empty"),
    "unknown recipe": (("init", *WINE, "--recipe", "forest"), 64, "--recipe: expected ridge, logistic, kernel, sgd or"),
    "unknown kernel": (("init", *WINE, "--recipe", "kernel", "--kernel", "cubic"), 64, "'cubic' is not one of"),
    "no estimator": (("init", *WINE, "--recipe", "sklearn"), 64, "--estimator: expected one with --recipe sklearn"),
    "code for an estimator": (
        ("init", *WINE, "--recipe", "sklearn", "--estimator", "__import__('os').system('id')"),
        65,
        "recipe.estimator: expected Name(key=value, ...)",
    ),
    "no such device": (("init", *WINE, "--device", "abacus"), 71, "device 'abacus'"),
    "no directory to write to": (("init", *WINE, "--out", "none/task.toml"), 74, "cannot be written"),
    "missing task file": (("train", "none.toml", "--store", "s"), 65, "none.toml: expected a task file, got none"),
    "not a task file": (("train", "t.csv", "--store", "s"), 65, "t.csv: task file: expected TOML"),
    "binary task file": (("train", "junk", "--store", "s"), 65, "junk: expected a task file, got none: not UTF-8"),
    "unknown key": (("train", "lamda.toml", "--store", "s"), 65, "recipe.lamda: unknown key; expected l2"),
    "lo of hi": (("train", "lo.toml", "--store", "s"), 65, "targets.lo: expected lo < hi for every target"),
    "another digest": (("train", "digest.toml", "--store", "s"), 65, "expected digest 0000000000000000"),
    "gap of zero": (("train", "task.toml", "--store", "s", "--gap", "0"), 64, "gap: expected a relative gap above 0"),
    "budget of nothing": (("train", "task.toml", "--store", "s", "--max-retrainings", "3"), 64, "expected 40 to"),
    "store in a file": (("train", "task.toml", "--store", "junk"), 74, "File exists"),
    "status of nothing": (("status", "--store", "s"), 74, "expected a prover's store, found none"),
    "export of nothing": (("export", "--store", "s", "--scores", "x.npy"), 74, "expected a prover's store, found none"),
    "export to nowhere": (("export", "--store", "s"), 64, "expected --scores FILE or --claim FILE, got neither"),
    "export of another kind": (("export", "--store", "s", "--scores", "x.pkl"), 64, "expected a file ending in"),
    "import of nothing": (("import", "x.npy", "--task", "task.toml", "--store", "s"), 65, "No such file"),
    "serve of nothing": (("serve", "--store", "s"), 74, "expected a prover's store, found none"),
    "half a certificate": (("serve", "--store", "s", "--tls-cert", "x"), 64, "expected --tls-cert and --tls-key"),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_input_is_one_line_and_a_documented_status(prover, fault: str) -> None:  # type: ignore[no-untyped-def]
    Path("t.csv").write_text("a,y\n" + "word,0\nmore,1\n" * 9)
    Path("constant.csv").write_text("a,b,y\n" + "".join(f"{k},7,{k % 2}\n" for k in range(18)))
    Path("nan.csv").write_text("a,b,y\n" + "".join(f"{'nan' if k == 5 else k},{k},{k % 2}\n" for k in range(18)))
    Path("junk").write_bytes(b"\xff\xfe")
    if "task.toml" in BAD[fault][0] or any(str(a).endswith(".toml") for a in BAD[fault][0]):
        prover("init", *WINE, "-q", "--out", "task.toml")
        text = Path("task.toml").read_text()
        Path("lamda.toml").write_text(re.sub(r"^l2 = .*", "lamda = 1", text, flags=re.MULTILINE))
        Path("lo.toml").write_text(re.sub(r"^lo = \[.*?\]", "lo = 1e9", text, flags=re.MULTILINE | re.DOTALL))
        Path("digest.toml").write_text(re.sub(r'^digest = ".*"', f'digest = "{"0" * 64}"', text, flags=re.MULTILINE))
    arguments, expected, message = BAD[fault]
    status, out, err = prover(*arguments)
    assert status == expected
    if arguments:
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert message in err
        assert out == ""


def test_another_task_is_refused_by_the_store(prover, trained: Path) -> None:  # type: ignore[no-untyped-def]
    prover("init", *WINE, "--seed", "5", "--out", "other.toml", "-q")
    status, _, err = prover("train", "other.toml", "--store", "state", "-q")
    assert status == 74
    assert "choose another directory" in err


def test_two_provers_on_one_store(prover, trained: Path) -> None:  # type: ignore[no-untyped-def]
    with Store(trained):
        status, _, err = prover("train", "task.toml", "--store", "state", "-q")
        assert status == 74
        assert err.startswith(f"error: another prover (pid {os.getpid()}) holds store state")
        assert prover("serve", "--store", "state")[0] == 74
        assert prover("status", "--store", "state")[0] == 0


def test_a_full_disk_ends_with_one_line(prover, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    prover("init", *WINE, "-q")
    original = store.Database.__init__

    def small(self: store.Database, *args: object, **kwargs: object) -> None:
        original(self, *args, **{**kwargs, "max_bytes": 60_000})  # type: ignore[arg-type]

    train = ("train", "task.toml", "--store", "state", "--gap", "1e-6", "--max-retrainings", "9000", "-q")
    with monkeypatch.context() as patched:
        patched.setattr(store.Database, "__init__", small)
        status, _, err = prover(*train)
    assert status == 74
    assert err == (
        "error: store state: the disk is full; make room and run the same command again, what was saved is kept\n"
    )
    with Store(Path("state"), read_only=True) as state:
        assert state.n_done("train") > 0


def test_a_bug_is_neither_silent_nor_a_verdict(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("prover.inputs.read_task", lambda path: 1 / 0)
    assert cli.run(("train", "task.toml", "--store", "s")) == 70
    assert "ZeroDivisionError" in capfd.readouterr().err


def command(*arguments: str) -> subprocess.Popen[bytes]:
    code = "from prover.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )


def test_ctrl_c_ends_with_130_and_keeps_what_was_saved(prover) -> None:  # type: ignore[no-untyped-def]
    prover("init", "--data", "sklearn:breast_cancer", "-q")
    process = command("train", "task.toml", "--store", "state", "--gap", "1e-7", "--max-retrainings", "900000", "-q")
    deadline = time.monotonic() + 300
    n_saved = 0
    while n_saved == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
        if Path("state/store.sqlite").exists():
            status, out, _ = prover("status", "--store", "state", "--json")
            n_saved = json.loads(out)["n_retrainings_saved"] if status == 0 else 0
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert err.decode() == "interrupted; what was saved is kept, and the same command goes on from there\n"
    with Store(Path("state")) as state:
        assert state.n_done("train") >= n_saved


def test_serve_says_where_and_ends_when_told(prover, trained: Path) -> None:  # type: ignore[no-untyped-def]
    process = command("serve", "--store", "state", "--port", "0")
    assert process.stdout is not None
    lines = [process.stdout.readline().decode() for _ in range(3)]
    assert re.fullmatch(r"serving 127\.0\.0\.1:\d+\n", lines[2])
    assert Path("task.toml").exists()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_every_option_is_documented() -> None:
    for name, sub in get_command(cli.app).commands.items():  # type: ignore[attr-defined]
        assert sub.help, name
        for parameter in sub.params:
            assert getattr(parameter, "help", None), f"{name} {parameter.name}"


def test_the_exit_statuses_in_the_help_are_those_of_the_errors() -> None:
    for error in (
        errors.ArgumentError, errors.DataError, errors.TransportError, errors.InternalError, errors.TrainingError,
        errors.StoreError, errors.BudgetError,
    ):  # fmt: skip
        assert re.search(rf"\b{error.exit_status}\b", cli.EPILOG), error
    assert f"{cli.INTERRUPTED} Ctrl-C" in cli.EPILOG


@pytest.mark.parametrize("name", ["init", "train"])
def test_help_loads_neither_torch_nor_grpc(name: str) -> None:
    code = (
        f"import sys; from prover.cli import run; assert run([{name!r}, '--help']) == 0; "
        "print(sorted({'torch', 'sklearn', 'grpc', 'google'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
