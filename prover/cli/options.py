"""The options of the prover's commands, each documented once and shared by the commands that take it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from prover.engines.choice import Choice

_WHERE = "Where trainings run"

StoreDirectory: TypeAlias = Annotated[
    Path,
    typer.Option("--store", metavar="DIR", help="Directory that holds the prover's state; made if it is not there."),
]
StoreThere: TypeAlias = Annotated[
    Path, typer.Option("--store", metavar="DIR", help="Directory that holds the prover's state, from train or import.")
]
DataFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="FILE",
        help="The task's data file. By default, where it was when the store was last used, or beside the task file.",
    ),
]
DataOfStore: TypeAlias = Annotated[
    Path | None, typer.Option("--data", metavar="FILE", help="The task's data file. By default, where it was before.")
]
Device: TypeAlias = Annotated[
    str,
    typer.Option(
        "--device", help="Where trainings run: cpu, cuda or cuda:1. Does not affect outputs.", rich_help_panel=_WHERE
    ),
]
Threads: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        help="Processor threads of a worker; by default, all cores between them. Does not affect outputs.",
        rich_help_panel=_WHERE,
    ),
]
Factory: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--factory",
        metavar="MODULE:FUNCTION",
        help="Where the task's own network is imported from, if it has one; its source must have the task's digest.",
        rich_help_panel=_WHERE,
    ),
]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]


def given(context: typer.Context) -> frozenset[str]:
    """Return the names of a command's arguments that the user typed, those typed at their defaults included."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return frozenset(name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE")


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where trainings run, and with what network of the user's own; see ``prover.engines.choice``."""

    engine: Annotated[
        str,
        typer.Option(
            help="Who trains: local, this machine; or ray, a cluster. Does not affect outputs.", rich_help_panel=_WHERE
        ),
    ] = "local"
    device: Annotated[
        str,
        typer.Option(
            help="Where trainings run: cpu, cuda, cuda:1, several as cuda:0,cuda:1, or cuda:all. "
            "Does not affect outputs.",
            rich_help_panel=_WHERE,
        ),
    ] = "cpu"
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes on device cpu, by default one; on a cluster, chunks trained at once, by default as many as "
            "fit.",
            show_default=False,
            rich_help_panel=_WHERE,
        ),
    ] = None
    threads: Threads = None
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Head of a Ray cluster of your own, or auto. By default one is started on this machine.",
            show_default=False,
            rich_help_panel=_WHERE,
        ),
    ] = None
    factory: Factory = None

    @property
    def choice(self) -> Choice:
        """The engine that this means. Raises ArgumentError where the options do not go together."""
        from prover.engines.choice import Choice  # loads torch

        return Choice(
            kind=self.engine, device=self.device, workers=self.workers, threads=self.threads, address=self.ray_address,
            factory=self.factory,
        )  # fmt: skip
