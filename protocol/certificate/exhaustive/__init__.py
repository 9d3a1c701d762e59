"""The exhaustive certificate: every subset of very few units is trained, so nothing is sampled.

exact  what 2^N outputs say without error: best scores, gaps, variances, Shapley values, every interaction
bound  what remains of them when every training has a seed of its own: bounds at level delta
plan   how many seeds a subset to take

Under a shared training seed the outputs are the function itself, and no probability enters. With seeds per subset the
function is the mean over seeds, its values carry noise, and a bound fails with probability delta.

Arrays over subsets follow the order of an integer whose bit i says whether unit i is in: row 0 is the empty subset, row
1 unit 0 alone, the last row all units. With N units there are 2^N rows; whoever trains them keeps N at MAX_UNITS or
fewer. Everything here is a pure function of arrays.
"""

from protocol.certificate.exhaustive.bound import NoisyCertificate, certify_noisy
from protocol.certificate.exhaustive.exact import (
    MAX_UNITS,
    best_linear,
    characters,
    dividends,
    fourier,
    gaps,
    n_units_of,
    probabilities,
    relative_gaps,
    shapley_values,
    subsets,
    variances,
)
from protocol.certificate.exhaustive.plan import expected_upper, seeds_needed

__all__ = [
    "MAX_UNITS", "NoisyCertificate", "best_linear", "certify_noisy", "characters", "dividends", "expected_upper",
    "fourier", "gaps", "n_units_of", "probabilities", "relative_gaps", "seeds_needed", "shapley_values", "subsets",
    "variances",
]  # fmt: skip
