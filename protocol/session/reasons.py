"""Why a verdict is what it is, in one line for a person to read."""

from __future__ import annotations

from protocol.certificate.method import Certificate, Method
from protocol.certificate.spot_check import SpotCheck
from protocol.certificate.terms import Terms


def statement(method: Method, terms: Terms) -> str:
    """Return what is bounded, in words."""
    return f"{terms.across.value} {method.statement}" if method.statement == Method.statement else method.statement


def false_answers(check: SpotCheck, n_rechecked: int) -> str:
    """Return how many of the rechecked answers are false, and which."""
    shown = ", ".join(map(str, check.mismatches[:5])) + (", ..." if len(check.mismatches) > 5 else "")
    return (
        f"{len(check.mismatches)} of {n_rechecked} rechecked answers are false (evaluations {shown}; "
        f"largest difference {check.largest_difference:.3g})"
    )


def undecided(certificate: Certificate, name: str, epsilon: float) -> str:
    """Return why the last round left the verdict open, and what to do."""
    if certificate.undecided is not None:
        return certificate.undecided
    return (
        f"{name} is between {certificate.lower_bound:.4g} and {certificate.upper_bound:.4g}, with {epsilon:g} between: "
        "allow more retrainings"
    )
