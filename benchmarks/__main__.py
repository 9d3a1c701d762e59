"""Every benchmark, one after another, each in a process of its own.

python -m benchmarks                    # or: make bench
python -m benchmarks --device cuda      # what a GPU changes: the training and fitting programs alone, there
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
NO_PROGRAMS = {"digits_task", "in_memory", "processor_time", "sessions", "tables"}
CLAIMS = "claims_are_fitted_at_fifty_thousand_units"
FULL_SIZE = (
    (CLAIMS, "--units", "50000", "--evaluations", "50000", "--methods", "ridge,lasso", "--no-peers"),
    # of subsets without their complements: it needs more evaluations than units
    (CLAIMS, "--units", "50000", "--evaluations", "100000", "--p", "0.4", "--methods", "least-squares", "--no-peers"),
)
"""Fits of 100,000 retrainings; a peer would hold a dense matrix of 20 or 40 GB."""

ON_A_DEVICE = (
    "exact_training_costs_at_most_twice", "kernel_and_ridge_use_the_machine", "many_models_are_ten_times_a_loop",
    "resnets_train_side_by_side", "what_bounds_perceptrons",
)  # fmt: skip


def commands(device: str | None) -> list[tuple[str, ...]]:
    """Return each program to run and its arguments: all of them, or those that a device changes."""
    if device is None:
        programs = {path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_")} - NO_PROGRAMS
        return [(program,) for program in sorted(programs | {"adversary", "evidence"})]
    fits = FULL_SIZE if device.startswith("cuda") else ((CLAIMS,),)  # on a processor the full size is hours
    return [(*command, "--device", device) for command in (*((program,) for program in ON_A_DEVICE), *fits)]


def main() -> int:
    """Run each program of this folder and return how many failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", help="run the training and fitting programs alone, on cpu, cuda or cuda:1")
    device = parser.parse_args().device
    print(f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}", flush=True)
    failed = 0
    for program, *arguments in commands(device):
        print(f"\n== {' '.join((program, *arguments))}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{program}", *arguments]
        failed += subprocess.run(command, cwd=HERE.parent, check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
