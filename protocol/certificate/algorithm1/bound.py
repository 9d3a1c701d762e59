"""Algorithm 1 of Karchmer, Pawelczyk and Neel, as the baseline to compare with (THEORY 6).

The prover answers rho-correlated pairs at noise rates rho, 2 rho and 0; the verifier rechecks a
secret few, reads the degree-one weight off the noise stability of f itself, trains fresh subsets
for the claim's mean squared error, and accepts when mse <= B_{>=2} + epsilon/2. Every O() of the
paper has its constant here, derived in docs/theory.md, section 6; epsilon is shared out so that
the trainings are few, which favours the paper.

The counts are the result: f's own variance, not its residual's, is what must be averaged away,
so for one claim they exceed the other certificates' by orders of magnitude.

Glossary: f in [-b, b] once the middle of its range is taken off; h(t) = sum_k W_k t^k its noise
stability; B_0, B_1 the fitted weights at degree 0 and 1; G the largest |g| over all subsets;
epsilon here in the target's unit squared, an absolute gap that counts the intercept's error, too.

Faults of the paper's text, put right: the squared error of an unbounded claim is not bounded by
b, so G enters the count and a claim with a larger norm than was planned for is refused, as is one
whose coefficients alone put its gap above epsilon; the claim's error is measured on fresh subsets
of the verifier's own, never on those answered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from protocol.certificate.method import Part, Value
from protocol.certificate.phrases import finite, number, sure
from protocol.certificate.readings import check_shapes
from protocol.claim import Claim
from protocol.errors import ArgumentError
from protocol.game import Game, harmonic
from protocol.game.sampling import MAX_EVALUATIONS, Design, Draw, families

N_ROUNDS = 4
"""Pairs at rho, at 2 rho and at 0, all answered; then subsets that the verifier trains."""

SHARES = {"fit": 7 / 32, "total": 1 / 64, "claim": 3 / 32, "bias": 7 / 64, "lies": 1 / 16}
"""Of epsilon, half in all: the statistical errors of B_0 + B_1, of h(1) and of the claim's mean squared error, the
parabola's bias, false answers. Pairs go like 1/(bias fit^2), least at fit = 2 bias; h(1) has pairs to spare."""

_ROUNDING = 1e-9  # relative; a claim of the very norm that was planned for must pass


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many of everything Algorithm 1 asks for; exact integers, however large.

    rho : noise rate. pairs : correlated pairs at (rho, 2 rho, 0). fresh : subsets for the claim's error.
    max_false_pairs : share of pairs that may be false; n_checks : spot checks a round that show it.
    largest : G, the norm that the claim is checked against.
    """

    rho: float
    pairs: tuple[int, int, int]
    fresh: int
    n_checks: int
    max_false_pairs: float
    largest: float

    @property
    def n_answers(self) -> int:
        """Trainings asked of the prover."""
        return 2 * sum(self.pairs)

    @property
    def n_retrained(self) -> int:
        """Trainings done by the verifier."""
        return 3 * self.n_checks + self.fresh

    def designs(self) -> tuple[Design, ...]:
        """Return the four rounds' designs.

        Raises
        ------
        ArgumentError
            More trainings than any challenge may hold.
        """
        if max(self.n_answers, self.fresh) > MAX_EVALUATIONS:
            raise ArgumentError(
                f"algorithm1: expected at most {MAX_EVALUATIONS} trainings a round, it asks for {self.n_answers:.3g} "
                f"answers and {self.fresh:.3g} fresh subsets: raise epsilon, or use another certificate"
            )
        kinds = zip(self.pairs, (self.rho, 2 * self.rho, 0.0), strict=True)
        answered = [families(n_families=n, n_siblings=2, rho=rho, complements=False) for n, rho in kinds]
        return *answered, families(n_families=self.fresh, n_siblings=1, rho=0.0, complements=False)


def counts(*, epsilon: float, delta: float, b: float, largest: float) -> Counts:
    """Return the counts for an absolute gap ``epsilon`` with failure probability ``delta``.

    Four events at delta/4 each (noise stability at rho, 2 rho and 0; h(1); the claim's error; the
    spot checks), and errors that share half of epsilon out as ``SHARES`` has it.

    Parameters
    ----------
    epsilon : above 0, in the target's unit squared.
    b : half the target's range. largest : G, in the target's unit.
    """
    if not (0 < epsilon < np.inf and 0 < delta < 1 and 0 < b < np.inf and 0 <= largest < np.inf):
        raise ArgumentError(
            "algorithm1: expected epsilon, b above 0, delta in (0, 1) and a norm of at least 0, all finite, "
            f"got {epsilon}, {b}, {delta} and {largest}"
        )
    error = {name: share * epsilon for name, share in SHARES.items()}
    # The fit's degree-one weight is short by at most 2 rho^2 W_{>=3} <= 2 rho^2 b^2 for rho <= 1/3.
    rho = min(np.sqrt(error["bias"] / 2) / b, 1 / 3)
    weights = _weights(rho, 2 * rho)
    total = float(np.abs(weights).sum())
    level = np.log(8 / delta)
    # Hoeffding for a weighted sum of means of products in [-b^2, b^2], pairs shared out by weight.
    n = 2 * b**4 * total**2 * level / error["fit"] ** 2
    one = 2 * (b**2 / 2) ** 2 * level / error["total"] ** 2  # f^2 lies in [0, b^2]
    pairs = [max(int(np.ceil(n * abs(w) / total)), 2) for w in weights]
    pairs[2] = max(pairs[2], int(np.ceil(one)))
    fresh = int(np.ceil((b + largest) ** 4 * level / (2 * error["claim"] ** 2)))
    # A false pair moves a product by at most 2 b^2; what it does to h(1), that mean's spare half of its samples pays.
    false = error["lies"] / (2 * b**2 * total)
    checks = int(np.ceil(np.log(12 / delta) / (false / 2)))  # two answers a pair, three rounds; enough with replacement
    return Counts(
        rho=float(rho), pairs=(pairs[0], pairs[1], pairs[2]), fresh=max(fresh, 1), n_checks=checks,
        max_false_pairs=float(false), largest=largest,
    )  # fmt: skip


def _weights(first: float, second: float) -> Float64[np.ndarray, " 3"]:
    """Weights of h(first), h(second), h(0) in B_0 + B_1 of the parabola through the three (Lagrange)."""
    apart = second - first
    return np.array([second / (first * apart), -first / (second * apart), 1 - (first + second) / (first * second)])


def largest_prediction(claim: Claim, middle: float) -> float:
    """Return G, the largest |g(x) - middle| over all subsets x; the claim's norm check. One target."""
    scores, intercept = claim.scores[0], float(claim.intercepts[0]) - middle
    high = intercept + float(np.maximum(scores, 0.0).sum())
    low = intercept + float(np.minimum(scores, 0.0).sum())
    return max(abs(high), abs(low))


