"""The detection benchmark tells a promise that is kept from one that is not."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import lies_are_found
from benchmarks.lies_are_found import CHECKS, LIES, SETTINGS, Cell, agreement, cell, false_in
from protocol.game.known import Polynomial
from tests.adversaries import registry
from tests.adversaries.cheat import Defence
from tests.journeys.worlds import of_game

ANSWERS, PAIRS = SETTINGS


def falsehoods(n_false: int) -> list[np.ndarray]:
    """Some challenges' lies, all at the end of the answers."""
    false = np.zeros(ANSWERS.n_drawn_from, dtype=bool)
    false[len(false) - n_false :] = True
    return [false] * 3


def cells(n_false: int) -> list[Cell]:
    return [cell("a lie", ANSWERS, falsehoods(n_false), k, 200) for k in CHECKS]


def test_the_draw_that_the_verifier_makes_keeps_the_promise() -> None:
    kept = cells(40)
    assert "no more than chance" in agreement(kept)
    assert all(each.low <= each.rate <= each.high for each in kept)
    assert [each.k for each in kept] == list(CHECKS)


def test_a_draw_that_looks_where_there_are_no_lies_breaks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lies_are_found, "choose", lambda seed, n, k: np.arange(k))
    broken = cells(40)
    assert sum(each.found for each in broken) == 0
    assert "MORE THAN CHANCE" in agreement(broken)


def test_no_lies_are_never_found_and_nothing_but_lies_always() -> None:
    assert {each.rate for each in cells(0)} == {0.0}
    assert {each.rate for each in cells(ANSWERS.n_drawn_from)} == {1.0}


def test_every_lying_answerer_is_measured() -> None:
    lying = {cheat.name for cheat in registry.ANSWERS if Defence.V11 in cheat.stopped_by}
    assert lying <= {cheat.name for _, cheat in LIES}
    measured = {cheat.name for _, cheat in LIES for setting in SETTINGS if setting.takes(cheat)}
    assert lying - measured == lies_are_found.STOPPED_BEFORE


def test_what_is_false_is_counted_answer_by_answer_or_pair_by_pair() -> None:
    world = of_game(Polynomial(n_units=12, w1=0.93, w2=0.055, w3=0.015), n_targets=1, noise=0.0, width=6.0)
    for setting, n_false in ((ANSWERS, 400), (PAIRS, 800)):
        honest = lies_are_found._honest(world, setting, 0)
        false = false_in(world, registry.BY_NAME["mirrored-answers"], setting, 0, honest)
        assert (len(false), int(false.sum())) == (setting.n_drawn_from, n_false)
