"""What the prover's commands print: a claim's figures, a store's state.

Owns words and layout. Refuses to know where the numbers come from.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64
from rich.table import Table

from protocol.claim import Figures
from protocol.numerics import Exact
from protocol.task import Task
from prover.calibration import Difference
from prover.campaign import CHECK, MAX_CLIPPED, TRAIN, Goal, Outcome
from prover.fitting.heldout import Quality
from prover.planning import Estimate, Expectation, Speed
from prover.store import ANSWERS, Cost, Store

N_WORST = 5

_SAVED = {TRAIN: "by train", CHECK: "by import", ANSWERS: "as answers"}
"""The kinds of series, in the order of their use, and what retrainings were saved for."""


def figures_line(figures: Figures) -> str:
    """Return a claim's figures in one line."""
    return (
        f"relative gap {figures.relative_gap:.4f}, R^2 {figures.r2:.4f}, odd residual {figures.odd_residual:.4f} of "
        f"Var f, means over targets; from {figures.n_retrainings} retrainings"
    )


def clipped_warning(clipped: float) -> str | None:
    """Return what to say about a share of clipped outputs; None for one of at most ``MAX_CLIPPED``."""
    if clipped <= MAX_CLIPPED:
        return None
    return (
        f"warning: {100 * clipped:.2g}% of the outputs lay outside their range and were clipped "
        f"(more than {100 * MAX_CLIPPED:g}%): the clipped function is the one that is attributed; "
        "prover init proposes wider ranges"
    )


def differences_table(found: tuple[Difference, ...]) -> Table:
    """Return what each way of training changed."""
    table = Table(title="trained again, largest |difference| of an output", title_justify="left")
    table.add_column("way")
    table.add_column("difference", justify="right")
    for difference in found:
        table.add_row(difference.way, f"{difference.largest:.3g}")
    return table


def tolerance_line(task: Task, proposed: float) -> str:
    """Return the tolerance to propose beside the task's own."""
    if isinstance(task.numerics, Exact):
        return "exact: every way gave the same bits, and the tolerance is 0"
    share = proposed / float(np.median(task.targets.width))
    return f"tolerance {task.tolerance:g}; proposed {proposed:g}, {share:.2g} of the median range"


def goal_line(outcome: Outcome, goal: Goal) -> str:
    """Return whether a campaign reached its goal, and what to do if not."""
    if outcome.reached:
        return f"the claim's own gap is within the goal of {goal.gap:g}"
    return (
        f"the claim's own gap is above the goal of {goal.gap:g} and the budget is spent: "
        f"raise --max-retrainings above {goal.max_retrainings} to go on from here"
    )


def speed_line(pace: Speed) -> str:
    """Return what trainings take here."""
    return f"{1000 * pace.each_s:,.3g} ms each, over {pace.n_timed:,} trainings; {pace.start_s:.1f} s to start"


def plan_table(expectation: Expectation, estimates: Sequence[Estimate]) -> Table:
    """Return what gaps are expected to take of one function."""
    known = expectation.moments
    title = f"{expectation.whence}; W_1 {known.signal:.2g}, noise {known.noise:.2g} of Var f"
    table = Table(title=title, title_justify="left")
    for column in ("relative gap", "retrainings", "left", "time", "store"):
        table.add_column(column, justify="right")
    for e in estimates:
        n = f"{e.n:,}" if e.is_possible else "more than there can be"
        table.add_row(f"{e.gap:g}", n, f"{e.n_left:,}", duration(e.seconds), f"{e.n_bytes / 1e6:,.1f} MB")
    return table


def duration(seconds: float) -> str:
    """Return a time in the unit that one reads it in."""
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.1f} s"


def quality_table(quality: Quality, *, every: bool) -> Table:
    """Return the held-out figures per target: quartiles and the worst, or all targets."""
    table = Table(title=f"per target, on {quality.n_heldout} held-out evaluations", title_justify="left")
    for column in ("target", "relative gap", "odd residual", "R^2"):
        table.add_column(column, justify="right")
    if every:
        chosen = list(range(len(quality.r2)))
    else:
        for name, share in (("least", 0.0), ("median", 0.5), ("most", 1.0)):
            table.add_row(name, *(f"{x:.4f}" for x in _quantiles(quality, share)))
        table.add_section()
        chosen = np.argsort(-quality.relative_gap)[:N_WORST].tolist()
    for t in chosen:
        table.add_row(str(t), *_cells(quality, t))
    return table


