"""The datasets of a folder as a list: shape, rows, size, and whether a stage can train on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.config.media import PICTURE_STAGES
from engine.datasets.counts import RowCounts
from engine.datasets.dataset_info import DatasetInfo, Formatting, Shape
from engine.datasets.local import local_files
from engine.datasets.medium import words
from engine.datasets.registry import known_sets
from engine.problem import BadInput, Problem


@dataclass(frozen=True)
class DatasetEntry:
    """One line of the dataset list. `rows` is None until it is known, `size_bytes` 0 likewise.

    `problem` says why the set can't be used; `info` is None where its registry entry is faulty.
    """

    name: str
    info: DatasetInfo | None
    kind: Formatting
    shape: Shape
    rows: int | None
    problem: Problem | None
    size_bytes: int


def list_datasets(dataset_dir: str | Path | None = None) -> list[DatasetEntry]:
    """The sets of a folder in the registry's order (None: the default folder), then the person's
    own; see `known_sets`.

    Raises BadInput where the registry itself can't be read.
    """
    registry = known_sets(dataset_dir)
    counts = RowCounts()
    entries = [_entry(info, counts) for info in registry.infos.values()]
    counts.save()
    entries += [
        DatasetEntry(name, None, "alpaca", "conversation", None, problem, 0)
        for name, problem in registry.problems.items()
    ]
    return entries


_PAIRS = "its rows are pairs of a better and a worse answer, for preference stages such as dpo"
_LABELS = "its rows carry a good or bad label, for the stage kto"
_TEXTS = "its rows are plain text without answers, for the stage pt"
_TALKS = "its rows are conversations"


_TALK = ("conversation", "tools")
_WANTED: dict[str, tuple[str, ...]] = {
    "pt": ("text", *_TALK),
    "rm": ("preference",),
    "dpo": ("preference",),
    "kto": ("feedback",),
    "ppo": (*_TALK, "preference"),
    "grpo": (*_TALK, "preference"),
    "rloo": (*_TALK, "preference"),
}


def fits(entry: DatasetEntry | DatasetInfo, stage: str) -> str | None:
    """None when `stage` trains on such rows, else the reason."""
    info = entry.info if isinstance(entry, DatasetEntry) else entry
    if info is None:
        return "its registry entry can't be used"
    if info.media and (missing := _missing_reader(info)):
        return missing
    if info.media and stage not in PICTURE_STAGES:
        return f"its rows hold {words(info.media)}, for the stages sft and dpo"
    reasons = {"preference": _PAIRS, "feedback": _LABELS, "text": _TEXTS}
    if info.shape in _WANTED.get(stage, _TALK):
        return None
    return reasons.get(info.shape, _TALKS)


def _missing_reader(info: DatasetInfo) -> str | None:
    """What is not installed and would have to read the set's media."""
    from engine.datasets.media.decoding import missing_pyav
    from engine.datasets.media.sounds import missing_package

    if "audio" in info.media and (missing := missing_package()):
        return f"its rows hold sounds, and {missing}"
    if "video" in info.media and (missing := missing_pyav()):
        return f"its rows hold videos, and {missing}"
    return None


def _entry(info: DatasetInfo, counts: RowCounts) -> DatasetEntry:
    rows: int | None = None
    problem: Problem | None = None
    size = 0
    if info.path is not None:
        try:
            rows = counts.count(info)
            size = sum(path.stat().st_size for path in local_files(info))
        except BadInput as error:
            problem = error.problem
    return DatasetEntry(info.name, info, info.formatting, info.shape, rows, problem, size)
