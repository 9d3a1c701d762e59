"""The command ``verifier``: what it takes, what it prints, how it ends.

stdout carries the result only, progress and errors go to stderr, and a fault is one line. Exit statuses:

    0    ACCEPT                    65   a file cannot be used, or is not what was named
    1    REJECT                    69   the prover cannot be reached
    2    INCONCLUSIVE              70   a bug of ours
    64   a wrong option            71   a training failed here
    130  Ctrl-C                    74   the disk refuses          75   the budget does not reach

torch, scikit-learn and grpc are imported by the commands that use them, when they do.
"""

from __future__ import annotations

from collections.abc import Callable

from verifier.cli import filed, sessions, tasks
from verifier.cli.app import EPILOG, app, command, main, run

__all__ = ["EPILOG", "app", "main", "run"]

_COMMANDS: dict[str, Callable[..., int]] = {  # in the order of their use, which is the help's
    "inspect": tasks.inspect,
    "plan": tasks.plan,
    "verify": sessions.verify,
    "recheck": filed.recheck,
    "compare": filed.compare,
    "audit": sessions.audit,
}
for _name, _body in _COMMANDS.items():
    app.command(_name, epilog=EPILOG)(command(_body))