def status_json(store: Store, task: Task) -> dict[str, Any]:
    """Return a store's state as one JSON object, what retrainings took in all and for each thing they were for."""
    committed, costs = store.claim(), store.costs()
    claim = None
    if committed is not None:
        f = committed.signed.figures
        claim = {
            "root": committed.signed.root.hex(),
            "public_key": committed.signed.public_key.raw.hex(),
            "relative_gap": f.relative_gap,
            "odd_residual": f.odd_residual,
            "r2": f.r2,
            "n_retrainings": f.n_retrainings,
        }
    return {
        "task_digest": task.digest.hex(),
        "n_units": task.n_units,
        "n_targets": task.n_targets,
        "data": task.data.source,
        "recipe": task.recipe.name,
        "p": task.measure.p,
        **_cost_json(_total(costs.values())),
        "saved": {what: _cost_json(costs[what]) | _clipped_json(what, costs[what], task) for what in costs},
        "store_bytes": store.n_bytes(),
        "claim": claim,
        "n_sessions": len(store.session_ids()),
    }


def status_lines(store: Store, task: Task) -> list[str]:
    """Return a store's state as lines to read."""
    state, committed = status_json(store, task), store.claim()
    shape = f"{task.n_units} units, {task.n_targets} targets, p = {task.measure.p:g}"
    return [
        f"task         {state['task_digest']}",
        f"             {state['data']}, recipe {state['recipe']}, {shape}",
        *_saved_lines(store.costs()),
        f"store        {store.n_bytes() / 1e6:,.1f} MB",
        f"claim        {'none yet: run prover train' if committed is None else committed.signed.root.hex()}",
        *([] if committed is None else [f"             {figures_line(committed.signed.figures)}"]),
        *([] if committed is None else [f"signed by    {committed.signed.public_key.raw.hex()}"]),
        f"sessions     {state['n_sessions']}",
    ]


def cost_line(cost: Cost) -> str:
    """Return what retrainings took, in time and in bytes."""
    kept = f"{cost.n_bytes / max(cost.n, 1):,.0f} bytes of outputs each"
    if not cost.n_timed:
        return f"their time was not kept; {kept}"
    untimed = f" ({cost.n - cost.n_timed} others were not timed)" if cost.n_timed < cost.n else ""
    each = 1000 * cost.seconds / cost.n_timed
    return f"{cost.seconds:,.1f} s of a device, {each:,.3g} ms each{untimed}; {kept}"


def _saved_lines(costs: Mapping[str, Cost]) -> list[str]:
    """Return how many retrainings there are of each kind and what they took."""
    there = [what for what in _SAVED if what in costs]
    lines = [f"{costs[what].n:,} saved {_SAVED[what]}: {cost_line(costs[what])}" for what in there] or ["0 saved"]
    return [f"{'' if k else 'retrainings':12} {line}" for k, line in enumerate(lines)]


def _total(costs: Collection[Cost]) -> Cost:
    return Cost(
        n=sum(cost.n for cost in costs),
        n_timed=sum(cost.n_timed for cost in costs),
        n_clipped=sum(cost.n_clipped for cost in costs),
        seconds=sum(cost.seconds for cost in costs),
        n_bytes=sum(cost.n_bytes for cost in costs),
    )


def _cost_json(cost: Cost) -> dict[str, Any]:
    return {
        "n_retrainings_saved": cost.n,
        "seconds": cost.seconds,
        "n_retrainings_timed": cost.n_timed,
        "bytes_per_retraining": cost.n_bytes / max(cost.n, 1),
    }


def _clipped_json(what: str, cost: Cost, task: Task) -> dict[str, Any]:
    """Return the share of outputs that lay outside their range; answers are saved without it."""
    return {} if what == ANSWERS else {"clipped": cost.n_clipped / (cost.n * task.n_targets)}


def _quantiles(quality: Quality, share: float) -> list[float]:
    def of(values: Float64[np.ndarray, " t"]) -> float:
        return float(np.quantile(values, share))

    return [of(quality.relative_gap), of(quality.odd_residual), of(quality.r2)]


def _cells(quality: Quality, t: int) -> list[str]:
    if not quality.varies[t]:
        return ["constant", "", ""]
    gap, error = quality.relative_gap[t], quality.relative_gap_error[t]
    return [f"{gap:.4f} +- {error:.4f}", f"{quality.odd_residual[t]:.4f}", f"{quality.r2[t]:.4f}"]
