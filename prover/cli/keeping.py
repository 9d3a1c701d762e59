"""``prover status`` and ``prover migrate``: what a store holds, and of which version it is."""

from __future__ import annotations

import json

from prover.cli import options
from prover.cli.app import say


def status(
    store: options.StoreThere,
    as_json: options.Json = False,
) -> None:
    """Show what a store holds, also while a prover works on it."""
    from prover import report
    from prover.store import Store

    with Store(store, read_only=True) as state:
        task = state.task()
        if as_json:
            say(json.dumps(report.status_json(state, task), indent=2))
        else:
            for line in report.status_lines(state, task):
                say(line)


def migrate(store: options.StoreThere) -> None:
    """Bring a store that an older version made to this version, after copying its database."""
    from prover.store import migrated

    was = migrated(store)
    if was is None:
        say(f"store   {store} is of this version already")
        return
    version, copy = was
    say(f"store   {store} is of this version now, and was of version {version}")
    say(f"copy    {copy}; delete it when all is well")
