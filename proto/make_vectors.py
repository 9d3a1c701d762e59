"""Write proto/vectors/*.json: what every implementation of proto/SPEC.md must compute.

    python proto/make_vectors.py [FOLDER]

Made by this project's own code (``protocol``) from fixed inputs, checked by
proto/check_vectors.py, which shares none of it. Everything is arithmetic on integers, hashes
and dyadic fractions, so that the files are the same on every machine. Bytes are hexadecimal; a
number in JSON stands for the one double nearest to it.
"""

from __future__ import annotations

import json
import struct
import sys
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch

from protocol.certificate.terms import Across, Assurance, Method, Terms
from protocol.claim import Claim, Figures
from protocol.commitments import MerkleTree, PublicKey, SigningKey
from protocol.encoding import PREFIX, Seed, canonical, digest
from protocol.errors import Reason
from protocol.numerics import Exact
from protocol.recipes import (
    Factory,
    Kernel,
    KernelKind,
    Loss,
    Network,
    Optimiser,
    Precision,
    Reading,
    Schedule,
    Sgd,
    Sklearn,
    digest_of_factory,
)
from protocol.sampling import (
    Design,
    Draw,
    augmentations,
    choose,
    families,
    initial_weights,
    pairs,
    permutation,
    row_order,
    seed_from_integer,
    subset_digests,
)
from protocol.session.effects import Event, Received, Send, Trained
from protocol.session.messages import (
    Aborted,
    Answers,
    Challenge,
    ClaimCommitted,
    Closing,
    Message,
    Opening,
    Outcome,
    Retrained,
    Sender,
    SignedClaim,
    answer_leaves,
)
from protocol.session.prover import ProverSession
from protocol.session.transcript import Entry, Transcript, sign_transcript
from protocol.task import (
    HALF_16,
    ConstantColumns,
    Data,
    Logistic,
    Numerics,
    Ridge,
    Scaling,
    SeedPolicy,
    TargetKind,
    Targets,
    Task,
    UnitKind,
    Units,
)
from protocol.training.exact.solver import ExactSolver
from protocol.wire.chunks import claim_to_bytes

PROVER_KEY = bytes(range(32))
VERIFIER_KEY = bytes(range(32, 64))

# ------------------------------------------------------------------------------- values as JSON


def typed(value: Any) -> list[Any]:
    """Return a value of SPEC 2 as JSON: its type letter, then itself."""
    letters = {type(None): "n", int: "i", float: "d", str: "s"}
    if isinstance(value, bool):
        return ["t" if value else "f"]
    if isinstance(value, bytes):
        return ["b", value.hex()]
    if isinstance(value, np.ndarray):
        return ["a", value.dtype.kind, list(value.shape), value.ravel().tolist()]
    if isinstance(value, list):
        return ["l", [typed(item) for item in value]]
    return [letters[type(value)]] + ([] if value is None else [value])


def plain(value: Any) -> Any:
    """Return a domain value as JSON: fields by name, enums as they are hashed, bytes in hexadecimal."""
    if isinstance(value, bytes | PublicKey):
        return (value.raw if isinstance(value, PublicKey) else value).hex()
    if is_dataclass(value):
        names = [field.name for field in fields(value)]
        names += [name for name in ("name", "profile") if hasattr(value, name)]  # constants of recipes and numerics
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


# ------------------------------------------------------------------------------- made-up inputs


