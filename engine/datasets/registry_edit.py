"""Entries that stand: read as their registry has them, changed, taken out, copied to one's own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from engine.datasets.dataset_info import REGISTRY, DatasetInfo, read_entry
from engine.datasets.draft import Draft, Judged, RowsAre
from engine.datasets.fill import PLACEHOLDER, Fill, is_filled
from engine.datasets.registry import ONLINE, REMOTE, find_dataset, own_sets_dir
from engine.datasets.registry_text import entries_in, with_change, without_entry
from engine.datasets.registry_write import (
    check_free,
    check_name,
    copy_file,
    is_bundled,
    rewrite,
    write_entry,
)
from engine.paths import default_dataset_dir
from engine.problem import BadInput, Problem
from engine.runs.atomic import write_atomic

_SOURCE = ("file_name", "hf_hub_url", "ms_hub_url", "om_hub_url", "cloud_file_name", "subset",
           "split", "folder")  # fmt: skip
# What is not a text in an entry, by its key.
_YES_NO = {"true": True, "yes": True, "false": False, "no": False}


@dataclass(frozen=True)
class Entry:
    """An entry as the registry of `folder` has it; `value` may be faulty, or not even an object.
    `beside` is the dataset folder whose sets would hide one of the person's own list."""

    name: str
    folder: Path
    value: Any
    beside: Path | None = None

    @property
    def registry(self) -> Path:
        return self.folder / REGISTRY

    @property
    def bundled(self) -> bool:
        """Whether it is one of the sets that come with the program, which are never changed."""
        return is_bundled(self.folder)

    @property
    def info(self) -> DatasetInfo:
        """Raises BadInput, naming the fault, for an entry that can't be used."""
        anywhere = self.folder.absolute() == own_sets_dir().absolute()
        return read_entry(self.name, self.value, self.folder, anywhere)


def listed_entry(name: str, dataset_dir: str | Path | None = None) -> Entry:
    """The entry of a set that `dataset_dir` lists, in the folder's registry or the person's own.

    Raises BadInput where there is none, or it is a hub's.
    """
    given = str(dataset_dir or "")
    if given == ONLINE or given.startswith(REMOTE):
        raise _bad(
            f"{name} is listed by a hub, whose sets can't be changed from here.",
            given,
            "Choose a dataset folder of your own.",
        )
    folder = Path(dataset_dir).expanduser() if dataset_dir else default_dataset_dir()
    for place in (folder, own_sets_dir()):
        path = place / REGISTRY
        if path.is_file():
            entries = entries_in(path.read_text(encoding="utf-8", errors="replace"), path)
            if name in entries:
                return Entry(name, place, entries[name], folder)
    find_dataset(name, dataset_dir)  # says which name is near
    raise _bad(f"There is no dataset {name!r}.", str(folder), "Look again.")


def draft_of(entry: Entry, rows: Any = None) -> Draft:
    """The entry as a draft that can be corrected, with the first of its rows where they are given.

    Raises BadInput for a faulty entry, and for rows that hold nothing.
    """
    from engine.datasets.detect import detect_rows

    info = entry.info
    source = {key: entry.value[key] for key in _SOURCE if entry.value.get(key)}
    if info.path is not None:
        source["file_name"] = info.path.name
    bare = Draft(entry.name, info.path, source)
    draft = bare if rows is None else detect_rows(rows, entry.name, info.path, source)
    rows_are: RowsAre = info.formatting
    if info.shape == "text":
        rows_are = "text"
    judged: Judged = "one answer"
    if info.ranking:
        judged = "better and worse"
    elif info.columns.kto_tag is not None:
        judged = "good or bad"
    draft = replace(draft, rows_are=rows_are, judged=judged, num_samples=info.num_samples)
    columns, tags = asdict(info.columns), asdict(info.tags)
    return replace(
        draft,
        columns={key: columns[key] for key in draft.asked_columns if columns[key] is not None},
        tags={key: tags[key] for key in draft.asked_tags if tags[key] is not None},
    )


def corrected_value(entry: Entry, before: Draft, after: Draft) -> dict[str, Any]:
    """The entry's value with what differs between the drafts; all else of it stays, unknown keys
    and their order too."""
    value = dict(entry.value)
    old, new = before.entry(), after.entry()
    turned = (before.rows_are, before.judged) != (after.rows_are, after.judged)
    for key in ("formatting", "ranking", "num_samples", "subset", "split"):
        if old.get(key) != new.get(key):
            _put(value, key, new.get(key))
    for part in ("columns", "tags"):
        if old.get(part, {}) == new.get(part, {}) and not turned:
            continue
        inner = value.get(part)
        if turned or not isinstance(inner, dict):
            # What was not said was understood; now all of it is said.
            _put(value, part, new.get(part) or None)
            continue
        inner = dict(inner)
        for name in {**old[part], **new[part]}:
            if old[part].get(name) != new[part].get(name):
                _put(inner, name, new[part].get(name))
        value[part] = inner
    return value


