"""``prover init``: a task file from what the user says and a pilot run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from protocol import taskfile
from protocol.errors import ArgumentError
from prover import inputs
from prover.choices import Choices
from prover.cli import options
from prover.cli.app import complain, say
from prover.progress import Bars


def init(
    context: typer.Context,
    choices: Choices,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The task file to write.")] = Path("task.toml"),
    device: options.Device = "cpu",
    threads: options.Threads = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
) -> None:
    """Write a commented task file, its ranges and tolerance proposed by a pilot run."""
    from prover import config, pilot
    from prover.scores import write_file

    if out.exists() and not force:
        raise ArgumentError(f"{out}: expected no such file yet; choose another name, or --force to replace it")
    inputs.set_threads(threads)
    task, dataset = config.draft(choices, given=options.given(context))
    with Bars(shown=not quiet) as bars:
        proposal = pilot.propose(task, dataset, device=device, watch=bars, factory=choices.network.own)
    task = config.settled(task, lo=proposal.lo, hi=proposal.hi, tolerance=proposal.tolerance)
    write_file(out, lambda file: file.write(taskfile.render(task).encode("utf-8")), force=force)
    say(f"task    {task.digest.hex()}")
    shape = f"{task.n_units} units, {task.n_targets} targets, {task.data.n_train} training rows"
    say(f"        {shape}, recipe {task.recipe.name}")
    say(f"pilot   outputs of one subset differ by at most {proposal.difference:.1g}; tolerance {proposal.tolerance:g}")
    if proposal.n_constant:
        complain(f"warning: {proposal.n_constant} targets do not vary: nothing can be attributed there")
    say(f"wrote   {out}; next: prover train {out} --store DIR")
