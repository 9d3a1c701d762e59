"""Figures that are chosen for the plan that they lead to."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from protocol.certificate.planning import Seen
from protocol.certificate.registry import method_named
from protocol.certificate.terms import Rounds
from protocol.claim import Claim, Figures
from protocol.errors import BudgetError
from tests.adversaries.cheat import NOT_SHOWN, Cheat, Defence, Scene
from tests.adversaries.rehearsal import after_pilot

WORST: dict[str, tuple[float, ...]] = {
    "relative_gap": (0.0, 1e308),
    "odd_residual": (0.0, 1e308),
    "r2": (-1e308, 1.0),
    "n_retrainings": (0, 2**32 - 1),
}
"""The ends of what each figure may be; together, most are as contradictory as can be."""


@dataclass(frozen=True)
class SteeringFigures(Cheat):
    """Claims noise of ``gap`` and says of it what makes the verifier draw the fewest families, and so know least.

    It runs the verifier's own planner on every combination of extreme figures, after a pilot of its own. A plan made
    from lies is too small, too large or for families of another kind; a bound that holds for every plan holds for it.
    """

    gap: float = 0.3

    name = "steering-figures"
    stopped_by = (Defence.EXPECTED, Defence.V12)
    fate = NOT_SHOWN

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        return scene.moved(honest, scene.rng.standard_normal(honest.scores.shape), self.gap)

    def figures(self, honest: Figures, claim: Claim, scene: Scene) -> Figures:
        first = planned_for(honest, None, scene)
        seen = None if first is None else after_pilot(claim, first, scene).seen()
        return min(extremes(), key=lambda figures: n_families(planned_for(figures, seen, scene)))


def extremes() -> list[Figures]:
    """Return every combination of the figures' extremes."""
    return [
        Figures(relative_gap=gap, odd_residual=residual, r2=r2, n_retrainings=int(n))
        for gap, residual, r2, n in itertools.product(*WORST.values())
    ]


def planned_for(figures: Figures, seen: Seen | None, scene: Scene) -> Rounds | None:
    """Return the rounds that the verifier would choose on these figures, None where it would give up."""
    method = method_named(scene.terms.method)
    try:
        return method.plan(scene.task, None, figures, scene.terms, scene.budget, seen).rounds
    except BudgetError:
        return None


def n_families(rounds: Rounds | None) -> float:
    """Return how many families ``rounds`` has, without end where there are no rounds: giving up accepts nothing."""
    return float("inf") if rounds is None else float(sum(look.n_families for look in rounds.looks))
