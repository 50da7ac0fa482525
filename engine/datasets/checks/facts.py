"""The result of a check: counts, findings with row numbers, and one line that sums them up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.datasets.example import RowProblem

Level = Literal["bad", "warning", "note"]
Status = Literal["good", "warnings", "bad rows", "unusable"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found in `count` rows; `rows` are the numbers (from 1) of the first 1,000.

    `words` is a sentence for a person, `short` the same in the verdict. `level` is bad for rows
    that can't be used, a warning for what spoils a training, a note for what is good to know.
    """

    kind: str
    level: Level
    count: int
    rows: tuple[int, ...]
    short: str
    words: str


@dataclass(frozen=True)
class DataCheck:
    """Facts of a set, for one model and cutoff. Lengths are in tokens, before the cutoff.

    `problems` are the first 20 of `unusable` rows. `histogram` counts rows in 20 equal bins from 0
    to `longest`. `checked` is smaller than `rows` where only the first rows were looked at.
    `percentiles` are (percent, tokens); `reasons` say why rows are unusable: (reason, how many,
    first row). `cut_tokens` are lost by the cutoff. `advice` are suggestions for the settings.
    """

    dataset: str
    rows: int
    checked: int
    usable: int
    unusable: int
    problems: tuple[RowProblem, ...]
    empty_answers: int
    duplicates: tuple[int, ...]
    cut: int
    cutoff: int | None
    p50: int
    p95: int
    longest: int
    tokens: int
    histogram: tuple[int, ...]
    notes: tuple[str, ...]
    source: str = ""
    cut_tokens: int = 0
    trained_tokens: int | None = None
    percentiles: tuple[tuple[int, int], ...] = ()
    reasons: tuple[tuple[str, int, int], ...] = ()
    findings: tuple[Finding, ...] = ()
    advice: tuple[str, ...] = ()

    @property
    def status(self) -> Status:
        """`unusable` where no row can be trained on, `bad rows` where some can't."""
        if not self.usable:
            return "unusable"
        if self.unusable:
            return "bad rows"
        warned = any(finding.level == "warning" for finding in self.findings)
        return "warnings" if warned else "good"

    @property
    def verdict(self) -> str:
        """One line: how many rows can be used, and what stands against the others."""
        if not self.rows:
            return f"{self.dataset} holds no rows."
        head = f"{self.dataset}: {self.usable:,} of {self.checked:,} rows can be used"
        if self.checked < self.rows:
            head += f" (the first of {self.rows:,})"
        parts = []
        if self.problems:
            first = self.problems[0]
            parts.append(
                f"{self.unusable:,} can't, first row {first.row:,}: {first.reason.rstrip('.')}"
            )
        parts += [one.short for one in self.findings if one.level == "warning"]
        return f"{head}; {'; '.join(parts)}." if parts else f"{head}; no fault found."
