"""Recipe sgd in the profile ``exact``: the same bits on every machine (SPEC 12)."""
