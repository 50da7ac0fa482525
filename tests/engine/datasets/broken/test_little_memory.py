"""Small files that unpack to gigabytes, rows without end, files that change under the reader."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.datasets import check_dataset, open_rows
from engine.datasets.index import rows as index_rows
from engine.problem import BadInput

GOOD = {"instruction": "What is light?", "output": "A wave."}
LOOK = """
import json, sys
from engine.datasets import check_dataset, open_rows
found = check_dataset(open_rows("mine", sys.argv[1]), None, limit=600)
print(json.dumps([found.rows, found.usable]))
"""


def test_a_parquet_file_of_two_kilobytes_takes_no_gigabytes(make_set: Any) -> None:
    """One text of 20 KB, 200,000 times: 4 GB, were each row to hold its own."""
    import pyarrow
    import pyarrow.parquet

    folder = make_set("", "mine.parquet")
    texts = pyarrow.array(["word " * 4000])
    places = pyarrow.array([0] * 200_000, pyarrow.int32())
    column = pyarrow.DictionaryArray.from_arrays(places, texts)
    table = pyarrow.table({"instruction": column, "output": column})
    pyarrow.parquet.write_table(table, folder / "mine.parquet")
    assert (folder / "mine.parquet").stat().st_size < 10_000
    made = subprocess.run(
        [sys.executable, "-c", LOOK, str(folder)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[4],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30)),
    )
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout) == [200_000, 600]


def test_a_row_beyond_what_is_read_costs_no_other(
    make_set: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_rows, "MOST_ROW_BYTES", 1 << 20)
    good, endless = json.dumps(GOOD), json.dumps({**GOOD, "output": "word " * 1_000_000})
    folder = make_set("\n".join([good, good, endless, good]), "mine.jsonl")
    found = check_dataset(open_rows("mine", folder), None)
    assert (found.usable, found.unusable) == (3, 1)
    (problem,) = found.problems
    assert problem.row == 3 and "a row of more than" in problem.reason
    assert "line 3" in problem.reason


def gone(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def grown(path: Path) -> None:
    with path.open("a") as file:
        file.write(json.dumps(GOOD) + "\n")


def other(path: Path) -> None:
    path.write_text("{" * path.stat().st_size)


@pytest.mark.parametrize("change", [gone, cut, grown, other])
@pytest.mark.parametrize("count", [1000, 80_000], ids=["small", "indexed"])
def test_a_file_that_changes_while_it_is_checked(
    change: Callable[[Path], None], count: int, make_set: Any
) -> None:
    """Nothing but a message, or rows that can't be used; and never another row in a row's place."""
    rows = [{**GOOD, "instruction": f"What is number {n}?"} for n in range(count)]
    folder = make_set("".join(json.dumps(row) + "\n" for row in rows), "mine.jsonl")
    index = open_rows("mine", folder)
    assert len(index) == count
    changed: list[bool] = []

    def midway() -> None:
        if not changed:
            changed.append(True)
            change(folder / "mine.jsonl")

    try:
        found = check_dataset(index, None, check_stop=midway)
    except (BadInput, OSError) as error:
        assert str(error)
        return
    assert found.usable + found.unusable == count and changed
    for problem in found.problems:
        assert problem.reason
    if change is grown and count == 1000:
        assert found.usable == count  # what was there is there
