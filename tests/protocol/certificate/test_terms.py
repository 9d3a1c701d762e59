"""Terms and rounds say what was asked for and what was drawn: checked when made, every field in the digest."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pytest

from protocol.certificate.terms import MAX_KURTOSIS, MAX_LOOKS, Across, Answers, Rounds, Terms
from protocol.errors import ArgumentError
from protocol.game.sampling import Bases, Design

DESIGN = Design(n_families=4, n_siblings=2, keep_16=40000, complements=True)
TERMS = Terms(
    epsilon=0.05, delta=0.05, across=Across.MEAN, answers=Answers.DELEGATED, method="moments", kurtosis=9.0
)  # fmt: skip
ROUNDS = Rounds(looks=(DESIGN, DESIGN), n_checks=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": 0.0}, "epsilon: expected a relative gap above 0 and below 1, got 0.0"),
        ({"epsilon": 1.0}, "epsilon: expected a relative gap above 0 and below 1, got 1.0"),
        ({"epsilon": math.nan}, "epsilon: expected a relative gap above 0 and below 1, got nan"),
        ({"epsilon": math.inf}, "epsilon: expected a relative gap above 0 and below 1, got inf"),
        ({"delta": 0.0}, "delta: expected a probability strictly between 0 and 1, got 0.0"),
        ({"delta": 1.0}, "delta: expected a probability strictly between 0 and 1, got 1.0"),
        ({"delta": math.nan}, "delta: expected a probability strictly between 0 and 1, got nan"),
        ({"kurtosis": 0.999}, r"kurtosis: expected a bound from 1 to 1e\+06, got 0.999"),
        ({"kurtosis": 2e6}, r"kurtosis: expected a bound from 1 to 1e\+06, got 2000000.0"),
        ({"kurtosis": math.nan}, r"kurtosis: expected a bound from 1 to 1e\+06, got nan"),
        ({"kurtosis": math.inf}, r"kurtosis: expected a bound from 1 to 1e\+06, got inf"),
    ],
)
def test_terms_that_mean_nothing_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        replace(TERMS, **change)


@pytest.mark.parametrize("kurtosis", [None, 1, 1.0, MAX_KURTOSIS])
def test_a_method_may_assume_nothing_or_anything_in_range(kurtosis: float | None) -> None:
    assert replace(TERMS, kurtosis=kurtosis).kurtosis == kurtosis


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"looks": ()}, "looks: expected 1 to 64 designs, got 0"),
        ({"looks": (DESIGN,) * 65}, "looks: expected 1 to 64 designs, got 65"),
        ({"n_checks": -1}, "n_checks: expected at least 0, got -1"),
    ],
)
def test_rounds_that_mean_nothing_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        replace(ROUNDS, **change)


def test_as_many_rounds_as_a_challenge_can_number_are_taken() -> None:
    assert len(Rounds(looks=(DESIGN,) * MAX_LOOKS).looks) == MAX_LOOKS == 64


def test_every_field_changes_the_digest_of_terms() -> None:
    changes: list[dict[str, Any]] = [
        {"epsilon": 0.04}, {"delta": 0.04}, {"across": Across.EVERY}, {"answers": Answers.OWN}, {"method": "gaussian"},
        {"kurtosis": 8.0}, {"kurtosis": None},
    ]  # fmt: skip
    assert {name for change in changes for name in change} == {field.name for field in fields(Terms)}
    digests = {replace(TERMS, **change).digest for change in changes}
    assert len(digests | {TERMS.digest}) == len(changes) + 1


def test_every_field_changes_the_digest_of_rounds() -> None:
    designs = [
        replace(DESIGN, n_families=5), replace(DESIGN, n_siblings=3), replace(DESIGN, keep_16=1),
        replace(DESIGN, complements=False), replace(DESIGN, bases=Bases.TILTED),
    ]  # fmt: skip
    changed = [replace(ROUNDS, looks=(DESIGN, design)) for design in designs]
    changed += [replace(ROUNDS, n_checks=4), replace(ROUNDS, looks=(DESIGN,)), replace(ROUNDS, looks=(DESIGN,) * 3)]
    assert len({rounds.digest for rounds in changed} | {ROUNDS.digest}) == len(changed) + 1


def test_a_whole_number_and_its_float_are_one_kurtosis() -> None:
    assert replace(TERMS, kurtosis=9).digest == TERMS.digest


def test_terms_and_rounds_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        TERMS.epsilon = 0.9  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        ROUNDS.n_checks = 0  # type: ignore[misc]
