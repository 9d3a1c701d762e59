"""The cross-fit certificate: a finite-sample bound on the relative gap, with room for lies (THEORY 5).

Nothing is asymptotic and nothing is assumed of f but its range. There are two rounds of independent pairs. The verifier
trains round A, which gives a direction; round B, trained by it or answered by the prover, tests that direction:

    w_A = mean over A of r phi^T,   <w_A, w> <= |w_A| S,   |w|^2 <= <w_A, w> + t |w|

so that |w| <= (t + sqrt(t^2 + 4 |w_A| S)) / 2. S is a confidence bound of a bounded mean on B, and t is a Bernstein
bound on A along the unknown direction w/|w|. Where the verifier trained everything, the rounds are exchangeable: both
directions are tested and averaged, and t uses all pairs.

A pilot, the first pairs of A, fixes each target's scale and the radius b of a ball (``crossfit_pilot``). r is the
residual, divided by the scale and drawn in to the ball. What lies outside is rare, because hardly any pair that the
verifier trained does, so what it hides is small. A false answer then moves r by at most 2 b, not by a target's range.

What a row bounds (``Across``), with s_t the scales:

    pooled  sum_t gap_t / s_t^2 over sum_t Var f_t / s_t^2; the weights s_t^-2 come from the pilot's outputs alone
    mean    mean over t of gap_t / Var f_t, through the largest that s_t^2 / Var f_t can be
    every   gap_t / Var f_t, one row a target at delta/T

Letters: m pairs a round, T targets, N units; w the degree-one coefficients of r, shape (T, N); a = |V phi| for a matrix
V of norm 1; c false pairs; delta is split over the events named in ``SHARES``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from protocol.certificate import betting, concentration
from protocol.certificate.concentration import Moments
from protocol.certificate.crossfit.pilot import Ball, Scale, ball_of, pilot_pairs, scale_of
from protocol.certificate.crossfit.rounds import Round, Side, residuals, row_sizes
from protocol.certificate.method import Part, Value
from protocol.certificate.phrases import finite, number, over, percent, sure
from protocol.certificate.readings import check_shapes
from protocol.certificate.terms import Across
from protocol.claim import Claim
from protocol.errors import ArgumentError
from protocol.game import Game, harmonic

__all__ = ["CHECK_SHARE", "CUT", "MIN_PAIRS", "SHARES", "CrossfitCertificate", "Round", "certify"]

SHARES = {"S": 0.12, "t": 0.08, "tail": 0.02, "fourth moment": 0.05, "outside": 0.65, "variance": 0.08}
"""How delta is split for the upper bound. Events: the test on B; Bernstein on A; no a beyond the tail; E|r|^4;
P(|r| > b); every Var f. What hides outside costs most, and its price falls with log(1/alpha) itself, not with the root
of it. The lower bound spends "S" on the test, as much again along the claim, "outside" and "variance"."""

MIN_PAIRS = 20
CHECK_SHARE = 0.1
"""Of delta, spent on what clean checks leave possible where a prover answers round B."""

CUT = 6.0
"""Squares that show how large Var f is are cut at so many scales."""
_HUGE = 1e100  # lengths beyond it, in scales, are as good as infinite, and their squares could be


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossfitCertificate:
    """Bounds on the relative gap, with every part that makes them up.

    Arrays are of shape (R,): one row pooled or across the mean, or one a target. Lengths are in units of the scale.

    n_false : pairs of B that can be false.
    upper : with probability 1 - delta, over all rows at once, no relative gap is above it.
    lower : likewise from below, at delta.
    direction : |w_A|, averaged over both directions where both are used.
    along : S, the bound on <w_A/|w_A|, w>, room for lies included.
    slack : t.
    radius : b. outside : bound on P(|r| > b).
    hidden : by how much what lies outside can move |w|.
    variance_lower : bound on Var f / scale^2; pooled its mean over targets, across the mean its least.
    """

    across: Across
    delta: float
    n_pairs: tuple[int, int]
    n_false: int
    upper: Float64[np.ndarray, " r"]
    lower: Float64[np.ndarray, " r"]
    direction: Float64[np.ndarray, " r"]
    along: Float64[np.ndarray, " r"]
    slack: Float64[np.ndarray, " r"]
    radius: Float64[np.ndarray, " r"]
    outside: Float64[np.ndarray, " r"]
    hidden: Float64[np.ndarray, " r"]
    variance_lower: Float64[np.ndarray, " r"]

    @property
    def upper_bound(self) -> float:
        """No row's relative gap is above this."""
        return float(self.upper.max())

    @property
    def lower_bound(self) -> float:
        """Some row's relative gap is at least this."""
        return float(self.lower.max())

    @property
    def undecided(self) -> str | None:
        """Why there is no upper bound, or None."""
        if np.isfinite(self.upper_bound):
            return None
        return (
            "some target's Var f cannot be told from 0: allow more retrainings, or leave out targets that do not vary"
        )

    def notes(self) -> list[str]:
        """There is nothing to add."""
        return []

    def parts(self, game: Game) -> list[Part]:
        """Return the parts by name."""
        row, (a, b) = int(np.argmax(self.upper)), self.n_pairs
        return [
            ("relative gap, at most", number(self.upper[row]), f"{sure(self.delta)}, for every bounded f"),
            ("relative gap, at least", number(self.lower_bound), "likewise"),
            ("  over", over(self.across, row, game), "in the units of its scale, as all below"),
            ("length of the direction", number(self.direction[row]), "|w_A|, from one round, tried on the other"),
            ("residual along it, at most", number(self.along[row]), "S, room for false answers included"),
            ("slack", number(self.slack[row]), "t, for the direction's own chance"),
            ("residuals drawn in to", number(self.radius[row]), "b, set by the first pairs"),
            ("share beyond it, at most", percent(self.outside[row]), "from the pairs that the verifier trained"),
            ("what that can hide", number(self.hidden[row]), "from the targets' ranges and the scores"),
            ("Var f / scale^2, at least", number(self.variance_lower[row]), "from the pairs that the verifier trained"),
            ("pairs drawn", f"{b} and {a}", "the second the verifier's own"),
            ("false pairs allowed for", str(self.n_false), "what clean checks leave possible"),
        ]

    def values(self) -> dict[str, Value]:
        """Return the parts under stable keys."""
        row = int(np.argmax(self.upper))
        return {
            "direction": finite(float(self.direction[row])),
            "along": finite(float(self.along[row])),
            "slack": finite(float(self.slack[row])),
            "radius": finite(float(self.radius[row])),
            "outside": finite(float(self.outside[row])),
            "hidden": finite(float(self.hidden[row])),
            "variance_lower": finite(float(self.variance_lower[row])),
            "n_pairs": list(self.n_pairs),
            "n_false": self.n_false,
            "n_rows": len(self.upper),
            "worst_row": row,
        }


