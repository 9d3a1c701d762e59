"""A task as TOML text, and back.

Owns the keys of ``task.toml`` and the errors that name them. Refuses to know the disk: whoever
has the text reads and writes it. What a value means, and which values fit together, is
``protocol.task``'s business; this file only adds which types a file may hold.

Rules: an unknown key is an error, never a silent default; there is no default at all, because
everything here changes an output and is hashed. ``parse(render(task)) == task`` for every task.
"""

from __future__ import annotations

import tomllib
from typing import Annotated, Any, Literal, NoReturn

import numpy as np
from jaxtyping import Float64
from pydantic import BaseModel, Field, ValidationError

from protocol.encoding import DIGEST_BYTES, Digest
from protocol.errors import TaskFileError
from protocol.game import Measure
from protocol.numerics import Exact, Numerics, Profile
from protocol.recipefile import SECTIONS, RecipeSection, recipe_lines, recipe_of
from protocol.task import (
    MAX_TARGETS,
    ConstantColumns,
    Data,
    Scaling,
    SeedPolicy,
    TargetKind,
    Targets,
    Task,
    UnitKind,
    Units,
)
from protocol.tomltext import Number, Section, Text, Whole, array, boolean, number, string

FORMAT = 1
MAX_CHARACTERS = 1 << 24
"""Largest task file taken: MAX_TARGETS rows and ranges come to half of it."""

_Bounds = Annotated[
    float | Annotated[list[float], Field(max_length=MAX_TARGETS)],
    Field(description="a number, or a list of one number per target"),
]


class _Data(Section):
    source: Text
    digest: Annotated[str, Field(description=f"{2 * DIGEST_BYTES} hexadecimal digits", pattern="^[0-9a-f]{64}$")]
    target_column: Text
    contributor_column: Text
    n_classes: Whole
    n_train: Whole
    n_test: Whole
    split_seed: Whole
    constant_columns: Annotated[Literal["refuse", "drop", "keep"], Field(description='"refuse", "drop" or "keep"')]
    scaling: Annotated[Literal["none", "standard", "range"], Field(description='"none", "standard" or "range"')]


class _Units(Section):
    kind: Annotated[Literal["row", "contributor"], Field(description='"row" or "contributor"')]
    n: Whole


class _Targets(Section):
    kind: Annotated[
        Literal["margin", "probability", "loss", "prediction", "squared-error"],
        Field(description='"margin", "probability", "loss", "prediction" or "squared-error"'),
    ]
    rows: Annotated[list[Whole], Field(description="a list of test row numbers", max_length=MAX_TARGETS)]
    average: Annotated[bool, Field(description="true or false")]
    lo: _Bounds
    hi: _Bounds


class _Sampling(Section):
    p: Annotated[float, Field(description="a number strictly between 0 and 1", gt=0, lt=1)]
    seed_policy: Annotated[Literal["shared", "per-subset"], Field(description='"shared" or "per-subset"')]
    seed: Whole


class _Tolerance(Section):
    profile: Literal["tolerance"]
    tolerance: Number


class _Exact(Section):
    profile: Literal["exact"]
    weight_bits: Whole
    activation_bits: Whole
    gradient_bits: Whole


_NUMERICS: dict[str, type[Section]] = {"tolerance": _Tolerance, "exact": _Exact}
_UNIONS = {"recipe": ("name", SECTIONS), "numerics": ("profile", _NUMERICS)}
"""Sections of several kinds: the key that tells which, and the kinds."""


class _File(Section):
    format: Annotated[Literal[1], Field(description=f"{FORMAT}, the format that this version reads")]
    data: Annotated[_Data, Field(description="a section [data]")]
    units: Annotated[_Units, Field(description="a section [units]")]
    recipe: Annotated[RecipeSection, Field(discriminator="name", description="a section [recipe]")]
    targets: Annotated[_Targets, Field(description="a section [targets]")]
    sampling: Annotated[_Sampling, Field(description="a section [sampling]")]
    numerics: Annotated[_Tolerance | _Exact, Field(discriminator="profile", description="a section [numerics]")]


