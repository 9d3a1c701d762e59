"""Finite-sample bounds: means of bounded variables, moments of sums of characters, room for lies.

Nothing here is asymptotic. Each function's docstring states its theorem; proofs or their sources
are in docs/theory.md, section 5.

Letters: alpha the probability of failure; a = |V phi(x)| for a matrix V with Frobenius norm 1
(a vector of norm 1 when there is one target); q half the order of a moment; K the sub-Gaussian
variance of one character.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import comb
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64
from scipy.optimize import brentq
from scipy.special import betaincinv, gammaincinv, gammaln

from protocol.certificate import betting

BET = betting.BET
_PRECISION = 1e-9  # of a mean in [0, 1]; what is returned is beyond the root, never short of it


def betting_upper(values: Float64[np.ndarray, " m"], alpha: float, *, guess: float = 0.5) -> float:
    """Return u with P(E[X] > u) <= alpha for m independent X in [0, 1] with one mean (``betting``).

    guess : at the mean, fixed before the values were drawn. A bad one costs width, never the level.
    """
    column = np.asarray(values, dtype=np.float64)[:, None]
    return float(betting.betting_upper(column, alpha, horizon=max(len(values), 1), guess=guess)[0])


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

    return _crossing(lambda mu: least_log_capital(mu) - goal, float(values.mean()))


def best_bet(alpha: float, m: int, *, spread: float, n_false: int, move: float) -> tuple[float, float]:
    """Return the ``bet`` for :func:`betting_upper_despite_lies` that should serve best, and by how much its bound is
    then expected to exceed the mean, beside n_false * move / m.

    It minimises (L + n_false (-ln(1 - bet move) - bet move)) / (m bet) + bet spread / 2 for values near 1/2.

    spread : a guess at the values' second moment about their mean. move : likewise, how far a false value is moved.
    """
    bets = np.geomspace(1e-4, 2 * BET, 256)
    moved = min(move, 0.5) * bets
    losses = -np.log(alpha) + n_false * (-np.log1p(-moved) - moved)
    excesses = losses / (m * bets) + bets * spread / 2
    best = int(np.argmin(excesses))
    return float(bets[best]), float(excesses[best])


def norm_quantile(rank: float, share: float) -> float:
    """Return below what a Gaussian vector's norm over its root mean square lies with probability ``share``, roughly.

    For guesses only. Its squared norm is taken as chi-square with ``rank`` degrees of freedom over their number.
    """
    return float(np.sqrt(2 * gammaincinv(rank / 2, share) / rank))


def _crossing(rising: Callable[[float], float], low: float) -> float:
    """Return a point from ``low`` on where ``rising`` has reached 0, at most 2e-9 too far; 1 where it does not by 1."""
    if rising(1.0) < 0:
        return 1.0
    if rising(low) >= 0:
        return low
    return min(float(brentq(rising, low, 1.0, xtol=_PRECISION)) + 2 * _PRECISION, 1.0)


def betting_lower(values: Float64[np.ndarray, " m"], alpha: float, *, guess: float = 0.5) -> float:
    """Return l with P(E[X] < l) <= alpha; :func:`betting_upper` of 1 - X."""
    return 1.0 - betting_upper(1.0 - np.asarray(values), alpha, guess=1.0 - guess)


def sub_gaussian_variance(p: float) -> float:
    """Return K with E exp(s phi) <= exp(s^2 K / 2) for one p-biased character: 1 at p = 1/2 (Kearns and Saul 1998)."""
    if abs(p - 0.5) < 1e-6:
        return 1.0
    return float((1 - 2 * p) / (2 * p * (1 - p) * np.log((1 - p) / p)))


ORDERS = np.arange(1, 41)
"""q of every array of moments here: E a^2, E a^4, ..., E a^80."""

_LAMBDAS = np.linspace(0.005, 0.495, 99)
_EXACT_ORDERS = 8  # of cumulants by recursion, which loses digits beyond
_SIGNED_ORDERS = 5  # q up to which products of cumulants below 0 may be left out; see _bell_moments

Moments: TypeAlias = Float64[np.ndarray, " q"]


@lru_cache(maxsize=16)
def moments(p: float) -> Moments:
    """Return bounds on E a^(2q) for q in ORDERS, whatever V is.

    (2q - 1)!!, those of a Gaussian, at p = 1/2. Elsewhere the smaller of two: Bell's polynomials in
    the cumulants of one character, and q! inf_lambda (K/lambda)^q (1 - 2 lambda)^(-1/2).
    """
    gaussian = _gaussian_moments()
    if abs(p - 0.5) < 1e-6:
        return gaussian
    scaled = np.log(sub_gaussian_variance(p) / _LAMBDAS) * ORDERS[:, None] - 0.5 * np.log(1 - 2 * _LAMBDAS)
    chernoff = np.exp(gammaln(ORDERS + 1) + scaled.min(axis=1))
    found = np.asarray(np.minimum(chernoff, np.inf))
    found[:_EXACT_ORDERS] = np.minimum(found[:_EXACT_ORDERS], _bell_moments(p))
    found[0] = 1.0
    found.setflags(write=False)
    return found


def moments_of(spectrum: Float64[np.ndarray, " k"], p: float) -> Moments:
    """Return bounds on E |V phi|^(2q) for a V whose V V^T has these eigenvalues: those of sum mu_k Z_k^2 at p = 1/2."""
    weights = np.maximum(spectrum, 0.0)
    powers = np.array([(weights**n).sum() for n in ORDERS])
    n = ORDERS - 1
    cumulants = np.exp(n * np.log(2) + gammaln(ORDERS)) * powers  # of sum mu_k Z_k^2: 2^(n-1) (n-1)! sum mu^n
    return np.asarray(_positive_part(cumulants) * (moments(p) / _gaussian_moments()))


def _gaussian_moments() -> Moments:
    found = np.exp(gammaln(2 * ORDERS + 1) - gammaln(ORDERS + 1) - ORDERS * np.log(2))
    return np.asarray(found)


def _bell_moments(p: float) -> Moments:
    """Return bounds on E <v, phi>^(2q) for q up to _EXACT_ORDERS, over all unit vectors v (THEORY 5.3, (i)).

    The n-th cumulant of <v, phi> is kappa_n s_n with s_n = sum v_i^n, where |s_n| <= 1 for n >= 2, s_n >= 0 for even n,
    and kappa_1 = 0. A moment is a sum over partitions of products of these. Taking every |kappa_n| bounds it at any q.

    Up to q = 5 a product whose kappas of even order multiply to less than 0 may be left out. It can only be positive
    if its s_n multiply to less than 0. Then some odd n occurs an odd number of times; so does another, because the
    orders add up to 2q; both are at least 3, so they add up to at least 8. Of 2q <= 10 at most 2 is left, which is
    kappa_2 = 1: such a product has no negative kappa of even order, and is kept. At q = 6 this ends with 3 + 5 + 4:
    kappa_4 < 0 at p = 0.3, and kappa_3 kappa_5 kappa_4 s_3 s_5 s_4 may be positive.
    """
    n = 2 * _EXACT_ORDERS
    orders = np.arange(1, n + 1)
    one, zero = (1 - p) / np.sqrt(p * (1 - p)), -p / np.sqrt(p * (1 - p))
    raw = p * one**orders + (1 - p) * zero**orders
    cumulants = np.zeros(n)
    for i in range(n):  # raw moment i = sum over j of C(i, j) cumulant_j raw_(i-1-j), the last with raw_0 = 1
        cumulants[i] = raw[i] - sum(comb(i, j) * cumulants[j] * raw[i - j - 1] for j in range(i))
    found = _positive_part(np.abs(cumulants))[1::2]
    cumulants[::2] = np.abs(cumulants[::2])  # of orders 1, 3, 5, ...
    found[:_SIGNED_ORDERS] = _positive_part(cumulants)[1 : 2 * _SIGNED_ORDERS : 2]
    return found


def _positive_part(cumulants: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Raw moments 1 .. n, products of cumulants below 0 left out; the moments themselves where no cumulant is."""
    plus, minus = [1.0], [0.0]
    for i in range(len(cumulants)):
        terms = [(comb(i, j), float(cumulants[j]), i - j) for j in range(i + 1)]
        plus.append(sum(c * (k * plus[r] if k > 0 else -k * minus[r]) for c, k, r in terms))
        minus.append(sum(c * (k * minus[r] if k > 0 else -k * plus[r]) for c, k, r in terms))
    return np.array(plus[1:])