def made_up_task(**changes: Any) -> Task:
    """Return a small task; its data exist nowhere, only its digest matters."""
    n_units, n_targets = changes.pop("n_units", 12), changes.pop("n_targets", 2)
    average = changes.pop("average", False)
    wide = 1 if average else n_targets
    parts: dict[str, Any] = {
        "data": Data(
            source="made-up.csv",
            digest=digest("table", "made up"),
            target_column="value",
            contributor_column="",
            n_classes=0,
            n_train=n_units,
            n_test=5,
            split_seed=3,
            constant_columns=ConstantColumns.DROP,
            scaling=Scaling.STANDARD,
        ),
        "units": Units(kind=UnitKind.ROW, n=n_units),
        "recipe": Ridge(l2=0.5),
        "targets": Targets(
            kind=TargetKind.PREDICTION,
            rows=tuple(range(n_targets)),
            average=average,
            lo=-2.0 - np.arange(wide, dtype=np.float64),
            hi=2.0 + np.arange(wide, dtype=np.float64),
        ),
        "p_16": HALF_16,
        "seed_policy": SeedPolicy.SHARED,
        "seed": 11,
        "numerics": Numerics(tolerance=2.0**-20),
    }
    return Task(**(parts | changes))


def contributors_task() -> Task:
    """Return a task of classes and contributors, with a seed for every subset."""
    return made_up_task(
        data=Data(
            source="prix-enchères.parquet",
            digest=digest("table", "made up, too"),
            target_column="classe",
            contributor_column="propriétaire",
            n_classes=3,
            n_train=40,
            n_test=9,
            split_seed=2**63 - 1,
            constant_columns=ConstantColumns.REFUSE,
            scaling=Scaling.NONE,
        ),
        units=Units(kind=UnitKind.CONTRIBUTOR, n=7),
        recipe=Logistic(l2=1.5, gradient_tolerance=2.0**-30),
        targets=Targets(
            kind=TargetKind.PROBABILITY,
            rows=(8, 1, 3),
            average=True,
            lo=np.array([0.0]),
            hi=np.array([1.0]),
        ),
        p_16=16384,
        seed_policy=SeedPolicy.PER_SUBSET,
        seed=0,
    )


def seed_of(name: str) -> Seed:
    """Return a fixed seed for the vector called ``name``."""
    return seed_from_integer(f"vectors: {name}", 0)


# ------------------------------------------------------------------------------- the files


def encodings() -> list[dict[str, Any]]:
    """Return values with their canonical bytes: SPEC 2."""
    values: list[Any] = [
        None, True, False, 0, 1, -1, 2**63 - 1, -(2**63), 0.0, -0.0, 1.0, -1.5, 0.1, 5e-324, 1.7976931348623157e308,
        "", "unit", "prix-enchères \N{GREEK SMALL LETTER RHO} \U0001f40d", b"", b"\x00\xff",
        [], [[]], [1, [True, None], "x"],
        np.array([], dtype=np.float64), np.array([0.5, -2.0]), np.array([[1, 2, 3], [-4, 5, 6]], dtype=np.int64),
        np.array([[[7]], [[255]]], dtype=np.uint8), ["claim leaf", b"\x01" * 32, 0, 0.25, np.array([1.0])],
    ]  # fmt: skip
    return [{"value": typed(value), "bytes": canonical(value).hex()} for value in values]


def digests() -> list[dict[str, Any]]:
    """Return labelled digests: SPEC 3."""
    cases: list[tuple[str, list[Any]]] = [
        ("task", []),
        ("draw", []),
        ("draw", [b"\x00" * 32, 1, 1, 0, True]),
        ("table", [np.array([[0.5, 1.0]]), np.array([1], dtype=np.int64), 2, ["a", "b"], ["0", "1"], None]),
        ("factory", [b"def make(shape, n_outputs, widths): ...\n", "make"]),
        ("retrained", [0, None, np.array([0, 1], dtype=np.int64), np.array([[0.5], [0.25]])]),
    ]
    return [
        {"label": label, "fields": [typed(f) for f in fields], "prefix": PREFIX, "digest": digest(label, *fields).hex()}
        for label, fields in cases
    ]


