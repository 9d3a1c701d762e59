"""A second implementation of proto/SPEC.md, sections 2 to 5, written from its text alone.

Imports nothing of this project, so that a mistake would have to be made twice. Where the
project is fast, this is literal: AES one block at a time, the Merkle tree by RFC 6962's
recursion, a unit by a unit. Values come as the JSON of proto/vectors; ``e_...`` gives the
canonical bytes of one of a known type.
"""

# ruff: noqa: D103 - the headings name the sections of SPEC.md, which say what each computes

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Json = Any


class WrongVectorError(Exception):
    """A vector that does not say what the specification says."""


def require(holds: bool, what: str) -> None:
    """Raise unless ``holds``."""
    if not holds:
        raise WrongVectorError(what)


def same(got: object, want: object, what: str) -> None:
    """Raise unless the vector's value is the one computed here."""
    require(got == want, f"{what}: the vector says {str(got)[:80]}, expected {str(want)[:80]}")


# ------------------------------------------------------------------- section 2: canonical bytes


def u64(n: int) -> bytes:
    return struct.pack(">Q", n)


def e_none() -> bytes:
    return b"n"


def e_bool(value: bool) -> bytes:
    require(value is True or value is False, f"expected a boolean, got {value!r}")
    return b"t" if value else b"f"


def e_int(value: int) -> bytes:
    require(type(value) is int, f"expected an integer, got {value!r}")
    return b"i" + struct.pack(">q", value)


def e_float(value: float) -> bytes:
    return b"d" + struct.pack(">d", value)


def e_str(value: str) -> bytes:
    raw = value.encode()
    return b"s" + u64(len(raw)) + raw


def e_bytes(value: bytes) -> bytes:
    return b"b" + u64(len(value)) + value


def e_list(items: list[bytes]) -> bytes:
    return b"l" + u64(len(items)) + b"".join(items)


def e_array(letter: str, shape: list[int], items: list[Any]) -> bytes:
    n_items = 1
    for length in shape:
        n_items *= length
    same(len(items), n_items, "array items")
    packed = b"".join(struct.pack({"f": "<d", "i": "<q", "u": "<B"}[letter], item) for item in items)
    return b"a" + letter.encode() + u64(len(shape)) + b"".join(map(u64, shape)) + packed


def e_typed(value: Json) -> bytes:
    letter, *rest = value
    if letter == "a":
        return e_array(*rest)
    if letter == "l":
        return e_list([e_typed(item) for item in rest[0]])
    if letter == "b":
        return e_bytes(bytes.fromhex(rest[0]))
    if letter in "tf":
        return e_bool(letter == "t")
    return {"n": e_none, "i": e_int, "d": e_float, "s": e_str}[letter](*rest)


# ------------------------------------------------------------------- section 3: digests


def digest(label: str, *encoded: bytes) -> bytes:
    return hashlib.sha256(e_list([e_str("attribution-proofs/1"), e_str(label), *encoded])).digest()


# ------------------------------------------------------------------- section 4: derivations


