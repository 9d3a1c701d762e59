"""A small real task with contributors, an honest claim about it, and a prover in memory: no network, a second to make.

120 training rows from six contributors, three classes, ridge, margins of 20 test rows: a training takes a millisecond,
and the honest claim's gap is far below epsilon.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from protocol import taskfile
from protocol.claim import Claim, Figures
from protocol.commitments import MerkleTree, SigningKey
from protocol.encoding import Digest, Seed
from protocol.errors import TransportError
from protocol.game import HALF_16, Measure
from protocol.game.sampling import Draw, pairs
from protocol.session.effects import Finish, Received, Send, Train, Trained
from protocol.session.messages import Answers, ClaimCommitted, Message, SignedClaim
from protocol.session.prover import ProverSession
from protocol.task import (
    ConstantColumns,
    Data,
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
from protocol.training import Dataset, Trainer, load, read_table
from protocol.wire.files import claim_file_to_bytes

PROVER_KEY = SigningKey(bytes(range(32)))
N_TRAIN, N_TEST, N_FEATURES, N_PAIRS = 120, 40, 6, 1500
CONTRIBUTORS = ("ann", "bob", "cy", "dee", "eve", "fay")


def write_table(path: Path) -> None:
    """Write the rows: three classes around three centres, the last contributor's labels mostly wrong."""
    rng = np.random.default_rng(5)
    n = N_TRAIN + N_TEST
    labels = rng.integers(0, 3, n)
    features = rng.standard_normal((n, N_FEATURES)) + np.eye(3, N_FEATURES)[labels] * 2.5
    givers = rng.integers(0, len(CONTRIBUTORS), n)
    wrong = (givers == len(CONTRIBUTORS) - 1) & (rng.random(n) < 0.7)
    labels = np.where(wrong, (labels + 1) % 3, labels)
    head = ",".join(f"x{i}" for i in range(N_FEATURES))
    rows = [
        ",".join([*(f"{value:.6f}" for value in row), str(label), CONTRIBUTORS[giver]])
        for row, label, giver in zip(features, labels.tolist(), givers.tolist(), strict=True)
    ]
    path.write_text("\n".join([f"{head},label,giver", *rows]) + "\n")


@dataclass(frozen=True, eq=False)
class Market:
    """The task, its data on disk, and what an honest prover knows."""

    folder: Path
    task: Task
    dataset: Dataset
    trainer: Trainer
    claim: Claim

    @property
    def data(self) -> Path:
        return self.folder / "rows.csv"

    @property
    def task_file(self) -> Path:
        return self.folder / "task.toml"

    def outputs(self, draw: Draw, evaluations: np.ndarray) -> np.ndarray:
        """Return the true outputs of these evaluations."""
        subsets = draw.subsets(self.task, evaluations)
        return self.trainer.outputs(subsets, draw.training_seeds(self.task, evaluations)).values

    def scaled(self, factor: float) -> Claim:
        """Return the honest claim with every score multiplied."""
        return replace(self.claim, scores=self.claim.scores * factor)

    def committed(self, claim: Claim | None = None, key: SigningKey = PROVER_KEY) -> ClaimCommitted:
        """Return a claim, the honest one by default, under the prover's signature and with an honest one's figures."""
        claim = claim or self.claim
        root = MerkleTree(claim.leaves()).root
        figures = Figures(relative_gap=0.004, odd_residual=0.012, r2=0.95, n_retrainings=2 * N_PAIRS)
        signature = key.sign(SignedClaim.digest_of(self.task.digest, root, figures, key.public))
        signed = SignedClaim(
            task_digest=self.task.digest, root=root, figures=figures, public_key=key.public, signature=signature
        )
        return ClaimCommitted(signed=signed, claim=claim)

    def claim_file(self, path: Path, claim: Claim | None = None) -> Path:
        """Write a claim file and return its path."""
        path.write_bytes(claim_file_to_bytes(self.task, self.committed(claim)))
        return path

    @property
    def worths(self) -> dict[str, float]:
        """What each contributor is worth by the honest claim."""
        mean = self.claim.scores.mean(axis=0)
        givers = np.array(self.dataset.contributor_of_unit)
        return {name: float(mean[givers == name].sum()) for name in CONTRIBUTORS}


