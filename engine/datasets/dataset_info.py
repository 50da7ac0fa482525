"""One entry of `dataset_info.json`: what a dataset is, and how its file is to be read."""

from __future__ import annotations

import difflib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from engine.datasets.index.packed import inner_suffix
from engine.datasets.medium import KINDS, Kind
from engine.problem import BadInput, Problem

REGISTRY = "dataset_info.json"
Formatting = Literal["alpaca", "sharegpt", "openai"]
Shape = Literal["conversation", "preference", "feedback", "text", "tools"]


@dataclass(frozen=True)
class Columns:
    """The file's column for each of our names; None means that there is no such column.

    The defaults are those of a registry entry without `columns`.
    """

    prompt: str | None = "instruction"
    query: str | None = "input"
    response: str | None = "output"
    history: str | None = None
    messages: str | None = "conversations"
    system: str | None = None
    tools: str | None = None
    images: str | None = None
    videos: str | None = None
    audios: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    kto_tag: str | None = None

    @property
    def media(self) -> tuple[Kind, ...]:
        """The kinds of media that there are columns for."""
        held = dict(zip(KINDS, (self.images, self.videos, self.audios), strict=True))
        return tuple(kind for kind in KINDS if held[kind])


@dataclass(frozen=True)
class Tags:
    """How a message list names its fields and roles; None means that there is no such role."""

    role_tag: str | None = "from"
    content_tag: str | None = "value"
    user_tag: str | None = "human"
    assistant_tag: str | None = "gpt"
    observation_tag: str | None = "observation"
    function_tag: str | None = "function_call"
    system_tag: str | None = "system"


_OPENAI_COLUMNS = Columns(
    prompt=None, query=None, response=None, messages="messages", tools="tools"
)
_OPENAI_TAGS = Tags("role", "content", "user", "assistant", "tool", None, "system")
_SOURCES = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name", "file_name")
_KEYS = {
    **dict.fromkeys((*_SOURCES, "formatting", "subset", "split", "folder"), str),
    "ranking": bool,
    "num_samples": int,
    "columns": dict,
    "tags": dict,
    # A checksum of older registries: nothing depends on it.
    "file_sha1": str,
}
_WORDS = {str: "text", bool: "true or false", int: "a whole number", dict: "an object"}


@dataclass(frozen=True)
class DatasetInfo:
    """One registry entry. `folder` is the dataset folder that its `file_name` is relative to.

    `columns` and `tags` are resolved: what an entry with `columns` leaves out is None.
    `said_columns` tells whether the entry spelled its columns out.
    """

    name: str
    folder: Path
    file_name: str | None = None
    hf_hub_url: str | None = None
    ms_hub_url: str | None = None
    om_hub_url: str | None = None
    cloud_file_name: str | None = None
    formatting: Formatting = "alpaca"
    ranking: bool = False
    subset: str | None = None
    split: str = "train"
    hub_folder: str | None = None
    num_samples: int | None = None
    columns: Columns = field(default_factory=Columns)
    tags: Tags = field(default_factory=Tags)
    said_columns: bool = False
    # The hub repository whose registry this is from: its files lie there too.
    remote: str | None = None

    @property
    def shape(self) -> Shape:
        """What a row is: decides which stages can train on it."""
        if self.ranking:
            return "preference"
        if self.columns.kto_tag is not None:
            return "feedback"
        if self.formatting == "alpaca" and (self.columns.response is None or self.is_text_file):
            return "text"
        # A bare openai entry may have tools; only one that names their column is about them.
        return "tools" if self.columns.tools and self.said_columns else "conversation"

    @property
    def has_media(self) -> bool:
        return bool(self.media)

    @property
    def media(self) -> tuple[Kind, ...]:
        """The kinds of media that its rows have columns for."""
        return self.columns.media

    @property
    def is_text_file(self) -> bool:
        return self.hub is None and inner_suffix(Path(self.file_name or "")) == ".txt"

    @property
    def path(self) -> Path | None:
        """The file or folder on disk, or None for a set of a hub."""
        if self.hub is not None or self.file_name is None or self.remote is not None:
            return None
        return self.folder / self.file_name

    @property
    def hub(self) -> str | None:
        """The repository or URL that wins over `file_name`, where there is one."""
        return self.hf_hub_url or self.ms_hub_url or self.om_hub_url or self.cloud_file_name

    @property
    def source(self) -> str:
        """Where the rows come from, for a person."""
        if self.remote is not None and self.hub is None:
            return f"{self.remote}/{self.file_name}"
        return self.hub or self.file_name or self.name