def parse(text: str) -> Task:
    """Return the task that ``text``, a whole task.toml, describes.

    Raises
    ------
    TaskFileError
        Not TOML, a key that is missing, unknown or of another type, or values that
        ``protocol.task`` refuses. The message begins with the key, as in ``sampling.p: ...``.
    """
    if len(text) > MAX_CHARACTERS:
        raise TaskFileError(f"task file: expected at most {MAX_CHARACTERS} characters, got {len(text)}")
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, dates and numbers beyond Python's
        raise TaskFileError(f"task file: expected TOML, got {' '.join(str(error).split())[:200]}") from error
    try:
        file = _File.model_validate(raw)
    except ValidationError as error:
        _raise_first(error)
    return _task(file)


def render(task: Task) -> str:
    """Return the commented text that :func:`parse` turns back into ``task``."""
    data, targets = task.data, task.targets
    lines = [
        "# The task: the statement that is proved. Every value here can change an output, and is hashed into the",
        "# task's digest: a prover and a verifier who use the same file speak of the same thing.",
        f"format = {FORMAT}",
        "",
        "[data]",
        "# sklearn:NAME for a set bundled with scikit-learn, else a file's name (each party says where its copy is).",
        f"source = {string(data.source)}",
        "# SHA-256 over the whole table as read; data with another digest are refused.",
        f'digest = "{data.digest.hex()}"',
        '# Columns of a file; "" for none.',
        f"target_column = {string(data.target_column)}",
        f"contributor_column = {string(data.contributor_column)}",
        "# 0 for a regression.",
        f"n_classes = {data.n_classes}",
        "# The rows are shuffled under split_seed; the first n_train train, the next n_test test.",
        f"n_train = {data.n_train}",
        f"n_test = {data.n_test}",
        f"split_seed = {data.split_seed}",
        '# What to do about columns with one value on all rows: "refuse", "drop", or "keep", for images.',
        f'constant_columns = "{data.constant_columns.value}"',
        '# "none", "standard" (mean 0, variance 1) or "range" (within [-1, 1], by a power of two), from all training',
        "# rows, before any subset is taken.",
        f'scaling = "{data.scaling.value}"',
        "",
        "[units]",
        '# What is left in or out: a "row", or all rows of a "contributor". There are n of them.',
        f'kind = "{task.units.kind.value}"',
        f"n = {task.units.n}",
        "",
        *recipe_lines(task.recipe),
        "",
        "[targets]",
        "# The number read off a trained model at a test row: margin, probability or loss; for a regression",
        "# prediction or squared-error.",
        f'kind = "{targets.kind.value}"',
        "# Test rows, counted from 0 in the test set; each is a target of its own.",
        f"rows = {array(str(row) for row in targets.rows)}",
        "# true: their mean is the one target.",
        f"average = {boolean(targets.average)}",
        "# Outputs are clipped into [lo, hi]: one number for all targets, or one for each. The clipped function is",
        "# the one that is attributed.",
        f"lo = {_bounds(targets.lo)}",
        f"hi = {_bounds(targets.hi)}",
        "",
        "[sampling]",
        "# Each unit is in a subset with probability p, held as round(65536 p) / 65536.",
        f"p = {number(task.measure.p)}",
        '# "shared": every training uses seed. "per-subset": each has a fresh seed of its own, and seed is 0.',
        f'seed_policy = "{task.seed_policy.value}"',
        f"seed = {task.seed}",
        "",
        "[numerics]",
        *_numerics_lines(task.numerics),
    ]
    return "\n".join(lines) + "\n"


def _numerics_lines(numerics: Profile) -> list[str]:
    if isinstance(numerics, Exact):
        return [
            "# Every honest computation gives the same bits; an answer with any other is false. Bits of a weight, an",
            "# activation and a slope; fewer where a layer's sums would need more than 53.",
            'profile = "exact"',
            f"weight_bits = {numerics.weight_bits}",
            f"activation_bits = {numerics.activation_bits}",
            f"gradient_bits = {numerics.gradient_bits}",
        ]
    return [
        "# Two honest computations of one output differ by at most tolerance, in the targets' unit; an answer",
        "# further off is false.",
        'profile = "tolerance"',
        f"tolerance = {number(numerics.tolerance)}",
    ]


