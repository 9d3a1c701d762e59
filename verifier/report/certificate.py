"""A certificate part by part: what each part is, its value, and what it holds under (THEORY 2, 5, 6).

Every method has parts of its own; a part is shown by name, never by formula alone. Of many targets the worst row is
shown, and said to be that.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64

from protocol.certificate.algorithm1 import Algorithm1Certificate
from protocol.certificate.crossfit import CrossfitCertificate
from protocol.certificate.families import FamiliesCertificate
from protocol.certificate.judging import Certificate
from protocol.certificate.terms import Across, Method
from protocol.task import Task
from verifier.report.text import Json, finite, number, percent

Part: TypeAlias = tuple[str, str, str]
"""What it is, its value, what it holds under."""


def certificate_parts(certificate: Certificate, task: Task, *, audited: bool) -> list[Part]:
    """Return the parts of a certificate, the bounds first."""
    match certificate:
        case FamiliesCertificate():
            return _families_parts(certificate, task, audited=audited)
        case CrossfitCertificate():
            return _crossfit_parts(certificate, task)
        case Algorithm1Certificate():
            return _algorithm1_parts(certificate)


def certificate_json(certificate: Certificate) -> dict[str, Json]:
    """Return the object of ``certificate``; its keys are listed at the head of this package."""
    bounds: dict[str, Json] = {"lower": finite(certificate.lower_bound), "upper": finite(certificate.upper_bound)}
    match certificate:
        case FamiliesCertificate():
            return {"method": Method.FAMILIES.value} | bounds | _families_json(certificate)
        case CrossfitCertificate():
            return {"method": Method.CROSSFIT.value} | bounds | _crossfit_json(certificate)
        case Algorithm1Certificate():
            return {"method": Method.ALGORITHM1.value} | bounds | _algorithm1_json(certificate)


# --------------------------------------------------------------------------------------- families


def _families_parts(c: FamiliesCertificate, task: Task, *, audited: bool) -> list[Part]:
    row = _worst_row(c.upper)
    under = "a family's residuals are jointly Gaussian" + (", the unchecked answers are right" if audited else "")
    pairs = "each with its complement" if task.has_complements else f"p = {task.p:.4g}"
    parts = [
        ("relative gap, at most", number(c.upper[row]), f"{_sure(c.delta)}, if {under}"),
        ("relative gap, at least", number(c.lower_bound), "likewise"),
        ("  from the families", number(c.families_lower.max()), "as above, higher degrees taken off"),
        ("  along the claim itself", number(c.projection_lower.max()), "as above, what a rescaling would win"),
        ("relative gap, estimate", number(c.relative_gap[row]), _over(c.across, row, task)),
        ("mean square between families", number(c.mean_square_between[row]), f"{c.degrees_between:.4g} degrees"),
        ("mean square within families", number(c.mean_square_within[row]), f"{c.degrees_within:.4g} degrees"),
        (
            "subsets drawn",
            f"{c.n_families} families of {c.n_siblings}",
            f"rho = {c.rho:.3g}, {pairs}; drawn after the claim was committed",
        ),
        (
            "sd of the output",
            number(float(np.median(np.sqrt(c.variance)))),
            f"median target; variance {percent(c.variance_error[row])} uncertain",
        ),
        ("intercept error", number(_intercept(c)), "(E[f - g])^2 / Var f, mean over targets; no part of the gap"),
    ]
    if audited:
        despite = number(float(c.upper_despite_lies.max()))
        parts.insert(
            1, ("  despite lies, at most", despite, "if as many answers are false as the checks leave possible")
        )
        parts.append(("tolerance, in sd", number(c.allowance[row]), "already in the bounds: what no check can see"))
    return parts


def _families_json(c: FamiliesCertificate) -> dict[str, Json]:
    row = _worst_row(c.upper)
    return {
        "relative_gap": finite(c.relative_gap[row]),
        "upper_despite_lies": finite(float(c.upper_despite_lies.max())),
        "families_lower": finite(c.families_lower.max()),
        "projection_lower": finite(c.projection_lower.max()),
        "mean_square_between": finite(c.mean_square_between[row]),
        "mean_square_within": finite(c.mean_square_within[row]),
        "degrees_between": c.degrees_between,
        "degrees_within": c.degrees_within,
        "n_families": c.n_families,
        "n_siblings": c.n_siblings,
        "rho": c.rho,
        "n_rows": len(c.upper),
        "worst_row": row,
        "variance_error": finite(c.variance_error[row]),
        "allowance": finite(c.allowance[row]),
        "intercept_error": finite(_intercept(c)),
        "constant_targets": list(c.constant_targets),
    }


def _intercept(c: FamiliesCertificate) -> float:
    varies = c.variance > 0
    return float((c.intercept_error[varies] / c.variance[varies]).mean()) if varies.any() else math.nan


# --------------------------------------------------------------------------------------- cross-fit


def _crossfit_parts(c: CrossfitCertificate, task: Task) -> list[Part]:
    row, (a, b) = _worst_row(c.upper), c.n_pairs
    return [
        ("relative gap, at most", number(c.upper[row]), f"{_sure(c.delta)}, for every bounded f"),
        ("relative gap, at least", number(c.lower_bound), "likewise"),
        ("  of", _over(c.across, row, task), "in the units of its scale, as all below"),
        ("length of the direction", number(c.direction[row]), "|w_A|, from one round, tried on the other"),
        ("residual along it, at most", number(c.along[row]), "S, room for false answers included"),
        ("slack", number(c.slack[row]), "t, for the direction's own chance"),
        ("residuals drawn in to", number(c.radius[row]), "b, set by the first pairs"),
        ("share beyond it, at most", percent(c.outside[row]), "from the pairs that the verifier trained"),
        (
            "what that can hide",
            number(c.hidden[row]),
            "of the residual's length, from the targets' ranges and the scores",
        ),
        ("Var f / scale^2, at least", number(c.variance_lower[row]), "the least over targets"),
        ("pairs drawn", f"{b} and {a}", "the second the verifier's own"),
        ("false pairs allowed for", str(c.n_false), "what clean checks leave possible"),
    ]


def _crossfit_json(c: CrossfitCertificate) -> dict[str, Json]:
    row = _worst_row(c.upper)
    return {
        "direction": finite(c.direction[row]),
        "along": finite(c.along[row]),
        "slack": finite(c.slack[row]),
        "radius": finite(c.radius[row]),
        "outside": finite(c.outside[row]),
        "hidden": finite(c.hidden[row]),
        "variance_lower": finite(c.variance_lower[row]),
        "n_pairs": list(c.n_pairs),
        "n_false": c.n_false,
        "n_rows": len(c.upper),
        "worst_row": row,
    }


# ------------------------------------------------------------------------------------- Algorithm 1


def _algorithm1_parts(c: Algorithm1Certificate) -> list[Part]:
    return [
        ("gap, at most", number(c.upper_bound), f"{_sure(c.delta)}; a share of the squared half range"),
        ("gap, at least", number(c.lower_bound), "likewise"),
        ("mean squared error", number(c.mean_squared_error), "of the claim, on fresh subsets trained here"),
        ("E f^2", number(c.total), "h(1), f counted from the middle of its range"),
        ("weight at degree 0", number(c.degree_0), "B_0, from noise stability"),
        ("weight at degree 1", number(c.degree_1), "B_1, likewise"),
    ]


def _algorithm1_json(c: Algorithm1Certificate) -> dict[str, Json]:
    return {
        "mean_squared_error": finite(c.mean_squared_error),
        "total": finite(c.total),
        "degree_0": finite(c.degree_0),
        "degree_1": finite(c.degree_1),
    }


# ------------------------------------------------------------------------------------------ details


def _sure(delta: float) -> str:
    return f"{100 * (1 - delta):.4g}% sure"


def _over(across: Across, row: int, task: Task) -> str:
    return f"mean over {task.n_targets} targets" if across is Across.MEAN else f"target {row}, the worst upper bound"


def _worst_row(upper: Float64[np.ndarray, " r"]) -> int:
    return int(np.argmax(upper))
