"""Bounds on a claim's gap, and what they rest on.

One folder holds one method: its bound, its planner, its judge and what it reports. The registry has one line for each,
and nothing outside these folders asks which method it is.

moments       the default; assumes a bound on the residual's kurtosis (THEORY 2, 3, 7)
crossfit      assumes nothing but the targets' ranges (THEORY 5)
exhaustive    every subset of a few units (THEORY 11)
algorithm1    the paper's own protocol (THEORY 6)
gaussian      a quick look; assumes Gaussian residuals (THEORY 10)

terms         what a verifier asks for, and the rounds by which it finds out
method        what a method must offer
registry      the methods by name
planning      budgets, forecasts and plans, the same for every method
readings      outputs and claim to residuals, family by family
spot_check    what rechecked answers say of the others (THEORY 7)
functionals   what contributors are owed, with intervals (THEORY 9)
lower_bounds  the fewest retrainings that any certificate can do with (THEORY 12)

betting, concentration, quantiles, phrases: the inequalities beneath several methods, and words that reports share.
"""
