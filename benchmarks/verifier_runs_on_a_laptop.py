"""The verifier's whole run on the digits task takes under 10 s and 1 GB, with 300 retrainings or fewer.

    python -m benchmarks.verifier_runs_on_a_laptop [--rounds 3] [--json PATH]

Real commands in processes of their own: a prover trains and serves on loopback, and each verifier is timed from its
start to its end, imports, data, claim, retrainings and transcript included. Peak memory is the verifier's alone.
``own, the whole budget`` asks for more than 300 retrainings can show, so that every one of them is done.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.digits_task import N_TARGETS, N_UNITS

MAX_SECONDS, MAX_GB, MAX_RETRAININGS = 10.0, 1.0, 300
BUDGET = ("--max-retrainings", str(MAX_RETRAININGS))
CASES: dict[str, tuple[str, ...]] = {
    "own": (),
    "own, the whole budget": ("--epsilon", "0.005"),
    "delegated": ("--answers", "delegated"),
    "own, every target": ("--across", "every"),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """Medians over rounds of one way to verify; the peak is the largest."""

    name: str
    outcome: str
    n_retrainings: int
    seconds: float
    session_seconds: float
    processor_seconds: float
    peak_gb: float

    @property
    def holds(self) -> bool:
        """Whether every stated bound is met."""
        return self.seconds < MAX_SECONDS and self.peak_gb < MAX_GB and self.n_retrainings <= MAX_RETRAININGS


def command(party: str, *arguments: str) -> list[str]:
    """Return the command line of a party of this very environment."""
    return [sys.executable, "-c", f"from {party}.cli import main; main()", *arguments]


def run(folder: Path, party: str, *arguments: str) -> None:
    """Run a command to its end, or raise."""
    subprocess.run(command(party, *arguments), cwd=folder, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve the store in ``folder`` and give its address."""
    serve = command("prover", "serve", "--store", "store", "--port", "0")
    with subprocess.Popen(serve, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        try:
            for line in server.stdout or ():
                if found := re.search(r"serving\s+(\S+:\d+)", line):
                    yield found[1]
                    return
            raise SystemExit("the prover's server ended early")
        finally:
            server.terminate()


def timed(folder: Path, arguments: list[str]) -> tuple[dict[str, object], float, float, float]:
    """Return a verifier's JSON, its wall-clock and processor seconds, and its peak memory in GB."""
    environment = os.environ | {"XDG_CONFIG_HOME": str(folder)}
    out, errors = folder / "verdict.json", folder / "errors.txt"
    start = time.perf_counter()
    with out.open("wb") as file, errors.open("wb") as faults:
        verifier = subprocess.Popen(
            command("verifier", *arguments), cwd=folder, stdout=file, stderr=faults, env=environment
        )
        _, status, usage = os.wait4(verifier.pid, 0)
    seconds = time.perf_counter() - start
    verifier.returncode = os.waitstatus_to_exitcode(status)
    if not out.read_text():
        raise SystemExit(f"no verdict; exit status {verifier.returncode}: {errors.read_text()}")
    told: dict[str, object] = json.loads(out.read_text())
    return told, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e9


def measure_case(folder: Path, name: str, arguments: list[str], n_rounds: int) -> Case:
    """Verify several times in one way."""
    whole = ["verify", *arguments, *BUDGET, "--task", "task.toml", "--json", "--transcript", "verdict.transcript"]
    rounds = [timed(folder, whole) for _ in range(n_rounds)]
    told = [one[0] for one in rounds]
    return Case(
        name=name,
        outcome=" ".join(sorted({str(one["outcome"]) for one in told})),
        n_retrainings=max(int(str(one["n_retrainings"])) for one in told),
        seconds=statistics.median(one[1] for one in rounds),
        session_seconds=statistics.median(float(str(one["seconds"])) for one in told),
        processor_seconds=statistics.median(one[2] for one in rounds),
        peak_gb=max(one[3] for one in rounds),
    )


def measure(n_rounds: int) -> list[Case]:
    """Make a claim by the prover's own commands, and verify it in every way."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        init = ("--data", "sklearn:digits", "--n-train", str(N_UNITS), "--n-targets", str(N_TARGETS))
        run(folder, "prover", "init", *init, "--out", "task.toml")
        run(folder, "prover", "train", "task.toml", "--store", "store")
        run(folder, "prover", "export", "--store", "store", "--claim", "digits.claim")
        cases = [measure_case(folder, "own, from a file", ["--claim", "digits.claim"], n_rounds)]
        with serving(folder) as address:
            return cases + [
                measure_case(folder, name, [address, *options], n_rounds) for name, options in CASES.items()
            ]


def report(cases: list[Case]) -> Table:
    """Return the figures as a table."""
    title = f"digits, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; under {MAX_SECONDS:g} s and {MAX_GB:g} GB"
    table = Table(title=title)
    for column in ("", "outcome", "retrainings", "run, s", "session, s", "CPU, s", "peak, GB"):
        table.add_column(column, justify="left" if column in ("", "outcome") else "right")
    for case in cases:
        times = (f"{case.seconds:.1f}", f"{case.session_seconds:.1f}", f"{case.processor_seconds:.1f}")
        table.add_row(case.name, case.outcome, str(case.n_retrainings), *times, f"{case.peak_gb:.2f}")
    return table


def main() -> int:
    """Measure, print, and return 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each way")
    arguments = parser.parse_args()
    cases = measure(arguments.rounds)
    Console().print(report(cases))
    if arguments.json:
        figures = {"cases": [asdict(case) for case in cases], "holds": all(case.holds for case in cases)}
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if all(case.holds for case in cases) else 1


if __name__ == "__main__":
    sys.exit(main())
