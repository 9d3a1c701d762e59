"""Games by the thousand under the moment certificate: from one numpy generator, since levels need speed, not AES.

That the protocol's own sampling has this distribution is tests/protocol/game's business.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from protocol.certificate.moments.scales import scales_of
from protocol.certificate.moments.tally import Rows, Tally, rows_of, tally_of
from protocol.certificate.readings import Readings, chosen
from protocol.certificate.terms import Across
from protocol.game import Statement
from protocol.game.harmonic import gap
from protocol.game.known import Known, statement_of
from protocol.game.tilting import LAMBDAS, LARGEST_RATIO, UNIFORM_16, Tilts

PILOT = 10


@dataclass(frozen=True, kw_only=True)
class World:
    """What a claim is judged on: f, and the claim's scores (T, N).

    noise : standard deviation of what a training's own seed adds to f. reach : half range, f's own unless given.
    """

    game: Known
    scores: np.ndarray
    noise: float = 0.0
    reach: float | None = None

    @property
    def p(self) -> float:
        return self.game.p

    @property
    def statement(self) -> Statement:
        reach = self.game.largest + 7 * self.noise if self.reach is None else self.reach
        return statement_of(self.game, n_targets=len(self.scores), bound=reach, per_subset=self.noise > 0)

    @property
    def gap(self) -> np.ndarray:
        """Of every target, shape (T,)."""
        return gap(self.scores, self.game.best, self.p)

    def subsets(
        self, rng: np.random.Generator, n: int, *, n_siblings: int, keep: float, tilted: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Bases (n, N), and their siblings, family by family, (n * s, N)."""
        n_targets, n_units = self.scores.shape
        inclusion = np.full((n, n_units), self.p)
        if tilted:
            which = rng.random(n) >= UNIFORM_16 / (1 << 16)
            tables = Tilts(self.scores).thresholds(np.arange(n_targets)) / 65536
            inclusion[which] = tables[rng.integers(n_targets, size=n), rng.integers(len(LAMBDAS), size=n)][which]
        bases = rng.random((n, n_units)) < inclusion
        siblings = np.repeat(bases, n_siblings, axis=0)
        if keep < 1:
            siblings = np.where(rng.random(siblings.shape) < keep, siblings, rng.random(siblings.shape) < self.p)
        return bases, siblings

    def readings(
        self,
        rng: np.random.Generator,
        n: int,
        *,
        n_siblings: int = 1,
        keep: float = 1.0,
        tilted: bool = False,
    ) -> tuple[Readings, np.ndarray | None]:
        """``n`` families, and their likelihood ratios where bases are tilted; ``keep`` is the root of rho."""
        bases, x = self.subsets(rng, n, n_siblings=n_siblings, keep=keep, tilted=tilted)
        shape = (n, n_siblings, len(self.scores))

        def trained(subsets: np.ndarray) -> np.ndarray:
            outputs = self.game.outputs(subsets)
            return (outputs + self.noise * rng.standard_normal(outputs.shape)).reshape(shape)

        ours = trained(x)
        theirs = trained(~x) if self.p == 0.5 else None
        readings = Readings(
            output=ours if theirs is None else (ours - theirs) / 2,
            linear=((x - self.p) @ self.scores.T).reshape(shape),
            even=None if theirs is None else (ours + theirs) / 2,
            claim_mean=self.p * self.scores.sum(axis=1),
            claim_variance=self.p * (1 - self.p) * (self.scores**2).sum(axis=1),
            rho=keep**2 if n_siblings > 1 else 1.0,
            p=self.p,
        )
        return readings, Tilts(self.scores).likelihood(bases) if tilted else None

    def pilot(self, rng: np.random.Generator) -> Readings:
        """Ten subsets, each trained twice where every training has a seed of its own."""
        return self.readings(rng, PILOT, n_siblings=2 if self.noise else 1)[0]


def tallied(
    world: World, pilot: Readings, readings: Readings, ratio: np.ndarray | None, across: Across = Across.POOLED
) -> tuple[Tally, Rows]:
    """What ``readings`` say, with everything fixed by ``pilot``."""
    scales = scales_of(world.statement, pilot)
    rows = rows_of(world.statement, pilot, scales, across)
    largest = 1.0 if ratio is None else LARGEST_RATIO
    return tally_of(readings, scales, rows, ratio=ratio, largest_ratio=largest), rows


def first(tally: Tally, n: int) -> Tally:
    """The first ``n`` families."""
    share = len(tally.below) / tally.n_families
    arrays = {f.name: getattr(tally, f.name)[:n] for f in fields(Tally) if f.name not in {"ratio", "below"}}
    return Tally(**arrays, below=tally.below[: int(n * share)], ratio=tally.ratio)


def columns(
    world: World,
    rng: np.random.Generator,
    runs: int,
    n: int,
    *,
    n_siblings: int = 1,
    keep: float = 1.0,
    tilted: bool = False,
) -> tuple[Tally, Rows]:
    """Many runs of one target side by side, each with a pilot of its own: run r is row r of what comes back.

    Across every with ``runs`` times delta, each row has delta to itself.
    """
    siblings = 2 if world.noise else 1
    pilots, _ = world.readings(rng, PILOT * runs, n_siblings=siblings)
    families, ratio = world.readings(rng, n * runs, n_siblings=n_siblings, keep=keep, tilted=tilted)
    tallies, rows = [], []
    for run in range(runs):
        mine = np.arange(n * run, n * (run + 1))
        pilot = chosen(pilots, np.arange(PILOT * run, PILOT * (run + 1)))
        tally, row = tallied(world, pilot, chosen(families, mine), None if ratio is None else ratio[mine])
        tallies.append(tally)
        rows.append(row)
    side = {
        f.name: np.concatenate([getattr(t, f.name) for t in tallies], axis=1)
        for f in fields(Tally)
        if f.name != "ratio"
    }
    whole = {"along_floor", "pooled"}
    below = {f.name: np.concatenate([getattr(r, f.name) for r in rows]) for f in fields(Rows) if f.name not in whole}
    return Tally(**side, ratio=tallies[0].ratio), Rows(**below, pooled=False, along_floor=rows[0].along_floor)


def table(rows: Rows) -> np.ndarray:
    """Each row's weights of all targets, shape (R, T)."""
    return rows.weights[None] if rows.pooled else np.diag(rows.weights)
