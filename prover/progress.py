"""Progress bars on stderr, so that stdout carries results and nothing else."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_RATE_OVER_S = 600.0
"""A rate needs two chunks within this time; a chunk of large networks takes a minute."""


class Watcher(Protocol):
    """Told how far work has come."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Say that ``done`` of ``total`` steps of ``what`` are done; may be called as often as one likes."""
        ...


def unwatched(what: str, done: int, total: int) -> None:
    """Be a :class:`Watcher` that does not look."""


class Bars:
    """A :class:`Watcher` that shows one bar for each thing that takes a while, with its rate and time left.

    Parameters
    ----------
    shown : bool
        False keeps silent, and so does a stderr that is no terminal.
    """

    def __init__(self, *, shown: bool = True) -> None:
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn(),
        )  # fmt: skip
        console = Console(stderr=True)
        # Where nobody watches, a bar that vanishes would still leave an empty line.
        self._progress = Progress(
            *columns,
            console=console,
            transient=True,
            disable=not (shown and console.is_terminal),
            speed_estimate_period=_RATE_OVER_S,
        )
        self._bars: dict[str, TaskID] = {}
        self._done: dict[str, int] = {}
        self._now = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show how far ``what`` has come; one that goes back, or that another came between, begins anew.

        Work takes turns: what gives way to another is at its end, however many steps it might have had.
        """
        if self._now != what and self._now in self._bars:
            self._progress.update(self._bars[self._now], total=self._done[self._now])
        if what not in self._bars:
            self._bars[what] = self._progress.add_task(what, total=total, completed=done)
        elif self._now != what or done < self._done[what]:  # or its rate would be over the time of others, too
            self._progress.reset(self._bars[what], total=total, completed=done)
        else:
            self._progress.update(self._bars[what], completed=done, total=total)
        self._now, self._done[what] = what, done


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.1f}/s", style="dim")
