"""`split` of rows on disk: a file is all `train`, and `train[:100]` or `train[50%:]` a part."""

from __future__ import annotations

import re
from typing import Any

from engine.datasets.files import Rows
from engine.problem import BadInput, Problem

_FORM = re.compile(r"(\w+)(?:\[(-?\d+%?)?:(-?\d+%?)?\])?")


class PartRows:
    """Rows `first` up to, without, `last` of others."""

    def __init__(self, rows: Rows, first: int, last: int) -> None:
        self._rows = rows
        self._first = first
        self._count = max(0, last - first)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._rows[self._first + index]


def part_of(rows: Rows, split: str, name: str) -> Rows:
    """What `split` names of a file's rows. It needs their number: a large file is waited for.

    Raises BadInput for another split than train, which a file has not, or one that can't be read.
    """
    found = _FORM.fullmatch(split.replace(" ", ""))
    if found is None or found[1] != "train":
        raise BadInput(
            Problem(
                f"{name} is a file: it has no split {split!r}.",
                f"dataset {name}",
                "A file is all train; train[:100] or train[:10%] is a part of it.",
                "dataset",
            )
        )
    if found[2] is None and found[3] is None:
        return rows
    total = len(rows)
    first, last, _step = slice(_place(found[2], total), _place(found[3], total)).indices(total)
    return PartRows(rows, first, last)


def split_parts(split: str, name: str) -> list[tuple[str, str]]:
    """The names of the splits that `split` adds up (`train+test[:10%]`), each with its bounds in
    brackets, empty for all of it. Raises BadInput for one that can't be read."""
    parts = []
    for text in split.replace(" ", "").split("+"):
        found = _FORM.fullmatch(text)
        if found is None:
            raise BadInput(
                Problem(
                    f"The split {split!r} of {name} can't be read.",
                    f"dataset {name}",
                    "It looks like validation, train[:100] or train+test.",
                    "dataset",
                )
            )
        parts.append((found[1], text.removeprefix(found[1])))
    return parts


def _place(text: str | None, total: int) -> int | None:
    """A row's place, from a number or a share; shares are rounded as `datasets` rounds them."""
    if text is None:
        return None
    return round(int(text[:-1]) * total / 100) if text.endswith("%") else int(text)
