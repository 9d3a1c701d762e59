"""Check proto/vectors/*.json against the second implementation, proto/reference.py and reference_exact.py.

    python proto/check_vectors.py [FOLDER]

Imports nothing of this project but those: the standard library and ``cryptography`` suffice.
Section numbers are SPEC.md's. Ends with status 1 and a line for each case that is not as it
should be.
"""

# ruff: noqa: D102, D103 - a check's name and SPEC.md say what it checks

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import reference as ref
import reference_exact
from reference import Json, WrongVectorError, require, same

# ------------------------------------------------------------------- section 6: order

ORDER = {
    ("start", "verifier", "Opening"): "opened",
    ("opened", "prover", "ClaimCommitted"): "committed",
    ("committed", "verifier", "RoundsChosen"): "planned",
    ("checked", "verifier", "RoundsChosen"): "planned",
    ("planned", "verifier", "Challenge"): "challenged",
    ("challenged", "prover", "Answers"): "answered",
    ("answered", "verifier", "Retrained"): "checked",
    ("checked", "verifier", "Challenge"): "challenged",
    ("planned", "verifier", "OwnChallenge"): "self-challenged",
    ("self-challenged", "verifier", "Retrained"): "checked",
    ("checked", "verifier", "OwnChallenge"): "self-challenged",
    ("planned", "verifier", "Closing"): "closed",
    ("checked", "verifier", "Closing"): "closed",
}


def next_state(state: str, entry: Json) -> str:
    """The verifier's record: every private entry is in it, so the rows marked "unseen" are never taken."""
    kind, sender = entry["type"], entry["sender"]
    private = kind in ("RoundsChosen", "Retrained") or (kind == "Challenge" and entry["private"])
    same(entry["private"], private, f"privacy of {kind}")
    if kind == "Aborted":
        require(state not in ("closed", "aborted") and sender in ("prover", "verifier"), "an abort after the end")
        return "aborted"
    row = (state, sender, "OwnChallenge" if kind == "Challenge" and private else kind)
    require(row in ORDER, f"{kind} from {sender} in state {state}")
    return ORDER[row]


# ------------------------------------------------------------------- section 8: what each method's rounds are


def is_own(terms: Json, number: int) -> bool:
    """Whether the verifier trains a round itself."""
    own = {"moments": 0, "crossfit": 1, "algorithm1": 3}
    return bool(terms["answers"] == "own" or own.get(terms["method"]) == number)


def has_pilot(task: Json, terms: Json) -> bool:
    """Whether round 0 is a pilot, after which the rounds are chosen again."""
    noisy = task["seed_policy"] == "per-subset"
    return bool(terms["method"] == "moments" or (terms["method"] == "gaussian" and noisy))


def check_design(task: Json, terms: Json, design: Json, number: int) -> None:
    """Check what a method says of a round's sides, bases and pilot; how many families it needs, it says elsewhere."""
    method, half = terms["method"], task["measure"]["p_16"] == 32768
    if has_pilot(task, terms) and number == 0:
        noisy = task["seed_policy"] == "per-subset"
        kind = {"n_siblings": 2, "keep_16": 65535} if noisy else {"n_siblings": 1, "keep_16": 0}
        same(design, {"n_families": 10, **kind, "complements": half, "bases": "drawn"}, "pilot")
        return
    bases = "all" if method == "exhaustive" else "drawn"
    if method == "moments" and terms["answers"] == "own" and half:
        is_group = design["bases"] == "drawn" and (design["n_siblings"], design["keep_16"]) == (1, 0)
        bases = "drawn" if is_group and task["units"]["n"] <= 2000 else "tilted"
    same(design["bases"], bases, "bases")
    same(design["complements"], half and method not in ("exhaustive", "algorithm1"), "complements")
    if method == "exhaustive":
        same(design["n_families"], 2 ** task["units"]["n"], "number of subsets")


# ------------------------------------------------------------------- section 7: whole sessions


