"""The options of the verifier's commands, each documented once and shared by the commands that take it.

Rules: an option that could change an output does not exist here; that belongs to the task. Defaults are those of
``verification.Asked``; None where a command must tell what was said from what was left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from protocol.certificate.registry import DEFAULT, METHODS
from protocol.certificate.terms import Across, Answers
from protocol.game import HALF_16, Measure

_KURTOSIS = (
    " or ".join(
        f"{METHODS[DEFAULT].kurtosis_of(answers, Measure(p_16=HALF_16)) or 0:g} with {answers.value} answers"
        for answers in METHODS[DEFAULT].answers
    )
    + "; with own answers, 9 or more where p is not 1/2"
)

Address: TypeAlias = Annotated[
    str | None, typer.Argument(metavar="HOST:PORT", help="Address of the prover's server.", show_default=False)
]
ClaimFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--claim", metavar="FILE", help="A claim file in place of a server; this machine then trains every subset."
    ),
]
TaskFile: TypeAlias = Annotated[
    Path | None, typer.Option("--task", metavar="FILE", help="The task that you trust, as a task.toml.")
]
TaskDigest: TypeAlias = Annotated[
    str | None, typer.Option("--task-digest", metavar="HEX", help="Digest of the task that you trust, 64 digits.")
]
Data: TypeAlias = Annotated[
    Path | None,
    typer.Option("--data", metavar="FILE", help="Your copy of the task's data; not needed for a bundled data set."),
]
Epsilon: TypeAlias = Annotated[
    float,
    typer.Option(
        "--epsilon",
        help="Largest relative gap to accept: by what share of the outputs' variance the claim may fall short of the "
        "best linear predictor.",
    ),
]
Delta: TypeAlias = Annotated[
    float, typer.Option("--delta", help="Largest allowed probability of a wrong ACCEPT in this session.")
]
AcrossTargets: TypeAlias = Annotated[
    Across | None,
    typer.Option(
        "--across",
        help="What is bounded for several targets. pooled: the summed gap over the summed variance. mean: the mean "
        "relative gap. every: each target's relative gap.",
        show_default="pooled",
    ),
]
AnswersAsked: TypeAlias = Annotated[
    Answers | None,
    typer.Option(
        "--answers",
        help="Who trains. own: this machine trains every subset. delegated: the prover answers, and this machine "
        "rechecks some of the answers.",
        show_default="own",
    ),
]
CertificateAsked: TypeAlias = Annotated[
    str,
    typer.Option(
        "--certificate",
        metavar=f"[{'|'.join(METHODS)}]",
        help="moments: finite-sample, assumes a bound on the residual's kurtosis. crossfit: assumes nothing, needs "
        "1,000 retrainings or more. exhaustive: every subset, for at most 16 units. gaussian: a quick look, assumes "
        "Gaussian residuals. algorithm1: the paper's own protocol, one target; epsilon is a share of the squared half "
        "range.",
    ),
]
Kurtosis: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--kurtosis",
        help="Assumption of certificate moments: the mean of the residual's fourth power is at most this many times "
        "the square of its mean square. A Gaussian residual has 3; one that is 0 except on 1 subset in 16 has at least "
        "16.",
        show_default=_KURTOSIS,
    ),
]
MaxRetrainings: TypeAlias = Annotated[
    int, typer.Option("--max-retrainings", min=1, help="Most retrainings on this machine in this session.")
]
MaxAnswers: TypeAlias = Annotated[
    int, typer.Option("--max-answers", min=1, help="Most trainings to ask of the prover (delegated answers).")
]
NChecks: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--n-checks",
        min=1,
        help="Answers rechecked in each round (delegated answers); moments and crossfit count a subset and its "
        "complement as one. By default, planned.",
    ),
]
Looks: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--looks",
        min=1,
        max=16,
        help="How often certificate gaussian may try to decide (looks); each look adds retrainings.",
        show_default="10",
    ),
]
ProverKey: TypeAlias = Annotated[
    str | None, typer.Option("--prover-key", metavar="HEX", help="Public key that the claim must be signed with.")
]
TlsCa: TypeAlias = Annotated[
    Path | None, typer.Option("--tls-ca", metavar="FILE", help="Certificates to trust for TLS, PEM.")
]
Insecure: TypeAlias = Annotated[
    bool, typer.Option("--insecure", help="Speak plaintext to another machine; the claim is signed either way.")
]
Device: TypeAlias = Annotated[
    str, typer.Option("--device", help="Where to train: cpu, cuda, cuda:1. Does not affect outputs.")
]
Threads: TypeAlias = Annotated[
    int | None, typer.Option("--threads", min=1, help="Threads that train; all cores by default. Same outputs.")
]
Factory: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--factory",
        metavar="MODULE:FUNCTION",
        help="Your copy of the network's code, where the task's network is no built-in one. It is imported from your "
        "PYTHONPATH, and only if its source file has the task's digest.",
        show_default=False,
    ),
]
Key: TypeAlias = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help="Your signing key; by default one is made below your config folder."),
]
TranscriptOut: TypeAlias = Annotated[
    Path | None,
    typer.Option("--transcript", metavar="FILE", help="Where the signed transcript goes. [./verdict-NONCE.transcript]"),
]
ScoresOut: TypeAlias = Annotated[
    Path | None,
    typer.Option("--scores-out", metavar="FILE", help="Where the scores go (.npy, intercepts first), if accepted."),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet: TypeAlias = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress, and the outcome without its table.")
]
