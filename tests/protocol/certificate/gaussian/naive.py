"""The Gaussian certificate from the sentences of THEORY 10, with loops and scipy.stats alone: a naive twin."""

from __future__ import annotations

import math
from itertools import chain

import numpy as np
from scipy import stats

from protocol.certificate.gaussian import output_variance
from protocol.certificate.gaussian.families import VARIANCE_SHARE
from protocol.certificate.readings import Readings
from protocol.certificate.terms import Across

HALF_RANGE = 12.0
"""Targets lie within this of 0."""


def naive(readings: Readings, delta: float, across: Across) -> dict[str, list[float]]:
    """The certificate from the sentences of THEORY 10, with loops and scipy.stats alone."""
    t_ = readings.output.shape[2]
    alpha = delta / (t_ if across is Across.EVERY else 1)
    ends = np.full(t_, HALF_RANGE)
    most = output_variance.upper(readings, -ends, ends, VARIANCE_SHARE * delta / t_)  # has a test of its own
    shares = [naive_shares(readings, t) for t in range(t_)]
    targets = [naive_target(readings, t, math.sqrt(variance)) for t, (variance, _) in enumerate(shares)]
    against = [naive_target(readings, t, math.sqrt(most[t])) for t in range(t_)]
    rows = list(zip(targets, against, [share for _, share in shares], strict=True))
    if across is not Across.EVERY:
        total = sum(float(np.mean(between)) for between, _, _, _ in targets)
        weight = [float(np.mean(between)) / total for between, _, _, _ in targets]
        share = [
            sum(w * column[b] for w, (_, column) in zip(weight, shares, strict=True)) for b in range(len(shares[0][1]))
        ]
        rows = [(naive_mean(targets), naive_mean(against), share)]
    out: dict[str, list[float]] = {name: [] for name in ("gap", "upper", "families_lower", "projection_lower")}
    for row, lower, share in rows:
        found = naive_row(readings, row, lower, share, alpha, together=across is not Across.EVERY)
        for name, value in found.items():
            out[name].append(value)
    return out


def naive_shares(readings: Readings, t: int) -> tuple[float, list[float]]:
    """Var f, and family by family what it is the mean of, relative to it."""
    b_, s, _ = readings.output.shape
    p, known = readings.p, readings.p == 0.5
    kurtosis = max((1 - 6 * p * (1 - p)) / (p * (1 - p)), 0.0)
    output = [[float(readings.output[b, j, t]) for j in range(s)] for b in range(b_)]
    centre = 0.0 if known else sum(map(sum, output)) / (b_ * s)
    ours = [sum((y - centre) ** 2 for y in row) / s for row in output]
    claims = [sum(float(g) ** 2 for g in readings.linear[b, :, t]) / s for b in range(b_)]
    mean_claims = sum(claims) / b_
    slope = sum((c - mean_claims) * y for c, y in zip(claims, ours, strict=True))
    slope /= sum((c - mean_claims) ** 2 for c in claims)
    beta = 0.0 if kurtosis > 0 else min(max(slope, 0.0), 1.0)
    share = [y - beta * (c - float(readings.claim_variance[t])) for y, c in zip(ours, claims, strict=True)]
    if readings.even is not None:
        even = readings.even[:, :, t]
        share = [y + sum((float(e) - even.mean()) ** 2 for e in even[b]) / s for b, y in enumerate(share)]
    variance = sum(share) / b_
    return variance, [y / variance for y in share]


Target = tuple[list[float], list[float], list[float], tuple[list[list[float]], list[list[list[float]]]]]


def naive_target(readings: Readings, t: int, sd: float) -> Target:
    """Squares of family means times s, spreads within, products along the claim; and means and deviations."""
    b_, s, _ = readings.output.shape
    known = readings.p == 0.5
    relative = [[float(r) / sd for r in readings.residual[b, :, t]] for b in range(b_)]
    whole = 0.0 if known else sum(map(sum, relative)) / (b_ * s)
    means = [sum(row) / s - whole for row in relative]
    norm = math.sqrt(float(readings.claim_variance[t]))
    along = [
        sum((relative[b][j] - whole) * float(readings.linear[b, j, t]) / norm for j in range(s)) / s for b in range(b_)
    ]
    within = [sum((r - whole - m) ** 2 for r in row) / (s - 1) for row, m in zip(relative, means, strict=True)]
    deviations = [[[r - whole - m] for r in row] for row, m in zip(relative, means, strict=True)]
    return [s * m**2 for m in means], within, along, ([[m] for m in means], deviations)


