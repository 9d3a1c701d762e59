"""CNNs in the exact profile: the bits of a literal implementation, sums within their proof, digits as in floats."""

from __future__ import annotations

import dataclasses
import importlib
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from protocol.errors import TaskFileError
from protocol.numerics import Exact, check_sums, convolutions, mean_share, proof, widest
from protocol.recipes import Loss, Schedule, Sgd
from protocol.task import ConstantColumns, Scaling, Task, UnitKind
from protocol.training import Dataset, Trainer, read_table, split
from protocol.training.descent.blocks import Blocks
from protocol.training.descent.networks import network
from protocol.training.exact.convolutions import ExactConvolutions
from protocol.training.exact.grids import Grids
from protocol.training.exact.solver import ExactSolver
from tests.protocol.training import tasks
from tests.protocol.training.exact.test_solver import CNN, exact

CNN = dataclasses.replace(CNN, epochs=2)
RECIPES = {
    "two layers": CNN,
    "three layers, odd sides": dataclasses.replace(CNN, image=(2, 5, 7), widths=(3, 3, 4)),
    "a mean over nine pixels": dataclasses.replace(CNN, image=(2, 3, 3), widths=(4,)),
    "no pooling where there is one row": dataclasses.replace(CNN, image=(2, 1, 5), widths=(2, 3)),
    "squared, with decay": dataclasses.replace(CNN, loss=Loss.SQUARED, learning_rate=0.02, weight_decay=2.0**-6),
    "flipped and cropped": dataclasses.replace(CNN, flips=True, crop_padding=2),
    "saturating": dataclasses.replace(CNN, learning_rate=1.0),
}


