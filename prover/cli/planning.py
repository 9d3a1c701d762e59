"""``prover plan``: what a campaign would cost, before it runs."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from prover import inputs
from prover.cli import options
from prover.cli.app import say
from prover.progress import Bars

if TYPE_CHECKING:
    from protocol.task import Task
    from prover.planning import Expectation
    from prover.store import Store


def plan(
    task_file: Annotated[Path, typer.Argument(metavar="TASK", help="A task file, from prover init.")],
    where: options.Where,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store",
            metavar="DIR",
            help="The store of a campaign in progress: plan the remaining work from its retrainings.",
        ),
    ] = None,
    data: options.DataFile = None,
    gap: Annotated[
        list[float] | None,
        typer.Option(
            help="A relative gap to reach, mean over targets; may be repeated. By default 0.05 to 0.005.",
            show_default=False,
        ),
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Say how many retrainings, how long and how many bytes a claim would take here; keeps nothing that it trains."""
    from prover import planning, report
    from prover.engines.choice import opened
    from prover.store import Store

    task, choice = inputs.read_task(task_file), where.choice
    inputs.set_threads(where.threads)
    expected: tuple[Expectation, ...]
    if store is None:
        expected, n_saved, path = planning.assumed(task), 0, inputs.data_path(task, data, task_file)
    else:
        with Store(store, read_only=True) as state:
            expected, n_saved = _expected(task, state)
            path = inputs.data_path(task, data, task_file, state)
    began = time.perf_counter()
    dataset = inputs.dataset(task, path)
    with opened(choice, task, dataset) as trains, Bars(shown=not quiet) as bars:
        pace = planning.speed(task, trains, opened_s=time.perf_counter() - began, watch=bars)
    gaps = gap or planning.GAPS
    plans = [(e, planning.estimates(task, e.moments, gaps, pace, n_saved=n_saved)) for e in expected]
    if as_json:
        found = [dataclasses.asdict(e) | {"gaps": [dataclasses.asdict(row) for row in rows]} for e, rows in plans]
        say(json.dumps({"speed": dataclasses.asdict(pace), "n_saved": n_saved, "expected": found}, indent=2))
        return
    say(f"task    {task.digest.hex()}")
    say(f"timed   {report.speed_line(pace)}")
    if store is not None:
        say(f"saved   {n_saved:,} retrainings")
    for e, rows in plans:
        Console(soft_wrap=True).print(report.plan_table(e, rows))
    say("        trainings by ridge's curve, fits not counted; prover train plans anew after each of its fits")


def _expected(task: Task, state: Store) -> tuple[tuple[Expectation, ...], int]:
    """Return what to take of the function, and how many retrainings there are already."""
    from prover import planning

    known = planning.expected_of(state, task)
    return planning.assumed(task) if known is None else (known,), planning.saved(state, task)
