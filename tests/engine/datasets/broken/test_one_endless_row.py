"""A row of 200 MB: told with its size, and no obstacle to the rows beside it."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

SIZE = 200_000_000
LOOK = """
import json, sys
from engine.datasets import check_dataset, open_rows
rows = open_rows("mine", sys.argv[1])
found = check_dataset(rows, None)
print(json.dumps([found.usable, found.unusable, found.problems[0].row, found.problems[0].reason]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jsonl", "json"])
def test_an_endless_row_is_told(tmp_path: Path, kind: str) -> None:
    good = json.dumps({"instruction": "q", "output": "a"})
    lines = [good, good.replace('"a"', '"%s"' % ("word " * (SIZE // 5))), good]
    text = "\n".join(lines) if kind == "jsonl" else "[" + ",\n".join(lines) + "]"
    (tmp_path / f"mine.{kind}").write_text(text)
    (tmp_path / "dataset_info.json").write_text(json.dumps({"mine": {"file_name": f"mine.{kind}"}}))
    del text, lines
    made = subprocess.run(
        [sys.executable, "-c", LOOK, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[4],
        # A process of its own, so that an endless row can't take this one's memory.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)),
    )
    assert made.returncode == 0, made.stderr
    usable, unusable, row, reason = json.loads(made.stdout)
    assert (usable, unusable, row) == (2, 1, 2)
    assert "200,000,0" in reason and "20,000,000" in reason