def largest_planned(fresh: int, *, epsilon: float, delta: float, b: float) -> float:
    """Return the G that ``fresh`` subsets suffice for, in the target's unit: :func:`counts` the other way round."""
    return float((2 * fresh * (SHARES["claim"] * epsilon) ** 2 / np.log(8 / delta)) ** 0.25 - b)


def coefficient_norm(game: Game, claim: Claim) -> float:
    """Return the Euclidean norm of the claim's coefficients at degrees 0 and 1 about the middle, in units of b.

    f's own are at most 1, since E (f - middle)^2 <= b^2, so the gap is at least (this - 1)^2 b^2: with more than
    1 + sqrt(epsilon) it is above epsilon b^2, whatever f is (THEORY 6.4). One target.
    """
    middle, b = centre(game)
    mean = float(claim.intercepts[0]) - middle + game.measure.p * float(claim.scores[0].sum())
    variance = float(harmonic.linear_variance(claim.scores, game.measure.p)[0])
    return float(np.sqrt(mean**2 + variance)) / b


def is_certainly_off(game: Game, claim: Claim, epsilon: float) -> bool:
    """Whether the claim's coefficients alone put its gap above ``epsilon``, a share of b^2."""
    return bool(coefficient_norm(game, claim) > (1 + np.sqrt(epsilon)) * (1 + _ROUNDING))


def norm_excess(game: Game, claim: Claim, fresh: Design, *, epsilon: float, delta: float) -> str | None:
    """Return why the claim's norm rules it out before any challenge, in one line, or None when it does not.

    Coefficients so large that the gap is above epsilon; or predictions so large that the squared
    error's range is more than Hoeffding's bound of its mean was given. epsilon is a share of b^2.
    """
    middle, b = centre(game)
    if is_certainly_off(game, claim, epsilon):
        size = coefficient_norm(game, claim)
        return (
            f"gap over the squared half range is at least {(size - 1) ** 2:.4g} > {epsilon:g}: the claim's "
            f"coefficients have norm {size:.4g} in half ranges, those of any f at most 1"
        )
    planned = largest_planned(fresh.n_evaluations, epsilon=epsilon * b**2, delta=delta, b=b)
    found = largest_prediction(claim, middle)
    if found <= planned * (1 + _ROUNDING):
        return None
    return (
        f"the claim predicts up to {found:.4g} from the middle of the range, more than the {planned:.4g} "
        f"that {fresh.n_evaluations} fresh subsets are enough for"
    )