@pytest.fixture
def literal(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The second implementation of SPEC 12."""
    return literal_implementation(monkeypatch)


def literal_implementation(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[4] / "proto"))
    return importlib.import_module("reference_exact")


def as_json(recipe: Sgd) -> dict[str, Any]:
    values = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}
    return {key: getattr(value, "value", value) for key, value in values.items()} | {"image": list(recipe.image)}


def listening(literal: ModuleType, bits: dict[tuple[str, int], float]) -> type:
    """A model that keeps the most bits that each of its sums needed."""

    class Listening(literal.Model):  # type: ignore[name-defined, misc]
        def saw(self, what: str, layer: int, total: int) -> None:
            used = math.log2(abs(total)) if total else 0.0
            bits[what, layer] = max(bits.get((what, layer), 0.0), used)

    return Listening


def proved(recipe: Sgd, numerics: Exact, n_outputs: int) -> dict[tuple[str, int], float]:
    """The proof's bits by what the literal implementation calls a sum, layers from 0."""
    found = {}
    for made in proof(recipe, numerics, n_features=math.prod(recipe.image), n_outputs=n_outputs):
        words = made.what.replace(",", "").split()
        if "layer" in words and words[0] != "a":
            kind = "velocity" if words[:2] == ["the", "velocity"] else words[-1]
            found[kind, int(words[words.index("layer") + 1]) - 1] = made.bits
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_a_cnn_is_what_integers_train(name: str, literal: ModuleType) -> None:
    recipe = RECIPES[name]
    task, dataset = exact(recipe)
    (subset,) = tasks.subsets_of(40, 1)
    ours = scores_of(recipe, task.numerics, dataset, subset, 4)
    bits: dict[tuple[str, int], float] = {}
    numerics = dataclasses.asdict(task.numerics)
    model = listening(literal, bits)(as_json(recipe), numerics, dataset.x_train.shape[1], 3, 4)
    rows, targets = ([[on(model, v) for v in row] for row in x.tolist()] for x in (dataset.x_train, dataset.x_test))
    aims = [[on(model, 1.0 if c == label else -1.0) for c in range(3)] for label in dataset.y_train.tolist()]
    model.train(rows, aims, subset.tolist())
    want = [[float(model.activation.value(score)) for score in model.forwards(x)[-1][1]] for x in targets]
    assert ours.tolist() == want
    assert np.unique(ours).size > 3
    allowed = proved(recipe, task.numerics, 3)
    assert {"forwards", "backwards", "gradient", "velocity"} == {what for what, _ in bits}
    for (what, layer), used in bits.items():
        if what != "gradient" or layer < len(recipe.widths):  # a dense layer's is in its velocity
            assert used <= allowed[what, layer]


def on(model: Any, value: float) -> int:
    from fractions import Fraction

    return int(model.activation.of(Fraction(value)))


def scores_of(recipe: Sgd, numerics: Exact, dataset: Dataset, subset: np.ndarray, seed: int) -> np.ndarray:
    x, labels, units = (torch.tensor(a) for a in (dataset.x_train, dataset.y_train, dataset.unit_of_row))
    solver = ExactSolver(recipe, numerics, x, labels, 3, units, torch.tensor(dataset.x_test))
    return np.asarray(solver.scores(torch.tensor(subset[None]), np.array([seed], dtype=np.int64))[0])


SHAPES = st.builds(
    lambda channels, height, width, widths: ((channels, height, width), tuple(widths)),
    st.integers(1, 2),
    st.integers(1, 5),
    st.integers(1, 5),
    st.lists(st.integers(1, 3), min_size=1, max_size=3),
)


@settings(max_examples=40, derandomize=True)
@given(SHAPES, st.integers(1, 3), st.integers(8, 26), st.integers(9, 24), st.integers(8, 26), st.integers(0, 2**32 - 1))
def test_sums_of_saturated_numbers_stay_within_their_proof_and_do_not_round(
    shapes: tuple[tuple[int, int, int], tuple[int, ...]], n_rows: int, qw: int, qa: int, qg: int, seed: int
) -> None:
    image, widths = shapes
    recipe = dataclasses.replace(CNN, image=image, widths=widths, batch_size=n_rows)
    numerics = Exact(weight_bits=qw, activation_bits=qa, gradient_bits=qg)
    assume(max(made.bits for made in proof(recipe, numerics, n_features=math.prod(image), n_outputs=2)) <= 53)
    ours, theirs, bits = saturated(recipe, numerics, n_rows, np.random.default_rng(seed))
    assert ours == theirs
    allowed = proved(recipe, numerics, 2)
    for (what, layer), used in bits.items():
        if what != "gradient" or layer < len(widths):
            assert used <= allowed[what, layer]


def test_saturated_sums_come_close_to_their_proof() -> None:
    """Else the test above would say little: the largest that can be is within a bit of the bound on it."""
    recipe = dataclasses.replace(CNN, image=(2, 6, 6), widths=(3, 3), batch_size=3)
    _, _, bits = saturated(recipe, Exact(), 3, None)
    allowed = proved(recipe, Exact(), 2)
    for what, layer in (("forwards", 0), ("gradient", 0), ("forwards", 1), ("gradient", 1), ("backwards", 1)):
        assert allowed[what, layer] - 1.0 < bits[what, layer] <= allowed[what, layer]


def test_sums_beyond_the_proof_do_round() -> None:
    recipe = dataclasses.replace(CNN, image=(2, 4, 4), widths=(3, 3), batch_size=3)
    numerics = Exact(weight_bits=30, activation_bits=30, gradient_bits=30)
    with pytest.raises(TaskFileError, match=r"got 6\d\.\d bits in layer 1"):
        check_sums(recipe, numerics, n_features=32, n_outputs=2)
    ours, theirs, _ = saturated(recipe, numerics, 3, np.random.default_rng(0))
    assert ours != theirs


def saturated(
    recipe: Sgd, numerics: Exact, n_rows: int, rng: np.random.Generator | None
) -> tuple[list[list[int]], list[list[int]], dict[tuple[str, int], float]]:
    """Sums where every weight, pixel and slope is as large as can be: signs drawn, or all one.

    Returned are scores, then gradients in 2^-22, ours and the literal implementation's, and its bits.
    """
    with pytest.MonkeyPatch.context() as patch:
        literal = literal_implementation(patch)
    bits: dict[tuple[str, int], float] = {}
    n_features, grids = math.prod(recipe.image), Grids(numerics)
    model = listening(literal, bits)(as_json(recipe), dataclasses.asdict(numerics), n_features, 2, 0)
    shapes = [tuple(parameter.shape) for parameter in network(recipe, n_features, 2, None).parameters()]

    def extreme(most: float, *shape: int) -> np.ndarray:
        return most * np.ones(shape) if rng is None else most * rng.choice([-1.0, 1.0], size=shape)

    weights = Blocks(shapes, 1, torch.float64, torch.device("cpu"))
    for block in weights.blocks:
        block.copy_(torch.from_numpy(extreme(2.0**3 - 2.0**-grids.weight.step_bits, *block.shape)))
    for k, layer in enumerate(model.layers):
        steps = [
            (block * 2.0**grids.weight.step_bits).flatten().tolist() for block in weights.blocks[2 * k : 2 * k + 2]
        ]
        layer.weights, layer.biases = ([int(step) for step in part] for part in steps)
    x, slopes = extreme(grids.activation.most, n_rows, n_features), extreme(grids.slope.most, 1, 2, n_rows)
    ours, theirs = ExactConvolutions(recipe, grids), []
    into = weights.like()
    ours.add_gradients(weights, torch.from_numpy(x), lambda scores: torch.from_numpy(slopes.copy()), into, 0.0)
    sums = [([0] * len(layer.weights), [0] * layer.outputs) for layer in model.layers]
    for row, slope in zip(x.tolist(), slopes[0].T.tolist(), strict=True):
        passed = model.forwards([int(value) for value in row])
        model.backwards(passed, [int(s) for s in slope], sums)
        theirs.append(passed[-1][1])
    for k, layer in enumerate(model.layers):
        for part, of_inputs in zip(sums[k], (True, False), strict=True):
            step = model.slope_grid(layer).step + model.activation.step * of_inputs
            for total in part if of_inputs else ():
                model.saw("gradient", k, total)
            theirs.append(in_velocity(part, step, rounded=layer.is_convolution))
    scores = grids.activation.round_(ours.scores(weights, torch.from_numpy(x)))[0].mT
    found = [[int(score) for score in row] for row in scores.tolist()]
    found += [[int(v * 2**30) for v in block.flatten().tolist()] for block in into.blocks]
    return found, theirs, bits


def in_velocity(sums: list[int], step: int, *, rounded: bool) -> list[int]:
    """Sums of a step in units of 2^-52, rounded to 2^-22 before where they are."""
    from fractions import Fraction

    values = [Fraction(total, 2**step) * 2**22 for total in sums]
    return [int((round(value) if rounded else value) * 2**30) for value in values]


def test_a_cnn_is_near_what_floating_point_trains() -> None:
    """Torch's own convolutions and autograd: that the exact network is that network."""
    recipe = dataclasses.replace(CNN, image=(2, 5, 6), widths=(3, 4), epochs=1)
    task, dataset = exact(recipe)
    floating = tasks.task_of(task.data, recipe)
    subsets, seeds = tasks.subsets_of(40, 5), np.zeros(5, dtype=np.int64)
    ours = Trainer(task, dataset).raw_outputs(subsets, seeds)
    theirs = Trainer(floating, dataset).raw_outputs(subsets, seeds)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=0.02)
    assert theirs.std() > 0.2


