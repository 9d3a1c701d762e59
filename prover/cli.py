"""The command ``prover``: what it takes, what it prints, how it ends.

stdout carries results only, progress and errors go to stderr, and a fault is one line. Exit statuses:

    0    done                      70   a bug of ours
    64   a wrong option            71   a training failed
    65   a file cannot be used     74   the disk refuses, or another prover holds the store
    69   no answer, address taken  75   the budget does not reach
    130  Ctrl-C

torch, scikit-learn and grpc are imported by the commands that use them, when they do.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, NoReturn, ParamSpec

import typer
from rich.console import Console
from typer.exceptions import TyperException

from protocol import __version__, taskfile
from protocol.errors import ArgumentError, AttributionProofsError, InternalError, StoreError
from protocol.recipes import Loss, Optimiser, Precision, Schedule
from protocol.task import ConstantColumns, Scaling, SeedPolicy, TargetKind, UnitKind
from prover import cli_options as options
from prover import inputs
from prover.progress import Bars

P = ParamSpec("P")

EPILOG = (
    "Exit status: 0 done; 64 a wrong option, 65 a file that cannot be used, 69 no answer or address taken, 70 a bug, "
    "71 a training failed, 74 the disk refuses or another prover holds the store, 75 the budget does not reach, "
    "130 Ctrl-C."
)
USAGE = ArgumentError.exit_status
INTERRUPTED = 130

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
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # else gRPC prints a fault's inner story beside our one line
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
    recipe: Annotated[str, typer.Option(help="ridge, logistic or sgd.")] = "ridge",
    l2: Annotated[
        float | None,
        typer.Option(
            help="Penalty; by default 0.03 (ridge) or 0.001 (logistic) a training row, 256 for ridge on digits.",
            show_default=False,
        ),
    ] = None,
    gradient_tolerance: Annotated[float, typer.Option(help="Where training stops (logistic).")] = 1e-8,
    exact: Annotated[
        bool, typer.Option("--exact", help="Arithmetic that is the same to the bit on every machine (sgd, mlp).")
    ] = False,
    factory: Annotated[
        str, typer.Option(help="Network of sgd: mlp, cnn, resnet9, or your own as package.module:function.")
    ] = "mlp",
    widths: Annotated[
        str, typer.Option(metavar="N,N", help="Its hidden layers; by default 32 (mlp), 16,32 (cnn), 64 (resnet9).")
    ] = "",
    image: Annotated[str, typer.Option(metavar="C,H,W", help="The image that a row spells out (cnn, resnet9).")] = "",
    loss: Annotated[
        Loss | None,
        typer.Option(
            help="By default cross-entropy; squared for a regression; squared-hinge with --exact.", show_default=False
        ),
    ] = None,
    optimiser: Annotated[Optimiser, typer.Option(help="How sgd steps.")] = Optimiser.MOMENTUM,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="By default 0.02, 0.005 for squared losses, 0.001 for adamw.", show_default=False),
    ] = None,
    momentum: Annotated[float | None, typer.Option(help="By default 0.9 (sgd).", show_default=False)] = None,
    weight_decay: Annotated[float, typer.Option(help="Decay of all weights (sgd).")] = 0.0,
    schedule: Annotated[Schedule, typer.Option(help="Of the learning rate (sgd).")] = Schedule.CONSTANT,
    warmup_steps: Annotated[int, typer.Option(help="Steps of rising rates before it (sgd).")] = 0,
    epochs: Annotated[int, typer.Option(help="Passes over the rows (sgd).")] = 20,
    batch_size: Annotated[int, typer.Option(help="Rows in a step, those left out included (sgd).")] = 50,
    precision: Annotated[Precision, typer.Option(help="Of the operands of products (sgd).")] = Precision.FP32,
    flips: Annotated[bool, typer.Option("--flips", help="Mirror images half of the time (sgd).")] = False,
    crop_padding: Annotated[int, typer.Option(help="Cut images out anew with so many zeros around (sgd).")] = 0,
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
    from prover.network_choices import NetworkChoices
    from prover.scores import write_file

    if out.exists() and not force:
        raise ArgumentError(f"{out}: expected no such file yet; choose another name, or --force to replace it")
    inputs.set_threads(threads)
    network = NetworkChoices(
        factory=factory, widths=widths, image=image, loss=loss, optimiser=optimiser, learning_rate=learning_rate,
        momentum=momentum, weight_decay=weight_decay, schedule=schedule, warmup_steps=warmup_steps, epochs=epochs,
        batch_size=batch_size, precision=precision, flips=flips, crop_padding=crop_padding,
    )  # fmt: skip
    choices = config.Choices(
        data=data, target_column=target_column, contributor_column=contributor_column, units=units, n_train=n_train,
        n_test=n_test, split_seed=split_seed, scaling=scaling, constant_columns=constant_columns, recipe=recipe, l2=l2,
        gradient_tolerance=gradient_tolerance, kind=targets, n_targets=n_targets, average=average, p=p,
        seed_policy=seed_policy, seed=seed, network=network, exact=exact,
    )  # fmt: skip
    task, dataset = config.draft(choices)
    with Bars(shown=not quiet) as bars:
        proposal = pilot.propose(task, dataset, device=device, watch=bars, factory=network.own)
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
def calibrate(
    task_file: Annotated[Path, typer.Argument(metavar="TASK", help="A task file, from prover init.")],
    data: options.DataFile = None,
    subsets: Annotated[int, typer.Option(min=1, max=100_000, help="Subsets to train again in every way.")] = 200,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the task there with the tolerance proposed.")
    ] = None,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    factory: options.Factory = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure how far honest trainings of one subset lie apart, here, and propose the task's tolerance."""
    from prover import calibration, config, report
    from prover.scores import write_file

    task = inputs.read_task(task_file)
    inputs.set_threads(threads)
    with Bars(shown=not quiet) as bars:
        found, tolerance = calibration.calibrate(
            task, inputs.data_beside(task, data, task_file), n=subsets, device=device, factory=factory, watch=bars
        )
    Console(soft_wrap=True).print(report.differences_table(found))
    _say(f"task    {report.tolerance_line(task, tolerance)}")
    if out is not None:
        calibrated = config.settled(task, lo=task.targets.lo, hi=task.targets.hi, tolerance=tolerance)
        write_file(out, lambda file: file.write(taskfile.render(calibrated).encode("utf-8")), force=force)
        _say(f"wrote   {out}; task {calibrated.digest.hex()}")


