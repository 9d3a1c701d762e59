"""The options of the prover's commands, each documented once and shared by the commands that take it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

StoreDirectory: TypeAlias = Annotated[
    Path,
    typer.Option("--store", metavar="DIR", help="Directory that holds the prover's state; made if it is not there."),
]
DataFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="FILE", help="The task's data file. By default, where it was before, or beside the task file."
    ),
]
Device: TypeAlias = Annotated[
    str, typer.Option("--device", help="Where trainings run: cpu, cuda or cuda:1. Does not affect outputs.")
]
Devices: TypeAlias = Annotated[
    str,
    typer.Option(
        "--device",
        help="Where trainings run: cpu, cuda, cuda:1, several as cuda:0,cuda:1, or cuda:all. Does not affect outputs.",
    ),
]
EngineKind: TypeAlias = Annotated[
    str, typer.Option("--engine", help="Who trains: local, this machine; or ray, a cluster. Does not affect outputs.")
]
Workers: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--workers",
        help="Processes on device cpu, by default one; on a cluster, chunks at once, by default all it has room for.",
        show_default=False,
    ),
]
RayAddress: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        metavar="HOST:PORT",
        help="Head of a Ray cluster of your own, or auto. By default one is started on this machine.",
        show_default=False,
    ),
]
Threads: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        help="Processor threads of a worker; by default, all cores between them. Does not affect outputs.",
    ),
]
Factory: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--factory",
        metavar="MODULE:FUNCTION",
        help="Where the task's own network is imported from, if it has one; its source must have the task's digest.",
    ),
]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]
