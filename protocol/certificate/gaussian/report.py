"""The two kinds of Gaussian certificate as a session and a report see them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from protocol.certificate.gaussian.families import FamiliesCertificate
from protocol.certificate.method import Part, Value
from protocol.certificate.phrases import finite, number, over, percent, sure
from protocol.certificate.terms import Across
from protocol.game import Game

_UNDER = "if residuals are Gaussian"


@dataclass(frozen=True, kw_only=True, eq=False)
class FamiliesReport:
    """A certificate from families."""

    found: FamiliesCertificate

    @property
    def upper_bound(self) -> float:
        """No row's relative gap is above this, if residuals are Gaussian."""
        return self.found.upper_bound

    @property
    def lower_bound(self) -> float:
        """Some row's relative gap is at least this, likewise."""
        return self.found.lower_bound

    @property
    def undecided(self) -> str | None:
        """Why there is no upper bound, or None."""
        if self.found.constant_targets:
            first = self.found.constant_targets[0]
            return f"target {first} does not vary, so its relative gap is undefined: leave it out of the task"
        if math.isfinite(self.upper_bound):
            return None
        return (
            "some target's Var f cannot be told from 0: allow more retrainings, or leave out targets that do not vary"
        )

    @property
    def _row(self) -> int:
        return int(np.argmax(self.found.upper))

    def notes(self) -> list[str]:
        """Say what kind of look this was."""
        return ["a quick look: if residuals are not Gaussian, it is wrong more often than delta says"]

    def parts(self, game: Game) -> list[Part]:
        """Return the parts by name."""
        c, row = self.found, self._row
        pairs = "each with its complement" if game.measure.has_complements else f"p = {game.measure.p:.4g}"
        return [
            ("relative gap, at most", number(c.upper[row]), f"{sure(c.delta)}, {_UNDER}"),
            ("relative gap, at least", number(c.lower_bound), f"{sure(c.delta)}, {_UNDER}"),
            ("  from the families", number(c.families_lower.max()), "higher degrees taken off"),
            ("  along the claim itself", number(c.projection_lower.max()), "what a rescaling would win"),
            ("relative gap, estimate", number(c.relative_gap[row]), over(c.across, row, game)),
            ("mean square between families", number(c.mean_square_between[row]), _degrees(c.degrees_between[row])),
            ("mean square within families", number(c.mean_square_within[row]), _degrees(c.degrees_within[row])),
            (
                "subsets drawn", f"{c.n_families} families of {c.n_siblings}",
                f"rho = {c.rho:.3g}, {pairs}; drawn after the claim was committed",
            ),
            (
                "sd of the output", number(float(np.median(np.sqrt(c.variance)))),
                f"median target; variance {percent(c.variance_error[row])} uncertain",
            ),
            ("intercept error", number(self._intercept), "(E[f - g])^2 / Var f, mean over targets; no part of the gap"),
        ]  # fmt: skip

    def values(self) -> dict[str, Value]:
        """Return the parts under stable keys."""
        c, row = self.found, self._row
        return {
            "relative_gap": finite(c.relative_gap[row]),
            "families_lower": finite(c.families_lower.max()),
            "projection_lower": finite(c.projection_lower.max()),
            "mean_square_between": finite(c.mean_square_between[row]),
            "mean_square_within": finite(c.mean_square_within[row]),
            "degrees_between": finite(float(c.degrees_between[row])),
            "degrees_within": finite(float(c.degrees_within[row])),
            "level": c.level,
            "n_families": c.n_families,
            "n_siblings": c.n_siblings,
            "rho": c.rho,
            "n_rows": len(c.upper),
            "worst_row": row,
            "variance_error": finite(c.variance_error[row]),
            "intercept_error": finite(self._intercept),
            "constant_targets": list(c.constant_targets),
        }

    @property
    def _intercept(self) -> float:
        varies = self.found.variance > 0
        return float((self.found.intercept_error[varies] / self.found.variance[varies]).mean()) if varies.any() else 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class ProductsCertificate:
    """A certificate from products across independent pairs.

    upper : bound on the mean relative gap, if products are Gaussian.
    lower : likewise from below, by the residual along the claim; products alone reject nothing.
    estimate, error : of the gap over Var f, and its standard error where the gap is 0.
    """

    delta: float
    across: Across
    n_pairs: int
    upper: float
    lower: float
    estimate: float
    error: float

    @property
    def upper_bound(self) -> float:
        """The mean relative gap is at most this, if products are Gaussian."""
        return self.upper

    @property
    def lower_bound(self) -> float:
        """The mean relative gap is at least this, if the residual along the claim is Gaussian."""
        return self.lower

    @property
    def undecided(self) -> str | None:
        """Why there is no upper bound, or None."""
        if math.isfinite(self.upper):
            return None
        return (
            "some target's Var f cannot be told from 0: allow more retrainings, or leave out targets that do not vary"
        )

    def notes(self) -> list[str]:
        """Say what kind of look this was."""
        return ["a quick look: if residuals are not Gaussian, it is wrong more often than delta says"]

    def parts(self, game: Game) -> list[Part]:
        """Return the parts by name."""
        return [
            ("relative gap, at most", number(self.upper), f"{sure(self.delta)}, {_UNDER}"),
            ("relative gap, at least", number(self.lower), f"{sure(self.delta)}, {_UNDER}"),
            ("relative gap, estimate", number(self.estimate), over(self.across, 0, game)),
            ("standard error", number(self.error), "where the gap is 0"),
            ("subsets drawn", f"{self.n_pairs}, independent", "each with its complement; products across them all"),
        ]

    def values(self) -> dict[str, Value]:
        """Return the parts under stable keys."""
        return {"relative_gap": finite(self.estimate), "standard_error": finite(self.error), "n_pairs": self.n_pairs}


def _degrees(value: float) -> str:
    return f"{value:.4g} degrees of freedom"
