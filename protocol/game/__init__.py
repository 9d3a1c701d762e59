"""What is attributed: a function on subsets, the law of those subsets, and how they are drawn.

game      N, T, ranges, seeds, tolerance, digest: all that certificates and sessions may know
measure   the law of random subsets, and what is known of it exactly
harmonic  characters, coefficients, gaps
sampling  a challenge's seed to its subsets and training seeds
tilting   bases drawn along a claim, and what each weighs
known     games with closed-form answers: tests and benchmarks attack certificates on them
"""

from protocol.game.game import MAX_SEED, MAX_TARGETS, MAX_UNITS, Game, SeedPolicy, Statement
from protocol.game.measure import HALF, HALF_16, Measure

__all__ = ["HALF", "HALF_16", "MAX_SEED", "MAX_TARGETS", "MAX_UNITS", "Game", "Measure", "SeedPolicy", "Statement"]