def _numerics(section: _Tolerance | _Exact) -> Profile:
    if isinstance(section, _Tolerance):
        return Numerics(tolerance=section.tolerance)
    return Exact(
        weight_bits=section.weight_bits, activation_bits=section.activation_bits, gradient_bits=section.gradient_bits
    )


def _task(file: _File) -> Task:
    data, targets, sampling = file.data, file.targets, file.sampling
    n_targets = 1 if targets.average else len(targets.rows)
    return Task(
        data=Data(
            source=data.source,
            digest=Digest(bytes.fromhex(data.digest)),
            target_column=data.target_column,
            contributor_column=data.contributor_column,
            n_classes=data.n_classes,
            n_train=data.n_train,
            n_test=data.n_test,
            split_seed=data.split_seed,
            constant_columns=ConstantColumns(data.constant_columns),
            scaling=Scaling(data.scaling),
        ),
        units=Units(kind=UnitKind(file.units.kind), n=file.units.n),
        recipe=recipe_of(file.recipe),
        targets=Targets(
            kind=TargetKind(targets.kind),
            rows=tuple(targets.rows),
            average=targets.average,
            lo=_spread(targets.lo, n_targets),
            hi=_spread(targets.hi, n_targets),
        ),
        measure=Measure(p_16=_p_16(sampling.p)),
        seed_policy=SeedPolicy(sampling.seed_policy),
        seed=sampling.seed,
        numerics=_numerics(file.numerics),
    )


def _p_16(p: float) -> int:
    p_16 = round(65536 * p)
    if not 0 < p_16 < 1 << 16:
        raise TaskFileError(f"sampling.p: expected a number strictly between 0 and 1 to 16 bits, got {p}")
    return p_16


def _spread(bound: float | list[float], n_targets: int) -> Float64[np.ndarray, " t"]:
    if isinstance(bound, list):
        return np.array(bound, dtype=np.float64)  # its length is checked by Targets
    return np.full(n_targets, bound, dtype=np.float64)


def _raise_first(error: ValidationError) -> NoReturn:
    """Raise the first of pydantic's errors as one line; an unknown key first, since it explains a missing one."""
    errors = error.errors(include_url=False, include_context=False)
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    path = [part for part in first["loc"] if isinstance(part, str)]
    if len(path) > 1 and path[0] in _UNIONS:
        tag = path.pop(1)
        section: type[BaseModel] = _UNIONS[path[0]][1][tag]
    else:
        section = _section(path)
    key, got = ".".join(path), _shown(first["input"])
    field = section.model_fields.get(path[-1] if path else "")
    if path and path[0] in _UNIONS and first["type"].startswith("union_tag"):
        tag_key, kinds = _UNIONS[path[0]]
        named = first["input"].get(tag_key) if isinstance(first["input"], dict) else None
        names, shown = " or ".join(f'"{name}"' for name in kinds), "nothing" if named is None else _shown(named)
        raise TaskFileError(f"{path[0]}.{tag_key}: expected {names}, got {shown}")
    if first["type"] == "extra_forbidden":
        known = ", ".join(name for name in section.model_fields if name not in {"name", "profile"})
        raise TaskFileError(f"{key}: unknown key; expected {known}")
    expected = (field.description if field else None) or first["msg"]
    if first["type"] == "missing":
        raise TaskFileError(f"{key}: expected {expected}, got nothing; add it")
    raise TaskFileError(f"{key}: expected {expected}, got {got}")


def _section(path: list[str]) -> type[BaseModel]:
    """Return the model that holds the last key of ``path``; path is cut at a field's own parts."""
    model: type[BaseModel] = _File
    for depth, name in enumerate(path[:-1]):
        inner = model.model_fields[name].annotation if name in model.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            del path[depth + 1 :]  # below a field there are only pydantic's names for the parts of a union
            break
        model = inner
    return model


def _shown(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _bounds(bound: Float64[np.ndarray, " t"]) -> str:
    if (bound == bound[0]).all() and not (np.signbit(bound) != np.signbit(bound[0])).any():
        return number(bound[0])
    return array(number(value) for value in bound)
