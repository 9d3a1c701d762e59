"""The naive twin of recipe ``sgd``: torch's own modules, autograd and optimisers, one model at a time.

A batch holds only the rows that are in; nothing is weighted, stacked or written out by hand.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from protocol.game.sampling import augmentations, initial_weights, row_order
from protocol.recipes import Loss, Optimiser, Schedule, Sgd
from protocol.task import Task
from protocol.training import Dataset
from protocol.training.descent.networks import network
from protocol.training.descent.rounding import Rounding


def plain_scores(task: Task, dataset: Dataset, subset: np.ndarray, seed: int) -> np.ndarray:
    """Scores at the target rows, shape (q, C), of one model trained on the rows of ``subset``."""
    recipe = task.recipe
    assert isinstance(recipe, Sgd)
    x, y, mean, scale = _numbers(task, dataset)
    model = begun(recipe, x.shape[1], task.data.n_classes or 1, seed)
    optimiser = _optimiser(recipe, model)
    inside = subset[dataset.unit_of_row]
    n, size, step = len(x), recipe.batch_size, 0
    n_steps = recipe.epochs * math.ceil(n / size)
    for epoch in range(recipe.epochs):
        order = row_order(seed, epoch, n)
        moves = augmentations(seed, epoch, n, recipe.crop_padding)
        for start in range(0, n, size):
            rows = order[start : start + size]
            rows = rows[inside[rows]]
            for group in optimiser.param_groups:
                group["lr"] = recipe.learning_rate * factor(recipe, step, n_steps)
            step += 1
            if len(rows):
                optimiser.zero_grad()
                images = torch.stack([_moved(recipe, x[row], moves[row]) for row in rows.tolist()])
                with Rounding(recipe.precision):
                    _loss(recipe, model(images), y[rows]).backward()
                optimiser.step()
    with torch.no_grad(), Rounding(recipe.precision):
        targets = torch.tensor(dataset.x_test[list(task.targets.rows)]).to(torch.float32)
        return (model(_shaped(recipe, targets)).double() * scale + mean).numpy()


def begun(recipe: Sgd, n_features: int, n_outputs: int, seed: int) -> nn.Module:
    """The network where its training begins."""
    model = network(recipe, n_features, n_outputs, None)
    with torch.no_grad():
        for j, (name, parameter) in enumerate(model.named_parameters()):
            if parameter.ndim < 2:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
                continue
            bound = math.sqrt(6 / (parameter.numel() // len(parameter)))
            first = bound * initial_weights(seed, j, parameter.numel())
            parameter.copy_(torch.tensor(first).view_as(parameter))
    return model


def factor(recipe: Sgd, step: int, n_steps: int) -> float:
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    t = (step - recipe.warmup_steps) / (n_steps - recipe.warmup_steps)
    return {Schedule.CONSTANT: 1.0, Schedule.COSINE: 0.5 + 0.5 * math.cos(math.pi * t), Schedule.LINEAR: 1 - t}[
        recipe.schedule
    ]


def _numbers(task: Task, dataset: Dataset) -> tuple[Tensor, Tensor, float, float]:
    x = torch.tensor(dataset.x_train).to(torch.float32)
    if task.data.n_classes:
        return x, torch.tensor(dataset.y_train), 0.0, 1.0
    mean, scale = float(dataset.y_train.mean()), float(dataset.y_train.std())
    return x, torch.tensor((dataset.y_train - mean) / scale).to(torch.float32), mean, scale


def _optimiser(recipe: Sgd, model: nn.Module) -> torch.optim.Optimizer:
    if recipe.optimiser is Optimiser.MOMENTUM:
        return torch.optim.SGD(model.parameters(), lr=1.0, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    betas = (recipe.beta1, recipe.beta2)
    return torch.optim.AdamW(
        model.parameters(), lr=1.0, betas=betas, eps=recipe.epsilon, weight_decay=recipe.weight_decay
    )


def _loss(recipe: Sgd, scores: Tensor, y: Tensor) -> Tensor:
    if recipe.loss is Loss.CROSS_ENTROPY:
        return nn.functional.cross_entropy(scores, y)
    if scores.shape[1] == 1:
        return ((scores[:, 0] - y) ** 2).mean()
    signs = -torch.ones_like(scores)
    signs[torch.arange(len(y)), y] = 1.0
    if recipe.loss is Loss.SQUARED:
        return ((scores - signs) ** 2).sum(dim=1).mean()
    return (torch.relu(1 - signs * scores) ** 2).sum(dim=1).mean()


def _shaped(recipe: Sgd, rows: Tensor) -> Tensor:
    return rows.view(-1, *recipe.image) if recipe.is_image else rows


def _moved(recipe: Sgd, row: Tensor, move: np.ndarray) -> Tensor:
    """One image cut out of itself with zeros around, then mirrored."""
    if not recipe.is_image:
        return row
    image, padding = row.view(*recipe.image), recipe.crop_padding
    _, height, width = image.shape
    wide = torch.zeros(image.shape[0], height + 2 * padding, width + 2 * padding)
    wide[:, padding : padding + height, padding : padding + width] = image
    mirrored, down, across = move.tolist()
    cut = wide[:, down : down + height, across : across + width]
    return cut.flip(2) if recipe.flips and mirrored else cut
