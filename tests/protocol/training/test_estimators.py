"""What a text may name, and what it may set."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
import sklearn

from protocol.errors import TaskFileError
from protocol.recipes import Reading, Sklearn
from protocol.training.estimators import DENIED, known, maker

LOG, DECISION, PREDICTION = Reading.LOG_PROBABILITY, Reading.DECISION, Reading.PREDICTION


def recipe(estimator: str, reading: Reading = LOG, **changes: Any) -> Sklearn:
    return Sklearn(**({"estimator": estimator, "version": sklearn.__version__, "reading": reading} | changes))


UNKNOWN = f"recipe.estimator: expected an estimator of scikit-learn {sklearn.__version__}, got "
TAKES = "recipe.estimator: expected values that "
LACKS = "recipe.reading: expected one that "
REFUSED = {
    "HistGradientBoostingClasifier()": f"{UNKNOWN}'HistGradientBoostingClasifier'; did you mean HistGradientBoostingC",
    "svc()": f"{UNKNOWN}'svc'; did you mean SVC?",
    "BaseEstimator()": f"{UNKNOWN}'BaseEstimator'",
    "Popen()": f"{UNKNOWN}'Popen'",
    "eval()": f"{UNKNOWN}'eval'",
    "CheckingClassifier()": f"{UNKNOWN}'CheckingClassifier'",
    "SVC(c=1.0)": "recipe.estimator: expected a parameter of SVC, got 'c'; did you mean C?",
    "Pipeline(steps=[('a', SVC(gama=1))])": "recipe.estimator: expected a parameter of SVC, got 'gama'; did you mean g",
    "SVC(estimator__C=1)": "recipe.estimator: expected a parameter of SVC, got 'estimator__C'",
    "SVC(self=1)": "recipe.estimator: expected a parameter of SVC, got 'self'",
    "Pipeline()": "recipe.estimator: expected steps in Pipeline, which needs it, got none",
    "Pipeline(steps=5)": f"{TAKES}Pipeline takes, got InvalidParameterError: The 'steps' parameter",
    "VotingClassifier(estimators=5)": f"{TAKES}VotingClassifier takes, got InvalidParameterError: The 'estimators' par",
    "LogisticRegression(C=-1.0)": f"{TAKES}LogisticRegression takes, got InvalidParameterError: The 'C' parameter of L",
    "LogisticRegression(solver='magic')": f"{TAKES}LogisticRegression takes, got InvalidParameterError: The 'solver' p",
    "AdaBoostClassifier(estimator='SVC')": f"{TAKES}AdaBoostClassifier takes, got InvalidParameterError: The 'estimato",
    "Pipeline(steps=[('f', FunctionTransformer(func='print')), ('c', LogisticRegression())])": (
        f"{TAKES}Pipeline takes, got InvalidParameterError: The 'func' parameter of FunctionTransformer"
    ),
    "Pipeline(steps=[('a', SVC())])": f"{LACKS}Pipeline has, got log-probability, which reads its predict_proba",
    "Ridge()": "recipe.estimator: expected a classifier for reading log-probability, got Ridge",
    "TfidfVectorizer(input='filename')": "recipe.estimator: expected no TfidfVectorizer, it can read files by their na",
    "Pipeline(steps=[('a', CountVectorizer())])": "recipe.estimator: expected no CountVectorizer",
    "SelfTrainingClassifier(estimator=FrozenEstimator(estimator=SVC()))": "recipe.estimator: expected no FrozenEstimat",
}
FOR_ANOTHER_READING = {
    "GaussianNB()": (DECISION, f"{LACKS}GaussianNB has, got decision, which reads its decision_function"),
    "IsolationForest()": (
        DECISION,
        "recipe.estimator: expected a classifier for reading decision, got IsolationForest",
    ),
    "SVC(decision_function_shape='ovo')": (DECISION, "recipe.estimator: expected decision_function_shape='ovr'"),
    "SVC()": (PREDICTION, "recipe.estimator: expected a regressor for reading prediction, got SVC"),
}


@pytest.mark.parametrize("estimator", REFUSED)
def test_what_cannot_be_had_is_refused_by_name(estimator: str) -> None:
    with pytest.raises(TaskFileError, match="^" + re.escape(REFUSED[estimator])):
        maker(recipe(estimator))


@pytest.mark.parametrize("estimator", FOR_ANOTHER_READING)
def test_a_reading_that_the_estimator_has_not_is_refused(estimator: str) -> None:
    reading, message = FOR_ANOTHER_READING[estimator]
    with pytest.raises(TaskFileError, match="^" + re.escape(message)):
        maker(recipe(estimator, reading))


def test_another_version_of_scikit_learn_is_refused() -> None:
    message = (
        rf"^recipe.version: expected scikit-learn {sklearn.__version__}, which is installed, got 0.1.2; "
        r"to take part, pip install scikit-learn==0.1.2$"
    )
    with pytest.raises(TaskFileError, match=message):
        maker(recipe("SVC()", DECISION, version="0.1.2"))


def test_no_estimator_that_may_be_named_has_a_parameter_that_names_a_place() -> None:
    harmless = {
        ("FeatureHasher", "input_type"), ("Isomap", "path_method"), ("Lars", "fit_path"), ("LassoLars", "fit_path"),
        ("Pipeline", "transform_input"), ("SequentialFeatureSelector", "direction"),
    }  # fmt: skip
    sounds = re.compile("file|path|dir|input|url|module|disk|folder")
    found = {
        (name, parameter)
        for name, estimator in known().items()
        for parameter in inspect.signature(estimator).parameters
        if sounds.search(parameter)
    }
    assert found <= harmless
    assert not set(DENIED) & set(known())


def test_every_estimator_that_may_be_named_takes_its_defaults_or_says_what_it_lacks() -> None:
    refused = set()
    for name in known():
        try:
            maker(recipe(f"{name}()"))
        except TaskFileError as error:
            refused |= {name} if str(error).startswith(TAKES) else set()
    assert refused == {"SelfTrainingClassifier"}, "whose estimator may not be None, its default"
