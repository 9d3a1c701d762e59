"""Domain values for the tests of the wire: hypothesis strategies, and one tiny delegated session."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from protocol.certificate.registry import METHODS
from protocol.certificate.terms import LEAST, MAX_KURTOSIS, Across, Rounds, Terms
from protocol.certificate.terms import Answers as WhoAnswers
from protocol.claim import MAX_MAGNITUDE, Claim, Figures
from protocol.commitments import MerkleTree, SigningKey
from protocol.encoding import Digest, Seed
from protocol.errors import Reason
from protocol.game import HALF_16, Measure
from protocol.game.game import LARGEST
from protocol.game.sampling import Bases, Design, Draw, choose
from protocol.recipes import (
    Factory,
    Kernel,
    KernelKind,
    Logistic,
    Loss,
    Network,
    Optimiser,
    Precision,
    Reading,
    Recipe,
    Ridge,
    Schedule,
    Sgd,
    Sklearn,
)
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
    Sender,
    SignedClaim,
    answer_leaves,
)
from protocol.session.transcript import Entry, SignedTranscript, Transcript, sign_transcript
from protocol.task import (
    ConstantColumns,
    Data,
    Numerics,
    Scaling,
    SeedPolicy,
    TargetKind,
    Targets,
    Task,
    UnitKind,
    Units,
)

PROVER_KEY = SigningKey(bytes(range(32)))
VERIFIER_KEY = SigningKey(bytes(range(32, 64)))

seeds = st.binary(min_size=32, max_size=32)
digests = seeds.map(Digest)
public_keys = seeds.map(lambda raw: SigningKey(raw).public)
signatures = st.binary(min_size=64, max_size=64)
finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(min_value=1e-300, max_value=LARGEST)
scores = st.floats(min_value=-MAX_MAGNITUDE, max_value=MAX_MAGNITUDE)
seed_integers = st.integers(0, 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=40)
round_numbers = st.integers(0, 63)


def matrices(n_rows: int, n_columns: int, elements: st.SearchStrategy[float] = finite) -> st.SearchStrategy[np.ndarray]:
    items = st.lists(elements, min_size=n_rows * n_columns, max_size=n_rows * n_columns)
    return items.map(lambda values: np.array(values, dtype=np.float64).reshape(n_rows, n_columns))


below_one = st.floats(min_value=0, max_value=1, exclude_max=True)
widths = st.integers(1, 65536)


@st.composite
def network_parts(draw: Any) -> dict[str, Any]:
    factory = draw(st.sampled_from(Factory))
    is_image = factory in (Factory.CNN, Factory.RESNET9) or draw(st.booleans())
    return {
        "factory": factory,
        "factory_digest": draw(digests) if factory is Factory.CUSTOM else b"",
        "widths": (
            (4 * draw(st.integers(1, 16384)),)
            if factory is Factory.RESNET9
            else tuple(draw(st.lists(widths, min_size=1, max_size=5)))
        ),
        "image": (draw(st.integers(1, 9)), *(8 * draw(st.integers(1, 5)) for _ in range(2))) if is_image else (0, 0, 0),
    }


@st.composite
def kernels(draw: Any) -> Kernel:
    kind = draw(st.sampled_from(KernelKind))
    return Kernel(
        kernel=kind,
        l2=draw(positive),
        gamma=draw(positive) if kind is KernelKind.RBF else 0.0,
        network=Network(**draw(network_parts()), seed=draw(seed_integers)) if kind is KernelKind.NTK else None,
    )


@st.composite
def estimators(draw: Any, readings: list[Reading]) -> Sklearn:
    words = st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,9}", fullmatch=True)
    numbers = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(-1e9, 1e9, allow_subnormal=False))
    values = st.one_of(st.none(), st.booleans(), numbers, words, st.lists(numbers), st.tuples(words, numbers))
    keys = words.map(lambda word: f"a_{word}")
    given = draw(st.dictionaries(keys, values, max_size=4))
    text = ", ".join(f"{key}={value!r}" for key, value in given.items())
    return Sklearn(estimator=f"A{draw(words)}({text})", version="1.9", reading=draw(st.sampled_from(readings)))


@st.composite
def sgds(draw: Any, losses: list[Loss]) -> Sgd:
    parts, optimiser = draw(network_parts()), draw(st.sampled_from(Optimiser))
    adamw, image = optimiser is Optimiser.ADAMW, parts["image"]
    return Sgd(
        **parts,
        loss=draw(st.sampled_from(losses)),
        optimiser=optimiser,
        learning_rate=draw(positive),
        momentum=0.0 if adamw else draw(below_one),
        beta1=draw(below_one) if adamw else 0.0,
        beta2=draw(below_one) if adamw else 0.0,
        epsilon=draw(positive) if adamw else 0.0,
        weight_decay=draw(st.floats(min_value=0, max_value=LARGEST)),
        schedule=draw(st.sampled_from(Schedule)),
        warmup_steps=draw(st.integers(0, 2**32 - 1)),
        epochs=draw(st.integers(1, 1_000_000)),
        batch_size=draw(st.integers(1, 2**24)),
        precision=draw(st.sampled_from(Precision)),
        flips=image[0] > 0 and draw(st.booleans()),
        crop_padding=draw(st.integers(0, min(image[1:]))),
    )


def recipes(*, regression: bool) -> st.SearchStrategy[Recipe]:
    ridges = positive.map(lambda l2: Ridge(l2=l2))
    if regression:
        return st.one_of(ridges, kernels(), sgds([Loss.SQUARED]), estimators([Reading.PREDICTION]))
    logistics = st.builds(Logistic, l2=positive, gradient_tolerance=positive)
    readings = [Reading.LOG_PROBABILITY, Reading.DECISION]
    return st.one_of(ridges, logistics, kernels(), sgds(list(Loss)), estimators(readings))


@st.composite
def tasks(draw: Any) -> Task:
    regression = draw(st.booleans())
    recipe = draw(recipes(regression=regression))
    kinds = [TargetKind.PREDICTION, TargetKind.SQUARED_ERROR] if regression else [TargetKind.MARGIN, TargetKind.LOSS]
    if recipe.has_probabilities:
        kinds.append(TargetKind.PROBABILITY)
    kind = draw(st.sampled_from(UnitKind))
    n_train, n_test = draw(st.integers(2, 2**32 - 1)), draw(st.integers(1, 2**32 - 1))
    n_train = min(n_train, 10_000_000)
    rows = draw(st.lists(st.integers(0, n_test - 1), min_size=1, max_size=4, unique=True))
    average = draw(st.booleans())
    lo = np.clip(draw(matrices(1, 1 if average else len(rows)).map(lambda m: m[0])), -9e49, 9e49)
    policy = draw(st.sampled_from(SeedPolicy))
    return Task(
        data=Data(
            source=draw(texts.filter(bool)),
            digest=draw(digests),
            target_column=draw(texts),
            contributor_column=draw(texts if kind is UnitKind.ROW else texts.filter(bool)),
            n_classes=0 if regression else draw(st.integers(2, 2**32 - 1)),
            n_train=n_train,
            n_test=n_test,
            split_seed=draw(seed_integers),
            constant_columns=draw(st.sampled_from(ConstantColumns)),
            scaling=draw(st.sampled_from(Scaling)),
        ),
        units=Units(kind=kind, n=n_train if kind is UnitKind.ROW else draw(st.integers(2, n_train))),
        recipe=recipe,
        targets=Targets(
            kind=draw(st.sampled_from(kinds)),
            rows=tuple(rows),
            average=average,
            lo=lo,
            hi=np.maximum(np.nextafter(lo, math.inf), lo + 2 / LARGEST),
        ),
        measure=Measure(p_16=draw(st.one_of(st.just(HALF_16), st.integers(1, 65535)))),
        seed_policy=policy,
        seed=draw(seed_integers) if policy is SeedPolicy.SHARED else 0,
        numerics=Numerics(tolerance=draw(st.floats(min_value=0, max_value=LARGEST))),
    )


@st.composite
def design_values(draw: Any) -> Design:
    bases = draw(st.sampled_from(Bases))
    return Design(
        n_families=draw(st.integers(1, 1000)),
        n_siblings=draw(st.integers(1, 1000)),
        keep_16=0 if bases is Bases.ALL else draw(st.integers(0, 65535)),
        complements=bases is Bases.TILTED or (bases is Bases.DRAWN and draw(st.booleans())),
        bases=bases,
    )


designs = design_values()
draws = st.builds(Draw, seed=seeds.map(Seed), design=designs)
challenges = st.builds(Challenge, round=round_numbers, draw=draws)
openings = st.builds(Opening, version=st.just(1), nonce=st.binary(min_size=16, max_size=16), task_digest=digests)
closings = st.builds(Closing, outcome=st.sampled_from(Outcome), reason=texts)
aborts = st.builds(Aborted, reason=st.sampled_from(Reason), text=texts)
figures = st.builds(
    Figures,
    relative_gap=st.floats(0, 1e300),
    odd_residual=st.floats(0, 1e300),
    r2=st.floats(-1e300, 1),
    n_retrainings=st.integers(0, 2**32 - 1),
)
signed_claims = st.builds(
    SignedClaim,
    task_digest=digests,
    root=digests,
    figures=figures,
    public_key=public_keys,
    signature=signatures,
)


@st.composite
def claims(draw: Any) -> Claim:
    n_targets, n_units = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    return Claim(
        task_digest=draw(digests),
        intercepts=draw(matrices(1, n_targets, scores))[0].copy(),
        scores=draw(matrices(n_targets, n_units, scores)),
    )


@st.composite
def answers(draw: Any) -> Answers:
    outputs = draw(matrices(draw(st.integers(1, 4)), draw(st.integers(1, 3))))
    return Answers(round=draw(round_numbers), outputs=outputs, root=draw(digests), signature=draw(signatures))


@st.composite
def retrainings(draw: Any) -> Retrained:
    evaluations = sorted(draw(st.sets(st.integers(0, 2**32 - 1), min_size=1, max_size=4)))
    return Retrained(
        round=draw(round_numbers),
        check_seed=draw(st.none() | seeds.map(Seed)),
        evaluations=np.array(evaluations, dtype=np.int64),
        outputs=draw(matrices(len(evaluations), draw(st.integers(1, 3)))),
    )


committed = st.builds(ClaimCommitted, signed=signed_claims, claim=claims())
choices = st.builds(
    Rounds, looks=st.lists(designs, min_size=1, max_size=3).map(tuple), n_checks=st.integers(0, 2**32 - 1)
)
chosen = st.builds(RoundsChosen, rounds=choices)
messages = st.one_of(openings, committed, chosen, challenges, answers(), retrainings(), closings, aborts)
entries = st.builds(Entry, sender=st.sampled_from(Sender), message=messages, private=st.booleans())


shares = st.floats(LEAST, 1, exclude_max=True)
terms = st.builds(
    Terms,
    epsilon=shares,
    delta=shares,
    across=st.sampled_from(Across),
    answers=st.sampled_from(WhoAnswers),
    method=st.sampled_from(list(METHODS)),
    kurtosis=st.none() | st.floats(1, MAX_KURTOSIS),
)


@st.composite
def transcripts(draw: Any) -> SignedTranscript:
    return SignedTranscript(
        task=draw(tasks()),
        terms=draw(terms),
        entries=tuple(draw(st.lists(entries, max_size=3))),
        public_key=draw(public_keys),
        signature=draw(signatures),
    )


def tiny_task(*, n_targets: int = 2, n_units: int = 5) -> Task:
    return Task(
        data=Data(
            source="made up",
            digest=Digest(bytes(32)),
            target_column="",
            contributor_column="",
            n_classes=0,
            n_train=n_units,
            n_test=n_targets,
            split_seed=0,
            constant_columns=ConstantColumns.REFUSE,
            scaling=Scaling.NONE,
        ),
        units=Units(kind=UnitKind.ROW, n=n_units),
        recipe=Ridge(l2=1.0),
        targets=Targets(
            kind=TargetKind.PREDICTION,
            rows=tuple(range(n_targets)),
            average=False,
            lo=np.full(n_targets, -10.0),
            hi=np.full(n_targets, 10.0),
        ),
        measure=Measure(p_16=HALF_16),
        seed_policy=SeedPolicy.SHARED,
        seed=7,
        numerics=Numerics(tolerance=1e-9),
    )


def tiny_claim(task: Task) -> ClaimCommitted:
    """Return a claim with made-up scores, properly committed and signed."""
    size = task.n_targets * task.n_units
    claim = Claim(
        task_digest=task.digest,
        intercepts=np.arange(task.n_targets, dtype=np.float64),
        scores=np.linspace(-1, 1, size).reshape(task.n_targets, task.n_units),
    )
    said = Figures(relative_gap=0.01, odd_residual=0.02, r2=0.9, n_retrainings=100)
    root = MerkleTree(claim.leaves()).root
    signature = PROVER_KEY.sign(SignedClaim.digest_of(task.digest, root, said, PROVER_KEY.public))
    signed = SignedClaim(
        task_digest=task.digest, root=root, figures=said, public_key=PROVER_KEY.public, signature=signature
    )
    return ClaimCommitted(signed=signed, claim=claim)


def tiny_transcript() -> SignedTranscript:
    """Return one delegated session about :func:`tiny_task`, every commitment in order, the outputs made up.

    0 Opening, 1 ClaimCommitted, 2 RoundsChosen, 3 Challenge, 4 Answers, 5 Retrained, 6 Closing. It is well formed, and
    no session: no method has these rounds.
    """
    task, design = tiny_task(), Design(n_families=2, n_siblings=2, keep_16=40000, complements=True)
    asked = Terms(
        epsilon=0.05, delta=0.05, across=Across.MEAN, answers=WhoAnswers.DELEGATED, method="moments", kurtosis=9.0
    )
    rounds = Rounds(looks=(design,), n_checks=3)
    record, challenge = Transcript(task.digest), Challenge(round=0, draw=Draw(seed=Seed(b"c" * 32), design=design))
    record.append(Entry(Sender.VERIFIER, Opening(version=1, nonce=b"n" * 16, task_digest=task.digest)))
    record.append(Entry(Sender.PROVER, tiny_claim(task)))
    record.append(Entry(Sender.VERIFIER, RoundsChosen(rounds=rounds), private=True))
    record.append(Entry(Sender.VERIFIER, challenge))
    outputs = np.sin(np.arange(design.n_evaluations * task.n_targets)).reshape(-1, task.n_targets)
    root = MerkleTree(answer_leaves(task, challenge.draw, outputs)).root
    signature = PROVER_KEY.sign(Answers.digest_of(record.spoken, 0, root))
    record.append(Entry(Sender.PROVER, Answers(round=0, outputs=outputs, root=root, signature=signature)))
    check_seed = Seed(b"s" * 32)
    chosen = choose(check_seed, design.n_evaluations, rounds.n_checks)
    checked = Retrained(round=0, check_seed=check_seed, evaluations=chosen, outputs=outputs[chosen])
    record.append(Entry(Sender.VERIFIER, checked, private=True))
    record.append(Entry(Sender.VERIFIER, Closing(outcome=Outcome.INCONCLUSIVE, reason="made up")))
    return sign_transcript(task, asked, record, VERIFIER_KEY)
