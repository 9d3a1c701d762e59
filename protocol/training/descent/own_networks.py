"""Networks of the user's own: found, named by a digest, built and tried before a training is paid for.

A factory is a function ``make(shape, n_outputs, widths)`` that returns a module: ``shape`` is (d,), or
(channels, height, width) where the recipe says so. It is named by an import path that the user types
on this machine, and by nothing that a peer says. The file is looked for without importing anything,
the packages that it lies in included, and its digest, with the function's name, must be the one that
the task holds; only then is it imported, and those packages and whatever it imports run with it,
unhashed.

What a factory may rely on: torch's own generator on the processor, which begins at seed 0 whenever it is
called. It is called twice, and what it builds must have the same buffers both times. Refuses to know how
a network is trained or differentiated; whoever does so tries it on two rows inside :func:`trying`.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path

import torch
from torch import Tensor, nn

from protocol.encoding import Digest
from protocol.errors import ArgumentError, TrainingError
from protocol.recipes import digest_of_factory
from protocol.training.memory import is_memory

Make = Callable[[tuple[int, ...], int, tuple[int, ...]], nn.Module]

_ADVICE = {
    "random": "draw nothing at random: set every dropout to 0 and use recipe.weight_decay",
    "data-dependent": "no .item(), and no if or while on a tensor's numbers: use torch.where",
    "in-place": "keep no state in it",
}
"""What to do about an error, by what torch says in it."""


@dataclass(frozen=True, kw_only=True)
class OwnFactory:
    """A factory of the user's own: where it is imported from, and the digest of its source file and name."""

    path: str
    digest: Digest

    def make(self) -> Make:
        """Import it. This runs the user's file."""
        module_name, _, function = self.path.partition(":")
        try:
            make: Make = getattr(importlib.import_module(module_name), function)
        except Exception as error:  # the user's own code may raise anything
            raise ArgumentError(f"factory {self.path}: expected it to import, got {_line(error)}") from error
        return make

    def built(self, shape: tuple[int, ...], n_outputs: int, widths: tuple[int, ...]) -> nn.Module:
        """Import it, and return the network that it builds.

        Raises
        ------
        ArgumentError
            It cannot be imported.
        TrainingError
            It raises something, builds no module or one without parameters, or another one when it is called again.
        """
        make = self.make()
        module, again = (self._called(make, shape, n_outputs, widths) for _ in range(2))
        different = _different(_tensors(module), _tensors(again))
        if different:
            raise TrainingError(
                f"factory {self.path}: expected the same network whenever it is built, got another {different}; "
                "draw numbers from torch's own generator alone, or write them down"
            )
        return module

    def _called(self, make: Make, shape: tuple[int, ...], n_outputs: int, widths: tuple[int, ...]) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            try:
                module = make(shape, n_outputs, widths)
            except Exception as error:  # here, too
                if is_memory(error):
                    raise
                raise TrainingError(
                    f"factory {self.path}: expected a network from make(shape, n_outputs, widths) = "
                    f"{(shape, n_outputs, widths)}, got {_line(error)}"
                ) from error
        if not isinstance(module, nn.Module):
            raise TrainingError(f"factory {self.path}: expected a torch.nn.Module, got {type(module).__name__}")
        if not any(True for _ in module.parameters()):
            raise TrainingError(f"factory {self.path}: expected a network with parameters to train, got none")
        return module


def own_factory(path: str) -> OwnFactory:
    """Return the factory at ``package.module:function``, found and hashed, nothing yet imported.

    Raises
    ------
    ArgumentError
        There is no such module, or it has no source file.
    """
    module, _, function = path.partition(":")
    if not all(name.isidentifier() for name in (*module.split("."), function)):
        raise ArgumentError(f"factory {path!r}: expected package.module:function")
    file = _source(module)
    if file is None:
        raise ArgumentError(f"factory {path}: expected a module with a source file, found none; is it on PYTHONPATH?")
    return OwnFactory(path=path, digest=digest_of_factory(file.read_bytes(), function))


def _source(module: str) -> Path | None:
    """Return the file of a module; ``importlib.util.find_spec`` would import the packages that it lies in."""
    first, *below = module.split(".")
    specs = (finder.find_spec(first, None) for finder in sys.meta_path if hasattr(finder, "find_spec"))
    spec = next((found for found in specs if found is not None), None)
    for name in below:
        if spec is None:
            return None
        spec = _within(name, list(spec.submodule_search_locations or []))
    return Path(spec.origin) if spec is not None and spec.origin is not None and Path(spec.origin).is_file() else None


def _within(name: str, folders: list[str]) -> ModuleSpec | None:
    """Return a module, or a package, that lies in one of these folders; a package without a file lies in several."""
    portions: list[str] = []
    for folder in folders:
        finder = pkgutil.get_importer(folder)
        spec = None if finder is None else finder.find_spec(name)
        if spec is not None and spec.loader is not None:
            return spec
        portions += (spec.submodule_search_locations or []) if spec is not None else []
    found = ModuleSpec(name, None)
    found.submodule_search_locations = portions
    return found if portions else None


@contextmanager
def trying(module: nn.Module) -> Iterator[None]:
    """Raise as one :class:`TrainingError` whatever a network of the user's own raises when it is first run.

    But for memory that runs out, which is not the network's fault.
    """
    before = {name: tensor.clone() for name, tensor in _tensors(module).items()}
    try:
        yield
        different = _different(before, _tensors(module))
    except TrainingError:
        raise
    except Exception as error:  # the user's own code may raise anything, and torch.func much
        if is_memory(error):
            raise
        said = str(error)
        advice = next((advice for sign, advice in _ADVICE.items() if sign in said), "try it on two rows")
        raise TrainingError(
            f"factory: expected a network that torch.func's vmap and grad can run, got {_line(error)}; {advice}"
        ) from error
    if different:
        raise TrainingError(
            f"factory: expected a network that running leaves as it is, got another {different}; keep no state in it"
        )


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return all that a network computes with but its parameters: buffers, and tensors that are plain attributes."""
    found = dict(module.named_buffers())
    for name, layer in module.named_modules():
        found |= {f"{name}.{key}": value for key, value in vars(layer).items() if isinstance(value, Tensor)}
    return found


def _different(some: dict[str, Tensor], others: dict[str, Tensor]) -> str:
    """Return the name of a tensor that is not the same in both; ``""`` where there is none."""
    for name in some.keys() | others.keys():
        if name not in some or name not in others or not torch.equal(some[name], others[name]):
            return name.lstrip(".")
    return ""


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]
