"""A finite-sample bound that assumes nothing but the targets' ranges (THEORY 5).

bound    the certificate      pilot   scale, ball and weights, from the verifier's own first pairs
rounds   what was drawn and answered, as residuals and characters
plan     how many pairs
"""
