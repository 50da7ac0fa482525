"""What `file_name` with `folder`, `subset` and `split` means on disk.

A folder is read as the package `datasets` reads one: the configs of its README.md are its subsets,
and files or folders named train, validation or test are its splits. Without any such name, all
files that lie in it are train.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.datasets.files import NO_ROWS, SUFFIXES, Rows, open_files, open_path
from engine.datasets.index.packed import inner_suffix
from engine.datasets.joined import JoinedRows
from engine.datasets.split import part_of, split_parts
from engine.problem import BadInput, Problem

if TYPE_CHECKING:
    from engine.datasets.dataset_info import DatasetInfo

_CARD = "README.md"
_CARD_BYTES = 1 << 20
_MOST_FILES = 100_000
# The names of `datasets` (`SPLIT_KEYWORDS` and `NON_WORDS_CHARS` of its data_files.py).
_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_BREAK = r"[-._ 0-9]"
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}.*\..*")
_SHARDS = "data"


@dataclass(frozen=True)
class LocalSet:
    """`splits` are the files of each; `named` tells whether the folder names its splits, and
    `left` are then the files that it names for none."""

    splits: Mapping[str, tuple[Path, ...]]
    named: bool
    left: tuple[Path, ...] = ()


def open_local(info: DatasetInfo) -> Rows:
    """The rows of a set on disk. Raises BadInput for a part that is not there."""
    assert info.path is not None
    if not os.path.isdir(info.path):
        rows = open_path(info.path)
        return rows if info.split == "train" else part_of(rows, info.split, info.name)
    found = local_set(info)
    parts: list[Rows] = []
    for name, bounds in split_parts(info.split, info.name):
        whole = open_files(_split_of(info, found, name), info.path)
        parts.append(part_of(whole, f"train{bounds}", info.name) if bounds else whole)
    return parts[0] if len(parts) == 1 else JoinedRows(parts)


def local_files(info: DatasetInfo) -> list[Path]:
    """The files that a set on disk is read from. Raises BadInput as `open_local`."""
    assert info.path is not None
    if not os.path.isdir(info.path):
        return [info.path]
    found = local_set(info)
    names = [name for name, _ in split_parts(info.split, info.name)]
    return list(dict.fromkeys(path for name in names for path in _split_of(info, found, name)))


def idle_parts(info: DatasetInfo) -> str:
    """One sentence about what is not read: `subset` or `folder` of a plain file, which has none,
    or files of a folder that are of no split. Empty where there is no such thing.

    Raises BadInput as `open_local`.
    """
    if info.path is None:
        return ""
    if os.path.isdir(info.path):
        left = local_set(info).left
        if len(left) == 1:
            return f"{info.name}: {left[0].name} is not read, as other files are named for a split."
        if left:
            return (
                f"{info.name}: {len(left):,} files are not read, as others are named for a split: "
                f"{left[0].name}, …"
            )
        return ""
    said = [key for key, value in (("subset", info.subset), ("folder", info.hub_folder)) if value]
    if len(said) == 1:
        return f"{info.name}: {said[0]} means nothing for a single file; all of it is read."
    if said:
        return f"{info.name}: subset and folder mean nothing for a single file; all of it is read."
    return ""


def local_set(info: DatasetInfo) -> LocalSet:
    """The splits of a folder on disk, of its `subset` and `folder` where they are given."""
    assert info.path is not None
    base = info.path
    if info.hub_folder:
        base = _below(info, base, info.hub_folder)
    configs = _configs(base) or (_configs(info.path) if info.subset else [])
    if configs:
        return _of_config(info, base, configs)
    if info.subset:
        base = _below(info, base, info.subset)
    return _by_names(info, base)


def _split_of(info: DatasetInfo, found: LocalSet, name: str) -> tuple[Path, ...]:
    usual = next((split for split, words in _WORDS.items() if name in words), name)
    files = found.splits.get(name) or found.splits.get(usual)
    if files:
        return files
    if name == "train" and len(found.splits) == 1:
        return next(iter(found.splits.values()))  # there is no other part that could be meant
    told = ", ".join(found.splits)
    raise _bad(
        info,
        f"{info.name} has no split {name!r}: it has {told}."
        if found.named
        else f"{info.name} has no split {name!r}: no file in {info.file_name} names a split.",
        f"Set split to one of them: {told}."
        if found.named
        else "Name files or folders train, validation and test, or leave split out.",
    )


def _by_names(info: DatasetInfo, base: Path) -> LocalSet:
    """By the names of files and folders, in the order in which `datasets` tries them."""
    files = list(_walk(info, base))
    sharded: dict[str, list[Path]] = {}
    for path in files:
        shard = _SHARD.fullmatch(path.name)
        if shard and path.parent == base / _SHARDS:
            sharded.setdefault(shard[1], []).append(path)
    if sharded:
        order = sorted(sharded, key=lambda name: ([*_WORDS, name].index(name), name))
        return _named_set({name: tuple(sharded[name]) for name in order}, files)
    for of_folder in (True, False):
        found: dict[str, tuple[Path, ...]] = {}
        for split, words in _WORDS.items():
            pattern = _pattern(words, of_folder)
            chosen = tuple(path for path in files if _named(path, base, pattern, of_folder))
            if chosen:
                found[split] = chosen
        if found:
            return _named_set(found, files)
    here = tuple(path for path in files if path.parent == base)
    if not here:
        folders = sorted({path.relative_to(base).parts[0] for path in files})
        within = f" itself, but in {', '.join(folders[:5])}: set subset to one" if folders else ""
        raise _bad(info, f"The folder {base.name} holds no rows{within}.", NO_ROWS)
    return LocalSet({"train": here}, False)


def _named_set(splits: Mapping[str, tuple[Path, ...]], files: Sequence[Path]) -> LocalSet:
    taken = {path for chosen in splits.values() for path in chosen}
    return LocalSet(splits, True, tuple(path for path in files if path not in taken))


def _pattern(words: Sequence[str], of_folder: bool) -> re.Pattern[str]:
    after = f"({_BREAK}.*)?" if of_folder else f"{_BREAK}.*"
    return re.compile(f"(.*{_BREAK})?({'|'.join(words)}){after}")


def _named(path: Path, base: Path, pattern: re.Pattern[str], of_folder: bool) -> bool:
    if not of_folder:
        return pattern.fullmatch(path.name) is not None
    return any(pattern.fullmatch(part) for part in path.relative_to(base).parts[:-1])


def _of_config(info: DatasetInfo, base: Path, configs: list[dict[str, Any]]) -> LocalSet:
    names = [str(config.get("config_name") or "default") for config in configs]
    wanted = info.subset
    if wanted is None:
        first = (name for name, config in zip(names, configs, strict=True) if config.get("default"))
        wanted = next(first, "default" if "default" in names else None)
    if wanted is None and len(names) == 1:
        wanted = names[0]
    if wanted not in names:
        raise _bad(
            info,
            f"{info.name} has no subset {wanted!r}: it has {', '.join(names)}."
            if wanted
            else f"{info.name} has several subsets: {', '.join(names)}.",
            "Set subset to one of them.",
        )
    config = configs[names.index(wanted)]
    if config.get("data_dir"):
        base = _below(info, base, str(config["data_dir"]))
    given = config.get("data_files")
    if isinstance(given, Mapping):
        given = [{"split": split, "path": path} for split, path in given.items()]
    if not given:
        return _by_names(info, base)
    if not (isinstance(given, list) and all(isinstance(one, Mapping) for one in given)):
        given = [{"split": "train", "path": given}]
    splits: dict[str, tuple[Path, ...]] = {}
    for one in given:
        patterns = one.get("path")
        patterns = patterns if isinstance(patterns, list) else [patterns]
        files = tuple(path for pattern in patterns for path in _globbed(info, base, str(pattern)))
        if files:
            name = str(one.get("split") or "train")
            splits[name] = (*splits.get(name, ()), *files)
    if not splits:
        raise _bad(
            info,
            f"The subset {wanted!r} of {info.name} names files that are not there.",
            f"See data_files in {_CARD}.",
        )
    return LocalSet(splits, True)


def _globbed(info: DatasetInfo, base: Path, pattern: str) -> list[Path]:
    if os.path.isabs(pattern) or ".." in Path(pattern).parts:
        raise _bad(info, f"{_CARD} names files outside its folder: {pattern}.", "Correct it.")
    try:
        found = sorted(base.glob(pattern))
    except (ValueError, NotImplementedError, OSError) as error:
        raise _bad(info, f"{_CARD} names files that can't be: {pattern}.", str(error)) from None
    return [path for path in found if _is_rows(info, path)]


def _configs(base: Path) -> list[dict[str, Any]]:
    """The `configs` in the head of a folder's README.md; none where none can be read."""
    import yaml

    try:
        if not (base / _CARD).is_file():
            return []
        with (base / _CARD).open("rb") as file:
            text = file.read(_CARD_BYTES).decode("utf-8-sig", "replace")
    except OSError:
        return []
    head = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
    try:
        told = yaml.safe_load(head[1]) if head else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return []  # such as a date that is none
    found = told.get("configs") if isinstance(told, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _walk(info: DatasetInfo, base: Path) -> Iterator[Path]:
    """Files of rows below a folder, by name; hidden ones and links to folders are passed over."""
    count = 0

    def refuse(error: OSError) -> None:
        reason = error.strerror or str(error)
        where = Path(error.filename or base).name
        raise _bad(info, f"{where} can't be read: {reason}.", "Check its permissions.")

    for folder, below, names in os.walk(base, onerror=refuse):
        below[:] = sorted(name for name in below if not name.startswith((".", "__")))
        for name in sorted(names):
            path = Path(folder) / name
            if not name.startswith(".") and _is_rows(info, path):
                count += 1
                if count > _MOST_FILES:
                    raise _bad(
                        info,
                        f"{base.name} holds more than {_MOST_FILES:,} files.",
                        "Join them, or name a smaller folder.",
                    )
                yield path


# What the package `datasets` writes beside rows.
_NO_ROWS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json")


def _is_rows(info: DatasetInfo, path: Path) -> bool:
    if inner_suffix(path) not in SUFFIXES or path.name in _NO_ROWS:
        return False
    if path.name == "state.json" and any(path.parent.glob("*.arrow")):
        return False
    try:
        mode = path.stat().st_mode
    except OSError:
        return True  # opening it says what is wrong
    if stat.S_ISDIR(mode):
        return False
    if not stat.S_ISREG(mode):
        raise _bad(info, f"{path.name} is a device or a pipe.", "Give files of rows.")
    _check_within(info, path)
    return True


def _below(info: DatasetInfo, base: Path, name: str) -> Path:
    """The folder `name` in `base`. Raises BadInput where it is not there, or outside."""
    if os.path.isabs(name) or os.path.normpath(name).split(os.sep)[0] == "..":
        raise _bad(info, f"The folder {name!r} lies outside {base.name}.", "Name one in it.")
    folder = base / name
    if not folder.is_dir():
        try:
            there = sorted(one.name for one in base.iterdir() if one.is_dir())
        except OSError:
            there = []
        raise _bad(
            info,
            f"There is no folder {name!r} in {base.name}.",
            f"It has: {', '.join(there[:20])}." if there else "It holds no folders.",
        )
    _check_within(info, folder)
    return folder


def _check_within(info: DatasetInfo, path: Path) -> None:
    """Raise BadInput where a link leads out of the dataset folder (the set's own, where the person
    gave a whole path)."""
    assert info.path is not None
    home = info.path if os.path.isabs(info.file_name or "") else info.folder
    home = Path(os.path.realpath(home))
    if home.parent.name == "snapshots":
        home = home.parent.parent  # the hub's cache links to files beside its snapshots
    if not Path(os.path.realpath(path)).is_relative_to(home):
        raise _bad(
            info,
            f"The file {path.name!r} lies outside the dataset folder.",
            "Move it into the folder, or set dataset_dir to the folder that holds it.",
        )


def _bad(info: DatasetInfo, what: str, hint: str) -> BadInput:
    return BadInput(Problem(what, f"dataset {info.name}, {info.file_name}", hint, "dataset"))
