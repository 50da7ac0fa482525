"""Parquet and Arrow: row i is the plain table's, whatever the row groups, also packed."""

from __future__ import annotations

import gzip
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.datasets import files, tables
from engine.problem import BadInput

pyarrow = pytest.importorskip("pyarrow")
rows_of_text = st.lists(
    st.fixed_dictionaries(
        {"text": st.none() | st.text(max_size=20), "talk": st.lists(st.integers(0, 9), max_size=3)}
    ),
    min_size=1,
    max_size=30,
)


def write(path: Path, rows: list[Any], group: int) -> None:
    import pyarrow.parquet as parquet

    schema = pyarrow.schema([("text", pyarrow.string()), ("talk", pyarrow.list_(pyarrow.int64()))])
    table = pyarrow.Table.from_pylist(rows, schema=schema)
    if path.suffix == ".parquet":
        parquet.write_table(table, path, row_group_size=group)
        return
    with pyarrow.ipc.new_file(str(path), schema) as out:
        out.write_table(table, max_chunksize=group)


@pytest.fixture(autouse=True)
def bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test below sets them; they are put back after it."""
    for name in ("_MOST_GROUP_BYTES", "_PIECE_ROWS"):
        monkeypatch.setattr(tables, name, getattr(tables, name))


@settings(max_examples=40, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(rows_of_text, st.integers(1, 40), st.sampled_from(["a.parquet", "a.arrow"]), st.booleans())
def test_every_row_in_any_order(
    tmp_path: Path, rows: list[Any], group: int, name: str, large: bool
) -> None:
    write(tmp_path / name, rows, group)
    tables._MOST_GROUP_BYTES, tables._PIECE_ROWS = (0, 4) if large else (1 << 28, 1024)
    found = files.open_file(tmp_path / name)
    order = list(range(len(rows)))
    random.Random(group).shuffle(order)
    assert [found[i] for i in order] == [rows[i] for i in order]
    assert [found[i] for i in range(len(rows))] == rows and len(found) == len(rows)
    with pytest.raises(IndexError):
        found[len(rows)]


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_packed_tables(name: str, tmp_path: Path) -> None:
    rows = [{"text": f"row {n}", "talk": [n]} for n in range(20)]
    write(tmp_path / name, rows, 7)
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    found = files.open_file(packed)
    assert [found[i] for i in (19, 0, 7)] == [rows[i] for i in (19, 0, 7)]
    packed.write_bytes(gzip.compress(b"no table"))
    with pytest.raises(BadInput, match="is not a valid"):
        files.open_file(packed)
