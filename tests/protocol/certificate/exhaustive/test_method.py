"""The exhaustive certificate as a session drives it: exact under a shared seed, a bound with seeds per subset."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from protocol.certificate.exhaustive.exact import MAX_UNITS
from protocol.certificate.exhaustive.method import Exhaustive, best_scores, design_of
from protocol.certificate.exhaustive.report import ExactCertificate, NoisyReport
from protocol.certificate.planning import Budget
from protocol.certificate.terms import Across, Answers, Rounds
from protocol.errors import ArgumentError, BudgetError
from protocol.game.known import Known, Linear, Majority, Polynomial, Stack, Threshold
from protocol.game.sampling import Bases, pairs
from tests.protocol.certificate.enumeration import values_of, weights
from tests.protocol.certificate.judging import (
    Played,
    assert_reportable,
    judged,
    last,
    planned,
    played,
    terms_of,
    with_look,
)

METHOD = Exhaustive()
FALSE_ALARM = 1e-4
BUDGET = Budget(max_retrainings=1 << 16)
GAMES: list[Known] = [
    Majority(5),
    Polynomial(8, 0.8, 0.15, 0.05),
    Polynomial(6, 0.8, 0.15, 0.05, p=0.3125),
    Threshold(7, width=4, least=3, p=0.875),
    Linear(1),
]


def exactly(game: Played, *, factor: float = 1.0, across: Across | None = None) -> ExactCertificate:
    terms = terms_of(METHOD, across=across)
    rounds = planned(METHOD, game, terms, BUDGET).rounds
    found = last(judged(METHOD, game, terms, rounds, claim=game.claim(factor)))
    assert isinstance(found, ExactCertificate)
    assert_reportable(found, game)
    return found


def test_it_says_that_every_subset_was_trained() -> None:
    assert METHOD.describe(terms_of(METHOD)) == "exhaustive (every subset), own"


@pytest.mark.parametrize("known", GAMES)
@pytest.mark.parametrize("factor", [1.0, 0.5, 0.0, -1.0])
def test_the_relative_gap_is_that_of_enumeration_and_both_bounds_are_it(known: Known, factor: float) -> None:
    """A claim of the best scores times c misses (1 - c)^2 of the weight at degree one, whatever p is."""
    game = played(known)
    every = weights(values_of(known.outputs, known.n_units), known.n_units, known.p)
    found = exactly(game, factor=factor)
    assert found.upper_bound == found.lower_bound
    assert found.upper_bound == pytest.approx((1 - factor) ** 2 * every[1] / every[1:].sum(), rel=1e-9, abs=1e-12)
    assert found.n_subsets == 1 << known.n_units
    assert found.best[0] == pytest.approx(known.best[0], rel=1e-9, abs=1e-12)
    assert found.explained[0] == pytest.approx(every[1] / every[1:].sum(), rel=1e-9)
    assert found.undecided is None


def test_the_verdict_turns_exactly_at_epsilon() -> None:
    game = played(Linear(4))
    assert exactly(game, factor=1 - np.sqrt(0.0499)).upper_bound <= 0.05
    assert exactly(game, factor=1 - np.sqrt(0.0501)).lower_bound > 0.05


def test_across_every_the_worst_target_counts_and_across_the_mean_all_do() -> None:
    """The second target's scale is ten times the first's; the claim is exact for it and half of the first."""
    games = Stack((Linear(4, w1=1.0), Linear(4, w1=100.0, seed=8)))
    game = played(games, n_targets=2)
    claim = game.claim()
    scores = claim.scores.copy()
    scores[0] *= 0.5
    claim = type(claim)(task_digest=claim.task_digest, intercepts=claim.intercepts, scores=scores)
    upper = {}
    for across in Across:
        terms = terms_of(METHOD, across=across)
        rounds = planned(METHOD, game, terms, BUDGET).rounds
        found = last(judged(METHOD, game, terms, rounds, claim=claim))
        assert_reportable(found, game)
        upper[across] = found.upper_bound
    assert upper[Across.EVERY] == pytest.approx(0.25)
    assert upper[Across.MEAN] == pytest.approx(0.125)
    # A target counts as no less than a tenth of the median variance, which is 50.5: the first as 5.05.
    assert upper[Across.POOLED] == pytest.approx(0.25 / 5.05 / (1 / 5.05 + 1.0))


def test_shapley_scores_that_explain_worst_are_still_the_games_own() -> None:
    outputs = Majority(3).outputs(np.array([[bool(code >> i & 1) for i in range(3)] for code in range(8)]))
    assert best_scores(outputs, 0.5) == pytest.approx(np.full((1, 3), 1.0))


# ------------------------------------------------------------------------------------------- nothing to decide


@pytest.mark.parametrize("across", Across)
def test_a_constant_target_is_undecided_and_the_reason_is_said(across: Across) -> None:
    constant = Linear(3, w1=0.0)
    game = played(Stack((constant, constant)), n_targets=2, bound=1.0)
    found = exactly(game, across=across)
    assert (found.upper_bound, found.lower_bound) == (np.inf, 0.0)
    assert found.undecided is not None
    assert "does not vary" in found.undecided
    assert found.values()["relative_gap"] is None


@pytest.mark.parametrize("across", [Across.MEAN, Across.EVERY])
def test_one_constant_target_beside_another_is_undecided(across: Across) -> None:
    game = played(Stack((Linear(3, w1=0.0), Linear(3))), n_targets=2)
    found = exactly(game, across=across)
    assert (found.upper_bound, found.lower_bound) == (np.inf, 0.0)
    assert found.undecided is not None


# ------------------------------------------------------------------------------------------- seeds per subset

NOISY = played(Polynomial(4, 0.9, 0.05, 0.05), noise=0.2)


def test_with_seeds_per_subset_the_plan_trains_each_subset_often_and_a_bound_remains() -> None:
    terms = terms_of(METHOD, epsilon=0.1)
    found = planned(METHOD, NOISY, terms, BUDGET)
    (look,) = found.rounds.looks
    assert found.sufficient
    assert look.n_siblings > 1
    assert found.n_retrained == (16 * look.n_siblings, 16 * look.n_siblings)
    honest = last(judged(METHOD, NOISY, terms, found.rounds))
    half = last(judged(METHOD, NOISY, terms, found.rounds, claim=NOISY.claim(0.5)))
    assert isinstance(honest, NoisyReport)
    assert honest.upper_bound <= 0.1
    assert 0 < half.lower_bound < 0.225 < half.upper_bound
    for one in (honest, half):
        assert one.undecided is None
        assert_reportable(one, NOISY)


@pytest.mark.parametrize("across", Across)
def test_the_noisy_bounds_fail_no_more_often_than_delta(across: Across) -> None:
    """Two targets whose gaps are shares .225 and .25 of their variance."""
    known = Stack((Polynomial(4, 0.9, 0.05, 0.05), Linear(4)))
    game, runs = played(known, n_targets=2, noise=0.3), 60
    claim = game.claim(0.5)
    shares = game.gap(claim)  # both variances are 1, but for the noise
    true = {Across.POOLED: shares.mean(), Across.MEAN: shares.mean(), Across.EVERY: shares.max()}[across]
    terms, rounds = terms_of(METHOD, delta=0.2, across=across), Rounds(looks=(design_of(game.statement, 100),))
    METHOD.check_rounds(game.statement, terms, rounds)
    found = [last(judged(METHOD, game, terms, rounds, claim=claim, run=run)) for run in range(runs)]
    most = stats.binom.isf(FALSE_ALARM, runs, 0.2)
    assert sum(one.upper_bound < true for one in found) <= most
    assert sum(one.lower_bound > true for one in found) <= most
    assert np.median([one.lower_bound for one in found]) > 0.05


def test_one_seed_a_subset_says_what_it_is_too_few_for() -> None:
    game = played(Polynomial(4, 0.9, 0.05, 0.05), noise=0.2, bound=50.0)
    rounds = Rounds(looks=(design_of(game.statement, 1),))
    found = last(judged(METHOD, game, terms_of(METHOD), rounds))
    assert found.upper_bound == np.inf
    assert found.undecided is not None
    assert "1 trainings a subset" in found.undecided
    assert_reportable(found, game)


def test_a_budget_beyond_any_challenge_is_spent_as_far_as_a_challenge_goes() -> None:
    game = played(Linear(MAX_UNITS), noise=2.0)
    found = planned(METHOD, game, terms_of(METHOD, epsilon=1e-12), Budget(max_retrainings=10**15))
    assert not found.sufficient
    assert found.n_retrained[1] <= 50_000_000


# ------------------------------------------------------------------------------------------- what is refused


def test_too_many_units_are_refused_and_the_most_are_taken() -> None:
    METHOD.check_terms(played(Linear(MAX_UNITS)).statement, terms_of(METHOD))
    with pytest.raises(ArgumentError, match=f"at most {MAX_UNITS} units .* the game has {MAX_UNITS + 1}; use moments"):
        METHOD.check_terms(played(Linear(MAX_UNITS + 1)).statement, terms_of(METHOD))


def test_a_prover_answers_nothing() -> None:
    with pytest.raises(ArgumentError, match="exhaustive works with own answers, got delegated"):
        METHOD.check_terms(played(Linear(3)).statement, terms_of(METHOD, answers=Answers.DELEGATED))


def test_a_budget_below_all_subsets_is_refused_with_what_would_do() -> None:
    game, terms = played(Linear(5)), terms_of(METHOD)
    with pytest.raises(BudgetError, match="5 units takes 32 retrainings; raise --max-retrainings to 32"):
        METHOD.plan(game.statement, None, None, terms, Budget(max_retrainings=31), None)
    assert planned(METHOD, game, terms, Budget(max_retrainings=32)).n_retrained == (32, 32)


SHARED, PER_SUBSET = played(Linear(3)).statement, played(Linear(3), noise=0.1).statement
ALL = Rounds(looks=(design_of(SHARED, 1),))


@pytest.mark.parametrize(
    ("rounds", "message"),
    [
        (Rounds(looks=ALL.looks * 2), "one round of every subset"),
        (Rounds(looks=ALL.looks, n_checks=1), "no checks"),
        (Rounds(looks=(pairs(8),)), "one round of every subset"),
        (with_look(ALL, 0, bases=Bases.DRAWN), "one round of every subset"),
        (with_look(ALL, 0, n_families=4), "8 in all, got 4"),
        (with_look(ALL, 0, n_families=16), "8 in all, got 16"),
        (with_look(ALL, 0, n_siblings=2), "one training a subset is enough"),
    ],
)  # fmt: skip
def test_rounds_that_it_cannot_judge_are_refused(rounds: Rounds, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        METHOD.check_rounds(SHARED, terms_of(METHOD), rounds)


def test_more_trainings_of_each_subset_are_taken_where_seeds_differ() -> None:
    METHOD.check_rounds(PER_SUBSET, terms_of(METHOD), with_look(ALL, 0, n_siblings=2))
