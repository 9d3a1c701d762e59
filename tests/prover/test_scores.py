"""Scores files: what is written is read back, and a stranger's file is checked before it is believed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.claim import Claim
from protocol.errors import ArgumentError, DataError, StoreError
from prover.scores import FORMATS, read, write, write_file
from tests.games import task_of

TASK = task_of(4, n_targets=2)
NAMES = ("row 0", 'of "quotes", commas', "ünïcode\u2028", "=1+1")


def a_claim(scale: float = 1.0) -> Claim:
    rng = np.random.default_rng(3)
    return Claim(
        task_digest=TASK.digest, intercepts=scale * rng.standard_normal(2), scores=scale * rng.standard_normal((2, 4))
    )


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("scale", [1.0, 1e-300, 1e30])
def test_what_is_written_is_read_back_to_the_last_bit(tmp_path: Path, suffix: str, scale: float) -> None:
    claim, path = a_claim(scale), tmp_path / f"scores{suffix}"
    write(path, claim, NAMES)
    again = read(path, TASK, NAMES)
    assert again.task_digest == TASK.digest
    assert np.array_equal(again.scores, claim.scores)
    assert np.array_equal(again.intercepts, claim.intercepts)


def test_a_npy_file_has_the_intercept_first(tmp_path: Path) -> None:
    write(tmp_path / "s.npy", a_claim(), NAMES)
    table = np.load(tmp_path / "s.npy", allow_pickle=False)
    assert np.array_equal(table[:, 0], a_claim().intercepts)
    assert np.array_equal(table[:, 1:], a_claim().scores)


@pytest.mark.parametrize("layout", ["C", "F"])
@pytest.mark.parametrize("kind", ["<f4", ">f8", "<f8"])
def test_npy_files_of_other_layouts_and_widths_are_read(tmp_path: Path, layout: str, kind: str) -> None:
    table = np.asarray(np.arange(10.0).reshape(2, 5), dtype=kind, order=layout)  # type: ignore[call-overload]
    np.save(tmp_path / "s.npy", table)
    assert np.array_equal(read(tmp_path / "s.npy", TASK, NAMES).scores, table[:, 1:].astype(float))


def test_a_file_that_is_there_is_replaced_by_force_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.npy"
    path.write_bytes(b"precious")
    with pytest.raises(ArgumentError, match="expected no such file yet; choose another name, or --force"):
        write(path, a_claim(), NAMES)
    assert path.read_bytes() == b"precious"
    write(path, a_claim(), NAMES, force=True)
    read(path, TASK, NAMES)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "s.npy"
    path.write_bytes(b"precious")

    def fill(file: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreError, match="cannot be written: No space left on device"):
        write_file(path, fill, force=True)
    assert path.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["s.npy"]  # noqa: PTH208 - hidden files count


def test_a_directory_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written: No such file"):
        write(tmp_path / "none" / "s.csv", a_claim(), NAMES)


def npy(table: np.ndarray, **options: bool) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, table, **options)

    return make


def tensors(**arrays: np.ndarray) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(safetensors.numpy.save(arrays)) and None


def text(content: str | bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content.encode() if isinstance(content, str) else content) and None


def changed(suffix: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        write(path, a_claim(), NAMES, force=True)
        path.write_bytes(change(path.read_bytes()))

    return make


GOOD = np.arange(10.0).reshape(2, 5)
HEADER = "unit,target 0,target 1\n"
ROWS = 'intercept,0,0\nrow 0,1,2\n"of ""quotes"", commas",1,2\nünïcode\u2028,1,2\n'

FAULTS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no such file": (".npy", lambda path: None, "No such file"),
    "no such tensors file": (".safetensors", lambda path: None, "expected a scores file, found none there"),
    "a directory": (".npy", lambda path: path.mkdir(), "Is a directory"),
    "not a npy": (".npy", text("hello"), "expected a .npy file, got another"),
    "empty npy": (".npy", text(""), "expected a .npy file, got another"),
    "pickle": (".npy", npy(np.array([[object()]]), allow_pickle=True), "expected shape (2, 5)"),
    "pickle of the right shape": (".npy", npy(GOOD.astype(object), allow_pickle=True), "expected float64 (or float32)"),
    "endless header": (
        ".npy", text(b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b"{" * 20_000), "expected a .npy file, got another",
    ),
    "header of calls": (
        ".npy", text(b"\x93NUMPY\x01\x00\x20\x00" + b"{'descr':exit(),'shape':(2,)}   "), "expected a .npy file",
    ),
    "huge shape": (
        ".npy",
        text(b"\x93NUMPY\x01\x00\x60\x00" + b"{'descr':'<f8','fortran_order':False,'shape':(999999999,9)}".ljust(96)),
        "expected shape (2, 5), the intercept and a score a unit, got (999999999, 9)",
    ),
    "no intercepts": (".npy", npy(GOOD[:, 1:]), "expected shape (2, 5), the intercept and a score a unit, got (2, 4)"),
    "transposed": (".npy", npy(GOOD.T), "expected shape (2, 5)"),
    "integers": (".npy", npy(GOOD.astype(int)), "expected float64 (or float32), got int64"),
    "long double": (".npy", npy(GOOD.astype(np.longdouble)), "expected float64 (or float32)"),
    "truncated npy": (".npy", changed(".npy", lambda b: b[:-1]), "got 79; the file is truncated"),
    "over-long npy": (".npy", changed(".npy", lambda b: b + b"\0"), "got 81; the file is over-long"),
    "NaN": (".npy", npy(np.where(GOOD == 7, np.nan, GOOD)), "got nan as the score of unit 1 for target 1"),
    "infinite intercept": (".npy", npy(np.where(GOOD == 0, np.inf, GOOD)), "got inf as the intercept for target 0"),
    "too large to square": (".npy", npy(GOOD * 1e300), "expected finite"),
    "junk tensors": (".safetensors", text("hello"), "expected a .safetensors file, got another"),
    "truncated tensors": (".safetensors", changed(".safetensors", lambda b: b[:-8]), "expected a .safetensors file"),
    "over-long tensors": (".safetensors", changed(".safetensors", lambda b: b + b"\0"), "expected a .safetensors file"),
    "missing tensor": (".safetensors", tensors(scores=GOOD[:, 1:]), "expected tensors ['intercepts', 'scores']"),
    "extra tensor": (
        ".safetensors", tensors(scores=GOOD, intercepts=GOOD, more=GOOD), "expected tensors ['intercepts', 'scores']",
    ),
    "tensor of another shape": (
        ".safetensors", tensors(scores=GOOD, intercepts=GOOD[:, 0].copy()), "expected scores to be F64 (or F32) of [2,",
    ),
    "tensor of integers": (
        ".safetensors", tensors(scores=np.ones((2, 4), int), intercepts=GOOD[:, 0].copy()), "expected scores to be F64",
    ),
    "tensors of another task": (
        ".safetensors",
        lambda path: path.write_bytes(
            safetensors.numpy.save(
                {"scores": GOOD[:, 1:].copy(), "intercepts": GOOD[:, 0].copy()}, {"attribution-proofs.task": "ab" * 32}
            )
        ),
        "got abababababababab",
    ),
    "empty csv": (".csv", text(""), "the header: expected 3 columns, a name and the targets, got 0"),
    "narrow csv": (".csv", text("unit,target 0\n"), "the header: expected 3 columns"),
    "truncated csv": (".csv", text(HEADER + ROWS), "expected 5 rows below the header, got 4; the file is truncated"),
    "over-long csv": (".csv", text(HEADER + ROWS + "=1+1,1,2\nmore,1,2\n"), "expected 5 rows below the header, got"),
    "endless csv": (".csv", text(HEADER + "x" * 100_000), "the file is over-long"),
    "ragged csv": (".csv", text(HEADER + ROWS + "=1+1,1\n"), "row 5: expected 3 columns"),
    "units in another order": (
        ".csv", text(HEADER + 'intercept,0,0\n"of ""quotes"", commas",1,2\nrow 0,1,2\n'), "row 2: expected 'row 0'",
    ),
    "words for numbers": (".csv", text(HEADER + "intercept,0,none\n"), "row 1: expected a number, got 'none'"),
    "NaN in csv": (".csv", text(HEADER + ROWS + "=1+1,1,nan\n"), "got nan as the score of unit 3 for target 1"),
    "another encoding": (".csv", text(HEADER.encode() + b"intercept,\xff,0\n"), "expected a .csv file in UTF-8"),
    "open quotes": (".csv", text(HEADER + 'intercept,"0,0\n'), "expected a .csv file in UTF-8, got another"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_file_is_refused_in_one_line(tmp_path: Path, fault: str) -> None:
    suffix, make, message = FAULTS[fault]
    path = tmp_path / f"scores{suffix}"
    make(path)
    with pytest.raises(DataError) as caught:
        read(path, TASK, NAMES)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["scores.pkl", "scores", "scores.npz"])
def test_other_kinds_of_files_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArgumentError, match=r"expected a file ending in .npy, .safetensors, .csv"):
        read(tmp_path / name, TASK, NAMES)
    with pytest.raises(ArgumentError, match="expected a file ending in"):
        write(tmp_path / name, a_claim(), NAMES)


@settings(max_examples=150)
@given(
    data=st.binary(max_size=200), suffix=st.sampled_from(FORMATS), cut=st.integers(0, 300), flip=st.integers(0, 2000)
)
def test_any_bytes_give_a_claim_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str, cut: int, flip: int
) -> None:
    """Made-up bytes, and a good file cut short, lengthened or with one bit flipped."""
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    write(path, a_claim(), NAMES, force=True)
    good = bytearray(path.read_bytes())
    good[flip // 8 % len(good)] ^= 1 << flip % 8
    for content in (data, bytes(good), bytes(good[:cut]), bytes(good) + data):
        path.write_bytes(content)
        try:
            read(path, TASK, NAMES)
        except DataError as error:
            assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
