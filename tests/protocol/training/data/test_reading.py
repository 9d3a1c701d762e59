"""Files to tables: what is taken, and one defect a fixture for what is refused."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import DataError
from protocol.training import read_table
from protocol.training.data import readers

DIGESTS = {
    "digits": "15e57981b215c78648b989135a8d42123854380c01610339d76365ef335cab83",
    "breast_cancer": "221c33896e3cbfc8ce8e2a67ac6f92f0a10870a78a43e29cdbe7f306a129e168",
    "wine": "c1ad7ab6f7feabb7b671ec42a3d5364716a400df9af6034cc61701d588fae44b",
    "iris": "9342c638601e49c1c46ac84f4bcee52fc08122ff6a0527d07ed04ab3c47e8d54",
    "diabetes": "128484a362acbfd099008d3f1d20c83e126ec65814f29ad36c143ee81595e00a",
}
SHAPES = {"digits": (1797, 64, 10), "breast_cancer": (569, 30, 2), "wine": (178, 13, 3), "iris": (150, 4, 3)}

GOOD_CSV = "a,b,who,y\n1,2.5,ann,cat\n2,3.5,bob,dog\n3,4.5,007,cat\n"


@pytest.mark.parametrize("name", DIGESTS)
def test_the_digest_of_a_bundled_set_never_changes(name: str) -> None:
    assert read_table(f"sklearn:{name}").digest.hex() == DIGESTS[name]


@pytest.mark.parametrize("name", SHAPES)
def test_bundled_classes_are_read_whole(name: str) -> None:
    table = read_table(f"sklearn:{name}")
    assert (*table.features.shape, table.n_classes) == SHAPES[name]
    assert len(table.columns) == table.features.shape[1]
    assert len(table.class_names) == table.n_classes


def test_diabetes_is_a_regression_on_unscaled_features() -> None:
    table = read_table("sklearn:diabetes")
    assert table.n_classes == 0
    assert table.labels.dtype == np.float64
    assert table.class_names == ()
    assert np.array_equal(table.features[:, 0], np.round(table.features[:, 0]))  # ages in years


def test_csv_strings_become_sorted_classes_and_contributors_stay_text(tmp_path: Path) -> None:
    table = _read(tmp_path, "t.csv", GOOD_CSV.encode(), contributor_column="who")
    assert table.columns == ("a", "b")
    assert table.class_names == ("cat", "dog")
    assert table.labels.tolist() == [0, 1, 0]
    assert table.contributors == ("ann", "bob", "007")
    assert np.array_equal(table.features, [[1, 2.5], [2, 3.5], [3, 4.5]])


def test_integer_classes_are_sorted_as_numbers(tmp_path: Path) -> None:
    table = _read(tmp_path, "t.csv", b"a,y\n1,10\n2,9\n3,10\n")
    assert table.class_names == ("9", "10")
    assert table.labels.tolist() == [1, 0, 1]


def test_a_fractional_target_is_a_regression(tmp_path: Path) -> None:
    table = _read(tmp_path, "t.csv", b"a,y\n1,0.5\n2,1.5\n3,2\n")
    assert table.n_classes == 0
    assert table.labels.tolist() == [0.5, 1.5, 2.0]


def test_integers_are_a_regression_when_the_task_says_so(tmp_path: Path) -> None:
    table = _read(tmp_path, "t.csv", b"a,y\n1,3\n2,4\n", task_kind="regression")
    assert table.n_classes == 0
    assert table.labels.tolist() == [3.0, 4.0]


def test_one_table_has_one_digest_in_every_format(tmp_path: Path) -> None:
    csv = _read(tmp_path, "t.csv", b"x0,x1,y\n1,2.5,0\n2,-3.5,1\n-0.0,4,1\n")
    npz = _read(tmp_path, "t.npz", _npz(X=np.array([[1, 2.5], [2, -3.5], [0.0, 4]]), y=np.array([0, 1, 1])))
    columns = {"x0": [1, 2, 0], "x1": [2.5, -3.5, 4.0], "y": [0, 1, 1]}
    parquet = _read(tmp_path, "t.parquet", _parquet(pa.table(columns)))
    assert csv.digest == npz.digest == parquet.digest


@pytest.mark.parametrize("change", ["feature", "label", "name", "contributor", "order"])
def test_any_change_of_the_table_changes_its_digest(tmp_path: Path, change: str) -> None:
    changed = {
        "feature": GOOD_CSV.replace("4.5", "4.6"),
        "label": GOOD_CSV.replace("007,cat", "007,dog"),
        "name": GOOD_CSV.replace("a,b", "a,c"),
        "contributor": GOOD_CSV.replace("007", "7"),
        "order": "\n".join(GOOD_CSV.splitlines()[i] for i in (0, 2, 1, 3)) + "\n",
    }[change]
    first = _read(tmp_path, "t.csv", GOOD_CSV.encode(), contributor_column="who")
    assert first.digest != _read(tmp_path, "t.csv", changed.encode(), contributor_column="who").digest


def test_npz_arrays_can_have_other_names(tmp_path: Path) -> None:
    data = _npz(X=np.eye(3), price=np.array([1.5, 2.5, 3.5]), owner=np.array([1, 1, 2]))
    table = _read(tmp_path, "t.npz", data, target_column="price", contributor_column="owner")
    assert table.contributors == ("1", "1", "2")
    assert table.labels.tolist() == [1.5, 2.5, 3.5]


def test_dictionary_encoded_parquet_text_is_read(tmp_path: Path) -> None:
    who = pa.array(["ann", "bob", "ann"]).dictionary_encode()
    table = _read(
        tmp_path, "t.parquet", _parquet(pa.table({"a": [1, 2, 3], "who": who, "y": who})), contributor_column="who"
    )
    assert table.contributors == ("ann", "bob", "ann")
    assert table.class_names == ("ann", "bob")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a,y\n1,0\n,1\n", r"t.csv: expected a number.* in column 'a', got NaN or nothing in row 1; fill it in"),
        (b"a,y\n1,0\nnan,1\n", r"column 'a', got NaN or nothing in row 1"),
        (b"a,y\n1,0\ninf,1\n", r"column 'a', got inf in row 1"),
        (b"a,y\n1,0\n1e101,1\n", r"at most 1e\+100 in column 'a', got 1e\+101 in row 1"),
        (b"a,y\n1,0.5\n2,\n", r"column 'y', got NaN or nothing in row 1"),
        (b"a,y\n1,0\n2,\n", r"expected a label in column 'y', got nothing in row 1"),
        (b"a,y\nred,0\n2,1\n", r"expected numbers in feature column 'a', got string; encode or drop it"),
        (b"a,y\n2020-01-01,0\n2020-01-02,1\n", r"expected numbers in feature column 'a', got date32"),
        (b"a,y\n1,2020-01-01\n2,2020-01-02\n", r"expected integers or text in column 'y', got date32"),
        (b"a,z\n1,0\n2,1\n", r"expected a column 'y', got a, z; name it"),
        (b"a,a,y\n1,1,0\n2,2,1\n", r"expected each column once, got 'a' twice"),
        (b"y\n0\n1\n", r"expected at least one row and one feature column, got 2 rows and 0 features"),
        (b"a,y\n", r"expected at least one row and one feature column, got 0 rows"),
        (b"", r"expected a readable .csv file, got ArrowInvalid"),
        (b"a,y\n1,0\n1,2,3\n", r"expected a readable .csv file, got ArrowInvalid"),
        (b"a,y\n1,0\n2,0\n", r"expected 2 to 1000 classes in target column 'y', got one class"),
        (b"a,y\n1,0.5\n2,0.5\n", r"expected values that differ in target column 'y', got 0.5 in every row"),
    ],
)
def test_a_bad_csv_is_refused_in_one_line(tmp_path: Path, text: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        _read(tmp_path, "t.csv", text)
    assert "\n" not in str(caught.value)


def test_a_row_without_contributor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a name in column 'who', got nothing in row 1"):
        _read(tmp_path, "t.csv", b"a,who,y\n1,ann,0\n2,,1\n", contributor_column="who")


def test_target_and_contributor_must_be_two_columns(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected two columns for target and contributor, got 'y' for both"):
        _read(tmp_path, "t.csv", b"a,y\n1,0\n2,1\n", contributor_column="y")


def test_text_is_no_regression(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected numbers in target column 'y', got text"):
        _read(tmp_path, "t.csv", b"a,y\n1,b\n2,c\n", task_kind="regression")


def test_fractions_are_no_classes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected integers or text as classes in target column 'y', got fractions"):
        _read(tmp_path, "t.csv", b"a,y\n1,0.5\n2,1.5\n", task_kind="classes")


def test_more_classes_than_the_limit_are_refused(tmp_path: Path) -> None:
    rows = "".join(f"{i},{i}\n" for i in range(1001))
    with pytest.raises(DataError, match=r"expected 2 to 1000 classes in target column 'y', got 1001"):
        _read(tmp_path, "t.csv", f"a,y\n{rows}".encode())


@pytest.mark.parametrize(
    ("source", "path", "message"),
    [
        ("sklearn:mnist", None, r"expected a known one, got 'mnist'; known are sklearn:digits, .*sklearn:diabetes"),
        ("mnist", None, r"expected a path to the file, got none; known are sklearn:digits"),
        ("t.csv", Path("/nowhere/t.csv"), r"/nowhere/t.csv: expected a data file, found none there"),
        ("t.csv", Path("bad\0name.csv"), r"expected a (data|readable) file"),
    ],
)
def test_a_set_that_is_not_there_is_refused(source: str, path: Path | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_table(source, path=path, target_column="y")


def test_a_bundled_set_has_no_contributors() -> None:
    with pytest.raises(DataError, match=r"sklearn:iris': expected no column names, got 'who'; write the set to a .csv"):
        read_table("sklearn:iris", contributor_column="who")


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(DataError, match=r"expected a data file, found none there"):
        read_table("d.csv", path=tmp_path / "d.csv", target_column="y")


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a file ending in .npz, .csv, .parquet, got '.pkl'"):
        _read(tmp_path, "t.pkl", b"")


def test_a_csv_needs_a_target_column(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected the name of the target column, got none; set data.target_column"):
        _read(tmp_path, "t.csv", GOOD_CSV.encode(), target_column="")


def test_a_file_over_the_limit_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MAX_FILE_BYTES", 10)
    with pytest.raises(DataError, match=r"t.csv: expected at most 10 bytes, got \d+; take fewer rows"):
        _read(tmp_path, "t.csv", GOOD_CSV.encode())


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.npz"])
def test_a_table_over_the_limits_is_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {
        "t.csv": b"a,b,y\n1,2,0\n3,4,1\n",
        "t.parquet": _parquet(pa.table({"a": [1, 2], "b": [3, 4], "y": [0, 1]})),
        "t.npz": _npz(X=np.eye(2), y=np.array([0, 1])),
    }[name]
    assert _read(tmp_path, name, content).n_rows == 2
    monkeypatch.setattr(readers, "MAX_VALUES", 3)
    with pytest.raises(DataError, match=r"expected at most"):
        _read(tmp_path, name, content)


def _object_array() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([[{}]], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def _npy(header: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()


def _zipped(x: bytes) -> bytes:
    buffer, y = io.BytesIO(), io.BytesIO()
    np.save(y, np.array([0, 1]))
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("X.npy", x)
        archive.writestr("y.npy", y.getvalue())
    return buffer.getvalue()


def _huge(shape: str) -> bytes:
    return _zipped(_npy(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _zipped(_object_array()), r"expected numbers in array 'X', got object"),
        (lambda: _huge("(1000000000, 1000)"), r"expected at most \d+ bytes in array 'X', got 8000000000000"),
        (lambda: _huge("(2, 1000)"), r"expected 16000 bytes in array 'X', found fewer: the file is cut short"),
        (lambda: _huge("(-1, 2)"), r"expected 2 axes in array 'X', got shape \(-1, 2\)"),
        (lambda: _huge("(2,)"), r"expected 2 axes in array 'X', got shape \(2,\)"),
        (lambda: _zipped(b"no header"), r"expected a readable .npz file, got ValueError"),
        (lambda: _zipped(b"\x93NUMPY\x09\x00"), r"in .npy format 1.0 or 2.0, got \(9, 0\)"),
        (lambda: b"not a zip", r"expected a readable .npz file, got BadZipFile"),
        (lambda: _npz(X=np.eye(2)), r"expected an array 'y', got X; name it"),
        (lambda: _npz(X=np.eye(2), y=np.arange(3)), r"expected 2 values in array 'y', one a row, got 3"),
        (lambda: _npz(X=np.eye(2), y=np.arange(2) * 1j), r"expected numbers or strings in array 'y', got complex128"),
        (lambda: _npz(X=np.eye(2) * 1j, y=np.arange(2)), r"expected numbers in array 'X', got complex128"),
        (lambda: _npz(X=np.zeros((0, 2)), y=np.arange(0)), r"expected at least one row"),
    ],
)
def test_a_bad_npz_is_refused(tmp_path: Path, make: Callable[[], bytes], message: str) -> None:
    with pytest.raises(DataError, match=message):
        _read(tmp_path, "t.npz", make(), target_column="")


@settings(max_examples=60)
@given(data=st.binary(max_size=300), suffix=st.sampled_from(readers.FORMATS))
def test_any_bytes_give_a_table_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str
) -> None:
    _table_or_data_error(tmp_path_factory.getbasetemp() / f"any{suffix}", data)


@settings(max_examples=150)
@given(where=st.floats(0, 1), byte=st.integers(0, 255), cut=st.booleans(), suffix=st.sampled_from(readers.FORMATS))
def test_a_damaged_file_gives_a_table_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, where: float, byte: int, cut: bool, suffix: str
) -> None:
    columns = {"x0": [1.0, 2.0, 3.0], "y": [0, 1, 0]}
    good = {
        ".npz": _npz(X=np.array([columns["x0"]]).T, y=np.array(columns["y"])),
        ".csv": b"x0,y\n1,0\n2,1\n3,0\n",
        ".parquet": _parquet(pa.table(columns)),
    }[suffix]
    at = int(where * (len(good) - 1))
    damaged = good[:at] if cut else good[:at] + bytes([byte]) + good[at + 1 :]
    _table_or_data_error(tmp_path_factory.getbasetemp() / f"damaged{suffix}", damaged)


@given(
    rows=st.lists(
        st.tuples(st.floats(-1e99, 1e99), st.integers(-(2**40), 2**40), st.sampled_from(["u", "v", "w"])),
        min_size=2,
        max_size=20,
    ).filter(lambda rows: len({row[2] for row in rows}) > 1)
)
def test_what_is_written_to_a_csv_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, int, str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "round.csv"
    path.write_text("a,b,y\n" + "".join(f"{a!r},{b},{y}\n" for a, b, y in rows))
    table = read_table("round.csv", path=path, target_column="y")
    assert table.features.tolist() == [[a, float(b)] for a, b, _ in rows]
    assert [table.class_names[label] for label in table.labels] == [y for _, _, y in rows]


def _table_or_data_error(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        table = read_table(path.name, path=path, target_column="y")
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017  both ends are right, and each is checked
    else:
        assert np.isfinite(table.features).all()


def _read(folder: Path, name: str, content: bytes, **options: object):
    path = folder / name
    path.write_bytes(content)
    return read_table(name, path=path, **({"target_column": "" if name.endswith(".npz") else "y"} | options))


def _npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer)
    return buffer.getvalue()