def read_entry(name: str, value: Any, folder: Path, anywhere: bool = False) -> DatasetInfo:
    """One entry of `folder`'s registry, as its JSON says it. `anywhere`: its file may lie outside.

    Raises BadInput, naming the entry, where it can't be used.
    """
    where = f"{folder / REGISTRY}, {name}"
    if not isinstance(value, dict):
        raise _bad(f"The entry {name!r} is not an object.", where, "Give it a file_name.")
    for key, item in value.items():
        _check_key(key, item, where)
    twice = getattr(value, "repeated", ())
    if twice:
        raise _bad(f"The entry {name!r} says {twice[0]} twice.", where, "Take one out.")
    if value.get("script_url"):
        raise _bad(
            f"{name!r} is a loader script, which runs foreign code; finetui never does.",
            where,
            "Run the script once yourself, save its rows as JSON Lines, and give file_name.",
        )
    if isinstance(value.get("num_samples"), int) and value["num_samples"] < 1:
        raise _bad("num_samples must be 1 or more.", where, "Leave it out to take every row.")
    if not any(value.get(key) for key in _SOURCES):
        raise _bad(f"The entry {name!r} has no source.", where, "Give it a file_name.")
    formatting: Any = value.get("formatting") or "alpaca"
    if formatting not in ("alpaca", "sharegpt", "openai"):
        raise _bad(
            f"formatting {formatting!r} is not known.", where, "Use alpaca, sharegpt or openai."
        )
    info = DatasetInfo(
        name,
        folder,
        **{key: value.get(key) for key in _SOURCES if key != "script_url"},
        formatting=formatting,
        ranking=bool(value.get("ranking")),
        subset=value.get("subset"),
        split=value.get("split") or "train",
        hub_folder=value.get("folder"),
        num_samples=value.get("num_samples"),
        columns=_columns(value, formatting, where),
        tags=_tags(value, formatting, where),
        said_columns=value.get("columns") is not None,
    )
    if info.hub is None:
        _check_place(info, where, anywhere)
    if info.is_text_file and not info.said_columns:
        info = replace(info, columns=Columns(prompt="text", query=None, response=None))
    return info


def _check_key(key: str, item: Any, where: str) -> None:
    if key not in _KEYS:
        near = difflib.get_close_matches(key, _KEYS, 1)
        meant = f"Did you mean {near[0]}?" if near else f"Known keys: {', '.join(_KEYS)}."
        raise _bad(f"The key {key!r} is not known in a registry.", where, meant)
    kind = _KEYS[key]
    # bool is an int to Python, but not to a person.
    right = isinstance(item, kind) and (kind is bool or not isinstance(item, bool))
    if item is not None and not right:
        raise _bad(
            f"{key} must be {_WORDS[kind]}, not {json.dumps(item)[:60]}.",
            where,
            "Correct it there.",
        )


def _check_place(info: DatasetInfo, where: str, anywhere: bool) -> None:
    """Raise BadInput for a file outside the folder (unless `anywhere`), a device or a pipe."""
    assert info.file_name is not None
    if "\0" in info.file_name or len(info.file_name) > 4096:
        raise _bad("file_name is no name of a file.", where, "Correct it there.")
    if "://" in info.file_name:
        raise _bad(
            f"file_name is an address: {info.file_name}.",
            where,
            "Download the file and name it; or give hf_hub_url, or cloud_file_name for s3 and gcs.",
        )
    home = os.path.abspath(info.folder)
    out = not Path(os.path.normpath(os.path.join(home, info.file_name))).is_relative_to(home)
    places = [] if out and not anywhere else _places(info.folder / info.file_name)
    if not anywhere and (out or not _within(info.folder, places)):
        raise _bad(
            f"The file {info.file_name!r} lies outside the dataset folder.",
            where,
            "Move it into the folder, or set dataset_dir to the folder that holds it.",
        )
    for place in places:
        if _endless(place):
            raise _bad(f"{place.name} is a device or a pipe.", where, "Give a file of rows.")


def _places(path: Path) -> list[Path]:
    """The file, or the folder and what lies in it."""
    try:
        return [path, *path.iterdir()] if path.is_dir() else [path]
    except OSError:
        return [path]


def _within(folder: Path, places: list[Path]) -> bool:
    """Whether no link leads one of the places to outside the folder.

    The hub's cache keeps a repository's files beside its snapshots, and links to them.
    """
    home = Path(os.path.realpath(folder))
    if home.parent.name == "snapshots":
        home = home.parent.parent
    linked = (place for place in places if os.path.islink(place))
    return all(Path(os.path.realpath(place)).is_relative_to(home) for place in (places[0], *linked))


def _endless(path: Path) -> bool:
    """Whether a path is there and is neither a file nor a folder: reading it may never end."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _columns(value: Mapping[str, Any], formatting: str, where: str) -> Columns:
    given = value.get("columns")
    if given is None:
        base = _OPENAI_COLUMNS if formatting == "openai" else Columns()
        if value.get("ranking"):
            base = replace(base, chosen="chosen", rejected="rejected")
        return base
    return Columns(**_names(given, Columns, "columns", where))


def _tags(value: Mapping[str, Any], formatting: str, where: str) -> Tags:
    given = value.get("tags")
    if given is None:
        return _OPENAI_TAGS if formatting == "openai" else Tags()
    return Tags(**_names(given, Tags, "tags", where))


def _names(given: Mapping[str, Any], kind: type, what: str, where: str) -> dict[str, Any]:
    """Every name of `kind`, None where `given` leaves it out."""
    known = list(kind.__dataclass_fields__)  # type: ignore[attr-defined]
    for key, item in given.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            meant = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known)}."
            raise _bad(f"{what}.{key} is not known.", where, meant)
        if item is not None and not isinstance(item, str):
            raise _bad(f"{what}.{key} must be the name of a column.", where, "Give it as text.")
    return {key: given.get(key) for key in known}


def _bad(what: str, where: str, hint: str) -> BadInput:
    return BadInput(Problem(what, where, hint, "dataset_dir"))
