"""The moment certificate: bounds on the relative gap that need no Gaussian step (THEORY 2).

    gap  <=  E Y  <=  sum of the families' squares / q,      relative gap  <=  gap / (least Var f)

where q is an anytime quantile (``bound``), and Var f is bounded from below by the better of two, both
from the claim's own variance Var g, which is known exactly. Minkowski's step takes the residual to be
opposed to the claim as far as the gap allows. The other measures how it lies along the claim:

    Var f >= Var g + 2 E[g~ r] + E r^2

with a bound from below on either mean (``bound.lower_of_mean``, and ``betting`` on squares). Of families
of s siblings E Y holds sigma^2 / s, sigma^2 the mean square of one residual with its noise; what betting
shows of sigma^2 is taken off again. From below, the gap is at least the squared mean of the residual
along the claim, over Var f from above by betting within the range.

ASSUMES that a family's square has E Y^2 <= K (E Y)^2, and that its residual along the claim, about its
value in the pilot, has kurtosis at most K. Where no base is drawn along the claim, that is max(K, what a
claim that is scaled wrongly has, ``Measure.squared_linear_kurtosis``). The second does not follow from
the first (THEORY 2.11). Nothing else: every bound holds at every number of families at once, for every f
in its range, every claim and every design. The intercept is in no bound.

Letters: B families, R rows (``tally``), K the kurtosis bound, alpha the probability of failure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from protocol.certificate import betting
from protocol.certificate.method import Part, Value
from protocol.certificate.moments import bound
from protocol.certificate.moments.tally import Rows, Tally
from protocol.certificate.phrases import finite, number, over, sure
from protocol.certificate.terms import Across
from protocol.game import Game

GAP_SHARE, ALONG_SHARE, SQUARES_SHARE = 0.85, 0.1, 0.05
"""Of delta, from above: spent on the gap, on the residual along the claim, on its squares from below."""

BELOW_SHARE = 0.9
"""Of delta, from below: spent on the residual along the claim; the rest on Var f by betting within the range."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MomentsCertificate:
    """Bounds on the relative gap, with every part that makes them up; arrays of shape (R,), in units of the weights.

    upper, lower : the bounds; upper is infinite where nothing is known yet, or where a row has no weights.
    mean_square : of the families, over rho; the gap's plain upper estimate. gap_upper : bound on the gap.
    claim_variance : sum of w Var g, exact. variance_lower : bound on sum of w Var f. by_minkowski : whether Minkowski's
        step was the better.
    along : the mean residual along the claim, pooled. along_lower : bound on its size.
    kurtosis_along : the bound assumed of the residual along the claim.
    observed : the families' E Y^2 / (E Y)^2 as it came out; nothing is concluded from it.
    worst : (target, mean square over the target's pilot variance) of the three largest; () where there is one target.
    n_false : answers that may be false all the same; 0 when the verifier trained everything.
    """

    across: Across
    delta: float
    kurtosis: float
    kurtosis_along: float
    n_families: int
    n_siblings: int
    rho: float
    n_pilot: int
    n_false: int
    upper: Float64[np.ndarray, " r"]
    lower: Float64[np.ndarray, " r"]
    mean_square: Float64[np.ndarray, " r"]
    gap_upper: Float64[np.ndarray, " r"]
    claim_variance: Float64[np.ndarray, " r"]
    variance_lower: Float64[np.ndarray, " r"]
    by_minkowski: Bool[np.ndarray, " r"]
    along: float
    along_lower: float
    observed: Float64[np.ndarray, " r"]
    worst: tuple[tuple[int, float], ...]

    @property
    def upper_bound(self) -> float:
        """No row's relative gap is above this; across the mean, their mean."""
        return float(self.upper.mean() if self.across is Across.MEAN else self.upper.max())

    @property
    def lower_bound(self) -> float:
        """Some row's relative gap is at least this."""
        return float(self.lower.max())

    @property
    def undecided(self) -> str | None:
        """Why there is no upper bound, or None."""
        if np.isfinite(self.upper_bound):
            return None
        silent = ~(self.claim_variance > 0)
        if self.across is Across.MEAN and len(silent) > 1 and silent.any():
            return (
                f"the claim explains nothing of target {int(np.argmax(silent))} (its scores are all 0), and its Var f "
                "cannot be told from 0: allow more retrainings, ask across pooled, or leave that target out"
            )
        if silent.all():
            return (
                "the claim explains nothing (its scores are all 0) and Var f cannot be told from 0: "
                "allow more retrainings, or leave out targets that do not vary"
            )
        return (
            f"{self.n_families} families leave no bound at kurtosis {self.kurtosis:g}: allow more retrainings "
            "(verifier plan says how many)"
        )

    @property
    def _worst(self) -> int:
        return int(np.argmax(self.upper))

    def parts(self, game: Game) -> list[Part]:
        """Return the parts by name."""
        row = self._worst
        assumed = f"if kurtosis is at most {self.kurtosis:g}"
        along = f"if along the claim it is at most {self.kurtosis_along:g}"
        whole = f"{assumed}, along the claim at most {self.kurtosis_along:g}"
        siblings = "independent" if self.n_siblings == 1 else f"families of {self.n_siblings}, rho = {self.rho:.3g}"
        pairs = "each with its complement" if game.measure.has_complements else f"p = {game.measure.p:.4g}"
        parts = [
            ("relative gap, at most", number(self.upper_bound), f"{sure(self.delta)}, {whole}"),
            ("relative gap, at least", number(self.lower_bound), f"{sure(self.delta)}, {along}"),
            ("  over", over(self.across, row, game), "as all below"),
            (
                "kurtosis, assumed at most", number(self.kurtosis),
                f"observed {number(self.observed[row])}, which proves nothing",
            ),
            ("kurtosis along the claim", number(self.kurtosis_along), "assumed at most"),
            ("mean square of the residual", number(self._share(self.mean_square)), "over the claim's variance"),
            ("gap, at most", number(self._share(self.gap_upper)), "likewise; at every number of families at once"),
            (
                "variance of f, at least", number(self._share(self.variance_lower)),
                "likewise, by " + ("Minkowski's inequality" if self.by_minkowski[row] else "what lies along the claim"),
            ),
            ("residual along the claim", number(self.along), f"at least {number(self.along_lower)} either way"),
            (
                "subsets drawn", f"{self.n_families}, {siblings}",
                f"{pairs}, and {self.n_pilot} before them as a pilot; all after the claim was committed",
            ),
        ]  # fmt: skip
        if self.n_false:
            parts.append(("false answers allowed for", str(self.n_false), "as many as the clean checks leave possible"))
        return parts

    def _share(self, values: Float64[np.ndarray, " r"]) -> float:
        row = self._worst
        with np.errstate(over="ignore"):  # a claim may be as small as it likes
            return float(values[row] / self.claim_variance[row]) if self.claim_variance[row] > 0 else float("inf")

    def notes(self) -> list[str]:
        """Say what a pooled ACCEPT permits, where several targets are pooled."""
        if self.across is not Across.POOLED or not self.worst:
            return []
        shown = ", ".join(f"{t} ({number(share)})" for t, share in self.worst)
        said = "pooled over targets: a few may be wrong while the whole is right"
        return [f"{said}; largest residuals over their variance: target {shown}"]

    def values(self) -> dict[str, Value]:
        """Return the parts under stable keys."""
        row = self._worst
        return {
            "kurtosis": self.kurtosis,
            "kurtosis_along": self.kurtosis_along,
            "kurtosis_observed": finite(float(self.observed[row])),
            "mean_square": finite(self._share(self.mean_square)),
            "gap_upper": finite(self._share(self.gap_upper)),
            "variance_lower": finite(self._share(self.variance_lower)),
            "by_minkowski": bool(self.by_minkowski[row]),
            "along": finite(self.along),
            "along_lower": finite(self.along_lower),
            "n_families": self.n_families,
            "n_siblings": self.n_siblings,
            "rho": self.rho,
            "n_pilot": self.n_pilot,
            "n_false": self.n_false,
            "n_rows": len(self.upper),
            "worst_row": row,
        }


