"""The cross-fit certificate: a finite-sample bound on the relative gap, with room for lies (THEORY 5).

Nothing is asymptotic and nothing is assumed of f but its range. Two rounds of independent pairs:
the verifier trains A, which gives a direction; B, trained by it or answered by the prover, tests it.

    w_A = mean over A of r phi^T,   <w_A, w> <= |w_A| S,   |w|^2 <= <w_A, w> + t |w|

so that |w| <= (t + sqrt(t^2 + 4 |w_A| S)) / 2. S is a confidence bound of a bounded mean on B, t
a Bernstein bound on A along the unknown direction w/|w|. Where the verifier trained everything,
the rounds are exchangeable and both directions are averaged: t then uses all pairs.

r is the residual drawn in to a ball of radius b, which the first pairs of A set; what that hides
is rare, because hardly any pair that the verifier trained lies outside, and so it is small.
A false answer moves r by at most 2 b then, not by a target's range.

Letters: m pairs a round, T targets, N units; r the residual, scaled so that the sum of W_1 over
targets is the mean of gap_t / scale_t^2; w the degree-one coefficients of r drawn in, shape (T, N);
a = |V phi| for a matrix V of norm 1; b the ball's radius; c false pairs; delta split over the
events named in ``SHARES``.

Steps beyond THEORY 5, proved in docs/theory.md, section 5: the ball; bounds by moments; betting
bounds for every mean; T targets as one vector; both directions at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from protocol import harmonic
from protocol.certificate import concentration
from protocol.certificate.concentration import Moments
from protocol.certificate.readings import check_shapes
from protocol.certificate.terms import Across
from protocol.claim import Claim
from protocol.errors import ArgumentError
from protocol.sampling import Draw
from protocol.task import Task

SHARES = {"S": 0.15, "t": 0.1, "tail": 0.03, "fourth moment": 0.07, "outside": 0.5, "variance": 0.15}
"""How delta is split. Events: the test on B; Bernstein on A; no a beyond the tail; E|r|^4; P(|r| > b); every Var f.
What hides outside is the dearest part and the only one that falls with log(1/alpha) itself, not its root."""

MIN_PAIRS = 20
MIN_PILOT_PAIRS, PILOT_SHARE = 10, 0.1
"""The first pairs of A set b and are used for nothing else but Var f."""
RADIUS = 2.0
"""b is so many times the largest residual among them: outside it there should be none, and its price is small."""
CUT = 6.0
"""Squares that show how large Var f is are cut at so many scales."""
_LEAST_RADIUS = 1e-9  # of a claim without any error

_CHUNK_CELLS = 1 << 24  # of the characters held as float64 at once; does not affect outputs
_HELD_CELLS = 1 << 27  # of subsets, one byte each, held rather than derived three times; does not affect outputs


def pilot_pairs(n_pairs: int) -> int:
    """Return how many of A's pairs set b."""
    return max(MIN_PILOT_PAIRS, int(PILOT_SHARE * n_pairs))


