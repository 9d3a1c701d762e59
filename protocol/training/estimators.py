"""From a text's estimator to scikit-learn's own.

Owns the look-up of names and parameters, and what a task may not ask for. A name is one of those that
``sklearn.utils.all_estimators`` lists, pipelines, unions and column transformers among them; nothing is imported by
a path that a text gives, and no text is evaluated. So an estimator whose parameter must be a function, a mapping or
an object other than an estimator (``GridSearchCV``'s grid, a Gaussian process's kernel, a splitter) cannot be had
with that parameter, only with its default.

What a text can still do is take long, or much memory: ``n_estimators`` may be a billion. Whoever takes part in a task
has read it first.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import sklearn
from sklearn.base import is_classifier, is_regressor
from sklearn.utils import all_estimators

from protocol.errors import TaskFileError
from protocol.recipes import Call, Node, Reading, Sklearn

KEY = "recipe.estimator"

DENIED = {
    "CountVectorizer": "it can read files by their names",
    "HashingVectorizer": "it can read files by their names",
    "TfidfVectorizer": "it can read files by their names",
    "FrozenEstimator": "nothing is fitted before the training",
}
"""Estimators that no task may name; of those listed, no other opens a file or a place when given plain values."""

METHOD = {
    Reading.LOG_PROBABILITY: "predict_proba",
    Reading.DECISION: "decision_function",
    Reading.PREDICTION: "predict",
}
"""What a reading calls on a fitted estimator."""

_KNOWS_WHEN_FITTED = "StackingClassifier"
"""Without a final estimator it has no method of a reading until fitted, when it has a logistic regression's."""

Part: TypeAlias = "bool | int | float | str | list[Part] | tuple[Part, ...] | Maker | None"


@dataclass(frozen=True, kw_only=True)
class Maker:
    """Builds an estimator, and those within it, for a training. Pickles as names of classes and plain values.

    estimator : scikit-learn's class. parameters : those that the text sets.
    takes_seed : whether it has a ``random_state``.
    """

    estimator: type[Any]
    parameters: tuple[tuple[str, Part], ...]
    takes_seed: bool

    def __call__(self, seed: int) -> Any:
        """Return the estimator, not fitted; ``seed`` is every ``random_state`` in it, from 0 to 2^32 - 1."""
        given = {name: _made(part, seed) for name, part in self.parameters}
        return self.estimator(**given, **({"random_state": seed} if self.takes_seed else {}))


def maker(recipe: Sklearn) -> Maker:
    """Return what builds the recipe's estimator.

    Raises
    ------
    TaskFileError
        Another version of scikit-learn is installed; a name or parameter that it does not have, a value that it
        does not take, or what no task may set; or an estimator without what the recipe reads.
    """
    if sklearn.__version__ != recipe.version:
        raise TaskFileError(
            f"recipe.version: expected scikit-learn {sklearn.__version__}, which is installed, got {recipe.version}; "
            f"to take part, pip install scikit-learn=={recipe.version}"
        )
    found = _maker(recipe.tree)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a version that is named is meant, with all that it deprecates
            made = found(0)
            _check_values(found)
            fits = is_regressor(made) if recipe.reading is Reading.PREDICTION else is_classifier(made)
            has = hasattr(made, METHOD[recipe.reading])
    except Exception as error:
        raise TaskFileError(f"{KEY}: expected values that {recipe.tree.name} takes, got {said(error)}") from error
    _check_reading(recipe, fits=fits, has=has)
    return found


def _check_values(part: Part) -> None:
    """Raise what scikit-learn raises when it begins to fit: no training need be paid for to hear it."""
    if isinstance(part, Maker):
        made = part(0)
        if hasattr(made, "_parameter_constraints"):  # all but two, which have nothing to choose
            made._validate_params()
        part = [value for _, value in part.parameters]
    if isinstance(part, list | tuple):
        for item in part:
            _check_values(item)


def said(error: BaseException) -> str:
    """Return what an error says, on one line and not too long."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 200 else f"{text[:197]}..."


@functools.cache
def known() -> Mapping[str, type[Any]]:
    """Return the estimators that a text may name; looking through scikit-learn for them takes about a second."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of modules on their way out
        return {name: found for name, found in all_estimators() if name not in DENIED}


def _made(part: Part, seed: int) -> Any:
    match part:
        case Maker():
            return part(seed)
        case list():
            return [_made(item, seed) for item in part]
        case tuple():
            return tuple(_made(item, seed) for item in part)
        case _:
            return part


def _maker(call: Call) -> Maker:
    if call.name in DENIED:
        raise TaskFileError(f"{KEY}: expected no {call.name}, {DENIED[call.name]}")
    if call.name not in known():
        raise _unknown(call.name, f"an estimator of scikit-learn {sklearn.__version__}", known())
    estimator = known()[call.name]
    signature = inspect.signature(estimator).parameters
    for name, _ in call.parameters:
        if name not in signature:
            raise _unknown(name, f"a parameter of {call.name}", signature)
    for name, parameter in signature.items():
        if parameter.default is parameter.empty and name not in dict(call.parameters):
            raise TaskFileError(f"{KEY}: expected {name} in {call.name}, which needs it, got none")
    return Maker(
        estimator=estimator,
        parameters=tuple((name, _part(node)) for name, node in call.parameters),
        takes_seed="random_state" in signature,
    )


def _part(node: Node) -> Part:
    match node:
        case Call():
            return _maker(node)
        case list():
            return [_part(item) for item in node]
        case tuple():
            return tuple(_part(item) for item in node)
        case _:
            return node


def _unknown(name: str, expected: str, names: Collection[str]) -> TaskFileError:
    close = [known for known in names if known.casefold() == name.casefold()]
    close = close or difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return TaskFileError(f"{KEY}: expected {expected}, got {name[:60]!r}{hint}")


def _check_reading(recipe: Sklearn, *, fits: bool, has: bool) -> None:
    name, reading = recipe.tree.name, recipe.reading
    if not fits:
        kind = "a regressor" if reading is Reading.PREDICTION else "a classifier"
        raise TaskFileError(f"{KEY}: expected {kind} for reading {reading.value}, got {name}")
    calls = list(_calls(recipe.tree))
    if not has and all(call.name != _KNOWS_WHEN_FITTED for call in calls):
        raise TaskFileError(
            f"recipe.reading: expected one that {name} has, got {reading.value}, which reads its {METHOD[reading]}"
        )
    pairwise = any(("decision_function_shape", "ovo") in call.parameters for call in calls)
    if reading is Reading.DECISION and pairwise:
        raise TaskFileError(
            f"{KEY}: expected decision_function_shape='ovr' for reading decision, one score a class, got 'ovo'"
        )


def _calls(node: Node) -> Iterator[Call]:
    """Yield every estimator of a tree."""
    if isinstance(node, Call):
        yield node
        node = [value for _, value in node.parameters]
    if isinstance(node, list | tuple):
        for item in node:
            yield from _calls(item)