def relative_upper(
    gap: Float64[np.ndarray, " r"], rows: Rows, shown: Float64[np.ndarray, " r"]
) -> tuple[Float64[np.ndarray, " r"], Float64[np.ndarray, " r"], Bool[np.ndarray, " r"]]:
    """Return the relative gap from above, the bound on Var f beneath it, and whether Minkowski's step gave that.

    gap : bounds on each row's gap. shown : lower bounds on each row's Var f by :func:`variance_shown`; 0 for none.
    """
    steps = np.sqrt(rows.claim_variance) - np.sqrt(gap)
    by_minkowski = np.where(steps > 0, steps, 0.0) ** 2
    variance = np.maximum(by_minkowski, shown)
    upper = np.divide(gap, variance, out=np.full_like(gap, np.inf), where=variance > 0)
    return upper, variance, by_minkowski >= variance


def squares_shown(tally: Tally, rows: Rows, *, delta: float) -> Float64[np.ndarray, " r"]:
    """Return sum_t w_rt Var r_t of each row from below; SQUARES_SHARE of ``delta``, the whole certificate's, is spent.

    Nothing is assumed.
    """
    return betting.lower_of_nonnegative(tally.below, SQUARES_SHARE * delta / rows.n_rows, guess=rows.square)


def without_own_squares(
    mean: Float64[np.ndarray, "*r"], squares: Float64[np.ndarray, "*r"], *, n_siblings: int, rho: float
) -> Float64[np.ndarray, "*r"]:
    """Return each row's gap from above, given E Y from above and sum_t w_rt Var r_t from below.

    By (2c) rho E Y = (sigma^2 + (s-1) A) / s where A >= rho gap, so gap <= (s rho E Y - sigma^2) / ((s-1) rho). Two
    bounds that contradict each other, squares larger than families can have, prove nothing: then E Y alone counts.
    """
    if n_siblings == 1:
        return mean
    with np.errstate(invalid="ignore"):
        less = (n_siblings * rho * mean - squares) / ((n_siblings - 1) * rho)
    return np.where((less > 0) & (less < mean), less, mean)


