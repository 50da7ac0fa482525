"""The checkpoints of a run, and whether each can be resumed from.

A checkpoint is complete when its mark is there, which is written last, and every file that the
mark names has the size it was written with. No torch here: the screen reads this too.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

COMPLETE_MARK = "finetui_complete.json"
_NAME = re.compile(r"^checkpoint-(\d+)$")


@dataclass(frozen=True)
class Checkpoint:
    """One `checkpoint-N` folder.

    `size` is in bytes. `loss` is the last training loss logged before it, `eval_loss` the
    validation loss at its step; None where unknown. `resumable` is False for a checkpoint that
    holds weights only (`save_only_model`). `best` marks the one with the best validation so far.
    `saved` is when it was written, in unix seconds (0 where it does not say).
    """

    step: int
    path: Path
    complete: bool
    size: int
    loss: float | None
    eval_loss: float | None = None
    resumable: bool = False
    best: bool = False
    saved: float = 0.0


def read_mark(checkpoint: Path) -> dict[str, Any] | None:
    """What the mark of a checkpoint says, or None where the checkpoint is not complete."""
    try:
        mark: dict[str, Any] = json.loads((checkpoint / COMPLETE_MARK).read_text(encoding="utf-8"))
        files = mark["files"]
        if all((checkpoint / name).stat().st_size == size for name, size in files.items()):
            return mark
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # absent, unreadable or not ours: all mean "not complete"
    return None


def list_checkpoints(run: Path) -> list[Checkpoint]:
    """The checkpoints of a run folder by step, complete or not (an absent folder has none)."""
    try:
        folders = [(int(m.group(1)), p) for p in run.iterdir() if (m := _NAME.match(p.name))]
    except OSError:
        return []
    found = []
    best: int | None = None
    newest = 0.0
    for step, path in sorted(folders):
        if not path.is_dir():
            continue
        mark = read_mark(path)
        found.append(_describe(step, path, mark))
        if mark is not None and found[-1].saved >= newest:
            newest, best = found[-1].saved, mark.get("best_step")  # the newest word counts
    return [replace(c, best=c.complete and c.step == best) for c in found]


def newest_complete(run: Path, resumable: bool = True) -> Checkpoint | None:
    """The complete checkpoint that was written last; with `resumable`, one that can go on.

    That is the highest step, but for a run that was resumed from an earlier one than it had.
    """
    able = (c for c in list_checkpoints(run) if c.complete and (c.resumable or not resumable))
    return max(able, key=lambda c: (c.saved, c.step), default=None)


def _describe(step: int, path: Path, mark: dict[str, Any] | None) -> Checkpoint:
    if mark is None:
        return Checkpoint(step, path, False, _size(path), None)
    return Checkpoint(
        step=step,
        path=path,
        complete=True,
        size=sum(mark["files"].values()),
        loss=_number(mark.get("loss")),
        eval_loss=_number(mark.get("eval_loss")),
        resumable=bool(mark.get("resumable")),
        saved=_number(mark.get("saved")) or 0.0,
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _size(path: Path) -> int:
    try:
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    except OSError:
        return 0
