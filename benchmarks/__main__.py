"""Every benchmark, one after another, each in a process of its own.

python -m benchmarks                    # or: make bench
python -m benchmarks --device cuda      # what a GPU changes: the training programs alone, there
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

NO_PROGRAMS = {"digits_task", "processor_time", "simulated"}
ON_A_DEVICE = (
    "exact_training_costs_at_most_twice", "kernel_and_ridge_use_the_machine", "many_models_are_ten_times_a_loop",
    "resnets_train_side_by_side",
)  # fmt: skip


def main() -> int:
    """Run each program of this folder and return how many failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", help="run the training programs alone, on cpu, cuda or cuda:1")
    device = parser.parse_args().device
    here = Path(__file__).parent
    programs = {path.stem for path in here.glob("*.py") if not path.stem.startswith("_")} - NO_PROGRAMS | {"evidence"}
    print(f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}", flush=True)
    failed = 0
    for program in ON_A_DEVICE if device else sorted(programs):
        print(f"\n== {program}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{program}", *(["--device", device] if device else [])]
        failed += subprocess.run(command, cwd=here.parent, check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
