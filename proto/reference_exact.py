"""A second implementation of exact training, written from the text of proto/SPEC.md, section 12.

One model at a time, in Python's integers: a number is how many of its steps it is. A layer, dense
or a convolution, is the list of its sums, each the places of its weights and of its inputs.
"""

# ruff: noqa: D102, D103 - SPEC.md says what each computes

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

from reference import Json, require, same, training_draws

Numbers = list[int]
Passed = tuple[Numbers, Numbers]


def significant(value: float, bits: int) -> Fraction:
    """Return a number rounded to so many significant bits."""
    if not value:
        return Fraction(0)
    step = Fraction(2) ** (math.frexp(value)[1] - bits)
    return round(Fraction(value) / step) * step


@dataclass
class Grid:
    """Multiples of 2^-step of magnitude below 2^reach; no reach where nothing saturates."""

    reach: int | None
    step: int

    def of(self, value: Fraction) -> int:
        steps = round(value * 2**self.step)
        if self.reach is None:
            return steps
        most = 2 ** (self.reach + self.step) - 1
        return max(-most, min(most, steps))

    def value(self, steps: int) -> Fraction:
        return Fraction(steps, 2**self.step)


@dataclass
class Layer:
    """Sums: for each its channel and its pairs of a weight's place and an input's. fan_in : terms of a sum.

    positions : P. before : of a convolution, the pixels whose mean an input is, or none for the pixel itself.
    """

    sums: list[tuple[int, list[tuple[int, int]]]]
    fan_in: int
    outputs: int
    positions: int
    is_convolution: bool
    means: list[list[int]] | None
    weights: Numbers = field(default_factory=list)
    biases: Numbers = field(default_factory=list)
    speeds: Passed = ([], [])

    @property
    def finer(self) -> int:
        return self.positions.bit_length() - 1 if self.is_convolution else 0


def convolution(inputs: int, outputs: int, height: int, width: int, means: list[list[int]] | None) -> Layer:
    sums = []
    for o in range(outputs):
        for y in range(height):
            for x in range(width):
                terms = [
                    (((o * inputs + c) * 3 + dy) * 3 + dx, (c * height + y + dy - 1) * width + x + dx - 1)
                    for c in range(inputs)
                    for dy in range(3)
                    for dx in range(3)
                    if 0 <= y + dy - 1 < height and 0 <= x + dx - 1 < width
                ]
                sums.append((o, terms))
    return Layer(sums, 9 * inputs, outputs, height * width, True, means)  # noqa: FBT003


def dense(inputs: int, outputs: int, means: list[list[int]] | None) -> Layer:
    sums = [(o, [(o * inputs + i, i) for i in range(inputs)]) for o in range(outputs)]
    return Layer(sums, inputs, outputs, 1, False, means)  # noqa: FBT003


