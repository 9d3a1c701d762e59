"""The evidence for every certificate: coverage, power, cost, and what a plainer estimator gives. See RESULTS.md."""
