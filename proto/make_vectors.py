"""Write proto/vectors/*.json: what every implementation of proto/SPEC.md must compute.

    python proto/make_vectors.py [FOLDER]

Made by this project's own code (``protocol``) from fixed inputs, checked by
proto/check_vectors.py, which shares none of it. Everything is arithmetic on integers, hashes
and dyadic fractions, so that the files are the same on every machine. Bytes are hexadecimal; a
number in JSON stands for the one double nearest to it. Inputs are vector_values.py's, whole
sessions vector_sessions.py's.
"""

from __future__ import annotations

import json
import struct
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from vector_sessions import sessions
from vector_values import (
    PROVER_KEY,
    contributors_task,
    exact_task,
    kernel_tasks,
    made_up_claim,
    made_up_task,
    own_network_task,
    plain,
    seed_of,
    sgd_task,
    sklearn_task,
    typed,
)

from protocol.commitments import MerkleTree
from protocol.encoding import PREFIX, canonical, digest
from protocol.game.sampling import (
    Bases,
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
from protocol.game.tilting import Tilts
from protocol.numerics import Exact
from protocol.recipes import Factory, Loss, Optimiser, Precision, Schedule, Sgd
from protocol.session.messages import ClaimCommitted
from protocol.task import SeedPolicy, Task
from protocol.training.exact.solver import ExactSolver
from protocol.wire.chunks import claim_to_bytes


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
        ("draw", [b"\x00" * 32, 3, 1, 65535, True, "tilted"]),
        ("game", ["made up", 3, np.array([-1.0]), np.array([1.5]), 16384, "per-subset", 0, 0.25]),
        ("rounds", [[[10, 1, 0, True, "drawn"], [80, 1, 65535, True, "tilted"]], 0]),
        ("terms", [0.05, 0.01, "pooled", "own", "moments", 6.0]),
        ("terms", [0.05, 0.01, "every", "delegated", "crossfit", None]),
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
    drawn = [_draw_json(name, task, Draw(seed=seed_of(name), design=design)) for name, task, design in cases]
    return [*drawn, *_tilted_draws(), _every_subset()]


def _tilted_draws() -> list[dict[str, Any]]:
    """Return draws along a claim, with the claim's scores and what a base's draws must be below."""
    lone = Design(n_families=24, n_siblings=1, keep_16=65535, complements=True, bases=Bases.TILTED)
    kin = Design(n_families=12, n_siblings=2, keep_16=50000, complements=True, bases=Bases.TILTED)
    steep = np.array([[3.0, -2.0, 1.0, 0.0, 0.5], [0.0, 0.0, 0.0, 0.0, 0.0], [1e50, -1e-50, 5e-324, 0.1, -1e50]])
    cases = [("tilted pairs", lone, steep), ("tilted families", kin, (np.arange(14).reshape(2, 7) % 5 - 2.0) / 8)]
    found = []
    for name, design, scores in cases:
        task = made_up_task(n_units=scores.shape[1], n_targets=len(scores))
        tilts = Tilts(scores)
        case = _draw_json(name, task, Draw(seed=seed_of(name), design=design, along=tilts))
        thresholds = tilts.thresholds(np.arange(len(scores), dtype=np.int64)).tolist()
        raw = scores.astype("<f8").tobytes().hex()
        found.append(case | {"scores": scores.tolist(), "scores_bytes": raw, "thresholds": thresholds})
    return found


def _every_subset() -> dict[str, Any]:
    """Return the draw that takes every subset, twice each; p is no part of it."""
    task = made_up_task(n_units=3, seed_policy=SeedPolicy.PER_SUBSET, seed=0)
    every = Design(n_families=8, n_siblings=2, keep_16=0, complements=False, bases=Bases.ALL)
    case = _draw_json("every subset twice", task, Draw(seed=seed_of("every subset"), design=every))
    return {key: value for key, value in case.items() if key != "p_16"}


def _draw_json(name: str, task: Task, draw: Draw) -> dict[str, Any]:
    evaluations = np.arange(draw.n_evaluations, dtype=np.int64)
    subsets = draw.subsets(task, evaluations)
    return {
        "name": name,
        "seed": draw.seed.hex(),
        "design": plain(draw.design),
        "draw_digest": draw.digest.hex(),
        "n_units": task.n_units,
        "p_16": task.measure.p_16,
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


def _claim_json(committed: ClaimCommitted) -> dict[str, Any]:
    return {
        **plain(committed),
        "bytes": claim_to_bytes(committed.claim).hex(),
        "leaves": [leaf.hex() for leaf in committed.claim.leaves()],
        "private_key": PROVER_KEY.hex(),
        "signed_digest": committed.signed.digest.hex(),
        "digest": committed.digest.hex(),
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
