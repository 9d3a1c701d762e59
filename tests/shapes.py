"""The checker that tests/conftest.py gives to jaxtyping: array annotations, and nothing else.

Types are mypy's business, at rest. Checking them again at run time would only get in the way of tests that pass hostile
values on purpose, and of recursive aliases; shapes and number types are what mypy cannot see.

A value made of a stranger's arrays refuses them itself, with an error of ours; so a constructor's arrays are checked
after it has run and not before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, get_args

from beartype import beartype
from jaxtyping import AbstractArray

Checked = TypeVar("Checked", bound=Callable[..., Any])


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