def variance_shown(
    tally: Tally,
    rows: Rows,
    squares: Float64[np.ndarray, " r"],
    *,
    kurtosis: float,
    delta: float,
    once: bool = False,
) -> Float64[np.ndarray, " r"]:
    """Return Var f of each row from below, by how the residual lies along the claim; 0 where that shows nothing.

    squares : of :func:`squares_shown`. delta : of the whole certificate; ALONG_SHARE of it is spent.
    once : whether this is the only look, at a number of families fixed beforehand.
    """
    alpha = ALONG_SHARE * delta / rows.n_rows
    along = bound.lowers_of_means(
        tally.along, rows.along, rows.along_scale, along_kurtosis(kurtosis, tally, rows), alpha, once=once
    )
    opposed = 2 * rows.length * np.where(np.isfinite(along), along, 0.0)
    shown = rows.claim_variance + opposed + squares
    return np.where(np.isfinite(along), np.maximum(shown, 0.0), 0.0)


def along_kurtosis(kurtosis: float, tally: Tally, rows: Rows) -> float:
    """Return the bound that is assumed of the residual along the claim.

    A claim whose scores are all off by one factor has up to 17 there, or more away from p = 1/2, and 2.2 to 3.4 where
    bases are drawn along it. A residual that is independent of the claim has three times its own kurtosis there (1.74
    times with bases along the claim), which may be more: a bound on the residual's kurtosis does not imply this one
    (THEORY 2.11).
    """
    return kurtosis if tally.ratio > 1 else max(kurtosis, rows.along_floor)


