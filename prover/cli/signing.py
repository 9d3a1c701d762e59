"""What ``prover train`` and ``prover import`` end with: a claim signed and saved."""

from __future__ import annotations

from protocol.claim import Claim, Figures
from protocol.session.messages import ClaimCommitted
from prover.claiming import commit
from prover.cli.app import complain
from prover.store import Store


def published(state: Store, claim: Claim, figures: Figures) -> ClaimCommitted:
    """Sign a claim and save it in the place of any other; say so where another key had signed that one."""
    before, key = state.signer(), state.next_signing_key()
    committed = commit(claim, figures, key)
    state.save_claim(committed)
    if before not in {None, key.public}:
        complain(
            f"warning: expected the key that signed the claim before, got another in {state.directory}: whoever knows "
            "this prover by that one will take the new claim for somebody else's"
        )
    return committed