def value_with(value: Any, changes: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """An entry's value with `key=text` changes: `formatting`, `columns.response`, …; an empty text
    takes the key out. Raises BadInput for a number or a truth that can't be read."""
    made: dict[str, Any] = dict(value) if isinstance(value, dict) else {}
    for key, text in changes:
        part, dot, name = key.partition(".")
        if dot and part in ("columns", "tags"):
            inner = dict(made.get(part) or {})
            _put(inner, name, text or None)
            made[part] = inner
        else:
            _put(made, key, _read(key, text))
    return made


def change_entry(entry: Entry, value: Mapping[str, Any], name: str = "") -> Path:
    """Put `value` in place of the entry, under a new name where one is given; returns the registry.

    The rest of the file stays byte for byte. Raises BadInput for a value that can't be used, a name
    that is taken, a bundled set, and an entry that was changed by somebody else since it was read.
    """
    name = name or entry.name
    check_name(name)
    _check_own(entry)
    if name != entry.name and entry.beside is not None and entry.beside != entry.folder:
        check_free(entry.beside, name)
    # It is read before it is written.
    assert replace(entry, name=name, value=dict(value)).info

    def change(text: str, path: Path) -> str:
        _check_same(entry, text, path)
        return with_change(text, entry.name, value, name, path)

    return rewrite(entry.folder, change)


def remove_entry(entry: Entry) -> Path:
    """Take the entry out of its registry, and nothing else: its files stay. Returns the registry.

    Raises BadInput as `change_entry`.
    """
    _check_own(entry)

    def change(text: str, path: Path) -> str:
        _check_same(entry, text, path)
        return without_entry(text, entry.name, path)

    return rewrite(entry.folder, change)


def copy_entry(entry: Entry, name: str, fill: Fill | None = None) -> Path:
    """Add a copy of a set, its file too, to the person's own list under another name; returns the
    copied file, or the registry where there is none to copy.

    The placeholders of the bundled identity set become what `fill` says. Raises BadInput.
    """
    check_name(name)
    own = own_sets_dir()
    for folder in (entry.beside, own):
        if folder is not None:
            check_free(folder, name)
    info = entry.info
    if info.path is None:
        return write_entry(own, name, entry.value)
    if not info.path.exists():
        raise _bad(f"There is no file {info.path.name}.", str(info.path), "Mend the entry first.")
    target = own / f"{name.replace('/', '_')}{''.join(info.path.suffixes)}"
    if fill is not None and is_filled(info):
        if target.exists():
            raise _bad(f"There is a file {target.name} already.", str(target), "Another name?")
        write_atomic(target, _filled(info.path.read_text(encoding="utf-8"), fill))
    else:
        copy_file(info.path, target)
    write_entry(own, name, {**entry.value, "file_name": target.name})
    return target


def _filled(text: str, fill: Fill) -> str:
    """A JSON text with its placeholders filled; one without a value stays."""

    def value(found: Any) -> str:
        given = {"name": fill.name, "author": fill.author}[found[1]]
        return json.dumps(given, ensure_ascii=False)[1:-1] if given else str(found[0])

    return PLACEHOLDER.sub(value, text)


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    if value is None:
        values.pop(key, None)
    else:
        values[key] = value


def _read(key: str, text: str) -> Any:
    if not text:
        return None
    if key == "ranking":
        if text.lower() not in _YES_NO:
            raise _bad(f"ranking is true or false, not {text!r}.", key, "ranking=true")
        return _YES_NO[text.lower()]
    if key == "num_samples":
        number = text.replace(",", "")
        if not number.isdecimal() or not int(number):
            raise _bad(f"num_samples is a whole number, not {text!r}.", key, "num_samples=500")
        return int(number)
    return text


def _check_own(entry: Entry) -> None:
    if entry.bundled:
        raise _bad(
            f"{entry.name} is a bundled set; those are never changed.",
            str(entry.registry),
            f"Change a copy of it: finetui datasets copy {entry.name} my_{entry.name}",
        )


def _check_same(entry: Entry, text: str, path: Path) -> None:
    now = entries_in(text, path)
    if entry.name not in now or now[entry.name] != entry.value:
        raise _bad(
            f"The entry {entry.name!r} was changed meanwhile; nothing was written.",
            str(path),
            "Open it again.",
        )


def _bad(what: str, where: str, hint: str) -> BadInput:
    return BadInput(Problem(what, where, hint, "dataset"))
