"""An estimator's text is read as scikit-learn writes it, or refused as a task file's fault; it is never evaluated."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import TaskFileError
from protocol.recipes import Call, Node
from protocol.recipes.estimator import KEY, MAX_CHARACTERS, MAX_DEPTH, NOT_THE_TASKS, parsed

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: name not in NOT_THE_TASKS and name not in ("None", "True", "False")
)
TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\'\""), max_size=12)
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)


def calls(values: st.SearchStrategy[Node]) -> st.SearchStrategy[Call]:
    parameters = st.dictionaries(NAMES, values, max_size=3)
    return st.builds(lambda name, given: Call(name=name, parameters=tuple(given.items())), NAMES, parameters)


def deeper(values: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    lists = st.lists(values, max_size=3)
    return lists | lists.map(tuple) | calls(values)


TREES = calls(st.recursive(PLAIN, deeper, max_leaves=8))


def written(node: Node) -> str:
    """What scikit-learn's ``repr`` writes, on one line."""
    match node:
        case Call():
            return f"{node.name}({', '.join(f'{name}={written(value)}' for name, value in node.parameters)})"
        case list():
            return f"[{', '.join(map(written, node))}]"
        case tuple():
            return f"({', '.join(map(written, node))}{',' if len(node) == 1 else ''})"
        case _:
            return repr(node)


def depth(node: Node) -> int:
    inner = [value for _, value in node.parameters] if isinstance(node, Call) else node
    return 1 + max(map(depth, inner), default=-1) if isinstance(inner, list | tuple) else 0


def read_or_refused(text: str) -> None:
    try:
        read = parsed(text)
    except TaskFileError as error:
        said = str(error)
    else:
        said, text = f"{KEY}: read", written(read)
        assert parsed(text) == read
    assert said.startswith(f"{KEY}: ")
    assert said.isprintable()


@given(TREES)
def test_what_is_written_is_read_back(tree: Call) -> None:
    text = written(tree)
    if depth(tree) > MAX_DEPTH or len(text) > MAX_CHARACTERS:
        with pytest.raises(TaskFileError):
            parsed(text)
    else:
        read = parsed(text)
        assert read == tree
        assert written(read) == text  # 1, 1.0 and True are equal


@given(st.text(max_size=60) | st.text("AZa_0(),=[]'\" .-+eE1\\", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    read_or_refused(text)


@given(TREES.map(written), st.integers(0, 200), st.text("AZa_0(),=[]'\" .-+e1\\\n\x00é", max_size=3))
def test_a_spoilt_text_is_read_or_refused(text: str, place: int, spoilt: str) -> None:
    place %= len(text) + 1
    for changed in (text[:place] + spoilt + text[place:], text[:place] + spoilt + text[place + 1 :], text[:place]):
        read_or_refused(changed)


def test_what_scikit_learn_writes_is_read() -> None:
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier, StackingRegressor
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import KBinsDiscretizer, PolynomialFeatures, StandardScaler
    from sklearn.svm import SVC, SVR

    columns = ColumnTransformer(
        [("a", StandardScaler(), [0, 2]), ("b", "drop", slice(None).stop)], remainder="passthrough"
    )
    for estimator in (
        HistGradientBoostingClassifier(max_iter=50, learning_rate=1e-05, categorical_features=[0, 3]),
        Pipeline([("scale", StandardScaler()), ("svc", SVC(C=10.0, gamma="scale", tol=1e-10))]),
        StackingRegressor(
            [("a", SVR(C=3)), ("b", Ridge(alpha=0.5, positive=True))], final_estimator=Ridge(solver="svd")
        ),
        Pipeline(
            [("columns", columns), ("poly", PolynomialFeatures((2, 3))), ("end", LogisticRegression(C=2**70 / 2**69))]
        ),
        Pipeline([("bins", KBinsDiscretizer(n_bins=4, encode="ordinal")), ("rest", "passthrough")]),
    ):
        text = " ".join(estimator.__repr__(N_CHAR_MAX=10_000).split())
        assert written(parsed(text)) == text


def test_numbers_and_words_keep_their_types() -> None:
    read = dict(
        parsed("A(a=1, b=1.0, c=True, d='1', e=(1,), f=[1], g=None, h=-2e-3, i=1e5, j=(), k=[], l=B( ))").parameters
    )
    assert [repr(value) for value in read.values()][:-1] == [
        "1", "1.0", "True", "'1'", "(1,)", "[1]", "None", "-0.002", "100000.0", "()", "[]",
    ]  # fmt: skip
    assert read["l"] == Call(name="B", parameters=())


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "A", "A(", "A)", "A()B()", "A() ;", "5", "'A()'", "[A()]", "None", "None()", "A(1)", "A(a)", "A(a=)",
        "A(a=1 b=2)", "A(a==1)", "A(,)", "A(a=1,,)", "A(a=(1))", "A(a=[1)", "A(a={})", "A(a={'b': 1})", "A(a=b.c)",
        "a.A()", "A().b()", "A()()", "A(*a)", "A(a=lambda: 1)", "A(a=1+1)", "A(a=--1)", "A(a=+1)", "A(a=nan)",
        "A(a=inf)", "A(a=0x1)", "A(a=1_0)", "A(a=.5)", "A(a=1.)", "A(a=1.e5)", "A(a=1j)", "A(a='b)",
        "A(a='b\\'c')", "A(a=f'b')", "A(a='b' 'c')", "A(a=b'c')", "A(a='\"')", "A(\n)", "A(a='\u00e9')", "A(\t)",
        "__import__('os')", "A(a=__import__('os').system('true'))", "A # comment",
    ],
)  # fmt: skip
def test_what_is_not_of_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(TaskFileError, match="^" + re.escape(KEY)):
        parsed(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A(b=1) and more", "expected Name(key=value, ...), its values plain, lists or of this form, got ' and more'"),
        ("A(a=1, a=1)", "expected a once in A, got it twice"),
        ("A(b=[B(n_jobs=2)])", "expected B without n_jobs, it cannot change an output"),
        ("A(random_state=0)", "expected A without random_state, it comes from the training seed"),
        ("A(a=9223372036854775808)", "expected whole numbers of 64 bits, got 9223372036854775808"),
        (f"A(a={'9' * 4000})", "expected whole numbers of 64 bits, got 9999"),
        ("A(a=1e999)", "expected finite numbers, got 1e999"),
        (f"A(a={'[' * 13}{']' * 13})", "expected at most 12 values within values, got more"),
        (f"A(a={'(' * 2000})", "expected at most 12 values within values, got more"),
        ("A(" + " " * 4096 + ")", "expected at most 4096 characters, got 4099"),
        ("A(\x00)", "expected printable ASCII, got other characters"),
    ],
)
def test_a_refusal_says_what_was_expected(text: str, message: str) -> None:
    with pytest.raises(TaskFileError, match="^" + re.escape(f"{KEY}: {message}")):
        parsed(text)


@pytest.mark.parametrize("name", NOT_THE_TASKS)
def test_what_no_task_may_set_is_refused_however_deep(name: str) -> None:
    with pytest.raises(TaskFileError, match=f"expected SVC without {name}, {NOT_THE_TASKS[name]}"):
        parsed(f"Pipeline(steps=[('a', Bagging(estimator=SVC({name}=None)))])")
