"""p-biased Fourier analysis of degree one: characters, coefficients, gaps (THEORY 1).

Letters: x in {0,1}^N a subset, phi_i(x) = (x_i - p)/sqrt(p(1-p)) its characters, orthonormal
under B_p; theta inclusion weights, c_i = theta_i sqrt(p(1-p)) their Fourier coefficients;
W_1 the weight at degree one.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float64


def characters(subsets: Bool[np.ndarray, "m n"], p: float) -> Float64[np.ndarray, "m n"]:
    """Return phi_i(x) for every subset and unit; mean 0 and variance 1 under B_p."""
    return (subsets - p) / math.sqrt(p * (1 - p))


def coefficients_from_weights(weights: Float64[np.ndarray, "*b n"], p: float) -> Float64[np.ndarray, "*b n"]:
    """Return the Fourier coefficients c_i = theta_i sqrt(p(1-p)) of inclusion weights."""
    return weights * math.sqrt(p * (1 - p))


def weights_from_coefficients(coefficients: Float64[np.ndarray, "*b n"], p: float) -> Float64[np.ndarray, "*b n"]:
    """Return the inclusion weights theta_i = c_i / sqrt(p(1-p)); the inverse of the above."""
    return coefficients / math.sqrt(p * (1 - p))


def linear_variance(weights: Float64[np.ndarray, "*b n"], p: float) -> Float64[np.ndarray, "*b"]:
    """Return Var g of g(x) = theta_0 + sum_i theta_i x_i under B_p: p(1-p) sum theta_i^2, exactly."""
    return np.asarray(p * (1 - p) * np.einsum("...n,...n->...", weights, weights))


def excess_kurtosis(p: float) -> float:
    """Return E[phi_i^4] - 3 = (1 - 6 p(1-p)) / (p(1-p)): -2 at p = 1/2, large where p nears 0 or 1."""
    return (1 - 6 * p * (1 - p)) / (p * (1 - p))


def gap(claimed: Float64[np.ndarray, "*b n"], best: Float64[np.ndarray, "*b n"], p: float) -> Float64[np.ndarray, "*b"]:
    """Return the gap of ``claimed`` weights when the ``best`` are known: sum_i (fhat(i) - c_i)^2.

    For games with known answers only; what a verifier does is ``protocol.certificate``.
    """
    return linear_variance(claimed - best, p)
