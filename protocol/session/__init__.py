"""Who says what, when: both roles over one transition table, with no input or output of their own.

messages    what is said            effects   what a session asks of its shell, and is told
machine     in what order           prover, verifier   the two roles
transcript  the record              verdict, reasons   the conclusion, and why
"""
