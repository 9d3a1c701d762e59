"""A payout file held against a verified claim: who is owed what (THEORY 9).

Owns the file's form (CSV: a header ``contributor,amount``, then one row for every contributor), which unit belongs to
whom, and when a session has trained enough. The statistics are ``protocol.certificate.functionals``'.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float64

from protocol.certificate.exhaustive.method import best_scores
from protocol.certificate.functionals import payouts, simultaneous, worth
from protocol.certificate.functionals.payouts import PayoutsCertificate, Trained
from protocol.certificate.terms import Answers
from protocol.errors import ArgumentError, DataError
from protocol.game import SeedPolicy
from protocol.game.sampling import Bases, Draw
from protocol.session.messages import Challenge, ClaimCommitted, Outcome, Retrained
from protocol.session.transcript import Transcript
from protocol.session.verdict import Verdict
from protocol.task import Task
from verifier.offline import read_bytes

if TYPE_CHECKING:
    from protocol.training import Dataset

COLUMNS = ["contributor", "amount"]
MAX_PAYOUTS_BYTES = 1 << 26
MAX_NAME_CHARS = 200
MAX_AMOUNT = 1e15
"""Beyond it a float64 cannot tell cents apart."""

LEAST_GROWTH, MOST_GROWTH = 1.1, 10.0
"""From one look at the intervals to the next: each look costs a share of delta, and a first width is only a guess."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Payouts:
    """What was paid to whom.

    contributors : K names, each once, sorted. stated : shape (K,), at least 0, not all 0.
    """

    contributors: tuple[str, ...]
    stated: Float64[np.ndarray, " k"]


def read_payouts(path: Path) -> Payouts:
    """Return the amounts of a payout file.

    Raises
    ------
    DataError
        Missing file, not CSV with the two columns, a contributor twice, or an amount that is not a number of at
        least 0; the message names the line.
    """
    raw = read_bytes(path, "payouts file")
    if len(raw) > MAX_PAYOUTS_BYTES:
        raise DataError(f"{path}: expected a payouts file of at most {MAX_PAYOUTS_BYTES} bytes, got {len(raw)}")
    try:
        text = raw.decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: expected CSV in UTF-8, got {error}") from error
    if not rows or [cell.strip() for cell in rows[0]] != COLUMNS:
        got = ",".join(rows[0])[:100] if rows else "an empty file"
        raise DataError(f"{path}: expected a first line {','.join(COLUMNS)!r}, got {got!r}")
    amounts: dict[str, float] = {}
    for number, row in enumerate(rows[1:], start=2):
        if row:
            name, amount = _payment(row, f"{path}, row {number}")
            if name in amounts:
                raise DataError(f"{path}, row {number}: expected every contributor once, got {name!r} again")
            amounts[name] = amount
    if not sum(amounts.values()) > 0:
        raise DataError(f"{path}: expected amounts that add up to more than 0, got nothing paid to anyone")
    names = tuple(sorted(amounts))
    return Payouts(contributors=names, stated=np.array([amounts[name] for name in names]))


