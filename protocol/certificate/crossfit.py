"""The cross-fit certificate: a finite-sample bound on the relative gap, with room for lies (THEORY 5).

Nothing is asymptotic and nothing is assumed of f but its range. Round A of independent pairs is
answered and committed before round B is drawn. A gives a direction, B a test of it:

    w_A = mean over A of r phi^T,   <w_A, w> <= |w_A| S,   |w|^2 <= <w_A, w> + t |w|

so that |w| <= (t + sqrt(t^2 + 4 |w_A| S)) / 2. S is a confidence bound of a bounded mean on B, t
a Bernstein bound on A along the unknown direction w/|w|. Where the verifier trained everything,
the rounds are exchangeable and both directions are averaged: t then uses all pairs.

Letters: m pairs a round, T targets, N units; r the residual, clipped and scaled so that the
sum of W_1 over targets is the mean of gap_t / scale_t^2; w its degree-one coefficients, shape
(T, N); a = |V phi| for a matrix V of norm 1; R the largest |r|; H half a target's range; c false
pairs; delta split over the five events named in ``SHARES``.

Steps beyond THEORY 5, proved in docs/theory.md, section 5: the claim's own linear part is
clipped, which makes R finite and small; betting bounds for every mean; the excess of a^2 over a
threshold instead of its tail; T targets as one vector; both directions at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float64, Int64

from protocol import harmonic
from protocol.certificate import concentration
from protocol.certificate.readings import check_shapes
from protocol.certificate.terms import Across
from protocol.claim import Claim
from protocol.errors import ArgumentError
from protocol.sampling import Draw
from protocol.task import Task

SHARES = {"S": 0.35, "t": 0.25, "tail": 0.05, "second moment": 0.15, "variance": 0.2}
"""How delta is split. Events: the test on B; Bernstein on A; no a beyond the tail; E|r|^2; every Var f."""

MIN_PAIRS = 20
CLIP_ERROR = 0.01
"""The claim's linear part is clipped where that moves its degree-one coefficients by at most this, in sd of g."""

_CHUNK_CELLS = 1 << 24  # of the characters held as float64 at once; does not affect outputs
_HELD_CELLS = 1 << 27  # of subsets, one byte each, held rather than derived three times; does not affect outputs


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

    upper : with probability 1 - delta, over all rows at once, no relative gap is above it.
    lower : likewise from below, at delta.
    direction : |w_A|, averaged over both directions where both are used.
    along : S, the bound on <w_A/|w_A|, w>, room for lies included.
    slack : t, room for lies included.
    second_moment : bound on E|r|^2. largest : R.
    clipping : by how much clipping the claim can have moved |w|.
    variance_lower : bound on Var f / scale^2, the least over targets.
    """

    across: Across
    delta: float
    n_pairs: tuple[int, int]
    n_false: tuple[int, int]
    upper: Float64[np.ndarray, " r"]
    lower: Float64[np.ndarray, " r"]
    direction: Float64[np.ndarray, " r"]
    along: Float64[np.ndarray, " r"]
    slack: Float64[np.ndarray, " r"]
    second_moment: Float64[np.ndarray, " r"]
    largest: Float64[np.ndarray, " r"]
    clipping: Float64[np.ndarray, " r"]
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
    a, b : round A, answered and committed before B was drawn; both drawn after the claim was
        committed; independent subsets (one sibling a family), at least MIN_PAIRS each.
    delta : probability that the upper bound fails, and likewise the lower, over all rows.
        The spot checks' own delta is the caller's to add.

    Raises
    ------
    ArgumentError
        Too few pairs, or siblings.
    """
    check_shapes(task, claim)
    for name, round_ in (("A", a), ("B", b)):
        design = round_.draw.design
        if design.n_siblings != 1 or design.n_families < MIN_PAIRS:
            raise ArgumentError(
                f"round {name}: expected at least {MIN_PAIRS} independent subsets, "
                f"got {design.n_families} families of {design.n_siblings}"
            )
    scale = _Scale(task, claim)
    sides = (_Side(task, claim, scale, a), _Side(task, claim, scale, b))
    orders = [_Order(scale, *sides)]
    if a.all_trained and b.all_trained:
        orders.append(_Order(scale, sides[1], sides[0]))
    n = task.n_targets
    rows = [np.arange(n)] if across is Across.MEAN else [np.array([t]) for t in range(n)]
    columns = [_Row(task, scale, sides, orders, targets, delta / len(rows)).columns() for targets in rows]
    return CrossfitCertificate(
        across=across,
        delta=delta,
        n_pairs=(a.n_pairs, b.n_pairs),
        n_false=(a.n_false, b.n_false),
        **{name: np.array([column[name] for column in columns]) for name in columns[0]},
    )