def check_enough(game: Game, looks: tuple[Design, ...], n_checks: int, *, epsilon: float, delta: float) -> None:
    """Raise :class:`ArgumentError` unless four rounds hold what :func:`counts` asks for at the least.

    Fewer pairs or checks prove nothing, whatever comes of them. epsilon is a share of b^2.
    """
    _, b = centre(game)
    least = counts(epsilon=epsilon * b**2, delta=delta, b=b, largest=0.0)
    for name, look, design in zip(("rho", "2 rho", "0", "fresh"), looks, least.designs(), strict=True):
        if look.n_families < design.n_families or look.keep_16 != design.keep_16:
            raise ArgumentError(
                f"algorithm1: expected {design.n_families} or more in the round at {name}, keep_16 {design.keep_16}, "
                f"got {look.n_families}, keep_16 {look.keep_16}: take the designs of its counts"
            )
    if n_checks < least.n_checks:
        raise ArgumentError(f"algorithm1: expected {least.n_checks} or more checks a round, got {n_checks}")


def centre(game: Game) -> tuple[float, float]:
    """Return the middle of the one target's range, and half its width: b."""
    return float(game.lo[0] + game.hi[0]) / 2, float(game.width[0]) / 2


@dataclass(frozen=True, kw_only=True)
class Algorithm1Certificate:
    """What the four rounds gave, in the target's unit squared; ``b2`` turns it into shares of b^2.

    mean_squared_error : of the claim. total : h(1). degree_0, degree_1 : B_0, B_1.
    upper_bound, lower_bound : on the gap, intercept included, as shares of b^2; the upper is at
    most epsilon exactly when Algorithm 1 accepts.
    """

    delta: float
    mean_squared_error: float
    total: float
    degree_0: float
    degree_1: float
    upper_bound: float
    lower_bound: float

    @property
    def undecided(self) -> str | None:
        """The bounds are always finite."""
        return None

    def parts(self, game: Game) -> list[Part]:
        """Return the parts by name."""
        return [
            ("gap, at most", number(self.upper_bound), f"{sure(self.delta)}; a share of the squared half range"),
            ("gap, at least", number(self.lower_bound), "likewise"),
            ("mean squared error", number(self.mean_squared_error), "of the claim, on fresh subsets trained here"),
            ("E f^2", number(self.total), "h(1), f counted from the middle of its range"),
            ("weight at degree 0", number(self.degree_0), "B_0, from noise stability"),
            ("weight at degree 1", number(self.degree_1), "B_1, likewise"),
        ]

    def notes(self) -> list[str]:
        """There is nothing to add."""
        return []

    def values(self) -> dict[str, Value]:
        """Return the parts under stable keys."""
        return {
            "mean_squared_error": finite(self.mean_squared_error),
            "total": finite(self.total),
            "degree_0": finite(self.degree_0),
            "degree_1": finite(self.degree_1),
        }


def certify(
    game: Game, claim: Claim, rounds: list[tuple[Draw, Float64[np.ndarray, "_ 1"]]], *, epsilon: float, delta: float
) -> Algorithm1Certificate:
    """Return what Algorithm 1 concludes from its four rounds.

    Parameters
    ----------
    rounds : draws and outputs of the designs of :class:`Counts`, in order, for one target. That there are
        enough of them for this claim is :func:`check_enough`'s and :func:`norm_excess`'s to say, before they are drawn.
    epsilon : as a share of b^2.

    Raises
    ------
    ArgumentError
        More targets than one, or other rounds than four.
    """
    check_shapes(game, claim)
    if game.n_targets != 1 or len(rounds) != N_ROUNDS:
        raise ArgumentError(
            f"algorithm1: expected one target and {N_ROUNDS} rounds, got {game.n_targets} and {len(rounds)}"
        )
    middle, b = centre(game)
    pairs = [(outputs - middle).reshape(-1, 2) for _, outputs in rounds[:3]]
    stability = np.array([float((pair[:, 0] * pair[:, 1]).mean()) for pair in pairs])
    rhos = [draw.design.rho for draw, _ in rounds[:2]]  # to 16 bits, so not exactly one twice the other
    degree_0 = max(float(stability[2]), 0.0)
    total_01 = float(_weights(*rhos) @ stability)
    degree_1 = max(total_01 - float(stability[2]), 0.0)  # the fit's coefficients are not negative
    total = float((pairs[2] ** 2).mean())
    draw, outputs = rounds[3]
    members = np.arange(draw.n_evaluations, dtype=np.int64)
    predicted = draw.subsets(game, members) @ claim.scores.T + claim.intercepts
    mse = float(((outputs - predicted) ** 2).mean())
    excess = (mse - (total - degree_0 - degree_1)) / b**2
    return Algorithm1Certificate(
        delta=delta,
        mean_squared_error=mse,
        total=total,
        degree_0=degree_0,
        degree_1=degree_1,
        upper_bound=excess + epsilon / 2,
        lower_bound=excess - epsilon / 2,
    )
