"""Payout files: every way in which one can be wrong, and what is concluded from one that is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from protocol.certificate.payouts import PayoutsCertificate
from protocol.certificate.terms import Assurance, Method, Terms
from protocol.errors import DataError, TransportError
from protocol.sampling import pairs
from protocol.session.messages import Challenge, Outcome, Retrained
from protocol.session.verdict import Verdict
from tests.verifier.market import CONTRIBUTORS, Market, MemoryProver
from tests.verifier.test_audit import Met, terms
from verifier import payouts

HEAD = "contributor,amount\n"


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
    market: Market, paid: payouts.Payouts, asked: Terms, prover: MemoryProver | None = None
) -> tuple[Verdict, PayoutsCertificate | None]:
    met = Met(market, prover or MemoryProver(market), asked)
    verdict = met.run()
    groups = payouts.held_units(paid, market.dataset, market.task)
    return verdict, payouts.certify(market.task, verdict, met.session.transcript, groups, paid)


@pytest.mark.parametrize("assurance", list(Assurance))
def test_honest_amounts_pass(market: Market, tmp_path: Path, assurance: Assurance) -> None:
    verdict, certificate = audited(market, stated(market, tmp_path, {}), terms(assurance))
    assert certificate is not None
    assert not certificate.outside.any()
    np.testing.assert_allclose(certificate.due, certificate.stated, atol=0.01)
    assert payouts.conclude(verdict, certificate) is Outcome.ACCEPT


def test_an_inflated_contributor_is_flagged(market: Market, tmp_path: Path) -> None:
    verdict, certificate = audited(market, stated(market, tmp_path, {"bob": 1.6}), terms())
    assert certificate is not None
    assert certificate.outside[1]
    assert verdict.outcome is Outcome.ACCEPT
    assert payouts.conclude(verdict, certificate) is Outcome.REJECT


def test_a_rejected_claim_is_rejected_whatever_was_paid(market: Market, tmp_path: Path) -> None:
    verdict, certificate = audited(
        market, stated(market, tmp_path, {}), terms(), MemoryProver(market, market.scaled(0.5))
    )
    assert verdict.outcome is Outcome.REJECT
    assert payouts.conclude(verdict, certificate) is Outcome.REJECT


def test_false_answers_certify_no_payout(market: Market, tmp_path: Path) -> None:
    liar = MemoryProver(market, answer=lambda outputs: np.clip(outputs * 1.1, -6, 6))
    verdict, certificate = audited(market, stated(market, tmp_path, {}), terms(Assurance.AUDITED), liar)
    assert (verdict.outcome, certificate) == (Outcome.REJECT, None)


def test_false_answers_in_a_later_look_certify_no_payout(market: Market, tmp_path: Path) -> None:
    asked = terms(Assurance.AUDITED, epsilon=0.004)  # too near the claim's own gap for one look
    asked = replace(asked, looks=asked.looks * 2)
    looks = []

    def turn(outputs: np.ndarray) -> np.ndarray:
        looks.append(len(outputs))
        return outputs if len(looks) == 1 else np.clip(outputs * 1.1, -6, 6)

    verdict, certificate = audited(market, stated(market, tmp_path, {}), asked, MemoryProver(market, answer=turn))
    assert len(looks) == 2
    assert verdict.certificate is not None, "that of the first look"
    assert (verdict.outcome, certificate) == (Outcome.REJECT, None)


def test_looks_of_different_sizes_certify_payouts_together(market: Market, tmp_path: Path) -> None:
    asked = terms(epsilon=0.004)  # too near the claim's own gap for one look
    asked = replace(asked, looks=(asked.looks[0], replace(asked.looks[0], n_families=7)))
    met = Met(market, MemoryProver(market), asked)
    verdict = met.run()
    paid = stated(market, tmp_path, {})
    groups = payouts.held_units(paid, market.dataset, market.task)
    for _ in range(10):  # the shape checker looks at one round, chosen at random
        certificate = payouts.certify(market.task, verdict, met.session.transcript, groups, paid)
        assert certificate is not None
        assert certificate.n_families == 27
        assert certificate.delta == verdict.terms.delta_at(1)


def test_a_session_without_outputs_certifies_no_payout(market: Market, tmp_path: Path) -> None:
    gone = MemoryProver(market, fails={Challenge: TransportError("gone")})
    verdict, certificate = audited(market, stated(market, tmp_path, {}), terms(Assurance.AUDITED), gone)
    assert (verdict.outcome, certificate) == (Outcome.REJECT, None)


# Cross-fit's pairs.


def crossfit(n_checks: int = 0) -> Terms:
    return replace(
        terms(Assurance.AUDITED if n_checks else Assurance.PROVED, epsilon=0.2), method=Method.CROSSFIT,
        looks=(pairs(150), pairs(250)), n_checks=n_checks,
    )  # fmt: skip


@pytest.mark.parametrize(("n_checks", "n_pairs"), [(0, 400), (40, 290)], ids=["proved", "audited"])
def test_crossfit_certifies_payouts_from_the_pairs_that_were_trained_here(
    market: Market, tmp_path: Path, n_checks: int, n_pairs: int
) -> None:
    _, certificate = audited(market, stated(market, tmp_path, {}), crossfit(n_checks))
    assert certificate is not None
    assert certificate.n_families == n_pairs
    assert not certificate.outside.any()
    verdict, certificate = audited(market, stated(market, tmp_path, {"bob": 1.6}), crossfit(n_checks))
    assert certificate is not None
    assert certificate.outside[1]
    assert certificate.delta == pytest.approx(verdict.terms.delta_at(1))
    assert payouts.conclude(verdict, certificate) is Outcome.REJECT


def test_a_false_answer_that_no_check_found_moves_no_interval_of_crossfit(market: Market, tmp_path: Path) -> None:
    paid, asked = stated(market, tmp_path, {}), crossfit(40)
    honest = Met(market, MemoryProver(market), asked)
    honest.run()
    checked = next(e.message for e in honest.session.transcript.entries if isinstance(e.message, Retrained))

    def lie(outputs: np.ndarray) -> np.ndarray:  # the entropy repeats, so the checks are known, as no prover knows them
        told = np.full_like(outputs, 6.0)
        told[checked.evaluations] = outputs[checked.evaluations]
        return told

    verdict, certificate = audited(market, paid, asked, MemoryProver(market, answer=lie))
    assert [check.mismatches for check in verdict.spot_checks] == [()], "no check found any of them"
    _, expected = audited(market, paid, asked)
    assert certificate is not None
    assert expected is not None
    np.testing.assert_array_equal(certificate.lower, expected.lower)
    np.testing.assert_array_equal(certificate.upper, expected.upper)


def test_false_answers_that_a_check_found_certify_no_payout_of_crossfit(market: Market, tmp_path: Path) -> None:
    liar = MemoryProver(market, answer=lambda outputs: np.clip(outputs * 1.1, -6, 6))
    verdict, certificate = audited(market, stated(market, tmp_path, {}), crossfit(40), liar)
    assert (verdict.outcome, certificate) == (Outcome.REJECT, None)
