"""Games with closed-form answers: f as a formula of the subset, its best scores and its variance exact, no training.

Certificates are attacked on these, because the true gap of any claim is known. Sizes are free, up to 100,000 units. A
game has one target unless it says otherwise; ``together`` puts several beside each other, or adds them up.

    game        what a known game offers, its statement, and what games given by coefficients share
    linear      sums of characters: of one target, of many
    polynomials products of characters
    counts      functions of how many of some units are in: thresholds, majorities, what saturates or grows
    tables      any function of a few units
    rare        spikes and heavy tails
    modulated   a character times an amplitude of other units
    together    sums, stacks and repetitions of other games

Letters: phi_i the characters, N units, T targets, c coefficients of degree one, W_1 the weight at degree one.
"""

from protocol.game.known.counts import SHAPES, Alike, Bent, Count, Majority, Threshold
from protocol.game.known.game import Known, OneTarget, statement_of
from protocol.game.known.linear import Linear, Weighted, Wide, linears
from protocol.game.known.modulated import CharacterTimesSquare, CharacterWhereAlike, SharedAmplitude
from protocol.game.known.polynomials import Parity, Polynomial, SparsePolynomial
from protocol.game.known.rare import HeavyTailed, Spikes
from protocol.game.known.tables import Table
from protocol.game.known.together import Repeated, Stack, Sum

__all__ = [
    "SHAPES",
    "Alike",
    "Bent",
    "CharacterTimesSquare",
    "CharacterWhereAlike",
    "Count",
    "HeavyTailed",
    "Known",
    "Linear",
    "Majority",
    "OneTarget",
    "Parity",
    "Polynomial",
    "Repeated",
    "SharedAmplitude",
    "SparsePolynomial",
    "Spikes",
    "Stack",
    "Sum",
    "Table",
    "Threshold",
    "Weighted",
    "Wide",
    "linears",
    "statement_of",
]
