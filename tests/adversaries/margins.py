"""Exact margins for counts: when a number of successes says that a promised rate is broken."""

from __future__ import annotations

from scipy.stats import binom

FALSE_ALARM = 1e-4
"""Probability that one statistical test fails although the promise holds to the letter."""


def most_allowed(n_runs: int, rate: float) -> int:
    """Return the most successes in ``n_runs`` that a rate of at most ``rate`` leaves possible.

    More happen with probability at most FALSE_ALARM, exactly binomial.
    """
    return int(binom.ppf(1 - FALSE_ALARM, n_runs, rate))


def fewest_allowed(n_runs: int, rate: float) -> int:
    """Return the fewest successes in ``n_runs`` that a rate of at least ``rate`` leaves possible, likewise."""
    return int(binom.ppf(FALSE_ALARM, n_runs, rate))
