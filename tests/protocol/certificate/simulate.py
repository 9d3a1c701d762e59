"""Readings of games by the thousand: families from one numpy generator, since coverage needs speed, not AES.

That the protocol's own sampling has this distribution is tests/protocol/test_sampling.py's business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from protocol.certificate.readings import Readings

Outputs = Callable[[np.ndarray], np.ndarray]
"""f of subsets (m, N), shape (m, T)."""


@dataclass(frozen=True, kw_only=True)
class World:
    """What a claim is judged on: f and p, the claim's scores (T, N), and the design."""

    outputs: Outputs
    scores: np.ndarray
    p: float
    n_families: int
    n_siblings: int
    rho: float

    def subsets(self, rng: np.random.Generator) -> np.ndarray:
        """Families of subsets, shape (B, s, N)."""
        n_units = self.scores.shape[1]
        shape = (self.n_families, self.n_siblings, n_units)
        base = rng.random((self.n_families, 1, n_units)) < self.p
        return np.where(rng.random(shape) < np.sqrt(self.rho), base, rng.random(shape) < self.p)

    def readings(self, rng: np.random.Generator) -> Readings:
        """One challenge, answered."""
        subsets = self.subsets(rng)
        flat, shape = subsets.reshape(-1, subsets.shape[2]), (*subsets.shape[:2], len(self.scores))
        linear = ((flat - self.p) @ self.scores.T).reshape(shape)
        ours, theirs = self.outputs(flat).reshape(shape), self.outputs(~flat).reshape(shape)
        complements = self.p == 0.5
        return Readings(
            output=(ours - theirs) / 2 if complements else ours,
            linear=linear,
            even=(ours + theirs) / 2 if complements else None,
            claim_mean=self.p * self.scores.sum(axis=1),
            claim_variance=self.p * (1 - self.p) * (self.scores**2).sum(axis=1),
            rho=self.rho,
            p=self.p,
        )
