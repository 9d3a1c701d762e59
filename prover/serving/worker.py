"""The one thread that trains answers: one piece of work at a time, a bounded queue before it.

Owns the thread. Refuses to know what the work is: it looks after its own failures, and leaves off at the next chunk
when :attr:`Worker.is_stopping` says so.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from protocol.errors import Reason, Refused

logger = logging.getLogger(__name__)

Work: TypeAlias = Callable[[], None]


class Worker:
    """Does what it is given, in order.

    Parameters
    ----------
    max_queued : most pieces of work that wait or are under way.
    """

    def __init__(self, max_queued: int) -> None:
        self._max_queued, self._n_places = max_queued, 0
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="answers", daemon=True)
        self._thread.start()

    @property
    def is_stopping(self) -> bool:
        """Whether the work under way must leave off."""
        return self._stopping.is_set()

    @contextmanager
    def place(self) -> Iterator[Callable[[Work], None]]:
        """Hold a place in the queue and give what fills it; a place that was not filled is free again.

        So that what must be written down between the two is written for work that will be done.

        Raises
        ------
        Refused
            As busy: every place is taken.
        """
        with self._lock:
            if self._n_places >= self._max_queued:
                raise Refused(
                    f"expected at most {self._max_queued} challenges under way, got one more; try again later",
                    Reason.BUSY,
                )
            self._n_places += 1
        is_filled = False

        def fill(work: Work) -> None:
            nonlocal is_filled
            is_filled = True
            self._queue.put(work)

        try:
            yield fill
        finally:
            if not is_filled:
                self._leave()

    def stop(self, grace_s: float) -> bool:
        """Start nothing more and wait for the work under way; return whether it left off in time."""
        self._stopping.set()
        self._queue.put(None)
        self._thread.join(grace_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (work := self._queue.get()) is not None and not self.is_stopping:
            try:
                work()
            except Exception:  # the thread outlives a bug in one session's work
                logger.exception("work on an answer failed")
            finally:
                self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._n_places -= 1