@dataclass(frozen=True, kw_only=True, eq=False)
class Round:
    """One round of independent subsets, answered.

    outputs : shape (m sides, T), in evaluation order; the verifier's own where it trained.
    trained : shape (k,), numbers of the pairs that the verifier trained itself, ascending.
    n_false : most pairs that can be false (THEORY 7); 0 when all were trained.
    tolerance : by how much any other output may be off, in the targets' unit; 0 when all were trained.
    """

    draw: Draw
    outputs: Float64[np.ndarray, "e t"]
    trained: Int64[np.ndarray, " k"]
    n_false: int
    tolerance: float

    @property
    def n_pairs(self) -> int:
        """m."""
        return self.draw.design.n_families

    @property
    def all_trained(self) -> bool:
        """Whether nobody was trusted."""
        return len(self.trained) == self.n_pairs


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossfitCertificate:
    """Bounds on the relative gap, with every part that makes them up.

    Arrays are of shape (R,): one row across the mean, or one a target. In units of the scale.

    n_false : pairs of B that can be false.
    upper : with probability 1 - delta, over all rows at once, no relative gap is above it.
    lower : likewise from below, at delta.
    direction : |w_A|, averaged over both directions where both are used.
    along : S, the bound on <w_A/|w_A|, w>, room for lies included.
    slack : t.
    radius : b. outside : bound on P(|r| > b).
    hidden : by how much what lies outside can move |w|.
    variance_lower : bound on Var f / scale^2, the least over targets.
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


def certify(task: Task, claim: Claim, a: Round, b: Round, *, delta: float, across: Across) -> CrossfitCertificate:
    """Return the certificate of a claim from two rounds of pairs.

    Parameters
    ----------
    a : trained by the verifier. b : trained by it too, or answered. Both drawn after the claim was
        committed; independent subsets (one sibling a family), at least MIN_PAIRS each.
    delta : probability that the upper bound fails, and likewise the lower, over all rows.
        The spot checks' own delta is the caller's to add.

    Raises
    ------
    ArgumentError
        Too few pairs, or siblings, or a round A that the verifier did not train itself.
    """
    check_shapes(task, claim)
    for name, round_ in (("A", a), ("B", b)):
        design = round_.draw.design
        if design.n_siblings != 1 or design.n_families < MIN_PAIRS:
            raise ArgumentError(
                f"round {name}: expected at least {MIN_PAIRS} independent subsets, "
                f"got {design.n_families} families of {design.n_siblings}"
            )
    if not a.all_trained:
        raise ArgumentError(f"round A: expected all {a.n_pairs} pairs trained by the verifier, got {len(a.trained)}")
    scale, skip = _Scale(task, claim), pilot_pairs(a.n_pairs)
    sides = (_Side(task, claim, scale, a), _Side(task, claim, scale, b))
    radii = np.maximum(RADIUS * sides[0].sizes(across)[:skip].max(axis=0), _LEAST_RADIUS)
    sides[0].drop(skip)
    for side in sides:
        side.draw_in(radii, across)
    orders = [_Order(scale, *sides)]
    if b.all_trained:
        orders.append(_Order(scale, sides[1], sides[0]))
    n = task.n_targets
    rows = [np.arange(n)] if across is Across.MEAN else [np.array([t]) for t in range(n)]
    columns = [
        _Row(task, scale, sides, orders, targets, row, float(radii[row]), delta / len(rows)).columns()
        for row, targets in enumerate(rows)
    ]
    return CrossfitCertificate(
        across=across,
        delta=delta,
        n_pairs=(a.n_pairs, b.n_pairs),
        n_false=b.n_false,
        **{name: np.array([column[name] for column in columns]) for name in columns[0]},
    )


class _Scale:
    """What is fixed by the task and the claim alone, arrays of shape (T,): the reach of f, and the claim's spectrum."""

    def __init__(self, task: Task, claim: Claim) -> None:
        self.half = task.targets.width / 2
        self.middle = (task.targets.lo + task.targets.hi) / 2
        self.moments = concentration.moments(task.p)
        self.coefficients = harmonic.coefficients_from_weights(claim.scores, task.p)
        linear = (self.coefficients**2).sum(axis=1)
        # Any function of task and claim will do for a scale; sd g is near sd f for a good claim.
        self.scale = np.sqrt(linear + (self.half / 100) ** 2)
        # Without complements the residual holds the mean of f, which a constant brings near 0.
        mean = np.clip(claim.intercepts + task.p * claim.scores.sum(axis=1), task.targets.lo, task.targets.hi)
        self.centre = np.zeros_like(mean) if task.has_complements else mean
        self.reach = (self.half if task.has_complements else self.half + np.abs(mean - self.middle)) / self.scale

    def claim_moments(self, targets: Int64[np.ndarray, " r"], p: float) -> Moments:
        """Moments of the norm of the claim's own linear part over these targets, scaled."""
        rows = self.coefficients[targets] / (self.scale[targets] * np.sqrt(len(targets)))[:, None]
        return concentration.moments_of(np.linalg.eigvalsh(rows @ rows.T), p)


