"""The exhaustive certificate as a report sees it: exact under a shared seed, a bound with seeds per subset."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from protocol.certificate.exhaustive.bound import NoisyCertificate
from protocol.certificate.method import Part, Value
from protocol.certificate.phrases import finite, number, over, sure
from protocol.certificate.terms import Across
from protocol.game import Game

_CONSTANT = "a target does not vary, so its relative gap is undefined: leave it out of the task"


@dataclass(frozen=True, kw_only=True, eq=False)
class ExactCertificate:
    """The relative gap itself.

    relative_gap : shape (R,); NaN where a target does not vary. best : shape (T, N), the best scores.
    variance : shape (T,), Var f. explained : shape (T,), the share of it that the best scores explain.
    """

    across: Across
    n_subsets: int
    relative_gap: Float64[np.ndarray, " r"]
    best: Float64[np.ndarray, "t n"]
    variance: Float64[np.ndarray, " t"]
    explained: Float64[np.ndarray, " t"]

    @property
    def upper_bound(self) -> float:
        """The relative gap; infinite where it is undefined."""
        return float("inf") if np.isnan(self.relative_gap).any() else float(self.relative_gap.max())

    @property
    def lower_bound(self) -> float:
        """The relative gap; 0 where it is undefined."""
        return 0.0 if np.isnan(self.relative_gap).any() else float(self.relative_gap.max())

    @property
    def undecided(self) -> str | None:
        """Why there is no relative gap, or None."""
        return _CONSTANT if np.isnan(self.relative_gap).any() else None

    def notes(self) -> list[str]:
        """There is nothing to add."""
        return []

    def parts(self, game: Game) -> list[Part]:
        """Return the parts by name."""
        row = 0 if np.isnan(self.relative_gap).all() else int(np.nanargmax(self.relative_gap))
        return [
            ("relative gap", number(self.relative_gap[row]), "exactly: every subset was trained"),
            ("  over", over(self.across, row, game), ""),
            ("best sum of scores explains", number(float(self.explained.mean())), "of Var f, mean over targets"),
            ("subsets", str(self.n_subsets), "all there are"),
        ]

    def values(self) -> dict[str, Value]:
        """Return the parts under stable keys."""
        return {
            "relative_gap": finite(float(np.nanmax(self.relative_gap))) if self.undecided is None else None,
            "explained": finite(float(self.explained.mean())),
            "n_subsets": self.n_subsets,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class NoisyReport:
    """Bounds where every training has a seed of its own."""

    found: NoisyCertificate
    n_subsets: int

    @property
    def upper_bound(self) -> float:
        """No row's relative gap is above this."""
        return self.found.upper_bound

    @property
    def lower_bound(self) -> float:
        """Some row's relative gap is at least this."""
        return self.found.lower_bound

    @property
    def undecided(self) -> str | None:
        """Why there is no upper bound, or None."""
        if np.isfinite(self.upper_bound):
            return None
        return f"{self.found.n_seeds} trainings a subset do not tell some target's Var f from 0: allow more retrainings"

    def notes(self) -> list[str]:
        """There is nothing to add."""
        return []

    def parts(self, game: Game) -> list[Part]:
        """Return the parts by name."""
        c, row = self.found, int(np.argmax(self.found.upper))
        return [
            ("relative gap, at most", number(c.upper[row]), f"{sure(c.delta)}, whatever the noise"),
            ("relative gap, at least", number(c.lower_bound), "likewise"),
            ("  over", over(c.across, row, game), "a share of the mean output's variance"),
            ("claim's error, estimated", number(float(c.error.max())), "in the target's unit, noise included"),
            ("noise, at most", number(float(c.noise.max())), "along any one direction"),
            ("subsets", f"{self.n_subsets}, {c.n_seeds} trainings each", "all there are"),
        ]

    def values(self) -> dict[str, Value]:
        """Return the parts under stable keys."""
        return {
            "error": finite(float(self.found.error.max())),
            "noise": finite(float(self.found.noise.max())),
            "n_seeds": self.found.n_seeds,
            "n_subsets": self.n_subsets,
        }
