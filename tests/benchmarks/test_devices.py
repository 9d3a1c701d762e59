"""The benchmarks' instruments on a GPU, without one: which device they wait for and name, and what is run there."""

from __future__ import annotations

import pytest
import torch

from benchmarks import exact_training_costs_at_most_twice as exact
from benchmarks import many_models_are_ten_times_a_loop as perceptrons
from benchmarks import resnets_train_side_by_side as resnets

SECOND = "cuda:1"


def test_the_clock_waits_for_the_device_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[object] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: waited.append(device))
    assert perceptrons.seconds_of(lambda: waited.append("work"), SECOND) > 0
    assert waited == ["work", SECOND]


def test_the_device_that_works_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: f"the name of {device}")
    for table in (exact.report([], SECOND, 1.5), resnets.report([], SECOND, 512)):
        assert f"the name of {SECOND}" in str(table.title)
