"""The options of the verifier's commands, each documented once and shared by the commands that take it.

Rules: an option that could change an output does not exist here; that belongs to the task. Defaults are those of
``verification.Asked``; None where a command must tell what was said from what was left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from protocol.certificate.terms import Across, Assurance, Method
from verifier.verification import Asked

Address: TypeAlias = Annotated[
    str | None, typer.Argument(metavar="HOST:PORT", help="Address of the prover's server.", show_default=False)
]
ClaimFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--claim", metavar="FILE", help="A claim file, in place of a server; assurance proved only."),
]
TaskFile: TypeAlias = Annotated[
    Path | None, typer.Option("--task", metavar="FILE", help="The task that you trust, as a task.toml.")
]
TaskDigest: TypeAlias = Annotated[
    str | None, typer.Option("--task-digest", metavar="HEX", help="Digest of the task that you trust, 64 digits.")
]
Data: TypeAlias = Annotated[
    Path | None,
    typer.Option("--data", metavar="FILE", help="Your copy of the task's data, where they are no bundled set."),
]
Epsilon: TypeAlias = Annotated[
    float, typer.Option("--epsilon", help="Largest relative gap to accept: the share of Var f given away.")
]
Delta: TypeAlias = Annotated[
    float, typer.Option("--delta", help="Probability of a wrong ACCEPT that you allow, over all looks.")
]
AcrossTargets: TypeAlias = Annotated[
    Across | None,
    typer.Option(
        "--across",
        help="Whether the gap's mean over targets counts, or that of every target.",
        show_default=Asked.across.value,
    ),
]
AssuranceAsked: TypeAlias = Annotated[
    Assurance | None,
    typer.Option(
        "--assurance",
        help="proved: every subset is retrained here. audited: the prover answers, some are rechecked.",
        show_default=Asked.assurance.value,
    ),
]
CertificateAsked: TypeAlias = Annotated[
    Method,
    typer.Option(
        "--certificate",
        help="families: few retrainings, asymptotic. crossfit: thousands, finite-sample. algorithm1: the paper's, for "
        "comparison: one target, a server, up to millions; epsilon is then a share of the squared half range.",
    ),
]
MaxRetrainings: TypeAlias = Annotated[
    int, typer.Option("--max-retrainings", min=1, help="Most trainings done here, over all looks.")
]
MaxAnswers: TypeAlias = Annotated[
    int, typer.Option("--max-answers", min=1, help="Most trainings asked of the prover, over all looks (audited).")
]
NChecks: TypeAlias = Annotated[
    int | None,
    typer.Option("--n-checks", min=1, help="Answers rechecked in each look (audited); by default, planned."),
]
Looks: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--looks",
        min=1,
        max=16,
        help="Most looks; a later one adds retrainings to those before (families).",
        show_default=str(Asked.n_looks),
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