def beyond(found: Moments, alpha: float) -> float:
    """Return u with P(a > u) <= alpha: inf_q (E a^(2q) / alpha)^(1/2q), Markov."""
    return float(np.exp((np.log(found) - np.log(alpha)) / (2 * ORDERS)).min())


def excess(found: Moments, tau: float) -> float:
    """Return a bound on E[(a - tau)_+]: inf_q E a^(2q) tau^(1-2q) (1 - 1/2q)^(2q) / (2q - 1).

    (a - tau)_+ <= c a^(2q) tau^(1-2q), with equality at a = tau 2q / (2q - 1).
    """
    n = 2.0 * ORDERS
    logs = np.log(found) + (1 - n) * np.log(tau) + n * np.log1p(-1 / n) - np.log(n - 1)
    return float(np.exp(logs.min()))


def on_rare(found: Moments, rarity: float) -> float:
    """Return a bound on E[a 1_E] for any event with P(E) <= rarity: inf_q rarity^(1-1/2q) (E a^2q)^(1/2q), Hoelder."""
    return 0.0 if rarity <= 0 else float(np.exp(_hoelder(found, rarity)).min())


def product_on_rare(one: Moments, other: Moments, rarity: float) -> float:
    """Return a bound on E[a b 1_E] for any E with P(E) <= rarity, from the moments of a and of b; Hoelder."""
    if rarity <= 0 or one[0] == 0 or other[0] == 0:
        return 0.0
    logs = (1 - 1 / ORDERS) * np.log(rarity) + (np.log(one) + np.log(other)) / (2 * ORDERS)
    return float(np.exp(logs.min()))


