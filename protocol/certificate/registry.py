"""Every certificate, one line each. Whoever needs one asks here by name; nobody else knows which there are."""

from __future__ import annotations

from protocol.certificate.algorithm1.method import Algorithm1
from protocol.certificate.crossfit.method import Crossfit
from protocol.certificate.exhaustive.method import Exhaustive
from protocol.certificate.gaussian.method import Gaussian
from protocol.certificate.method import Method
from protocol.certificate.moments.method import Moments
from protocol.errors import ArgumentError

METHODS: dict[str, Method] = {
    method.name: method for method in (Moments(), Crossfit(), Exhaustive(), Algorithm1(), Gaussian())
}
"""By name, the default first."""

DEFAULT = next(iter(METHODS))


def method_named(name: str) -> Method:
    """Return the method of that name, or raise :class:`ArgumentError` that lists them."""
    found = METHODS.get(name)
    if found is None:
        raise ArgumentError(f"certificate: expected one of {', '.join(METHODS)}, got {name[:40]!r}")
    return found
