"""Linear models with an L2 penalty: least squares, and multinomial logistic regression."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.encoding import Value
from protocol.recipes.keys import require_positive
from protocol.recipes.loss import Loss


@dataclass(frozen=True, kw_only=True)
class Ridge:
    """Least squares with an L2 penalty ``l2`` on the weights and none on the intercept.

    Classification regresses on +1 for the row's class and -1 for the others.
    """

    l2: float
    name = "ridge"
    loss = Loss.SQUARED
    takes_regression = True
    takes_classes = True
    has_probabilities = False

    def __post_init__(self) -> None:
        require_positive("recipe.l2", self.l2)

    @property
    def fields(self) -> Value:
        return [self.name, float(self.l2)]  # an int would have other bytes


@dataclass(frozen=True, kw_only=True)
class Logistic:
    """Multinomial logistic regression: summed cross-entropy plus l2/2 times the squared weights.

    The intercept is the weight of a constant feature 1 and is penalised like the others, so
    that the optimum exists and is unique for every subset, the empty one included.
    ``gradient_tolerance`` bounds the Euclidean norm of the gradient at which training stops;
    the weights are then within gradient_tolerance / l2 of the optimum.
    """

    l2: float
    gradient_tolerance: float
    name = "logistic"
    loss = Loss.CROSS_ENTROPY
    takes_regression = False
    takes_classes = True
    has_probabilities = True

    def __post_init__(self) -> None:
        require_positive("recipe.l2", self.l2)
        require_positive("recipe.gradient_tolerance", self.gradient_tolerance)

    @property
    def fields(self) -> Value:
        return [self.name, float(self.l2), float(self.gradient_tolerance)]
