"""The other party, a server or a claim file, and the task that it has a claim for.

Owns the choice between the two. grpc is imported only where there is a server to reach.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from protocol.errors import ArgumentError
from verifier.offline import FileProver, read_claim

if TYPE_CHECKING:
    from verifier.client import ProverClient


class Party:
    """Whoever is asked. Close it when done.

    Parameters
    ----------
    address : ``HOST:PORT`` of a server, or None.
    claim : a claim file, or None; exactly one of the two is given.
    tls_ca, insecure : see ``client.ProverClient``.

    Attributes
    ----------
    where : the address or the file, for messages.
    task : what the party has a claim for, not trusted yet.
    prover : who answers.
    is_file : whether nothing can be asked of it.
    max_served : most trainings that its server says it answers in a session; None where it does not say.

    Raises
    ------
    ArgumentError
        Both or neither were given.
    TransportError
        The server cannot be reached. DataError when the file cannot be used.
    """

    def __init__(self, address: str | None, claim: Path | None, *, tls_ca: Path | None, insecure: bool) -> None:
        if (address is None) == (claim is None):
            raise ArgumentError("expected one of HOST:PORT and --claim FILE, got " + ("both" if address else "neither"))
        self.is_file = claim is not None
        self.prover: ProverClient | FileProver
        self.max_served: int | None = None
        if claim is not None:
            self.where = str(claim)
            self.task, committed = read_claim(claim)
            self.prover = FileProver(committed)
        else:
            self.where = address or ""
            client = _connect(self.where, tls_ca, insecure)
            try:
                self.task, self.max_served = client.get_task(), client.max_evaluations
            except BaseException:
                client.close()
                raise
            self.prover = client

    def close(self) -> None:
        """Close the connection, where there is one."""
        self.prover.close()


def _connect(address: str, tls_ca: Path | None, insecure: bool) -> ProverClient:
    from verifier.client import ProverClient  # noqa: PLC0415

    return ProverClient(address, tls_ca=tls_ca, insecure=insecure)
