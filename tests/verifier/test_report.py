"""What is printed: every documented key and no other, no number that JSON has no word for, no stranger's markup."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from protocol.certificate.algorithm1 import Algorithm1Certificate
from protocol.certificate.crossfit import CrossfitCertificate
from protocol.certificate.families import FamiliesCertificate
from protocol.certificate.terms import Across, Assurance, Terms
from protocol.session.messages import Outcome
from protocol.session.verdict import Verdict
from tests.verifier.market import Market, MemoryProver
from tests.verifier.test_audit import Met, terms
from verifier import payouts, report
from verifier.report import payouts as payouts_report
from verifier.report import plan as plan_report
from verifier.report import verdict as verdict_report
from verifier.report.text import json_text, visible
from verifier.report.verdict import Filed
from verifier.verification import Asked

BOUNDS = {"method", "lower", "upper"}
ONE = np.array([0.25])
CROSSFIT = CrossfitCertificate(
    across=Across.MEAN, delta=0.05, n_pairs=(400, 500), n_false=(3, 4), upper=ONE, lower=ONE / 5, direction=ONE,
    along=ONE, slack=ONE, radius=ONE, outside=ONE, hidden=ONE, variance_lower=ONE,
)  # fmt: skip
ALGORITHM1 = Algorithm1Certificate(
    delta=0.05, mean_squared_error=0.5, total=0.75, degree_0=0.1, degree_1=0.2, upper_bound=0.25, lower_bound=0.05
)


def decided(market: Market, asked: Terms, **prover: Any) -> Verdict:
    return Met(market, MemoryProver(market, **prover), asked).run()


def printed(show: Any, *arguments: Any) -> str:
    console = Console(file=io.StringIO(), width=160, markup=False, highlight=False, emoji=False)
    show(*arguments, console)
    return console.file.getvalue()


def documented(name: str) -> set[str]:
    """Return the keys that the head of the report promises under ``name``."""
    text = report.__doc__ or ""
    (entry,) = re.findall(rf"^    {name} +(.*?)(?=^    \w|^$|\Z)", text, re.MULTILINE | re.DOTALL)
    return set(
        re.findall(r"\b[a-z_0-9]+\b", re.sub(r"\([^)]*\)|plans, a list|contributors:.*", "", entry, flags=re.DOTALL))
    )


def test_the_keys_of_a_verdict_are_those_documented(market: Market) -> None:
    told = verdict_report.verdict_json(decided(market, terms(Assurance.AUDITED)), Filed())
    assert set(told) == documented("verify")
    assert isinstance(told["certificate"], dict)
    assert set(told["certificate"]) == BOUNDS | documented("families")
    assert isinstance(told["spot_checks"], list)
    assert [set(check) for check in told["spot_checks"]] == [documented("spot_checks")]


@pytest.mark.parametrize("certificate", [CROSSFIT, ALGORITHM1])
def test_every_methods_certificate_is_shown(market: Market, certificate: Any) -> None:
    verdict = replace(decided(market, terms()), certificate=certificate)
    told = verdict_report.verdict_json(verdict, Filed())["certificate"]
    assert isinstance(told, dict)
    assert set(told) == BOUNDS | documented(str(told["method"]))
    assert (told["lower"], told["upper"]) == (0.05, 0.25)
    shown = printed(verdict_report.print_verdict, verdict, Filed(), market.task)
    assert "gap, at most" in shown
    assert "95% sure" in shown
    assert "Gaussian" not in shown


def test_the_keys_of_a_plan_are_those_documented(market: Market) -> None:
    plan = Asked().plan(market.task, None)
    told = plan_report.plan_json(plan, plan_report.Costs(task=market.task, seconds_each=None, figures=None))
    assert set(told) == documented("plan")
    costs = plan_report.Costs(task=market.task, seconds_each=None, figures=None, claim=market.claim)
    for other in plan_report.others(costs, plan.terms):
        assert set(plan_report.other_json(other)) == documented("others")


def test_an_infinite_bound_is_null(market: Market) -> None:
    verdict = decided(market, terms())
    assert isinstance(verdict.certificate, FamiliesCertificate)
    infinite = replace(verdict.certificate, upper=np.array([np.inf]))
    told = verdict_report.verdict_json(replace(verdict, certificate=infinite), Filed(seconds=float("nan")))
    read = json.loads(json_text(told))
    assert read["certificate"]["upper"] is None
    assert read["seconds"] is None
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text(float("inf"))


@pytest.mark.parametrize("assurance", list(Assurance))
def test_a_certificate_says_what_each_part_holds_under(market: Market, assurance: Assurance) -> None:
    shown = printed(verdict_report.print_verdict, decided(market, terms(assurance)), Filed(), market.task)
    assert "95% sure, if a family's residuals are jointly Gaussian" in shown
    assert "(E[f - g])^2" in shown, "brackets are no markup"
    audited = assurance is Assurance.AUDITED
    assert ("the unchecked answers are right" in shown) == audited
    assert ("false ones left" in shown) == audited


def test_across_every_target_the_worst_is_shown(market: Market) -> None:
    asked = replace(terms(), across=Across.EVERY)
    verdict = decided(market, asked)
    assert isinstance(verdict.certificate, FamiliesCertificate)
    worst = int(np.argmax(verdict.certificate.upper))
    shown = printed(verdict_report.print_verdict, verdict, Filed(), market.task)
    assert f"target {worst}, the worst upper bound" in shown
    told = verdict_report.verdict_json(verdict, Filed())["certificate"]
    assert isinstance(told, dict)
    assert told["worst_row"] == worst


def test_a_broken_protocol_has_no_certificate_to_show(market: Market) -> None:
    verdict = decided(market, terms(Assurance.AUDITED), answer=lambda outputs: np.clip(outputs + 1, -6, 6))
    shown = printed(verdict_report.print_verdict, verdict, Filed(transcript=Path("t")), market.task)
    assert verdict.outcome is Outcome.REJECT
    assert "20 of 80, 20 false" in shown
    assert "relative gap, at most" not in shown
    assert "20 retrainings here, 80 by the prover" in shown


def test_hostile_text_is_one_harmless_line() -> None:
    assert visible('a\x1b[31m\n"\x9b\u202e"') == 'a\\U0000001b[31m\n"\\U0000009b\\U0000202e"'
    shown = printed(verdict_report.print_outcome, Outcome.REJECT, "audited", ("[red]x[/red]\x1b[2J\nACCEPT",))
    assert shown == "REJECT  (audited)\n  [red]x[/red] [2J ACCEPT\n"


def test_a_contributors_name_is_no_markup(market: Market, tmp_path: Path) -> None:
    met = Met(market, MemoryProver(market), terms())
    verdict = met.run()
    (tmp_path / "p.csv").write_text("contributor,amount\n" + "".join(f"{name},1\n" for name in market.worths))
    paid = payouts.read_payouts(tmp_path / "p.csv")
    groups = payouts.held_units(paid, market.dataset, market.task)
    certificate = payouts.certify(market.task, verdict, met.session.transcript, groups, paid)
    names = ("[link=x]ann[/link]\x1b[1m", *paid.contributors[1:])
    shown = printed(payouts_report.print_payouts, Outcome.REJECT, verdict, names, certificate)
    assert "[link=x]ann[/link] [1m" in shown
    assert certificate is not None
    told = payouts_report.payouts_json(paid.contributors, certificate)
    assert set(told) == documented("payouts") | {"contributors"}
    assert told["n_outside"] == shown.count("OUTSIDE") > 0, "all are paid the same, and not all are worth the same"


def test_a_plan_in_one_line(market: Market) -> None:
    line = plan_report.plan_line(Asked(max_retrainings=300).plan(market.task, market.committed().signed.figures))
    assert re.fullmatch(r"plan: \d+ families of \d+, rho 0\.\d+, \d+ retrainings here.*; expected bound 0\.\d+", line)
