"""Payout files: every way in which one can be wrong, and what is concluded from one that is not."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from protocol.certificate.exhaustive import exact
from protocol.certificate.exhaustive.method import design_of
from protocol.certificate.functionals import worth
from protocol.certificate.functionals.payouts import PayoutsCertificate
from protocol.certificate.planning import Budget
from protocol.certificate.terms import Answers, Terms
from protocol.encoding import Seed
from protocol.errors import ArgumentError, DataError, TransportError
from protocol.game.sampling import Draw
from protocol.session.messages import Challenge, Outcome, Retrained
from protocol.session.verdict import Verdict
from tests.verifier.loops import BUDGET, Met, terms
from tests.verifier.market import CONTRIBUTORS, Market, MemoryProver
from verifier import payouts

HEAD = "contributor,amount\n"
NO_WIDTH = payouts.Wanted()


def read(tmp_path: Path, text: str | bytes) -> payouts.Payouts:
    path = tmp_path / "payouts.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return payouts.read_payouts(path)


def test_amounts_are_read_in_any_order(tmp_path: Path) -> None:
    paid = read(tmp_path, "\ufeff" + HEAD + 'bob,2.5\n\n"ann, and sons", 1e2\r\ncy,0\n')
    assert paid.contributors == ("ann, and sons", "bob", "cy")
    np.testing.assert_array_equal(paid.stated, [100.0, 2.5, 0.0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"expected a first line 'contributor,amount', got 'an empty file'"),
        ("name,amount\nann,1\n", r"expected a first line 'contributor,amount', got 'name,amount'"),
        ("amount,contributor\n1,ann\n", r"expected a first line"),
        (HEAD + "ann\n", r"row 2: expected 2 cells, got 1"),
        (HEAD + "ann,1,2\n", r"row 2: expected 2 cells, got 3"),
        (HEAD + "ann,1\nbob,many\n", r"row 3: expected an amount from 0 to 1e\+15, got 'many' for 'bob'"),
        (HEAD + "ann,nan\n", r"row 2: expected an amount .* got 'nan'"),
        (HEAD + "ann,inf\n", r"row 2: expected an amount .* got 'inf'"),
        (HEAD + "ann,-1\n", r"row 2: expected an amount .* got '-1'"),
        (HEAD + "ann,1_000\n", r"row 2: expected an amount .* got '1_000'"),
        (HEAD + "ann,\n", r"row 2: expected an amount .* got ''"),
        (HEAD + "ann,1\nann,1\n", r"row 3: expected every contributor once, got 'ann' again"),
        (HEAD + ",1\n", r"row 2: expected a contributor's name of 1 to 200 characters, got 0"),
        (HEAD + "a" * 201 + ",1\n", r"got 201"),
        (HEAD + "ann,0\n", r"expected amounts that add up to more than 0"),
        (HEAD, r"expected amounts that add up to more than 0"),
        (HEAD + '"ann,1\n', r"expected CSV in UTF-8"),
        (HEAD.encode() + b"\xff,1\n", r"expected CSV in UTF-8"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_refused_in_one_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as refused:
        read(tmp_path, text)
    assert "\n" not in str(refused.value)


def test_a_missing_or_huge_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"got No such file"):
        payouts.read_payouts(tmp_path / "none.csv")
    monkeypatch.setattr(payouts, "MAX_PAYOUTS_BYTES", 10)
    with pytest.raises(DataError, match=r"at most 10 bytes, got 19"):
        read(tmp_path, HEAD)


def stated(market: Market, tmp_path: Path, factors: dict[str, float]) -> payouts.Payouts:
    due = {name: max(worth, 0.0) for name, worth in market.worths.items()}
    rows = [f"{name},{1000 * due[name] * factors.get(name, 1.0) / sum(due.values()):.2f}\n" for name in due]
    return read(tmp_path, HEAD + "".join(rows))


def test_every_unit_belongs_to_its_contributor(market: Market, contributors_market: Market, tmp_path: Path) -> None:
    paid = stated(market, tmp_path, {})
    by_row = payouts.held_units(paid, market.dataset, market.task)
    assert by_row.shape == (6, market.task.n_units)
    assert (by_row.sum(axis=0) == 1).all()
    unit = int(np.flatnonzero(by_row[1])[0])
    assert market.dataset.contributor_of_unit is not None
    assert market.dataset.contributor_of_unit[unit] == "bob"
    by_giver = payouts.held_units(paid, contributors_market.dataset, contributors_market.task)
    np.testing.assert_array_equal(by_giver, np.eye(6, dtype=bool))


def test_an_unknown_contributor_is_refused(market: Market, tmp_path: Path) -> None:
    paid = read(tmp_path, HEAD + "".join(f"{name},1\n" for name in (*CONTRIBUTORS, "zoe", "yan", "xu", "wes")))
    with pytest.raises(DataError, match=r"got 'wes', 'xu', 'yan' and 1 more"):
        payouts.held_units(paid, market.dataset, market.task)


def test_a_missing_contributor_is_refused(market: Market, tmp_path: Path) -> None:
    paid = read(tmp_path, HEAD + "".join(f"{name},1\n" for name in CONTRIBUTORS[1:]))
    with pytest.raises(DataError, match=r"got no row for 'ann'; state 0"):
        payouts.held_units(paid, market.dataset, market.task)


def test_a_task_without_contributors_is_refused(market: Market, tmp_path: Path) -> None:
    nobody = replace(market.dataset, contributor_of_unit=None)
    with pytest.raises(DataError, match=r"expected data.contributor_column"):
        payouts.held_units(stated(market, tmp_path, {}), nobody, market.task)


def audited(
    market: Market,
    paid: payouts.Payouts,
    asked: Terms,
    prover: MemoryProver | None = None,
    *,
    wanted: payouts.Wanted = NO_WIDTH,
    budget: Budget = BUDGET,
) -> tuple[Verdict, PayoutsCertificate | None, Met]:
    """Run an audit in memory, as the command does."""
    groups = payouts.held_units(paid, market.dataset, market.task)
    resolving = payouts.Resolving(market.task, groups, paid, wanted, delta=asked.delta)
    met = Met(market, prover or MemoryProver(market), asked, is_enough=resolving, budget=budget)
    verdict = met.run()
    return verdict, resolving.at_end(met.session.transcript), met


ANSWERS = [terms(), terms(Answers.DELEGATED)]
MANY_CHECKS = Budget(max_retrainings=600, max_answers=1200, n_checks=250)


@pytest.mark.parametrize("asked", ANSWERS, ids=["own", "delegated"])
def test_honest_amounts_pass(market: Market, tmp_path: Path, asked: Terms) -> None:
    budget = MANY_CHECKS if asked.answers is Answers.DELEGATED else BUDGET
    verdict, certificate, _ = audited(market, stated(market, tmp_path, {}), asked, budget=budget)
    assert certificate is not None
    assert not certificate.outside.any()
    np.testing.assert_allclose(certificate.due, certificate.stated, atol=0.01)
    assert payouts.conclude(verdict, certificate) is Outcome.ACCEPT


def test_an_inflated_contributor_is_flagged(market: Market, tmp_path: Path) -> None:
    verdict, certificate, _ = audited(market, stated(market, tmp_path, {"bob": 1.6}), terms())
    assert certificate is not None
    assert certificate.outside[1]
    assert verdict.outcome is Outcome.ACCEPT
    assert payouts.conclude(verdict, certificate) is Outcome.REJECT


def test_a_session_goes_on_until_there_are_enough_subsets_for_intervals(market: Market, tmp_path: Path) -> None:
    _, certificate, met = audited(market, stated(market, tmp_path, {}), terms())
    assert certificate is not None
    assert worth.FEWEST_ROWS <= certificate.n_families < 1.1 * worth.FEWEST_ROWS, "the verdict alone takes 80"
    assert certificate.delta == 0.05, "made once, at all of delta"
    assert met.n_trained == 20 + 2 * certificate.n_families


def test_a_session_goes_on_until_intervals_are_as_narrow_as_asked(market: Market, tmp_path: Path) -> None:
    paid = stated(market, tmp_path, {})
    _, plain, _ = audited(market, paid, terms())
    assert plain is not None
    goal = 0.9 * plain.half_width
    _, narrow, _ = audited(market, paid, terms(), wanted=payouts.Wanted(half_width=goal))
    assert narrow is not None
    assert narrow.half_width <= goal
    assert narrow.n_families > plain.n_families
    assert narrow.delta < 0.05, "looking more than once is paid for"


def test_a_budget_that_is_spent_leaves_wider_intervals(market: Market, tmp_path: Path) -> None:
    paid = stated(market, tmp_path, {})
    groups = payouts.held_units(paid, market.dataset, market.task)
    resolving = payouts.Resolving(market.task, groups, paid, payouts.Wanted(half_width=1e-6), delta=0.05)
    met = Met(market, MemoryProver(market), terms(), is_enough=resolving, budget=Budget(max_retrainings=500))
    assert met.run().outcome is Outcome.ACCEPT
    assert met.n_trained == 500
    found = resolving.at_end(met.session.transcript)
    assert found is not None
    assert resolving.is_wide
    assert found.n_families == 240
    assert resolving.at_end(met.session.transcript) is found, "nothing came since"


def test_too_small_a_budget_certifies_no_payout(market: Market, tmp_path: Path) -> None:
    paid = stated(market, tmp_path, {})
    verdict, certificate, _ = audited(market, paid, terms(), budget=Budget(max_retrainings=300))
    assert (verdict.outcome, certificate) == (Outcome.ACCEPT, None)
    assert payouts.conclude(verdict, None) is Outcome.INCONCLUSIVE, "nothing was found out about the amounts"


def test_a_claim_that_finds_nobody_worth_anything_still_ends_in_a_verdict(market: Market, tmp_path: Path) -> None:
    paid = stated(market, tmp_path, {})
    groups = payouts.held_units(paid, market.dataset, market.task)
    worthless = market.scaled(-1.0) if min(market.worths.values()) >= 0 else market.scaled(0.0)
    resolving = payouts.Resolving(market.task, groups, paid, NO_WIDTH, delta=0.05)
    met = Met(market, MemoryProver(market, worthless), terms(epsilon=0.05), is_enough=resolving)
    verdict = met.run()
    assert resolving.at_end(met.session.transcript) is None
    assert resolving.why_not is not None
    assert "nobody is due anything" in resolving.why_not
    assert payouts.conclude(verdict, None) is verdict.outcome is not Outcome.ACCEPT


@pytest.mark.parametrize("amount", [0.0, -1.0, math.nan, math.inf])
def test_a_width_that_is_none_is_refused(market: Market, tmp_path: Path, amount: float) -> None:
    paid = stated(market, tmp_path, {})
    for resolve, width in ((amount, None), (None, amount)):
        with pytest.raises(ArgumentError, match="above 0"):
            payouts.wanted(paid, resolve=resolve, width=width, answers=Answers.OWN)


def test_a_width_is_said_once_and_in_one_way(market: Market, tmp_path: Path) -> None:
    paid = stated(market, tmp_path, {})
    with pytest.raises(ArgumentError, match="not both"):
        payouts.wanted(paid, resolve=1.0, width=0.1, answers=Answers.OWN)
    with pytest.raises(ArgumentError, match="delegated answers cannot go on"):
        payouts.wanted(paid, resolve=None, width=0.1, answers=Answers.DELEGATED)
    assert payouts.wanted(paid, resolve=3.0, width=None, answers=Answers.OWN).half_width == 3.0
    share = payouts.wanted(paid, resolve=None, width=0.1, answers=Answers.OWN).half_width
    assert share == pytest.approx(0.1 * paid.stated.mean())
    assert payouts.wanted(paid, resolve=None, width=None, answers=Answers.DELEGATED).half_width is None


def test_a_rejected_claim_is_rejected_whatever_was_paid(market: Market, tmp_path: Path) -> None:
    paid, inverted = stated(market, tmp_path, {}), MemoryProver(market, market.scaled(-1.0))
    verdict, certificate, _ = audited(market, paid, terms(epsilon=0.05), inverted)
    assert verdict.outcome is Outcome.REJECT
    assert payouts.conclude(verdict, certificate) is Outcome.REJECT


def test_false_answers_certify_no_payout(market: Market, tmp_path: Path) -> None:
    liar = MemoryProver(market, answer=lambda outputs: np.clip(outputs * 1.1, -6, 6))
    verdict, certificate, _ = audited(market, stated(market, tmp_path, {}), terms(Answers.DELEGATED), liar)
    assert payouts.conclude(verdict, certificate) is Outcome.REJECT


def test_a_session_without_outputs_certifies_no_payout(market: Market, tmp_path: Path) -> None:
    gone = MemoryProver(market, fails={Challenge: TransportError("gone")})
    verdict, certificate, _ = audited(market, stated(market, tmp_path, {}), terms(Answers.DELEGATED), gone)
    assert (verdict.outcome, certificate) == (Outcome.REJECT, None)


def test_only_pairs_that_were_trained_here_count(market: Market, tmp_path: Path) -> None:
    """Every answer that is not rechecked is a lie; the entropy repeats, so the checks are known, as to no prover."""
    paid, asked = stated(market, tmp_path, {}), terms(Answers.DELEGATED)
    _, expected, honest = audited(market, paid, asked, budget=MANY_CHECKS)
    checked = [e.message for e in honest.session.transcript.entries if isinstance(e.message, Retrained)][-1]

    def lie(outputs: np.ndarray) -> np.ndarray:
        told = np.full_like(outputs, 6.0)
        told[checked.evaluations] = outputs[checked.evaluations]
        return told

    liar = MemoryProver(market, answer=lie)
    verdict, certificate, _ = audited(market, paid, asked, liar, budget=MANY_CHECKS)
    assert [check.mismatches for check in verdict.spot_checks] == [()], "no check found any of them"
    assert expected is not None
    assert certificate is not None
    assert certificate.n_families == 260, "the checked pairs and the pilot's"
    np.testing.assert_array_equal(certificate.lower, expected.lower)
    np.testing.assert_array_equal(certificate.upper, expected.upper)


@pytest.mark.parametrize("answers", list(Answers))
def test_crossfit_certifies_payouts_from_pairs_trained_here(market: Market, tmp_path: Path, answers: Answers) -> None:
    asked = terms(answers, method="crossfit")
    budget = Budget(max_retrainings=2400, max_answers=4000, n_checks=100 if answers is Answers.DELEGATED else None)
    verdict, certificate, met = audited(market, stated(market, tmp_path, {"bob": 1.6}), asked, budget=budget)
    assert certificate is not None
    assert certificate.n_families == met.n_trained // 2
    assert certificate.outside[1]
    assert certificate.delta == 0.05
    assert payouts.conclude(verdict, certificate) is Outcome.REJECT


def test_every_subset_certifies_payouts_exactly(contributors_market: Market, tmp_path: Path) -> None:
    market, asked = contributors_market, terms(method="exhaustive")
    outputs = market.outputs(met_draw(market), np.arange(64, dtype=np.int64))
    best = exact.best_linear(outputs, 0.5)[1].mean(axis=0)
    due = np.maximum(best, 0) / np.maximum(best, 0).sum()
    paid = payouts.Payouts(contributors=CONTRIBUTORS, stated=1000 * due)
    _, certificate, _ = audited(market, paid, asked)
    assert certificate is not None
    np.testing.assert_allclose(certificate.lower, 1000 * due, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(certificate.lower, certificate.upper)
    assert certificate.delta == 0
    assert not certificate.outside.any()
    moved = payouts.Payouts(contributors=CONTRIBUTORS, stated=1000 * due * (1 + 1e-3 * (np.arange(6) == 1)))
    _, certificate, _ = audited(market, moved, asked)
    assert certificate is not None
    assert certificate.outside[1]


def met_draw(market: Market) -> Draw:
    return Draw(seed=Seed(bytes(32)), design=design_of(market.task, 1))