def sampling() -> list[dict[str, Any]]:
    """Return draws with all their subsets and training seeds: SPEC 4."""
    half, wide, quarter = made_up_task(), made_up_task(n_units=70), contributors_task()
    rare, own_seeds = made_up_task(n_units=300, p_16=655), made_up_task(seed_policy=SeedPolicy.PER_SUBSET, seed=0)
    cases = [
        ("pairs at one half", half, pairs(3)),
        ("families at one half", wide, families(n_families=3, n_siblings=4, rho=0.5, complements=True)),
        ("siblings that keep nothing", half, Design(n_families=2, n_siblings=2, keep_16=0, complements=True)),
        ("siblings that keep almost all", half, Design(n_families=2, n_siblings=3, keep_16=65535, complements=True)),
        ("families at one quarter", quarter, families(n_families=2, n_siblings=3, rho=0.3, complements=False)),
        ("rare units", rare, Design(n_families=2, n_siblings=2, keep_16=9000, complements=False)),
        ("a seed for every subset", own_seeds, pairs(4)),
    ]
    return [_draw_json(name, task, Draw(seed=seed_of(name), design=design)) for name, task, design in cases]


def _draw_json(name: str, task: Task, draw: Draw) -> dict[str, Any]:
    evaluations = np.arange(draw.n_evaluations, dtype=np.int64)
    subsets = draw.subsets(task, evaluations)
    return {
        "name": name,
        "seed": draw.seed.hex(),
        "design": plain(draw.design),
        "draw_digest": draw.digest.hex(),
        "n_units": task.n_units,
        "p_16": task.p_16,
        "seed_policy": task.seed_policy.value,
        "shared_seed": task.seed,
        "subsets": ["".join("1" if unit else "0" for unit in subset) for subset in subsets.tolist()],
        "subset_digests": [name.hex() for name in subset_digests(subsets)],
        "training_seeds": draw.training_seeds(task, evaluations).tolist(),
    }


def choices() -> list[dict[str, Any]]:
    """Return seeds from integers, permutations and choices: SPEC 4."""
    cases = [("split", 0, 1, 1), ("split", 3, 20, 5), ("made up", 2**63 - 1, 100, 7), ("made up", 1, 64, 0)]
    return [
        {
            "label": label,
            "integer": value,
            "seed": (seed := seed_from_integer(label, value)).hex(),
            "n": n,
            "permutation": permutation(seed, n).tolist(),
            "k": k,
            "choice": choose(seed, n, k).tolist(),
        }
        for label, value, n, k in cases
    ]


def training() -> list[dict[str, Any]]:
    """Return what recipe sgd draws from a training seed: SPEC 4."""
    cases = [(0, 0, 9, 0), (2**63 - 1, 3, 20, 4), (7, 2**32, 5, 1)]
    return [
        {
            "training_seed": seed,
            "seed": seed_from_integer("training", seed).hex(),
            "index": index,
            "n": n,
            "padding": padding,
            "order": row_order(seed, index, n).tolist(),
            "weights": initial_weights(seed, index, n).tolist(),
            "augmentations": augmentations(seed, index, n, padding).tolist(),
        }
        for seed, index, n, padding in cases
    ]


def sgd_task() -> Task:
    """Return a task of recipe sgd on images."""
    task = contributors_task()
    recipe = Sgd(
        factory=Factory.CNN, factory_digest=b"", widths=(8, 16), image=(3, 6, 5), loss=Loss.SQUARED_HINGE,
        optimiser=Optimiser.MOMENTUM, learning_rate=0.125, momentum=0.75, beta1=0.0, beta2=0.0, epsilon=0.0,
        weight_decay=2.0**-10, schedule=Schedule.LINEAR, warmup_steps=3, epochs=4, batch_size=7,
        precision=Precision.BF16, flips=True, crop_padding=2,
    )  # fmt: skip
    return replace(task, recipe=recipe, targets=replace(task.targets, kind=TargetKind.LOSS))


