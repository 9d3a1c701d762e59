"""How a prover's server is reached and how long it is waited for; none of this affects outputs.

Owns the reading of ``HOST:PORT`` and the rule about plaintext: TLS everywhere but on this machine, unless the user says
otherwise. A claim is signed either way; TLS keeps others from reading along and from answering in the prover's place.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, fields
from typing import Self

from protocol.errors import ArgumentError


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a server is: a name or an IP address, and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the address that ``HOST:PORT`` or ``[IPV6]:PORT`` spells, or raise :class:`ArgumentError`."""
        host, _, port = text.rpartition(":")
        is_bracketed = host.startswith("[") and host.endswith("]")
        host = host[1:-1] if is_bracketed else host
        is_number = port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16
        if not host or not is_number or (":" in host) != is_bracketed or any(c in host for c in "/ []"):
            raise ArgumentError(f"expected a prover's address HOST:PORT, such as localhost:50051, got {text!r}")
        return cls(host=host, port=int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether it is this machine's own, whatever a name server says."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a client waits, in seconds, each above 0.

    connect_s : for a server that was never heard, over all tries.
    reconnect_s : for a server that was heard, and went away or has too much to do, since its last word.
    call_s : for the answer to one short call.
    stream_s : for one stream, which then resumes where it was.
    claim_s : for the whole claim.
    answers_s : for the whole of one challenge's answers, training included.
    last_word_s : for a closing or an abort to be heard, over all tries; the verdict does not depend on it.
    pause_s, max_pause_s : between two tries, doubled from the first to the second.
    """

    connect_s: float = 3.0
    reconnect_s: float = 120.0
    call_s: float = 20.0
    stream_s: float = 60.0
    claim_s: float = 3600.0
    answers_s: float = 6 * 3600.0
    last_word_s: float = 3.0
    pause_s: float = 0.1
    max_pause_s: float = 5.0

    def __post_init__(self) -> None:
        for wait in fields(self):
            if not getattr(self, wait.name) > 0:  # also false for NaN
                raise ArgumentError(f"patience: expected {wait.name} above 0, got {getattr(self, wait.name)}")
