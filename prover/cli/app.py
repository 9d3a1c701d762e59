"""How every command of the prover ends, and where it prints: results to stdout, all else to stderr."""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from typer.exceptions import TyperException

from protocol import __version__
from protocol.errors import ArgumentError, AttributionProofsError, InternalError

EPILOG = (
    "Exit status: 0 done; 64 a wrong option, 65 a file that cannot be used, 69 no answer or address in use, 70 a bug, "
    "71 a training failed, 74 cannot write to disk or the store is in use, 75 the budget is too small, "
    "130 Ctrl-C, 143 SIGTERM."
)
USAGE = ArgumentError.exit_status
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM  # what a shell says of processes that they end

app = typer.Typer(
    name="prover",
    help="Train models, claim how much each training example matters, and prove the claim to verifiers.",
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
        complain(f"error: {error.format_message()}")
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception:  # noqa: BLE001  Python would end with 1, which is a verdict's
        traceback.print_exc()
        return InternalError.exit_status
    return int(status or 0)


def command(body: Callable[..., None]) -> Callable[..., None]:
    """Turn the errors of a command into one line and an exit status."""

    @functools.wraps(body)
    def guarded(**options: object) -> None:
        told: list[int] = []
        try:
            with _told_to_end(told):
                body(**options)
        except AttributionProofsError as error:
            complain(f"error: {error}")
            raise typer.Exit(error.exit_status) from error
        except KeyboardInterrupt as error:
            complain("interrupted; what was saved is kept, and the same command goes on from there")
            raise typer.Exit(TERMINATED if told else INTERRUPTED) from error

    return guarded


@contextmanager
def _told_to_end(told: list[int]) -> Iterator[None]:
    """Let SIGTERM stop what is done within as Ctrl-C does, so that workers, clusters and files are let go of.

    ``told`` gets the signal's number. The exception cannot say it: Ray, waiting, raises one of its own in its place.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone may have signals
        yield
        return

    def end(number: int, frame: FrameType | None) -> NoReturn:
        told.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def complain(line: str) -> None:
    """Print a line for the user, which is no result, on stderr."""
    Console(stderr=True, soft_wrap=True).print(line, markup=False, highlight=False, emoji=False)


def say(line: str) -> None:
    """Print a line of the result on stdout."""
    Console(soft_wrap=True).print(line, markup=False, highlight=False, emoji=False)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"attribution-proofs {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that come before a command."""
