"""Exact Fourier analysis of any f on few units, by brute force: the naive twin of everything in a certificate.

Nothing here is clever, and nothing is imported from what it checks.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np


def every_subset(n: int) -> np.ndarray:
    """All 2^n subsets, shape (2^n, n)."""
    return np.array(list(itertools.product([False, True], repeat=n)))


def probabilities(n: int, p: float) -> np.ndarray:
    """Of every subset under B_p."""
    return np.array([math.prod(p if bit else 1 - p for bit in row) for row in every_subset(n)])


def coefficients(values: np.ndarray, n: int, p: float) -> dict[tuple[int, ...], float]:
    """fhat(S) = E[f phi_S] for every set S of units, from f's value on every subset."""
    subsets, chance = every_subset(n), probabilities(n, p)
    out = {}
    for size in range(n + 1):
        for members in itertools.combinations(range(n), size):
            total = 0.0
            for row, weight, value in zip(subsets, chance, values, strict=True):
                product = math.prod((float(row[i]) - p) / math.sqrt(p * (1 - p)) for i in members)
                total += weight * value * product
            out[members] = total
    return out


def weights(values: np.ndarray, n: int, p: float) -> np.ndarray:
    """W_0 ... W_n, shape (n + 1,)."""
    out = np.zeros(n + 1)
    for members, coefficient in coefficients(values, n, p).items():
        out[len(members)] += coefficient**2
    return out


def sibling_product(values: np.ndarray, n: int, p: float, keep: float) -> float:
    """E[f(x) f(x')] over two siblings of one base, each keeping a unit of it with probability ``keep``, exactly."""
    joint = {
        (a, b): sum(
            (p if z else 1 - p)
            * (keep * (a == z) + (1 - keep) * (p if a else 1 - p))
            * (keep * (b == z) + (1 - keep) * (p if b else 1 - p))
            for z in (False, True)
        )
        for a in (False, True)
        for b in (False, True)
    }
    subsets = every_subset(n).tolist()
    total = 0.0
    for x, fx in zip(subsets, values, strict=True):
        for y, fy in zip(subsets, values, strict=True):
            total += fx * fy * math.prod(joint[a, b] for a, b in zip(x, y, strict=True))
    return total


def values_of(outputs: Callable[[np.ndarray], np.ndarray], n: int) -> np.ndarray:
    """A one-target game's f on every subset, shape (2^n,)."""
    return outputs(every_subset(n))[:, 0]
