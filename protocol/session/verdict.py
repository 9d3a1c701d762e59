"""The verdict: what a session ends with, and what it rests on (THEORY 4)."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.certificate.method import Certificate
from protocol.certificate.registry import method_named
from protocol.certificate.spot_check import SpotCheck
from protocol.certificate.terms import Rounds, Terms
from protocol.encoding import Digest
from protocol.errors import InternalError
from protocol.session.messages import Outcome


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the verifier concludes.

    rounds : the rounds that were chosen, or None when the protocol broke before any were.
    reasons : at least one line; the first says why the outcome is what it is.
    certificate : the bounds on the gap, or None when the session ended before there were any.
    spot_checks : what was rechecked of the prover's answers, one per answered round; empty when all was retrained.
    n_retrainings : how many trainings the verifier did itself.
    """

    outcome: Outcome
    terms: Terms
    rounds: Rounds | None
    task_digest: Digest
    claim_root: Digest | None
    reasons: tuple[str, ...]
    certificate: Certificate | None
    spot_checks: tuple[SpotCheck, ...]
    n_retrainings: int

    def __post_init__(self) -> None:
        if not self.reasons:
            raise InternalError("a verdict needs a reason")
        if self.outcome is Outcome.ACCEPT and (self.certificate is None or self.claim_root is None):
            raise InternalError("an ACCEPT needs a claim and a certificate")

    @property
    def basis(self) -> str:
        """Certificate, assumption and who answered, as "moments (kurtosis at most 9), own"."""
        return method_named(self.terms.method).describe(self.terms)
