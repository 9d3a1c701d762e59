"""From what the user of ``prover init --recipe sklearn`` says to the recipe.

Owns its options, and how scores are read where the user does not say. scikit-learn is imported when an estimator is
looked up, not before: ``--help`` reads this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from protocol.errors import ArgumentError, TaskFileError
from protocol.recipes import Reading, Sklearn

_PANEL = "Recipe sklearn"
_EXAMPLE = "RandomForestClassifier(n_estimators=50)"


@dataclass(frozen=True, kw_only=True)
class EstimatorChoices:
    """What the user said of an estimator of scikit-learn.

    estimator : as text, in the grammar of ``protocol.recipes.estimator``; there is no default.
    reading : None for prediction with a regression, else log-probability where the estimator has it, else decision.
    """

    estimator: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            help="A scikit-learn estimator, Name(key=value, ...); values may be estimators, too, as in a pipeline.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = ""
    reading: Annotated[
        Reading | None,
        typer.Option(
            help="Which output is read; by default prediction for a regression, else log-probability if the "
            "estimator has predict_proba, else decision.",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ] = None

    def recipe(self, n_classes: int) -> Sklearn:
        """Return the recipe for so many classes, 0 for a regression, under the scikit-learn that is installed.

        Raises
        ------
        ArgumentError
            No estimator was given. TaskFileError: as ``estimators.maker`` says.
        """
        import sklearn  # noqa: PLC0415 - see the head of this file

        from protocol.training.estimators import maker  # noqa: PLC0415

        if not self.estimator.strip():
            raise ArgumentError(f'--estimator: expected one with --recipe sklearn, such as "{_EXAMPLE}", got none')
        likely = (Reading.LOG_PROBABILITY, Reading.DECISION) if n_classes else (Reading.PREDICTION,)
        *others, last = likely if self.reading is None else (self.reading,)
        for reading in others:
            recipe = Sklearn(estimator=self.estimator, version=sklearn.__version__, reading=reading)
            try:
                maker(recipe)
            except TaskFileError:
                continue  # if it is not the reading, it is wrong for the last, too
            return recipe
        recipe = Sklearn(estimator=self.estimator, version=sklearn.__version__, reading=last)
        maker(recipe)
        return recipe
