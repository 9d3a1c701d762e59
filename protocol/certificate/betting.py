"""Bounds on means by betting: finite-sample, at every sample size at once (THEORY 2.12, 5.3).

Nothing is assumed but the range: [0, 1] from above, at least 0 from below. The capital of bets against
a mean is a martingale when that is the mean, so it reaches 1/alpha with probability alpha at most (Ville).

Letters: alpha the probability of failure; R columns, each with a bound of its own at that alpha.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from protocol.errors import ArgumentError

BET = 0.9
"""Largest bet, as a share of what cannot lose everything."""

RATES = tuple(2.0**i for i in range(-7, 2))
"""Bets of :func:`lower_of_nonnegative`, in units of 1 / guess: best from ten values to 10^5."""

_CELLS = 1 << 22  # of numbers in memory at once
_WIDTH = 1e-12
"""What is returned is at most so far above the exact bound, and never below it."""

_STEPS = 100  # an exit: Newton's steps take about 7, and whatever they would leave is halved


def betting_upper(
    values: Float64[np.ndarray, "m r"], alpha: float, *, horizon: int, guess: float = 0.5
) -> Float64[np.ndarray, " r"]:
    """Return u with P(E[X] > u) <= alpha for each column of independent X in [0, 1] with one mean; shape (R,).

    The capital prod_j (1 - lambda_j (X_j - mu)) of bets against a mean as large as mu is a non-negative martingale
    when mu is the mean. Bets are predictable: lambda_j depends on X_1 .. X_{j-1} alone, but for the cap BET / (1 - mu),
    under which the capital rises with mu (Waudby-Smith and Ramdas 2024, J. R. Stat. Soc. B 86, 1, section 4). A third
    of the capital goes to each of three guesses at how small a variance may be: their mean is a martingale, too. The
    bound may be looked at after any number of values with the same ``horizon``: all looks hold at once.

    Parameters
    ----------
    horizon : how many values the bets are sized for; fixed before the first value. Affects width, never validity.
    guess : at the mean, fixed likewise. A bad one costs width, never validity.
    """
    step = max(1, _CELLS // (3 * max(len(values), 1)))
    if values.shape[1] > step:
        parts = (values[:, r : r + step] for r in range(0, values.shape[1], step))
        return np.concatenate([betting_upper(part, alpha, horizon=horizon, guess=guess) for part in parts])
    values = np.clip(np.asarray(values, dtype=np.float64), 0.0, 1.0)
    if len(values) == 0:
        return np.ones(values.shape[1])
    priors = (0.25, 0.25 / np.sqrt(horizon), 0.25 / horizon)
    bets = _bets(values, alpha, horizon, priors, guess)
    goal = -np.log(alpha) + np.log(len(priors))
    mean, low, high = values.mean(axis=0), values.mean(axis=0), np.ones(values.shape[1])
    done = _log_capital(bets, values, high)[0] < goal  # no bound at all
    for _ in range(_STEPS):
        capital, slope = _log_capital(bets, values, mean)
        above = capital - goal
        enough = above >= 0
        low, high = np.where(enough, low, mean), np.where(enough, mean, high)
        done |= (enough & (above <= _WIDTH * slope)) | (high - low <= _WIDTH)
        if done.all():
            break
        # The log of the capital is nearly concave: Newton comes from the left, and ends just past the root.
        after = mean - above / slope + _WIDTH / 2
        mean = np.where(done, high, np.where((after > low) & (after < high), after, (low + high) / 2))
    return np.asarray(high)


def _log_capital(
    bets: Float64[np.ndarray, "k m r"], values: Float64[np.ndarray, "m r"], mean: Float64[np.ndarray, " r"]
) -> tuple[Float64[np.ndarray, " r"], Float64[np.ndarray, " r"]]:
    """Log of the sum of the bets' capitals against a mean of ``mean``, and how fast it rises with it, above 0."""
    room = np.maximum(1 - mean, 1e-12)
    cap = BET / room
    above = values - mean
    factors = 1 - np.minimum(bets, cap) * above
    logs = np.log(factors).sum(axis=1)
    capital = np.logaddexp.reduce(logs, axis=0)
    rises = np.where(bets < cap, bets, cap * ((1 - values) / room)) / factors
    slope = (np.exp(logs - capital) * rises.sum(axis=1)).sum(axis=0)
    return np.asarray(capital), np.asarray(np.maximum(slope, 1e-300))


