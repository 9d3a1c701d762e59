"""Verifiers with one defence switched off, for the mutation tests.

A check that stands in a line of code is taken out of that line (``without``); the rest is replaced where
it is called. Each asserts that what it takes out is there, so that a mutation cannot go stale and pass for a defence.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from protocol.certificate import spot_check
from protocol.certificate.method import Answered, Certificate
from protocol.certificate.moments import certificate, delegated, plan_delegated
from protocol.certificate.moments import method as moments
from protocol.certificate.moments.method import MomentsJudge
from protocol.certificate.moments.scales import Scales
from protocol.certificate.moments.tally import Rows, rows_of
from protocol.certificate.readings import Readings, read
from protocol.game import Game, sampling, tilting
from protocol.session import verifier
from protocol.session.verifier import VerifierSession

BOUNDS = "certificate.upper_bound <= epsilon, certificate.lower_bound > epsilon"


def without(method: str, check: str, instead: str = "False") -> type[VerifierSession]:
    """Return the verifier with the piece ``check`` of one of its methods replaced."""
    source = textwrap.dedent(inspect.getsource(getattr(VerifierSession, method)))
    assert source.count(check) == 1, f"{method} has no line {check!r} any more"
    scope: dict[str, Callable[..., object]] = {}
    exec(source.replace(check, instead), vars(verifier), scope)  # noqa: S102  our own source
    return type("Weakened", (VerifierSession,), {method: scope[method]})


def sees_nothing(monkeypatch: pytest.MonkeyPatch) -> type[VerifierSession]:
    """Return the verifier that retrains, but neither compares nor puts its own outputs in place of the answers."""
    compare = spot_check.compare
    monkeypatch.setattr(spot_check, "compare", lambda **given: compare(**{**given, "answered": given["retrained"]}))
    return without("_take_retrained", "merged[self._evaluations] = outputs", "pass")


def believes_the_claim(_: pytest.MonkeyPatch) -> type[VerifierSession]:
    """Return the verifier that compares epsilon with the relative gap that the prover states."""
    return without("_decided", BOUNDS, "self._committed.signed.figures.relative_gap <= epsilon, False")


def gives_lies_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the bound take every answer that was not rechecked for true."""
    despite = delegated.upper_despite_lies

    def careless(reported: np.ndarray, n_false: int, *others: float, **options: Any) -> float:
        return despite(reported, 0, *others, **options)

    assert plan_delegated.delegated is delegated
    monkeypatch.setattr(delegated, "upper_despite_lies", careless)


def gives_drift_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the bound take answers within the tolerance for exact."""
    despite = plan_delegated.despite_lies
    monkeypatch.setattr(
        plan_delegated, "despite_lies", lambda *args, **given: despite(*args, **{**given, "shift": 0 * given["shift"]})
    )


def draws_nothing_along_the_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every base uniform, whatever is claimed."""
    for module in (sampling, tilting):
        assert module.UNIFORM_16 < 1 << 16
        monkeypatch.setattr(module, "UNIFORM_16", 1 << 16)


def weighs_by_the_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have targets weighted by the claim's own variance in place of the pilot's."""
    scales_of = moments.scales_of

    def careless(game: Game, pilot: Readings) -> Scales:
        return _weighed(scales_of(game, pilot), pilot.claim_variance)

    monkeypatch.setattr(moments, "scales_of", careless)


def weighs_by_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have targets weighted by how much the prover's answers vary in place of the pilot's outputs."""
    take = MomentsJudge.take

    def careless(self: MomentsJudge, answered: Answered) -> Certificate | None:
        if self._fixed is not None:
            readings = read(self._game, self._claim, answered.draw, answered.outputs)
            scales = _weighed(self._fixed[0], (readings.output**2).mean(axis=(0, 1)))
            self._fixed = scales, rows_of(self._game, readings, scales, self._terms.across)
        return take(self, answered)

    monkeypatch.setattr(MomentsJudge, "take", careless)


def _weighed(scales: Scales, variance: np.ndarray) -> Scales:
    return replace(scales, variance=variance, weights=1 / (len(variance) * variance))


def takes_the_pilot_for_var_f(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Var f be at least what the pilot estimates, with no bound: 1, as weights are in units of that."""
    relative_upper = certificate.relative_upper

    def careless(gap: np.ndarray, rows: Rows, shown: np.ndarray) -> Any:
        return relative_upper(gap, rows, np.ones_like(shown))

    for module in (certificate, plan_delegated):
        assert module.relative_upper is relative_upper
        monkeypatch.setattr(module, "relative_upper", careless)