class _Side:
    """One round's residuals, scaled, and its characters.

    f : odd part of the outputs (p = 1/2), or outputs less the claim's mean; shape (m, T).
    own : outputs of the pairs that the verifier trained, shape (k, sides, T).
    trained : shape (m,), which pairs those are.
    """

    def __init__(self, task: Task, claim: Claim, scale: _Scale, round_: Round) -> None:
        self._task, self._draw, self._first = task, round_.draw, 0
        self.m, self.n_false, self.tolerance = round_.n_pairs, round_.n_false, round_.tolerance
        self.all_trained = round_.all_trained
        self._subsets: Bool[np.ndarray, "m n"] | None = None
        if self.m * task.n_units <= _HELD_CELLS:
            members = np.arange(self.m, dtype=np.int64) * round_.draw.design.n_sides
            self._subsets = round_.draw.subsets(task, members)
        whole = round_.outputs.reshape(self.m, -1, task.n_targets)
        f = (whole[:, 0] - whole[:, 1]) / 2 if task.has_complements else whole[:, 0]
        self.residual = ((f - scale.centre) - self.along(scale.coefficients)) / scale.scale
        self.own = whole[round_.trained]
        self.trained = np.isin(np.arange(self.m), round_.trained)

    def sizes(self, across: Across) -> Float64[np.ndarray, "m r"]:
        """|r| of every pair in every row."""
        return row_sizes(self.residual, across)

    def drop(self, n: int) -> None:
        """Forget the first n pairs, but for ``own``."""
        self._first, self.m = self._first + n, self.m - n
        self.residual, self.trained = self.residual[n:], self.trained[n:]

    def draw_in(self, radii: Float64[np.ndarray, " r"], across: Across) -> None:
        """Shrink every residual outside its row's ball onto it; ``size`` keeps what it was, shape (m, R)."""
        self.size = self.sizes(across)
        self.residual = self.residual * np.minimum(1.0, radii / np.maximum(self.size, radii))

    def characters(self, start: int, stop: int) -> Float64[np.ndarray, "k n"]:
        """phi of the pairs from ``start`` to ``stop``."""
        start, stop = start + self._first, stop + self._first
        if self._subsets is not None:
            return harmonic.characters(self._subsets[start:stop], self._task.p)
        members = np.arange(start, stop, dtype=np.int64) * self._draw.design.n_sides
        return harmonic.characters(self._draw.subsets(self._task, members), self._task.p)

    def coefficients(self) -> Float64[np.ndarray, "t n"]:
        """w_A: the mean of r phi^T."""
        total = np.zeros((self._task.n_targets, self._task.n_units))
        for start, stop in self._chunks():
            total += self.residual[start:stop].T @ self.characters(start, stop)
        return total / self.m

    def along(self, direction: Float64[np.ndarray, "t n"]) -> Float64[np.ndarray, "m t"]:
        """The direction times phi, for every pair."""
        return np.concatenate([self.characters(start, stop) @ direction.T for start, stop in self._chunks()])

    def _chunks(self) -> list[tuple[int, int]]:
        step = max(1, _CHUNK_CELLS // self._task.n_units)
        return [(start, min(start + step, self.m)) for start in range(0, self.m, step)]


def row_sizes(values: Float64[np.ndarray, "*m t"], across: Across) -> Float64[np.ndarray, "*m r"]:
    """Norms over each row's targets, over the root of their number."""
    if across is Across.EVERY:
        return np.asarray(np.abs(values))
    return np.asarray(np.sqrt((values**2).mean(axis=-1, keepdims=True)))


class _Order:
    """A direction from one side and what the other side's pairs have along it, target by target."""

    def __init__(self, scale: _Scale, first: _Side, then: _Side) -> None:
        coefficients = first.coefficients()
        self.squares = (coefficients**2).sum(axis=1)
        self.along, self.first, self.then = then.along(coefficients), first, then
        self.drift = then.tolerance / scale.scale


class _Row:
    """One bound: some targets as one vector, each scaled and divided by the root of their number."""

    def __init__(
        self,
        task: Task,
        scale: _Scale,
        sides: tuple[_Side, _Side],
        orders: list[_Order],
        targets: Int64[np.ndarray, " r"],
        row: int,
        radius: float,
        delta: float,
    ) -> None:
        self.task, self.scale, self.sides, self.orders = task, scale, sides, orders
        self.targets, self.row, self.radius = targets, row, radius
        self.root = np.sqrt(len(targets))
        self.alpha = {name: share * delta for name, share in SHARES.items()}

    def norm(self, values: Float64[np.ndarray, " t"]) -> float:
        """Euclidean norm over this row's targets."""
        return float(np.linalg.norm(values[self.targets]) / self.root)

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
            "upper": (size + hidden) ** 2 / least if least > 0 else np.inf,
            "lower": max(float(lows.max()) - hidden, 0.0) ** 2 / most,
            "direction": float(norms.mean()),
            "along": float(highs.mean()),
            "slack": slack,
            "radius": self.radius,
            "outside": outside,
            "hidden": hidden,
            "variance_lower": least,
        }

    def _hidden(self, own: Float64[np.ndarray, " k"]) -> tuple[float, float]:
        """P(|r| > b) from above, and with it what the ball can hide of |w|: E[|r| a; |r| > b], |r| <= reach + |l|."""
        outside = concentration.share_upper(int((own > self.radius).sum()), len(own), self.alpha["outside"])
        claim = self.scale.claim_moments(self.targets, self.task.p)
        reach = self.norm(self.scale.reach) * concentration.on_rare(self.scale.moments, outside)
        return outside, reach + concentration.product_on_rare(claim, self.scale.moments, outside)

    def _tested(self, order: _Order) -> tuple[float, float, float]:
        """|w_A|, and <w_A/|w_A|, w> from below and above: a bounded mean, what clipping hides, and lies."""
        side, alpha = order.then, self.alpha["S"] / (2 * len(self.orders))
        norm = float(np.sqrt(order.squares[self.targets].sum()) / self.root)
        along = order.along[:, self.targets] / (self.root * norm if norm > 0 else 1.0)
        limit, cut = concentration.clipped_at(self.radius, self.scale.moments, side.m, alpha)
        products = np.clip((side.residual[:, self.targets] * along).sum(axis=1) / self.root, -limit, limit)
        values = (products + limit) / (2 * limit)
        lower, upper = self._mean(order, values, np.linalg.norm(along, axis=1) / (2 * limit), limit, alpha)
        return norm, 2 * limit * lower - limit - cut, 2 * limit * upper - limit + cut

    def _mean(
        self,
        order: _Order,
        values: Float64[np.ndarray, " m"],
        reach: Float64[np.ndarray, " m"],
        limit: float,
        alpha: float,
    ) -> tuple[float, float]:
        """The mean of the test's values from below and above, whatever false answers did to them."""
        side = order.then
        if side.all_trained:
            return concentration.betting_lower(values, alpha), concentration.betting_upper(values, alpha)
        # What came and the truth, drawn in, are both in the ball; drawing in brings no two points further apart.
        came = np.minimum(side.size[:, self.row], self.radius)
        moves, drifts = ((came + self.radius) * reach, self.norm(order.drift) * reach)
        moves[side.trained], drifts[side.trained] = 0.0, 0.0
        # The bet may depend on round A alone: E[y^2] is near E|r|^2.
        inside = np.minimum(order.first.size[:, self.row], self.radius)
        spread = float((inside**2).mean()) / (2 * limit) ** 2
        bet = float(np.sqrt(-2 * np.log(alpha) / (side.m * max(spread, 0.25 / side.m))))
        low, high = (
            concentration.betting_upper_despite_lies(
                v, alpha, bet=bet, n_false=side.n_false, moves=moves, drifts=drifts
            )
            for v in (1 - values, values)
        )
        return 1 - low, high

    def _slack(self, own: Float64[np.ndarray, " k"]) -> float:
        """t: Bernstein for <r, V phi> where no a is beyond tau, which fails with probability "tail" at most."""
        m = sum(side.m for side in self.sides) if len(self.orders) == 2 else self.sides[0].m
        values = np.minimum(own / self.radius, 1.0) ** 4
        fourth = self.radius**4 * concentration.betting_upper(values, self.alpha["fourth moment"])
        return concentration.slack_of(fourth, self.radius, self.scale.moments, m, self.alpha["t"], self.alpha["tail"])

    def _variance(self) -> tuple[float, float]:
        """The least and the most that Var f / scale^2 can be over targets, from the verifier's own outputs."""
        whole = np.concatenate([side.own for side in self.sides])[:, :, self.targets]
        half, scale = self.scale.half[self.targets], self.scale.scale[self.targets]
        if self.task.has_complements:  # the odd part's variance; its mean is 0
            below, limit = ((whole[:, 0] - whole[:, 1]) / 2) ** 2, half**2
        else:
            n = len(whole) // 2 * 2
            below, limit = (whole[0:n:2, 0] - whole[1:n:2, 0]) ** 2 / 2, 2 * half**2
        # A square cut off has no larger a mean; cut near the claim's own variance, a wide range costs nothing.
        limit = np.minimum(limit, (CUT * scale) ** 2)
        below = np.minimum(below, limit)
        above = ((whole - self.scale.middle[self.targets]) ** 2).mean(axis=1)
        alpha = self.alpha["variance"] / (2 * len(self.targets))
        least = [concentration.betting_lower(v, alpha) for v in (below / limit).T]
        most = [concentration.betting_upper(v, alpha) for v in (above / half**2).T]
        return float((least * limit / scale**2).min()), float((most * half**2 / scale**2).max())
