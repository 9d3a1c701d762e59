"""A new certificate is one class and one registry line: sessions, files and reports need no more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from protocol.certificate.method import Answered, Certificate, Method, Part, Value
from protocol.certificate.planning import Budget, Forecast, Plan, Seen
from protocol.certificate.registry import METHODS
from protocol.certificate.terms import Answers, Rounds, Terms
from protocol.claim import Claim, Figures
from protocol.errors import ArgumentError, BudgetError
from protocol.game import Game
from protocol.game.sampling import pairs
from protocol.session.messages import Outcome
from protocol.session.recheck import recheck
from tests.journeys.in_memory import Entropy
from tests.verifier.market import PROVER_KEY, Market, MemoryProver
from verifier import cli, filing, verification
from verifier.report import plan as plan_report
from verifier.retrain import Retrainer
from verifier.verification import Asked

N_PAIRS = 50


class MeanSquare:
    """The residual's mean square over the claim's variance, as it came out: no bound, but all that a session needs."""

    def __init__(self, share: float) -> None:
        self._share = share

    @property
    def upper_bound(self) -> float:
        return self._share

    @property
    def lower_bound(self) -> float:
        return 0.0

    @property
    def undecided(self) -> str | None:
        return None

    def parts(self, game: Game) -> list[Part]:
        return [("mean square", f"{self._share:.3g}", f"over {game.n_targets} targets, without proof")]

    def values(self) -> dict[str, Value]:
        return {"mean_square": self._share, "n_pairs": N_PAIRS}

    def notes(self) -> list[str]:
        return ["an example"]


class Glance(Method):
    """One round of pairs, of the verifier's own."""

    name = "glance"

    def assumption(self, terms: Terms) -> str:
        return "luck"

    def check_rounds(self, game: Game, terms: Terms, rounds: Rounds) -> None:
        if rounds.looks != (pairs(N_PAIRS),) or rounds.n_checks:
            raise ArgumentError(f"glance: expected one round of {N_PAIRS} pairs")

    def judge(self, game: Game, claim: Claim, terms: Terms, rounds: Rounds) -> GlanceJudge:
        return GlanceJudge(game, claim)

    def plan(
        self, game: Game, claim: Claim | None, figures: Figures | None, terms: Terms, budget: Budget, seen: Seen | None
    ) -> Plan:
        n = 2 * N_PAIRS
        if budget.max_retrainings < n:
            raise BudgetError(f"glance: raise --max-retrainings to {n}")
        forecast = Forecast(median_bound=terms.epsilon, power=0.9)
        return Plan(
            rounds=Rounds(looks=(pairs(N_PAIRS),)), first=forecast, last=forecast, n_retrained=(n, n),
            n_answered=(0, 0), expected_retrained=n, expected_answered=0, sufficient=True,
            summary=f"a glance at {n} retrainings",
        )  # fmt: skip


class GlanceJudge:
    def __init__(self, game: Game, claim: Claim) -> None:
        self._game, self._claim = game, claim

    def replan(self, rounds: Rounds) -> None:
        raise AssertionError(rounds)

    def seen(self) -> Seen | None:
        return None

    def take(self, answered: Answered) -> Certificate | None:
        even = np.arange(0, 2 * N_PAIRS, 2, dtype=np.int64)
        odd = (answered.outputs[::2] - answered.outputs[1::2]) / 2
        linear = (answered.draw.subsets(self._game, even) - 0.5) @ self._claim.scores.T
        return MeanSquare(float(((odd - linear) ** 2).mean() / (linear**2).mean()))


@pytest.fixture
def glance(monkeypatch: pytest.MonkeyPatch) -> Glance:
    method = Glance()
    monkeypatch.setitem(METHODS, method.name, method)
    return method


@pytest.mark.usefixtures("glance")
@pytest.mark.parametrize(("factor", "outcome"), [(1.0, Outcome.ACCEPT), (0.5, Outcome.INCONCLUSIVE)])
def test_a_new_certificate_runs_is_filed_rechecked_and_shown(
    market: Market, tmp_path: Path, factor: float, outcome: Outcome
) -> None:
    from protocol.training import ChunkSize

    retrainer = Retrainer(market.task, market.trainer, market.dataset, ChunkSize(market.task))
    place = tmp_path / "t"
    verified = verification.verify(
        market.task, MemoryProver(market, market.scaled(factor)), retrainer, Asked(method="glance"), key=PROVER_KEY,
        transcript_path=place, entropy=Entropy(1),
    )  # fmt: skip
    assert verified.verdict.outcome is outcome
    assert verified.verdict.basis == "glance (luck), own"
    assert verified.notes == ("an example",)
    assert verified.verdict.n_retrainings == 2 * N_PAIRS
    again = recheck(filing.read_transcript(place))
    assert (again.outcome, again.reasons) == (verified.verdict.outcome, verified.verdict.reasons)


@pytest.mark.usefixtures("glance", "foreseen")
def test_the_command_knows_a_new_certificate(market: Market, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    claim = market.claim_file(here / "a.claim")
    trusted = ["--task", str(market.task_file), "--data", str(market.data)]
    asked = ["verify", "--claim", str(claim), *trusted, "--certificate", "glance"]
    assert cli.run(asked) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("ACCEPT, glance (luck), own\n  pooled relative gap is at most ")
    assert "over 20 targets, without proof" in shown
    assert cli.run([*asked, "--kurtosis", "9"]) == 64
    assert "kurtosis: glance assumes no bound on it" in capsys.readouterr().err
    assert cli.run([*asked, "--max-retrainings", "10"]) == 75
    assert "glance: raise --max-retrainings to 100" in capsys.readouterr().err
    assert cli.run(["plan", "--claim", str(claim), "--no-pilot"]) == 0
    assert "glance (luck), own: a glance at 100 retrainings" in capsys.readouterr().out


def test_a_new_certificates_terms_are_refused_like_any_others(market: Market, glance: Glance) -> None:
    with pytest.raises(ArgumentError, match="glance works with own answers, got delegated"):
        Asked(method=glance.name, answers=Answers.DELEGATED).terms(market.task)
    costs = plan_report.Costs(task=market.task, seconds_each=None, figures=None)
    asked = Asked(method=glance.name)
    option = plan_report.Option(terms=asked.terms(market.task), plan=asked.plan(market.task, None))
    assert plan_report.option_json(option, costs)["certificate"] == "glance"