class _Scale:
    """What is fixed by the task and the claim alone, shape (T,) each; k is a character's sub-Gaussian variance."""

    def __init__(self, task: Task, claim: Claim) -> None:
        self.half = task.targets.width / 2
        self.middle = (task.targets.lo + task.targets.hi) / 2
        self.k = concentration.sub_gaussian_variance(task.p)
        linear = harmonic.linear_variance(claim.scores, task.p)
        # Any function of task and claim will do for a scale; sd g is near sd f for a good claim.
        self.scale = np.sqrt(linear + (self.half / 100) ** 2)
        sd = np.sqrt(linear * self.k)
        self.level = sd * clip_level(CLIP_ERROR)
        self.moved = CLIP_ERROR * sd / self.scale
        # Without complements the residual holds the mean of f, which a constant brings near 0.
        mean = np.clip(claim.intercepts + task.p * claim.scores.sum(axis=1), task.targets.lo, task.targets.hi)
        self.centre = np.zeros_like(mean) if task.has_complements else mean
        self.reach = self.half if task.has_complements else self.half + np.abs(mean - self.middle)
        self.largest = (self.reach + self.level) / self.scale


@lru_cache(maxsize=4)
def clip_level(error: float) -> float:
    """Return z with E[(|l| - z)_+^2] <= error^2 for l sub-Gaussian(1): x^2 <= (2/(e s))^2 exp(s x), and two tails."""
    rates = np.linspace(0.1, 12.0, 240)
    levels = np.linspace(0.5, 12.0, 1151)
    bound = (2 / (np.e * rates)) ** 2 * 2 * np.exp(rates**2 / 2 - rates * levels[:, None])
    return float(levels[np.argmax(bound.min(axis=1) <= error**2)])


class _Side:
    """One round's residuals, scaled, and its characters.

    f : odd part of the outputs (p = 1/2), or outputs less the claim's mean; shape (m, T).
    """

    def __init__(self, task: Task, claim: Claim, scale: _Scale, round_: Round) -> None:
        self._task, self.round, self.m = task, round_, round_.n_pairs
        self._subsets: Bool[np.ndarray, "m n"] | None = None
        if self.m * task.n_units <= _HELD_CELLS:
            members = np.arange(self.m, dtype=np.int64) * round_.draw.design.n_sides
            self._subsets = round_.draw.subsets(task, members)
        self.members = round_.outputs.reshape(self.m, -1, task.n_targets)
        self.f = (self.members[:, 0] - self.members[:, 1]) / 2 if task.has_complements else self.members[:, 0]
        self.f = self.f - scale.centre
        linear = self.along(claim.scores * np.sqrt(task.p * (1 - task.p)))
        self.residual = (self.f - np.clip(linear, -scale.level, scale.level)) / scale.scale

    def characters(self, start: int, stop: int) -> Float64[np.ndarray, "k n"]:
        """phi of the pairs from ``start`` to ``stop``."""
        if self._subsets is not None:
            return harmonic.characters(self._subsets[start:stop], self._task.p)
        members = np.arange(start, stop, dtype=np.int64) * self.round.draw.design.n_sides
        return harmonic.characters(self.round.draw.subsets(self._task, members), self._task.p)

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


