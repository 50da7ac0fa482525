"""What a person wants to know of a set before training on it, at a glance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

from engine.datasets.encode import Encoder
from engine.datasets.example import Example, RowProblem
from engine.datasets.fill import has_placeholders
from engine.datasets.preparation import BLOCK, NOTHING_TRAINED, PLACEHOLDERS
from engine.datasets.registry import Columns
from engine.datasets.rows import RowIndex
from engine.datasets.thoughts import thoughts_in
from engine.problem import BadInput

BINS = 20
_SHOWN = 20
# Columns that a registry may leave out although the file has them, and whose loss would matter.
_OPTIONAL = ("system", "tools", "history", "images", "videos", "audios")


@dataclass(frozen=True)
class DataCheck:
    """Facts of a set, for one model and cutoff. Lengths are in tokens, before the cutoff.

    `problems` are the first 20 of `unusable` rows. `histogram` counts rows in 20 equal bins from 0
    to `longest`. `checked` is smaller than `rows` where only the first rows were looked at.
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


def check_dataset(
    rows: RowIndex,
    encoder: Encoder,
    check_stop: Callable[[], None] | None = None,
    limit: int | None = None,
) -> DataCheck:
    """Go through the first `limit` rows (None: all). `check_stop` is asked between blocks.

    `duplicates` are the numbers (from 1) of rows equal to an earlier one.
    """
    checked = len(rows) if limit is None else min(limit, len(rows))
    problems: list[RowProblem] = []
    lengths: list[int] = []
    seen: set[int] = set()
    duplicates: list[int] = []
    empty = cut = placeholders = tools = conversations = 0
    thoughts = 0.0
    for start in range(0, checked, BLOCK):
        if check_stop:
            check_stop()
        block = [rows.example(i) for i in range(start, min(start + BLOCK, checked))]
        bad = [row for row in block if isinstance(row, RowProblem)]
        empty += sum(_no_answer(row) for row in bad)
        problems += bad
        good = [row for row in block if isinstance(row, Example)]
        talks = [example for example in good if example.kind != "text"]
        conversations += len(talks)
        thoughts += thoughts_in(talks) * len(talks)
        for example in good:
            placeholders += has_placeholders(example)
            tools += bool(example.tools)
            key = hash(_content(example))
            if key in seen:
                duplicates.append(example.source_row)
            seen.add(key)
        for example, row in zip(good, encoder.encode_batch(good, rows.name), strict=True):
            if isinstance(row, RowProblem):
                problems.append(row)
            elif not any(row.trained):
                problems.append(RowProblem(rows.name, example.source_row, NOTHING_TRAINED))
            else:
                lengths.append(len(row.ids) + row.cut)
                cut += row.cut > 0
    problems.sort(key=lambda problem: problem.row)
    lengths.sort()
    notes = [*encoder.notes, *_left_out(rows)]
    if conversations:
        notes.append(encoder.chat.thoughts_note(thoughts / conversations))
    if tools:
        notes.append(encoder.chat.tools_note)
    if placeholders:
        notes.append(f"{placeholders:,} rows still hold {PLACEHOLDERS}")
    return DataCheck(
        dataset=rows.name,
        rows=len(rows),
        checked=checked,
        usable=len(lengths),
        unusable=len(problems),
        problems=tuple(problems[:_SHOWN]),
        empty_answers=empty,
        duplicates=tuple(duplicates),
        cut=cut,
        cutoff=encoder.cutoff,
        p50=percentile(lengths, 50),
        p95=percentile(lengths, 95),
        longest=lengths[-1] if lengths else 0,
        tokens=sum(lengths),
        histogram=histogram(lengths),
        notes=tuple(note for note in notes if note),
    )


def percentile(ordered: list[int], percent: int) -> int:
    """The nearest-rank percentile of sorted numbers; 0 of none."""
    if not ordered:
        return 0
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def histogram(ordered: list[int]) -> tuple[int, ...]:
    """Counts in 20 equal bins from 0 to the largest of sorted numbers."""
    bins = [0] * BINS
    if ordered:
        top = max(ordered[-1], 1)
        for value in ordered:
            bins[min(value * BINS // top, BINS - 1)] += 1
    return tuple(bins)


def _content(example: Example) -> str:
    """All that is learnt from a row, but not where it stands."""
    return repr([getattr(example, f.name) for f in fields(example) if f.name != "source_row"])


def _no_answer(problem: RowProblem) -> bool:
    return "no answer" in problem.reason or problem.reason.endswith("is empty")


def _left_out(rows: RowIndex) -> list[str]:
    """Columns that the file has under our name and the registry does not list."""
    columns: Columns = rows.info.columns
    try:
        first = rows.raw(0) if len(rows) else {}
    except BadInput:
        return []
    return [
        f"the file has a column {name!r} that the registry leaves out"
        for name in _OPTIONAL
        if getattr(columns, name) is None and first.get(name)
    ]
