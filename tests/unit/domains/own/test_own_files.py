"""Files as tables of text: nothing is dropped, shifted or guessed without a word."""

import json
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.domains.own.files import FOLDER, SITE_FOLDER, names_of_columns, read_folders, read_table
from tacit.errors import DataError


def written(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows_of(path: Path, delimiter: str = ","):
    table = read_table(path, ["a", "b"], delimiter)
    return {row: tuple(cells) for row, *cells in table.itertuples()}


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("a,b\n1,2\n", {2: ("1", "2")}),
        ("a,b\r\n1,2\r\n", {2: ("1", "2")}),
        ("\ufeffa, b\n1, x y \n", {2: ("1", "x y ")}),  # as Excel saves it
        ("a,b\n1,2\n\n3\n\n", {2: ("1", "2"), 4: ("3", "")}),  # numbers as the editor has them
        ('a,b\n"x\ny","2,5"\n01,NA\n', {2: ("x\ny", "2,5"), 3: ("01", "NA")}),
    ],
)
def test_cells_of_a_csv_are_the_text_that_stands_there(tmp_path, content, rows):
    assert rows_of(written(tmp_path, content)) == rows


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "begins with no names of columns"),
        ("a,b\n", "holds no rows"),
        ("a,b\n1,2\n3,4,5\n", "Expected 2 fields in line 3, saw 3"),
        ("a,b\n1,2,3\n4,5,6\n", "Expected 2 fields in line 2, saw 3"),
        ('a,b\n"1,2\n', "EOF inside string"),
        ("a,a\n1,2\n", "two columns are called 'a'"),
        (b"a,b\n\xff,2\n", "is no text in UTF-8"),
    ],
)
def test_a_csv_that_is_no_table_is_refused(tmp_path, content, says):
    with pytest.raises(DataError, match=says) as caught:
        rows_of(written(tmp_path, content))
    assert str(caught.value).startswith(str(tmp_path / "t.csv"))


def test_another_delimiter_is_said_in_the_schema_and_told_from_the_header(tmp_path):
    path = written(tmp_path, "a;b\n1,5;2\n")
    assert rows_of(path, ";") == {2: ("1,5", "2")}
    assert names_of_columns(path) == (["a", "b"], ";")
    tabs = written(tmp_path, "a\tb\n1\t2\n", "t.tsv")
    assert rows_of(tabs) == {2: ("1", "2")}
    assert names_of_columns(tabs) == (["a", "b"], "\t")


def test_json_lines_keep_numbers_as_they_are_written(tmp_path):
    lines = '{"a": 1.50, "b": null, "c": [1]}\n\n{"a": true}\n{"b": "x\\ny", "a": 1e3}\n'
    path = written(tmp_path, lines, "t.jsonl")
    table = read_table(path, ["a", "b"])
    assert table[["a", "b"]].to_numpy().tolist() == [["1.50", ""], ["true", ""], ["1e3", "x\ny"]]
    assert table.index.tolist() == [1, 3, 4]
    assert names_of_columns(path) == (["a", "b", "c"], ",")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"a": [1]}', "row 2, column 'a': holds a list or an object"),
        ('{"a": ', "row 2: is no JSON"),
        ("[1]", "row 2: must be an object"),
        ("[" * 100_000, "row 2: is no JSON"),
    ],
)
def test_a_bad_line_of_json_is_named(tmp_path, line, says):
    with pytest.raises(DataError, match=says):
        rows_of(written(tmp_path, '{"a": 1, "b": 2}\n' + line + "\n", "t.jsonl"))


def test_a_file_that_is_not_there_or_something_else(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        read_table(tmp_path / "none.csv", [])
    with pytest.raises(DataError, match=r"its name must end with \.csv"):
        read_table(written(tmp_path, "", "t.xlsx"), [])
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        read_table(tmp_path / "folder.csv", [])


def test_names_are_read_and_no_value(tmp_path):
    """What follows the header may be anything, even no text."""
    assert names_of_columns(written(tmp_path, b'"a, x",b\n\xff\xfe'))[0] == ["a, x", "b"]
    with pytest.raises(DataError, match="holds no names"):
        names_of_columns(written(tmp_path, ""))


CELLS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\n\0"))


@given(st.lists(st.tuples(CELLS.filter(lambda c: c == c.lstrip()), CELLS), min_size=1))
def test_what_pandas_writes_is_read_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    table = pd.DataFrame([("row", *row) for row in rows], columns=["a", "b", "c"])
    table.to_csv(path, index=False)
    found = read_table(path, [])
    # Spaces that a cell begins with are taken for those after a delimiter, unless it is in quotes.
    assert [c.lstrip() for c in found["c"]] == [c.lstrip() for c in table["c"]]
    assert found["b"].tolist() == table["b"].tolist()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_an_error_of_ours(tmp_path_factory, content):
    for name in ("t.csv", "t.jsonl"):
        path = written(tmp_path_factory.mktemp("bytes"), content, name)
        with suppress(DataError):
            assert len(read_table(path, ["a"])) > 0


def test_parquet_is_text_too(tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: the extra parquet")
    path = tmp_path / "t.parquet"
    table = pd.DataFrame({"a": [1, None], "b": ["x", None], "c": [[1], [2]], "d": [True, False]})
    table["a"] = table["a"].astype("Int64")
    table.to_parquet(path)
    found = read_table(path, ["a", "b", "d"])
    assert found[["a", "b", "d"]].to_numpy().tolist() == [["1", "x", "true"], ["", "", "false"]]
    assert names_of_columns(path) == (["a", "b", "c", "d"], ",")
    with pytest.raises(DataError, match="column 'c' holds list<"):
        read_table(path, ["c"])
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_table(written(tmp_path, "PAR1", "t.pq"), [])


def test_folders_are_listed_by_path(tmp_path):
    for name in ("n/ill/2.png", "n/ill/10.png", "s/well/1.png", "n/ill/.DS_Store", ".git/x/y"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    table = read_folders(tmp_path, sites=True)
    assert table.index.tolist() == ["n/ill/10.png", "n/ill/2.png", "s/well/1.png"]
    assert table[[SITE_FOLDER, FOLDER]].to_numpy().tolist() == [
        ["n", "ill"],
        ["n", "ill"],
        ["s", "well"],
    ]
    said: list[str] = []
    (tmp_path / "n" / "stray.txt").touch()
    read_folders(tmp_path, sites=True, say=said.append)
    assert said == [
        f"{tmp_path}: n/stray.txt does not lie where images do: SITE/CLASS/IMAGE",
    ]
    with pytest.raises(DataError, match="holds no CLASS/IMAGE"):
        read_folders(tmp_path / "n" / "ill", sites=False, say=said.append)
    with pytest.raises(DataError, match="there is no such folder"):
        read_folders(tmp_path / "none", sites=False)


def test_json_numbers_in_a_csv_style_are_not_rounded(tmp_path):
    exact = "0.1234567890123456789"
    path = written(tmp_path, json.dumps({"a": 1}).replace("1", exact) + "\n", "t.jsonl")
    assert read_table(path, ["a"])["a"].tolist() == [exact]
