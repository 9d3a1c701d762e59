"""Progress bars: a rate and the time left, however slow a chunk is."""

from __future__ import annotations

import pytest

from prover.progress import Bars


@pytest.mark.parametrize("chunk_s", [0.5, 60.0])
def test_the_time_left_is_known_after_a_few_chunks(chunk_s: float) -> None:
    now = 0.0
    bars = Bars(shown=False)
    bars._progress.get_time = lambda: now
    for k in range(4):
        now = k * chunk_s
        bars("training", 100 * k, 1000)
    task = bars._progress.tasks[0]
    assert task.speed == pytest.approx(100 / chunk_s)
    assert task.time_remaining == pytest.approx(7 * chunk_s, abs=1)


def test_a_rate_counts_no_time_of_other_work_and_what_gave_way_is_at_its_end() -> None:
    now = 0.0
    bars = Bars(shown=False)
    bars._progress.get_time = lambda: now
    for k in range(4):
        now = float(k)
        bars("training", 100 * k, 300)
    for k in range(4):
        now = 1000.0 + 500.0 * k
        bars("fitting", k, 15)
    for k in range(4):
        now = 9000.0 + k
        bars("training", 300 + 50 * k, 1000)
    training, fitting = bars._progress.tasks
    assert training.speed == pytest.approx(50)
    assert training.time_remaining == pytest.approx(11)
    assert (fitting.completed, fitting.total, fitting.finished) == (3, 3, True)
    now = 20_000.0
    bars("fitting", 1, 15)
    assert (fitting.completed, fitting.total, fitting.finished) == (1, 15, False)
