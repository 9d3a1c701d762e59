"""The verifier's own trainings: the right subsets in the right order, whatever they are trained in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from protocol.encoding import Seed
from protocol.errors import DataError
from protocol.sampling import Draw, families
from protocol.session.effects import Train
from protocol.training import Outputs
from tests.verifier.market import Market
from verifier import retrain
from verifier.retrain import Retrainer

DRAW = Draw(seed=Seed(b"d" * 32), design=families(n_families=30, n_siblings=2, rho=0.5, complements=True))


class Counting:
    """The market's trainer, with what it was asked for."""

    def __init__(self, market: Market) -> None:
        self._trainer, self.sizes = market.trainer, []

    def outputs(self, subsets: np.ndarray, seeds: np.ndarray) -> Outputs:
        self.sizes.append(len(subsets))
        return self._trainer.outputs(subsets, seeds)


@pytest.mark.parametrize("cells", [1, 120 * 7, 1 << 26])
def test_outputs_do_not_depend_on_the_chunks(market: Market, monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    monkeypatch.setattr(retrain, "MASK_CELLS", cells)
    trainer, progress = Counting(market), []
    evaluations = np.array([1, 2, 3, 17, *range(40, 120)])
    again = Retrainer(market.task, trainer, market.dataset)
    outputs = again(Train(0, DRAW, evaluations), lambda done, total: progress.append((done, total)))
    np.testing.assert_allclose(outputs, market.outputs(DRAW, evaluations), rtol=0, atol=1e-10)
    assert sum(trainer.sizes) == len(evaluations)
    assert max(trainer.sizes) <= max(1, cells // market.task.n_units)
    assert progress[0] == (0, 84)
    assert progress[-1] == (84, 84)


def test_clipped_outputs_are_counted(market: Market) -> None:
    class Clipping:
        def outputs(self, subsets: np.ndarray, _seeds: np.ndarray) -> Outputs:
            return Outputs(values=np.zeros((len(subsets), 20)), n_clipped=len(subsets))

    again = Retrainer(market.task, Clipping(), market.dataset)
    again(Train(0, DRAW, np.arange(50)), lambda _done, _total: None)
    assert (again.n_outputs, again.n_clipped) == (1000, 50)


def test_a_pilot_takes_about_a_second_and_leaves_no_trace(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrain, "PILOT_S", 0.05)
    again = Retrainer(market.task, market.trainer, market.dataset)
    assert 0 < again.seconds_each() < 0.05
    assert (again.n_outputs, again.n_clipped) == (0, 0)


def test_data_are_checked_before_anything_is_trained(market: Market, tmp_path: Path) -> None:
    other = tmp_path / "rows.csv"
    other.write_text(market.data.read_text().replace("ann", "zoe", 1))
    with pytest.raises(DataError, match=r"expected digest"):
        retrain.prepare(market.task, data=other)
    assert retrain.prepare(market.task, data=market.data).dataset.n_units == market.task.n_units
