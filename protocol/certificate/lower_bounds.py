"""Fewest retrainings that any method can do with: how far a certificate is from what is possible at all (THEORY 12).

Two arguments of two points. In each a claim of gap 0 must be accepted with probability at least 1 - delta, a claim of
relative gap epsilon with probability at most delta, and both worlds look so alike that this takes many trainings.

**Noise.** World 0: the odd residual is seed noise of variance v, a share of Var f, and nothing else. World 1: a
linear error of relative gap epsilon is added, in a direction that is uniform over N units. For N large the error at the
subsets x_1 .. x_m of the pairs, whatever they are, is jointly Gaussian with covariance epsilon C, where C has ones on
its diagonal (C_jk = <phi(x_j), phi(x_k)> / N). So outcomes are N(0, v I) in world 0 and N(0, v I + epsilon C) in world
1. Let t_i be the eigenvalues of epsilon C / v: their sum is m epsilon / v. The affinity of the two laws, the integral
of sqrt(p_0 p_1), is the product of exp(-f(t_i)) with f(t) = ln((2 + t)/2)/2 - ln(1 + t)/4, and f(t) <= c t with
c = .037194, an equality at t = 3.07. A test with both errors at most delta < 1/2 makes the affinity of its own
outcomes, and so that of the data, at most 2 sqrt(delta (1 - delta)). Therefore

    m >= ln( 1 / (2 sqrt(delta (1 - delta))) ) / c * v / epsilon     pairs, each of two retrainings:

44.7 v / epsilon retrainings at delta = .05. Subsets without complements have noise 2 v each, and the same count.
*Holds for every design that is fixed before outcomes are seen, with N large and Gaussian noise.* It is not far from
what can be done: 12 families of copies of one subset each need 73 v / epsilon where v is known, by the quantiles of
two chi-squares.

**Rare events.** World 0: f is within H standard deviations of its mean, and the claim is its linear part. World 1: f
changes sign on an event of probability q, the two far ends of one direction z, where it is +H or -H standard
deviations: the residual is 2 H there and 0 elsewhere. By Gauss' integral E r z = 4 H density(t) and q = 2 P(z > t), so
the relative gap is epsilon where 4 H density(t) = sqrt(epsilon). No method that trains on m independent uniform subsets
sees a difference unless one of them falls in the event. So the total variation between the worlds is 1 - (1 - q)^m, and
both errors at most delta ask for

    m >= ln(1 / (2 delta)) / -ln(1 - q) :

172 at epsilon = .05 and 425 at .01, for delta = .05 and H = 3. Complementary subsets of an odd f tell nothing new:
methods that train pairs need that many pairs. *Holds for independent uniform subsets (others may be drawn along z where
the claim gives it away), with N large, and for methods that assume nothing of f but its range.* A method that assumes a
residual's kurtosis of at most K excludes q < 1/K.
"""

from __future__ import annotations

from math import ceil, inf, log, log1p, pi, sqrt

from scipy import special

from protocol.errors import ArgumentError

_LARGEST_RATE = 0.0371942
"""c: the maximum over t > 0 of f(t)/t, f as in the head of this file, rounded up."""


def least_possible(
    epsilon: float, delta: float, noise: float, *, half_range_sd: float = 3.0, kurtosis: float = inf
) -> int:
    """Return the retrainings that no method of the kinds above can do with less of: the larger of the two bounds.

    Parameters
    ----------
    epsilon : relative gap, above 0 and below 1.
    delta : probability of either error, above 0 and below 1/2.
    noise : v, the seed noise in the odd residual as a share of Var f, at least 0 (``forecast.Outlook.noise``).
    half_range_sd : H, half of f's range in its own standard deviations, at least 1.
    kurtosis : K, the most that the method assumes of the residual's kurtosis; infinite where it assumes nothing.

    Raises
    ------
    ArgumentError
        A number out of range.
    """
    return max(
        1, ceil(from_noise(epsilon, delta, noise)), ceil(from_rare_events(epsilon, delta, half_range_sd, kurtosis))
    )


def from_noise(epsilon: float, delta: float, noise: float) -> float:
    """Return the bound by noise, in retrainings: two for each pair.

    Assumptions: a design fixed beforehand, Gaussian seed noise, many units, an error in a direction that is not known.
    """
    _check(epsilon, delta)
    if noise < 0:
        raise ArgumentError(f"noise: expected a share of Var f of at least 0, got {noise}")
    return 2 * log(1 / (2 * sqrt(delta * (1 - delta)))) / _LARGEST_RATE * noise / epsilon


def from_rare_events(epsilon: float, delta: float, half_range_sd: float, kurtosis: float = inf) -> float:
    """Return the bound by rare events, in retrainings.

    Assumptions: independent uniform subsets, many units, nothing known of f but its range and the residual's kurtosis.
    """
    _check(epsilon, delta)
    if half_range_sd < 1 or kurtosis < 1:
        raise ArgumentError(
            f"half_range_sd and kurtosis: expected at least 1, as no f has less, got {half_range_sd} and {kurtosis}"
        )
    density = sqrt(epsilon) / (4 * half_range_sd)
    end = sqrt(-2 * log(density * sqrt(2 * pi)))
    share = max(2 * float(special.ndtr(-end)), 1 / kurtosis)
    return log(1 / (2 * delta)) / -log1p(-share) if share < 1 else 1.0


def _check(epsilon: float, delta: float) -> None:
    if not (0 < epsilon < 1 and 0 < delta < 0.5):
        raise ArgumentError(f"expected epsilon between 0 and 1 and delta between 0 and 1/2, got {epsilon} and {delta}")
