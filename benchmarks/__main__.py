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
    for path in sorted(here.glob("*.py")):
        if path.stem.startswith("_") or path.stem in {"digits_task", "simulated"}:
            continue
        print(f"\n== {path.stem}", flush=True)
        failed += (
            subprocess.run([sys.executable, "-m", f"benchmarks.{path.stem}"], cwd=here.parent, check=False).returncode
            != 0
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
