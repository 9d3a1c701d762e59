"""Every benchmark, one after another, each in a process of its own.

python -m benchmarks            # or: make bench
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Run each program of this folder and return how many failed."""
    failed = 0
    here = Path(__file__).parent
    programs = {path.stem for path in here.glob("*.py") if not path.stem.startswith("_")}
    for program in sorted(programs - {"digits_task", "processor_time", "simulated"} | {"evidence"}):
        print(f"\n== {program}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{program}"]
        failed += subprocess.run(command, cwd=here.parent, check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
