"""The command ``prover``: what it takes, what it prints, how it ends.

stdout carries results only, progress and errors go to stderr, and a fault is one line. Exit statuses:

    0    done                      70   a bug of ours
    64   a wrong option            71   a training failed
    65   a file cannot be used     74   the disk refuses, or another prover holds the store
    69   the address is taken      75   the budget does not reach
    130  Ctrl-C

torch, scikit-learn and grpc are imported by the commands that use them, when they do.
"""

from __future__ import annotations

import functools
import json
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, ParamSpec

import typer
from rich.console import Console
from typer.exceptions import TyperException

from protocol import __version__, taskfile
from protocol.errors import ArgumentError, AttributionProofsError, InternalError, StoreError, TaskFileError
from protocol.task import ConstantColumns, Scaling, SeedPolicy, TargetKind, Task, UnitKind
from prover import cli_options as options
from prover.progress import Bars

if TYPE_CHECKING:
    from prover.store import Store

P = ParamSpec("P")

EPILOG = (
    "Exit status: 0 done; 64 a wrong option, 65 a file that cannot be used, 69 the address is taken, 70 a bug, "
    "71 a training failed, 74 the disk refuses or another prover holds the store, 75 the budget does not reach, "
    "130 Ctrl-C."
)
USAGE = ArgumentError.exit_status
INTERRUPTED = 130
MAX_TASK_FILE_BYTES = 4 * taskfile.MAX_CHARACTERS

