"""ResNet-9 and small CNNs, alone and side by side, beside a plain PyTorch loop over the same rows.

    python -m benchmarks.resnets_train_side_by_side [--device cuda] [--images 50000] [--width 64] [--json PATH]

Synthetic images, 3x32x32, labels at random, uniform subsets; one epoch in batches of 512 (at most), flips and crops by
4, bfloat16 operands (float32 for the loop on a processor, and for CNNs). The smaller CNN has 1x8x8 pixels and batches
of 50, and neither.

Figures: seconds a model and epoch of m models side by side, for each m, and of the loop: torch's own module and
optimiser on the rows that are in, its products in TF32 where ours are and nowhere else. m models are stacked whatever
``sgd.STACK_BYTES`` says, which on a processor holds few or one; "as the solver does it" is with it. On a processor
seconds are its own, of one thread, on CUDA the wall's. Sizes take turns, and figures are medians over rounds: three, or
as many as begin in two minutes. A size that memory does not hold is said not to fit: on CUDA once it has been tried,
on a processor where the solver's estimate is above the machine's memory.

A model of 16 epochs, the record's length, takes 16 times an epoch. Published, both on one A100: 36 s for 16 epochs of
ResNet-9 (FFCV, 93% on CIFAR-10), 2.6 s to 94% (airbench). They train on all rows, we on half.

By default 50,000 images and width 64 on CUDA, 512 images and width 8 on a processor, where the full size is hours.
Nothing is held to a bound but the loop's outputs: 0.05 in float32 (prover/calibration.py says why that much).
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks.kernel_and_ridge_use_the_machine import seconds_of
from benchmarks.many_models_are_ten_times_a_loop import RECIPE
from protocol.game.sampling import row_order
from protocol.recipes import Factory, Precision, Sgd
from protocol.training.descent import sgd
from protocol.training.descent.networks import network
from protocol.training.descent.rounding import tensor_cores
from protocol.training.descent.sgd import SgdSolver, first_values
from protocol.training.memory import is_memory

SIZES = {"cpu": (1, 2, 4, 8, 16), "cuda": (1, 4, 16, 64)}
ROUNDS, LAST_ROUND_S = 3, 120.0
DEFAULT_IMAGES = {"cpu": 512, "cuda": 50_000}
DEFAULT_WIDTH = {"cpu": 8, "cuda": 64}
N_SCORED = 100
DIFFERENCE = 0.05
"""Largest difference of float32 scores from the loop's: a rounding may put a ReLU on its other side."""

RESNET9 = replace(
    RECIPE, factory=Factory.RESNET9, image=(3, 32, 32), epochs=1, batch_size=512, precision=Precision.BF16, flips=True,
    crop_padding=4, learning_rate=0.01,
)  # fmt: skip
PLAIN = replace(RESNET9, precision=Precision.FP32, flips=False, crop_padding=0)
CNN = replace(PLAIN, factory=Factory.CNN, widths=(16, 32))
SMALL_CNN = replace(CNN, image=(1, 8, 8), batch_size=50)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds a model and epoch, by how many are trained side by side, None where they do not fit; also of the loop.

    mb_a_model : what the solver thinks that one takes.
    """

    network: str
    mb_a_model: float
    seconds: dict[str, float | None]
    largest_difference: float

    @property
    def fastest(self) -> str:
        """The number of models side by side that takes least a model."""
        ours = {m: seconds for m, seconds in self.seconds.items() if m.isdecimal() and seconds is not None}
        return min(ours, key=ours.__getitem__, default="")


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is timed: ``run`` trains so many models."""

    models: int
    run: Callable[[], object]


