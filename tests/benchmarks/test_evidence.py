"""The evidence's own instruments against naive twins, and the whole command once, small."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, stats

from benchmarks.evidence import algorithm1_covers_the_gap as paper
from benchmarks.evidence import sessions_cover_the_gap, subjects
from benchmarks.evidence.__main__ import main
from benchmarks.evidence.fitted_polynomial_misses_its_level import DEGREES, NODES, non_negative_fit
from benchmarks.tables import Rate
from protocol.certificate.algorithm1 import bound as algorithm1
from protocol.encoding import Seed
from protocol.game import harmonic
from protocol.game.sampling import Draw, families
from verifier.verification import Asked

SEED = Seed(bytes(range(32)))


@pytest.mark.slow
def test_the_quick_evidence_has_every_table_and_keeps_the_finite_samples_promise(tmp_path: Path) -> None:
    main(["--quick", "--out", str(tmp_path)])
    for name in ("coverage", "power", "cost", "cost_slopes", "relative"):
        with (tmp_path / f"{name}.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert rows, name
        assert not any("nan" in value.lower() for row in rows for value in row.values()), name
    for name in ("power", "cost"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "coverage.csv").open() as file:
        cells = list(csv.DictReader(file))
    assert {cell["certificate"] for cell in cells} == {
        "moments, own", "moments, delegated", "crossfit, own", "gaussian, own", "algorithm1",
        "algorithm1, false answers",
    }  # fmt: skip
    assert {float(cell["delta"]) for cell in cells} == {0.05, 0.2}
    assert {"digits, ridge, typical row", "breast cancer, logistic, typical row"} <= {cell["subject"] for cell in cells}
    for cell in cells:
        if cell["kind"] == "finite-sample":
            assert float(cell["miss_rate"]) <= float(cell["delta"])
            assert float(cell["accept_rate"] or 0) <= float(cell["delta"])


@pytest.mark.parametrize(("hits", "runs"), [(0, 30), (3, 30), (30, 30)])
def test_limits_are_clopper_and_pearsons(hits: int, runs: int) -> None:
    exact = stats.binomtest(hits, runs).proportion_ci(0.95, method="exact")
    assert Rate(hits=hits, runs=runs).limits == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_a_game_has_the_gaps_that_its_cases_say() -> None:
    for subject in subjects.games(24):
        for case in subject.cases():
            gap = harmonic.gap(case.scores, subject.honest.scores, 0.5) / subject.variance
            assert case.gap == pytest.approx(gap, abs=1e-12), (subject.name, case.name)
            if case.name in {"one unit", "random direction", "too small", "rare part wrong"}:
                assert case.gap == pytest.approx(0.0505)


def test_a_claim_that_is_not_the_best_is_moved_to_the_gap_asked_for() -> None:
    subject = subjects.like_digits(30)
    off = np.random.default_rng(0).standard_normal((1, 30)) * 0.02
    gap = harmonic.gap(subject.honest.scores + off, subject.honest.scores, 0.5) / subject.variance
    honest = dataclasses.replace(subject.honest, scores=subject.honest.scores + off, gap=gap)
    missing = -harmonic.coefficients_from_weights(off, 0.5)
    poor = dataclasses.replace(subject, honest=honest, missing=missing)
    for case in poor.cases():
        assert case.gap == pytest.approx(harmonic.gap(case.scores, subject.honest.scores, 0.5) / subject.variance)


def test_a_session_is_about_the_target_and_the_claim_of_its_case() -> None:
    subject = subjects.games(24)[4]
    case = subject.moved("random", np.random.default_rng(1).standard_normal((1, 24)), 0.1)
    about = sessions_cover_the_gap.played(subject, case, 0)
    assert about.claim.scores == pytest.approx(case.scores)
    met = sessions_cover_the_gap.play(about, Asked(epsilon=0.09, max_retrainings=200), 7)
    assert met.verdict.claim_root is not None
    assert met.n_retrained <= 200
    assert met.upper >= 0.1  # misses with probability delta at most; this seed does not
    again = sessions_cover_the_gap.play(about, Asked(epsilon=0.09, max_retrainings=200), 7)
    assert again.upper == met.upper


def test_siblings_are_alike_as_often_as_their_correlation_says() -> None:
    design = families(n_families=1, n_siblings=2, rho=0.5, complements=True)
    pairs = subjects.family_subsets(design, 50, 4000, np.random.default_rng(3))
    alike = int((pairs[:, 0] == pairs[:, 1]).sum())
    chance = (1 + design.rho) / 2
    assert stats.binomtest(alike, 200_000, chance).pvalue > 1e-4


def test_algorithm1s_statistics_conclude_as_certify_does() -> None:
    """The same rounds, once as outputs through ``certify`` and once as counts of pairs of values."""
    subject = paper.tiny_games()[0]
    case = subject.moved("random", np.random.default_rng(4).standard_normal((1, subject.n_units)), 0.3)
    b = float(subject.task.targets.hi[0])
    counts = algorithm1.Counts(
        rho=0.2, pairs=(300, 200, 400), fresh=500, n_checks=1, max_false_pairs=0.0, largest=b
    )  # fmt: skip
    rounds = []
    for number, design in enumerate(counts.designs()):
        draw = Draw(seed=Seed(bytes([number]) * 32), design=design)
        subsets = draw.subsets(subject.task, np.arange(draw.n_evaluations))
        rounds.append((draw, subject.outputs(subsets)))
    claim = case.claim(subject.task)
    found = algorithm1.certify(subject.task, claim, rounds, epsilon=0.5, delta=0.05)
    pairs = [outputs.reshape(-1, 2) for _, outputs in rounds[:3]]
    fresh, outputs = rounds[3]
    subsets = fresh.subsets(subject.task, np.arange(500))
    errors = ((outputs - subsets @ claim.scores.T - claim.intercepts) ** 2).mean()
    ours = paper.Pairs(
        stability=np.array([[float(pair.prod(axis=1).mean()) for pair in pairs]]),
        total=np.array([float((pairs[2] ** 2).mean())]),
        rhos=(rounds[0][0].design.rho, rounds[1][0].design.rho),
    )
    assert ours.upper_bound(np.array([errors]), b, 0.5)[0] == pytest.approx(found.upper_bound, rel=1e-9)


def test_algorithm1s_counted_pairs_have_the_stability_that_the_weights_give() -> None:
    subject = paper.tiny_games()[2]  # majority of five: +-1
    counts = algorithm1.counts(epsilon=0.5, delta=0.05, b=1.0, largest=1.0)
    honest = paper.pairs_of(subject, counts, 400, np.random.default_rng(5))[False]
    coefficient = harmonic.coefficients_from_weights(subject.honest.scores, 0.5)[0, 0]
    w1, w3, w5 = 5 * coefficient**2, 10 * 0.125**2, (3 / 8) ** 2  # majority of five: 3/8, -1/8, 3/8
    assert w1 + w3 + w5 == pytest.approx(1.0)
    for column, rho in enumerate(honest.rhos):
        expected = w1 * rho + w3 * rho**3 + w5 * rho**5
        error = 1 / np.sqrt(400 * counts.pairs[column])
        assert abs(honest.stability[:, column].mean() - expected) < 5 * error
    assert honest.total == pytest.approx(np.ones(400))


def test_algorithm1s_liar_lowers_the_bound_and_stays_within_its_share() -> None:
    subject = paper.tiny_games()[0]
    b = float(subject.task.targets.hi[0])
    counts = algorithm1.counts(epsilon=0.5 * b**2, delta=0.05, b=b, largest=b)
    both = paper.pairs_of(subject, counts, 20, np.random.default_rng(6))
    honest, lying = (both[lies].upper_bound(np.zeros(20), b, 0.5) for lies in (False, True))
    assert (lying < honest).all()
    assert (honest - lying).max() <= 0.5 / 16 + 0.5 / 352  # 6.4: what the budget of errors leaves for lies


@pytest.mark.parametrize(("number", "worst"), [(0, -2.0), (1, 4.0), (2, 4.0)])
def test_algorithm1s_liar_replaces_the_pairs_that_help_it_most(number: int, worst: float) -> None:
    """At rho the largest products, by one as low as there is; at 2 rho and 0 the smallest, by b^2."""
    values, b = np.array([-1.0, 0.5, 1.5]), 2.0
    found = np.random.default_rng(8).integers(0, 40, size=(1, 9))
    counts = algorithm1.Counts(
        rho=0.2, pairs=(1000, 1000, 1000), fresh=1, n_checks=1, max_false_pairs=0.05, largest=b
    )  # fmt: skip
    products = np.sort(np.repeat(np.outer(values, values).ravel(), found[0]))
    products = products[:-50] if number == 0 else products[50:]
    lied = paper.lied(found, values, b, counts, number)
    assert lied.sum() == found.sum()
    joined = np.append(values, b)
    assert lied[0] @ np.outer(joined, joined).ravel() == pytest.approx(products.sum() + 50 * worst)


@pytest.mark.parametrize("part", DEGREES)
@pytest.mark.parametrize("nodes", NODES)
def test_the_fit_is_that_of_non_negative_least_squares(nodes: str, part: str) -> None:
    powers = NODES[nodes][:, None] ** np.array(DEGREES[part])
    right = np.random.default_rng(7).standard_normal((len(powers), 50))
    ours = non_negative_fit(powers, right)
    for column in range(50):
        assert ours[:, column] == pytest.approx(optimize.nnls(powers, right[:, column])[0], abs=1e-7)