def naive_mean(targets: list[Target]) -> Target:
    """Averages over targets; means and deviations side by side."""
    mean = [
        [float(np.mean(column)) for column in zip(*(target[i] for target in targets), strict=True)] for i in range(3)
    ]
    means = [[*chain.from_iterable(rows)] for rows in zip(*(target[3][0] for target in targets), strict=True)]
    deviations = [
        [[*chain.from_iterable(parts)] for parts in zip(*rows, strict=True)]
        for rows in zip(*(t[3][1] for t in targets), strict=True)
    ]
    return mean[0], mean[1], mean[2], (means, deviations)


def naive_degrees(readings: Readings, target: Target, *, together: bool) -> tuple[float, float]:
    b_, s, _ = readings.output.shape
    p, known = readings.p, readings.p == 0.5
    kurtosis = max((1 - 6 * p * (1 - p)) / (p * (1 - p)), 0.0)
    n_b, n_w = (b_ if known else b_ - 1) / (1 + kurtosis / 2), b_ * (s - 1) / (1 + kurtosis / 2)
    between, within, _, (means, deviations) = target
    if together and known:
        n_b *= math.sqrt(naive_rank([[row] for row in means]))
        n_w *= math.sqrt(naive_rank(deviations))
    by_spread = (2 * b_ * np.mean(values) ** 2 / np.var(values, ddof=1) for values in (between, within))
    n_b, n_w = (min(most, float(spread)) for most, spread in zip((n_b, n_w), by_spread, strict=True))
    return n_b, n_w


def naive_row(
    readings: Readings, row: Target, lower: Target, share: list[float], alpha: float, *, together: bool
) -> dict[str, float]:
    b_, s, _ = readings.output.shape
    rho, known = readings.rho, readings.p == 0.5
    f, h, divisor = 1 / (s * rho), 3 if known else 2, b_ if known else b_ - 1
    n_b, n_w = naive_degrees(readings, row, together=together)
    msb, msw = sum(row[0]) / divisor, float(np.mean(row[1]))
    t_error = stats.t.ppf(1 - alpha, b_ - 1) * np.std(share, ddof=1) / math.sqrt(b_)
    williams = n_b * msb / stats.chi2.ppf(alpha, n_b) * max(0, 1 - stats.f.ppf(alpha, n_b, n_w) * msw / msb) * f
    upper = naive_ratio(f * (msb - msw), williams, 1, 1 - t_error) if t_error < 1 else math.inf

    part = alpha * (1 - VARIANCE_SHARE) / 2  # Var f from above has the rest
    n_b, n_w = naive_degrees(readings, lower, together=together)
    msb_low, msw_low = sum(lower[0]) / divisor, float(np.mean(lower[1]))
    c = rho ** (h - 1) / (1 - rho**h)
    scale, within = 1 - c * (1 - rho), f + c
    contrast = f * msb_low - within * stats.f.ppf(1 - part, n_b, n_w) * msw_low
    mean, error = np.mean(lower[2]), stats.t.ppf(1 - part / 2, b_ - 1) * np.std(lower[2], ddof=1) / math.sqrt(b_)
    return {
        "gap": f * (msb - msw),
        "upper": upper,
        "families_lower": max(0, n_b / stats.chi2.ppf(1 - part, n_b) * contrast) / scale,
        "projection_lower": max(abs(mean) - error, 0) ** 2,
    }


def naive_ratio(a: float, u: float, b: float, v: float) -> float:
    root = math.sqrt(max((a * b) ** 2 - u * (2 * a - u) * v * (2 * b - v), 0))
    return max((a * b + root) / (v * (2 * b - v)), 0)


def naive_rank(families_: list[list[list[float]]]) -> float:
    """From the s vectors of every family, by the sums over pairs of families."""
    across = shared = 0.0
    for i, one in enumerate(families_):
        for j, other in enumerate(families_):
            if i != j:
                across += sum(x * x for row in one for x in row) * sum(y * y for row in other for y in row)
                shared += sum(
                    sum(x * y for x, y in zip(first, second, strict=True)) ** 2 for first in one for second in other
                )
    return max(across / shared, 1.0)
