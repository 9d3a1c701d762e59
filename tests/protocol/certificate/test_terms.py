"""Terms say what was asked for: checked when made, delta shared out among looks, every field in the digest."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from protocol.certificate.terms import MAX_LOOKS, Across, Assurance, Terms
from protocol.errors import ArgumentError
from protocol.sampling import Design

DESIGN = Design(n_families=4, n_siblings=2, keep_16=40000, complements=True)
PROVED = Terms(
    epsilon=0.05, delta=0.05, across=Across.MEAN, assurance=Assurance.PROVED, looks=(DESIGN,), n_checks=0
)  # fmt: skip
AUDITED = replace(PROVED, assurance=Assurance.AUDITED, n_checks=5)


@pytest.mark.parametrize(
    ("terms", "change", "message"),
    [
        (PROVED, {"epsilon": 0.0}, "epsilon: expected a relative gap above 0 and below 1, got 0.0"),
        (PROVED, {"epsilon": 1.0}, "epsilon: expected a relative gap above 0 and below 1, got 1.0"),
        (PROVED, {"epsilon": math.nan}, "epsilon: expected a relative gap above 0 and below 1, got nan"),
        (PROVED, {"delta": 0.0}, "delta: expected a probability strictly between 0 and 1, got 0.0"),
        (PROVED, {"delta": 1.0}, "delta: expected a probability strictly between 0 and 1, got 1.0"),
        (PROVED, {"delta": math.nan}, "delta: expected a probability strictly between 0 and 1, got nan"),
        (PROVED, {"looks": ()}, "looks: expected at least one design, got none"),
        (PROVED, {"looks": (DESIGN,) * 65}, "looks: expected at most 64 designs, got 65"),
        (PROVED, {"looks": (DESIGN, replace(DESIGN, n_siblings=3))}, "looks: expected the same siblings"),
        (PROVED, {"looks": (DESIGN, replace(DESIGN, keep_16=40001))}, "looks: expected the same siblings"),
        (PROVED, {"looks": (DESIGN, replace(DESIGN, complements=False))}, "looks: expected the same siblings"),
        (PROVED, {"n_checks": 1}, "n_checks: expected 0 when every subset is retrained, got 1"),
        (AUDITED, {"n_checks": 0}, "n_checks: expected 1 to 16 of each look's answers, got 0"),
        (AUDITED, {"n_checks": 17}, "n_checks: expected 1 to 16 of each look's answers, got 17"),
        (AUDITED, {"looks": (DESIGN, replace(DESIGN, n_families=1))}, "n_checks: expected 1 to 4 of each look's"),
    ],
)
def test_terms_that_mean_nothing_are_refused(terms: Terms, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        replace(terms, **change)


@pytest.mark.parametrize("n_looks", [1, 2, 3, 7, MAX_LOOKS])
def test_the_looks_spend_delta_and_no_more(n_looks: int) -> None:
    terms = replace(PROVED, looks=(DESIGN,) * n_looks)
    shares = [terms.delta_at(look) for look in range(n_looks)]
    assert math.fsum(shares) == pytest.approx(0.05, rel=1e-12)
    assert math.fsum(shares) <= 0.05
    for look, share in enumerate(shares[:-1]):
        assert share == 0.05 / 2 ** (look + 1)


def test_every_field_changes_the_digest() -> None:
    changes: list[dict[str, Any]] = [
        {"epsilon": 0.04}, {"delta": 0.04}, {"across": Across.EVERY}, {"n_checks": 6},
        {"looks": (DESIGN, DESIGN)}, {"looks": (replace(DESIGN, n_families=5),)},
        {"looks": (replace(DESIGN, n_siblings=3),)}, {"looks": (replace(DESIGN, keep_16=1),)},
        {"looks": (replace(DESIGN, complements=False),)},
    ]  # fmt: skip
    digests = {replace(AUDITED, **change).digest for change in changes}
    assert len(digests | {AUDITED.digest, PROVED.digest}) == len(changes) + 2


def test_terms_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        PROVED.epsilon = 0.9
