"""A claim made to fit the very subsets that it will be tested on. It is why the claim comes first (THEORY 8)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from protocol.claim import Claim
from protocol.encoding import Seed
from protocol.game.sampling import Bases, Draw, pairs
from protocol.game.tilting import Tilts
from tests.adversaries.cheat import GAP_FOUND, Cheat, Defence, Scene


@dataclass(frozen=True)
class FittedToChallenge(Cheat):
    """Is off by ``gap``, then moved by the least that leaves no residual on any subset of the challenge it expects.

    With fewer subsets than units the true gap stays huge, and every estimator there is sees none. Shown the challenge
    (``Scene.leaked``, the verifier's first look after its pilot) it wins; as built it can only guess one. It fits no
    more subsets than half the units: a fit to many more would be an honest claim. Subsets along the claim move when the
    claim does, and cannot be fitted: it takes them for those of the claim before it was moved.
    """

    gap: float = 2.0

    name = "fitted-to-challenge"
    stopped_by = (Defence.CLAIM_FIRST, Defence.TILTED, Defence.V13, Defence.V12)
    fate = GAP_FOUND

    def claim(self, honest: Claim, scene: Scene) -> Claim:
        n_pairs = scene.task.n_units // 2
        guess = Draw(
            seed=Seed(scene.rng.bytes(32)), design=pairs(n_pairs, complements=scene.task.measure.has_complements)
        )
        bad = scene.moved(honest, scene.rng.standard_normal(honest.scores.shape), self.gap)
        draw = scene.leaked[1] if len(scene.leaked) > 1 else guess
        if draw.design.bases is Bases.TILTED:
            draw = replace(draw, along=Tilts(bad.scores))
        return replace(bad, scores=bad.scores + _correction(bad, draw, scene))


def _correction(bad: Claim, draw: Draw, scene: Scene) -> np.ndarray:
    """Return the smallest change of the scores (T, N) that explains every subset's (at p = 1/2: odd) residual."""
    task, n_sides = scene.task, draw.design.n_sides
    n_fitted = min(draw.n_evaluations // n_sides, task.n_units // 2)
    members = n_sides * np.arange(n_fitted, dtype=np.int64)
    centred = draw.subsets(task, members) - task.measure.p
    outputs = scene.trained(draw, scene.outputs).reshape(-1, n_sides, task.n_targets)[:n_fitted]
    constant = bad.intercepts + task.measure.p * bad.scores.sum(axis=1)
    part = (outputs[:, 0] - outputs[:, 1]) / 2 if n_sides == 2 else outputs[:, 0] - constant
    return np.asarray(np.linalg.lstsq(centred, part - centred @ bad.scores.T, rcond=None)[0].T)
