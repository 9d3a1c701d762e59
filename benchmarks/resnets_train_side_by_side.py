"""ResNet-9 and small CNNs, alone and side by side, beside a plain PyTorch loop over the same rows.

    python -m benchmarks.resnets_train_side_by_side [--device cuda] [--images 50000] [--width 64] [--json PATH]

Synthetic images, 3x32x32, labels at random, uniform subsets; one epoch in batches of 512 (at most), flips and crops by
4, bfloat16 operands (float32 for the loop on a processor, and for CNNs). The smaller CNN has 1x8x8 pixels and batches
of 50, and neither. On a processor what ``sgd.STACK_BYTES`` does not hold is trained one after another.

Figures: seconds a model and epoch of m models side by side, for each m, and of the loop: torch's own module and
optimiser on the rows that are in. A model of 16 epochs, the record's length, takes 16 times that. Published, both on
one A100: 36 s for 16 epochs of ResNet-9 (FFCV, 93% on CIFAR-10), 2.6 s to 94% (airbench). They train on all rows, we on
half.

By default 50,000 images and width 64 on CUDA, 512 images and width 8 on a processor, where the full size is hours.
Nothing is held to a bound but the loop's outputs: 0.05 in float32 (prover/calibration.py says why that much).
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks.many_models_are_ten_times_a_loop import RECIPE, seconds_of
from protocol.recipes import Factory, Precision, Sgd
from protocol.sampling import row_order
from protocol.training.networks import network
from protocol.training.sgd import SgdSolver, first_values

SIZES = {"cpu": (1, 4, 16), "cuda": (1, 4, 16, 64)}
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
    """Seconds a model and epoch, by how many are trained side by side; of the loop, under "loop"."""

    network: str
    seconds: dict[str, float]
    largest_difference: float

    @property
    def fastest(self) -> str:
        """The number of models side by side that takes least a model."""
        ours = {m: seconds for m, seconds in self.seconds.items() if m != "loop"}
        return min(ours, key=ours.__getitem__)


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

    def train(subset: np.ndarray) -> torch.Tensor:
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


def measure(name: str, recipe: Sgd, n_images: int, device: str) -> Timing:
    """Train once to warm up and once by the clock, at each size."""
    x, labels = images(recipe, n_images, device)
    units = torch.arange(n_images, device=device)
    subsets = np.random.default_rng(1).random((max(SIZES[device.partition(":")[0]]), n_images)) < 0.5

    def solver(of: Sgd) -> SgdSolver:
        return SgdSolver(of, x.double(), labels, 10, units, x[:N_SCORED].double(), None)

    ours, seconds = solver(recipe), {}
    for m in SIZES[device.partition(":")[0]]:
        inside, seeds = torch.from_numpy(subsets[:m]).to(device), np.zeros(m, dtype=np.int64)
        ours.scores(inside, seeds)
        seconds[str(m)] = seconds_of(functools.partial(ours.scores, inside, seeds), device) / m
    plain = replace(recipe, precision=Precision.FP32, flips=False, crop_padding=0)
    loop = plain_loop(plain if device == "cpu" else recipe, x, labels, device)
    loop(subsets[0])
    seconds["loop"] = seconds_of(lambda: loop(subsets[0]), device)
    expected = plain_loop(plain, x, labels, device)(subsets[0]).double()
    got = solver(plain).scores(torch.from_numpy(subsets[:1]).to(device), np.zeros(1, dtype=np.int64))[0]
    return Timing(network=name, seconds=seconds, largest_difference=float((got - expected).abs().max()))


def report(timings: list[Timing], device: str, n_images: int) -> Table:
    """Return seconds a model and epoch, and how many images a second of a subset's half that is."""
    where = torch.cuda.get_device_name(device) if device.startswith("cuda") else f"cpu, {torch.get_num_threads()} threads"
    table = Table(title=f"{n_images:,} images, {where}, torch {torch.__version__}; seconds a model and epoch")
    for column in ("network", "side by side", "s", "images in, per s", "difference from the loop"):
        table.add_column(column)
    for timing in timings:
        for m, seconds in timing.seconds.items():
            mark = ", fastest" if m == timing.fastest else ""
            rate = f"{n_images / 2 / seconds:,.0f}"
            difference = f"{timing.largest_difference:.1e}" if m == "1" else ""
            table.add_row(timing.network, m + mark, f"{seconds:.3f}", rate, difference)
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
    n_images = arguments.images or DEFAULT_IMAGES[kind]
    width = arguments.width or DEFAULT_WIDTH[kind]
    recipes = {f"resnet9, width {width}": replace(RESNET9, widths=(width,)), "cnn": CNN, "cnn, 8 x 8 pixels": SMALL_CNN}
    timings = [measure(name, recipe, n_images, arguments.device) for name, recipe in recipes.items()]
    Console().print(report(timings, arguments.device, n_images))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(timing) for timing in timings], indent=2) + "\n")
    return 0 if all(timing.largest_difference <= DIFFERENCE for timing in timings) else 1


if __name__ == "__main__":
    sys.exit(main())