app = typer.Typer(
    name="prover",
    help="Train, claim how much every training example matters, and prove it to whoever asks.",
    epilog=EPILOG,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process with its exit status."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit status."""
    try:
        status = app(args=list(arguments), prog_name="prover", standalone_mode=False)
    except TyperException as error:
        _complain(f"error: {error.format_message()}")
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception:  # noqa: BLE001  Python would end with 1, which is a verdict's
        traceback.print_exc()
        return InternalError.exit_status
    return int(status or 0)


def _command(body: Callable[P, None]) -> Callable[P, None]:
    """Turn the errors of a command into one line and an exit status."""

    @functools.wraps(body)
    def command(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            body(*args, **kwargs)
        except AttributionProofsError as error:
            _complain(f"error: {error}")
            raise typer.Exit(error.exit_status) from error
        except KeyboardInterrupt as error:
            _complain("interrupted; what was saved is kept, and the same command goes on from there")
            raise typer.Exit(INTERRUPTED) from error

    return command


def _complain(line: str) -> None:
    Console(stderr=True, soft_wrap=True).print(line, markup=False, highlight=False, emoji=False)


def _say(line: str) -> None:
    Console(soft_wrap=True).print(line, markup=False, highlight=False, emoji=False)


def _version(wanted: bool) -> None:
    if wanted:
        _say(f"attribution-proofs {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that come before a command."""


@app.command()
@_command
def init(
    data: Annotated[
        str, typer.Option("--data", metavar="SOURCE", help="sklearn:NAME, or a .npz, .csv or .parquet file.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The task file to write.")] = Path("task.toml"),
    target_column: Annotated[str, typer.Option(help="Column to predict (.csv, .parquet).")] = "",
    contributor_column: Annotated[str, typer.Option(help="Column that says whose a row is.")] = "",
    units: Annotated[UnitKind, typer.Option(help="What is left in or out: rows, or contributors.")] = UnitKind.ROW,
    n_train: Annotated[
        int | None, typer.Option(help="Training rows; by default two thirds, at most 1,000.", show_default=False)
    ] = None,
    n_test: Annotated[int | None, typer.Option(help="Test rows; by default all others.", show_default=False)] = None,
    split_seed: Annotated[int, typer.Option(min=0, help="Seed of the shuffle that splits them.")] = 0,
    scaling: Annotated[
        Scaling | None, typer.Option(help="By default standard; none for digits.", show_default=False)
    ] = None,
    constant_columns: Annotated[
        ConstantColumns | None,
        typer.Option(help="By default dropped from bundled sets, refused in files.", show_default=False),
    ] = None,
    recipe: Annotated[str, typer.Option(help="ridge or logistic.")] = "ridge",
    l2: Annotated[
        float | None,
        typer.Option(
            help="Penalty; by default 0.03 (ridge) or 0.001 (logistic) a training row, 256 for ridge on digits.",
            show_default=False,
        ),
    ] = None,
    gradient_tolerance: Annotated[float, typer.Option(help="Where training stops (logistic).")] = 1e-8,
    targets: Annotated[
        TargetKind | None, typer.Option(help="By default margin; prediction for a regression.", show_default=False)
    ] = None,
    n_targets: Annotated[
        int | None, typer.Option(help="Test rows to be targets; by default the first 200.", show_default=False)
    ] = None,
    average: Annotated[bool, typer.Option("--average", help="One target: the mean over those test rows.")] = False,
    p: Annotated[float, typer.Option(help="Probability that a unit is in a subset.")] = 0.5,
    seed_policy: Annotated[
        SeedPolicy, typer.Option(help="One training seed for all subsets, or one for each.")
    ] = SeedPolicy.SHARED,
    seed: Annotated[int, typer.Option(min=0, help="The training seed, where it is shared.")] = 0,
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
    _set_threads(threads)
    choices = config.Choices(
        data=data, target_column=target_column, contributor_column=contributor_column, units=units, n_train=n_train,
        n_test=n_test, split_seed=split_seed, scaling=scaling, constant_columns=constant_columns, recipe=recipe, l2=l2,
        gradient_tolerance=gradient_tolerance, kind=targets, n_targets=n_targets, average=average, p=p,
        seed_policy=seed_policy, seed=seed,
    )  # fmt: skip
    task, dataset = config.draft(choices)
    with Bars(shown=not quiet) as bars:
        proposal = pilot.propose(task, dataset, device=device, watch=bars)
    task = config.settled(task, lo=proposal.lo, hi=proposal.hi, tolerance=proposal.tolerance)
    write_file(out, lambda file: file.write(taskfile.render(task).encode("utf-8")), force=force)
    _say(f"task    {task.digest.hex()}")
    _say(f"        {task.n_units} units, {task.n_targets} targets, {task.data.n_train} training rows, recipe {recipe}")
    _say(f"pilot   outputs of one subset differ by at most {proposal.difference:.1g}; tolerance {proposal.tolerance:g}")
    if proposal.n_constant:
        _complain(f"warning: {proposal.n_constant} targets do not vary: nothing can be attributed there")
    _say(f"wrote   {out}; next: prover train {out} --store DIR")


@app.command()
@_command
def train(
    task_file: Annotated[Path, typer.Argument(metavar="TASK", help="A task file, from prover init.")],
    store: options.StoreDirectory,
    data: options.DataFile = None,
    gap: Annotated[float, typer.Option(help="The claim's own relative gap to reach, mean over targets.")] = 0.005,
    max_retrainings: Annotated[int, typer.Option(help="Most trainings in all, saved ones included.")] = 100_000,
    per_target: Annotated[bool, typer.Option("--per-target", help="Print the figures of every target.")] = False,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    quiet: options.Quiet = False,
) -> None:
    """Train, fit and sign a claim; goes on where an earlier run was stopped."""
    from prover import claiming, report
    from prover.campaign import Campaign, Goal
    from prover.engines import local
    from prover.store import Store

    goal = Goal(gap=gap, max_retrainings=max_retrainings)
    task = _read_task(task_file)
    _set_threads(threads)
    with Store(store) as state:
        path = _data_path(task, data, task_file, state)
        state.set_task(task, path)
        engine = local.prepare(task, data=path, device=device, n_threads=threads)
        with Bars(shown=not quiet) as bars:
            outcome = Campaign(state, task, engine, device=device, watch=bars).run(goal)
        committed = claiming.commit(outcome.fit.claim, outcome.fit.figures, state.signing_key())
        state.save_claim(committed)
    Console(soft_wrap=True).print(report.quality_table(outcome.fit.quality, every=per_target))
    _say(f"claim   {committed.signed.root.hex()}")
    _say(f"        {report.figures_line(committed.signed.figures)}")
    _say(f"        {report.goal_line(outcome, goal)}")
    warning = report.clipped_warning(outcome.clipped)
    if warning is not None:
        _complain(warning)


@app.command()
@_command
def status(
    store: options.StoreDirectory,
    as_json: options.Json = False,
) -> None:
    """Show what a store holds, also while a prover works on it."""
    from prover import report
    from prover.store import Store

    with Store(store, read_only=True) as state:
        task = state.task()
        if as_json:
            _say(json.dumps(report.status_json(state, task), indent=2))
        else:
            for line in report.status_lines(state, task):
                _say(line)


@app.command(name="export")
@_command
def export_(
    store: options.StoreDirectory,
    scores: Annotated[
        Path | None, typer.Option("--scores", metavar="FILE", help="Write the scores: .npy, .safetensors or .csv.")
    ] = None,
    claim: Annotated[
        Path | None, typer.Option("--claim", metavar="FILE", help="Write the claim file, for verifier verify --claim.")
    ] = None,
    data: options.DataFile = None,
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
        write(scores, committed.claim, _unit_names(task, scores, path), force=force)
        _say(f"wrote   {scores}")
    if claim is not None:
        from protocol.wire.files import claim_file_to_bytes

        content = claim_file_to_bytes(task, committed)
        write_file(claim, lambda file: file.write(content), force=force)
        _say(f"wrote   {claim}")


@app.command(name="import")
@_command
def import_(
    scores: Annotated[Path, typer.Argument(metavar="SCORES", help="A .npy, .safetensors or .csv file of scores.")],
    task_file: Annotated[Path, typer.Option("--task", metavar="FILE", help="The task that they are scores for.")],
    store: options.StoreDirectory,
    data: options.DataFile = None,
    check_retrainings: Annotated[
        int, typer.Option(min=0, help="Trainings to estimate the claim's figures from; 0 leaves them a guess.")
    ] = 400,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    quiet: options.Quiet = False,
) -> None:
    """Make scores from elsewhere the claim that this store proves."""
    from prover import claiming, report
    from prover.campaign import CHECK, Campaign, guessed_figures
    from prover.engines import local
    from prover.scores import check_format, read
    from prover.store import Store

    check_format(scores)
    task = _read_task(task_file)
    _set_threads(threads)
    with Store(store) as state:
        path = _data_path(task, data, task_file, state)
        claim = read(scores, task, _unit_names(task, scores, path))
        state.set_task(task, path)
        figures = guessed_figures()
        if check_retrainings:
            engine = local.prepare(task, data=path, device=device, n_threads=threads)
            with Bars(shown=not quiet) as bars:
                campaign = Campaign(state, task, engine, purpose=CHECK, device=device, watch=bars)
                quality = campaign.judge(claim, check_retrainings)
            figures = quality.figures(0)
            _say(f"check   relative gap {quality.mean_gap:.4f} +- {quality.mean_gap_error:.4f}, mean over targets")
        committed = claiming.commit(claim, figures, state.signing_key())
        state.save_claim(committed)
    _say(f"claim   {committed.signed.root.hex()}")
    _say(
        f"        {report.figures_line(figures)}"
        if check_retrainings
        else "        figures unknown: a guess stands for them"
    )


def _read_task(path: Path) -> Task:
    try:
        if path.stat().st_size > MAX_TASK_FILE_BYTES:
            raise TaskFileError(f"{path}: expected a task file of at most {MAX_TASK_FILE_BYTES} bytes, got more")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise TaskFileError(f"{path}: expected a task file, got none: {reason}; make one with prover init") from error
    try:
        return taskfile.parse(text)
    except TaskFileError as error:
        raise TaskFileError(f"{path}: {error}") from error


def _data_path(task: Task, given: Path | None, task_file: Path, state: Store) -> Path | None:
    """Return where the task's data file lies: where the user says, where it was before, or beside the task file."""
    if task.data.source.startswith("sklearn:"):
        return None
    return given or state.data_path() or task_file.parent / task.data.source


def _unit_names(task: Task, scores: Path, data: Path | None) -> tuple[str, ...]:
    """Return the names that a .csv says units by; the other kinds have none."""
    if scores.suffix != ".csv":
        return ()
    from protocol.training import load

    return load(task, data).unit_names


def _set_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
