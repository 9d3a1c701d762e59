"""What planners are given: budgets that mean something, and outlooks kept within what is possible."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.certificate.planning import GAUSSIAN_SD, SPREAD, Budget, Outlook, Seen
from protocol.claim import Figures
from protocol.errors import ArgumentError

FIGURES = Figures(relative_gap=0.01, odd_residual=0.04, r2=0.9, n_retrainings=100)
SEEN = Seen(
    n_subsets=10, residual=0.2, noise=0.05, explained=0.7, odd=0.9, residual_sd=0.5, output_sd=0.6
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_retrainings": 0}, "max_retrainings: expected at least 1, got 0"),
        ({"max_answers": 0}, "max_answers: expected at least 1, got 0"),
        ({"n_checks": 0}, "n_checks: expected at least 1, got 0"),
        ({"n_looks": 0}, "looks: expected at least 1, got 0"),
    ],
)
def test_a_budget_of_nothing_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        replace(Budget(max_retrainings=10), **change)


@pytest.mark.parametrize(("max_served", "answers"), [(None, 4000), (100, 100), (5000, 4000), (0, 0)])
def test_no_more_answers_are_counted_on_than_the_server_gives(max_served: int | None, answers: int) -> None:
    assert Budget(max_retrainings=10, max_answers=4000, max_served=max_served).answers == answers


def test_without_a_pilot_the_figures_are_the_outlook() -> None:
    outlook = Outlook.of(FIGURES)
    assert (outlook.relative_gap, outlook.residual, outlook.r2) == (0.01, 0.04, 0.9)
    assert (outlook.rank, outlook.spread, outlook.noise, outlook.odd) == (1.0, SPREAD, 0.0, 1.0)
    assert outlook.residual_sd == outlook.output_sd == GAUSSIAN_SD == math.sqrt(2)


def test_without_figures_there_is_a_guess_or_what_was_seen() -> None:
    assert 0 < Outlook.of(None).relative_gap <= Outlook.of(None).residual < 1
    assert Outlook.of(None, SEEN).residual == SEEN.residual


def test_what_was_seen_outweighs_what_was_said() -> None:
    outlook = Outlook.of(FIGURES, SEEN)
    assert (outlook.r2, outlook.noise, outlook.odd) == (0.7, 0.05, 0.9)
    assert (outlook.residual_sd, outlook.output_sd) == (0.5, 0.6)
    assert outlook.relative_gap == 0.01, "a pilot cannot tell the gap from the rest of the residual"


def test_what_was_said_counts_within_what_so_small_a_pilot_leaves_open() -> None:
    """1.3 standard errors of the pilot's mean square: nine runs in ten."""
    doubt = 1.3 * 0.5 / math.sqrt(10)
    said = [replace(FIGURES, odd_residual=value) for value in (0.0, 0.19, 0.21, 5.0)]
    found = [Outlook.of(figures, SEEN).residual for figures in said]
    assert found == pytest.approx([0.2 / (1 + doubt), 0.19, 0.21, 0.2 / (1 - doubt)], rel=1e-12)
    larger = replace(SEEN, n_subsets=10**8)
    assert Outlook.of(said[0], larger).residual == pytest.approx(0.2, rel=1e-4)
    vague = replace(SEEN, residual_sd=100.0)
    assert Outlook.of(said[3], vague).residual <= 2.0, "and where it leaves everything open, what is possible"


EXTREMES = st.sampled_from([0.0, 5e-324, 1e-300, 1e-9, 0.5, 1.0, 2.0, 1e300, 1.7e308])


@given(EXTREMES, EXTREMES, st.sampled_from([-1.7e308, -1.0, 0.0, 1e-300, 1.0]), st.booleans(), EXTREMES, EXTREMES)
def test_no_figures_lead_out_of_what_is_possible(
    gap: float, residual: float, r2: float, has_seen: bool, seen_residual: float, noise: float
) -> None:
    figures = Figures(relative_gap=gap, odd_residual=residual, r2=r2, n_retrainings=0)
    seen = replace(SEEN, residual=seen_residual, noise=noise, explained=residual, odd=gap) if has_seen else None
    outlook = Outlook.of(figures, seen)
    assert 0 <= outlook.relative_gap <= outlook.residual
    assert 0 < outlook.residual < math.inf
    assert 0 <= outlook.noise <= outlook.residual
    assert 0 <= outlook.r2 <= 1
    assert 0 <= outlook.odd <= 1
    if seen is None:
        assert outlook.residual <= 2, "twice Var f: the claim is the opposite of f"
