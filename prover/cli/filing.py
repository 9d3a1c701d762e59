"""``prover export`` and ``prover import``: claims and scores to files and from files."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from protocol.errors import ArgumentError, StoreError
from prover import inputs
from prover.cli import options
from prover.cli.app import say
from prover.progress import Bars


def export_(
    store: options.StoreThere,
    scores: Annotated[
        Path | None, typer.Option("--scores", metavar="FILE", help="Write the scores: .npy, .safetensors or .csv.")
    ] = None,
    claim: Annotated[
        Path | None, typer.Option("--claim", metavar="FILE", help="Write the claim file, for verifier verify --claim.")
    ] = None,
    data: options.DataOfStore = None,
    force: options.Force = False,
) -> None:
    """Write the claim's scores, or the signed claim itself, to files."""
    from prover.scores import check_format, write, write_file
    from prover.store import Store

    if scores is None and claim is None:
        raise ArgumentError("export: expected --scores FILE or --claim FILE, got neither")
    if scores is not None:
        check_format(scores)
    with Store(store, read_only=True) as state:
        task, committed, path = state.task(), state.claim(), data or state.data_path()
    if committed is None:
        raise StoreError(f"store {store}: expected a claim, found none; run prover train first")
    if scores is not None:
        write(scores, committed.claim, inputs.unit_names(task, scores, path), force=force)
        say(f"wrote   {scores}")
    if claim is not None:
        from protocol.wire.files import claim_file_to_bytes

        content = claim_file_to_bytes(task, committed)
        write_file(claim, lambda file: file.write(content), force=force)
        say(f"wrote   {claim}")


def import_(
    context: typer.Context,
    scores: Annotated[Path, typer.Argument(metavar="SCORES", help="A .npy, .safetensors or .csv file of scores.")],
    task_file: Annotated[Path, typer.Option("--task", metavar="FILE", help="The task that they are scores for.")],
    store: options.StoreDirectory,
    where: options.Where,
    data: options.DataFile = None,
    check_retrainings: Annotated[
        int, typer.Option(min=0, help="Trainings used to estimate how good the scores are; with 0, it is guessed.")
    ] = 400,
    quiet: options.Quiet = False,
) -> None:
    """Sign scores that were made elsewhere as the claim of this store."""
    from prover import report
    from prover.campaign import CHECK, Campaign, guessed_figures
    from prover.cli.signing import published
    from prover.engines.choice import opened
    from prover.scores import check_format, read
    from prover.store import Store

    check_format(scores)
    if not check_retrainings:
        _check_trains_nothing(options.given(context))
    choice = where.choice
    task = inputs.read_task(task_file)
    inputs.set_threads(where.threads)
    with Store(store) as state:
        state.check_task(task)
        path = inputs.data_path(task, data, task_file, state)
        dataset = inputs.dataset(task, path)
        claim = read(scores, task, dataset.unit_names)
        state.set_task(task, path)
        figures = guessed_figures()
        if check_retrainings:
            with opened(choice, task, dataset) as trains, Bars(shown=not quiet) as bars:
                campaign = Campaign(state, task, trains, purpose=CHECK, device=choice.fit_device, watch=bars)
                quality = campaign.judge(claim, check_retrainings)
            figures = quality.figures(0)
            say(f"check   relative gap {quality.mean_gap:.4f} +- {quality.mean_gap_error:.4f}, mean over targets")
        committed = published(state, claim, figures)
    say(f"claim   {committed.signed.root.hex()}")
    say(
        f"        {report.figures_line(figures)}"
        if check_retrainings
        else "        figures unknown: a guess stands for them"
    )


def _check_trains_nothing(given: frozenset[str]) -> None:
    """Refuse what says where trainings run where none does."""
    for name in (field.name for field in fields(options.Where) if field.name in given):
        raise ArgumentError(
            f"--{name.replace('_', '-')}: expected none with --check-retrainings 0, which trains nothing; leave it out"
        )
