"""Commands of many options: frozen dataclasses whose fields are the options.

A field ``epochs: Annotated[int, typer.Option(help=...)] = 20`` is the option ``--epochs``, as an argument of the
command would be; a field that is a dataclass stands for the fields it has. So what may be chosen is written once,
beside what it means, and a recipe brings its own options. Refuses to know which options there are.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_type_hints


def spread(body: Callable[..., None]) -> Callable[..., None]:
    """Return ``body`` as typer can read it: each argument that is a dataclass replaced by that one's fields.

    Raises
    ------
    ValueError
        Two options have one name.
    """
    taken = inspect.signature(body, eval_str=True).parameters

    @functools.wraps(body)
    def command(**values: object) -> None:
        body(**{name: _gathered(name, parameter.annotation, values) for name, parameter in taken.items()})

    options = [
        option for name, parameter in taken.items() for option in _options(name, parameter.annotation, parameter)
    ]
    command.__dict__["__signature__"] = inspect.Signature(options)  # which typer asks for, and mypy does not know of
    return command


def _options(name: str, annotation: Any, like: inspect.Parameter) -> Iterator[inspect.Parameter]:
    if not dataclasses.is_dataclass(annotation):
        yield like.replace(name=name, annotation=annotation, kind=inspect.Parameter.KEYWORD_ONLY)
        return
    hints = get_type_hints(annotation, include_extras=True)
    for field in dataclasses.fields(annotation):
        default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
        yield from _options(field.name, hints[field.name], like.replace(default=default))


def _gathered(name: str, annotation: Any, values: Mapping[str, object]) -> object:
    if not (isinstance(annotation, type) and dataclasses.is_dataclass(annotation)):
        return values[name]
    hints, fields = get_type_hints(annotation), dataclasses.fields(annotation)
    return annotation(**{field.name: _gathered(field.name, hints[field.name], values) for field in fields})
