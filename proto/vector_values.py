"""Made-up inputs of the vectors, and values as JSON."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any

import numpy as np

from protocol.claim import Claim, Figures
from protocol.commitments import MerkleTree, PublicKey, SigningKey
from protocol.encoding import Seed, digest
from protocol.game import HALF_16, Measure
from protocol.game.sampling import seed_from_integer
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
from protocol.session.messages import ClaimCommitted, SignedClaim
from protocol.task import (
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
        names = [field.name for field in fields(value) if field.compare]  # a draw's claim is named elsewhere
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
        "measure": Measure(p_16=changes.pop("p_16", HALF_16)),
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
        measure=Measure(p_16=16384),
        seed_policy=SeedPolicy.PER_SUBSET,
        seed=0,
    )


def seed_of(name: str) -> Seed:
    """Return a fixed seed for the vector called ``name``."""
    return seed_from_integer(f"vectors: {name}", 0)


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
