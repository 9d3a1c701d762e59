"""Linear functionals of the best scores, estimated on a session's own retrainings (THEORY 9).

Owns what is said of sums of scores, such as the worth of a contributor, and of shares of a total. Refuses to know
tasks, draws and sessions: everything here takes arrays and returns arrays.
"""