@app.command()
@_command
def train(
    task_file: Annotated[Path, typer.Argument(metavar="TASK", help="A task file, from prover init.")],
    store: options.StoreDirectory,
    data: options.DataFile = None,
    gap: Annotated[float, typer.Option(help="The claim's own relative gap to reach, mean over targets.")] = 0.005,
    max_retrainings: Annotated[int, typer.Option(help="Most trainings in all, saved ones included.")] = 100_000,
    per_target: Annotated[bool, typer.Option("--per-target", help="Print the figures of every target.")] = False,
    engine: options.EngineKind = "local",
    device: options.Devices = "cpu",
    workers: options.Workers = None,
    threads: options.Threads = None,
    ray_address: options.RayAddress = None,
    factory: options.Factory = None,
    quiet: options.Quiet = False,
) -> None:
    """Train, fit and sign a claim; goes on where an earlier run was stopped."""
    from prover import claiming, report
    from prover.campaign import Campaign, Goal
    from prover.engines.choice import Choice, opened
    from prover.store import Store

    goal = Goal(gap=gap, max_retrainings=max_retrainings)
    where = Choice(kind=engine, device=device, workers=workers, threads=threads, address=ray_address, factory=factory)
    task = inputs.read_task(task_file)
    inputs.set_threads(threads)
    with Store(store) as state:
        path = inputs.data_path(task, data, task_file, state)
        state.set_task(task, path)
        with opened(where, task, path) as trains, Bars(shown=not quiet) as bars:
            outcome = Campaign(state, task, trains, device=where.fit_device, watch=bars).run(goal)
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
def serve(
    store: options.StoreDirectory,
    data: options.DataFile = None,
    host: Annotated[str, typer.Option(help="Address to serve at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to serve at; 0 takes a free one.")] = 50051,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", metavar="FILE", help="Certificate chain, PEM; needs --tls-key.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", metavar="FILE", help="The certificate's private key, PEM.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Serve other machines without TLS: anyone on the way can read along.")
    ] = False,
    max_retrainings: Annotated[int, typer.Option(min=1, help="Most trainings that one verifier may ask for.")] = 50_000,
    engine: options.EngineKind = "local",
    device: options.Devices = "cpu",
    workers: options.Workers = None,
    threads: options.Threads = None,
    ray_address: options.RayAddress = None,
    factory: options.Factory = None,
) -> None:
    """Prove the claim to whoever asks, over gRPC, until SIGTERM or Ctrl-C; nothing is lost by either."""
    import logging

    from prover.engines.choice import Choice, opened
    from prover.serving.limits import Limits
    from prover.serving.server import Tls, honest
    from prover.serving.server import serve as serve_until_told
    from prover.store import Store

    if (tls_cert is None) != (tls_key is None):
        raise ArgumentError("expected --tls-cert and --tls-key together, got one of them")
    where = Choice(kind=engine, device=device, workers=workers, threads=threads, address=ray_address, factory=factory)
    tls = None if tls_cert is None or tls_key is None else Tls(certificate=tls_cert, key=tls_key)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    limits = Limits(max_evaluations_per_session=max_retrainings)
    inputs.require_store(store)
    with Store(store) as state:
        task, committed = state.task(), state.claim()
        if committed is None:
            raise StoreError(f"store {store}: expected a claim, found none; run prover train first")

        def tell(address: str) -> None:
            _say(f"task    {task.digest.hex()}")
            _say(f"claim   {committed.signed.root.hex()}")
            _say(f"serving {address}")
            sys.stdout.flush()

        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        with opened(where, task, data or state.data_path()) as trains:
            served = honest(task=task, committed=committed, key=state.signing_key(), engine=trains, limits=limits)
            serve_until_told(served, state, address=address, tls=tls, insecure=insecure, limits=limits, on_ready=tell)


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


