"""All cheats, in order: about the claim, about the figures said of it, about the answers, about the protocol.

Those of ``ACROSS`` are accepted, rightly, in every single session: their lie takes two.

The default parameters are the demonstrative ones (a gap far above any sensible epsilon); tests of rates make their own.
"""

from __future__ import annotations

from tests.adversaries.another_dataset import AnotherDataset
from tests.adversaries.another_key import AnotherKey
from tests.adversaries.another_task import AnotherTask
from tests.adversaries.borrowed_name import BorrowedName
from tests.adversaries.cancelled_outliers import CancelledOutliers
from tests.adversaries.changed_answers import ChangedAnswers
from tests.adversaries.cheat import Cheat
from tests.adversaries.copied_answers import CopiedAnswers
from tests.adversaries.cut_short import CutShort
from tests.adversaries.denormal_scores import DenormalScores
from tests.adversaries.drift_by_tolerance import DriftByTolerance
from tests.adversaries.duplicated_answers import DuplicatedAnswers
from tests.adversaries.enormous_scores import EnormousScores
from tests.adversaries.false_fraction import FalseFraction
from tests.adversaries.favoured import Favoured
from tests.adversaries.few_scaled import FewScaled
from tests.adversaries.fitted_to_challenge import FittedToChallenge
from tests.adversaries.flattering_figures import FlatteringFigures
from tests.adversaries.greedy_answers import GreedyAnswers
from tests.adversaries.greedy_pairs import GreedyPairs
from tests.adversaries.heavy_tailed import HeavyTailed
from tests.adversaries.impossible_figures import ImpossibleFigures
from tests.adversaries.inflated_noise import InflatedNoise
from tests.adversaries.mirrored_answers import MirroredAnswers
from tests.adversaries.nan_answers import NanAnswers
from tests.adversaries.not_finite_scores import NotFiniteScores
from tests.adversaries.one_unit import OneUnit
from tests.adversaries.out_of_range_answers import OutOfRangeAnswers
from tests.adversaries.permuted import Permuted
from tests.adversaries.permuted_answers import PermutedAnswers
from tests.adversaries.random_direction import RandomDirection
from tests.adversaries.replayed import Replayed
from tests.adversaries.scaled import Scaled
from tests.adversaries.second_thoughts import SecondThoughts
from tests.adversaries.stale import Stale
from tests.adversaries.steering_figures import SteeringFigures
from tests.adversaries.surrogate_answers import SurrogateAnswers
from tests.adversaries.swapped_answers import SwappedAnswers
from tests.adversaries.tangent import Tangent
from tests.adversaries.tiny import Tiny
from tests.adversaries.too_few_answers import TooFewAnswers
from tests.adversaries.too_many_answers import TooManyAnswers
from tests.adversaries.two_claims import TwoClaims
from tests.adversaries.two_faced import TwoFaced
from tests.adversaries.unlucky import LeavesWhenUnlucky
from tests.adversaries.wrong_seed import WrongSeed
from tests.adversaries.wrong_shape import WrongShape
from tests.adversaries.zero import Zero

CLAIMS: tuple[Cheat, ...] = (
    Scaled(), Favoured(), OneUnit(), Zero(), Tiny(), Permuted(), Stale(), RandomDirection(), HeavyTailed(), Tangent(),
    FewScaled(), FittedToChallenge(), NotFiniteScores(), DenormalScores(), EnormousScores(),
)  # fmt: skip

FIGURES: tuple[Cheat, ...] = (FlatteringFigures(), SteeringFigures(), ImpossibleFigures())

ANSWERS: tuple[Cheat, ...] = (
    CopiedAnswers(), MirroredAnswers(), FalseFraction(), SurrogateAnswers(), CutShort(), AnotherDataset(), WrongSeed(),
    GreedyAnswers(), GreedyPairs(), CancelledOutliers(), InflatedNoise(), DriftByTolerance(), NanAnswers(),
    OutOfRangeAnswers(), SwappedAnswers(), PermutedAnswers(), DuplicatedAnswers(), TooFewAnswers(), TooManyAnswers(),
)  # fmt: skip

PROTOCOL: tuple[Cheat, ...] = (
    AnotherTask(), WrongShape(), AnotherKey(), BorrowedName(), TwoFaced(), SecondThoughts(), ChangedAnswers(),
    Replayed(), LeavesWhenUnlucky(),
)  # fmt: skip

ALL: tuple[Cheat, ...] = CLAIMS + FIGURES + ANSWERS + PROTOCOL

ACROSS: tuple[Cheat, ...] = (TwoClaims(),)

BY_NAME: dict[str, Cheat] = {cheat.name: cheat for cheat in ALL + ACROSS}
