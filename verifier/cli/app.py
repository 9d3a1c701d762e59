"""How every command of the verifier ends, and where it prints: the result to stdout, all else to stderr."""

from __future__ import annotations

import functools
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated, NoReturn, ParamSpec

import typer
from rich.console import Console
from typer.exceptions import TyperException

from protocol import __version__
from protocol.errors import ArgumentError, AttributionProofsError, InternalError

P = ParamSpec("P")

EPILOG = (
    "Exit status: 0 ACCEPT, 1 REJECT, 2 INCONCLUSIVE; 64 a wrong option, 65 a file that cannot be used or is not what "
    "was named, 69 the prover cannot be reached, 70 a bug, 71 a training failed here, 74 cannot write to disk, 75 "
    "the budget is too small, 130 Ctrl-C."
)
USAGE = ArgumentError.exit_status
INTERRUPTED = 128 + signal.SIGINT
PIPE_CLOSED = 128 + signal.SIGPIPE
PIPE_WIDTH = 1000
"""Columns where stdout is no terminal and nobody names a width: a program that reads a table wants one row a line."""

app = typer.Typer(
    name="verifier",
    help="Check claims about how much training examples matter; accept only those provably close to the best possible.",
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
    """Run the command line and return its exit status; an exception that nobody foresaw is 70, never a verdict."""
    try:
        status = app(args=list(arguments), prog_name="verifier", standalone_mode=False)
    except TyperException as error:
        complain(f"error: {error.format_message()}")
        return USAGE
    except SystemExit:  # rich and typer know one status for a reader who has left, and it says REJECT
        return PIPE_CLOSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception:  # noqa: BLE001  Python would end with 1, which says REJECT
        traceback.print_exc()
        return InternalError.exit_status
    return int(status or 0)


def command(body: Callable[P, int]) -> Callable[P, None]:
    """Turn a command that returns its exit status, or raises one of our errors, into one that typer can run."""

    @functools.wraps(body)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            status = body(*args, **kwargs)
        except AttributionProofsError as error:
            complain(f"error: {error}")
            status = error.exit_status
        raise typer.Exit(status)

    return guarded


class Stdout(Console):
    """stdout. A reader who leaves (``| head``) does not change the exit status; rich would end with that of REJECT."""

    def __init__(self) -> None:
        super().__init__(markup=False, highlight=False, emoji=False)
        if not self.is_terminal and "COLUMNS" not in os.environ:
            self.width = PIPE_WIDTH

    def on_broken_pipe(self) -> None:
        """Write the rest to nowhere."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(line: str) -> None:
    """Print a line for the user, which is no result, on stderr."""
    Console(stderr=True, soft_wrap=True).print(line, markup=False, highlight=False, emoji=False)


def _version(wanted: bool) -> None:
    if wanted:
        Stdout().out(f"attribution-proofs {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that come before a command."""
