"""What bounds the rate of many perceptrons: where their time goes, and what operations and bytes alone would take.

    python -m benchmarks.what_bounds_perceptrons [--device cuda] [--models 4096] [--json PATH]

The work of ``benchmarks.many_models_are_ten_times_a_loop``, one seed for all. Where its time goes is torch's profiler's
word: each product by the shapes of its operands, with its own rate, and other operations by their name. Beside it two
floors, both of what is done today, not of the best that could be: its products at the rate of a large one, and its
bytes, every operation's operands read and its result written once (``least_bytes``), at the rate of a bare addition.
The products are of all rows, those of weight 0 too, which are half; one product for all models needs them.

On a processor there is one thread, seconds are the process's own, and the addition is of as much memory as a tile of
models takes (``sgd.TILE_BYTES``), which a large cache may hold; on CUDA seconds are the wall's and it is of 4 GiB.
Nothing is held to a bound.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from benchmarks.kernel_and_ridge_use_the_machine import seconds_of
from benchmarks.many_models_are_ten_times_a_loop import RECIPE, model_gflop, sgd_task
from protocol.training import Trainer
from protocol.training.descent.sgd import TILE_BYTES

ROUNDS = 5
PRODUCTS = {"aten::addmm", "aten::baddbmm", "aten::bmm", "aten::mm"}
LEAST_SHARE = 0.015
"""Of the time, for an operation to have a line of its own."""

GPU_BYTES = 1 << 32


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one operation takes: ms a retraining, and a product's own rate, else 0."""

    name: str
    ms: float
    gflops: float


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one run measures; times are ms a retraining."""

    device: str
    models: int
    ms: float
    parts: list[Part]
    gflops: float
    product_gflops: float
    inside: float
    kb_a_step: float
    addition_gb_s: float
    operations_ms: float
    bytes_ms: float


def least_bytes(n_features: int) -> int:
    """Return what one model moves in a step: each operation's float32 operands read, its results written, once.

    The rows, which all models share, are left out.
    """
    width, batch = RECIPE.widths[0], RECIPE.batch_size
    first = n_features * width * (1 + 2 + 3)  # the product; the velocity, by its gradient; the step
    second = 10 * width * (1 + 1 + 2 + 3)  # the same, and the product for the hidden slopes
    hidden = batch * width * (1 + 2 + 1 + 1 + 1 + 3 + 1 + 1)  # made, cut, read twice; slopes made, cut, read twice
    scores = batch * 10 * (1 + 2 + 1 + 1 + 1)  # made, turned into slopes, which are read three times
    return 4 * (first + second + hidden + scores)


def product_gflops(device: str) -> float:
    """Return the best rate of a large float32 matrix product."""
    n = 2048 if device == "cpu" else 16384
    a, b = torch.rand(n, n, device=device), torch.rand(n, n, device=device)
    return 2e-9 * n**3 / min(seconds_of(lambda: torch.mm(a, b), device) for _ in range(ROUNDS))


def addition_gb_s(n_bytes: int, device: str) -> float:
    """Return the best rate at which one array is added to another, both together of so many bytes."""
    a, b = torch.rand(n_bytes // 8, device=device), torch.rand(n_bytes // 8, device=device)

    def ten_times() -> None:
        for _ in range(10):
            a.add_(b)

    return 1.5e-8 * n_bytes / min(seconds_of(ten_times, device) for _ in range(ROUNDS))


def parts_of(work: Callable[[], object], device: str, ms: float, models: int) -> list[Part]:
    """Return what ``work`` spends its ``ms`` a retraining on, from most to least."""
    on_cpu = device == "cpu"
    activities = [ProfilerActivity.CPU] if on_cpu else [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with profile(activities=activities, record_shapes=True) as found:
        seconds_of(work, device)
    taken: defaultdict[str, float] = defaultdict(float)
    flops: defaultdict[str, float] = defaultdict(float)
    for event in found.key_averages(group_by_input_shape=True):
        if not event.key.startswith("aten::"):
            continue  # a kernel, whose time is its operation's, too
        name = event.key.removeprefix("aten::")
        if event.key.rstrip("_") in PRODUCTS:
            left, right = [shape for shape in event.input_shapes if len(shape) > 1][-2:]
            name = product_name(left, right)
            flops[name] += 2.0 * event.count * math.prod(left) * right[-1]
        taken[name] += event.self_cpu_time_total if on_cpu else event.self_device_time_total
    each = {name: ms * us / sum(taken.values()) for name, us in taken.items()}
    large = sorted((name for name in each if each[name] >= LEAST_SHARE * ms), key=each.__getitem__, reverse=True)
    parts = [Part(name=name, ms=each[name], gflops=1e-6 * flops[name] / models / each[name]) for name in large]
    return [*parts, Part(name="all else", ms=ms - sum(part.ms for part in parts), gflops=0.0)]


def product_name(left: list[int], right: list[int]) -> str:
    """Return a product's name by the shapes of its operands."""
    many = f"{left[0]:,} of " if len(left) == 3 else ""
    return f"{many}({left[-2]:,} x {left[-1]:,}) ({right[-2]:,} x {right[-1]:,})"


