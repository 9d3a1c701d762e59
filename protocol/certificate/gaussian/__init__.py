"""A quick look: residuals are taken as Gaussian, and the verdict says so (THEORY 10).

families         bounds from rho-correlated families, look by look
products         a bound from independent pairs, for few units
looks            one level for many looks
output_variance  Var f, estimated and from above
"""
