"""The cases of THEORY 1 and 2 by name, each for any relative gap: what a certificate has failed on, or might.

"Before" is the wrong ACCEPTs (or, for even spikes, wrong REJECTs) of the certificate that was the default at commit
ff7db19, as THEORY 1 has them; a dash where nothing was measured then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import numpy as np

from benchmarks.adversary.cases import bent, garbage, missed, off_along, shared_amplitude
from benchmarks.adversary.sessions import HONEST, Case
from protocol.certificate.terms import Across
from protocol.claim import Figures
from protocol.game.known import (
    Alike,
    Bent,
    CharacterTimesSquare,
    CharacterWhereAlike,
    Linear,
    OneTarget,
    Sum,
    Threshold,
    Weighted,
)

N_UNITS = 24
Builder: TypeAlias = Callable[[float], Case]

LYING = {
    "gap 0, residual 0": Figures(relative_gap=0.0, odd_residual=0.0, r2=1.0, n_retrainings=0),
    "enormous": Figures(relative_gap=1e300, odd_residual=1e300, r2=-1e300, n_retrainings=2**31),
    "contradictory": Figures(relative_gap=1e-12, odd_residual=2.0, r2=1.0, n_retrainings=0),
    "all residual, no gap": Figures(relative_gap=0.0, odd_residual=1.0, r2=0.0, n_retrainings=0),
}


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One case.

    most_kurtosis : up to which the default's promise reaches; infinite for tangent claims. is_delegated : whether the
    case is tried with a prover's answers, too, where sessions cost more.
    """

    name: str
    build: Builder
    before: str = "-"
    most_kurtosis: float = 16.0
    is_delegated: bool = False


def _linear(p: float = 0.5) -> Linear:
    return Linear(N_UNITS, p=p)


def _miss(name: str, rest: OneTarget, before: str = "-", *, most: float = 16.0, figures: Figures = HONEST,
          noise: float = 0.0, p: float = 0.5) -> Listed:  # fmt: skip
    build = partial(missed, name, _linear(p), rest, figures=figures, noise=noise)
    return Listed(name=name, build=build, before=before, most_kurtosis=most)


def _all(width: int, p: float = 0.5) -> Threshold:
    return Threshold(N_UNITS, width, width, p=p)


def _interactions() -> list[Listed]:
    atleast = partial(Threshold, N_UNITS)
    return [
        _miss("3 units all in", _all(3), ".106", most=24),
        _miss("4 units all in", _all(4), most=24),
        _miss("5 units all in", _all(5), most=24),
        _miss("a unit where 4 others are alike", CharacterWhereAlike(N_UNITS, 4), ".150"),
        _miss("a unit where 5 others are alike", CharacterWhereAlike(N_UNITS, 5)),
        _miss("a unit times a squared sum of 9", CharacterTimesSquare(N_UNITS, 9), ".078"),
        _miss("at least 9 of 11", atleast(11, 9), ".305", most=24),
        _miss("at least 15 of 20", atleast(20, 15), most=24),
        _miss("at least 10 of 12", atleast(12, 10), most=24),
        _miss("cube of a count of 5", Bent(N_UNITS, "cube", 5)),
        _miss("cube of a count of 6", Bent(N_UNITS, "cube", 6)),
    ]


def _tangents() -> list[Listed]:
    shapes = {"clip 1.5": True, "clip 2": True, "tanh": True, "bent": True, "sinh": False}
    return [
        Listed(
            name=f"tangent: {shape}", build=partial(_tangent, shape, over), most_kurtosis=np.inf,
        )
        for shape, over in shapes.items()
    ]  # fmt: skip


def _tangent(shape: str, over: bool, share: float) -> Case:
    game = Bent(40, shape, 40)
    return bent(f"tangent: {shape}", game, game.variance, share, over=over)


def _elsewhere() -> list[Listed]:
    """Away from p = 1/2: independent subsets, no complements."""
    one = np.eye(N_UNITS)[9]
    rows = [
        _miss("2 units all in, p = .3", _all(2, 0.3), ".138", p=0.3, most=24),
        _miss("3 units all in, p = .4", _all(3, 0.4), p=0.4, most=24),
        _miss("2 units all in, p = .4", _all(2, 0.4), ".087", p=0.4, most=24),
        _miss("4 units all in, p = .6", _all(4, 0.6), p=0.6, most=24),
        _miss("1 of 2 units, p = .7", Threshold(N_UNITS, 2, 1, p=0.7), ".145", p=0.7, most=24),
        _miss("5 units all in, p = .7", _all(5, 0.7), p=0.7, most=24),
    ]
    for p in (0.3, 0.4, 0.6, 0.7):
        name = f"one unit's score, p = {p:g}"
        rows.append(Listed(name=name, build=partial(off_along, name, _linear(p), 1.0, one)))
    return rows


