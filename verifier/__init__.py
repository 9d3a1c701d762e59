"""The verifier: challenges a claim, retrains on some subsets, accepts or rejects.

Owns the only entropy and the user's budget. What the statement means is ``protocol``'s business; the prover is never
imported.

loop           performs what a session asks for, until its verdict
verification   one verification from the trusted task to the filed transcript
payouts        a payout file held against a verified claim
comparison     what several filed sessions say together
party          who is asked: a server (client, config) or a claim file (offline)
retrain        the verifier's own trainings
filing, keys   what is written to disk, and the key that signs it
report         tables and JSON; cli the commands; progress the bars
"""
