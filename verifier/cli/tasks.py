"""``verifier inspect`` and ``plan``: what may be read and reckoned before anything is verified."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from protocol import taskfile
from protocol.certificate.registry import DEFAULT, METHODS
from protocol.certificate.terms import Answers
from protocol.claim import Claim, Figures
from protocol.errors import ArgumentError, BudgetError
from protocol.task import Task
from verifier import filing, loop, verification
from verifier.cli import options
from verifier.cli.app import Stdout, complain
from verifier.cli.steps import prepare
from verifier.loop import Progressed
from verifier.party import Party
from verifier.progress import Bars
from verifier.report import plan as plan_report
from verifier.report.text import json_text, visible
from verifier.retrain import Retrainer, is_bounded
from verifier.verification import Asked

_PLAN_LIMIT = 1_000_000
"""A plan is for finding out, so its budget is wide unless the user says otherwise."""


def inspect(
    address: options.Address = None,
    claim: options.ClaimFile = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the task here, too.")] = None,
    tls_ca: options.TlsCa = None,
    insecure: options.Insecure = False,
    as_json: options.AsJson = False,
) -> int:
    """Print the task that a prover has a claim for, and its digest: read it, and decide whether you trust it."""
    with closing(Party(address, claim, tls_ca=tls_ca, insecure=insecure)) as party:
        text, digest = taskfile.render(party.task), party.task.digest.hex()
    if out is not None:
        filing.check_writable(out)
        filing.write_bytes(out, text.encode())
    shown = visible(text)
    whole = json_text({"task_digest": digest, "task": text}) if as_json else f"{shown}# digest: {digest}"
    Stdout().out(whole)
    return 0


def plan(
    address: options.Address = None,
    claim: options.ClaimFile = None,
    task: options.TaskFile = None,
    data: options.Data = None,
    epsilon: options.Epsilon = Asked.epsilon,
    delta: options.Delta = Asked.delta,
    across: options.AcrossTargets = None,
    kurtosis: options.Kurtosis = None,
    max_retrainings: options.MaxRetrainings = _PLAN_LIMIT,
    max_answers: options.MaxAnswers = _PLAN_LIMIT,
    pilot: Annotated[
        bool | None,
        typer.Option(
            "--pilot/--no-pilot",
            help="Time a few retrainings on this machine; by default yes, unless the other party's task names a "
            "network or an estimator: read such a task first.",
            show_default=False,
        ),
    ] = None,
    tls_ca: options.TlsCa = None,
    insecure: options.Insecure = False,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    factory: options.Factory = None,
    as_json: options.AsJson = False,
) -> int:
    """Print what a verification would cost, by each certificate, and how likely it is to accept an honest claim."""
    if [address, claim, task].count(None) != 2:
        raise ArgumentError("expected one of HOST:PORT, --claim FILE and --task FILE, got none or several")
    figures, the_claim, max_served = None, None, None
    the_task = None if task is None else verification.read_task(task)
    if the_task is None:
        with closing(Party(address, claim, tls_ca=tls_ca, insecure=insecure)) as party:
            the_task, max_served = party.task, party.max_served
            figures, the_claim = loop.read_claim(party.prover, the_task)
    seconds_each = None
    if pilot is None:
        pilot = task is not None or is_bounded(the_task.recipe)
        if not pilot:
            complain(
                f"not timed: the other party's {the_task.recipe.name} may take any time and memory; "
                "read the task (verifier inspect), then give --pilot"
            )
    if pilot:
        seconds_each = _timed(prepare(the_task, data=data, device=device, threads=threads, factory=factory, shown=True))
    costs = plan_report.Costs(task=the_task, seconds_each=seconds_each, figures=figures)
    found = []
    for method in METHODS.values():
        for answers in method.answers:
            if answers is Answers.DELEGATED and claim is not None:
                continue
            asked = Asked(
                epsilon=epsilon, delta=delta, method=method.name, across=across, answers=answers,
                kurtosis=kurtosis if method.kurtosis_of(answers, the_task.measure) is not None else None,
                max_retrainings=max_retrainings, max_answers=max_answers,
            )  # fmt: skip
            option = _option(asked, the_task, figures, the_claim, max_served)
            if option is not None:
                found.append(option)
    if as_json:
        Stdout().out(json_text(plan_report.plans_json(found, costs)))
    else:
        plan_report.print_plans(found, costs, Stdout())
    return 0


def _option(
    asked: Asked, task: Task, figures: Figures | None, claim: Claim | None, max_served: int | None
) -> plan_report.Option | None:
    """Return what one certificate takes, or why it cannot be had; None where it does not apply to the task at all."""
    try:
        terms = asked.terms(task)
    except ArgumentError:
        if asked.method == DEFAULT:
            raise
        return None
    try:
        return plan_report.Option(terms=terms, plan=asked.plan(task, figures, claim, max_served=max_served))
    except (BudgetError, ArgumentError) as error:
        return plan_report.Option(terms=terms, plan=None, why_not=str(error))


def _timed(retrainer: Retrainer) -> float:
    with Bars(shown=True) as bars:
        bars(Progressed("timing a pilot", 0, 0))
        return retrainer.seconds_each()