def own_network_task() -> Task:
    """Return a task of recipe sgd on a network of the user's own."""
    recipe = Sgd(
        factory=Factory.CUSTOM, factory_digest=digest_of_factory(b"made up", "make"), widths=(), image=(0, 0, 0),
        loss=Loss.CROSS_ENTROPY, optimiser=Optimiser.ADAMW, learning_rate=0.001, momentum=0.0, beta1=0.9, beta2=0.999,
        epsilon=1e-8, weight_decay=0.0, schedule=Schedule.COSINE, warmup_steps=0, epochs=1, batch_size=32,
        precision=Precision.FP32, flips=False, crop_padding=0,
    )  # fmt: skip
    return replace(contributors_task(), recipe=recipe)


def exact_task() -> Task:
    """Return a task whose answers are held to the bit."""
    task = sgd_task()
    recipe = Sgd(
        factory=Factory.MLP, factory_digest=b"", widths=(8, 16), image=(3, 6, 5), loss=Loss.SQUARED_HINGE,
        optimiser=Optimiser.MOMENTUM, learning_rate=0.125, momentum=0.75, beta1=0.0, beta2=0.0, epsilon=0.0,
        weight_decay=0.0, schedule=Schedule.CONSTANT, warmup_steps=0, epochs=4, batch_size=7, precision=Precision.FP32,
        flips=False, crop_padding=0,
    )  # fmt: skip
    return replace(task, recipe=recipe, numerics=Exact(weight_bits=18, activation_bits=16, gradient_bits=21))


def kernel_tasks() -> list[Task]:
    """Return tasks of recipe kernel: without a network and with one."""
    network = Network(factory=Factory.CNN, factory_digest=b"", widths=(4, 8), image=(3, 6, 5), seed=2**63 - 1)
    recipes = [
        Kernel(kernel=KernelKind.RBF, l2=0.25, gamma=0.125, network=None),
        Kernel(kernel=KernelKind.NTK, l2=2.0, gamma=0.0, network=network),
    ]
    return [replace(made_up_task(), recipe=recipe) for recipe in recipes]


def sklearn_task() -> Task:
    """Return a task of recipe sklearn, its estimator within another."""
    recipe = Sklearn(
        estimator="Pipeline(steps=[('scale', StandardScaler()), ('trees', RandomForestClassifier(n_estimators=20))])",
        version="1.9.1",
        reading=Reading.LOG_PROBABILITY,
    )
    return replace(contributors_task(), recipe=recipe)


def exact_trainings() -> list[dict[str, Any]]:
    """Return exact trainings with their scores, to the bit: SPEC 12."""
    perceptron = replace(_exact_recipe(), widths=(3,), schedule=Schedule.LINEAR)
    cnn = replace(
        _exact_recipe(), factory=Factory.CNN, widths=(2, 3), image=(1, 4, 5), flips=True, crop_padding=1,
        learning_rate=0.75,
    )  # fmt: skip
    whole = replace(cnn, widths=(3,), image=(2, 3, 3), flips=False, crop_padding=0, loss=Loss.SQUARED)
    numerics = Exact(weight_bits=12, activation_bits=20, gradient_bits=12)  # few enough to show in the scores
    return [
        _exact_case(perceptron, numerics, 3, 4),
        _exact_case(replace(perceptron, loss=Loss.SQUARED), numerics, 0, 5),
        _exact_case(cnn, numerics, 2, 20),
        _exact_case(whole, numerics, 3, 18),
    ]


def _exact_recipe() -> Sgd:
    return Sgd(
        factory=Factory.MLP, factory_digest=b"", widths=(), image=(0, 0, 0), loss=Loss.SQUARED_HINGE,
        optimiser=Optimiser.MOMENTUM, learning_rate=0.25, momentum=0.875, beta1=0.0, beta2=0.0, epsilon=0.0,
        weight_decay=2.0**-6, schedule=Schedule.CONSTANT, warmup_steps=2, epochs=2, batch_size=4,
        precision=Precision.FP32, flips=False, crop_padding=0,
    )  # fmt: skip