def _figures() -> list[Listed]:
    rows = [
        _miss(f"5 units all in, figures: {name}", _all(5), most=24, figures=figures) for name, figures in LYING.items()
    ]
    zero = LYING["gap 0, residual 0"]
    rows += [
        _miss("4 units all in, figures: gap 0, residual 0", _all(4), ".278", most=24, figures=zero),
        _miss("3 units all in, p = .4, figures: gap 0, residual 0", _all(3, 0.4), "(.58)", p=0.4, most=24,
              figures=zero),
    ]  # fmt: skip
    return rows


def _even_spike(width: int, share: float) -> Case:
    """Twice the linear part's variance is even and rare; the claim is too small by the share."""
    spike = Alike(N_UNITS, width)
    game = Sum((_linear(), spike), (1.0, (2 / spike.variance) ** 0.5))
    return bent(f"even spike of {width} units alike", game, 3.0, share, over=False)


def _linear_claims() -> list[Listed]:
    """Claims wrong in their scores alone."""
    random = np.random.default_rng(3).standard_normal(N_UNITS)
    rows = [
        Listed(
            name=f"even spike of {width} units alike", before=before, build=partial(_even_spike, width),
        )
        for width, before in ((5, ".236 (wrong REJECT)"), (7, "-"))
    ]  # fmt: skip
    rows += [
        Listed(name="scores too small", build=partial(bent, "scores too small", _linear(), 1.0, over=False)),
        Listed(name="a random direction", build=partial(off_along, "a random direction", _linear(), 1.0, random)),
        Listed(
            name="scores too small, seed noise of Var f",
            build=partial(bent, "scores too small, seed noise of Var f", _linear(), 1.0, over=False, noise=1.0),
        ),
        _miss("4 units all in, seed noise of Var f / 10", _all(4), most=24, noise=0.3),
        _miss("9 of 11, seed noise of Var f / 100", Threshold(N_UNITS, 11, 9), most=24, noise=0.1),
    ]
    return rows


def _many() -> list[Listed]:
    """Several targets; pooled unless it says otherwise."""
    rows = []
    for t in (1, 20, 200):
        for flat, what in ((False, "size of a sum"), (True, "1 + a product")):
            name = f"{t} targets share an amplitude, {what}"
            before = ".115 (T = 500, mean)" if t == 200 else "-"
            rows.append(Listed(name=name, build=partial(shared_amplitude, name, t, flat=flat), before=before))
    for t, wrong in ((20, 1), (200, 6)):
        name = f"{wrong} of {t} targets wrong"
        rows.append(Listed(name=name, build=partial(garbage, name, t, wrong)))
    for across in (Across.MEAN, Across.EVERY):
        for t in (2, 5):
            name = f"{t} targets share an amplitude, across {across.value}"
            rows.append(Listed(name=name, build=partial(shared_amplitude, name, t, across=across)))
            name = f"1 of {t} targets wrong, across {across.value}"
            wrong_share = 1 / t if across is Across.EVERY else 1.0  # the one target's own gap, or the mean's
            rows.append(Listed(name=name, build=partial(_one_wrong, name, t, across, wrong_share)))
    return rows


def _one_wrong(name: str, n_targets: int, across: Across, factor: float, share: float) -> Case:
    return garbage(name, n_targets, 1, share * factor, across=across)


def _one_scale() -> list[Listed]:
    """One heavy unit beside light ones, so that the claim has no Gaussian sums."""
    heavy = Weighted((1.0, *(0.1,) * (N_UNITS - 1)))
    direction = np.eye(N_UNITS)[0]
    return [
        Listed(
            name="one unit holds it all",
            build=partial(off_along, "one unit holds it all", heavy, heavy.variance, direction),
        )
    ]


_DELEGATED = frozenset({
    "3 units all in", "4 units all in", "5 units all in", "at least 9 of 11", "a unit where 5 others are alike",
    "tangent: clip 1.5", "tangent: clip 2", "2 units all in, p = .3", "4 units all in, p = .6",
    "5 units all in, figures: gap 0, residual 0", "scores too small", "a random direction",
    "4 units all in, seed noise of Var f / 10", "20 targets share an amplitude, size of a sum", "1 of 20 targets wrong",
})  # fmt: skip

LISTED: tuple[Listed, ...] = tuple(
    replace(each, is_delegated=each.name in _DELEGATED)
    for each in (*_interactions(), *_tangents(), *_elsewhere(), *_figures(), *_linear_claims(), *_one_scale(), *_many())
)
