"""Run the tests of every stage, method and precision, and write what passed into the README.

python .pictures/cells.py
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

HOME = Path(__file__).parents[1]
TESTS = "tests/engine/training/test_every_cell.py"
BEGIN, END = "<!-- every cell -->", "<!-- end of every cell -->"
SIGNS = {"passed": "✓", "failed": "✗", "skipped": "–"}


def main() -> int:
    results = run()
    text = (HOME / "README.md").read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    written = f"{before}{BEGIN}\n{table(results)}\n{END}{after}"
    (HOME / "README.md").write_text(written, encoding="utf-8")
    print(table(results))
    return int(any(result == "failed" for result in results.values()))


def run() -> dict[tuple[str, str, str], str]:
    """How each cell's test ended, by (stage, method, precision)."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-n", "2", TESTS, f"--junitxml={report}"],
            cwd=HOME,
        )
        found = {}
        for case in ElementTree.parse(report).iter("testcase"):
            match = re.search(r"\[(\w+)-(\w+)-(\w+)\]", case.attrib["name"])
            if match:
                tags = {child.tag for child in case}
                bad = tags & {"failure", "error"}
                result = "failed" if bad else "skipped" if "skipped" in tags else "passed"
                found[match[1], match[2], match[3]] = result
        return found


def table(results: dict[tuple[str, str, str], str]) -> str:
    """A row a stage, a column for each method and precision."""
    stages = list(dict.fromkeys(stage for stage, _, _ in results))
    columns = list(dict.fromkeys((method, precision) for _, method, precision in results))
    lines = ["| stage | " + " | ".join(f"{m} {p}" for m, p in columns) + " |"]
    lines.append("| --- |" + " :-: |" * len(columns))
    for stage in stages:
        signs = (SIGNS[results[stage, *column]] for column in columns)
        lines.append(f"| `{stage}` | " + " | ".join(signs) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
