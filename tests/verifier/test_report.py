"""What is printed: every documented key and no other, no number that JSON has no word for, no stranger's markup."""

from __future__ import annotations

import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from protocol.certificate.algorithm1.bound import Algorithm1Certificate
from protocol.certificate.registry import METHODS, method_named
from protocol.certificate.terms import Across, Answers, Terms
from protocol.game import HALF_16, Measure
from protocol.session.messages import Outcome
from protocol.session.verdict import Verdict
from tests.verifier.loops import Met, terms
from tests.verifier.market import Market, MemoryProver
from verifier import payouts, report
from verifier.report import payouts as payouts_report
from verifier.report import plan as plan_report
from verifier.report import verdict as verdict_report
from verifier.report.text import json_text, table_of, visible
from verifier.report.verdict import Filed
from verifier.verification import Asked

BOUNDS = {"method", "lower", "upper"}
DELEGATED = terms(Answers.DELEGATED)
ALGORITHM1 = Algorithm1Certificate(
    delta=0.05, mean_squared_error=0.5, total=0.75, degree_0=0.1, degree_1=0.2, upper_bound=0.25, lower_bound=0.05
)
WAYS = [(method.name, answers) for method in METHODS.values() for answers in method.answers if method.weighs_units]


def decided(market: Market, asked: Terms, **prover: Any) -> Verdict:
    return Met(market, MemoryProver(market, **prover), asked).run()


def printed(show: Any, *arguments: Any, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, markup=False, highlight=False, emoji=False)
    show(*arguments, console)
    return console.file.getvalue()


def parts_documented(name: str) -> list[set[str]]:
    """Return the keys that the head of the report promises under ``name``; a semicolon parts two sets of them."""
    (entry,) = re.findall(rf"^    {name} +(.*?)(?=^    \w|^$)", report.__doc__ or "", re.MULTILINE | re.DOTALL)
    parts = re.sub(r"\([^)]*\)", "", entry).split(";")
    return [{word.strip() for word in part.rpartition(":")[2].split(",")} for part in parts]


def documented(name: str) -> set[str]:
    return parts_documented(name)[0]


def market_for(method: str, market: Market, contributors_market: Market) -> Market:
    return contributors_market if method == "exhaustive" else market


@pytest.mark.parametrize(("method", "answers"), WAYS)
def test_the_keys_of_a_verdict_are_those_documented(
    market: Market, contributors_market: Market, method: str, answers: Answers
) -> None:
    asked = terms(answers, method=method)
    verdict = decided(market_for(method, market, contributors_market), asked)
    told = verdict_report.verdict_json(verdict, Filed())
    assert set(told) == documented("verify")
    assert (told["certificate_name"], told["answers"]) == (method, answers.value)
    certificate = told["certificate"]
    assert isinstance(certificate, dict)
    assert certificate["method"] == method
    assert set(certificate) - BOUNDS in parts_documented(method)
    checks = told["spot_checks"]
    assert isinstance(checks, list)
    assert [set(check) for check in checks] == [documented("spot_checks")] * (answers is Answers.DELEGATED)


def test_the_keys_of_algorithm1_are_those_documented(market: Market) -> None:
    verdict = replace(decided(market, terms()), certificate=ALGORITHM1)
    told = verdict_report.verdict_json(verdict, Filed())["certificate"]
    assert isinstance(told, dict)
    assert set(told) == BOUNDS | documented("algorithm1")
    assert (told["lower"], told["upper"]) == (0.05, 0.25)


@pytest.mark.parametrize(("method", "answers"), WAYS)
def test_a_verdict_begins_with_what_it_is_and_why(
    market: Market, contributors_market: Market, method: str, answers: Answers
) -> None:
    asked, market = terms(answers, method=method), market_for(method, market, contributors_market)
    verdict = decided(market, asked)
    first, why, *_ = printed(verdict_report.print_verdict, verdict, Filed(), market.task).splitlines()
    assumption = method_named(method).assumption(asked)
    said = f"{method} ({assumption})" if assumption else method
    assert first == f"{verdict.outcome.value}, {said}, {answers.value}"
    assert why == f"  {verdict.reasons[0]}"


