"""Row i of the index is row i of the plain reader, in every format and any order."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import engine.datasets.index.blocks as blocks_module
import engine.datasets.index.json_list as json_list
import engine.datasets.index.layout as layout
import engine.datasets.index.rows as index_rows
from engine.datasets import files
from engine.datasets.index import IndexedRows, open_indexed
from engine.problem import BadInput


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUI_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True, params=[(64, 100), (256, 1 << 20), (1, 7)], ids=str)
def small_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and chunks of a few bytes, so that short files have many, and rows straddle them."""
    block, chunk = request.param
    for module in (blocks_module, layout, json_list, index_rows):
        monkeypatch.setattr(module, "BLOCK_BYTES", block)
    for module in (layout, json_list):
        monkeypatch.setattr(module, "CHUNK", chunk)
    monkeypatch.setattr(index_rows, "_READ_FIRST", 4 * block)


PROPERTY = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
texts = st.text(max_size=40) | st.sampled_from(
    ['"', '\\"', "\\", "\\\\", "a\nb", "\r\n", ",", "[", "]}", '","', "你好", "\u2028", "\x85", ""]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(texts, values, max_size=4)
ends = st.sampled_from(["\n", "\r\n"])
blanks = st.sampled_from(["", "", "", " ", "\t \r", "\x0b"])


def indexed(path: Path, suffix: str, content: bytes) -> IndexedRows:
    path.write_bytes(content)
    return open_indexed(path, suffix)


def same(rows: IndexedRows, wanted: list[Any]) -> None:
    order = list(range(len(wanted)))
    random.Random(len(wanted)).shuffle(order)
    assert [rows[i] for i in order] == [wanted[i] for i in order]
    assert [rows[i] for i in range(len(rows))] == wanted
    assert rows.known == len(wanted) and rows.share == 1.0
    with pytest.raises(IndexError):
        rows[len(wanted)]


def names() -> Iterator[str]:
    number = 0
    while True:
        number += 1
        yield f"set{number}"


_names = names()


@PROPERTY
@given(st.lists(st.tuples(objects, blanks), max_size=20), ends, st.booleans(), st.booleans(),
       st.booleans())  # fmt: skip
def test_json_lines(
    tmp_path: Path,
    rows: list[tuple[Any, str]],
    end: str,
    last: bool,
    bom: bool,
    ascii_only: bool,
) -> None:
    lines = []
    for row, blank in rows:
        lines += [json.dumps(row, ensure_ascii=ascii_only), *([blank] if blank else [])]
    text = end.join(lines) + (end if last else "")
    content = (b"\xef\xbb\xbf" if bom else b"") + text.encode("utf-8", "surrogatepass")
    path = tmp_path / f"{next(_names)}.jsonl"
    same(indexed(path, ".jsonl", content), [row for row, _blank in rows])
    plain = files.LineRows(path)
    assert [plain[i] for i in range(len(plain))] == [row for row, _blank in rows]
    # Once more, from what the cache holds.
    same(open_indexed(path, ".jsonl"), [row for row, _blank in rows])


@PROPERTY
@given(st.lists(values, max_size=20), st.sampled_from([None, 0, 2]), st.booleans(), st.booleans())
def test_a_json_list(
    tmp_path: Path, rows: list[Any], indent: int | None, bom: bool, ascii_only: bool
) -> None:
    text = json.dumps(rows, indent=indent, ensure_ascii=ascii_only)
    content = (b"\xef\xbb\xbf" if bom else b"") + text.encode("utf-8", "surrogatepass")
    path = tmp_path / f"{next(_names)}.json"
    same(indexed(path, ".json", b" \n" + content if not bom else content), rows)
    same(open_indexed(path, ".json"), rows)


_ENDLESS = str.maketrans("", "", "\r\n")


@PROPERTY
@given(
    st.lists(
        st.tuples(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)),
                          max_size=30), texts.map(lambda text: text.replace("\0", ""))),
        max_size=20,
    ),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.booleans(),
)  # fmt: skip
def test_csv_with_line_ends_in_quotes(
    tmp_path: Path, rows: list[tuple[str, str]], end: str, quoting: Any, last: bool
) -> None:
    if quoting == csv.QUOTE_MINIMAL:  # the writer leaves other line ends than its own unquoted
        rows = [(one.translate(_ENDLESS), two.translate(_ENDLESS)) for one, two in rows]
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator=end, quoting=quoting)
    writer.writerows([("first", "second"), *rows])
    text = out.getvalue() if last else out.getvalue().removesuffix(end)
    path = tmp_path / f"{next(_names)}.csv"
    found = indexed(path, ".csv", text.encode())
    plain = files._read_csv(path)
    wanted = [plain[i] for i in range(len(plain))]
    assert [tuple(row.values()) for row in wanted] == rows
    same(found, wanted)


@PROPERTY
@given(st.lists(st.tuples(st.text(max_size=20), ends), max_size=20))
def test_text(tmp_path: Path, lines: list[tuple[str, str]]) -> None:
    text = "".join(line + end for line, end in lines).encode("utf-8", "replace")
    path = tmp_path / f"{next(_names)}.txt"
    try:
        files.check_encoding(text[:64], path)
    except BadInput:
        return
    same(indexed(path, ".txt", text), files._read_text(path))