def _exact_case(recipe: Sgd, numerics: Exact, n_classes: int, n_features: int) -> dict[str, Any]:
    data_seed, seed, inside = 7, 2**40 + n_features, [1, 1, 0, 1, 1, 1, 0]
    n = len(inside)
    x = np.stack([initial_weights(data_seed, i, n_features) for i in range(n)])
    labels = np.arange(n) % n_classes if n_classes else 8.0 * x[:, 0] + x[:, -1]
    rows = torch.from_numpy(x)
    solver = ExactSolver(recipe, numerics, rows, torch.from_numpy(labels), n_classes, torch.arange(n), rows)
    subsets = torch.tensor([inside], dtype=torch.bool)
    scores = solver.scores(subsets, np.array([seed], dtype=np.int64))[0].tolist()
    kept = (
        "factory", "widths", "image", "loss", "learning_rate", "momentum", "weight_decay", "schedule", "warmup_steps",
        "epochs", "batch_size", "flips", "crop_padding",
    )  # fmt: skip
    return {
        "scores": [[struct.pack(">d", score).hex() for score in row] for row in scores],
        "recipe": {key: value for key, value in plain(recipe).items() if key in kept},
        "numerics": {key: getattr(numerics, key) for key in ("weight_bits", "activation_bits", "gradient_bits")},
        "n_classes": n_classes, "n_rows": n, "n_features": n_features, "data_seed": data_seed, "training_seed": seed,
        "inside": inside,
    }  # fmt: skip


def trees() -> list[dict[str, Any]]:
    """Return Merkle trees with every path: SPEC 4."""
    cases = []
    for n in (1, 2, 3, 5, 8, 13):
        leaves = [canonical(["leaf of a vector", i]) for i in range(n)]
        tree = MerkleTree(leaves)
        paths = [[node.hex() for node in tree.path(i)] for i in range(n)]
        cases.append({"leaves": [leaf.hex() for leaf in leaves], "root": tree.root.hex(), "paths": paths})
    return cases


def tasks() -> list[dict[str, Any]]:
    """Return tasks with their digests: SPEC 5."""
    tiny = made_up_task(average=True, n_targets=3, n_units=2, p_16=1)
    cases = [made_up_task(), contributors_task(), tiny, sgd_task(), own_network_task(), exact_task()]
    cases += [*kernel_tasks(), sklearn_task()]
    return [{"task": plain(task), "digest": task.digest.hex()} for task in cases]


def claims() -> list[dict[str, Any]]:
    """Return claims with leaves, root, signature and the bytes that cross the wire: SPEC 5 and 9."""
    return [_claim_json(made_up_claim(task)) for task in (made_up_task(), contributors_task())]


def made_up_claim(task: Task) -> ClaimCommitted:
    """Return a claim of dyadic fractions, committed and signed."""
    key, shape = SigningKey(PROVER_KEY), (task.n_targets, task.n_units)
    claim = Claim(
        task_digest=task.digest,
        intercepts=np.arange(task.n_targets) / 4 - 1,
        scores=(np.arange(task.n_targets * task.n_units) % 7 - 3).reshape(shape) / 8,
    )
    figures = Figures(relative_gap=0.005, odd_residual=0.0625, r2=0.9375, n_retrainings=4000)
    root = MerkleTree(claim.leaves()).root
    signature = key.sign(SignedClaim.digest_of(task.digest, root, figures, key.public))
    signed = SignedClaim(
        task_digest=task.digest, root=root, figures=figures, public_key=key.public, signature=signature
    )
    return ClaimCommitted(signed=signed, claim=claim)


def _claim_json(committed: ClaimCommitted) -> dict[str, Any]:
    return {
        **plain(committed),
        "bytes": claim_to_bytes(committed.claim).hex(),
        "leaves": [leaf.hex() for leaf in committed.claim.leaves()],
        "private_key": PROVER_KEY.hex(),
        "signed_digest": committed.signed.digest.hex(),
        "digest": committed.digest.hex(),
    }


# ------------------------------------------------------------------------------- whole sessions


