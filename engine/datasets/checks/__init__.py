"""What a person wants to know of a set before training on it: a verdict, and the detail behind it.

The quick part (`check_dataset`) reads and tokenises every row; the slow part (`near_duplicates`,
`leakage`) compares rows with each other, and nobody waits for it before a run.
"""

from __future__ import annotations

from engine.datasets.checks.facts import DataCheck, Finding
from engine.datasets.checks.kept import KeptCheck
from engine.datasets.checks.leaks import only_first, run_leaks
from engine.datasets.checks.lengths import histogram, percentile
from engine.datasets.checks.near import Alike, leakage, near_duplicates
from engine.datasets.checks.seen import SeenRows
from engine.datasets.checks.whole import check_dataset, content_of, stage_for

__all__ = [
    "Alike",
    "DataCheck",
    "Finding",
    "KeptCheck",
    "SeenRows",
    "check_dataset",
    "content_of",
    "histogram",
    "leakage",
    "near_duplicates",
    "only_first",
    "percentile",
    "run_leaks",
    "stage_for",
]
