"""How many seeds a subset the exhaustive certificate needs, from what is expected of the claim and of the noise.

Nothing here reaches a verdict's level: a wrong figure makes the number too small or too large.
"""

from __future__ import annotations

import numpy as np

from protocol.certificate.exhaustive import exact
from protocol.certificate.exhaustive.bound import Direction, deviation, largest_eigenvalue


def expected_upper(
    n_units: int,
    n_seeds: int,
    *,
    p: float,
    noise: float,
    relative_gap: float,
    r2: float,
    half_range_sd: float,
    delta: float,
) -> float:
    """Return what the upper bound is expected to be, for one target or several that err together.

    Parameters
    ----------
    noise : the share of an output's variance that its seed makes, at least 0 and below 1; alike on all subsets.
    relative_gap, r2 : the claim's, as shares of Var E[f|x].
    half_range_sd : half the range over an output's standard deviation.
    """
    chances, phi = exact.probabilities(n_units, p), exact.characters(n_units, p)
    squares, spread = chances**2, 1 - noise
    eigenvalue, reach = largest_eigenvalue(phi, squares), 2 * half_range_sd
    size = float(np.sqrt(relative_gap * spread + noise * float(squares @ (phi**2).sum(axis=1)) / n_seeds))
    unknown = Direction(
        ranges=reach**2 * eigenvalue,
        largest=reach * float((chances * np.linalg.norm(phi, axis=1)).max()),
        seen=noise * eigenvalue,
    )
    size += deviation(unknown, n_seeds, delta / 2)
    known = Direction(ranges=reach**2 * squares.sum(), largest=unknown.largest, seen=noise * squares.sum())
    level = delta / 2 / (2 if n_seeds >= 2 else 1)
    found = [np.sqrt(max(r2, 0.0) * spread) - deviation(known, n_seeds, level)]
    if n_seeds >= 2:
        half = n_seeds // 2
        seen = spread / np.sqrt(spread + noise / half)  # <f, h>, h what one half suggests
        found.append(seen - deviation(known, n_seeds - half, level / 2))
    return (size / max(found)) ** 2 if max(found) > 0 else float("inf")


def seeds_needed(
    n_units: int,
    *,
    epsilon: float,
    p: float,
    noise: float,
    relative_gap: float,
    r2: float,
    half_range_sd: float,
    delta: float,
    max_seeds: int = 1 << 20,
) -> int | None:
    """Return the fewest seeds a subset whose upper bound is expected to be at most ``epsilon``; None beyond the most.

    The other parameters are those of :func:`expected_upper`. What they say changes the number, never the bound's level.
    With a shared seed one is enough, and nothing is left to bound.
    """

    def enough(n_seeds: int) -> bool:
        return expected_upper(
            n_units, n_seeds, p=p, noise=noise, relative_gap=relative_gap, r2=r2, half_range_sd=half_range_sd,
            delta=delta,
        ) <= epsilon  # fmt: skip

    if not enough(max_seeds):
        return None
    low, high = 1, max_seeds
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low
