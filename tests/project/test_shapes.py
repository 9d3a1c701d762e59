"""The shape checker of tests/conftest.py is on: without it every array annotation would be a comment."""

from __future__ import annotations

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from protocol.certificate.terms import Rounds, Terms
from protocol.claim import Claim
from protocol.encoding import Digest
from protocol.errors import MalformedMessage
from protocol.game.harmonic import gap
from protocol.session.transcript import Transcript


def test_a_wrong_shape_is_refused_under_pytest() -> None:
    with pytest.raises(TypeCheckError, match="best"):
        gap(np.zeros(3), np.zeros(4), 0.5)


def test_a_wrong_number_type_is_refused_under_pytest() -> None:
    with pytest.raises(TypeCheckError, match="claimed"):
        gap(np.zeros(3, dtype=np.float32), np.zeros(3, dtype=np.float32), 0.5)


def test_what_a_dataclass_lets_through_is_checked_too() -> None:
    with pytest.raises(TypeCheckError, match="scores"):
        Claim(task_digest=Digest(bytes(32)), intercepts=np.zeros(2), scores=np.zeros((2, 3), dtype=np.int64))


def test_a_dataclass_refuses_hostile_arrays_itself() -> None:
    with pytest.raises(MalformedMessage, match="intercepts"):
        Claim(task_digest=Digest(bytes(32)), intercepts=np.zeros(7), scores=np.zeros((2, 3)))


def test_what_has_no_array_is_left_as_it_is() -> None:
    """Wrapping it would check nothing and take most of a session's time."""
    assert hasattr(gap, "__wrapped__")
    assert hasattr(Claim.__init__, "__wrapped__")
    for bare in (Terms.__init__, Rounds.__init__, Transcript.append):
        assert not hasattr(bare, "__wrapped__")