def lower_of(
    tally: Tally, rows: Rows, across: Across, *, kurtosis: float, delta: float, horizon: int
) -> tuple[float, float]:
    """Return the relative gap from below, and the bound on the residual along the claim of the row that shows most.

    Across the mean the targets' own lower bounds are averaged, across every the largest counts; each is at delta / T.
    """
    n_rows = rows.n_rows
    alpha, alpha_variance = BELOW_SHARE * delta / n_rows, (1 - BELOW_SHARE) * delta / n_rows
    along = bound.lower_of_absolute_means(
        tally.along, rows.along, rows.along_scale, along_kurtosis(kurtosis, tally, rows), alpha
    )
    variance = betting.betting_upper(tally.above, alpha_variance, horizon=horizon) * rows.spread * tally.ratio
    lower = along**2 / variance
    shown = float(along[int(np.argmax(lower))])
    return float(lower.mean() if across is Across.MEAN else lower.max()), shown


def certify(
    tally: Tally,
    rows: Rows,
    *,
    across: Across,
    kurtosis: float,
    delta: float,
    horizon: int,
    n_siblings: int,
    rho: float,
    n_pilot: int,
) -> MomentsCertificate:
    """Return the certificate of families that the verifier trained itself.

    Parameters
    ----------
    horizon : families that the betting bounds are sized for, fixed before the first; does not affect validity.
    delta : probability that the upper bound fails at any look, and likewise the lower.
    """
    n, n_rows = tally.n_families, rows.n_rows
    alpha = GAP_SHARE * delta / n_rows
    q = bound.anytime_quantile(n, kurtosis, alpha)
    total = tally.squares.sum(axis=0)
    squares = squares_shown(tally, rows, delta=delta)
    mean = total / q if q > 0 else np.full(n_rows, np.inf)
    gap = without_own_squares(mean, squares, n_siblings=n_siblings, rho=rho)
    shown = variance_shown(tally, rows, squares, kurtosis=kurtosis, delta=delta)
    upper, variance, by_minkowski = relative_upper(gap, rows, shown)
    lower, along_lower = lower_of(tally, rows, across, kurtosis=kurtosis, delta=delta, horizon=horizon)
    return MomentsCertificate(
        across=across,
        delta=delta,
        kurtosis=kurtosis,
        kurtosis_along=along_kurtosis(kurtosis, tally, rows),
        n_families=n,
        n_siblings=n_siblings,
        rho=rho,
        n_pilot=n_pilot,
        n_false=0,
        upper=upper,
        lower=np.full(n_rows, lower),
        mean_square=total / n,
        gap_upper=gap,
        claim_variance=rows.claim_variance,
        variance_lower=variance,
        by_minkowski=by_minkowski,
        along=float(tally.along.mean(axis=0)[0])
        if len(rows.length) == 1
        else float(np.abs(tally.along.mean(axis=0)).max()),
        along_lower=along_lower,
        observed=observed_kurtosis(tally.squares),
        worst=worst_targets(tally),
    )


def observed_kurtosis(squares: Float64[np.ndarray, "b r"]) -> Float64[np.ndarray, " r"]:
    """Return E Y^2 / (E Y)^2 of the families at hand; 1 where they are all 0."""
    mean = squares.mean(axis=0)
    safe = np.where(mean > 0, mean, 1.0)
    return np.asarray(np.where(mean > 0, ((squares / safe) ** 2).mean(axis=0), 1.0))


def worst_targets(tally: Tally) -> tuple[tuple[int, float], ...]:
    """Return the three targets whose residual is largest over their variance in the pilot."""
    shares = tally.by_target.mean(axis=0)
    if len(shares) == 1:
        return ()
    return tuple((int(t), float(shares[t])) for t in np.argsort(-shares, kind="stable")[:3])
