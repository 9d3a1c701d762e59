"""Progress bars on stderr, so that stdout carries the result and nothing else.

One bar for each thing that takes a while, in the order in which they began; gone when all is done.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from verifier.loop import Progressed


class Bars:
    """Shows what :class:`~verifier.loop.Progressed` events say.

    Parameters
    ----------
    shown : bool
        False keeps silent, as does a stderr that is no terminal.
    """

    def __init__(self, *, shown: bool) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        console = Console(stderr=True)
        silent = not (shown and console.is_terminal)  # a log has no use for bars that move
        self._progress = Progress(*columns, console=console, transient=True, disable=silent)
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, event: Progressed) -> None:
        """Show how far ``event.what`` has come; a total of 0 is one not known yet."""
        bar = self._bars.get(event.what)
        total = event.total or None
        if bar is None:
            self._bars[event.what] = self._progress.add_task(event.what, total=total, completed=event.done)
        elif event.done == 0:  # a later look begins anew
            self._progress.reset(bar, total=total)
        else:
            self._progress.update(bar, completed=event.done, total=total)
