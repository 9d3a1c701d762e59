"""Many perceptrons at once retrain at least 10 times as fast as a plain PyTorch loop.

    python -m benchmarks.many_models_are_ten_times_a_loop [--device cuda] [--models 4096] [--json PATH]

Digits, 1,000 training rows, 64-32-10 (61 of the pixels vary), 20 epochs of batches of 50, uniform subsets. The loop is
torch's own modules, autograd and optimiser, one model at a time on the rows that are in, on the same device: the same
recipe and, to the bound below, the same outputs. Each side takes its best number of threads; sides alternate and
the ratio is the median over rounds. FLOP/s count the products of all rows, those of weight 0 too ("of rows that are in"
counts none of them), beside a large float32 matrix product in the same run. On CUDA the ratio to reach is 1,000.

What bounds it: ``benchmarks.what_bounds_perceptrons``. Larger networks: ``benchmarks.resnets_train_side_by_side``.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks.digits_task import digits_task
from protocol.game.sampling import initial_weights, row_order
from protocol.recipes import Factory, Loss, Optimiser, Precision, Schedule, Sgd
from protocol.task import Scaling, Task
from protocol.training import Dataset, Trainer, load

ROUNDS, N_LOOP = 3, 4
RATIO = {"cpu": 10.0, "cuda": 1000.0}
DIFFERENCE = 0.05
"""Largest difference from the loop: a rounding may put a ReLU on its other side (prover/calibration.py)."""

RECIPE = Sgd(
    factory=Factory.MLP, factory_digest=b"", widths=(32,), image=(0, 0, 0), loss=Loss.CROSS_ENTROPY,
    optimiser=Optimiser.MOMENTUM, learning_rate=0.05, momentum=0.9, beta1=0.0, beta2=0.0, epsilon=0.0,
    weight_decay=0.0, schedule=Schedule.CONSTANT, warmup_steps=0, epochs=20, batch_size=50,
    precision=Precision.FP32, flips=False, crop_padding=0,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one run measures; times are per retraining."""

    device: str
    torch: str
    threads: int
    models: int
    loop_ms: float
    ours_ms: float
    ratio: float
    own_seeds_ms: float
    largest_difference: float
    gflops: float
    product_gflops: float
    inside: float

    @property
    def holds(self) -> bool:
        """Whether every stated bound is met."""
        kind = "cpu" if self.device == "cpu" else "cuda"
        return self.ratio >= RATIO[kind] and self.largest_difference <= DIFFERENCE


def sgd_task(recipe: Sgd) -> tuple[Task, Dataset]:
    """Return the digits task with features within [-1, 1] and this recipe."""
    task, _ = digits_task()
    task = replace(task, data=replace(task.data, scaling=Scaling.RANGE), recipe=recipe)
    return task, load(task)


