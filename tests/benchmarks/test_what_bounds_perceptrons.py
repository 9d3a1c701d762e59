"""The profile of the perceptrons' work: every operation is counted once, and products at what they multiply."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks import what_bounds_perceptrons as bounds
from benchmarks.many_models_are_ten_times_a_loop import RECIPE, model_gflop, sgd_task
from protocol.training import Trainer


@pytest.fixture(autouse=True)
def _every_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "LEAST_SHARE", 0.0)


def test_products_are_told_apart_by_their_operands_and_counted_by_what_they_multiply() -> None:
    a, b, many = torch.rand(40, 30), torch.rand(30, 50), torch.rand(7, 40, 30)

    def work() -> None:
        for _ in range(3):
            torch.mm(a, b)
            torch.zeros(40, 50).addmm_(a, b)
            torch.bmm(many, many.mT)
            a.relu()

    parts = {part.name: part for part in bounds.parts_of(work, "cpu", 4.0, 2)}
    assert sum(part.ms for part in parts.values()) == pytest.approx(4.0)
    assert "relu" in parts or "clamp_min" in parts
    for name, flops in (
        ("(40 x 30) (30 x 50)", 6 * 2 * 40 * 30 * 50),
        ("7 of (40 x 30) (30 x 40)", 3 * 14 * 30 * 1600),
    ):
        assert 1e6 * parts[name].gflops * parts[name].ms == pytest.approx(flops / 2)


def test_the_profile_has_all_operations_of_the_training_and_of_no_other_work() -> None:
    task, dataset = sgd_task(RECIPE)
    trainer = Trainer(task, dataset, batch_size=2)
    subsets, seeds = np.random.default_rng(0).random((2, task.n_units)) < 0.5, np.zeros(2, dtype=np.int64)
    parts = bounds.parts_of(lambda: trainer.raw_outputs(subsets, seeds), "cpu", 1.0, 2)
    gflop = 1e-3 * sum(part.gflops * part.ms for part in parts)
    scoring = 2e-9 * 200 * (61 * 32 + 32 * 10)
    assert gflop == pytest.approx(model_gflop(1000, 61) + scoring, rel=1e-6)


def test_the_least_bytes_are_those_of_the_operations_written_out() -> None:
    f, h, c, b = 61, RECIPE.widths[0], 10, RECIPE.batch_size
    reads_and_writes = [
        f * h + b * h,  # scores of the hidden layer
        2 * b * h,  # cut at 0
        c * h + b * h + b * c,  # scores
        2 * b * c,  # their slopes
        b * c, b * c + b * h + 2 * c * h,  # onto the velocity of the second layer: biases, weights
        c * h + b * c + b * h, 3 * b * h,  # slopes of the hidden layer, cut
        b * h, b * h + 2 * f * h,  # onto the velocity of the first
        3 * (f * h + c * h),  # the step
    ]  # fmt: skip
    assert bounds.least_bytes(f) == 4 * sum(reads_and_writes)
