"""Messages check themselves when made, cannot change, and have a digest over every field."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest

from protocol.claim import Figures
from protocol.commitments import MerkleTree, PublicKey
from protocol.encoding import Digest, canonical, digest
from protocol.errors import CommitmentError, MalformedMessage, Reason
from protocol.game.sampling import Draw, pairs, subset_digests
from protocol.session.messages import (
    Aborted,
    Answers,
    Challenge,
    ClaimCommitted,
    Closing,
    Opening,
    Outcome,
    Retrained,
    RoundsChosen,
    SignedClaim,
    answer_leaves,
)
from protocol.task import SeedPolicy
from tests.games import task_of
from tests.protocol.session.stage import (
    FIGURES,
    FIRST,
    GAME,
    HONEST,
    KEY,
    NONCE,
    OTHER_KEY,
    OWN_ROUNDS,
    TASK,
    N,
    claim_of,
    seed_of,
    signed,
)

DRAW = Draw(seed=seed_of(FIRST), design=pairs(2))
OTHER = Digest(b"o" * 32)
MADE: dict[str, Callable[..., Any]] = {
    "opening": lambda **c: Opening(**{"version": 1, "nonce": NONCE, "task_digest": TASK.digest, **c}),
    "rounds chosen": lambda **c: RoundsChosen(rounds=replace(OWN_ROUNDS, **c)),
    "challenge": lambda **c: Challenge(**{"round": 0, "draw": DRAW, **c}),
    "answers": lambda **c: Answers(**{
        "round": 0, "outputs": np.zeros((4, 1)), "root": Digest(bytes(32)), "signature": bytes(64), **c,
    }),
    "retrained": lambda **c: Retrained(**{
        "round": 0, "check_seed": seed_of(FIRST), "evaluations": np.arange(2), "outputs": np.zeros((2, 1)), **c,
    }),
    "closing": lambda **c: Closing(**{"outcome": Outcome.ACCEPT, "reason": "good", **c}),
    "aborted": lambda **c: Aborted(**{"reason": Reason.FAILED, "text": "bad", **c}),
    "signed claim": lambda **c: replace(signed(HONEST), **c),
    "claim committed": lambda **c: ClaimCommitted(**{"signed": signed(HONEST), "claim": HONEST, **c}),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("opening", {"version": 2}, "opening: expected protocol version 1, got 2"),
        ("opening", {"nonce": bytes(15)}, "opening: expected a nonce of 16 bytes, got 15"),
        ("opening", {"task_digest": bytes(31)}, "opening's task digest: expected 32 bytes, got 31"),
        ("challenge", {"round": -1}, "challenge: expected a round from 0 to 63, got -1"),
        ("challenge", {"round": 64}, "challenge: expected a round from 0 to 63, got 64"),
        ("answers", {"outputs": np.zeros((0, 1))}, r"answers: expected outputs of shape \(m, T\), got \(0, 1\)"),
        ("answers", {"outputs": np.zeros((4, 0))}, r"answers: expected outputs of shape \(m, T\), got \(4, 0\)"),
        ("answers", {"outputs": np.array([[0.0], [math.nan]])}, "finite outputs, got NaN or infinity in answer 1"),
        ("answers", {"outputs": np.array([[-math.inf]])}, "expected finite outputs, got NaN or infinity in answer 0"),
        ("answers", {"root": bytes(33)}, "answers' Merkle root: expected 32 bytes, got 33"),
        ("retrained", {"outputs": np.zeros((3, 1))}, "retrained: expected one row of outputs per evaluation"),
        ("retrained", {"outputs": np.array([[0.0], [math.nan]])}, "retrained: expected finite outputs"),
        ("aborted", {"text": "x" * 1001}, "aborted: expected a text of at most 1000 characters, got 1001"),
    ],
)  # fmt: skip
def test_what_no_honest_party_says_is_refused(name: str, change: dict[str, Any], message: str) -> None:
    MADE[name]()
    with pytest.raises(MalformedMessage, match=message):
        MADE[name](**change)


CHANGES: dict[str, list[dict[str, Any]]] = {
    "opening": [{"nonce": bytes(16)}, {"task_digest": OTHER}],
    "challenge": [
        {"round": 1}, {"draw": replace(DRAW, seed=seed_of(bytes(32)))}, {"draw": replace(DRAW, design=pairs(3))},
    ],
    "rounds chosen": [{"looks": OWN_ROUNDS.looks[:1]}, {"looks": OWN_ROUNDS.looks[::-1]}, {"n_checks": 1}],
    "answers": [{"round": 1}, {"root": OTHER}, {"signature": b"s" * 64}],
    "retrained": [
        {"round": 1}, {"check_seed": None}, {"check_seed": seed_of(bytes(32))}, {"evaluations": np.arange(1, 3)},
        {"outputs": np.array([[0.0], [1e-300]])},
    ],
    "closing": [{"outcome": Outcome.REJECT}, {"reason": "bad"}],
    "aborted": [{"reason": Reason.BUSY}, {"text": "good"}],
    "signed claim": [
        {"task_digest": OTHER}, {"root": OTHER}, {"public_key": OTHER_KEY.public},
        *({"figures": replace(FIGURES, **change)} for change in (
            {"relative_gap": 0.5}, {"odd_residual": 0.5}, {"r2": 0.5}, {"n_retrainings": 5},
        )),
    ],
    "claim committed": [
        {"signed": signed(HONEST, OTHER_KEY)}, {"signed": replace(signed(HONEST), signature=bytes(64))},
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_every_field_changes_the_digest(name: str) -> None:
    digests = {MADE[name]().digest, *(MADE[name](**change).digest for change in CHANGES[name])}
    assert len(digests) == len(CHANGES[name]) + 1


def test_no_two_kinds_of_message_share_a_digest() -> None:
    assert len({make().digest for make in MADE.values()}) == len(MADE)


@pytest.mark.parametrize("name", MADE)
def test_a_message_cannot_be_changed(name: str) -> None:
    made = MADE[name]()
    with pytest.raises(FrozenInstanceError):
        made.round = 5


@pytest.mark.parametrize("path", ["answers.outputs", "retrained.outputs", "retrained.evaluations"])
def test_a_messages_array_cannot_be_changed(path: str) -> None:
    name, field = path.split(".")
    with pytest.raises(ValueError, match="read-only"):
        getattr(MADE[name](), field)[0] = 1


def test_a_signed_claim_checks_its_signature() -> None:
    made = signed(HONEST)
    made.check_signature()
    assert made.digest == SignedClaim.digest_of(TASK.digest, made.root, FIGURES, KEY.public)
    for change in CHANGES["signed claim"]:
        with pytest.raises(CommitmentError, match="claim: the signature does not fit"):
            replace(made, **change).check_signature()


def test_figures_given_as_whole_numbers_have_the_same_digest() -> None:
    whole = Figures(relative_gap=0, odd_residual=1, r2=1, n_retrainings=5)
    floats = Figures(relative_gap=0.0, odd_residual=1.0, r2=1.0, n_retrainings=5)
    one, other = (SignedClaim.digest_of(OTHER, OTHER, figures, KEY.public) for figures in (whole, floats))
    assert one == other


def test_a_signed_claim_covers_its_scores_and_no_others() -> None:
    signed(HONEST).check_covers(HONEST)
    scores = HONEST.scores.copy()
    scores[0, 3] = np.nextafter(scores[0, 3], 9)
    for other in (
        replace(HONEST, scores=scores),
        replace(HONEST, intercepts=HONEST.intercepts + 1),
        replace(HONEST, task_digest=OTHER),
    ):
        with pytest.raises(MalformedMessage, match="not those under the signed Merkle root"):
            signed(HONEST).check_covers(other)
    with pytest.raises(MalformedMessage, match="not those under the signed Merkle root"):
        signed(HONEST, task_digest=OTHER).check_covers(HONEST)


def test_an_answers_signature_is_over_head_round_and_root() -> None:
    assert Answers.digest_of(OTHER, 3, TASK.digest) == digest("answers", OTHER, 3, TASK.digest)


def test_an_answers_leaf_is_number_subset_seed_and_outputs() -> None:
    task = replace(task_of(N, n_targets=2), seed_policy=SeedPolicy.PER_SUBSET)
    outputs = np.arange(8.0).reshape(4, 2)
    evaluations = np.arange(4)
    subsets, seeds = DRAW.subsets(task, evaluations), DRAW.training_seeds(task, evaluations)
    assert list(answer_leaves(task, DRAW, outputs)) == [
        canonical(["answer leaf", e, subset_digests(subsets)[e], int(seeds[e]), outputs[e]]) for e in range(4)
    ]


def test_leaves_do_not_depend_on_how_many_are_made_at_once() -> None:
    draw = Draw(seed=seed_of(FIRST), design=pairs(1100))  # more than two batches of 1024
    outputs = GAME.outputs(draw.subsets(TASK, np.arange(2200)))
    leaves = list(answer_leaves(TASK, draw, outputs))
    assert len(leaves) == 2200
    e = 2100
    name = subset_digests(draw.subsets(TASK, np.array([e])))[0]
    assert leaves[e] == canonical(["answer leaf", e, name, 0, outputs[e]])


def test_two_answers_exchanged_have_another_root() -> None:
    outputs = GAME.outputs(DRAW.subsets(TASK, np.arange(4)))
    swapped = outputs[[1, 0, 2, 3]]
    assert MerkleTree(answer_leaves(TASK, DRAW, outputs)).root != MerkleTree(answer_leaves(TASK, DRAW, swapped)).root


def test_a_claims_key_is_part_of_what_is_signed() -> None:
    """A signature cannot be passed off as another key's by relabelling the message."""
    stolen = replace(signed(HONEST), public_key=PublicKey(OTHER_KEY.public.raw))
    with pytest.raises(CommitmentError, match="does not fit the signer's key"):
        stolen.check_signature()
    assert claim_of(GAME.best).task_digest == TASK.digest
