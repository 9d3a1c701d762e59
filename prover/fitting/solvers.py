"""The regressions that need products with the characters only: each a path of penalties, and a last fit to all.

Owns which penalties are tried, in which order. Refuses to know how one is chosen (``prover.fitting.blockwise``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Float, Float64
from torch import Tensor

from protocol.errors import ArgumentError
from prover.fitting import conjugate, lasso
from prover.fitting.design import Design
from prover.fitting.method import Method

PENALTIES_PER_UNIT = tuple(10.0 ** (k / 2) for k in range(-10, 5))
"""lambda / N along the path, 1e-5 to 1e2: noise from 1e-5 to 100 times W_1, in steps of sqrt(10)."""


_CHEAP_STEPS = 7  # of LASSO: to an eighth of the penalty at which the first unit enters


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """Coefficients fitted to n evaluations, all of which are among those of the fit that starts from them."""

    coefficients: Float[Tensor, "n_units t"]
    n: int


class Solver(Protocol):
    """One regression, its path of penalties tried from the largest down."""

    @property
    def penalties(self) -> tuple[float, ...]:
        """Return the penalties of the path, descending."""
        ...

    @property
    def averages(self) -> bool:
        """Return whether a last fit to all may be worse than the folds' fits where evaluations are few."""
        ...

    def patience(self, step: int) -> int:
        """Return how many penalties in a row, up to that step, may be no better than the best before the walk ends."""
        ...

    def path(
        self, design: Design, y: Float64[Tensor, "n t"], *, n_paths: int = 1
    ) -> Iterator[Float[Tensor, "n_units t"]]:
        """Yield each penalty's coefficients; may end early where the next would take too long.

        n_paths : how many are walked at once, and share what memory there is for them.
        """
        ...

    def refit(
        self, design: Design, y: Float64[Tensor, "n t"], step: int, start: Start | None = None
    ) -> Float[Tensor, "n_units t"]:
        """Return the coefficients of one penalty of the path, from ``start`` on or, without one, from nothing."""
        ...


def solver_for(method: Method, design: Design, y: Float64[Tensor, "n t"]) -> Solver:
    """Return the solver of a method, with a path for these data."""
    match method:
        case Method.RIDGE:
            return RidgeSolver(tuple(design.n_units * penalty for penalty in reversed(PENALTIES_PER_UNIT)))
        case Method.LEAST_SQUARES:
            return RidgeSolver((0.0,))
        case Method.LASSO:
            largest = lasso.largest_penalty(design, y)
            return LassoSolver(tuple(largest * share for share in lasso.PENALTIES))


class RidgeSolver:
    """Ridge, and least squares where the penalty is 0: lambda on Fourier coefficients, by conjugate gradients.

    The best lambda is about v N / W_1 whatever n is (``prover.fitting.curve``), so all evaluations have that of a part.
    """

    def __init__(self, penalties: tuple[float, ...]) -> None:
        self.penalties = penalties
        # Without a penalty the gap only falls with n, once n is above N.
        self.averages = penalties != (0.0,)

    def patience(self, step: int) -> int:
        """Return 1: the gap falls and then rises, and each step further down is dearer than the one before."""
        return 1

    def path(
        self, design: Design, y: Float64[Tensor, "n t"], *, n_paths: int = 1
    ) -> Iterator[Float[Tensor, "n_units t"]]:
        """Yield each penalty's coefficients."""
        tolerance = conjugate.tolerance_for(design.precision)
        return conjugate.path(design.gram_times, design.transposed_times(y), self.penalties, tolerance)

    def refit(
        self, design: Design, y: Float64[Tensor, "n t"], step: int, start: Start | None = None
    ) -> Float[Tensor, "n_units t"]:
        """Return the coefficients of one penalty."""
        moment, tolerance = design.transposed_times(y), conjugate.tolerance_for(design.precision)
        before = None if start is None else start.coefficients
        found = conjugate.solve(design.gram_times, moment, self.penalties[step], tolerance, before)
        if found is None:
            raise ArgumentError(
                f"fit: expected conjugate gradients to end within {conjugate.MAX_ITERATIONS} products at penalty "
                f"{self.penalties[step]:g}, got no end: train more"
            )
        return found


class LassoSolver:
    """LASSO: kappa, in units of each target's own root mean square."""

    averages = False  # measured at n = N: a last fit is no worse; and a mean would have the units of all folds

    def __init__(self, penalties: tuple[float, ...]) -> None:
        self.penalties = penalties

    def patience(self, step: int) -> int:
        """Return 3 at first, where steps are cheap and a noisy unit may enter before one that is not; then 1."""
        return 3 if step < _CHEAP_STEPS else 1

    def path(
        self, design: Design, y: Float64[Tensor, "n t"], *, n_paths: int = 1
    ) -> Iterator[Float[Tensor, "n_units t"]]:
        """Yield each penalty's coefficients."""
        return lasso.path(design, y, self.penalties, slack=lasso.ROUGH, n_paths=n_paths)

    def refit(
        self, design: Design, y: Float64[Tensor, "n t"], step: int, start: Start | None = None
    ) -> Float[Tensor, "n_units t"]:
        """Return the coefficients of one penalty, moved as the noise that it holds off: by the root of evaluations."""
        kappa, before = self.penalties[step], None
        if start is not None:
            kappa, before = kappa * (start.n / len(design)) ** 0.5, start.coefficients.double()
        return next(lasso.path(design, y, (kappa,), before))