def images(recipe: Sgd, n: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features (n, d), d the image's values, and labels (n,)."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((n, math.prod(recipe.image)), dtype=np.float32))
    return x.to(device), torch.from_numpy(rng.integers(10, size=n)).to(device)


def begun(recipe: Sgd, device: str) -> nn.Module:
    """Return the network where its training begins under seed 0."""
    module = network(recipe, math.prod(recipe.image), 10, None)
    with torch.no_grad():
        for j, (name, parameter) in enumerate(module.named_parameters()):
            parameter.copy_(torch.from_numpy(first_values(name, tuple(parameter.shape), 0, j)))
    return module.to(device)


def plain_loop(recipe: Sgd, x: torch.Tensor, labels: torch.Tensor, device: str) -> Callable[[np.ndarray], torch.Tensor]:
    """Return a loop that trains on the rows that are in, without augmentation, and gives the scored rows' scores."""
    pictures, order = x.unflatten(1, recipe.image), row_order(0, 0, len(x))
    autocast = torch.autocast("cuda", torch.bfloat16, enabled=recipe.precision is Precision.BF16)
    cores = functools.partial(tensor_cores, recipe.precision, torch.device(device))

    def train(subset: np.ndarray) -> torch.Tensor:
        with cores():
            return trained(subset)

    def trained(subset: np.ndarray) -> torch.Tensor:
        model = begun(recipe, device)
        optimiser = torch.optim.SGD(model.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum)
        for start in range(0, len(x), recipe.batch_size):
            batch = order[start : start + recipe.batch_size]
            rows = torch.from_numpy(batch[subset[batch]]).to(device)
            optimiser.zero_grad()
            with autocast:
                loss = nn.functional.cross_entropy(model(pictures[rows]), labels[rows])
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            return torch.as_tensor(model(pictures[:N_SCORED]))

    return train


@contextmanager
def stacking(most: int) -> Iterator[None]:
    """Let the solver stack so many bytes of models on a processor."""
    before, sgd.STACK_BYTES = sgd.STACK_BYTES, most
    try:
        yield
    finally:
        sgd.STACK_BYTES = before


def seconds_if_it_fits(work: Callable[[], object], device: str) -> float | None:
    """Return the seconds of one call; None where memory did not hold it, which is then free again."""
    try:
        return seconds_of(work, device)
    except (MemoryError, RuntimeError) as error:
        if not is_memory(error):
            raise
    if device.startswith("cuda"):  # not in the handler, whose traceback holds what was made
        torch.cuda.empty_cache()
    return None


def in_turns(works: Mapping[str, Work], device: str) -> dict[str, float | None]:
    """Return each work's seconds a model, the median over rounds; None where memory did not hold one."""
    began = time.perf_counter()
    taken: dict[str, list[float | None]] = {name: [] for name in works}
    fits = [name for name, work in works.items() if seconds_if_it_fits(work.run, device) is not None]
    for _ in range(ROUNDS):
        for name in fits:
            taken[name].append(seconds_if_it_fits(works[name].run, device))
        if time.perf_counter() - began > LAST_ROUND_S:
            break
    medians = {}
    for name, work in works.items():
        known = [seconds for seconds in taken[name] if seconds is not None]
        whole = bool(known) and len(known) == len(taken[name])
        medians[name] = statistics.median(known) / work.models if whole else None
    return medians


def works_of(ours: SgdSolver, n_images: int, device: str) -> dict[str, Work]:
    """Return the trainings of m models side by side, and on a processor of the most of them as the solver does it."""
    sizes = SIZES[device.partition(":")[0]]
    inside = torch.from_numpy(subsets_of(max(sizes), n_images)).to(device)

    def work(m: int, most_bytes: int) -> Work:
        def run() -> None:
            if device == "cpu" and min(most_bytes, m * ours.bytes_per_subset) > machine_bytes():
                raise MemoryError  # Linux would end this process, or another
            with stacking(most_bytes):
                ours.scores(inside[:m], np.zeros(m, dtype=np.int64))

        return Work(models=m, run=run)

    works = {str(m): work(m, m * ours.bytes_per_subset) for m in sizes}
    if device == "cpu":
        held = min(max(sgd.STACK_BYTES // ours.bytes_per_subset, 1), sizes[-1])
        works[f"{sizes[-1]}, as the solver does it ({held} at once)"] = work(sizes[-1], sgd.STACK_BYTES)
    return works


def subsets_of(m: int, n: int) -> np.ndarray:
    """Return uniform subsets, shape (m, n)."""
    return np.random.default_rng(1).random((m, n)) < 0.5


def machine_bytes() -> int:
    """Return the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def measure(name: str, recipe: Sgd, n_images: int, device: str) -> Timing:
    """Time every size and the loop, and compare outputs."""
    x, labels = images(recipe, n_images, device)
    units = torch.arange(n_images, device=device)
    subset = subsets_of(1, n_images)

    def solver(of: Sgd) -> SgdSolver:
        return SgdSolver(of, x.double(), labels, 10, units, x[:N_SCORED].double(), None)

    ours, plain = solver(recipe), replace(recipe, precision=Precision.FP32, flips=False, crop_padding=0)
    loop = plain_loop(plain if device == "cpu" else recipe, x, labels, device)
    works = works_of(ours, n_images, device) | {"loop": Work(models=1, run=functools.partial(loop, subset[0]))}
    expected = plain_loop(plain, x, labels, device)(subset[0]).double()
    got = solver(plain).scores(torch.from_numpy(subset).to(device), np.zeros(1, dtype=np.int64))[0]
    return Timing(
        network=name,
        mb_a_model=ours.bytes_per_subset / 1e6,
        seconds=in_turns(works, device),
        largest_difference=float((got - expected).abs().max()),
    )


def report(timing: Timing, device: str, n_images: int) -> Table:
    """Return seconds a model and epoch, and how many images a second of a subset's half that is."""
    clock = "processor seconds, 1 thread" if device == "cpu" else torch.cuda.get_device_name(device)
    size = f"{n_images:,} images, about {timing.mb_a_model:,.0f} MB a model"
    title = f"{timing.network}: {size}; {clock}, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}"
    table = Table(title=title, caption=f"largest difference from the loop in float32: {timing.largest_difference:.1e}")
    for column in ("side by side", "s a model and epoch", "of 16 epochs", "images in, per s"):
        table.add_column(column)
    for m, seconds in timing.seconds.items():
        if seconds is None:
            table.add_row(m, "does not fit")
            continue
        mark = ", fastest" if m == timing.fastest else ""
        table.add_row(m + mark, f"{seconds:.3f}", f"{16 * seconds:.3g}", f"{n_images / 2 / seconds:,.0f}")
    return table


def main() -> int:
    """Measure, print, and return 1 if outputs are not the loop's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")
    parser.add_argument("--images", type=int, help="by default 50,000 on CUDA, 512 on a processor")
    parser.add_argument("--width", type=int, help="of ResNet-9's first layer; by default 64 on CUDA, 8 on a processor")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    arguments = parser.parse_args()
    kind = arguments.device.partition(":")[0]
    if kind == "cpu":
        torch.set_num_threads(1)
    n_images = arguments.images or DEFAULT_IMAGES[kind]
    width = arguments.width or DEFAULT_WIDTH[kind]
    recipes = {f"resnet9, width {width}": replace(RESNET9, widths=(width,)), "cnn": CNN, "cnn, 8 x 8 pixels": SMALL_CNN}
    timings = []
    for name, recipe in recipes.items():
        timings.append(measure(name, recipe, n_images, arguments.device))
        Console(width=140).print(report(timings[-1], arguments.device, n_images))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(timing) for timing in timings], indent=2) + "\n")
    return 0 if all(timing.largest_difference <= DIFFERENCE for timing in timings) else 1


if __name__ == "__main__":
    sys.exit(main())
