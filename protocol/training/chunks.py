"""How many subsets are asked for at once: the same for both parties. Refuses to look at a clock.

Chunks grow until one takes about ``CHUNK_S``: long enough that what is done after each costs nothing,
short enough that little is lost to a kill and that a progress bar moves. They grow on, to ``LONGEST_S``,
while twice as many at once make each cheaper by a tenth: many small models cost a GPU hardly more than
one. How many of a chunk are in memory at once is the trainer's business. Nothing here affects outputs.
"""

from __future__ import annotations

import math

from protocol.task import Task

CHUNK_S = 0.5
LONGEST_S = 20.0
GAIN = 0.1
"""Share of a training's seconds that twice as many at once must save to be worth a longer chunk."""

FIRST_CHUNK = 16
MAX_CHUNK = 4096
MAX_CHUNK_BYTES = 1 << 26
"""Of a chunk's subsets, a byte a unit, and outputs, 8 bytes a target; the trainer's own memory comes on top."""


class ChunkSize:
    """How large the next chunk is; where there are several workers, one's is all of them's."""

    def __init__(self, task: Task) -> None:
        self._largest = min(MAX_CHUNK, max(MAX_CHUNK_BYTES // (task.n_units + 8 * task.n_targets), 2))
        self._next = min(FIRST_CHUNK, self._largest)
        self._each_s = math.inf  # of a training, in chunks half as large as the next

    @property
    def next(self) -> int:
        """Subsets of the next chunk, at least 2."""
        return self._next

    def took(self, n: int, seconds: float) -> None:
        """Learn that a chunk of n took so long; only one as large as they come says anything about larger ones."""
        if n < self._next:
            return
        each_s = seconds / n
        pays = each_s <= (1 - GAIN) * self._each_s
        if n < self._largest and (seconds < CHUNK_S / 2 or (pays and seconds < LONGEST_S / 2)):
            self._next, self._each_s = min(2 * n, self._largest), each_s
        elif n > FIRST_CHUNK and not pays and seconds > CHUNK_S and self._each_s > 0:
            self._next, self._each_s = n // 2, 0.0  # and does not try again