@app.command()
@_command
def migrate(store: options.StoreDirectory) -> None:
    """Bring a store that an older version made to this version, after copying its database."""
    from prover.store import migrated

    was = migrated(store)
    if was is None:
        _say(f"store   {store} is of this version already")
        return
    version, copy = was
    _say(f"store   {store} is of this version now, and was of version {version}")
    _say(f"copy    {copy}; delete it when all is well")


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
        write(scores, committed.claim, inputs.unit_names(task, scores, path), force=force)
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
    engine: options.EngineKind = "local",
    device: options.Devices = "cpu",
    workers: options.Workers = None,
    threads: options.Threads = None,
    ray_address: options.RayAddress = None,
    factory: options.Factory = None,
    quiet: options.Quiet = False,
) -> None:
    """Make scores from elsewhere the claim that this store proves."""
    from prover import claiming, report
    from prover.campaign import CHECK, Campaign, guessed_figures
    from prover.engines.choice import Choice, opened
    from prover.scores import check_format, read
    from prover.store import Store

    check_format(scores)
    where = Choice(kind=engine, device=device, workers=workers, threads=threads, address=ray_address, factory=factory)
    task = inputs.read_task(task_file)
    inputs.set_threads(threads)
    with Store(store) as state:
        path = inputs.data_path(task, data, task_file, state)
        claim = read(scores, task, inputs.unit_names(task, scores, path))
        state.set_task(task, path)
        figures = guessed_figures()
        if check_retrainings:
            with opened(where, task, path) as trains, Bars(shown=not quiet) as bars:
                campaign = Campaign(state, task, trains, purpose=CHECK, device=where.fit_device, watch=bars)
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
