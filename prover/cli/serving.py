"""``prover serve``: the claim proved to whoever asks, until it is told to stop."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from protocol.errors import ArgumentError, StoreError
from prover import inputs
from prover.cli import options
from prover.cli.app import say


def serve(
    store: options.StoreThere,
    where: options.Where,
    data: options.DataOfStore = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = 50051,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", metavar="FILE", help="Certificate chain, PEM; needs --tls-key.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", metavar="FILE", help="The certificate's private key, PEM.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Serve other machines without TLS: the traffic can be read in transit.")
    ] = False,
    max_retrainings: Annotated[int, typer.Option(min=1, help="Most trainings that one verifier may ask for.")] = 50_000,
) -> None:
    """Prove the claim to verifiers over gRPC until SIGTERM or Ctrl-C; stopping loses nothing."""
    import logging

    from prover.engines.choice import opened
    from prover.serving.limits import Limits
    from prover.serving.server import Tls, honest
    from prover.serving.server import serve as serve_until_told
    from prover.store import Store

    if (tls_cert is None) != (tls_key is None):
        raise ArgumentError("expected --tls-cert and --tls-key together, got one of them")
    choice = where.choice
    tls = None if tls_cert is None or tls_key is None else Tls(certificate=tls_cert, key=tls_key)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    limits = Limits(max_evaluations_per_session=max_retrainings)
    inputs.require_store(store)
    with Store(store) as state:
        task, committed = state.task(), state.claim()
        if committed is None:
            raise StoreError(f"store {store}: expected a claim, found none; run prover train first")
        key = state.signing_key()

        def tell(address: str) -> None:
            say(f"task    {task.digest.hex()}")
            say(f"claim   {committed.signed.root.hex()}")
            say(f"serving {address}")
            sys.stdout.flush()

        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        with opened(choice, task, inputs.dataset(task, data or state.data_path())) as trains:
            served = honest(task=task, committed=committed, key=key, engine=trains, limits=limits)
            serve_until_told(served, state, address=address, tls=tls, insecure=insecure, limits=limits, on_ready=tell)
