"""Memory that runs out, as torch says it."""

from __future__ import annotations

import torch

_WORDS = ("out of memory", "not enough memory", "can't allocate memory")
"""On a processor torch says so in the words of a RuntimeError alone."""


def is_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)
