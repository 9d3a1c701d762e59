"""``verifier inspect`` and ``plan``: what may be read and reckoned before anything is verified."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from protocol import taskfile
from protocol.certificate.terms import Assurance
from protocol.errors import ArgumentError
from verifier import audit as loop
from verifier import filing, verification
from verifier.audit import Progressed
from verifier.cli import options
from verifier.cli.app import Stdout, complain
from verifier.cli.steps import prepare
from verifier.party import Party
from verifier.progress import Bars
from verifier.report import plan as plan_report
from verifier.report.text import json_text, visible
from verifier.retrain import Retrainer, is_bounded
from verifier.verification import Asked


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
    max_retrainings: options.MaxRetrainings = Asked.max_retrainings,
    max_answers: options.MaxAnswers = Asked.max_answers,
    looks: options.Looks = None,
    pilot: Annotated[
        bool | None,
        typer.Option(
            "--pilot/--no-pilot",
            help="Time a few retrainings here; by default, but not of a network or an estimator that another party "
            "names: read its task first.",
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
    """Print what a verification would cost and how likely it is to accept an honest claim, for each assurance."""
    if [address, claim, task].count(None) != 2:
        raise ArgumentError("expected one of HOST:PORT, --claim FILE and --task FILE, got none or several")
    figures, the_claim, max_served = None, None, None
    the_task = None if task is None else verification.read_task(task)
    if the_task is None:
        with closing(Party(address, claim, tls_ca=tls_ca, insecure=insecure)) as party:
            the_task, max_served = party.task, party.max_served
            opened = loop.open_claim(party.prover, the_task)
            loop.leave(opened, "only a plan was asked for")
            figures, the_claim = opened.figures, opened.claim
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
    asked = [
        Asked(
            epsilon=epsilon, delta=delta, across=across or Asked.across, assurance=assurance,
            max_retrainings=max_retrainings, max_answers=max_answers, n_looks=looks or Asked.n_looks,
        )
        for assurance in ([Assurance.PROVED] if claim else [Assurance.PROVED, Assurance.AUDITED])
    ]  # fmt: skip
    plans = [each.plan(the_task, figures, max_served=max_served) for each in asked]
    costs = plan_report.Costs(task=the_task, seconds_each=seconds_each, figures=figures, claim=the_claim)
    others = plan_report.others(costs, plans[0].terms)
    if as_json:
        Stdout().out(json_text(plan_report.plans_json(plans, others, costs)))
    else:
        plan_report.print_plans(plans, costs, Stdout())
        plan_report.print_others(others, plans, Stdout())
    return 0


def _timed(retrainer: Retrainer) -> float:
    with Bars(shown=True) as bars:
        bars(Progressed("timing a pilot", 0, 0))
        return retrainer.seconds_each()
