"""Bounds on a claim's gap, and what they rest on.

terms       what a verifier asks for
readings    outputs and claim -> residuals, family by family
families    the default certificate (THEORY 2, 3)
spot_check  what rechecked answers say of the others (THEORY 7)
payouts     contributors' intervals (THEORY 9)
plan        the cheapest terms that will accept an honest claim
bounds      the quantiles and contrasts beneath them all
"""