def certify(
    game: Game, claim: Claim, a: Round, b: Round, *, delta: float, across: Across = Across.POOLED
) -> CrossfitCertificate:
    """Return the certificate of a claim from two rounds of pairs.

    Assumes that outputs lie in the task's ranges, that both rounds were drawn after the claim was committed, and A
    after any answers to B were; nothing else.

    Parameters
    ----------
    a : trained by the verifier; its first ``pilot_pairs`` are the pilot. b : trained by it too, or answered.
        Independent subsets (one sibling a family), at least MIN_PAIRS each.
    delta : probability that the upper bound fails, and likewise the lower, over all rows.
        The spot checks' own delta is the caller's to add.

    Raises
    ------
    ArgumentError
        Too few pairs, or siblings, or a round A that the verifier did not train itself.
    """
    check_shapes(game, claim)
    _check_rounds(a, b)
    skip = pilot_pairs(a.n_pairs)
    first, subsets = a.by_pair[:skip], a.first_subsets(game, skip)
    scale = scale_of(game, claim, first, subsets, across)
    linear = harmonic.characters(subsets, game.measure.p) @ scale.coefficients.T
    sizes = row_sizes(residuals(game, scale, first, linear), across)
    ball = ball_of(sizes)
    sides = (Side(game, scale, a, skip=skip), Side(game, scale, b))
    for side in sides:
        side.draw_in(ball.radius, across)
    orders = [_Order(scale, *sides)]
    if b.all_trained:
        orders.append(_Order(scale, sides[1], sides[0]))
    targets = np.arange(game.n_targets)
    rows = [targets[t : t + 1] for t in targets] if across is Across.EVERY else [targets]
    columns = [
        _Row(game, scale, ball, sides, orders, across, members, row, delta / len(rows)).columns()
        for row, members in enumerate(rows)
    ]
    return CrossfitCertificate(
        across=across,
        delta=delta,
        n_pairs=(a.n_pairs, b.n_pairs),
        n_false=b.n_false,
        **{name: np.array([column[name] for column in columns]) for name in columns[0]},
    )