@pytest.mark.parametrize(("image", "widths"), [((1, 8, 8), (16, 32)), ((3, 9, 7), (2, 3, 4, 5)), ((2, 1, 6), (2, 3))])
def test_convolutions_are_those_of_the_network(image: tuple[int, int, int], widths: tuple[int, ...]) -> None:
    recipe = dataclasses.replace(CNN, image=image, widths=widths)
    seen: list[tuple[int, ...]] = []
    module = network(recipe, math.prod(image), 3, None)
    for layer in module.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda of, _, out: seen.append((of.in_channels, *out.shape[1:])))
    module(torch.zeros(1, *image))
    assert [(c.inputs, c.outputs, c.height, c.width) for c in convolutions(recipe)] == seen


@pytest.mark.parametrize(
    ("changes", "numerics", "message"),
    [
        ({"batch_size": 5000}, Exact(), r"5\d\.\d bits in the velocity of layer 1 \(2 to 3 channels of 4 x 4\), f"),
        ({"batch_size": 60, "image": (1, 16, 16)}, Exact(), r"53\.9 bits in layer 1 \(1 to 3 channels of 16 x 16\), g"),
        ({"widths": (3, 256)}, Exact(), r"got 53\.2 bits in layer 2 \(3 to 256 channels of 2 x 2\), backwards"),
        ({"widths": (3, 4)}, Exact(weight_bits=32), r"54\.2 bits in layer 1 \(2 to 3 channels of 4 x 4\), forwards"),
        ({}, Exact(weight_bits=8, gradient_bits=34, activation_bits=9), r"the mean over 2 x 2, its slopes"),
        (
            {"image": (1, 4096, 4096), "widths": (1,), "batch_size": 1},
            Exact(weight_bits=8, gradient_bits=8),
            r"bits in the mean over 4096 x 4096, times a pixel's share",
        ),
    ],
)  # fmt: skip
def test_a_cnn_that_could_need_more_than_53_bits_is_refused_when_made(
    changes: dict[str, Any], numerics: Exact, message: str
) -> None:
    recipe = dataclasses.replace(CNN, **changes)
    with pytest.raises(TaskFileError, match=message):
        check_sums(recipe, numerics, n_features=math.prod(recipe.image), n_outputs=3)
    if math.prod(recipe.image) < 1000:
        with pytest.raises(TaskFileError, match=message):
            exact(recipe, numerics=numerics)