@pytest.mark.parametrize(("stray", "said"), [('5" pipe,x\n', '5" pipe'), ('a"b"c,"d"\n', 'a"b"c')])
def test_a_stray_quote_in_csv_is_text(stray: str, said: str, tmp_path: Path) -> None:
    rows = indexed(tmp_path / "a.csv", ".csv", f"a,b\n{stray}1,2\n".encode())
    assert rows[0]["a"] == said and rows[1] == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("name", "content", "good", "said"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a": \n\n{"a": 3}\n', {0: {"a": 1}, 2: {"a": 3}}, "line 2"),
        ("a.jsonl", b'{"a": 1}\n{"a": "\xff"}\n', {0: {"a": 1}}, "line 2"),
        ("a.json", b'[{"a": 1},\n{"a": 2,},\n{"a": 3}]', {0: {"a": 1}, 2: {"a": 3}}, "line 2"),
        ("a.json", b'[{"a": 1},\n\n]', {0: {"a": 1}}, "line 3"),
        ("a.csv", b"a,b\n1,2\n3\n", {0: {"a": "1", "b": "2"}}, "line 3"),
        ("a.csv", b'a,b\n1,2\n"3"x,4\n', {0: {"a": "1", "b": "2"}}, "line 3"),
    ],
)
def test_a_broken_row_costs_only_itself(
    name: str, content: bytes, good: dict[int, Any], said: str, tmp_path: Path
) -> None:
    rows = indexed(tmp_path / name, Path(name).suffix, content)
    assert {i: rows[i] for i in good} == good
    bad = [i for i in range(len(rows)) if i not in good]
    assert len(bad) == 1
    with pytest.raises(BadInput) as caught:
        rows[bad[0]]
    assert said in str(caught.value) and name in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b'[{"a": 1},\n{"a": 2}', "never closed"),
        ("a.json", b'[{"a": "1},\n{"a": 2}]', "never closed"),
        ("a.json", b'[{"a": 1}]\n[2]', "line 2"),
        ("a.json", b'{"a": 1,\n"b": 2}', "one object"),
        ("a.json", b"17", "does not hold a list"),
        ("a.json", b"seventeen", "not valid JSON"),
        ("a.csv", b'a,b\n1,2\n"3,4\n', "line 3"),
        ("a.csv", b"", "no header"),
        ("a.csv", b"\n1,2\n", "no header"),
        ("a.jsonl", '{"a": 1}\n'.encode("utf-16"), "UTF-16"),
        ("a.jsonl", '{"a": 1, "b": 22222}\n'.encode("utf-16-le"), "UTF-16"),
        ("a.txt", "two words and more".encode("utf-16-be"), "UTF-16"),
    ],
)
def test_a_broken_file_is_told(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        len(indexed(tmp_path / name, Path(name).suffix, content))
    problem = caught.value.problem
    assert said in str(problem) and name in problem.where and problem.hint


@pytest.mark.parametrize(
    ("name", "content", "count"),
    [
        ("a.json", b"[]", 0),
        ("a.json", b" [ \n ] \n", 0),
        ("a.json", b'{"a": 1}\n{"a": 2}\n', 2),
        ("a.json", b'{"a": 1}', 1),
        ("a.jsonl", b'[{"a": 1},\n{"a": 2}]', 2),
        ("a.jsonl", b'[{"a": 1}, {"a": 2}]', 2),
        ("a.jsonl", b"[1]\n[2]\n[3]\n", 3),
        ("a.jsonl", b"", 0),
        ("a.jsonl", b"\n \n\t\n", 0),
        ("a.jsonl", b"\xef\xbb\xbf", 0),
        ("a.csv", b"a,b\n", 0),
        ("a.csv", b"a,b", 0),
    ],
)
def test_odd_files_have_the_rows_they_have(
    name: str, content: bytes, count: int, tmp_path: Path
) -> None:
    assert len(indexed(tmp_path / name, Path(name).suffix, content)) == count


@pytest.mark.parametrize("packing", [".gz", ".zst"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.txt"])
def test_packed_files(name: str, packing: str, tmp_path: Path) -> None:
    rows = [{"text": f"row {i} " + "x" * (i % 50)} for i in range(500)]
    content = {
        "a.jsonl": "\n".join(json.dumps(row) for row in rows),
        "a.json": json.dumps(rows),
        "a.csv": "text\n" + "\n".join(row["text"] for row in rows),
        "a.txt": "\r\n".join(row["text"] for row in rows),
    }[name].encode()
    path = tmp_path / (name + packing)
    pack(path, content)
    opened = files.open_file(path)
    assert isinstance(opened, IndexedRows)
    same(opened, rows)
    assert [files.open_file(path)[i] for i in (499, 0)] == [rows[499], rows[0]]
    pack(path, content.replace(b"row 0", b"ROW 0"))
    assert files.open_file(path)[0] == {"text": "ROW 0 "}


def pack(path: Path, content: bytes) -> None:
    if path.suffix == ".gz":
        half = len(content) // 2  # two members behind each other are one file
        path.write_bytes(gzip.compress(content[:half]) + gzip.compress(content[half:]))
        return
    import pyarrow

    with pyarrow.CompressedOutputStream(str(path), "zstd") as out:
        out.write(content)
