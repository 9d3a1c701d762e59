"""Finite-sample bounds: means of bounded variables, tails of sums of characters, room for lies.

Nothing here is asymptotic. Each function's docstring states its theorem; proofs or their sources
are in docs/theory.md, section 5.

Letters: alpha the probability of failure; a = |V phi(x)| for a matrix V with Frobenius norm 1
(a vector of norm 1 when there is one target), whose square has E exp(lambda a^2 / K) <=
(1 - 2 lambda)^(-1/2) for 0 <= lambda < 1/2, K the sub-Gaussian variance of one character.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float64
from scipy.special import gammaln, logsumexp

BET = 0.9
"""Largest bet, as a share of what cannot lose everything."""


def betting_upper(values: Float64[np.ndarray, " m"], alpha: float) -> float:
    """Return u with P(E[X] > u) <= alpha for m independent X in [0, 1] with one mean.

    The capital prod_j (1 - lambda_j (X_j - mu)) of bets against a mean as large as mu is a
    non-negative martingale when mu is the mean, so it exceeds 1/alpha with probability at most
    alpha (Ville); u is where it does. Bets are predictable: lambda_j depends on X_1 .. X_{j-1}
    alone, but for the cap BET / (1 - mu), under which the capital rises with mu
    (Waudby-Smith and Ramdas 2024, J. R. Stat. Soc. B 86, 1, section 4). A third of the capital goes
    to each of three guesses at how small a variance may be: their mean is a martingale, too.
    """
    values = np.clip(np.asarray(values, dtype=np.float64), 0.0, 1.0)
    m, goal = len(values), -np.log(alpha)
    strategies = [_bets(values, alpha, prior) for prior in (0.25, 0.25 / np.sqrt(m), 0.25 / m)]

    def log_capital(mu: float) -> float:
        cap = BET / max(1 - mu, 1e-12)
        logs = [float(np.log1p(-np.minimum(bets, cap) * (values - mu)).sum()) for bets in strategies]
        return float(logsumexp(logs) - np.log(len(logs)))

    low, high = float(values.mean()), 1.0
    if log_capital(high) < goal:
        return 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if log_capital(middle) >= goal else (middle, high)
    return high


def betting_upper_despite_lies(
    values: Float64[np.ndarray, " m"],
    alpha: float,
    *,
    bet: float,
    n_false: int,
    moves: Float64[np.ndarray, " m"],
    drifts: Float64[np.ndarray, " m"],
) -> float:
    """Return u with P(E[X] > u) <= alpha, given ``values`` in place of X, as :func:`betting_upper`.

    At most ``n_false`` values, whichever, are off by as much as ``moves``, every other by ``drifts`` at most. Where all
    bets are one number the capital is a product of terms each falling in its own X, so the least that the true
    capital can be is found exactly: every X at its upper end but for the false, which take the largest losses. The
    bound of what came, plus the mean of the largest moves, is not enough: lies that hide outliers make what came look
    less spread than X is.

    bet : above 0; a function of what was fixed before the values were drawn.
    """
    drifted, moved = np.minimum(values + drifts, 1.0), np.minimum(values + np.maximum(moves, drifts), 1.0)
    goal = -np.log(alpha)

    def least_log_capital(mu: float) -> float:
        stake = min(bet, BET / max(1 - mu, 1e-12))
        kept, lost = np.log1p(-stake * (drifted - mu)), np.log1p(-stake * (moved - mu))
        return float(kept.sum() - np.sort(kept - lost)[::-1][:n_false].sum())

    low, high = float(values.mean()), 1.0
    if least_log_capital(high) < goal:
        return 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if least_log_capital(middle) >= goal else (middle, high)
    return high


def betting_lower(values: Float64[np.ndarray, " m"], alpha: float) -> float:
    """Return l with P(E[X] < l) <= alpha; :func:`betting_upper` of 1 - X."""
    return 1.0 - betting_upper(1.0 - np.asarray(values), alpha)


def _bets(values: Float64[np.ndarray, " m"], alpha: float, prior: float) -> Float64[np.ndarray, " m"]:
    """sqrt(2 log(1/alpha) / (m s^2)), s^2 the variance of what came before and of one X of variance ``prior``."""
    m = len(values)
    counts = np.arange(1, m + 1)
    means = (0.5 + np.cumsum(values)) / (counts + 1)
    squares = (values - np.concatenate([[0.5], means[:-1]])) ** 2
    before = np.concatenate([[0.0, 0.0], np.cumsum(squares[1:])[:-1]])[:m]  # the first tells nothing of the spread
    spread = (prior + before) / counts
    return np.asarray(np.sqrt(-2 * np.log(alpha) / (m * np.maximum(spread, 1e-300))))


def sub_gaussian_variance(p: float) -> float:
    """Return K with E exp(s phi) <= exp(s^2 K / 2) for one p-biased character: 1 at p = 1/2 (Kearns and Saul 1998)."""
    if abs(p - 0.5) < 1e-6:
        return 1.0
    return float((1 - 2 * p) / (2 * p * (1 - p) * np.log((1 - p) / p)))


_LAMBDAS = np.linspace(0.005, 0.495, 99)


@lru_cache(maxsize=4096)
def excess_of_square(tau: float, variance: float) -> float:
    """Return a bound on E[(a^2 - tau^2)_+]: K inf_lambda exp(-lambda tau^2 / K) (1 - 2 lambda)^(-1/2) / (e lambda).

    From x_+ <= exp(lambda x) / (e lambda).
    """
    scaled = tau**2 / variance
    return float(variance * np.min(np.exp(-_LAMBDAS * scaled) / np.sqrt(1 - 2 * _LAMBDAS) / (np.e * _LAMBDAS)))


def excess(tau: float, variance: float) -> float:
    """Return a bound on E[(a - tau)_+]: that of the square over 2 tau, as a - tau <= (a^2 - tau^2) / (2 tau)."""
    return excess_of_square(tau, variance) / (2 * tau)


def bounded_second_moment(mean_square: float, largest: float, variance: float) -> float:
    """Return a bound on E[rho a^2] for any 0 <= rho <= largest^2 with E[rho] <= mean_square.

    inf over tau of tau^2 E[rho] + largest^2 E[(a^2 - tau^2)_+]: the mass of rho sits where a is
    largest at worst.
    """
    taus = np.linspace(0.5, 12.0, 116) * np.sqrt(variance)
    excesses = np.array([excess_of_square(float(t), variance) for t in taus])
    return float((taus**2 * mean_square + largest**2 * excesses).min())


def bernstein(second_moment: float, largest: float, m: int, alpha: float) -> float:
    """Return t with P(mean of m independent X < E[X] - t) <= alpha for X >= -largest with E[X^2] <= second_moment.

    Bernstein: t = L largest / (3m) + sqrt((L largest / (3m))^2 + 2 L second_moment / m), L = log(1/alpha).
    """
    level = -np.log(alpha)
    linear = level * largest / (3 * m)
    return float(linear + np.sqrt(linear**2 + 2 * level * second_moment / m))


def lies_along(n_answers: int, n_false: int, largest: float, variance: float, alpha: float) -> float:
    """Return a bound on (1/m) sum over any c of m pairs of |e_j| a_j with |e_j| <= largest, whichever c are chosen.

    For a fixed direction, with probability 1 - alpha over the m draws: the sum of a^2 over the
    worst c is at most c x K with c (x - 1 - log x) / 2 = log C(m, c) + log(1/alpha), by Chernoff
    and a union over all choices; the sum of a at most sqrt(c) times its root.
    """
    if n_false == 0:
        return 0.0
    c = n_false
    choices = float(gammaln(n_answers + 1) - gammaln(c + 1) - gammaln(n_answers - c + 1))
    goal = 2 * (choices - np.log(alpha)) / c
    low, high = 1.0, 2.0 * goal + 4.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if middle - 1 - np.log(middle) < goal else (low, middle)
    return float(largest * c * np.sqrt(high * variance) / n_answers)
