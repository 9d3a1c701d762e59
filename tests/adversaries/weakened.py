"""Verifiers with one defence switched off, for the mutation tests.

A check that stands in a line of code is taken out of that line (``without``); the rest is replaced where it is called.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable

import pytest

from protocol.certificate import families, spot_check
from protocol.session import verifier
from protocol.session.verifier import VerifierSession

WITHIN_EPSILON = "certificate.upper_bound <= epsilon"


def without(method: str, check: str, instead: str = "False") -> type[VerifierSession]:
    """Return the verifier with the piece ``check`` of one of its methods replaced."""
    source = textwrap.dedent(inspect.getsource(getattr(VerifierSession, method)))
    assert source.count(check) == 1, f"{method} has no line {check!r} any more"
    scope: dict[str, Callable[..., object]] = {}
    exec(source.replace(check, instead), vars(verifier), scope)  # noqa: S102  our own source
    return type("Weakened", (VerifierSession,), {method: scope[method]})


def sees_nothing(monkeypatch: pytest.MonkeyPatch) -> type[VerifierSession]:
    """Return the verifier that retrains, but neither compares nor puts its own outputs in place of the answers."""
    compare = spot_check.compare
    monkeypatch.setattr(spot_check, "compare", lambda **given: compare(**{**given, "answered": given["retrained"]}))
    return without("_take_retrained", "merged[self._evaluations] = outputs", "pass")


def believes_the_claim(_: pytest.MonkeyPatch) -> type[VerifierSession]:
    """Return the verifier that compares epsilon with the relative gap that the prover states."""
    return without("_decide", WITHIN_EPSILON, "self._committed.signed.figures.relative_gap <= epsilon")


def takes_noise_off(monkeypatch: pytest.MonkeyPatch) -> type[VerifierSession]:
    """Return the verifier that subtracts MSW from answers, as is right where it trained everything."""
    rewrite_certify(monkeypatch, "rows.msw if checked is None else np.zeros_like(rows.msw)", "rows.msw")
    return VerifierSession


def rewrite_certify(monkeypatch: pytest.MonkeyPatch, piece: str, instead: str) -> None:
    """Replace the piece of code ``piece`` of the families certificate."""
    source = inspect.getsource(families.certify)
    assert source.count(piece) == 1, f"certify has no piece {piece!r} any more"
    scope: dict[str, Callable[..., families.FamiliesCertificate]] = {}
    exec(source.replace(piece, instead), vars(families), scope)  # noqa: S102  our own source
    monkeypatch.setattr(families, "certify", scope["certify"])
