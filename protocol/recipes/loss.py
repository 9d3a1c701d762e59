"""What a recipe minimises at a row."""

from __future__ import annotations

import enum


class Loss(enum.Enum):
    """What is minimised at a row, and what a target of kind ``loss`` reads.

    cross-entropy   of the softmax of the scores
    squared         sum over classes of (score - y)^2, y = +1 for the row's class, else -1; for a regression
                    (score - y)^2, for ``sgd`` of y less its mean and over its deviation on all training rows
    squared-hinge   sum over classes of max(0, 1 - y score)^2
    """

    CROSS_ENTROPY = "cross-entropy"
    SQUARED = "squared"
    SQUARED_HINGE = "squared-hinge"
