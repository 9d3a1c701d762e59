"""A campaign's bookkeeping is linear: seconds and bytes up to 1,000,000 retrainings, their outputs simulated.

    python -m benchmarks.store_is_linear_to_a_million [--retrainings 1000000] [--chunk 256] [--targets 10]

Per hundred thousand retrainings: the seconds to save them, chunk by chunk, each durably; and what a prover does that
goes on at that size: the seconds to open the store and find what is missing, to say what it cost, and to read one more
chunk. Ends with status 1 if the last tenth took more than twice the seconds or bytes of the first.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from prover.campaign import TRAIN
from prover.store import Store
from tests.games import task_of

TENTHS = 10
MOST_GROWTH = 2.0
"""Between the first and the last tenth: a linear one gives 1, a quadratic one 19, and a shared disk is unsteady."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a tenth more took, and what the whole takes then; seconds and bytes."""

    n: int
    saving: float
    resuming: float
    telling: float
    reading: float
    n_bytes: int


def measure(directory: Path, n: int, chunk: int, n_targets: int) -> list[Step]:
    """Return one step for each tenth of ``n`` retrainings."""
    rng, done, steps = np.random.default_rng(0), 0, []
    for tenth in range(1, TENTHS + 1):
        with Store(directory) as store:
            store.set_task(task_of(1000, n_targets=n_targets), None)
            start = time.perf_counter()
            while done < n * tenth // TENTHS:
                store.save_outputs(TRAIN, done, rng.standard_normal((chunk, n_targets)), 0, 0.5)
                done += chunk
            saving = time.perf_counter() - start
        start = time.perf_counter()
        with Store(directory) as store:
            assert [len(gap) for gap in store.missing(TRAIN, done + chunk)] == [chunk]
            resuming = time.perf_counter() - start
            start = time.perf_counter()
            assert store.cost(TRAIN).n == done
            telling = time.perf_counter() - start
            start = time.perf_counter()
            assert len(store.outputs(TRAIN, done - chunk, done, n_targets)) == chunk
            reading = time.perf_counter() - start
            size = store.n_bytes()
        steps.append(Step(n=done, saving=saving, resuming=resuming, telling=telling, reading=reading, n_bytes=size))
    return steps


def is_linear(steps: list[Step]) -> bool:
    """Whether the last step took no more than ``MOST_GROWTH`` times the first, in seconds and in bytes."""
    more_bytes = steps[-1].n_bytes - steps[-2].n_bytes
    return steps[-1].saving <= MOST_GROWTH * steps[0].saving and more_bytes <= MOST_GROWTH * steps[0].n_bytes


def main() -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--retrainings", type=int, default=1_000_000)
    parser.add_argument("--chunk", type=int, default=256)
    parser.add_argument("--targets", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        steps = measure(Path(directory) / "store", options.retrainings, options.chunk, options.targets)
    table = Table(
        title=f"{options.targets} targets, chunks of {options.chunk}; outputs alone: {8 * options.targets} bytes"
    )
    for column in ("retrainings", "saving a tenth, s", "resuming, s", "status, s", "reading a chunk, s", "bytes each"):
        table.add_column(column, justify="right")
    for step in steps:
        seconds = (step.saving, step.resuming, step.telling, step.reading)
        table.add_row(f"{step.n:,}", *(f"{x:.4f}" for x in seconds), f"{step.n_bytes / step.n:.1f}")
    Console().print(table)
    print("linear" if is_linear(steps) else "NOT linear")
    return 0 if is_linear(steps) else 1


if __name__ == "__main__":
    sys.exit(main())
