"""The verifier's terms that tests and demonstrations meet cheats with."""

from __future__ import annotations

from protocol.certificate.terms import Across, Assurance, Terms
from protocol.sampling import families


def terms(
    assurance: Assurance,
    *,
    n_families: int = 60,
    n_siblings: int = 4,
    rho: float = 0.4,
    epsilon: float = 0.05,
    delta: float = 0.05,
    n_checks: int = 40,
    complements: bool = True,
) -> Terms:
    """Return terms of one look; ``n_checks`` counts where answers are audited."""
    design = families(n_families=n_families, n_siblings=n_siblings, rho=rho, complements=complements)
    return Terms(
        epsilon=epsilon,
        delta=delta,
        across=Across.MEAN,
        assurance=assurance,
        looks=(design,),
        n_checks=n_checks if assurance is Assurance.AUDITED else 0,
    )
