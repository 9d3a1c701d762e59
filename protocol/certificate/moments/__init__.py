"""The moment certificate: bounds on a mean that assume a bounded kurtosis and nothing else (THEORY 2, 3, 7)."""
