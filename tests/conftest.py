"""What every test runs under: checked array shapes and reproducible examples.

Warnings are errors by ``filterwarnings`` in pyproject.toml, and the number of threads is the Makefile's.
"""

from __future__ import annotations

import os
import sys

import hypothesis
import jaxtyping
import pytest

import tests.shapes  # the hook looks its checker up by name, and imports no further than "tests" for it

CHECKED = ("protocol", "prover", "verifier")

# Before the first import of ours: the hook rewrites modules as they load, and a module loaded earlier stays unchecked.
_early = sorted(name for name in sys.modules if name.split(".")[0] in CHECKED)
if _early:
    raise RuntimeError(f"expected the shape checker to come first, got {_early[0]} imported before tests/conftest.py")
jaxtyping.jaxtyped = tests.shapes.where_arrays_are(jaxtyping.jaxtyped)
jaxtyping.install_import_hook(CHECKED, f"{tests.shapes.__name__}.{tests.shapes.arrays_only.__name__}")

hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is marked gpu where there is none."""
    if item.get_closest_marker("gpu") is None:
        return
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