def make_market(folder: Path, kind: UnitKind = UnitKind.ROW) -> Market:
    """Return the market, its files written into ``folder``."""
    write_table(folder / "rows.csv")
    task = _task(folder / "rows.csv", kind)
    dataset = load(task, folder / "rows.csv")
    trainer = Trainer(task, dataset)
    (folder / "task.toml").write_text(taskfile.render(task))
    draw = Draw(seed=Seed(bytes(32)), design=pairs(N_PAIRS))
    everything = np.arange(draw.n_evaluations, dtype=np.int64)
    subsets = draw.subsets(task, everything)
    outputs = trainer.outputs(subsets, draw.training_seeds(task, everything)).values
    odd, centred = (outputs[::2] - outputs[1::2]) / 2, subsets[::2] - 0.5
    scores = np.linalg.solve(centred.T @ centred + 4 * np.eye(task.n_units), centred.T @ odd).T
    claim = Claim(
        task_digest=task.digest,
        intercepts=outputs.mean(axis=0) - 0.5 * scores.sum(axis=1),
        scores=np.ascontiguousarray(scores),
    )
    return Market(folder, task, dataset, trainer, claim)


def _task(path: Path, kind: UnitKind) -> Task:
    table = read_table("rows.csv", path=path, target_column="label", contributor_column="giver")
    n_units = N_TRAIN if kind is UnitKind.ROW else len(CONTRIBUTORS)
    return Task(
        data=Data(
            source="rows.csv", digest=Digest(table.digest), target_column="label", contributor_column="giver",
            n_classes=3, n_train=N_TRAIN, n_test=N_TEST, split_seed=1, constant_columns=ConstantColumns.REFUSE,
            scaling=Scaling.STANDARD,
        ),
        units=Units(kind=kind, n=n_units),
        recipe=Ridge(l2=20.0),
        targets=Targets(
            kind=TargetKind.MARGIN, rows=tuple(range(20)), average=False, lo=np.full(20, -6.0), hi=np.full(20, 6.0)
        ),
        measure=Measure(p_16=HALF_16),
        seed_policy=SeedPolicy.SHARED,
        seed=0,
        numerics=Numerics(tolerance=1e-7),
    )  # fmt: skip


class MemoryProver:
    """A prover's session in place of a server: what ``ProverClient`` is to the verifier, with nothing in between.

    Parameters
    ----------
    claim : what it claims; the honest claim by default.
    answer : from the true outputs to those it answers with.
    fails : raised instead of answering a message of the given type.
    """

    def __init__(
        self,
        market: Market,
        claim: Claim | None = None,
        *,
        answer: Callable[[np.ndarray], np.ndarray] = lambda outputs: outputs,
        fails: dict[type, Exception] | None = None,
    ) -> None:
        committed = market.committed(claim)
        self._market, self._answer, self._fails = market, answer, fails or {}
        self._session = ProverSession(
            game=market.task, claim=committed.claim, signed=committed.signed, key=PROVER_KEY, max_evaluations=100_000
        )
        self.max_evaluations: int | None = None
        self.heard: list[str] = []
        self.is_closed = False

    def get_task(self) -> Task:
        return self._market.task

    def exchange(self, message: Message, *, on_progress: Callable[[int, int], None]) -> ClaimCommitted | Answers | None:
        self.heard.append(type(message).__name__)
        if type(message) in self._fails:
            raise self._fails[type(message)]
        effects = deque(self._session.handle(Received(message)))
        while effects:
            match effects.popleft():
                case Train(draw=draw, evaluations=evaluations):
                    on_progress(0, len(evaluations))
                    outputs = self._answer(self._market.outputs(draw, evaluations))
                    effects.extend(self._session.handle(Trained(outputs)))
                case Send(message=reply):
                    return reply
                case Finish():
                    return None
        raise TransportError("the prover in memory said nothing")

    def close(self) -> None:
        self.is_closed = True