class _Order:
    """A direction from one side and what the other side's pairs have along it, target by target."""

    def __init__(self, scale: _Scale, first: _Side, then: _Side) -> None:
        coefficients = first.coefficients()
        self.squares = (coefficients**2).sum(axis=1)
        self.along, self.first, self.then = then.along(coefficients), first, then
        # A false answer and the true one are both in range, so the truth is at most this far from what came.
        self.lies = (np.abs(then.f) + scale.reach) / scale.scale
        self.lies[then.round.trained] = 0.0
        self.drift = then.round.tolerance / scale.scale


class _Row:
    """One bound: some targets as one vector, each scaled and divided by the root of their number."""

    def __init__(
        self,
        task: Task,
        scale: _Scale,
        sides: tuple[_Side, _Side],
        orders: list[_Order],
        targets: Int64[np.ndarray, " r"],
        delta: float,
    ) -> None:
        self.task, self.scale, self.sides, self.orders, self.targets = task, scale, sides, orders, targets
        self.root = np.sqrt(len(targets))
        self.alpha = {name: share * delta for name, share in SHARES.items()}
        self.largest = self.norm(scale.largest)

    def norm(self, values: Float64[np.ndarray, "*m t"]) -> float:
        """Largest Euclidean norm over this row's targets."""
        return float(np.sqrt((values[..., self.targets] ** 2).sum(axis=-1)).max() / self.root)

    def columns(self) -> dict[str, float]:
        """The row of :class:`CrossfitCertificate`."""
        second, tested = self._second_moment(), [self._tested(order) for order in self.orders]
        norms, lows, highs = (np.array(column) for column in zip(*tested, strict=True))
        slack = self._slack(second)
        pairs = [order.first.m for order in self.orders]  # t is about the mean over all pairs, not over rounds
        along = float(np.average(norms * np.maximum(highs, 0.0), weights=pairs))
        size = (slack + np.sqrt(slack**2 + 4 * along)) / 2
        clipping = self.norm(self.scale.moved)
        least, most = self._variance()
        return {
            "upper": (size + clipping) ** 2 / least if least > 0 else np.inf,
            "lower": max(float(lows.max()) - clipping, 0.0) ** 2 / most,
            "direction": float(norms.mean()),
            "along": float(highs.mean()),
            "slack": slack,
            "second_moment": second,
            "largest": self.largest,
            "clipping": clipping,
            "variance_lower": least,
        }

    def _second_moment(self) -> float:
        """E|r|^2 from above, from pairs that the verifier trained itself."""
        own = [(s.residual[s.round.trained][:, self.targets] ** 2).sum(axis=1) / self.root**2 for s in self.sides]
        values = np.concatenate(own) / self.largest**2
        return self.largest**2 * concentration.betting_upper(values, self.alpha["second moment"])

    def _tested(self, order: _Order) -> tuple[float, float, float]:
        """|w_A|, and <w_A/|w_A|, w> from below and above: a bounded mean, what clipping hides, and lies."""
        side, alpha = order.then, self.alpha["S"] / (2 * len(self.orders))
        norm = float(np.sqrt(order.squares[self.targets].sum()) / self.root)
        along = order.along[:, self.targets] / (self.root * norm if norm > 0 else 1.0)
        limit, hidden = clipped_at(self.largest, self.scale.k, side.m, alpha)
        products = np.clip((side.residual[:, self.targets] * along).sum(axis=1) / self.root, -limit, limit)
        values = (products + limit) / (2 * limit)
        lower, upper = self._mean(order, values, np.linalg.norm(along, axis=1) / (2 * limit), limit, alpha)
        return norm, 2 * limit * lower - limit - hidden, 2 * limit * upper - limit + hidden

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
        if side.round.all_trained:
            return concentration.betting_lower(values, alpha), concentration.betting_upper(values, alpha)
        moves = np.linalg.norm(order.lies[:, self.targets], axis=1) / self.root * reach
        drifts = self.norm(order.drift) * reach
        # The bet may depend on round A alone: E[y^2] is near E|r|^2, and lies there only make the bound wider.
        spread = (order.first.residual[:, self.targets] ** 2).sum(axis=1).mean() / self.root**2 / (2 * limit) ** 2
        bet = float(np.sqrt(-2 * np.log(alpha) / (side.m * max(spread, 0.25 / side.m))))
        low, high = (
            concentration.betting_upper_despite_lies(
                v, alpha, bet=bet, n_false=side.round.n_false, moves=moves, drifts=drifts
            )
            for v in (1 - values, values)
        )
        return 1 - low, high

    def _slack(self, second: float) -> float:
        """t: Bernstein for <r, V phi> where no a is beyond tau, which fails with probability "tail" at most; lies."""
        first, k = self.sides[0], self.scale.k
        m = sum(side.m for side in self.sides) if len(self.orders) == 2 else first.m
        tail = self.alpha["tail"] / 2
        slack = slack_of(second, self.largest, k, m, self.alpha["t"], tail)
        if len(self.orders) == 2:
            return slack
        lie = self.norm((np.abs(first.f) + self.scale.reach) / self.scale.scale)
        drift = self.norm(first.round.tolerance / self.scale.scale)
        slack += concentration.lies_along(m, first.round.n_false, lie, k, tail / 2)
        return slack + concentration.lies_along(m, m, drift, k, tail / 2)

    def _variance(self) -> tuple[float, float]:
        """The least and the most that Var f / scale^2 can be over targets, from the verifier's own outputs."""
        whole = np.concatenate([s.members[s.round.trained] for s in self.sides])[:, :, self.targets]
        half, scale = self.scale.half[self.targets], self.scale.scale[self.targets]
        if self.task.has_complements:  # the odd part's variance; its mean is 0
            below, limit = ((whole[:, 0] - whole[:, 1]) / 2) ** 2, half**2
        else:
            n = len(whole) // 2 * 2
            below, limit = (whole[0:n:2, 0] - whole[1:n:2, 0]) ** 2 / 2, 2 * half**2
        above = ((whole - self.scale.middle[self.targets]) ** 2).mean(axis=1)
        alpha = self.alpha["variance"] / (2 * len(self.targets))
        least = [concentration.betting_lower(v, alpha) for v in (below / limit).T]
        most = [concentration.betting_upper(v, alpha) for v in (above / half**2).T]
        return float((least * limit / scale**2).min()), float((most * half**2 / scale**2).max())


