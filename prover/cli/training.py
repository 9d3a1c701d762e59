"""``prover calibrate`` and ``prover train``: the commands that train until they are done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from protocol import taskfile
from protocol.errors import ArgumentError
from prover import inputs
from prover.cli import options
from prover.cli.app import complain, say
from prover.fitting.method import Method
from prover.progress import Bars


def calibrate(
    task_file: Annotated[Path, typer.Argument(metavar="TASK", help="A task file, from prover init.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="FILE", help="The task's data file. By default, beside the task file."),
    ] = None,
    subsets: Annotated[int, typer.Option(min=1, max=100_000, help="Subsets to retrain under every variation.")] = 200,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the task there with the tolerance proposed.")
    ] = None,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    factory: options.Factory = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure how much honest trainings of one subset differ on this machine, and propose a tolerance."""
    from prover import calibration, config, report
    from prover.engines.choice import check_factory
    from prover.scores import write_file

    if force and out is None:
        raise ArgumentError("--force: expected --out FILE beside it, got none; nothing is written without")
    task = inputs.read_task(task_file)
    check_factory(task, factory)
    dataset = inputs.dataset(task, inputs.data_path(task, data, task_file))
    inputs.set_threads(threads)
    with Bars(shown=not quiet) as bars:
        found, tolerance = calibration.calibrate(task, dataset, n=subsets, device=device, factory=factory, watch=bars)
    Console(soft_wrap=True).print(report.differences_table(found))
    say(f"task    {report.tolerance_line(task, tolerance)}")
    if out is not None:
        calibrated = config.settled(task, lo=task.targets.lo, hi=task.targets.hi, tolerance=tolerance)
        write_file(out, lambda file: file.write(taskfile.render(calibrated).encode("utf-8")), force=force)
        say(f"wrote   {out}; task {calibrated.digest.hex()}")


def train(
    task_file: Annotated[Path, typer.Argument(metavar="TASK", help="A task file, from prover init.")],
    store: options.StoreDirectory,
    where: options.Where,
    data: options.DataFile = None,
    gap: Annotated[float, typer.Option(help="Relative gap to reach, mean over targets, as stated.")] = 0.005,
    max_retrainings: Annotated[int, typer.Option(help="Most trainings in all, saved ones included.")] = 100_000,
    fit: Annotated[Method, typer.Option(help="How scores are fitted. Does not affect outputs.")] = Method.RIDGE,
    per_target: Annotated[bool, typer.Option("--per-target", help="Print the figures of every target.")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Train, fit and sign a claim; goes on where an earlier run was stopped."""
    from prover import report
    from prover.campaign import Campaign, Goal
    from prover.cli.signing import published
    from prover.engines.choice import opened
    from prover.store import Store

    goal = Goal(gap=gap, max_retrainings=max_retrainings)
    choice = where.choice
    task = inputs.read_task(task_file)
    inputs.set_threads(where.threads)
    with Store(store) as state:
        state.check_task(task)
        path = inputs.data_path(task, data, task_file, state)
        dataset = inputs.dataset(task, path)
        state.set_task(task, path)  # where they are, now that they are the task's
        with opened(choice, task, dataset) as trains, Bars(shown=not quiet) as bars:
            outcome = Campaign(state, task, trains, device=choice.fit_device, method=fit, watch=bars).run(goal)
        committed = published(state, outcome.fit.claim, outcome.fit.figures)
    Console(soft_wrap=True).print(report.quality_table(outcome.fit.quality, every=per_target))
    say(f"claim   {committed.signed.root.hex()}")
    say(f"        {report.figures_line(committed.signed.figures)}")
    say(f"        {report.goal_line(outcome, goal)}")
    warning = report.clipped_warning(outcome.clipped)
    if warning is not None:
        complain(warning)