class Replay:
    """Rechecks one session from its task, terms and entries."""

    def __init__(self, session: Json) -> None:
        self.session, self.task, self.terms = session, session["task"], session["terms"]
        self.name = ref.task_digest(self.task)
        self.state, self.round = "start", 0
        self.rounds: Json = None
        self.n_choices = 0
        self.head = self.spoken = ref.digest("transcript", ref.e_bytes(self.name))
        self.key = ""
        self.draw: Json = None
        self.answers: Json = None

    def run(self) -> None:
        same(self.session["first_head"], self.head.hex(), "first head")
        for entry in self.session["entries"]:
            self.state = next_state(self.state, entry)
            self.append(entry, self.DIGEST_OF[entry["type"]](self, entry["message"], entry))
        require(self.state in ("closed", "aborted"), "the session does not end")
        same(self.session["terms_digest"], ref.terms_digest(self.terms).hex(), "terms' digest")
        signed = ref.digest("signed transcript", ref.e_bytes(ref.terms_digest(self.terms)), ref.e_bytes(self.head))
        same(self.session["signed_digest"], signed.hex(), "signed digest")
        ref.check_keys(self.session["private_key"], self.session["public_key"], self.session["signature"], signed)

    def append(self, entry: Json, message_digest: bytes) -> None:
        same(entry["digest"], message_digest.hex(), f"digest of {entry['type']}")
        said = [ref.e_str(entry["sender"]), ref.e_str(entry["type"]), ref.e_bytes(message_digest)]
        self.head = ref.digest("entry", ref.e_bytes(self.head), ref.e_bool(entry["private"]), *said)
        if not entry["private"]:
            self.spoken = ref.digest("spoken", ref.e_bytes(self.spoken), *said)
        same(entry["head"], self.head.hex(), f"head after {entry['type']}")
        same(entry["spoken"], self.spoken.hex(), f"spoken head after {entry['type']}")

    def opening(self, message: Json, _: Json) -> bytes:
        same(message["version"], 1, "version")
        nonce, name = bytes.fromhex(message["nonce"]), bytes.fromhex(message["task_digest"])
        same(len(nonce), 16, "nonce's length")
        same(name, self.name, "opening's task digest")
        return ref.digest("opening", ref.e_int(message["version"]), ref.e_bytes(nonce), ref.e_bytes(name))

    def claim_committed(self, message: Json, _: Json) -> bytes:
        same(message["claim"]["task_digest"], self.name.hex(), "claim's task digest")
        self.key = message["signed"]["public_key"]
        return ref.check_committed_claim(message)

    def rounds_chosen(self, message: Json, _: Json) -> bytes:
        rounds = message["rounds"]
        same(self.round, self.n_choices, "round at which rounds are chosen")
        require(self.n_choices == 0 or has_pilot(self.task, self.terms), "rounds chosen again, and no pilot before")
        require(1 <= len(rounds["looks"]) <= 64, "1 to 64 rounds")
        require((rounds["n_checks"] == 0) == (self.terms["answers"] == "own"), "checks where the prover answers")
        for number, design in enumerate(rounds["looks"]):
            check_design(self.task, self.terms, design, number)
        if self.rounds is not None:
            same(rounds["looks"][: self.round], self.rounds["looks"][: self.round], "rounds drawn already")
        self.rounds, self.n_choices = rounds, self.n_choices + 1
        return ref.rounds_digest(rounds)

    def challenge(self, message: Json, entry: Json) -> bytes:
        self.draw, self.answers = message["draw"], None
        same(message["round"], self.round, "round")
        same(self.draw["design"], self.rounds["looks"][self.round], "design")
        due = 2 if has_pilot(self.task, self.terms) and self.round > 0 else 1
        same(self.n_choices, due, "choices of rounds before a challenge")
        same(entry["private"], is_own(self.terms, self.round), "privacy of the challenge")
        name = ref.draw_digest(bytes.fromhex(self.draw["seed"]), self.draw["design"])
        return ref.digest("challenge", ref.e_int(message["round"]), ref.e_bytes(name))

    def answered(self, message: Json, entry: Json) -> bytes:
        outputs = message["outputs"]
        same(message["round"], self.round, "round")
        same(len(outputs), ref.n_evaluations(self.draw["design"]), "number of answers")
        targets = self.task["targets"]
        for row in outputs:
            for output, lo, hi in zip(row, targets["lo"], targets["hi"], strict=True):
                require(lo <= output <= hi, f"an answer of {output} outside its range")
        leaves = ref.answer_leaves(self.task, self.draw, outputs)
        same(entry["leaves"], [leaf.hex() for leaf in leaves], "answers' leaves")
        root = ref.tree_root(leaves)
        same(message["root"], root.hex(), "answers' root")
        path = [bytes.fromhex(node) for node in entry["path_of_last_leaf"]]
        same(ref.root_from_path(leaves[-1], len(leaves) - 1, len(leaves), path), root, "path of the last leaf")
        signed = ref.digest("answers", ref.e_bytes(self.spoken), ref.e_int(self.round), ref.e_bytes(root))
        ref.check_signature(self.key, message["signature"], signed)
        self.answers = outputs
        signature = ref.e_bytes(bytes.fromhex(message["signature"]))
        return ref.digest("answers committed", ref.e_int(self.round), ref.e_bytes(root), signature)

    def retrained(self, message: Json, _: Json) -> bytes:
        m, evaluations, outputs = ref.n_evaluations(self.draw["design"]), message["evaluations"], message["outputs"]
        same(message["round"], self.round, "round")
        if message["check_seed"] is None:
            require(
                is_own(self.terms, self.round),
                f"round {self.round} is the prover's to answer, and was rechecked from no seed",
            )
            same(evaluations, list(range(m)), "evaluations")
            seed = ref.e_none()
        else:
            raw = bytes.fromhex(message["check_seed"])
            size = 2 if self.draw["design"]["complements"] else 1
            chosen = sorted(ref.permutation(raw, m // size)[: self.rounds["n_checks"]])
            same(evaluations, [size * i + side for i in chosen for side in range(size)], "evaluations")
            seed = ref.e_bytes(raw)
            for e, row in zip(evaluations, outputs, strict=True):
                worst = max(abs(a - b) for a, b in zip(self.answers[e], row, strict=True))
                require(worst <= self.task["numerics"]["tolerance"], f"answer {e} is false")
        self.round += 1
        items = [output for row in outputs for output in row]
        numbers = ref.e_array("f", [len(outputs), len(outputs[0])], items)
        return ref.digest(
            "retrained", ref.e_int(message["round"]), seed, ref.e_array("i", [len(evaluations)], evaluations), numbers
        )

    def closing(self, message: Json, _: Json) -> bytes:
        return ref.digest("closing", ref.e_str(message["outcome"]), ref.e_str(message["reason"]))

    def aborted(self, message: Json, _: Json) -> bytes:
        return ref.digest("aborted", ref.e_str(message["reason"]), ref.e_str(message["text"]))

    DIGEST_OF = {
        "Opening": opening,
        "ClaimCommitted": claim_committed,
        "RoundsChosen": rounds_chosen,
        "Challenge": challenge,
        "Answers": answered,
        "Retrained": retrained,
        "Closing": closing,
        "Aborted": aborted,
    }


# ------------------------------------------------------------------- one check a file


def check_encoding(case: Json) -> None:
    same(case["bytes"], ref.e_typed(case["value"]).hex(), "canonical bytes")


def check_digest(case: Json) -> None:
    same(case["prefix"], "attribution-proofs/1", "prefix")
    same(case["digest"], ref.digest(case["label"], *map(ref.e_typed, case["fields"])).hex(), "digest")


def check_sampling(case: Json) -> None:
    seed, design = bytes.fromhex(case["seed"]), case["design"]
    same(case["draw_digest"], ref.draw_digest(seed, design).hex(), "draw digest")
    every = range(ref.n_evaluations(design))
    require(case["seed_policy"] == "shared" or case["shared_seed"] == 0, "a shared seed that is not used")
    scores = case.get("scores")
    same(design["bases"] == "tilted", scores is not None, "scores where bases are tilted")
    if scores is not None:
        numbers = [score for row in scores for score in row]
        same(case["scores_bytes"], struct.pack(f"<{len(numbers)}d", *numbers).hex(), "bytes of the scores")
        thresholds = [[ref.tilted_thresholds(row, tilt) for tilt in ref.LAMBDAS] for row in scores]
        same(case["thresholds"], thresholds, "thresholds")
    same(design["bases"] == "all", "p_16" not in case, "p where subsets are drawn")
    if design["bases"] == "all":
        same(design["n_families"], 2 ** case["n_units"], "number of subsets")
    subsets = [ref.subset_of(seed, design, case["n_units"], case.get("p_16", 0), e, scores) for e in every]
    same(case["subsets"], ["".join(map(str, units)) for units in subsets], "subsets")
    same(case["subset_digests"], [ref.subset_digest(units).hex() for units in subsets], "subset digests")
    seeds = [ref.training_seed(seed, case["seed_policy"], case["shared_seed"], e) for e in every]
    same(case["training_seeds"], seeds, "training seeds")


def check_choice(case: Json) -> None:
    seed = ref.digest("integer seed", ref.e_str(case["label"]), ref.e_int(case["integer"]))
    same(case["seed"], seed.hex(), "seed")
    same(case["permutation"], ref.permutation(seed, case["n"]), "permutation")
    same(case["choice"], sorted(ref.permutation(seed, case["n"])[: case["k"]]), "choice")
    same(len(case["choice"]), case["k"], "size of the choice")


def check_training(case: Json) -> None:
    drawn = ref.training_draws(case["training_seed"], case["index"], case["n"], case["padding"])
    for name, want in drawn.items():
        same(case[name], want, name)


def check_exact(case: Json) -> None:
    found = [[struct.pack(">d", score).hex() for score in row] for row in reference_exact.scores(case)]
    same(case["scores"], found, "scores")


def check_tree(case: Json) -> None:
    leaves = [bytes.fromhex(leaf) for leaf in case["leaves"]]
    same(case["root"], ref.tree_root(leaves).hex(), "root")
    for index, (leaf, path) in enumerate(zip(leaves, case["paths"], strict=True)):
        got = ref.root_from_path(leaf, index, len(leaves), [bytes.fromhex(node) for node in path])
        same(got.hex(), case["root"], f"root from path {index}")


def check_task(case: Json) -> None:
    same(case["digest"], ref.task_digest(case["task"]).hex(), "task digest")


def check_claim(case: Json) -> None:
    claim, signed = case["claim"], case["signed"]
    same(case["digest"], ref.check_committed_claim(case).hex(), "message digest")
    same(case["leaves"], [leaf.hex() for leaf in ref.claim_leaves(claim)], "leaves")
    numbers = [*claim["intercepts"], *(score for row in claim["scores"] for score in row)]
    same(case["bytes"], struct.pack(f"<{len(numbers)}d", *numbers).hex(), "claim bytes")
    same(case["signed_digest"], ref.claim_digest(signed).hex(), "signed digest")
    ref.check_keys(case["private_key"], signed["public_key"], signed["signature"], ref.claim_digest(signed))


def check_session(case: Json) -> None:
    Replay(case).run()


CHECKS: dict[str, Callable[[Json], None]] = {
    "choices.json": check_choice,
    "claims.json": check_claim,
    "digests.json": check_digest,
    "encodings.json": check_encoding,
    "exact.json": check_exact,
    "sampling.json": check_sampling,
    "sessions.json": check_session,
    "tasks.json": check_task,
    "training.json": check_training,
    "trees.json": check_tree,
}


def faults_in(file: Path, check: Callable[[Json], None]) -> list[str]:
    """Return a line for every case that is wrong; a case that cannot even be read is a wrong one."""
    try:
        cases = json.loads(file.read_text(encoding="utf-8"))
        require(isinstance(cases, list) and len(cases) > 0, "expected a list of cases, got none")
    except (OSError, ValueError, WrongVectorError) as error:
        return [f"{type(error).__name__}: {error}"]
    found = []
    for number, case in enumerate(cases):
        try:
            check(case)
        except Exception as error:  # noqa: BLE001
            found.append(f"case {number}: {type(error).__name__}: {error}")
    return found


def faults(folder: Path) -> list[str]:
    """Return a line for every file that is missing, unknown, empty or wrong; none when all is well."""
    found = []
    present = {path.name for path in folder.glob("*.json")}
    found += [f"{name}: expected no such file" for name in sorted(present - set(CHECKS))]
    for name, check in CHECKS.items():
        if name not in present:
            found.append(f"{name}: expected this file, got none")
            continue
        found += [f"{name}: {fault}" for fault in faults_in(folder / name, check)]
    return found


def main(folder: Path) -> int:
    """Print what is wrong, or how much is right, and return the exit status."""
    wrong = faults(folder)
    for line in wrong:
        print(line)
    if not wrong:
        print(f"{len(CHECKS)} files of vectors agree with a second implementation of SPEC.md")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "vectors"))
