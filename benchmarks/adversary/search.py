"""The search: hill-climbing on quick looks, then whole sessions for the worst, then fresh seeds for the worst of these.

Three stages, each a share of the effort. Candidates are what has failed before, then drawn at random or mutated from
the worst so far, and looked at quickly (``screen``; by a few whole sessions where the certificate cannot be looked at
so). The worst within the promise go on to whole sessions by successive halving. What comes out last is measured again
on seeds of its own, so that having been the worst of many does not flatter it.

The promise of the default: its level holds where the kurtosis of Y, in the design in use, is at most 16, and at most 24
where the residual is one conjunction or threshold. The kurtosis of tangent claims is that of their tilted design.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from benchmarks.adversary import screen
from benchmarks.adversary.candidates import Genome, built, known_hard, mutated, random_genome
from benchmarks.adversary.cases import kurtosis_of, true_gap
from benchmarks.adversary.lies import some
from benchmarks.adversary.screen import Screening
from benchmarks.adversary.sessions import Asking, Case, play
from benchmarks.tables import Rate
from protocol.certificate.terms import Answers
from protocol.errors import BudgetError
from protocol.session.messages import Outcome

MOST_KURTOSIS, MOST_KURTOSIS_SIMPLE = 16.0, 24.0
SHARE = 1.01
"""The true relative gap over epsilon."""

Progress: TypeAlias = Callable[[], float]
"""The share of the effort that is spent, from 0 to 1."""

_SCREENED, _HALVED = 0.5, 0.75  # of the effort: when quick looks end, and when halving does
_POOL, _FRESH = 24, 0.3  # genomes that are mutated; share of candidates drawn anew
_QUICK, _CAREFUL = 500, 4000  # sessions of a quick look, and of a careful one
_SMALL, _LARGE = 1 << 14, 1 << 17  # families that these sessions take theirs from
_DOUBT = 200  # sessions without an ACCEPT that every candidate is thought to have had
_TOP = 6  # candidates that come in so high are looked at twice, lest a small sample make them
_PROMOTED = 8  # candidates that get whole sessions
_BATCH = 25  # whole sessions between two looks at the clock


def within_seconds(seconds: float) -> Progress:
    """Return what tells how much of so many seconds has passed."""
    began = time.monotonic()
    return lambda: (time.monotonic() - began) / seconds


def within_steps(steps: int) -> Progress:
    """Return what tells how many of so many calls were made: the same search on every machine."""
    calls = iter(range(1 << 62))
    return lambda: next(calls) / steps


@dataclass(kw_only=True)
class Candidate:
    """A genome, its case, and what is known of it. score : the rate of wrong ACCEPTs of quick looks."""

    genome: Genome
    case: Case
    kurtosis: float
    score: float
    whole: Rate = field(default_factory=lambda: Rate(hits=0, runs=0))

    @property
    def is_inside(self) -> bool:
        """Whether the promise covers it."""
        return self.kurtosis <= (MOST_KURTOSIS_SIMPLE if self.genome.is_simple else MOST_KURTOSIS)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search came to.

    worst : the worst candidate of the promise. rate : its wrong ACCEPTs in whole sessions on fresh seeds; None where
    there were none. gap : its true relative gap. kurtosis : of Y in the design in use. beyond : the worst candidate
    that the promise does not cover, as far as quick looks go. n_candidates : looked at.
    """

    worst: Candidate
    rate: Rate | None
    gap: float
    kurtosis: float
    beyond: Candidate | None
    n_candidates: int


def looked_at(genome: Genome, screening: Screening, rng: np.random.Generator) -> Candidate | None:
    """Return the candidate of a genome after a quick look; None where it has no case or no plan."""
    asking = screening.asking
    case = built(genome, SHARE * asking.epsilon)
    if case is None:
        return None
    if asking.method != screen.METHOD:
        return _played_a_little(genome, case, asking, rng)
    try:
        found, kurtosis = _looked(genome, case, screening, rng, _QUICK, _SMALL)
    except BudgetError:
        return None
    return Candidate(genome=genome, case=case, kurtosis=kurtosis, score=_score(found))