def lower_of_nonnegative(
    values: Float64[np.ndarray, "m r"], alpha: float, *, guess: Float64[np.ndarray, " r"]
) -> Float64[np.ndarray, " r"]:
    """Return l with P(E[X] < l) <= alpha for each column of independent X >= 0 with one mean; shape (R,).

    Against a mean as small as mu the capital prod_j (1 + lambda (X_j - mu)) is a non-negative martingale when mu is the
    mean and lambda mu <= BET, and so is its average over nine rates lambda = RATES / guess, each cut at BET / mu. It
    falls as mu rises, so l is where it comes down to 1/alpha. There is no largest X and no horizon: the bound holds
    after every number of values at once.

    Parameters
    ----------
    guess : at the means, above 0, fixed before the first value. A bad one costs width, never validity.

    Raises ArgumentError for a value that is not a finite number.
    """
    if not np.isfinite(values).all():
        raise ArgumentError("the values whose mean is bounded must be finite numbers")
    step = max(1, _CELLS // (len(RATES) * max(len(values), 1)))
    if values.shape[1] > step:
        parts = [slice(r, r + step) for r in range(0, values.shape[1], step)]
        return np.concatenate([lower_of_nonnegative(values[:, part], alpha, guess=guess[part]) for part in parts])
    if len(values) == 0:
        return np.zeros(values.shape[1])
    x = np.asarray(values / guess)
    goal = -np.log(alpha) + np.log(len(RATES))
    low, high = np.zeros(x.shape[1]), x.mean(axis=0)  # at the sample's own mean no bet has won
    done = _log_capital_from_below(x, low)[0] < goal
    high = np.where(done, 0.0, high)
    spread = 2 * goal * x.var(axis=0) / len(x)
    mean = high * np.exp(-np.sqrt(spread / np.where(high > 0, high, 1.0) ** 2))  # about where it will be
    mean = np.maximum(mean, high / 100)
    for _ in range(_STEPS):
        done |= high - low <= _WIDTH * high
        if done.all():
            break
        capital, slope = _log_capital_from_below(x, mean)
        enough = capital >= goal
        low, high = np.where(enough, mean, low), np.where(enough, high, mean)
        after = mean + (capital - goal) / slope - _WIDTH / 2 * mean  # from the left, and ends just before the root
        mean = np.where((after > low) & (after < high), after, (low + high) / 2)
        done |= enough & (capital - goal <= _WIDTH * slope * mean)
    return np.asarray(low * guess)


def _log_capital_from_below(
    x: Float64[np.ndarray, "m r"], mean: Float64[np.ndarray, " r"]
) -> tuple[Float64[np.ndarray, " r"], Float64[np.ndarray, " r"]]:
    """Log of the sum of the rates' capitals against a mean of ``mean``, and how fast it falls as that rises."""
    rates = np.array(RATES)[:, None]
    bets = BET / np.maximum(mean, BET / rates)  # the smaller of the rate and BET / mean
    factors = 1 + bets[:, None] * (x - mean)
    logs = np.log(factors).sum(axis=1)
    capital = np.logaddexp.reduce(logs, axis=0)
    # d/dmu of log(1 + bet (x - mu)): -bet over the factor; where the bet is BET / mu, x / mu times that.
    inverse = 1 / factors
    falls = np.where(
        bets < rates, (1 - (1 - BET) * inverse).sum(axis=1) / np.maximum(mean, BET / rates), bets * inverse.sum(axis=1)
    )
    slope = (np.exp(logs - capital) * falls).sum(axis=0)
    return np.asarray(capital), np.asarray(np.maximum(slope, 1e-300))


def _bets(
    values: Float64[np.ndarray, "m r"], alpha: float, horizon: int, priors: tuple[float, ...], guess: float
) -> Float64[np.ndarray, "k m r"]:
    """sqrt(2 log(1/alpha) / (horizon s^2)), s^2 the variance of what came before and of one X of a prior's variance."""
    m, r = values.shape
    counts = np.arange(1, m + 1)[:, None]
    means = (guess + np.cumsum(values, axis=0)) / (counts + 1)
    squares = (values - np.concatenate([np.full((1, r), guess), means[:-1]])) ** 2
    before = np.concatenate([np.zeros((2, r)), np.cumsum(squares[1:], axis=0)[:-1]])[:m]
    spread = (np.array(priors)[:, None, None] + before) / counts
    return np.asarray(np.sqrt(-2 * np.log(alpha) / (horizon * np.maximum(spread, 1e-300))))
