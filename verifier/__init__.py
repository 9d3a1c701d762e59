"""The verifier: challenges a claim, retrains a few subsets, accepts or rejects.

Owns the only entropy and the user's budget. What the statement means is ``protocol``'s business; the prover is never
imported.
"""