def _check_rounds(a: Round, b: Round) -> None:
    for name, round_ in (("A", a), ("B", b)):
        design = round_.draw.design
        if design.n_siblings != 1 or design.n_families < MIN_PAIRS:
            raise ArgumentError(
                f"round {name}: expected at least {MIN_PAIRS} independent subsets, "
                f"got {design.n_families} families of {design.n_siblings}"
            )
    if not a.all_trained:
        raise ArgumentError(f"round A: expected all {a.n_pairs} pairs trained by the verifier, got {len(a.trained)}")


class _Order:
    """A direction from one side and what the other side's pairs have along it, target by target."""

    def __init__(self, scale: Scale, first: Side, then: Side) -> None:
        self.coefficients = first.coefficients()
        self.along, self.first, self.then = then.along(self.coefficients), first, then
        self.drift = then.tolerance / scale.scale


class _Row:
    """One bound: some targets as one vector, each scaled and divided by the root of their number."""

    def __init__(
        self,
        game: Game,
        scale: Scale,
        ball: Ball,
        sides: tuple[Side, Side],
        orders: list[_Order],
        across: Across,
        targets: Int64[np.ndarray, " r"],
        row: int,
        delta: float,
    ) -> None:
        self.game, self.scale, self.sides, self.orders = game, scale, sides, orders
        self.across, self.targets, self.row = across, targets, row
        self.radius, self.fourth_seen = float(ball.radius[row]), float(ball.fourth[row])
        self.root = np.sqrt(len(targets))
        self.claim = scale.coefficients[targets] / (scale.scale[targets] * self.root)[:, None]
        self.moments = concentration.moments(game.measure.p)
        self.alpha = {name: share * delta for name, share in SHARES.items()}

    def norm(self, values: Float64[np.ndarray, " t"]) -> float:
        """Root mean square over this row's targets, of values whose squares might be infinite."""
        largest = float(np.abs(values[self.targets]).max())
        return largest * float(np.linalg.norm(values[self.targets] / largest) / self.root) if largest > 0 else 0.0

    def columns(self) -> dict[str, float]:
        """The row of :class:`CrossfitCertificate`."""
        tested = [self._tested(order) for order in self.orders]
        norms, lows, highs = (np.array(column) for column in zip(*tested, strict=True))
        own = np.concatenate([side.size[side.trained, self.row] for side in self.sides])
        slack, (outside, hidden) = self._slack(own), self._hidden(own)
        pairs = [order.first.m for order in self.orders]  # t is about the mean over all pairs, not over rounds
        along = float(np.average(norms * np.maximum(highs, 0.0), weights=pairs))
        size = (slack + np.sqrt(slack**2 + 4 * along)) / 2
        least, most = self._variance()
        return {
            "upper": (size + hidden) ** 2 / least if least > 0 and size + hidden < _HUGE else np.inf,
            "lower": max(float(lows.max()) - hidden, self._along_claim() - hidden, 0.0) ** 2 / most,
            "direction": float(norms.mean()),
            "along": float(highs.mean()),
            "slack": slack,
            "radius": self.radius,
            "outside": outside,
            "hidden": hidden,
            "variance_lower": least,
        }

    def _hidden(self, own: Float64[np.ndarray, " k"]) -> tuple[float, float]:
        """P(|r| > b) from above, and with it what the ball can hide of |w|: E[(|r| - b)_+ a], |r| <= reach + |l|."""
        outside = concentration.share_upper(int((own > self.radius).sum()), len(own), self.alpha["outside"])
        reach = max(self.norm(self.scale.reach) - self.radius, 0.0) * concentration.on_rare(self.moments, outside)
        claim = concentration.product_on_rare(self._moments_of(self.claim), self.moments, outside)
        return outside, reach + float(np.linalg.norm(self.claim)) * claim

    def _moments_of(self, direction: Float64[np.ndarray, "r n"]) -> Moments:
        """Bounds on the moments of |u phi|, u this direction over its norm: many targets vary less than one."""
        norm = float(np.linalg.norm(direction))
        if norm == 0 or len(direction) == 1:
            return self.moments
        return concentration.moments_of(np.linalg.eigvalsh(_smaller_gram(direction / norm)), self.game.measure.p)

    def _tested(self, order: _Order) -> tuple[float, float, float]:
        """|w_A|, and <w_A/|w_A|, w> from below and above: a bounded mean, what clipping hides, and lies."""
        side, alpha = order.then, self.alpha["S"] / len(self.orders)
        direction = order.coefficients[self.targets] / self.root
        norm = float(np.linalg.norm(direction))
        along = order.along[:, self.targets] / (self.root * norm if norm > 0 else 1.0)
        limit, cut = concentration.clipped_at(self.radius, self._moments_of(direction), side.m, alpha)
        values = self._products(side, along, limit)
        if side.all_trained:
            lower, upper = concentration.betting_lower(values, alpha), concentration.betting_upper(values, alpha)
        else:
            unit = direction / (norm if norm > 0 else 1.0)
            bet = self._bet(order.first, unit, side, limit, alpha)
            reach = np.linalg.norm(along, axis=1) / (2 * limit)
            lower, upper = self._despite_lies(side, values, reach, bet, self.norm(order.drift), alpha)
        return norm, 2 * limit * lower - limit - cut, 2 * limit * upper - limit + cut

    def _products(self, side: Side, along: Float64[np.ndarray, "m r"], limit: float) -> Float64[np.ndarray, " m"]:
        """<r, u phi> of every pair, clipped at the limit and moved into [0, 1]."""
        products = (side.residual[:, self.targets] * along).sum(axis=1) / self.root
        return np.asarray((np.clip(products, -limit, limit) + limit) / (2 * limit))

    def _bet(self, first: Side, unit: Float64[np.ndarray, "r n"], then: Side, limit: float, alpha: float) -> float:
        """The bet against round B's mean, a function of round A: E <r, u phi>^2 is about E|u^T r|^2, phi isotropic."""
        residual, gram = first.residual[:, self.targets] / self.root, _smaller_gram(unit)
        along = residual @ (gram if len(gram) == len(unit) else unit)  # |u^T r|^2, through the smaller of two matrices
        squares = along * residual if len(gram) == len(unit) else along**2
        spread = max(float(squares.sum(axis=1).mean()), 0.0) / (2 * limit) ** 2
        move = self.radius + float(np.sqrt((residual**2).sum(axis=1).mean()))
        if 0 < then.n_false < then.m and gram.any():  # the false pairs that matter most have the largest |u phi|
            move *= concentration.norm_quantile(1 / float((gram**2).sum()), 1 - then.n_false / (2 * then.m))
        return concentration.best_bet(alpha, then.m, spread=spread, n_false=then.n_false, move=move / (2 * limit))[0]

    def _despite_lies(
        self,
        side: Side,
        values: Float64[np.ndarray, " m"],
        reach: Float64[np.ndarray, " m"],
        bet: float,
        drift: float,
        alpha: float,
    ) -> tuple[float, float]:
        """The mean of the test's values from below and above, whatever false answers did to them."""
        # What came and the truth, drawn in, are both in the ball; drawing in brings no two points further apart.
        came = np.minimum(side.size[:, self.row], self.radius)
        moves, drifts = (came + self.radius) * reach, drift * reach
        moves[side.trained], drifts[side.trained] = 0.0, 0.0
        low, high = (
            concentration.betting_upper_despite_lies(
                v, alpha, bet=bet, n_false=side.n_false, moves=moves, drifts=drifts
            )
            for v in (1 - values, values)
        )
        return 1 - low, high

    def _along_claim(self) -> float:
        """|<u, w>| from below, u the claim's own direction: what a scaled claim leaves out lies along itself."""
        length = float(np.linalg.norm(self.claim))
        if length == 0:
            return 0.0
        sides = [side for side in self.sides if side.all_trained]
        alpha, m = self.alpha["S"] / 2, sum(side.m for side in sides)
        limit, cut = concentration.clipped_at(self.radius, self._moments_of(self.claim), m, alpha)
        weight = self.scale.scale[self.targets] * self.root * length
        values = np.concatenate([self._products(s, s.linear[:, self.targets] / weight, limit) for s in sides])
        lower, upper = concentration.betting_lower(values, alpha), concentration.betting_upper(values, alpha)
        return limit * max(2 * lower - 1, 1 - 2 * upper) - cut

    def _slack(self, own: Float64[np.ndarray, " k"]) -> float:
        """t: Bernstein for <r, V phi> where no a is beyond tau, which fails with probability "tail" at most."""
        m = sum(side.m for side in self.sides) if len(self.orders) == 2 else self.sides[0].m
        values = np.minimum(own / self.radius, 1.0) ** 4
        fourth = concentration.betting_upper(values, self.alpha["fourth moment"], guess=self.fourth_seen)
        return self.radius * concentration.slack_of(fourth, 1.0, self.moments, m, self.alpha["t"], self.alpha["tail"])

    def _variance(self) -> tuple[float, float]:
        """Var f / scale^2 from below and above, from the verifier's own outputs but for the pilot's.

        Pooled, its mean over targets; across the mean, the least and the most over targets.
        """
        whole = np.concatenate([side.own for side in self.sides])[:, :, self.targets] / self.scale.scale[self.targets]
        least = self._variance_from_below(whole)
        if not bool((self.scale.spread[self.targets] < _HUGE).all()):
            return least, float("inf")
        middle = self.scale.middle[self.targets] / self.scale.scale[self.targets]
        squares, limits = self._over_targets(((whole - middle) ** 2).mean(axis=1), self.scale.spread[self.targets] ** 2)
        alpha = self.alpha["variance"] / len(limits)
        most = betting.betting_upper(squares / limits, alpha, horizon=len(squares))
        return least, float((most * limits).max())

    def _variance_from_below(self, whole: Float64[np.ndarray, "k s r"]) -> float:
        """From an unbiased square for every two pairs, at most twice the half range's, and cut.

        At p = 1/2 it is (o^2 + o'^2)/2 + (e - e')^2/2, o and e the odd and even parts of a pair; else (f - f')^2/2.
        """
        n = len(whole) // 2 * 2
        if self.game.measure.has_complements:
            odd, even = (whole[:n, 0] - whole[:n, 1]) / 2, (whole[:n, 0] + whole[:n, 1]) / 2
            squares = (odd[0::2] ** 2 + odd[1::2] ** 2 + (even[0::2] - even[1::2]) ** 2) / 2
        else:
            squares = (whole[0:n:2, 0] - whole[1:n:2, 0]) ** 2 / 2
        squares, limits = self._over_targets(squares, 2 * np.minimum(self.scale.half[self.targets], CUT) ** 2)
        # A square cut off has no larger a mean; cut near the pilot's variance, a wide range costs nothing.
        limits = np.minimum(limits, CUT**2)
        shares, guesses = np.minimum(squares / limits, 1.0), np.minimum(1 / limits, 1.0)
        alpha = self.alpha["variance"] / len(limits)
        found = [concentration.betting_lower(v, alpha, guess=g) for v, g in zip(shares.T, guesses, strict=True)]
        return float((np.array(found) * limits).min())

    def _over_targets(
        self, squares: Float64[np.ndarray, "h r"], limits: Float64[np.ndarray, " r"]
    ) -> tuple[Float64[np.ndarray, "h c"], Float64[np.ndarray, " c"]]:
        """One column pooled, their mean; a column a target where each needs a bound of its own."""
        if self.across is Across.MEAN:
            return squares, limits
        return squares.mean(axis=1, keepdims=True), limits.mean(keepdims=True)


def _smaller_gram(rows: Float64[np.ndarray, "r n"]) -> Float64[np.ndarray, "k k"]:
    """V V^T or V^T V, whichever is smaller: their eigenvalues other than 0 are the same."""
    return np.asarray(rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows)
