"""The command ``prover``: what it takes, what it prints, how it ends.

stdout carries results only, progress and errors go to stderr, and a fault is one line. Exit statuses:

    0    done                      70   a bug of ours
    64   a wrong option            71   a training failed
    65   a file cannot be used     74   the disk refuses, or another prover holds the store
    69   no answer, address taken  75   the budget does not reach
    130  Ctrl-C                    143  SIGTERM, which ends serve with 0

torch, scikit-learn and grpc are imported by the commands that use them, when they do.
"""

from __future__ import annotations

from collections.abc import Callable

from prover.cli import drafting, filing, keeping, planning, serving, training
from prover.cli.app import EPILOG, INTERRUPTED, TERMINATED, app, command, main, run
from prover.cli.groups import spread

__all__ = ["EPILOG", "INTERRUPTED", "TERMINATED", "app", "main", "run"]

_COMMANDS: dict[str, Callable[..., None]] = {  # in the order of their use, which is the help's
    "init": drafting.init,
    "calibrate": training.calibrate,
    "plan": planning.plan,
    "train": training.train,
    "serve": serving.serve,
    "status": keeping.status,
    "migrate": keeping.migrate,
    "export": filing.export_,
    "import": filing.import_,
}
for _name, _body in _COMMANDS.items():
    app.command(_name)(command(spread(_body)))
