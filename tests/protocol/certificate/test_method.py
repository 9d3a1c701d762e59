"""What holds of every certificate's method: its name, its words, the terms it takes, and what it offers a session."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocol.certificate.method import Method
from protocol.certificate.registry import DEFAULT, METHODS, method_named
from protocol.certificate.terms import Across, Answers, Terms
from protocol.errors import ArgumentError
from protocol.game import HALF, Statement
from protocol.game.sampling import pairs

GAME = Statement(name="game", n_units=4, lo=-np.ones(1), hi=np.ones(1), measure=HALF)


def terms_of(method: Method, answers: Answers | None = None, across: Across | None = None) -> Terms:
    """Terms that the method takes, unless told otherwise."""
    chosen = method.answers[0] if answers is None else answers
    return Terms(
        epsilon=0.1, delta=0.05, across=method.across[0] if across is None else across, answers=chosen,
        method=method.name, kurtosis=method.kurtosis_of(chosen, GAME.measure),
    )  # fmt: skip


each = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def test_the_first_is_the_default_and_an_unknown_name_is_told_all() -> None:
    assert next(iter(METHODS)) == DEFAULT == "moments"
    for name, method in METHODS.items():
        assert method_named(name) is method
        assert method.name == name
    with pytest.raises(ArgumentError, match=f"certificate: expected one of {', '.join(METHODS)}, got 'x'"):
        method_named("x")
    with pytest.raises(ArgumentError) as caught:
        method_named("y" * 10_000)
    assert len(str(caught.value)) < 200, "what was typed is not repeated at any length"


@each
def test_its_words_name_it_its_assumption_and_who_answered(method: Method) -> None:
    for answers in method.answers:
        terms = terms_of(method, answers)
        said = method.describe(terms)
        assert said.startswith(method.name)
        assert said.endswith(f", {answers.value}")
        assumed = method.assumption(terms)
        assert said == f"{method.name}{f' ({assumed})' if assumed else ''}, {answers.value}"
        assert (terms.kurtosis is None) == ("kurtosis" not in assumed), "a bound on the kurtosis is never left unsaid"


@each
def test_its_own_terms_are_taken(method: Method) -> None:
    for answers in method.answers:
        for across in method.across:
            method.check_terms(GAME, terms_of(method, answers, across))


@each
def test_answers_that_it_does_not_take_are_refused_with_those_that_it_does(method: Method) -> None:
    others = [answers for answers in Answers if answers not in method.answers]
    offered = " or ".join(answers.value for answers in method.answers)
    for answers in others:
        with pytest.raises(ArgumentError, match=f"answers: {method.name} works with {offered} answers, got"):
            method.check_terms(GAME, terms_of(method, answers))
    assert len(others) + len(method.answers) == 2


@each
def test_targets_that_it_does_not_sum_up_so_are_refused_with_how_it_does(method: Method) -> None:
    offered = " or ".join(across.value for across in method.across)
    for across in Across:
        if across not in method.across:
            with pytest.raises(
                ArgumentError, match=f"across: {method.name} works across {offered}, got {across.value}"
            ):
                method.check_terms(GAME, terms_of(method, across=across))


@each
def test_a_kurtosis_is_asked_for_where_one_is_assumed_and_nowhere_else(method: Method) -> None:
    terms = terms_of(method)
    if terms.kurtosis is None:
        with pytest.raises(ArgumentError, match=f"kurtosis: {method.name} assumes no bound on it"):
            method.check_terms(GAME, replace(terms, kurtosis=9.0))
    else:
        with pytest.raises(ArgumentError, match=f"kurtosis: {method.name} needs a bound on it"):
            method.check_terms(GAME, replace(terms, kurtosis=None))


@each
def test_what_a_session_asks_of_it_makes_sense(method: Method) -> None:
    """Who trains a round, how many are rechecked together, what the checks may take of delta."""
    for answers in method.answers:
        terms = terms_of(method, answers)
        answered = [method.is_answered(terms, round_) for round_ in range(4)]
        assert any(answered) == (answers is Answers.DELEGATED)
        assert method.check_size(pairs(5)) in {1, 2}
    assert method.statement
    assert 1 <= len(method.across) <= len(Across)
    assert len(set(method.across)) == len(method.across)