def test_the_profile_proposed_is_the_widest_that_can_be() -> None:
    small = {"n_features": 64, "n_outputs": 10}
    assert widest(dataclasses.replace(CNN, image=(1, 8, 8), widths=(16, 32), batch_size=50), **small) == Exact()
    for image, widths, batch_size in (((3, 32, 32), (32, 64, 128), 64), ((1, 28, 28), (16, 512), 32)):
        recipe = dataclasses.replace(CNN, image=image, widths=widths, batch_size=batch_size)
        shape = {"n_features": math.prod(image), "n_outputs": 10}
        numerics = widest(recipe, **shape)
        check_sums(recipe, numerics, **shape)
        least = min(numerics.weight_bits - 20, numerics.activation_bits - 18, numerics.gradient_bits - 22)
        assert -4 <= least < 0
        for key in ("weight_bits", "activation_bits", "gradient_bits"):
            wider = getattr(numerics, key) + 1
            if wider <= getattr(Exact(), key):
                with pytest.raises(TaskFileError, match="bits in"):
                    check_sums(recipe, dataclasses.replace(numerics, **{key: wider}), **shape)


def test_where_no_profile_can_be_proposed_the_default_is_refused_by_name() -> None:
    recipe = dataclasses.replace(CNN, batch_size=1 << 24)
    numerics = widest(recipe, n_features=32, n_outputs=3)
    assert numerics == Exact()
    with pytest.raises(TaskFileError, match=r"bits in the velocity of layer 1 "):
        check_sums(recipe, numerics, n_features=32, n_outputs=3)


@pytest.mark.slow
def test_accuracy_on_digits_is_within_a_point_of_floating_point() -> None:
    recipe = dataclasses.replace(CNN, image=(1, 8, 8), widths=(16, 32), epochs=20, batch_size=50, learning_rate=0.03)
    recipe = dataclasses.replace(recipe, schedule=Schedule.LINEAR)  # steps that end small: a rounding is not amplified
    task, dataset = digits(recipe)
    subsets, seeds = tasks.subsets_of(1000, 8), np.zeros(8, dtype=np.int64)
    floating = (Trainer(task, dataset).raw_outputs(subsets, seeds) > 0).mean()
    numerics = widest(recipe, n_features=64, n_outputs=10)
    integers = (Trainer(dataclasses.replace(task, numerics=numerics), dataset).raw_outputs(subsets, seeds) > 0).mean()
    assert floating > 0.9
    assert abs(integers - floating) < 0.01


def digits(recipe: Sgd) -> tuple[Task, Dataset]:
    """The digits as whole images, constant pixels and all."""
    table = read_table("sklearn:digits")
    changes = {"source": "sklearn:digits", "target_column": "", "constant_columns": ConstantColumns.KEEP}
    data = tasks.data_of(table, 1000, 200, scaling=Scaling.RANGE, **changes)
    return tasks.task_of(data, recipe), split(table, data, UnitKind.ROW)


def test_a_pixels_share_is_of_20_bits() -> None:
    assert mean_share(16) == 1 / 16
    for pixels in (3, 49, 100):
        assert mean_share(pixels) != 1 / pixels
        assert abs(mean_share(pixels) * pixels - 1) < 2.0**-20
        fraction, _ = math.frexp(mean_share(pixels))
        assert fraction * 2**20 == round(fraction * 2**20)


def test_rows_that_are_no_images_of_that_size_are_refused() -> None:
    task, dataset = exact(CNN)
    narrow = dataclasses.replace(dataset, x_train=dataset.x_train[:, 1:], x_test=dataset.x_test[:, 1:])
    with pytest.raises(TaskFileError, match=r"recipe\.image: expected 31 values"):
        Trainer(task, narrow)
