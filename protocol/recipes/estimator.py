"""An estimator of scikit-learn as text: names, keywords and plain values, as its own ``repr`` writes it.

    HistGradientBoostingClassifier(max_iter=50)
    Pipeline(steps=[('scale', StandardScaler()), ('svc', SVC(C=10.0, gamma='scale'))])

Owns the grammar and what no task may set. Nothing here is ever evaluated: a text becomes a tree of
names and values, and ``protocol.training`` looks the names up among scikit-learn's estimators.

    call    NAME ( [NAME = value {, NAME = value} [,]] )
    value   None | True | False | number | text | list | tuple | call
    list    '[' [value {, value} [,]] ']'
    tuple   '(' [value , {value ,} [value]] ')'
    number  [-] digits [. digits] [e [+-] digits]
    text    characters between ' and ', or between " and ", other than these two and backslash
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TypeAlias

from protocol.errors import TaskFileError
from protocol.recipes.keys import require

KEY = "recipe.estimator"
MAX_CHARACTERS = 4096
MAX_DEPTH = 12
"""Values within values: enough for a pipeline in a vote in a calibration."""

NOT_THE_TASKS = {
    "random_state": "it comes from the training seed",
    "n_jobs": "it cannot change an output",
    "verbose": "it cannot change an output",
    "warm_start": "every training begins anew",
    "memory": "nothing is kept on disk",
}

Node: TypeAlias = "bool | int | float | str | list[Node] | tuple[Node, ...] | Call | None"

_TOKEN = re.compile(
    r" *(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<float>-?[0-9]+(?:\.[0-9]+(?:e[+-]?[0-9]+)?|e[+-]?[0-9]+))"
    r"|(?P<int>-?[0-9]+)"
    r"|(?P<text>'[^'\"\\]*'|\"[^'\"\\]*\")"
    r"|(?P<sign>[(),=\[\]]))"
)
_WORDS: dict[str, bool | None] = {"None": None, "True": True, "False": False}


@dataclass(frozen=True, kw_only=True)
class Call:
    """An estimator: its class's name and the parameters that are not left as they are."""

    name: str
    parameters: tuple[tuple[str, Node], ...]


def parsed(text: str) -> Call:
    """Return the estimator that a text describes.

    Raises
    ------
    TaskFileError
        It is not of the grammar above, is too long or too deep, or sets what no task may.
    """
    require(len(text) <= MAX_CHARACTERS, KEY, f"at most {MAX_CHARACTERS} characters", len(text))
    require(text.isascii() and text.isprintable(), KEY, "printable ASCII", "other characters")
    reader = _Reader(text)
    found = reader.value(depth=0)
    if not isinstance(found, Call) or not reader.is_done:
        raise reader.refusal()
    return found


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text.rstrip(" ")
        self._place = 0

    @property
    def is_done(self) -> bool:
        return self._place == len(self._text)

    def refusal(self) -> TaskFileError:
        rest = self._text[self._place : self._place + 40]
        return TaskFileError(
            f"{KEY}: expected Name(key=value, ...), its values plain, lists or of this form, "
            f"got {rest!r} at character {self._place}"
        )

    def value(self, depth: int) -> Node:
        require(depth <= MAX_DEPTH, KEY, f"at most {MAX_DEPTH} values within values", "more")
        kind, word = self._next()
        match kind:
            case "int":
                require(-(2**63) <= int(word) < 2**63, KEY, "whole numbers of 64 bits", word[:40])
                return int(word)
            case "float":
                require(math.isfinite(float(word)), KEY, "finite numbers", word[:40])
                return float(word)
            case "text":
                return word[1:-1]
            case "name":
                return _WORDS[word] if word in _WORDS else self._call(word, depth)
            case "sign" if word == "[":
                return self._items("]", depth)
            case "sign" if word == "(":
                return self._tuple(depth)
            case _:
                raise self.refusal()

    def _call(self, name: str, depth: int) -> Call:
        self._expect("(")
        parameters: dict[str, Node] = {}
        while not self._took(")"):
            kind, key = self._next()
            if kind != "name":
                raise self.refusal()
            if key in NOT_THE_TASKS:
                raise TaskFileError(f"{KEY}: expected {name} without {key}, {NOT_THE_TASKS[key]}")
            require(key not in parameters, KEY, f"{key} once in {name}", "it twice")
            self._expect("=")
            parameters[key] = self.value(depth + 1)
            if not self._took(","):
                self._expect(")")
                break
        return Call(name=name, parameters=tuple(parameters.items()))

    def _tuple(self, depth: int) -> tuple[Node, ...]:
        start = self._place
        items = tuple(self._items(")", depth))
        if len(items) == 1 and not self._text[start : self._place - 1].rstrip(" ").endswith(","):
            raise self.refusal()  # to Python it is the value itself
        return items

    def _items(self, closing: str, depth: int) -> list[Node]:
        items: list[Node] = []
        while not self._took(closing):
            items.append(self.value(depth + 1))
            if not self._took(","):
                self._expect(closing)
                break
        return items

    def _next(self) -> tuple[str, str]:
        found = _TOKEN.match(self._text, self._place)
        if found is None or found.lastgroup is None:
            raise self.refusal()
        self._place = found.end()
        return found.lastgroup, found[found.lastgroup]

    def _took(self, sign: str) -> bool:
        before = self._place
        if not self.is_done and self._next() == ("sign", sign):
            return True
        self._place = before
        return False

    def _expect(self, sign: str) -> None:
        if not self._took(sign):
            raise self.refusal()
