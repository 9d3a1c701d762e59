"""Options in groups: a command that takes dataclasses is run with one option for every field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.exceptions import TyperException

from prover.cli.groups import spread


@dataclass(frozen=True, kw_only=True)
class Inner:
    epochs: Annotated[int, typer.Option(help="Passes.")] = 20
    flips: Annotated[bool, typer.Option("--flips", help="Mirrored.")] = False


@dataclass(frozen=True, kw_only=True)
class Outer:
    data: Annotated[str, typer.Option("--data", help="Required.")]
    inner: Inner = field(default_factory=Inner)
    kind: Annotated[str, typer.Option("--targets", help="Under another name.")] = "margin"


def run(body: Callable[..., None], *arguments: str) -> None:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(spread(body))
    app(args=list(arguments), standalone_mode=False)


def test_every_field_is_an_option_that_reaches_its_dataclass() -> None:
    seen: list[object] = []

    def body(
        outer: Outer,
        out: Annotated[Path, typer.Option("--out", help="A plain one.")] = Path("x"),
    ) -> None:
        seen.append((outer, out))

    run(body, "--data", "d")
    run(body, "--data", "d", "--epochs", "3", "--flips", "--targets", "loss", "--out", "y")
    assert seen == [
        (Outer(data="d"), Path("x")),
        (Outer(data="d", kind="loss", inner=Inner(epochs=3, flips=True)), Path("y")),
    ]


def test_a_field_without_a_default_is_required() -> None:
    def body(outer: Outer) -> None:
        raise AssertionError(outer)

    with pytest.raises(TyperException, match="data"):
        run(body)


def test_two_options_of_one_name_are_refused() -> None:
    def body(inner: Inner, epochs: Annotated[int, typer.Option(help="Again.")] = 3) -> None:
        raise AssertionError(inner, epochs)

    with pytest.raises(ValueError, match="duplicate parameter name: 'epochs'"):
        spread(body)
