"""What the user of ``prover init`` may say of data, recipe and targets: the options of the command, and their values.

Refuses to know what an option that was left out comes to, which is ``prover.config``'s business, and loads nothing
heavy: ``--help`` reads it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from protocol.task import ConstantColumns, Scaling, SeedPolicy, TargetKind, UnitKind
from prover.estimator_choices import EstimatorChoices
from prover.kernel_choices import KernelChoices
from prover.network_choices import NetworkChoices

BUNDLED = "sklearn:"

_DATA, _RECIPE, _TARGETS, _SUBSETS = "Data", "Recipe", "Targets", "Subsets and seeds"


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the user said; None where the default may decide.

    data : ``sklearn:NAME`` or a file's path. recipe : a name of ``protocol.recipes``. p : strictly between 0 and 1.
    n_train : by default two thirds of the rows, at most 1,000. n_test : by default all the others.
    l2 : by default 0.03 (ridge) or 0.001 (logistic) times n_train; 256 for ridge on the unscaled digits; k(x, x)'s mean
        (kernel).
    kind : by default margin; prediction for a regression; probability for an estimator that has it (sklearn).
    n_targets : by default 200 test rows or all.
    exact : whether answers are held to the bit. kernel : of which kernel. network : what sgd trains, and how.
    estimator : what sklearn fits.
    scaling : by default standard; none for digits, whose pixels share a unit, but with sgd; range where exact.
    constant_columns : by default kept in an image, dropped from a bundled set, refused in a file.
    """

    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="SOURCE",
            help="sklearn:NAME, or a .npz, .csv or .parquet file.",
            rich_help_panel=_DATA,
        ),
    ]
    target_column: Annotated[str, typer.Option(help="Column to predict (.csv, .parquet).", rich_help_panel=_DATA)] = ""
    contributor_column: Annotated[str, typer.Option(help="Column that names contributors.", rich_help_panel=_DATA)] = ""
    units: Annotated[
        UnitKind, typer.Option(help="What is left in or out: rows, or contributors.", rich_help_panel=_DATA)
    ] = UnitKind.ROW
    n_train: Annotated[
        int | None,
        typer.Option(
            help="Training rows; by default two thirds, at most 1,000.", show_default=False, rich_help_panel=_DATA
        ),
    ] = None
    n_test: Annotated[
        int | None,
        typer.Option(help="Test rows; by default all others.", show_default=False, rich_help_panel=_DATA),
    ] = None
    split_seed: Annotated[
        int, typer.Option(min=0, help="Seed of the shuffle that splits them.", rich_help_panel=_DATA)
    ] = 0
    scaling: Annotated[
        Scaling | None,
        typer.Option(
            help="By default standard; none for digits, except with sgd; range with --exact.",
            show_default=False,
            rich_help_panel=_DATA,
        ),
    ] = None
    constant_columns: Annotated[
        ConstantColumns | None,
        typer.Option(
            help="Default: keep with --image, drop in bundled sets, refuse in files.",
            show_default=False,
            rich_help_panel=_DATA,
        ),
    ] = None
    recipe: Annotated[str, typer.Option(help="ridge, logistic, kernel, sgd or sklearn.", rich_help_panel=_RECIPE)] = (
        "ridge"
    )
    l2: Annotated[
        float | None,
        typer.Option(
            help="Penalty; by default 0.03 (ridge) or 0.001 (logistic) a training row, 256 for ridge on digits, "
            "the kernel's mean k(x, x) (kernel).",
            show_default=False,
            rich_help_panel=_RECIPE,
        ),
    ] = None
    gradient_tolerance: Annotated[
        float, typer.Option(help="Gradient size at which training stops (logistic).", rich_help_panel=_RECIPE)
    ] = 1e-8
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="Arithmetic that is the same to the bit on every machine (sgd, mlp or cnn).",
            rich_help_panel=_RECIPE,
        ),
    ] = False
    kernel: KernelChoices = field(default_factory=KernelChoices)
    network: NetworkChoices = field(default_factory=NetworkChoices)
    estimator: EstimatorChoices = field(default_factory=EstimatorChoices)
    kind: Annotated[
        TargetKind | None,
        typer.Option(
            "--targets",
            help="By default margin; prediction for a regression; probability where an estimator has it (sklearn).",
            show_default=False,
            rich_help_panel=_TARGETS,
        ),
    ] = None
    n_targets: Annotated[
        int | None,
        typer.Option(
            help="Test rows to be targets; by default the first 200.", show_default=False, rich_help_panel=_TARGETS
        ),
    ] = None
    average: Annotated[
        bool,
        typer.Option("--average", help="One target: the mean over those test rows.", rich_help_panel=_TARGETS),
    ] = False
    p: Annotated[float, typer.Option(help="Probability that a unit is in a subset.", rich_help_panel=_SUBSETS)] = 0.5
    seed_policy: Annotated[
        SeedPolicy,
        typer.Option(help="One training seed for all subsets, or one for each.", rich_help_panel=_SUBSETS),
    ] = SeedPolicy.SHARED
    seed: Annotated[
        int, typer.Option(min=0, help="The training seed, where it is shared.", rich_help_panel=_SUBSETS)
    ] = 0

    @property
    def path(self) -> Path | None:
        """Where the data file lies; None for a bundled set."""
        return None if self.data.startswith(BUNDLED) else Path(self.data)