class Recorder:
    """Both parties of a session in one place, and what their transcript becomes."""

    def __init__(self, task: Task) -> None:
        self.task, self.committed = task, made_up_claim(task)
        self.record = Transcript(task.digest)
        self.steps: list[dict[str, Any]] = []
        self.prover = ProverSession(
            task=task,
            claim=self.committed.claim,
            signed=self.committed.signed,
            key=SigningKey(PROVER_KEY),
            max_evaluations=1000,
        )

    def verifier_says(self, message: Message, *, private: bool = False) -> None:
        """Record what the verifier says; the prover hears it unless it is private, and answers."""
        self._step(Entry(Sender.VERIFIER, message, private))
        if private:
            return
        self._prover_hears(Received(message))

    def prover_trains(self, outputs: np.ndarray) -> None:
        """Let the prover commit to its outputs and send them."""
        self._prover_hears(Trained(outputs))

    def _prover_hears(self, event: Event) -> None:
        for effect in self.prover.handle(event):
            if isinstance(effect, Send):
                self._step(Entry(Sender.PROVER, effect.message))

    def _step(self, entry: Entry) -> None:
        self.record.append(entry)
        message = entry.message
        step = {"sender": entry.sender.value, "private": entry.private, "type": type(message).__name__}
        step["message"] = plain(message)
        if isinstance(message, Challenge):
            self.draw = message.draw
        if isinstance(message, Answers):
            leaves = list(answer_leaves(self.task, self.draw, message.outputs))
            step["leaves"] = [leaf.hex() for leaf in leaves]
            step["path_of_last_leaf"] = [node.hex() for node in MerkleTree(leaves).path(len(leaves) - 1)]
        heads = {"digest": message.digest, "spoken": self.record.spoken, "head": self.record.head}
        self.steps.append(step | {name: head.hex() for name, head in heads.items()})


def sessions() -> list[dict[str, Any]]:
    """Return whole sessions, their outputs made up: SPEC 6 and 7."""
    return [_audited(), _crossfit(), _proved(), _aborted()]


def _outputs(task: Task, n: int, salt: int) -> np.ndarray:
    grid = np.arange(n)[:, None] * 7 + np.arange(task.n_targets)[None, :] * 3 + salt
    return np.asarray((grid % 11 - 5) / 4)


def _audited() -> dict[str, Any]:
    """Two looks of families, every answer recheckable."""
    look = families(n_families=3, n_siblings=2, rho=0.5, complements=True)
    return _answered("audited, two looks", look, Method.FAMILIES)


def _crossfit() -> dict[str, Any]:
    """Rounds B and A; of B whole pairs are rechecked, A is the verifier's own."""
    return _answered("cross-fit, rounds B and A", pairs(6), Method.CROSSFIT)


