"""Any estimator or pipeline of scikit-learn, for tables where people use those."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from functools import cached_property

from protocol.encoding import Value
from protocol.recipes.estimator import Call, parsed
from protocol.recipes.keys import require
from protocol.recipes.loss import Loss

_VERSION = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}(\.[0-9]{1,4})?")


class Reading(enum.Enum):
    """What a row's scores are read off a fitted estimator, and which loss a target of kind ``loss`` reads.

    log-probability  the logarithm of predict_proba, of at least 1e-6; cross-entropy
    decision         decision_function, of two classes -d/2 and d/2; squared hinge
    prediction       predict, of a regression; squared
    """

    LOG_PROBABILITY = "log-probability"
    DECISION = "decision"
    PREDICTION = "prediction"


_LOSS = {
    Reading.LOG_PROBABILITY: Loss.CROSS_ENTROPY,
    Reading.DECISION: Loss.SQUARED_HINGE,
    Reading.PREDICTION: Loss.SQUARED,
}


@dataclass(frozen=True, kw_only=True)
class Sklearn:
    """An estimator fitted to the rows that are in.

    Every ``random_state`` in it is the training seed modulo 2^32, and numpy's own generator begins there.

    estimator : as text (``estimator.parsed``). What it does not set is scikit-learn's default, and so
        version : of scikit-learn, such as 1.9.1, is part of the task.
    reading : how scores are read off it.

    A class that no row of the subset has scores log 1e-6 (log-probability) or -1 (decision). Of a
    single class the rest do, and it scores 0 or 1; with no row every class scores alike: log of one
    over their number, or 0. A regression of no rows predicts the mean of all training rows.
    """

    estimator: str
    version: str
    reading: Reading
    name = "sklearn"

    def __post_init__(self) -> None:
        holds = _VERSION.fullmatch(self.version) is not None
        require(holds, "recipe.version", "a version such as 1.9.1", repr(self.version[:40]))
        parsed(self.estimator)

    @cached_property
    def tree(self) -> Call:
        """The estimator, parsed."""
        return parsed(self.estimator)

    @property
    def loss(self) -> Loss:
        """What a target of kind ``loss`` reads."""
        return _LOSS[self.reading]

    @property
    def takes_regression(self) -> bool:
        """Whether it can predict a number."""
        return self.reading is Reading.PREDICTION

    @property
    def takes_classes(self) -> bool:
        """Whether it can tell classes apart."""
        return self.reading is not Reading.PREDICTION

    @property
    def has_probabilities(self) -> bool:
        """Whether its scores are log-probabilities."""
        return self.reading is Reading.LOG_PROBABILITY

    @property
    def fields(self) -> Value:
        return [self.name, self.estimator, self.version, self.reading.value]