def clipped_at(largest: float, k: float, m: int, alpha: float) -> tuple[float, float]:
    """Return where to clip the products, R tau, and R E[(a - tau)_+], which that hides; tau fixed by m and alpha."""
    taus = np.linspace(1.5, 8.0, 66) * np.sqrt(k)
    hidden = np.array([concentration.excess(float(t), k) for t in taus])
    best = int(np.argmin(taus * -np.log(alpha) / m + hidden))
    return float(largest * taus[best]), float(largest * hidden[best])


def slack_of(second: float, largest: float, k: float, m: int, alpha: float, tail: float) -> float:
    """Return t without lies: Bernstein over m pairs where no a is beyond tau, and what lies beyond."""
    tau = float(np.sqrt(k * _square_quantile(tail / m)))
    beyond = concentration.excess(tau, k) + tau * tail / m
    moment = concentration.bounded_second_moment(second, largest, k)
    return concentration.bernstein(moment, largest * tau, m, alpha) + largest * beyond


def _square_quantile(alpha: float) -> float:
    """u with P(a^2 > K u) <= alpha: sqrt(u) exp((1-u)/2), Chernoff at its best lambda."""
    low, high = 1.0, 4 - 4 * np.log(alpha)
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if 0.5 * np.log(middle) + (1 - middle) / 2 > np.log(alpha) else (low, middle)
    return float(high)
