"""What the prover's commands are given: task files, data files, stores, threads.

Owns finding and reading them. torch and scikit-learn are imported when they are used, not before.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from protocol import taskfile
from protocol.errors import ArgumentError, DataError, StoreError, TaskFileError
from protocol.task import Task
from prover.choices import BUNDLED
from prover.database import DATABASE

if TYPE_CHECKING:
    from protocol.training import Dataset
    from prover.store import Store

MAX_TASK_FILE_BYTES = 4 * taskfile.MAX_CHARACTERS


def require_store(directory: Path) -> None:
    """Refuse a directory with no store in it, rather than make one there."""
    if not (directory / DATABASE).is_file():
        raise StoreError(f"store {directory}: expected a prover's store, found none; run prover train first")


def read_task(path: Path) -> Task:
    """Return the task of a file; TaskFileError names the file and the key."""
    try:
        if path.stat().st_size > MAX_TASK_FILE_BYTES:
            raise TaskFileError(f"{path}: expected a task file of at most {MAX_TASK_FILE_BYTES} bytes, got more")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise TaskFileError(f"{path}: expected a task file, got none: {reason}; make one with prover init") from error
    try:
        return taskfile.parse(text)
    except TaskFileError as error:
        raise TaskFileError(f"{path}: {error}") from error


def data_path(task: Task, given: Path | None, task_file: Path, state: Store | None = None) -> Path | None:
    """Return where the task's data file lies: where the user says, where it was before, or beside the task file.

    None for a bundled set, beside which ``given`` is an ArgumentError.
    """
    if task.data.source.startswith(BUNDLED):
        if given is not None:
            raise ArgumentError(f"--data: expected none with this task, whose data are {task.data.source}, got {given}")
        return None
    before = None if state is None else state.data_path()
    return given or before or task_file.parent / task.data.source


def dataset(task: Task, path: Path | None) -> Dataset:
    """Return the task's data, read from ``path`` and checked against its digest; DataError names the file."""
    from protocol.training import load  # noqa: PLC0415 - see the head of this file

    try:
        return load(task, path)
    except DataError as error:
        if path is None:
            raise
        reason = str(error).removeprefix(f"{path}: ").removeprefix(f"{path.name}: ")
        raise DataError(f"{path}: {reason}") from error


def unit_names(task: Task, scores: Path, data: Path | None) -> tuple[str, ...]:
    """Return the names that a .csv says units by; the other kinds have none."""
    return dataset(task, data).unit_names if scores.suffix == ".csv" else ()


def set_threads(threads: int | None) -> None:
    """Set the processor threads that torch uses; None leaves them."""
    if threads is not None:
        import torch  # noqa: PLC0415 - see the head of this file

        torch.set_num_threads(threads)
