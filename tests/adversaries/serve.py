"""A dishonest prover over gRPC: the real server, its sessions lying as a cheat says.

    python -m tests.adversaries.serve NAME --store DIR --port 0

NAME is a cheat's (``registry``); DIR is a store with an honest claim, from ``prover train``, which is only read: the
cheat has the honest prover's task, claim and key, and keeps its sessions in a temporary directory. It prints what
``prover serve`` prints. A message that only a broken server could send (a second claim, silence) ends on the server as
a bug of its own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from protocol.certificate.terms import Answers
from protocol.errors import AttributionProofsError, StoreError
from prover.engines import local
from prover.serving.live import Served
from prover.serving.server import serve
from prover.store import Store
from tests.adversaries.dishonest import DishonestProver
from tests.adversaries.registry import BY_NAME
from tests.adversaries.terms import BUDGET, terms
from tests.journeys.trainings import world_of

N_CHECKS = 100
"""How many pairs a cheat takes the verifier to recheck; it is not told."""


def dishonest(
    name: str, honest: Store, *, n_threads: int | None = None, seed: int = 0
) -> tuple[Served, DishonestProver]:
    """Return what the cheat ``name`` serves, given an honest prover's store, and the cheat itself.

    Parameters
    ----------
    seed : of the cheat's coins.
    """
    task, committed, data = honest.task(), honest.claim(), honest.data_path()
    if committed is None:
        raise StoreError(f"store {honest.directory}: expected a claim, found none; run prover train first")
    world = world_of(task, committed, honest.signing_key(), data=data, n_threads=n_threads)
    guessed = terms(Answers.DELEGATED, measure=task.measure)
    scene = world.scene(guessed, np.random.default_rng(seed), budget=replace(BUDGET, n_checks=N_CHECKS))
    prover = DishonestProver(cheat=BY_NAME[name], scene=scene, honest=world.claim, figures=world.figures)
    engine = local.prepare(task, data=data, n_threads=n_threads)
    return Served(task=task, make_session=prover.session, engine=engine), prover


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.adversaries.serve", description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=sorted(BY_NAME), metavar="NAME", help=", ".join(sorted(BY_NAME)))
    parser.add_argument("--store", type=Path, required=True, help="an honest prover's, with its claim")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--threads", type=int, help="threads that train")
    options = parser.parse_args()
    try:
        with Store(options.store, read_only=True) as honest:
            served, prover = dishonest(options.name, honest, n_threads=options.threads)
        with tempfile.TemporaryDirectory(prefix="dishonest-") as own, Store(Path(own)) as store:

            def tell(address: str) -> None:
                claim = prover.signed.root.hex()
                sys.stdout.write(f"task    {served.task.digest.hex()}\nclaim   {claim}\nserving {address}\n")
                sys.stdout.flush()

            serve(served, store, address=f"127.0.0.1:{options.port}", on_ready=tell)
    except AttributionProofsError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