def test_the_assumption_along_the_claim_is_shown_where_it_is_larger(market: Market) -> None:
    for asked, along in ((terms(), terms().kurtosis), (DELEGATED, 16.2)):
        assert asked.kurtosis is not None
        assert asked.kurtosis < 16
        verdict = decided(market, asked)
        shown = printed(verdict_report.print_verdict, verdict, Filed(), market.task)
        assert f"95% sure, if kurtosis is at most {asked.kurtosis:g}, along the claim at most {along:g}" in shown
        told = verdict_report.verdict_json(verdict, Filed())["certificate"]
        assert isinstance(told, dict)
        assert (told["kurtosis"], told["kurtosis_along"]) == (asked.kurtosis, along)


def test_what_was_spent_is_shown(market: Market) -> None:
    met = Met(market, MemoryProver(market), DELEGATED)
    shown = printed(verdict_report.print_verdict, met.run(), Filed(), market.task)
    n_answered = met.chosen[-1].looks[1].n_evaluations
    assert f"{met.n_trained} retrainings here, {n_answered} by the prover" in shown
    assert "false ones left" in shown


# ------------------------------------------------------------------------------------------- plans


def plans(market: Market) -> list[plan_report.Option]:
    found = []
    for method in METHODS.values():
        if method.name == "exhaustive" or not method.weighs_units:
            continue
        for answers in method.answers:
            asked = Asked(method=method.name, answers=answers, max_retrainings=10**6, max_answers=10**6)
            plan = asked.plan(market.task, market.committed().signed.figures, market.claim)
            found.append(plan_report.Option(terms=asked.terms(market.task), plan=plan))
    return found


def test_the_keys_of_a_plan_are_those_documented(market: Market) -> None:
    costs = plan_report.Costs(task=market.task, seconds_each=None, figures=None)
    found = plans(market)
    told = plan_report.plans_json(found, costs)
    assert set(told) == documented("plan") - {"a list"}
    rows = told["plans"]
    assert isinstance(rows, list)
    assert [set(row) for row in rows] == [set.union(*parts_documented("plans"))] * len(found)
    nothing = replace(found[0], plan=None, why_not="too dear")
    assert set(plan_report.option_json(nothing, costs)) == documented("plans")


def test_a_plan_says_what_each_certificate_assumes_and_takes(market: Market) -> None:
    costs = plan_report.Costs(task=market.task, seconds_each=0.001, figures=market.committed().signed.figures)
    found = [*plans(market), plan_report.Option(terms=terms(), plan=None, why_not="the budget is small")]
    shown = printed(plan_report.print_plans, found, costs)
    for option in found[:-1]:
        assert option.plan is not None
        assert f"{option.name}: {option.plan.summary}" in shown
    assert f"moments (kurtosis at most {terms().kurtosis:g}), own: the budget is small" in shown
    assert "the prover says so" in shown


def test_the_least_possible_is_of_methods_with_the_same_assumption(market: Market) -> None:
    costs = plan_report.Costs(task=market.task, seconds_each=None, figures=market.committed().signed.figures)
    least = {o.terms.method: plan_report.option_json(o, costs)["lower_bound"] for o in plans(market)}
    assert least["crossfit"] == 172, "docs/theory.md, section 12"
    assert isinstance(least["moments"], int)
    assert least["moments"] < 172
    assert least["gaussian"] is None, "none is known that assumes Gaussian residuals"


# ------------------------------------------------------------------------------------------- layout


def test_a_table_of_eighty_columns_cuts_nothing(market: Market) -> None:
    costs = plan_report.Costs(task=market.task, seconds_each=0.001, figures=market.committed().signed.figures)
    shown = printed(plan_report.print_plans, plans(market), costs, width=80)
    table = shown.splitlines()[: len(plans(market)) + 3]
    assert max(map(len, table)) <= 80
    assert [line.split()[0] for line in table[3:]] == [option.terms.method for option in plans(market)], "a row a line"
    verdict = decided(market, DELEGATED)
    narrow = printed(verdict_report.print_verdict, verdict, Filed(), market.task, width=80)
    wide = printed(verdict_report.print_verdict, verdict, Filed(), market.task, width=1000)
    assert "…" not in narrow + shown
    assert sorted(re.findall(r"\w+", narrow)) == sorted(re.findall(r"\w+", wide))


def test_a_long_name_goes_on_in_the_next_line() -> None:
    table = table_of("contributor", "amount")
    table.add_row("a" * 150, "1.00")
    shown = printed(lambda console: console.print(table), width=80)
    assert shown.count("a") - "contributor amount".count("a") == 150