def measure(device: str, models: int) -> Figures:
    """Time the work, look where it goes, and measure what the floors rest on."""
    task, dataset = sgd_task(RECIPE)
    n_rows, n_features = dataset.x_train.shape
    subsets, seeds = np.random.default_rng(0).random((models, task.n_units)) < 0.5, np.zeros(models, dtype=np.int64)
    trainer = Trainer(task, dataset, device=device, batch_size=models)
    work = functools.partial(trainer.raw_outputs, subsets, seeds)
    work()
    ms = 1e3 * statistics.median(seconds_of(work, device) for _ in range(ROUNDS)) / models
    gflop, n_bytes = model_gflop(n_rows, n_features), least_bytes(n_features)
    product, addition = product_gflops(device), addition_gb_s(TILE_BYTES if device == "cpu" else GPU_BYTES, device)
    return Figures(
        device="cpu" if device == "cpu" else torch.cuda.get_device_name(device),
        models=models,
        ms=ms,
        parts=parts_of(work, device, ms, models),
        gflops=1e3 * gflop / ms,
        product_gflops=product,
        inside=float(subsets.mean()),
        kb_a_step=1e-3 * n_bytes,
        addition_gb_s=addition,
        operations_ms=1e3 * gflop / product,
        bytes_ms=1e-6 * RECIPE.epochs * -(-n_rows // RECIPE.batch_size) * n_bytes / addition,
    )


def report(figures: Figures) -> Table:
    """Return the figures as a table."""
    clock = "processor seconds, 1 thread" if figures.device == "cpu" else f"{figures.device}, wall-clock seconds"
    table = Table(title=f"{figures.models:,} perceptrons, {clock}, load {os.getloadavg()[0]:.1f}")
    for column in ("", "ms each", "of the time", "GFLOP/s"):
        table.add_column(column, justify="right" if column else "left")

    def add(name: str, ms: float, gflops: float = 0.0) -> None:
        table.add_row(name, f"{ms:.3g}", f"{ms / figures.ms:.0%}", f"{gflops:,.1f}" if gflops else "")

    add("a retraining", figures.ms, figures.gflops)
    for part in figures.parts:
        add(f"  {part.name}", part.ms, part.gflops)
    add("floor of its operations, at the rate of a large product", figures.operations_ms, figures.product_gflops)
    name = f"floor of its {figures.kb_a_step:,.0f} kB a step, at an addition's {figures.addition_gb_s:,.1f} GB/s"
    add(name, figures.bytes_ms)
    table.caption = f"rows that are in: {figures.inside:.0%}, {figures.gflops * figures.inside:,.1f} GFLOP/s"
    return table


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")
    parser.add_argument("--models", type=int, help="how many at once; by default 80, or 16,384 on CUDA")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    arguments = parser.parse_args()
    if arguments.device == "cpu":
        torch.set_num_threads(1)
    figures = measure(arguments.device, arguments.models or (80 if arguments.device == "cpu" else 16_384))
    Console(width=120).print(report(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(figures), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
