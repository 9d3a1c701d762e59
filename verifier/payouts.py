"""A payout file held against a verified claim: who is owed what (THEORY 9).

Owns the file's form (CSV: a header ``contributor,amount``, then one row for every contributor) and which unit belongs
to whom. The statistics are ``protocol.certificate.payouts``'.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float64, Int64

from protocol.certificate import payouts
from protocol.certificate.crossfit import CrossfitCertificate
from protocol.certificate.families import FamiliesCertificate
from protocol.certificate.payouts import PayoutsCertificate
from protocol.errors import DataError
from protocol.sampling import Draw
from protocol.session.messages import Challenge, ClaimCommitted, Outcome, Retrained
from protocol.session.transcript import Transcript
from protocol.session.verdict import Verdict
from protocol.task import Task
from verifier.audit import outputs_by_round
from verifier.offline import read_bytes

if TYPE_CHECKING:
    from protocol.training import Dataset

COLUMNS = ["contributor", "amount"]
MAX_PAYOUTS_BYTES = 1 << 26
MAX_NAME_CHARS = 200
MAX_AMOUNT = 1e15
"""Beyond it a float64 cannot tell cents apart."""


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


def certify(
    task: Task, verdict: Verdict, transcript: Transcript, groups: Bool[np.ndarray, "k n"], payouts_: Payouts
) -> PayoutsCertificate | None:
    """Return what each contributor is due, from the session's own outputs; None when it left none to rely on.

    The intervals spend, on top of the verdict's, the share of delta of the look that the session ended with. A
    session of families gives all its outputs, a prover's answers included; one of cross-fit those trained here.

    Raises
    ------
    ArgumentError
        The claim's worths do not add up to more than 0.
    """
    claims = [entry.message for entry in transcript.entries if isinstance(entry.message, ClaimCommitted)]
    relied_on: list[Int64[np.ndarray, " _"]] | None = None
    rounds = outputs_by_round(transcript)
    if isinstance(verdict.certificate, CrossfitCertificate):
        rounds, relied_on = _trained_here(transcript, task)
    if not claims or not _is_whole(verdict, rounds_read=len(rounds)):
        return None
    delta = verdict.terms.delta_at(len(rounds) - 1)
    return payouts.certify(task, claims[0].claim, rounds, groups, payouts_.stated, delta=delta, relied_on=relied_on)


def conclude(verdict: Verdict, certificate: PayoutsCertificate | None) -> Outcome:
    """Return ACCEPT only for an accepted claim under which no stated amount is outside its interval."""
    if certificate is not None and bool(certificate.outside.any()):
        return Outcome.REJECT
    return verdict.outcome


def _trained_here(
    transcript: Transcript, task: Task
) -> tuple[list[tuple[Draw, Float64[np.ndarray, "_ t"]]], list[Int64[np.ndarray, " _"]]]:
    """Return every round's outputs, 0 where they were not trained here, and the pairs that were."""
    rounds, pairs = [], []
    draw: Draw | None = None
    for entry in transcript.entries:
        match entry.message:
            case Challenge(draw=drawn):
                draw = drawn
            case Retrained(evaluations=evaluations, outputs=trained) if draw is not None:
                outputs = np.zeros((draw.n_evaluations, task.n_targets))
                outputs[evaluations] = trained
                rounds.append((draw, outputs))
                pairs.append(np.unique(evaluations // draw.design.n_sides))
    return rounds, pairs


def _is_whole(verdict: Verdict, *, rounds_read: int) -> bool:
    """Whether the certificate covers every family that was answered, which it does not when some answer was false."""
    certificate = verdict.certificate
    if isinstance(certificate, CrossfitCertificate):  # made of both rounds, or not at all
        return True
    if not isinstance(certificate, FamiliesCertificate):
        return False
    drawn = sum(look.n_families for look in verdict.terms.looks[:rounds_read])
    return certificate.n_families == drawn


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
