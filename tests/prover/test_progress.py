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