def stream(seed: bytes, label: str, index: int, n_bytes: int) -> bytes:
    key = digest("stream", e_bytes(seed), e_str(label))
    aes = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - CTR, spelled out
    blocks = [aes.update(u64(index) + u64(block)) for block in range((n_bytes + 15) // 16)]
    return b"".join(blocks)[:n_bytes]


def draws_16(seed: bytes, label: str, index: int, n: int) -> list[int]:
    return [low | high << 8 for low, high in zip(*[iter(stream(seed, label, index, 2 * n))] * 2, strict=True)]


def n_evaluations(design: Json) -> int:
    return design["n_families"] * design["n_siblings"] * (2 if design["complements"] else 1)


UNIFORM_16 = 52429
LAMBDAS = (1.0, 2.0)


def tilted_thresholds(scores: list[float], tilt: float) -> list[int]:
    """Return one target's thresholds, each operation a rounding to the nearest double."""
    largest = max(abs(score) for score in scores) or 1.0
    whole = [round(score / largest * 2**19) for score in scores]  # Python's round takes the even one of two as near
    length = math.sqrt(float(max(sum(q * q for q in whole), 1)))
    thresholds = []
    for q in whole:
        t = tilt * (q / length)
        share = (1 + t / math.sqrt(1 + t * t)) / 2
        thresholds.append(min(max(math.floor(65536 * share), 1), 65535))
    return thresholds


def base_thresholds(seed: bytes, n_units: int, family: int, scores: list[list[float]]) -> list[int]:
    """Return what a tilted design's base draws must be below."""
    choice = stream(seed, "tilt", family, 16)
    kind, which = (int.from_bytes(choice[i : i + 2], "little") for i in (0, 2))
    if kind < UNIFORM_16:
        return [32768] * n_units
    word = int.from_bytes(choice[8:], "little") // 2**11
    target = math.floor(word * 2.0**-53 * len(scores))
    return tilted_thresholds(scores[target], LAMBDAS[which * len(LAMBDAS) // 65536])


def subset_of(
    seed: bytes, design: Json, n_units: int, p_16: int, evaluation: int, scores: list[list[float]] | None = None
) -> list[int]:
    """Return which units are in; ``scores`` are the claim's, for tilted bases alone."""
    member, side = divmod(evaluation, 2) if design["complements"] else (evaluation, 0)
    family = member // design["n_siblings"]
    if design["bases"] == "all":
        return [family >> i & 1 for i in range(n_units)]
    base, thresholds = draws_16(seed, "base", family, n_units), [p_16] * n_units
    if design["bases"] == "tilted":
        require(scores is not None and p_16 == 32768, "a tilted draw has a claim and p = 1/2")
        thresholds = base_thresholds(seed, n_units, family, scores or [])
    else:
        same(design["bases"], "drawn", "bases")
    sibling = draws_16(seed, "sibling", member, 2 * n_units)
    units = []
    for i in range(n_units):
        kept = sibling[i] < design["keep_16"]
        inside = base[i] < thresholds[i] if kept else sibling[n_units + i] < p_16
        units.append(int(inside) ^ side)
    return units


def subset_digest(units: list[int]) -> bytes:
    bits = "".join(map(str, units)).ljust(-(-len(units) // 8) * 8, "0")
    packed = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
    return digest("subset", e_int(len(units)), e_bytes(packed))


def training_seed(seed: bytes, policy: str, shared: int, evaluation: int) -> int:
    if policy == "shared":
        return shared
    same(policy, "per-subset", "seed policy")
    return int.from_bytes(stream(seed, "training seed", evaluation, 8), "little") // 2


def permutation(seed: bytes, n: int) -> list[int]:
    raw = stream(seed, "permutation", 0, 8 * n)
    numbers = [int.from_bytes(raw[8 * i : 8 * i + 8], "little") for i in range(n)]
    return sorted(range(n), key=lambda i: (numbers[i], i))


def training_draws(integer: int, index: int, n: int, padding: int) -> Json:
    """Return what recipe sgd draws: an epoch's order and augmentations, a parameter's first values."""
    seed = digest("integer seed", e_str("training"), e_int(integer))
    numbers = [int.from_bytes(stream(seed, "order", index, 8 * n)[8 * i : 8 * i + 8], "little") for i in range(n)]
    words = [int.from_bytes(stream(seed, "weights", index, 4 * n)[4 * i : 4 * i + 4], "little") for i in range(n)]
    moves = draws_16(seed, "augmentation", index, 3 * n)
    return {
        "seed": seed.hex(),
        "order": sorted(range(n), key=lambda i: (numbers[i], i)),
        "weights": [(2 * word + 1 - 2**32) / 2**32 for word in words],
        "augmentations": [
            [moves[3 * i] // 32768, *(moves[3 * i + side] * (2 * padding + 1) // 65536 for side in (1, 2))]
            for i in range(n)
        ],
    }


def design_fields(design: Json) -> list[bytes]:
    sizes = [e_int(design[name]) for name in ("n_families", "n_siblings", "keep_16")]
    return [*sizes, e_bool(design["complements"]), e_str(design["bases"])]


def draw_digest(seed: bytes, design: Json) -> bytes:
    return digest("draw", e_bytes(seed), *design_fields(design))


def leaf_hash(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def split_of(n: int) -> int:
    half = 1
    while half * 2 < n:
        half *= 2
    return half


def tree_root(leaves: list[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    half = split_of(len(leaves))
    return node_hash(tree_root(leaves[:half]), tree_root(leaves[half:]))


def root_from_path(leaf: bytes, index: int, n: int, path: list[bytes]) -> bytes:
    """Return the root that a path leads to; the path ends below the root."""
    if n == 1:
        same(path, [], "path")
        return leaf_hash(leaf)
    half = split_of(n)
    *below, sibling = path
    if index < half:
        return node_hash(root_from_path(leaf, index, half, below), sibling)
    return node_hash(sibling, root_from_path(leaf, index - half, n - half, below))


# ------------------------------------------------------------------- section 5: messages


def e_ints(values: list[int]) -> bytes:
    return e_list([e_int(value) for value in values])


def e_network(network: Json | None) -> bytes:
    if network is None:
        return e_none()
    factory_digest = e_bytes(bytes.fromhex(network["factory_digest"]))
    sizes = [e_ints(network["widths"]), e_ints(network["image"])]
    return e_list([e_str(network["factory"]), factory_digest, *sizes, e_int(network["seed"])])


RECIPE_FIELDS: dict[str, dict[str, Callable[[Any], bytes]]] = {
    "ridge": {"l2": e_float},
    "logistic": {"l2": e_float, "gradient_tolerance": e_float},
    "kernel": {"kernel": e_str, "l2": e_float, "gamma": e_float, "network": e_network},
    "sklearn": {"estimator": e_str, "version": e_str, "reading": e_str},
    "sgd": {
        "factory": e_str,
        "factory_digest": lambda text: e_bytes(bytes.fromhex(text)),
        "widths": e_ints,
        "image": e_ints,
        "loss": e_str,
        "optimiser": e_str,
        "learning_rate": e_float,
        "momentum": e_float,
        "beta1": e_float,
        "beta2": e_float,
        "epsilon": e_float,
        "weight_decay": e_float,
        "schedule": e_str,
        "warmup_steps": e_int,
        "epochs": e_int,
        "batch_size": e_int,
        "precision": e_str,
        "flips": e_bool,
        "crop_padding": e_int,
    },
}


NUMERICS_FIELDS: dict[str, dict[str, Callable[[Any], bytes]]] = {
    "tolerance": {"tolerance": e_float},
    "exact": {"weight_bits": e_int, "activation_bits": e_int, "gradient_bits": e_int},
}


def task_digest(task: Json) -> bytes:
    data, targets, recipe = task["data"], task["targets"], task["recipe"]
    parts = RECIPE_FIELDS[recipe["name"]]
    same(set(recipe), {"name", *parts}, "recipe")
    profile = NUMERICS_FIELDS[task["numerics"]["profile"]]
    same(set(task["numerics"]), {"profile", *profile}, "numeric profile")
    n_targets = 1 if targets["average"] else len(targets["rows"])
    return digest(
        "task",
        e_list(
            [
                e_str(data["source"]),
                e_bytes(bytes.fromhex(data["digest"])),
                e_str(data["target_column"]),
                e_str(data["contributor_column"]),
                *(e_int(data[name]) for name in ("n_classes", "n_train", "n_test", "split_seed")),
                e_str(data["constant_columns"]),
                e_str(data["scaling"]),
            ]
        ),
        e_list([e_str(task["units"]["kind"]), e_int(task["units"]["n"])]),
        e_list([e_str(recipe["name"]), *(encode(recipe[name]) for name, encode in parts.items())]),
        e_list(
            [
                e_str(targets["kind"]),
                e_array("i", [len(targets["rows"])], targets["rows"]),
                e_bool(targets["average"]),
                e_array("f", [n_targets], targets["lo"]),
                e_array("f", [n_targets], targets["hi"]),
            ]
        ),
        e_int(task["measure"]["p_16"]),
        e_str(task["seed_policy"]),
        e_int(task["seed"]),
        e_list(
            [
                e_str(task["numerics"]["profile"]),
                *(encode(task["numerics"][name]) for name, encode in profile.items()),
            ]
        ),
    )


def claim_leaves(claim: Json) -> list[bytes]:
    name = bytes.fromhex(claim["task_digest"])
    rows = zip(claim["intercepts"], claim["scores"], strict=True)
    return [
        e_list([e_str("claim leaf"), e_bytes(name), e_int(t), e_float(intercept), e_array("f", [len(scores)], scores)])
        for t, (intercept, scores) in enumerate(rows)
    ]


def claim_digest(signed: Json) -> bytes:
    """What the prover signs of a claim."""
    figures = signed["figures"]
    return digest(
        "claim",
        e_bytes(bytes.fromhex(signed["task_digest"])),
        e_bytes(bytes.fromhex(signed["root"])),
        *(e_float(figures[name]) for name in ("relative_gap", "odd_residual", "r2")),
        e_int(figures["n_retrainings"]),
        e_bytes(bytes.fromhex(signed["public_key"])),
    )


def check_signature(public_key: str, signature: str, message: bytes) -> None:
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(bytes.fromhex(signature), message)


def check_committed_claim(message: Json) -> bytes:
    """Check a claim against its own commitment and return its message digest (V4, V5)."""
    signed, claim = message["signed"], message["claim"]
    same(claim["task_digest"], signed["task_digest"], "claim's task")
    same(signed["root"], tree_root(claim_leaves(claim)).hex(), "claim's root")
    name = claim_digest(signed)
    check_signature(signed["public_key"], signed["signature"], name)
    return digest("claim committed", e_bytes(name), e_bytes(bytes.fromhex(signed["signature"])))


def answer_leaves(task: Json, draw: Json, outputs: list[list[float]]) -> list[bytes]:
    seed, leaves = bytes.fromhex(draw["seed"]), []
    for e, row in enumerate(outputs):
        units = subset_of(seed, draw["design"], task["units"]["n"], task["measure"]["p_16"], e)
        own_seed = training_seed(seed, task["seed_policy"], task["seed"], e)
        numbers = e_array("f", [len(row)], row)
        leaves.append(e_list([e_str("answer leaf"), e_int(e), e_bytes(subset_digest(units)), e_int(own_seed), numbers]))
    return leaves


def terms_digest(terms: Json) -> bytes:
    return digest(
        "terms",
        e_float(terms["epsilon"]),
        e_float(terms["delta"]),
        e_str(terms["across"]),
        e_str(terms["answers"]),
        e_str(terms["method"]),
        e_none() if terms["kurtosis"] is None else e_float(terms["kurtosis"]),
    )


def rounds_digest(rounds: Json) -> bytes:
    looks = [e_list(design_fields(design)) for design in rounds["looks"]]
    return digest("rounds", e_list(looks), e_int(rounds["n_checks"]))


def check_keys(private_key: str, public_key: str, signature: str, message: bytes) -> None:
    """Ed25519 is deterministic: the private key must give this very public key and signature."""
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(private_key))
    same(public_key, private.public_key().public_bytes_raw().hex(), "public key")
    same(signature, private.sign(message).hex(), "signature")
