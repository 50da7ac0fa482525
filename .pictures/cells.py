"""Run the tests of every stage, method, quantisation and optimiser, and write what passed into the
README.

python .pictures/cells.py            # all tables
python .pictures/cells.py optimiser  # one of them
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

HOME = Path(__file__).parents[1]
TRAINING = "tests/engine/training"
SIGNS = {"passed": "✓", "failed": "✗", "skipped": "–"}


@dataclass(frozen=True)
class Case:
    """One test: its id in brackets, how it ended, and why it was left out."""

    name: str
    result: str
    reason: str = ""


def main() -> int:
    wanted = sys.argv[1:] or list(TABLES)
    text = (HOME / "README.md").read_text(encoding="utf-8")
    failed = False
    for name in wanted:
        tests, make = TABLES[name]
        cases = run(tests)
        failed |= any(case.result == "failed" for case in cases)
        begin, end = f"<!-- every {name} -->", f"<!-- end of every {name} -->"
        before, rest = text.split(begin)
        after = rest.split(end)[1]
        table = make(cases)
        text = f"{before}{begin}\n{table}\n{end}{after}"
        print(table)
    (HOME / "README.md").write_text(text, encoding="utf-8")
    return int(failed)


def run(tests: str) -> list[Case]:
    """How each test of a file ended, in the file's order."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = ["-m", "pytest", "-q", "-n", "2", tests, f"--junitxml={report}"]
        subprocess.run([sys.executable, *command], cwd=HOME)
        cases = {}
        for case in ElementTree.parse(report).iter("testcase"):
            match = re.search(r"\[(.+)\]", case.attrib["name"])
            if match:
                tags = {child.tag: child for child in case}
                bad = tags.keys() & {"failure", "error"}
                result = "failed" if bad else "skipped" if "skipped" in tags else "passed"
                why = tags["skipped"].attrib.get("message", "") if result == "skipped" else ""
                cases[match[1]] = Case(match[1], result, why)
    order = listed(tests)
    return sorted(cases.values(), key=lambda case: order.index(case.name))


def listed(tests: str) -> list[str]:
    """The ids of a file's tests as it lists them (the processes report in any order)."""
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", tests]
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True, check=True)
    return re.findall(r"\[(.+)\]$", done.stdout, re.MULTILINE)


def stages_table(cases: list[Case]) -> str:
    """A row a stage, a column for each method and precision (`stage-method-precision`)."""
    results = {tuple(case.name.split("-")): case.result for case in cases}
    stages = list(dict.fromkeys(key[0] for key in results))
    columns = list(dict.fromkeys(key[1:] for key in results))
    lines = ["| stage | " + " | ".join(" ".join(column) for column in columns) + " |"]
    lines.append("| --- |" + " :-: |" * len(columns))
    for stage in stages:
        signs = (SIGNS[results[stage, *column]] for column in columns)
        lines.append(f"| `{stage}` | " + " | ".join(signs) + " |")
    return "\n".join(lines)


def plain_table(cases: list[Case]) -> str:
    """What passed in one line, then a row for each that was left out, with its reason."""
    passed = [f"`{case.name}`" for case in cases if case.result == "passed"]
    lines = ["| | |", "| --- | --- |", f"| ✓ | {' '.join(passed)} |"]
    reasons: dict[tuple[str, str], list[str]] = {}
    for case in cases:
        if case.result != "passed":
            reasons.setdefault((SIGNS[case.result], case.reason), []).append(f"`{case.name}`")
    for (sign, reason), names in reasons.items():
        told = f": {reason}" if reason else ""
        lines.append(f"| {sign} | {' '.join(names)}{told} |")
    return "\n".join(lines)


# Table -> (tests, how they are written). `cell` keeps its name in the README.
TABLES = {
    "cell": (f"{TRAINING}/test_every_cell.py", stages_table),
    "method": (f"{TRAINING}/methods/test_every_method.py", plain_table),
    "quantisation": (f"{TRAINING}/test_every_quantisation.py", plain_table),
    "optimiser": (f"{TRAINING}/optimisers/test_every_optimiser.py", plain_table),
    "computing": (f"{TRAINING}/test_every_computing.py", plain_table),
}


if __name__ == "__main__":
    sys.exit(main())
