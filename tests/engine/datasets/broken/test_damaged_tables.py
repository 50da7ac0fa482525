"""Tables with some of their bytes made up: a message or rows that can't be used, never a crash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# In a process of its own: what pyarrow does with a damaged file may end it.
DAMAGE = """
import json, random, sys
from pathlib import Path
import pyarrow, pyarrow.parquet
from engine.datasets import check_dataset, open_rows
from engine.problem import BadInput

folder, kind = Path(sys.argv[1]), sys.argv[2]
rows = [{"instruction": f"q{n}" + " word" * (n % 30), "output": f"é {n}",
         "tags": [{"n": n}] if n % 3 else None} for n in range(900)]
table = pyarrow.Table.from_pylist(rows)
path = folder / ("mine.parquet" if "parquet" in kind else "mine.arrow")
if kind == "parquet":
    pyarrow.parquet.write_table(table, path, row_group_size=200)
elif kind == "plain parquet":
    pyarrow.parquet.write_table(
        table, path, row_group_size=200, compression="none", use_dictionary=False
    )
else:
    begin = pyarrow.ipc.new_file if kind == "arrow" else pyarrow.ipc.new_stream
    with begin(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=200)
(folder / "dataset_info.json").write_text(json.dumps({"mine": {"file_name": path.name}}))
whole, told = path.read_bytes(), 0
for seed in range(25):
    source = random.Random(seed)
    count = source.choice((1, 4, 64, 1000))
    place = source.randrange(len(whole) - count)
    path.write_bytes(whole[:place] + source.randbytes(count) + whole[place + count:])
    try:
        found = check_dataset(open_rows("mine", folder), None)
    except BadInput as error:
        assert error.problem.what
        told += 1
        continue
    assert found.usable + found.unusable == found.rows
    told += found.unusable > 0
print(told)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet", "plain parquet", "arrow", "arrow stream"])
def test_made_up_bytes_are_told(kind: str, tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, "-c", DAMAGE, str(tmp_path), kind],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[4],
        timeout=120,
    )
    assert made.returncode == 0, made.stderr
    assert int(made.stdout) >= 10