def held_units(payouts_: Payouts, dataset: Dataset, task: Task) -> Bool[np.ndarray, "k n"]:
    """Return which units each contributor of the file holds, shape (K, N).

    Raises
    ------
    DataError
        The task has no contributors, or those of the file are not those of the training rows.
    """
    if dataset.contributor_of_unit is None:
        raise DataError(
            "task: expected data.contributor_column, to know who holds which row, got none; "
            "make the task with prover init --contributor-column"
        )
    known, named = set(dataset.contributor_of_unit), set(payouts_.contributors)
    if unknown := sorted(named - known):
        raise DataError(
            f"payouts: expected contributors of the task's training rows, got {_some(unknown)}, unknown there"
        )
    if missing := sorted(known - named):
        raise DataError(
            f"payouts: expected every contributor of the training rows, got no row for {_some(missing)}; "
            "state 0 for whoever is paid nothing"
        )
    index = {name: k for k, name in enumerate(payouts_.contributors)}
    groups = np.zeros((len(index), task.n_units), dtype=bool)
    groups[[index[name] for name in dataset.contributor_of_unit], np.arange(task.n_units)] = True
    return groups


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How narrow the intervals are to be before a session may stop.

    half_width : of every interval, in the amounts' unit, above 0; None for what the fewest subsets give.
    """

    half_width: float | None = None

    def __post_init__(self) -> None:
        if self.half_width is not None and not (math.isfinite(self.half_width) and self.half_width > 0):
            raise ArgumentError(f"resolve: expected an amount above 0, got {self.half_width}")


def wanted(paid: Payouts, *, resolve: float | None, width: float | None, answers: Answers) -> Wanted:
    """Return what the user's options ask for: an amount, or a share of the mean payout.

    Raises
    ------
    ArgumentError
        Both were given, one is not a finite number above 0, or the prover answers: its one round cannot be extended.
    """
    if answers is Answers.DELEGATED and (resolve is not None or width is not None):
        raise ArgumentError(
            "resolve: a session with delegated answers cannot go on until intervals are narrow; leave out --resolve "
            "and --width, or give --answers own"
        )
    if resolve is not None and width is not None:
        raise ArgumentError("resolve: give --resolve or --width, which say the same thing in other units, not both")
    if width is not None:
        if not (math.isfinite(width) and width > 0):
            raise ArgumentError(f"width: expected a share of the mean payout above 0, got {width}")
        return Wanted(half_width=width * float(paid.stated.mean()))
    return Wanted(half_width=resolve)


class Resolving:
    """Decides, look by look, whether the intervals are narrow enough to stop (``loop.run``'s ``is_enough``).

    A session that goes on until its intervals are narrow makes them more than once, so each time spends a share of
    delta of its own (``simultaneous.look_share``). Where no width is asked for, they are made once, at all of delta.
    The level holds to first order only (THEORY 9), because the times of the looks depend on the data: the first comes
    when the verdict is decided, a later one when the latest widths say.

    Attributes
    ----------
    found : the latest intervals; None where none could be made.
    why_not : why none could be made whatever is trained, in one line; None where that is not so.
    """

    def __init__(
        self, task: Task, groups: Bool[np.ndarray, "k n"], paid: Payouts, wanted: Wanted, *, delta: float
    ) -> None:
        self._task, self._groups, self._paid, self._wanted, self._delta = task, groups, paid, wanted, delta
        self._n_made, self._made_at = 0, _Here()
        self._next = worth.FEWEST_ROWS
        self.found: PayoutsCertificate | None = None
        self.why_not: str | None = None

    @property
    def is_wide(self) -> bool:
        """Whether the latest intervals are wider than was asked for."""
        goal = self._wanted.half_width
        return goal is not None and self.found is not None and self.found.half_width > goal

    def __call__(self, transcript: Transcript) -> bool:
        """Return whether to stop; True once the intervals are as narrow as was asked."""
        here = _trained_here(transcript)
        if here.n_rows < self._next or here.n_families < worth.FEWEST_FAMILIES:
            return False
        self._make(transcript, here)
        goal = self._wanted.half_width
        if goal is None or self.found is None or not self.is_wide:
            return True
        grown = (self.found.half_width / goal) ** 2  # errors fall with the root of the number of families
        self._next = math.ceil(here.n_rows * min(max(grown, LEAST_GROWTH), MOST_GROWTH))
        return False

    def at_end(self, transcript: Transcript) -> PayoutsCertificate | None:
        """Return the intervals of the whole session, made anew if it went on since they were last made."""
        here = _trained_here(transcript)
        if self.found is None or self._made_at != here:
            self._make(transcript, here)
        return self.found

    def _make(self, transcript: Transcript, here: _Here) -> None:
        self._n_made, self._made_at = self._n_made + 1, here
        share = 1.0 if self._wanted.half_width is None else simultaneous.look_share(self._n_made)
        try:
            self.found = certify(self._task, transcript, self._groups, self._paid, delta=share * self._delta)
        except ArgumentError as error:  # of the claim's worths: the session still ends in its verdict
            self.why_not = str(error)


def certify(
    task: Task, transcript: Transcript, groups: Bool[np.ndarray, "k n"], paid: Payouts, *, delta: float
) -> PayoutsCertificate | None:
    """Return what each contributor is due, from the outputs that were trained here; None where they are too few.

    Raises
    ------
    ArgumentError
        The claim's worths do not add up to more than 0.
    """
    claims = [entry.message.claim for entry in transcript.entries if isinstance(entry.message, ClaimCommitted)]
    rounds = rounds_trained(transcript, task)
    if not claims or not rounds:
        return None
    sign = -1.0 if task.targets.kind.larger_is_worse else 1.0
    if rounds[0].draw.design.bases is Bases.ALL:
        if task.seed_policy is SeedPolicy.PER_SUBSET:  # outputs are noisy, and no interval is made of them yet
            return None
        best = best_scores(rounds[0].outputs, task.measure.p)
        return payouts.certify_exactly(claims[0], best, groups, paid.stated, sign=sign)
    here = _trained_here(transcript)
    if here.n_rows < worth.FEWEST_ROWS or payouts.families_trained(rounds) < worth.FEWEST_FAMILIES:
        return None
    return payouts.certify(task, claims[0], rounds, groups, paid.stated, delta=delta, sign=sign)


def rounds_trained(transcript: Transcript, task: Task) -> list[Trained]:
    """Return the rounds of the last design that were trained here, whole families of each."""
    found: list[Trained] = []
    draw: Draw | None = None
    for entry in transcript.entries:
        match entry.message:
            case Challenge(draw=drawn):
                draw = drawn
            case Retrained(evaluations=evaluations, outputs=trained) if draw is not None:
                outputs = np.zeros((draw.n_evaluations, task.n_targets))
                outputs[evaluations] = trained
                each = draw.n_evaluations // draw.design.n_families
                families, counts = np.unique(evaluations // each, return_counts=True)
                found.append(Trained(draw=draw, outputs=outputs, families=families[counts == each]))
    if not found:
        return []
    kind = _kind_of(found[-1].draw)
    return [round_ for round_ in found if _kind_of(round_.draw) == kind]


def _kind_of(draw: Draw) -> tuple[int, int, Bases]:
    return draw.design.n_siblings, draw.design.keep_16, draw.design.bases


@dataclass(frozen=True, kw_only=True)
class _Here:
    """How much was trained here in the latest round's design: whole families, and subsets without complements."""

    n_families: int = 0
    n_rows: int = 0


def _trained_here(transcript: Transcript) -> _Here:
    found: list[tuple[Draw, int]] = []
    draw: Draw | None = None
    for entry in transcript.entries:
        if isinstance(entry.message, Challenge):
            draw = entry.message.draw
        elif isinstance(entry.message, Retrained) and draw is not None:
            found.append((draw, len(entry.message.evaluations)))
    n_rows = n_families = 0
    for drawn, n_evaluations in found:
        if _kind_of(drawn) == _kind_of(found[-1][0]):
            n_rows += n_evaluations // drawn.design.n_sides
            n_families += n_evaluations * drawn.design.n_families // drawn.n_evaluations
    return _Here(n_families=n_families, n_rows=n_rows)


def conclude(verdict: Verdict, certificate: PayoutsCertificate | None) -> Outcome:
    """Return ACCEPT only for an accepted claim under which every stated amount is within its interval.

    Where there are no intervals, an accepted claim is INCONCLUSIVE: nothing was found out about the amounts.
    """
    if certificate is None:
        return Outcome.INCONCLUSIVE if verdict.outcome is Outcome.ACCEPT else verdict.outcome
    return Outcome.REJECT if bool(certificate.outside.any()) else verdict.outcome


def _payment(row: list[str], where: str) -> tuple[str, float]:
    if len(row) != len(COLUMNS):
        raise DataError(f"{where}: expected {len(COLUMNS)} cells, got {len(row)}")
    name, cell = row[0], row[1].strip()
    if not 1 <= len(name) <= MAX_NAME_CHARS:
        raise DataError(f"{where}: expected a contributor's name of 1 to {MAX_NAME_CHARS} characters, got {len(name)}")
    try:
        amount = float(cell) if cell.isascii() and "_" not in cell else math.nan
    except ValueError:
        amount = math.nan
    if not 0 <= amount <= MAX_AMOUNT:  # also false for NaN
        raise DataError(f"{where}: expected an amount from 0 to {MAX_AMOUNT:g}, got {cell[:40]!r} for {name!r}")
    return name, amount


def _some(names: list[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