# ------------------------------------------------------------------------------------------- what may come


def test_an_infinite_bound_is_null(market: Market) -> None:
    verdict = decided(market, terms())
    infinite = replace(verdict.certificate, upper=np.array([np.inf]))  # type: ignore[type-var]
    told = verdict_report.verdict_json(replace(verdict, certificate=infinite), Filed(seconds=math.nan))
    read = json.loads(json_text(told))
    assert read["certificate"]["upper"] is None
    assert read["seconds"] is None
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text(float("inf"))


def test_across_every_target_the_worst_is_shown(market: Market) -> None:
    verdict = decided(market, terms(across=Across.EVERY))
    worst = int(np.argmax(verdict.certificate.upper))  # type: ignore[union-attr]
    shown = printed(verdict_report.print_verdict, verdict, Filed(), market.task)
    assert f"target {worst}, the worst upper bound" in shown
    told = verdict_report.verdict_json(verdict, Filed())["certificate"]
    assert isinstance(told, dict)
    assert told["worst_row"] == worst


def test_false_answers_leave_no_certificate_to_show(market: Market) -> None:
    met = Met(market, MemoryProver(market, answer=lambda outputs: np.clip(outputs + 1, -6, 6)), DELEGATED)
    verdict = met.run()
    shown = printed(verdict_report.print_verdict, verdict, Filed(transcript=Path("t")), market.task)
    n_checks = met.chosen[-1].n_checks
    assert verdict.outcome is Outcome.REJECT
    assert f"{n_checks} of {met.chosen[-1].looks[1].n_families}, {2 * n_checks} false" in shown
    assert "relative gap, at most" not in shown


def test_hostile_text_is_one_harmless_line() -> None:
    assert visible('a\x1b[31m\n"\x9b\u202e"') == 'a\\U0000001b[31m\n"\\U0000009b\\U0000202e"'
    shown = printed(verdict_report.print_outcome, Outcome.REJECT, "moments, own", ("[red]x[/red]\x1b[2J\nACCEPT",))
    assert shown == "REJECT, moments, own\n  [red]x[/red] [2J ACCEPT\n"


def test_a_contributors_name_is_no_markup(market: Market, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("contributor,amount\n" + "".join(f"{name},1\n" for name in market.worths))
    paid = payouts.read_payouts(tmp_path / "p.csv")
    groups = payouts.held_units(paid, market.dataset, market.task)
    resolving = payouts.Resolving(market.task, groups, paid, payouts.Wanted(), delta=0.05)
    met = Met(market, MemoryProver(market), terms(), is_enough=resolving)
    verdict = met.run()
    certificate = resolving.at_end(met.session.transcript)
    assert certificate is not None
    names = ("[link=x]ann[/link]\x1b[1m", *paid.contributors[1:])
    shown = printed(payouts_report.print_payouts, Outcome.REJECT, names, certificate)
    assert "[link=x]ann[/link] [1m" in shown
    told = payouts_report.audit_json(Outcome.REJECT, verdict, Filed(), names, certificate)
    assert set(told) == documented("verify") | {"claim_outcome", "payouts"}
    found = told["payouts"]
    assert isinstance(found, dict)
    assert set(found) == documented("payouts")
    rows = found["contributors"]
    assert isinstance(rows, list)
    assert [set(row) for row in rows] == [documented("contributor")] * 6
    assert found["n_outside"] == shown.count("OUTSIDE") > 0, "all are paid the same, and not all are worth the same"


@pytest.mark.parametrize("answers", list(Answers))
def test_too_few_subsets_say_how_to_have_more(answers: Answers) -> None:
    shown = printed(payouts_report.print_no_payouts, Outcome.INCONCLUSIVE, None, terms(answers))
    assert shown.startswith("payouts: INCONCLUSIVE  no intervals: too few subsets were trained here; ")
    assert ("--max-retrainings" if answers is Answers.OWN else "--n-checks 200") in shown
    assert "nobody is due" in printed(payouts_report.print_no_payouts, Outcome.REJECT, "nobody is due", terms(answers))


def test_the_help_names_the_kurtosis_that_is_assumed() -> None:
    from verifier.cli import options

    default = METHODS["moments"]
    half = Measure(p_16=HALF_16)
    for answers in default.answers:
        assert f"{default.kurtosis_of(answers, half):g} with {answers.value} answers" in options._KURTOSIS
