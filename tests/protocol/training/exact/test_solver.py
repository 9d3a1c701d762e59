"""The exact profile: the same bits everywhere, those of exact fractions, and as accurate as floating point."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from protocol.errors import TaskFileError
from protocol.game.sampling import initial_weights, row_order
from protocol.numerics import Exact, momentum_of, proof, rate_of
from protocol.recipes import Factory, Loss, Optimiser, Precision, Schedule, Sgd
from protocol.task import Scaling, TargetKind, Task
from protocol.training import Dataset, Trainer
from protocol.training.descent.sgd import location_and_scale
from tests.protocol.training import tasks
from tests.protocol.training.descent.plain_sgd import factor
from tests.protocol.training.descent.test_sgd import MLP, own_seeds, world

HINGE = dataclasses.replace(MLP, loss=Loss.SQUARED_HINGE, learning_rate=0.01)
CNN = dataclasses.replace(HINGE, factory=Factory.CNN, widths=(3, 4), image=(2, 4, 4), learning_rate=0.05, epochs=1)
RECIPES = {
    "one hidden layer": HINGE,
    "no hidden layer": dataclasses.replace(HINGE, widths=()),
    "two hidden layers": dataclasses.replace(HINGE, widths=(5, 4)),
    "squared": dataclasses.replace(HINGE, loss=Loss.SQUARED, learning_rate=0.003),
    "weight decay": dataclasses.replace(HINGE, weight_decay=0.013),
    "linear after a warm-up": dataclasses.replace(HINGE, schedule=Schedule.LINEAR, warmup_steps=4),
    "saturating": dataclasses.replace(HINGE, learning_rate=1.0),
    "batches of one row": dataclasses.replace(HINGE, batch_size=1, epochs=1),
    "cnn": CNN,
    "cnn, flipped and cropped": dataclasses.replace(CNN, flips=True, crop_padding=1),
    "cnn, squared": dataclasses.replace(CNN, loss=Loss.SQUARED, learning_rate=0.01, weight_decay=0.013),
    "cnn, odd sides": dataclasses.replace(CNN, image=(1, 5, 7), widths=(2, 3, 2)),
    "cnn of one row of pixels": dataclasses.replace(CNN, image=(1, 1, 6)),
    "cnn, saturating": dataclasses.replace(CNN, learning_rate=1.0),
}


def exact(recipe: Sgd, kind: TargetKind = TargetKind.MARGIN, numerics: Exact | None = None) -> tuple[Task, Dataset]:
    task, dataset = world(recipe, kind)
    return dataclasses.replace(task, numerics=numerics or Exact()), dataset


@pytest.fixture
def threads():  # type: ignore[no-untyped-def]
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_batches_threads_and_company_change_no_bit(recipe: Sgd, threads: Any) -> None:
    task, dataset = exact(recipe)
    subsets = tasks.subsets_of(40, 260)
    subsets[5] = False
    seeds = np.zeros(260, dtype=np.int64)
    whole = Trainer(task, dataset).raw_outputs(subsets, seeds)
    assert np.isfinite(whole).all()
    for batch_size, n_threads, some in ((1, 1, 5), (7, 2, 14), (256, 2, 260), (256, 1, 260)):
        threads(n_threads)
        again = Trainer(task, dataset, batch_size=batch_size).raw_outputs(subsets[:some], seeds[:some])
        assert again.tobytes() == whole[:some].tobytes()
    mixed = np.arange(20, dtype=np.int64) % 3  # looked up row by row for each model
    again = Trainer(own_seeds(task), dataset).raw_outputs(subsets[:20], mixed)
    assert again[mixed == 0].tobytes() == whole[:20][mixed == 0].tobytes()


def test_the_order_of_features_in_a_sum_changes_no_bit() -> None:
    """Products of rows and weights turned round alike: another order of additions, which no library promises."""
    from protocol.numerics import check_sums

    numerics, rng = Exact(), np.random.default_rng(0)
    check_sums(HINGE, numerics, n_features=700, n_outputs=3)
    w = torch.tensor(np.round(rng.uniform(-8, 8, (6, 700)) * 2.0**17) * 2.0**-17)
    x = torch.tensor(np.round(rng.uniform(-256, 256, (700, 9)) * 2.0**10) * 2.0**-10)
    turned = torch.tensor(rng.permutation(700))
    assert torch.equal(w @ x, w[:, turned] @ x[turned])
    assert torch.equal(w @ x, (w.unsqueeze(2) * x).sum(dim=1))
    assert not torch.equal(w.exp() @ x, w.exp()[:, turned] @ x[turned])


@pytest.mark.parametrize("name", [next(iter(RECIPES)), *list(RECIPES)[3:7]])
def test_a_model_is_what_fractions_train(name: str) -> None:
    recipe = dataclasses.replace(RECIPES[name], widths=(3,), epochs=2, batch_size=9)
    task, dataset = exact(recipe)
    subsets = tasks.subsets_of(40, 2)
    labels = dataset.y_test
    ours = Trainer(task, dataset).raw_outputs(subsets, np.array([4, 4], dtype=np.int64))
    for subset, row in zip(subsets, ours, strict=True):
        twin = Twin(recipe, task.numerics, dataset)
        scores = twin.scores(subset, 4)
        want = [float(s[y] - max(v for c, v in enumerate(s) if c != y)) for s, y in zip(scores, labels, strict=True)]
        assert row.tolist() == want
        bits = {made.what: made.bits for made in proof(recipe, task.numerics, n_features=5, n_outputs=3)}
        assert all(used <= bits[what] for what, used in twin.bits.items())
        assert set(twin.bits) >= {"layer 1 (5 to 3), forwards", "layer 2 (3 to 3), backwards"}


class Twin:
    """One model in exact fractions, number by number; ``bits`` holds what its largest sums needed."""

    def __init__(self, recipe: Sgd, numerics: Exact, dataset: Dataset) -> None:
        self.recipe, self.dataset, self.bits = recipe, dataset, {}
        self.fw, self.fa, self.fg = numerics.weight_bits - 3, numerics.activation_bits - 8, numerics.gradient_bits - 2
        self.x = [[self.on(Fraction(v), self.fa, 8) for v in row] for row in dataset.x_train.tolist()]
        self.x_test = [[self.on(Fraction(v), self.fa, 8) for v in row] for row in dataset.x_test.tolist()]

    @staticmethod
    def on(value: Fraction, step_bits: int, range_bits: int | None = None) -> Fraction:
        rounded = Fraction(round(value * 2**step_bits), 2**step_bits)
        if range_bits is None:
            return rounded
        most = 2**range_bits - Fraction(1, 2**step_bits)
        return max(-most, min(most, rounded))

    def note(self, what: str, total: Fraction, step_bits: int) -> None:
        if total:
            self.bits[what] = max(self.bits.get(what, 0), math.log2(abs(total) * 2**step_bits))

    def layer(self, k: int) -> str:
        return f"layer {k + 1} ({len(self.w[k][0])} to {len(self.w[k])})"

    def forward(self, x: list[Fraction]) -> list[list[Fraction]]:
        values = [x]
        for k, (w, b) in enumerate(zip(self.w, self.b, strict=True)):
            sums = [sum((p * v for p, v in zip(row, values[-1], strict=True)), c) for row, c in zip(w, b, strict=True)]
            for total in sums:
                self.note(f"{self.layer(k)}, forwards", total, self.fw + self.fa)
            rounded = [self.on(total, self.fa, 8) for total in sums]
            values.append(rounded if k == len(self.w) - 1 else [max(v, Fraction(0)) for v in rounded])
        return values

    def scores(self, subset: np.ndarray, seed: int) -> list[list[Fraction]]:
        recipe, n = self.recipe, len(self.x)
        sizes = [len(self.x[0]), *recipe.widths, 3]
        self.w, self.b = [], []
        for k in range(len(sizes) - 1):
            first = math.sqrt(6 / sizes[k]) * initial_weights(seed, 2 * k, sizes[k] * sizes[k + 1])
            self.w.append([[self.on(Fraction(v), self.fw, 3) for v in row] for row in first.reshape(-1, sizes[k])])
            self.b.append([Fraction(0)] * sizes[k + 1])
        self.vw = [[[Fraction(0)] * len(row) for row in w] for w in self.w]
        self.vb = [[Fraction(0)] * len(b) for b in self.b]
        step, size = 0, recipe.batch_size
        n_steps = recipe.epochs * math.ceil(n / size)
        for epoch in range(recipe.epochs):
            order = row_order(seed, epoch, n)
            for start in range(0, n, size):
                rows = [row for row in order[start : start + size].tolist() if subset[row]]
                rate = Fraction(rate_of(recipe.learning_rate * factor(recipe, step, n_steps)))
                step += 1
                if rows:
                    self.step(rows, rate)
        return [self.forward(x)[-1] for x in self.x_test]

    def step(self, rows: list[int], rate: Fraction) -> None:
        share = Fraction(round(Fraction(2**20, len(rows))), 2**20)
        gw = [[[Fraction(0)] * len(row) for row in w] for w in self.w]
        gb = [[Fraction(0)] * len(b) for b in self.b]
        for row in rows:
            values = self.forward(self.x[row])
            signs = [1 if c == self.dataset.y_train[row] else -1 for c in range(len(values[-1]))]
            slope = [self.slope(score, sign, share) for score, sign in zip(values[-1], signs, strict=True)]
            for k in range(len(self.w) - 1, -1, -1):
                for o, s in enumerate(slope):
                    gb[k][o] += s
                    for i, v in enumerate(values[k]):
                        gw[k][o][i] += s * v
                if k:
                    sums = [sum(self.w[k][o][i] * s for o, s in enumerate(slope)) for i in range(len(values[k]))]
                    for total in sums:
                        self.note(f"{self.layer(k)}, backwards", total, self.fw + self.fg)
                    passed = [v > 0 for v in values[k]]
                    slope = [self.on(t, self.fg, 2) * on for t, on in zip(sums, passed, strict=True)]
        for k in range(len(self.w)):
            for o in range(len(self.w[k])):
                for i in range(len(self.w[k][o])):
                    self.vw[k][o][i], self.w[k][o][i] = self.moved(self.vw[k][o][i], gw[k][o][i], self.w[k][o][i], rate)
                self.vb[k][o], self.b[k][o] = self.moved(self.vb[k][o], gb[k][o], self.b[k][o], rate)

    def slope(self, score: Fraction, aim: int, share: Fraction) -> Fraction:
        if self.recipe.loss is Loss.SQUARED:
            return self.on(2 * share * (score - aim), self.fg, 2)
        return self.on(-2 * share * aim * max(Fraction(0), 1 - aim * score), self.fg, 2)

    def moved(
        self, velocity: Fraction, gradient: Fraction, weight: Fraction, rate: Fraction
    ) -> tuple[Fraction, Fraction]:
        total = Fraction(momentum_of(self.recipe)) * velocity + gradient
        self.note("the velocity of every layer, from a batch's gradient", total, max(30, self.fg + self.fa))
        decayed = Fraction(float(total) + float(Fraction(rate_of(self.recipe.weight_decay)) * weight))
        velocity = self.on(decayed, 22)
        return velocity, self.on(weight - rate * velocity, self.fw, 3)


def test_accuracy_on_digits_is_within_a_point_of_floating_point() -> None:
    recipe = dataclasses.replace(HINGE, widths=(32,), epochs=20, batch_size=50)
    task, dataset = tasks.digits(recipe, Scaling.RANGE)
    subsets, seeds = tasks.subsets_of(1000, 24), np.zeros(24, dtype=np.int64)
    floating = (Trainer(task, dataset).raw_outputs(subsets, seeds) > 0).mean()
    integers = (Trainer(dataclasses.replace(task, numerics=Exact()), dataset).raw_outputs(subsets, seeds) > 0).mean()
    assert floating > 0.92
    assert abs(integers - floating) < 0.01


@pytest.mark.parametrize(
    ("recipe", "numerics", "message"),
    [
        (HINGE, Exact(weight_bits=40), r"numerics: expected sums within 53 bits \(fewer .*got 59.0 bits in layer 1"),
        (dataclasses.replace(HINGE, widths=(4, 4096, 4096)), Exact(), r"54.0 bits in layer 2 \(4 to 4096\), back"),
        (dataclasses.replace(HINGE, batch_size=2000), Exact(), r"55.3 bits in the velocity of every layer"),
        (dataclasses.replace(HINGE, momentum=0.99), Exact(gradient_bits=26), "bits in the velocity of every layer"),
        (dataclasses.replace(HINGE, widths=()), Exact(activation_bits=26, weight_bits=8, gradient_bits=8), "losses"),
    ],
)  # fmt: skip
def test_a_task_that_could_need_more_than_53_bits_is_refused_when_made(
    recipe: Sgd, numerics: Exact, message: str
) -> None:
    with pytest.raises(TaskFileError, match=message):
        exact(recipe, numerics=numerics)


def test_the_width_of_the_rows_is_checked_before_any_training() -> None:
    task, dataset = exact(dataclasses.replace(HINGE, widths=()), numerics=Exact(weight_bits=33))
    with pytest.raises(TaskFileError, match=r"got 53\.6 bits in layer 1 \(5 to 3\), forwards"):
        Trainer(task, dataset)


def test_features_beyond_an_activations_range_are_refused() -> None:
    task, dataset = exact(HINGE)
    wide = dataclasses.replace(dataset, x_train=dataset.x_train * 1000)
    with pytest.raises(TaskFileError, match=r"expected features within \+-255.999 for exact, got [0-9]+"):
        Trainer(task, wide)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": Loss.CROSS_ENTROPY}, "recipe.loss: expected squared or squared-hinge with profile exact, got cross"),
        ({"schedule": Schedule.COSINE}, "recipe.schedule: expected constant or linear with profile exact, got cosine"),
        ({"precision": Precision.BF16}, "recipe.precision: expected fp32 with profile exact, got bf16"),
        (
            {"optimiser": Optimiser.ADAMW, "momentum": 0.0, "epsilon": 1e-8},
            "recipe.optimiser: expected momentum with profile exact, got adamw",
        ),
        (
            {"factory": Factory.RESNET9, "image": (1, 8, 8), "widths": (4,)},
            "recipe.factory: expected mlp or cnn with profile exact, got resnet9",
        ),
        ({"learning_rate": 1.5}, "recipe.learning_rate: expected at most 1 with profile exact, got 1.5"),
    ],
)
def test_what_has_no_exact_form_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskFileError, match=message):
        exact(dataclasses.replace(HINGE, **changes))


def test_scaling_by_a_mean_and_other_recipes_have_no_exact_form() -> None:
    task, _ = exact(HINGE)
    with pytest.raises(TaskFileError, match=r"data.scaling: expected none or range \(.*\) with profile exact"):
        dataclasses.replace(task, data=dataclasses.replace(task.data, scaling=Scaling.STANDARD))
    ridge, _ = tasks.digits()
    with pytest.raises(TaskFileError, match=r"numerics.profile: expected tolerance with recipe ridge, got exact"):
        dataclasses.replace(ridge, numerics=Exact())


def test_rounding_of_rates_and_momentum() -> None:
    assert momentum_of(dataclasses.replace(HINGE, momentum=0.9)) == 230 / 256
    assert momentum_of(dataclasses.replace(HINGE, momentum=0.9999)) == 255 / 256
    assert rate_of(0.0) == 0.0
    assert rate_of(0.75) == 0.75
    assert rate_of(0.1) == 819 / 8192
    assert abs(rate_of(1e-5) / 1e-5 - 1) < 2**-10


@pytest.mark.parametrize("kind", [TargetKind.LOSS, TargetKind.MARGIN])
def test_an_average_of_exact_targets_is_the_same_in_every_batch(kind: TargetKind) -> None:
    task, dataset = exact(HINGE, kind)
    task = averaged(task)
    subsets, seeds = tasks.subsets_of(40, 20), np.zeros(20, dtype=np.int64)
    whole = Trainer(task, dataset).raw_outputs(subsets, seeds)
    assert Trainer(task, dataset, batch_size=3).raw_outputs(subsets, seeds).tobytes() == whole.tobytes()


def averaged(task: Task) -> Task:
    targets = dataclasses.replace(task.targets, average=True, lo=np.array([-1e6]), hi=np.array([1e6]))
    return dataclasses.replace(task, targets=targets)


def exact_regression() -> tuple[Task, Dataset]:
    task, dataset = world(RECIPES["squared"], TargetKind.PREDICTION, n_classes=0)
    return dataclasses.replace(task, numerics=Exact()), dataset


def worlds() -> dict[str, tuple[Task, Dataset]]:
    """Every recipe, an average of 10 margins of perceptrons and of CNNs, and a regression."""
    found = {name: exact(recipe) for name, recipe in RECIPES.items()}
    for name in ("one hidden layer", "cnn"):
        task, dataset = found[name]
        found[f"{name}, averaged"] = averaged(task), dataset
    return found | {"a regression": exact_regression()}


WORLDS = worlds()


class Divisions(TorchDispatchMode):
    """Notes what is divided by a plain number: CUDA multiplies by its reciprocal instead, which rounds twice."""

    def __init__(self) -> None:
        super().__init__()
        self.by: list[float] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        if name.startswith(("div", "true_divide", "mean")):
            divisor = args[1] if name.startswith(("div", "true")) else math.nan
            if not isinstance(divisor, torch.Tensor) or divisor.ndim == 0:
                self.by.append(float(divisor))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(("task", "dataset"), WORLDS.values(), ids=WORLDS)
def test_nothing_is_divided_by_a_plain_number(task: Task, dataset: Dataset) -> None:
    with Divisions() as seen:
        Trainer(task, dataset).raw_outputs(tasks.subsets_of(40, 2), np.zeros(2, dtype=np.int64))
    assert seen.by == []


@pytest.mark.gpu
@pytest.mark.parametrize(("task", "dataset"), WORLDS.values(), ids=WORLDS)
def test_a_gpu_gives_the_same_bits(task: Task, dataset: Dataset) -> None:
    subsets = tasks.subsets_of(40, 300)
    for seeds in (np.zeros(300, dtype=np.int64), np.arange(300)):
        cpu, gpu = (Trainer(task, dataset, device=device).raw_outputs(subsets, seeds) for device in ("cpu", "cuda"))
        assert cpu.tobytes() == gpu.tobytes()


def test_a_regression_is_scaled_by_products_alone() -> None:
    """Of these three a deviation of squares from the C library's pow, as ``** 2`` takes them, is a last bit less."""
    values = [-628.2, 985.1, 719.9]
    mean, deviation = location_and_scale(torch.tensor(values, dtype=torch.float64))
    squares = [Fraction(float(Fraction(value - mean) ** 2)) for value in values]  # each rounded once, to nearest
    assert mean == math.fsum(values) / 3
    assert deviation == math.sqrt(float(sum(squares)) / 3)