def _answered(name: str, look: Design, method: Method) -> dict[str, Any]:
    """The prover answers each round that the method lets it; the verifier's own words are private."""
    task = made_up_task()
    terms = Terms(
        epsilon=0.05, delta=0.05, across=Across.MEAN, assurance=Assurance.AUDITED, looks=(look, look), n_checks=4,
        method=method,
    )  # fmt: skip
    session, size = Recorder(task), terms.check_size(look)
    session.verifier_says(Opening(version=1, nonce=bytes(range(16)), task_digest=task.digest))
    for round_ in range(2):
        challenge = Challenge(round=round_, draw=Draw(seed=seed_of(f"challenge {round_}"), design=look))
        outputs = _outputs(task, look.n_evaluations, round_)
        if not terms.is_answered(round_):
            _trained_here(session, challenge, outputs)
            continue
        session.verifier_says(challenge)
        session.prover_trains(outputs)
        check_seed = seed_of(f"spot check {round_}")
        members = choose(check_seed, look.n_evaluations // size, terms.n_checks)
        chosen = (size * members[:, None] + np.arange(size)).ravel()
        checked = Retrained(round=round_, check_seed=check_seed, evaluations=chosen, outputs=outputs[chosen])
        session.verifier_says(checked, private=True)
    session.verifier_says(Closing(outcome=Outcome.INCONCLUSIVE, reason="the outputs are made up"))
    return _session_json(name, session, terms)


def _trained_here(session: Recorder, challenge: Challenge, outputs: np.ndarray) -> None:
    """The verifier trains a round itself and says nothing of it."""
    session.verifier_says(challenge, private=True)
    everything = np.arange(len(outputs), dtype=np.int64)
    own = Retrained(round=challenge.round, check_seed=None, evaluations=everything, outputs=outputs)
    session.verifier_says(own, private=True)


def _proved() -> dict[str, Any]:
    """The verifier retrains everything, so the prover hears only the opening and the closing."""
    task = contributors_task()
    look = families(n_families=2, n_siblings=2, rho=0.3, complements=False)
    terms = Terms(epsilon=0.1, delta=0.01, across=Across.EVERY, assurance=Assurance.PROVED, looks=(look,), n_checks=0)
    session = Recorder(task)
    session.verifier_says(Opening(version=1, nonce=bytes(16), task_digest=task.digest))
    challenge = Challenge(round=0, draw=Draw(seed=seed_of("own challenge"), design=look))
    _trained_here(session, challenge, np.abs(_outputs(task, look.n_evaluations, 0)) / 2)
    session.verifier_says(Closing(outcome=Outcome.REJECT, reason="the outputs are made up"))
    return _session_json("proved, one look", session, terms)


def _aborted() -> dict[str, Any]:
    """The verifier leaves after the challenge."""
    task, look = made_up_task(), pairs(2)
    terms = Terms(epsilon=0.05, delta=0.05, across=Across.MEAN, assurance=Assurance.AUDITED, looks=(look,), n_checks=1)
    session = Recorder(task)
    session.verifier_says(Opening(version=1, nonce=bytes(range(16, 32)), task_digest=task.digest))
    session.verifier_says(Challenge(round=0, draw=Draw(seed=seed_of("no answer"), design=look)))
    session.verifier_says(Aborted(reason=Reason.FAILED, text="no answer in time: é\n\tgave up"))
    return _session_json("aborted after the challenge", session, terms)


def _session_json(name: str, session: Recorder, terms: Terms) -> dict[str, Any]:
    signed = sign_transcript(session.task, terms, session.record, SigningKey(VERIFIER_KEY))
    return {
        "name": name,
        "task": plain(session.task),
        "first_head": Transcript(session.task.digest).head.hex(),
        "entries": session.steps,
        "terms": plain(terms),
        "terms_digest": terms.digest.hex(),
        "private_key": VERIFIER_KEY.hex(),
        "public_key": signed.public_key.raw.hex(),
        "signed_digest": signed.digest_of(terms, session.record.head).hex(),
        "signature": signed.signature.hex(),
    }


FILES = {
    "encodings.json": encodings,
    "digests.json": digests,
    "sampling.json": sampling,
    "choices.json": choices,
    "training.json": training,
    "exact.json": exact_trainings,
    "trees.json": trees,
    "tasks.json": tasks,
    "claims.json": claims,
    "sessions.json": sessions,
}


def text_of(cases: list[dict[str, Any]]) -> str:
    """Return a file's text: a list with one case, or one entry of a session, on a line."""
    return "[\n" + ",\n".join(_case(case) for case in cases) + "\n]\n"


def _case(case: dict[str, Any]) -> str:
    if "entries" not in case:
        return json.dumps(case, ensure_ascii=False)
    parts = []
    for key, value in case.items():
        entries = ",\n".join(f"  {json.dumps(e, ensure_ascii=False)}" for e in value) if key == "entries" else ""
        parts.append(f' "{key}": ' + (f"[\n{entries}\n ]" if entries else json.dumps(value, ensure_ascii=False)))
    return "{\n" + ",\n".join(parts) + "\n}"


def main(folder: Path) -> None:
    """Write every file into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, cases in FILES.items():
        (folder / name).write_text(text_of(cases()), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "vectors")