def plain_loop(task: Task, dataset: Dataset, device: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return a loop over subsets that trains one model after another, and gives margins (m, T)."""
    x = torch.tensor(dataset.x_train, dtype=torch.float32, device=device)
    y = torch.tensor(dataset.y_train, device=device)
    rows = list(task.targets.rows)
    x_test = torch.tensor(dataset.x_test[rows], dtype=torch.float32, device=device)
    labels = dataset.y_test[rows]
    first = begun(x.shape[1]).to(device).state_dict()
    orders = [row_order(task.seed, epoch, len(x)) for epoch in range(RECIPE.epochs)]

    def train(subset: np.ndarray) -> np.ndarray:
        model = begun(x.shape[1]).to(device)
        model.load_state_dict(first)
        optimiser = torch.optim.SGD(model.parameters(), lr=RECIPE.learning_rate, momentum=RECIPE.momentum)
        for order in orders:
            for start in range(0, len(x), RECIPE.batch_size):
                batch = order[start : start + RECIPE.batch_size]
                batch_rows = torch.from_numpy(batch[subset[batch]]).to(device)
                optimiser.zero_grad()
                nn.functional.cross_entropy(model(x[batch_rows]), y[batch_rows]).backward()
                optimiser.step()
        with torch.no_grad():
            scores = model(x_test).double().cpu().numpy()
        own = scores[np.arange(len(labels)), labels]
        scores[np.arange(len(labels)), labels] = -np.inf
        return np.asarray(own - scores.max(axis=1))

    return lambda subsets: np.array([train(subset) for subset in subsets])


def begun(n_features: int) -> nn.Module:
    """Return the perceptron where its training begins."""
    model = nn.Sequential(nn.Linear(n_features, RECIPE.widths[0]), nn.ReLU(), nn.Linear(RECIPE.widths[0], 10))
    with torch.no_grad():
        for j, parameter in enumerate(model.parameters()):
            if parameter.ndim == 1:
                parameter.zero_()
            else:
                values = initial_weights(0, j, parameter.numel()) * (6 / parameter.shape[1]) ** 0.5
                parameter.copy_(torch.tensor(values).view_as(parameter))
    return model


def seconds_of(work: Callable[[], object], device: str) -> float:
    """Return how long ``work`` takes, the device's queue included."""
    started = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def best_threads(work: Callable[[], object], device: str) -> int:
    """Return the number of threads that ``work`` runs fastest with."""
    counts = sorted({1, torch.get_num_threads()})
    taken = {}
    for count in counts:
        torch.set_num_threads(count)
        taken[count] = seconds_of(work, device)
    torch.set_num_threads(counts[-1])
    return min(counts, key=taken.__getitem__)


def timed(work: Callable[[], object], threads: int, n: int, device: str) -> float:
    """Return milliseconds for each of ``n`` retrainings."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return 1e3 * seconds_of(work, device) / n
    finally:
        torch.set_num_threads(before)


def product_gflops(device: str) -> float:
    """Return the rate of a large float32 matrix product."""
    n = 2048 if device == "cpu" else 16384
    a, b = torch.rand(n, n, device=device), torch.rand(n, n, device=device)
    torch.mm(a, b)
    return 2 * n**3 / min(seconds_of(lambda: torch.mm(a, b), device) for _ in range(5)) / 1e9


def model_gflop(n_rows: int, n_features: int) -> float:
    """Return the billions of operations of one training's products: forwards, for weights and for hidden slopes."""
    first, second = n_features * RECIPE.widths[0], RECIPE.widths[0] * 10
    return 2 * RECIPE.epochs * n_rows * (2 * first + 3 * second) / 1e9


def measure(device: str, models: int) -> Figures:
    """Find each side's best number of threads, then time them in turn."""
    task, dataset = sgd_task(RECIPE)
    subsets = np.random.default_rng(0).random((models, task.n_units)) < 0.5
    few, seeds, own = subsets[:N_LOOP], np.zeros(models, dtype=np.int64), np.arange(models)
    loop = plain_loop(task, dataset, device)
    trainer = Trainer(task, dataset, device=device, batch_size=models)
    difference = float(np.abs(loop(few) - trainer.raw_outputs(subsets, seeds)[:N_LOOP]).max())
    works: dict[str, Callable[[], object]] = {
        "loop": lambda: loop(few),
        "ours": functools.partial(trainer.raw_outputs, subsets, seeds),
        "own seeds": functools.partial(trainer.raw_outputs, subsets, own),
    }
    threads = {name: best_threads(work, device) for name, work in works.items()}
    rounds = [
        {name: timed(work, threads[name], N_LOOP if name == "loop" else models, device) for name, work in works.items()}
        for _ in range(ROUNDS)
    ]
    ms = {name: statistics.median(times[name] for times in rounds) for name in works}
    return Figures(
        device=torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        models=models,
        loop_ms=ms["loop"],
        ours_ms=ms["ours"],
        ratio=statistics.median(times["loop"] / times["ours"] for times in rounds),
        own_seeds_ms=ms["own seeds"],
        largest_difference=difference,
        gflops=1e3 * model_gflop(task.data.n_train, dataset.x_train.shape[1]) / ms["ours"],
        product_gflops=product_gflops(device),
        inside=float(subsets.mean()),
    )


def report(figures: Figures) -> Table:
    """Return the figures as a table, each beside its bound."""
    kind = "cpu" if figures.device == "cpu" else "cuda"
    title = f"{figures.models} perceptrons, {figures.device}, {figures.threads} threads, load {os.getloadavg()[0]:.1f}"
    table = Table(title=title)
    for column in ("figure", "measured", "bound"):
        table.add_column(column)
    table.add_row("plain loop, ms a retraining", f"{figures.loop_ms:.1f}", "")
    table.add_row("ours, ms a retraining", f"{figures.ours_ms:.3f}", "")
    table.add_row("ratio", f"{figures.ratio:.1f}", f"at least {RATIO[kind]:g}")
    table.add_row("ours, a seed for each, ms", f"{figures.own_seeds_ms:.3f}", "")
    table.add_row("largest difference of outputs", f"{figures.largest_difference:.1e}", f"at most {DIFFERENCE:g}")
    share = figures.gflops / figures.product_gflops
    table.add_row("GFLOP/s, and share of a large product's", f"{figures.gflops:,.0f}, {share:.0%}", "")
    table.add_row("  of rows that are in", f"{figures.gflops * figures.inside:,.0f}, {share * figures.inside:.1%}", "")
    if kind == "cpu":
        table.add_row("all of this on a GPU", "not measured", "")
    return table


def main() -> int:
    """Measure, print, and return 1 if a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")
    parser.add_argument("--models", type=int, help="how many at once; by default 256, or 16,384 on CUDA")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    arguments = parser.parse_args()
    models = arguments.models or (256 if arguments.device == "cpu" else 16_384)
    figures = measure(arguments.device, models)
    Console().print(report(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(figures) | {"holds": figures.holds}, indent=2) + "\n")
    return 0 if figures.holds else 1


if __name__ == "__main__":
    sys.exit(main())
