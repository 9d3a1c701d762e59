"""Ridge and least squares by conjugate gradients: every penalty of a path from one sequence of products.

Letters: A = Phi^T Phi (N x N, never formed), b = Phi^T y (N x T), lambda a penalty, r the residual of A c = b.

(A + lambda I) c = b has the same Krylov space for every lambda, so one product with A an iteration serves the whole
path (multi-shift conjugate gradients: Jegerlehner, hep-lat/9612014, section 2.4): the residual of a shifted system is
zeta r with a scalar zeta for each lambda, target and iteration. The largest lambda converges first, and whoever walks
down the path pays only for the iterations of the penalties it looks at: about ln(2 / tolerance) sqrt(kappa) / 2 with
kappa = (mu_max + lambda) / (mu_min + lambda). For independent subsets mu = (sqrt n -+ sqrt N)^2 (Marchenko and
Pastur), so kappa is 34 for n = 2 N without a penalty, and 7 for n = N at lambda = 0.67 N, the best one for R^2 = 0.6.

Targets are independent columns with step sizes of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

MAX_ITERATIONS = 500
"""A path ends where the next penalty would take more; for n = N that is near lambda = 1e-4 N."""

Product = Callable[[Float[Tensor, "n_units t"]], Float[Tensor, "n_units t"]]


def tolerance_for(precision: torch.dtype) -> float:
    """Return the relative residual |(A + lambda) c - b| / |b| at which a target's coefficients are done.

    c is then wrong by at most kappa tolerance |c|. In float32 1e-4 leaves an error whose square, what it can add to the
    gap, is 1e-5 of W_1 at kappa = 34 if all of it lies in the worst direction; float32 itself allows about 1e-6.
    """
    return 1e-4 if precision == torch.float32 else 1e-11


def path(
    gram_times: Product, moment: Float[Tensor, "n_units t"], penalties: Sequence[float], tolerance: float
) -> Iterator[Float[Tensor, "n_units t"]]:
    """Yield the coefficients of each penalty, as soon as they are done; ends early after ``MAX_ITERATIONS``.

    Parameters
    ----------
    gram_times : V to A V.
    moment : b, shape (N, T).
    penalties : descending, each at least 0. Memory is 2 N T numbers for each that is not yet yielded.
    tolerance : relative residual of every target.
    """
    shifts = [_Shift(penalty, moment) for penalty in penalties]
    residual, direction = moment.clone(), moment.clone()
    squared = _squares(residual)
    enough = tolerance**2 * squared
    for _ in range(MAX_ITERATIONS):
        while shifts and shifts[0].done(squared, enough):
            yield shifts.pop(0).coefficients
        if not shifts:
            return
        image = gram_times(direction)
        # Where A itself is solved, every shift is: zeta is at most 1. Going on would divide rounding by rounding.
        live = squared > enough
        step = torch.where(live, squared / _dots(direction, image), 0.0)
        for shift in shifts:
            shift.advance(step, live)
        residual -= step.to(residual.dtype) * image
        before, squared = squared, torch.where(live, _squares(residual), squared)
        ratio = torch.where(live, squared / before, 0.0)
        direction.mul_(ratio.to(residual.dtype)).add_(residual)
        for shift in shifts:
            shift.turn(residual, step, ratio)


def solve(
    gram_times: Product,
    moment: Float[Tensor, "n_units t"],
    penalty: float,
    tolerance: float,
    start: Float[Tensor, "n_units t"] | None = None,
) -> Float[Tensor, "n_units t"] | None:
    """Return the coefficients of one penalty, from ``start`` on; None if ``MAX_ITERATIONS`` do not reach them."""
    coefficients = torch.zeros_like(moment) if start is None else start.to(moment.dtype).clone()
    residual = moment if start is None else moment - gram_times(coefficients) - penalty * coefficients
    enough, squared, direction = tolerance**2 * _squares(moment), _squares(residual), residual.clone()
    residual = residual.clone()
    for _ in range(MAX_ITERATIONS):
        live = squared > enough
        if not live.any():
            return coefficients
        image = gram_times(direction).add_(direction, alpha=penalty)
        step = torch.where(live, squared / _dots(direction, image), 0.0).to(residual.dtype)
        coefficients += step * direction
        residual -= step * image
        before, squared = squared, torch.where(live, _squares(residual), squared)
        direction.mul_(torch.where(live, squared / before, 0.0).to(residual.dtype)).add_(residual)
    return None


class _Shift:
    """One penalty's coefficients and search direction, steered by the unshifted system's step sizes."""

    def __init__(self, penalty: float, moment: Float[Tensor, "n_units t"]) -> None:
        self.coefficients, self._direction = torch.zeros_like(moment), moment.clone()
        self._penalty = penalty
        ones = torch.ones(moment.shape[1], dtype=torch.float64, device=moment.device)
        self._zeta, self._zeta_before, self._step_before, self._ratio_before = ones, ones, ones, torch.zeros_like(ones)

    def done(self, squared: Float64[Tensor, " t"], enough: Float64[Tensor, " t"]) -> bool:
        return bool((self._zeta.square() * squared <= enough).all())

    def advance(self, step: Float64[Tensor, " t"], live: Tensor) -> None:
        """Take the step: Jegerlehner's (2.42) to (2.44), with the signs of a positive step."""
        numerator = self._zeta * self._zeta_before * self._step_before
        denominator = step * self._ratio_before * (self._zeta_before - self._zeta) + (
            self._zeta_before * self._step_before * (1 + self._penalty * step)
        )
        after = torch.where(live, numerator / denominator, self._zeta)
        share = torch.where(live & (self._zeta > 0), step * after / self._zeta, 0.0)
        self.coefficients += share.to(self.coefficients.dtype) * self._direction
        self._zeta_before = torch.where(live, self._zeta, self._zeta_before)
        self._zeta = after
        self._step_before = torch.where(live, step, self._step_before)

    def turn(
        self, residual: Float[Tensor, "n_units t"], step: Float64[Tensor, " t"], ratio: Float64[Tensor, " t"]
    ) -> None:
        """Set the next direction."""
        live = step > 0
        own = torch.where(live & (self._zeta_before > 0), ratio * (self._zeta / self._zeta_before) ** 2, 0.0)
        zeta = torch.where(live, self._zeta, 0.0).to(residual.dtype)
        self._direction.mul_(own.to(residual.dtype)).addcmul_(residual, zeta.expand_as(residual))
        self._ratio_before = torch.where(live, ratio, self._ratio_before)


def _squares(v: Float[Tensor, "n_units t"]) -> Float64[Tensor, " t"]:
    return _dots(v, v)


def _dots(v: Float[Tensor, "n_units t"], w: Float[Tensor, "n_units t"]) -> Float64[Tensor, " t"]:
    return (v * w).sum(dim=0, dtype=torch.float64)
