"""The verifier's own trainings: the right subsets in the right order, whatever they are trained in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from protocol.encoding import Seed
from protocol.errors import ArgumentError, DataError
from protocol.game.sampling import Draw, families
from protocol.recipes import Factory, Kernel, KernelKind, Loss, Network, Optimiser, Precision, Schedule, Sgd
from protocol.session.effects import Train
from protocol.training import ChunkSize, Outputs, chunks
from tests.verifier.market import Market
from verifier import retrain
from verifier.retrain import Retrainer

DRAW = Draw(seed=Seed(b"d" * 32), design=families(n_families=30, n_siblings=2, rho=0.5, complements=True))

SGD = Sgd(
    factory=Factory.MLP, factory_digest=b"", widths=(), image=(0, 0, 0), loss=Loss.CROSS_ENTROPY,
    optimiser=Optimiser.MOMENTUM, learning_rate=0.1, momentum=0.9, beta1=0.0, beta2=0.0, epsilon=0.0, weight_decay=0.0,
    schedule=Schedule.CONSTANT, warmup_steps=0, epochs=1, batch_size=10, precision=Precision.FP32, flips=False,
    crop_padding=0,
)  # fmt: skip


class Counting:
    """The market's trainer, with what it was asked for."""

    def __init__(self, market: Market) -> None:
        self._trainer, self.sizes = market.trainer, []

    def outputs(self, subsets: np.ndarray, seeds: np.ndarray) -> Outputs:
        self.sizes.append(len(subsets))
        return self._trainer.outputs(subsets, seeds)


@pytest.mark.parametrize("n_bytes", [1, 5000, 1 << 26])
def test_outputs_do_not_depend_on_the_chunks(market: Market, monkeypatch: pytest.MonkeyPatch, n_bytes: int) -> None:
    monkeypatch.setattr(chunks, "MAX_CHUNK_BYTES", n_bytes)
    trainer, progress = Counting(market), []
    evaluations = np.array([1, 2, 3, 17, *range(40, 120)])
    again = Retrainer(market.task, trainer, market.dataset, ChunkSize(market.task))
    outputs = again(Train(0, DRAW, evaluations), lambda done, total: progress.append((done, total)))
    np.testing.assert_allclose(outputs, market.outputs(DRAW, evaluations), rtol=0, atol=1e-10)
    assert sum(trainer.sizes) == len(evaluations)
    assert max(trainer.sizes) <= max(2, n_bytes // (market.task.n_units + 8 * market.task.n_targets))
    assert progress[0] == (0, 84)
    assert progress[-1] == (84, 84)


def test_clipped_outputs_are_counted(market: Market) -> None:
    class Clipping:
        def outputs(self, subsets: np.ndarray, _seeds: np.ndarray) -> Outputs:
            return Outputs(values=np.zeros((len(subsets), 20)), n_clipped=len(subsets))

    again = Retrainer(market.task, Clipping(), market.dataset, ChunkSize(market.task))
    again(Train(0, DRAW, np.arange(50)), lambda _done, _total: None)
    assert (again.n_outputs, again.n_clipped) == (1000, 50)


def test_a_pilot_takes_about_a_second_and_leaves_no_trace(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrain, "PILOT_S", 0.05)
    again = Retrainer(market.task, market.trainer, market.dataset, ChunkSize(market.task))
    assert 0 < again.seconds_each() < 0.05
    assert (again.n_outputs, again.n_clipped) == (0, 0)


def test_data_are_checked_before_anything_is_trained(market: Market, tmp_path: Path) -> None:
    other = tmp_path / "rows.csv"
    other.write_text(market.data.read_text().replace("ann", "zoe", 1))
    with pytest.raises(DataError, match=r"expected digest"):
        retrain.prepare(market.task, data=other)
    assert retrain.prepare(market.task, data=market.data).dataset.n_units == market.task.n_units


def test_code_is_asked_for_where_the_network_is_the_users_own(market: Market) -> None:
    custom = {"factory": Factory.CUSTOM, "factory_digest": bytes(32), "widths": (), "image": (0, 0, 0)}
    ours = {**custom, "factory": Factory.MLP, "factory_digest": b""}
    for network, own in ((custom, True), (ours, False)):
        tangent = Network(**network, seed=0)
        assert retrain.has_own_network(Kernel(kernel=KernelKind.NTK, l2=1.0, gamma=0.0, network=tangent)) is own
        assert retrain.has_own_network(replace(SGD, **network)) is own
    assert not retrain.has_own_network(Kernel(kernel=KernelKind.LINEAR, l2=1.0, gamma=0.0, network=None))
    assert not retrain.has_own_network(market.task.recipe)


def test_no_code_is_imported_for_a_task_that_asks_for_none(market: Market) -> None:
    with pytest.raises(ArgumentError, match=r"factory: expected none with this task, whose recipe ridge .*leave"):
        retrain.prepare(market.task, data=market.data, factory="nowhere:make")
