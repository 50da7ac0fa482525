"""Entries that stand are changed, taken out, copied. Plain functions for `Engine.lookup`.

The screen imports the types from here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.worker.new_sets import Found, look_again

if TYPE_CHECKING:
    from engine.config import RunConfig
    from engine.datasets.draft import Draft
    from engine.datasets.registry_edit import Entry
    from engine.problem import Problem

    __all__ = ["Draft", "Entry"]


@dataclass(frozen=True)
class Opened:
    """An entry with what it says now and what its rows come to. `file` is the path that is to be
    its file from now on; empty: the one it has. `fault` is why its rows can't be looked at."""

    entry: Entry
    before: Draft
    found: Found
    file: str = ""
    fault: str = ""


def entry_of(name: str, config: RunConfig) -> Entry:
    """The entry of a set of the form's dataset folder or the person's own list. Raises BadInput."""
    from engine.datasets.registry_edit import listed_entry

    return listed_entry(name, config.dataset_dir)


def open_entry(name: str, config: RunConfig) -> Opened:
    """An entry to be changed, with its first rows. A hub's set is not fetched for it. Raises
    BadInput for an entry that can't be read; rows that can't are told in `fault`."""
    from engine.datasets import open_rows
    from engine.datasets.hub import Access
    from engine.datasets.registry_edit import draft_of
    from engine.problem import BadInput

    entry = entry_of(name, config)
    before = draft_of(entry)
    try:
        rows = open_rows(entry.info, access=Access.of(config, fetch=False))
        try:
            before = draft_of(entry, rows.rows)
        finally:
            rows.close()
    except BadInput as error:
        return Opened(entry, before, look_again(before), "", _told(error.problem))
    return Opened(entry, before, look_again(before))


def with_file(opened: Opened, file: str) -> Opened:
    """The same entry with another file or folder of rows. Raises BadInput where it can't be one."""
    from engine.datasets.detect import detect

    path = Path(file).expanduser().absolute()
    seen = detect(path)
    draft = replace(
        opened.found.draft, path=path, facts=seen.facts, rows=seen.rows, faults=seen.faults
    )
    return replace(opened, found=look_again(draft), file=str(path), fault="")


def save(opened: Opened, draft: Draft) -> Path:
    """Write what was changed; returns the registry. Raises BadInput, and writes nothing then."""
    from engine.datasets.registry_edit import change_entry, corrected_value
    from engine.datasets.registry_write import lies_in

    entry = opened.entry
    value = corrected_value(entry, opened.before, draft)
    if opened.file:
        path = Path(opened.file)
        inside = lies_in(path, entry.folder)
        relative = os.path.relpath(path.resolve(), entry.folder.resolve()) if inside else ""
        value["file_name"] = relative or str(path)
    return change_entry(entry, value, draft.name)


def remove(entry: Entry) -> Path:
    """Take an entry out of its registry; its files stay. Returns the registry. Raises BadInput."""
    from engine.datasets.registry_edit import remove_entry

    return remove_entry(entry)


def copy(entry: Entry, name: str, config: RunConfig) -> Path:
    """Copy a set and its file into the person's own list under another name. Raises BadInput."""
    from engine.datasets.fill import Fill
    from engine.datasets.registry_edit import copy_entry

    return copy_entry(entry, name, Fill.of(config))


def _told(problem: Problem) -> str:
    return f"{problem.what} {problem.hint}".strip()
