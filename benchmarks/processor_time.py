"""Processor time of a process and of all that it started: what work costs, however busy the machine is. Linux alone."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What work took. wall_s : on the wall's clock. core_s : of processors, all processes together."""

    wall_s: float
    core_s: float

    def each(self, n: int) -> Taken:
        """Return what one of ``n`` took."""
        return Taken(wall_s=self.wall_s / n, core_s=self.core_s / n)


class Stopwatch:
    """Both clocks from here on, for the process ``pid`` and its descendants that live at the end."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._core_s, self._wall_s = processor_seconds(pid), time.perf_counter()

    def read(self) -> Taken:
        """Return what was taken since the start."""
        wall_s = time.perf_counter() - self._wall_s
        return Taken(wall_s=wall_s, core_s=processor_seconds(self._pid) - self._core_s)


def processor_seconds(pid: int) -> float:
    """Return the seconds of processor that a process and its descendants, where they live, have had so far."""
    children: dict[int, list[int]] = defaultdict(list)
    seconds: dict[int, float] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()  # from the third on: a name may hold anything
        except OSError:
            continue  # it ended meanwhile
        children[int(fields[1])].append(int(stat.parent.name))
        seconds[int(stat.parent.name)] = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    total, family = 0.0, [pid]
    while family:
        member = family.pop()
        total += seconds.get(member, 0.0)
        family += children[member]
    return total