def _looked(
    genome: Genome, case: Case, screening: Screening, rng: np.random.Generator, runs: int, size: int
) -> tuple[screen.Look, float]:
    """Return quick sessions and the kurtosis of Y, both from a sample of about ``size`` numbers."""
    lying = replace(screening, lies=genome.lies)
    rounds = screen.rounds_of(case, lying, rng)
    n = max(1 << 12, size // len(case.scores))
    if screen.is_by_products(rounds, screening.asking):
        return screen.look_at_products(case, lying, rounds, runs // 10, rng), kurtosis_of(case, n=n)
    sample = screen.sample_of(case, rounds.looks[1], n, rng)
    pilot = screen.sample_of(case, rounds.looks[0], 1 << 11, rng)
    few = runs if screening.asking.answers is Answers.OWN else runs // 10
    # The promise is the certificate's: a variant without tilts is held to what it says of the design with them.
    kurtosis = sample.kurtosis if screening.is_tilted else kurtosis_of(case, n=n)
    return screen.look(sample, pilot, lying, case, rounds, few, rng), kurtosis


def _score(found: screen.Look) -> float:
    """The share that accept, shrunk where sessions are few; then how near the lowest bounds come to it.

    The second is smaller than any difference in the first: it leads where nothing is accepted yet.
    """
    near = float(np.quantile(found.bounds, 0.01, method="lower"))
    closeness = 1e-4 * float((found.bounds <= 1).mean()) + 1e-6 / (1 + near)
    return float(found.accepted.sum()) / (len(found.accepted) + _DOUBT) + closeness


def _played_a_little(genome: Genome, case: Case, asking: Asking, rng: np.random.Generator) -> Candidate:
    rate = played(genome, case, asking, int(rng.integers(1 << 31)), 0, 10)
    return Candidate(genome=genome, case=case, kurtosis=kurtosis_of(case, n=1 << 14, tilted=False), score=rate.value)


def looked_at_carefully(candidate: Candidate, screening: Screening, rng: np.random.Generator) -> Candidate:
    """Return the candidate with a new score and kurtosis, from more sessions and a larger sample."""
    if screening.asking.method != screen.METHOD:
        return candidate
    found, kurtosis = _looked(candidate.genome, candidate.case, screening, rng, _CAREFUL, _LARGE)
    return replace(candidate, kurtosis=kurtosis, score=_score(found))


def played(genome: Genome, case: Case, asking: Asking, seed: int, first: int, runs: int) -> Rate:
    """Return the wrong ACCEPTs of whole sessions number ``first`` and on."""
    lie = some(genome.lies) if asking.answers is Answers.DELEGATED else None
    hits = 0
    for run in range(first, first + runs):
        found = play(case, asking, (seed, run), lie)
        hits += found.outcome is Outcome.ACCEPT and true_gap(case, found) > asking.epsilon
    return Rate(hits=hits, runs=runs)


def climbed(screening: Screening, rng: np.random.Generator, is_over: Callable[[], bool]) -> tuple[list[Candidate], int]:
    """Return the candidates worth keeping, the worst first, and how many were looked at."""
    inside: list[Candidate] = []
    beyond: list[Candidate] = []
    n, first = 0, known_hard()
    while not is_over():
        if first:
            genome = first.pop(0)
        elif not inside or rng.random() < _FRESH:
            genome = random_genome(rng)
        else:  # the worst are mutated most often
            genome = mutated(inside[int(min(len(inside), _POOL) * rng.random() ** 2)].genome, rng)
        n += 1
        candidate = looked_at(genome, screening, rng)
        if candidate is None:
            continue
        ranked = inside if candidate.is_inside else beyond
        if len(ranked) < _TOP or candidate.score > ranked[min(_TOP, len(ranked)) - 1].score:
            again = looked_at(genome, screening, rng)
            if again is not None:
                candidate.score = min(candidate.score, again.score)
                candidate.kurtosis = max(candidate.kurtosis, again.kurtosis)
        ranked = inside if candidate.is_inside else beyond
        ranked.append(candidate)
        ranked.sort(key=lambda each: -each.score)
        del inside[2 * _POOL :], beyond[2:]
    return inside + beyond, n


def search(screening: Screening, seed: int, progress: Progress, *, plays: bool = True) -> Found:
    """Search until the effort is spent, and return the worst that was found.

    Parameters
    ----------
    seed : of the candidates and of all sessions.
    progress : asked between two candidates, or batches of sessions.
    plays : whether the worst go on to whole sessions; a variant that the certificate refuses has none.
    """
    rng = np.random.default_rng(seed)
    kept, n = climbed(screening, rng, lambda: progress() >= _SCREENED)
    kept = [looked_at_carefully(each, screening, rng) for each in kept[: 2 * _PROMOTED] + kept[-2:]]
    kept.sort(key=lambda each: -each.score)
    inside = [each for each in kept if each.is_inside]
    beyond = next((each for each in kept if not each.is_inside), None)
    if not inside:
        raise RuntimeError("the search found no candidate that the promise covers: give it more time")
    plays = plays and screening.is_tilted and not screening.least_families
    worst = halved(inside[:_PROMOTED], screening, seed, progress) if plays else inside[0]
    rate = remeasured(worst, screening, seed, progress) if plays else None
    tilted = None if screening.asking.answers is Answers.OWN and screening.is_tilted else False
    kurtosis = kurtosis_of(worst.case, tilted=tilted)
    return Found(
        worst=worst, rate=rate, gap=true_gap(worst.case), kurtosis=kurtosis, beyond=beyond, n_candidates=n
    )  # fmt: skip


def halved(candidates: list[Candidate], screening: Screening, seed: int, progress: Progress) -> Candidate:
    """Return the worst of whole sessions: each time the better half goes, and the others play on."""
    while True:
        for candidate in candidates:
            done = candidate.whole
            more = played(candidate.genome, candidate.case, screening.asking, seed, done.runs, _BATCH)
            candidate.whole = Rate(hits=done.hits + more.hits, runs=done.runs + _BATCH)
        candidates.sort(key=lambda each: (-each.whole.value, -each.score))
        if len(candidates) == 1 or progress() >= _HALVED:
            return candidates[0]
        candidates = candidates[: -(-len(candidates) // 2)]


def remeasured(worst: Candidate, screening: Screening, seed: int, progress: Progress) -> Rate:
    """Return its rate on seeds that had no part in choosing it."""
    rate, first = Rate(hits=0, runs=0), 1 << 20
    while rate.runs == 0 or progress() < 1:
        more = played(worst.genome, worst.case, screening.asking, seed, first + rate.runs, _BATCH)
        rate = Rate(hits=rate.hits + more.hits, runs=rate.runs + _BATCH)
    return rate
