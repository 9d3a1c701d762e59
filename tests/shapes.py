"""The checker that tests/conftest.py gives to jaxtyping: array annotations, and nothing else.

Types are mypy's business, at rest. Checking them again at run time would only get in the way of tests that pass hostile
values on purpose, and of recursive aliases; shapes and number types are what mypy cannot see.

A value made of a stranger's arrays refuses them itself, with an error of ours; so a constructor's arrays are checked
after it has run and not before.

jaxtyping wraps every function, and binding the arguments of those without an array would take most of a session's time;
``where_arrays_are`` leaves them as they are.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Any, TypeVar, get_args

from beartype import beartype
from jaxtyping import AbstractArray

Checked = TypeVar("Checked", bound=Callable[..., Any])
Decorator = Callable[[Any], Any]


def where_arrays_are(jaxtyped: Callable[..., Decorator]) -> Callable[..., Decorator]:
    """Return jaxtyping's decorator, wrapping only functions, and dataclasses, that have an array in an annotation."""

    def sparing(**options: Any) -> Decorator:
        wrapped = jaxtyped(**options)
        return lambda target: wrapped(target) if _has_arrays(target) else target

    return sparing


def _has_arrays(target: Any) -> bool:
    if isinstance(target, type):
        hints = [field.type for field in dataclasses.fields(target)] if dataclasses.is_dataclass(target) else []
        scope = vars(sys.modules[target.__module__])
    elif callable(target):
        hints, scope = list(target.__annotations__.values()), target.__globals__
    else:
        return True  # a descriptor: jaxtyping looks into it
    return any(_mentions_array(_meaning(hint, scope)) for hint in hints)


def _meaning(hint: Any, scope: dict[str, Any]) -> Any:
    """What an annotation means where it stands; nothing where a name in it has none yet, as jaxtyping has it, too."""
    if not isinstance(hint, str):
        return hint
    try:
        return eval(hint, scope)  # noqa: S307  our own source
    except NameError:
        return None


def arrays_only(function: Checked) -> Checked:
    """Return ``function`` checking those of its annotations that have an array in them."""
    if function.__name__ == "__init__" and function.__annotations__.get("return") is Any:
        return function  # jaxtyping's check before the call; the one after it has the real result type, None
    annotations = {name: hint for name, hint in function.__annotations__.items() if _mentions_array(hint)}
    if not annotations:
        return function
    function.__annotations__ = annotations
    return beartype(function)


def _mentions_array(hint: Any) -> bool:
    is_array = isinstance(hint, type) and issubclass(hint, AbstractArray)
    return is_array or any(_mentions_array(part) for part in get_args(hint))