def _hoelder(found: Moments, rarity: float) -> Float64[np.ndarray, " q"]:
    return np.asarray((1 - 0.5 / ORDERS) * np.log(rarity) + np.log(found) / (2 * ORDERS))


def share_upper(n_seen: int, n: int, alpha: float) -> float:
    """Return u with P(share > u) <= alpha, ``n_seen`` of ``n`` independent draws having it (Clopper and Pearson)."""
    return 1.0 if n_seen >= n else float(betaincinv(n_seen + 1, n - n_seen, 1 - alpha))


def bernstein(second_moment: float, largest: float, m: int, alpha: float) -> float:
    """Return t with P(mean of m independent X < E[X] - t) <= alpha for X >= -largest with E[X^2] <= second_moment.

    Bernstein: t = L largest / (3m) + sqrt((L largest / (3m))^2 + 2 L second_moment / m), L = log(1/alpha).
    """
    level = -np.log(alpha)
    linear = level * largest / (3 * m)
    return float(linear + np.sqrt(linear**2 + 2 * level * second_moment / m))


def clipped_at(radius: float, found: Moments, m: int, alpha: float) -> tuple[float, float]:
    """Return where to clip the products, b tau, and b E[(a - tau)_+], which that hides; tau fixed by m and alpha."""
    taus = np.linspace(1.5, 12.0, 106)
    hidden = np.array([excess(found, float(t)) for t in taus])
    best = int(np.argmin(taus * -np.log(alpha) / m + hidden))
    return float(radius * taus[best]), float(radius * hidden[best])


def slack_of(fourth: float, radius: float, found: Moments, m: int, alpha: float, tail: float) -> float:
    """Return t: Bernstein over m pairs where no a is beyond tau, and what lies beyond; E[r^2 a^2]^2 <= E r^4 E a^4."""
    tau = beyond(found, tail / m)
    second = float(np.sqrt(fourth * found[1]))
    return bernstein(second, radius * tau, m, alpha) + radius * on_rare(found, tail / m)
