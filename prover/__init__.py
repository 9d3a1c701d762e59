"""The prover: trains, commits to a claim, answers challenges.

Owns the work and its storage. What the statement means is ``protocol``'s business; the verifier is never imported.
"""