def network(recipe: Json, n_features: int, n_outputs: int) -> list[Layer]:
    image = recipe["image"]
    require(image == [0, 0, 0] or math.prod(image) == n_features, f"image: expected {n_features} values")
    if recipe["factory"] == "mlp":
        widths = [n_features, *recipe["widths"], n_outputs]
        return [dense(widths[k], widths[k + 1], None) for k in range(len(widths) - 1)]
    same(recipe["factory"], "cnn", "factory")
    layers: list[Layer] = []
    channels, height, width = image
    for outputs in recipe["widths"]:
        fours = None
        if layers and min(height, width) >= 2:
            fours = [
                [(c * height + 2 * y + dy) * width + 2 * x + dx for dy in range(2) for dx in range(2)]
                for c in range(channels)
                for y in range(height // 2)
                for x in range(width // 2)
            ]
            height, width = height // 2, width // 2
        layers.append(convolution(channels, outputs, height, width, fours))
        channels = outputs
    pixels = height * width
    return [*layers, dense(channels, n_outputs, [list(range(c * pixels, (c + 1) * pixels)) for c in range(channels)])]


class Model:
    """One model: where it begins, its steps, its scores."""

    def __init__(self, recipe: Json, numerics: Json, n_features: int, n_outputs: int, seed: int) -> None:
        self.recipe, self.seed = recipe, seed
        self.weight = Grid(3, numerics["weight_bits"] - 3)
        self.activation = Grid(8, numerics["activation_bits"] - 8)
        self.gradient_bits = numerics["gradient_bits"]
        self.velocity = Grid(None, 22)
        self.momentum = min(Fraction(round(Fraction(recipe["momentum"]) * 256), 256), Fraction(255, 256))
        self.decay = significant(recipe["weight_decay"], 10)
        self.layers = network(recipe, n_features, n_outputs)
        for k, layer in enumerate(self.layers):
            n = layer.outputs * layer.fan_in
            draws = training_draws(seed, 2 * k, n, 0)["weights"]
            bound = math.sqrt(6.0 / layer.fan_in)
            layer.weights = [self.weight.of(Fraction(bound * draw)) for draw in draws]
            layer.biases = [0] * layer.outputs
            layer.speeds = [0] * n, [0] * layer.outputs

    def saw(self, what: str, layer: int, total: int) -> None:
        """Hear of a sum, in units of its step; for who wants to know how large they grow."""

    def slope_grid(self, layer: Layer) -> Grid:
        return Grid(2 - layer.finer, self.gradient_bits - 2 + layer.finer)

    def mean(self, values: Numbers, places: list[int], layer: Layer) -> int:
        total = sum(values[i] for i in places)
        return self.activation.of(self.activation.value(total) * self.share_of(layer, len(places)))

    @staticmethod
    def share_of(layer: Layer, pixels: int) -> Fraction:
        return Fraction(1, 4) if layer.is_convolution else significant(1 / pixels, 20)

    def forwards(self, x: Numbers) -> list[Passed]:
        """Return each layer's inputs and values."""
        passed, values = [], x
        unit = self.weight.step + self.activation.step
        for k, layer in enumerate(self.layers):
            inputs = values if layer.means is None else [self.mean(values, places, layer) for places in layer.means]
            values = []
            for o, terms in layer.sums:
                total = layer.biases[o] * 2**self.activation.step + sum(layer.weights[j] * inputs[i] for j, i in terms)
                self.saw("forwards", k, total)
                value = self.activation.of(Fraction(total, 2**unit))
                values.append(value if k == len(self.layers) - 1 else max(value, 0))
            passed.append((inputs, values))
        return passed

    def backwards(self, passed: list[Passed], slopes: Numbers, sums: list[Passed]) -> None:
        """Add a row's products of slopes and inputs to each layer's sums."""
        for k in range(len(self.layers) - 1, -1, -1):
            layer, (inputs, _) = self.layers[k], passed[k]
            of_weights, of_biases = sums[k]
            back = [0] * len(inputs)
            for (o, terms), slope in zip(layer.sums, slopes, strict=True):
                of_biases[o] += slope
                for j, i in terms:
                    of_weights[j] += slope * inputs[i]
                    back[i] += slope * layer.weights[j]
            if k:
                for total in back:
                    self.saw("backwards", k, total)
                slopes = self.below(k, back, passed[k - 1][1])

    def below(self, k: int, back: Numbers, values: Numbers) -> Numbers:
        """Return the slopes in the sums of the layer below, from those in this one's inputs."""
        layer, own, grid = self.layers[k], self.slope_grid(self.layers[k]), self.slope_grid(self.layers[k - 1])
        unit = 2 ** (self.weight.step + own.step)
        slopes = [Fraction(total, unit) for total in back]
        if layer.means is not None:
            if not layer.is_convolution:
                slopes = [own.value(own.of(slope)) for slope in slopes]
            spread = [Fraction(0)] * len(values)
            for slope, places in zip(slopes, layer.means, strict=True):
                for place in places:
                    spread[place] = slope * self.share_of(layer, len(places))
            slopes = spread
        return [grid.of(slope) if value else 0 for slope, value in zip(slopes, values, strict=True)]

    def slope(self, score: int, aim: int, share: Fraction) -> int:
        s, a = self.activation.value(score), self.activation.value(aim)
        slope = {"squared": s - a, "squared-hinge": -a * max(Fraction(0), 1 - a * s)}[self.recipe["loss"]]
        return self.slope_grid(self.layers[-1]).of(2 * share * slope)

    def step(self, rows: list[Numbers], aims: list[Numbers], rate: Fraction) -> None:
        share = Fraction(round(Fraction(2**20, len(rows))), 2**20)
        sums = [([0] * len(layer.weights), [0] * layer.outputs) for layer in self.layers]
        for x, aim in zip(rows, aims, strict=True):
            passed = self.forwards(x)
            self.backwards(passed, [self.slope(s, a, share) for s, a in zip(passed[-1][1], aim, strict=True)], sums)
        for k, layer in enumerate(self.layers):
            step = self.slope_grid(layer).step
            for j, total in enumerate(sums[k][0]):
                self.saw("gradient", k, total)
                gradient = Fraction(total, 2 ** (step + self.activation.step))
                self.move(k, layer.weights, layer.speeds[0], j, gradient, rate)
            for j, total in enumerate(sums[k][1]):
                self.move(k, layer.biases, layer.speeds[1], j, Fraction(total, 2**step), rate)

    def move(self, k: int, weights: Numbers, speeds: Numbers, j: int, gradient: Fraction, rate: Fraction) -> None:
        if self.layers[k].is_convolution:
            gradient = self.velocity.value(self.velocity.of(gradient))
        total = self.momentum * self.velocity.value(speeds[j]) + gradient
        self.saw("velocity", k, round(total * 2 ** max(30, self.gradient_bits - 2 + self.activation.step)))
        weight = self.weight.value(weights[j])
        if self.decay:
            total = Fraction(float(total + self.decay * weight))
        speeds[j] = self.velocity.of(total)
        weights[j] = self.weight.of(weight - rate * self.velocity.value(speeds[j]))

    def rate(self, step: int, n_steps: int) -> Fraction:
        recipe = self.recipe
        first, rate = recipe["warmup_steps"], recipe["learning_rate"]
        if step < first:
            rate = rate * (step + 1) / first
        elif recipe["schedule"] == "linear":
            rate *= 1 - (step - first) / max(n_steps - first, 1)
        else:
            same(recipe["schedule"], "constant", "schedule")
        return significant(rate, 10)

    def moved(self, x: Numbers, move: list[int]) -> Numbers:
        """Return an image cut out of itself with zeros around, then mirrored."""
        channels, height, width = self.recipe["image"]
        mirror, down, across = move
        padding = self.recipe["crop_padding"]
        found = []
        for c in range(channels):
            for y in range(height):
                row = []
                for column in range(width):
                    to_y, to_x = y + down - padding, column + across - padding
                    inside = 0 <= to_y < height and 0 <= to_x < width
                    row.append(x[(c * height + to_y) * width + to_x] if inside else 0)
                found += row[::-1] if mirror and self.recipe["flips"] else row
        return found

    def train(self, rows: list[Numbers], aims: list[Numbers], inside: list[int]) -> None:
        recipe, n, size = self.recipe, len(rows), self.recipe["batch_size"]
        n_steps = recipe["epochs"] * -(-n // size)
        step = 0
        for epoch in range(recipe["epochs"]):
            draws = training_draws(self.seed, epoch, n, recipe["crop_padding"])
            for start in range(0, n, size):
                chosen = [row for row in draws["order"][start : start + size] if inside[row]]
                rate = self.rate(step, n_steps)
                step += 1
                batch = [rows[row] for row in chosen]
                if recipe["flips"] or recipe["crop_padding"]:
                    batch = [self.moved(rows[row], draws["augmentations"][row]) for row in chosen]
                if chosen:
                    self.step(batch, [aims[row] for row in chosen], rate)


def aims_of(labels: list[float], n_classes: int) -> tuple[list[list[Fraction]], float, float]:
    """Return what each row's scores are trained towards, and a regression's mean and deviation."""
    if n_classes:
        return [[Fraction(1 if c == label else -1) for c in range(n_classes)] for label in labels], 0.0, 1.0
    mean = math.fsum(labels) / len(labels)
    deviation = math.sqrt(math.fsum((label - mean) * (label - mean) for label in labels) / len(labels))
    return [[Fraction((label - mean) / (deviation or 1.0))] for label in labels], mean, deviation


def case_rows(case: Json) -> tuple[list[list[float]], list[float]]:
    """Return a vector's rows, and its labels: numbers from ``weights`` of its data seed, a row's index its own."""
    rows = [training_draws(case["data_seed"], i, case["n_features"], 0)["weights"] for i in range(case["n_rows"])]
    if case["n_classes"]:
        return rows, [i % case["n_classes"] for i in range(case["n_rows"])]
    return rows, [8.0 * row[0] + row[-1] for row in rows]


def scores(case: Json, model: type[Model] = Model) -> list[list[float]]:
    """Return a vector's scores at all rows after training on those that are in."""
    recipe = case["recipe"]
    for key, bits in (("learning_rate", 10), ("weight_decay", 10), ("momentum", 8)):
        require(significant(recipe[key], bits) == Fraction(recipe[key]), f"{key}: expected {bits} bits")
    require(all(inside in (0, 1) for inside in case["inside"]) and len(case["inside"]) == case["n_rows"], "inside")
    features, labels = case_rows(case)
    trained = model(recipe, case["numerics"], case["n_features"], case["n_classes"] or 1, case["training_seed"])
    rows = [[trained.activation.of(Fraction(value)) for value in row] for row in features]
    aims, mean, deviation = aims_of(labels, case["n_classes"])
    trained.train(rows, [[trained.activation.of(aim) for aim in row] for row in aims], case["inside"])
    found = [trained.forwards(x)[-1][1] for x in rows]
    return [[float(trained.activation.value(score)) * deviation + mean for score in row] for row in found]
