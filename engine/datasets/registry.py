"""`dataset_info.json`: which datasets a folder offers, and which one a name means."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.datasets.dataset_info import REGISTRY, DatasetInfo, read_entry
from engine.paths import config_dir, default_dataset_dir
from engine.problem import BadInput, Problem

ONLINE, REMOTE = "ONLINE", "REMOTE:"


@dataclass(frozen=True)
class Registry:
    """A read registry: usable entries in file order, and the fault of each of the others."""

    folder: Path
    infos: Mapping[str, DatasetInfo]
    problems: Mapping[str, Problem]


def own_sets_dir() -> Path:
    """The person's own list of sets, whatever folder is chosen; its files may lie anywhere."""
    return config_dir() / "sets"


def read_registry(dataset_dir: str | Path | None = None) -> Registry:
    """Read the registry of a folder (None: `./data` with a registry, else the bundled sets).

    An entry that can't be used is kept as a problem, so that the others still load.
    Raises BadInput for a missing folder, a missing or malformed `dataset_info.json`.
    """
    folder = Path(dataset_dir).expanduser() if dataset_dir is not None else default_dataset_dir()
    path = folder / REGISTRY
    if not folder.is_dir():
        raise _bad(
            f"There is no dataset folder {folder}.",
            str(folder),
            "Set dataset_dir to a folder that holds a dataset_info.json.",
        )
    if not path.is_file():
        raise _bad(
            f"The dataset folder {folder} has no {REGISTRY}.",
            str(path),
            'Write one such as {"my_set": {"file_name": "my_set.json"}}, or set dataset_dir.',
        )
    anywhere = folder.absolute() == own_sets_dir().absolute()
    infos: dict[str, DatasetInfo] = {}
    problems: dict[str, Problem] = {}
    entries = _parse(path)
    for name, value in entries.items():
        try:
            _check_name(name, entries, path)
            infos[name] = read_entry(name, value, folder, anywhere)
        except BadInput as error:
            problems[name] = error.problem
    return Registry(folder, infos, problems)


def known_sets(dataset_dir: str | Path | None = None) -> Registry:
    """What `dataset_dir` offers: a folder's sets and, after them, those of the person's own list;
    those of a hub's registry for `REMOTE:org/repo`; none for `ONLINE`, where any id is one.

    Raises BadInput where the folder's or the hub's registry can't be read; a fault of the own list
    is a problem of its own. `REMOTE:` may take long: not on the screen's thread.
    """
    given = str(dataset_dir or "")
    if given == ONLINE:
        return Registry(Path(), {}, {})
    if given.startswith(REMOTE):
        from engine.datasets.hub import remote_registry

        repo = given.removeprefix(REMOTE)
        found = read_registry(remote_registry(repo))
        infos = {name: replace(info, remote=repo) for name, info in found.infos.items()}
        return Registry(found.folder, infos, found.problems)
    registry = read_registry(dataset_dir)
    own = own_sets_dir()
    if not (own / REGISTRY).is_file() or own.absolute() == registry.folder.absolute():
        return registry
    try:
        mine = read_registry(own)
    except BadInput as error:
        return replace(registry, problems={**registry.problems, str(own): error.problem})
    taken = {*registry.infos, *registry.problems}
    return Registry(
        registry.folder,
        {**registry.infos, **{n: one for n, one in mine.infos.items() if n not in taken}},
        {**registry.problems, **{n: one for n, one in mine.problems.items() if n not in taken}},
    )


def find_dataset(name: str, dataset_dir: str | Path | None = None) -> DatasetInfo:
    """The entry of that name. `dataset_dir` `ONLINE` takes the name as an id of the preferred hub,
    `hf:org/name` and `ms:org/name` as one of that hub.

    Raises BadInput, naming the nearest known set, where there is none.
    """
    if str(dataset_dir) == ONLINE:
        if name.startswith("ms:"):
            return DatasetInfo(name, Path(), ms_hub_url=name.removeprefix("ms:"))
        if name.startswith("hf:"):
            return DatasetInfo(name, Path(), hf_hub_url=name.removeprefix("hf:"))
        return DatasetInfo(name, Path(), hf_hub_url=name, ms_hub_url=name)
    registry = known_sets(dataset_dir)
    if name in registry.infos:
        return registry.infos[name]
    if name in registry.problems:
        raise BadInput(registry.problems[name])
    known = [*registry.infos, *registry.problems]
    near = difflib.get_close_matches(name, known, 1)
    meant = f"Did you mean {near[0]}?" if near else f"It has: {', '.join(known) or 'none'}."
    raise _bad(
        f"There is no dataset {name!r}.", str(registry.folder / REGISTRY), meant, setting="dataset"
    )


def _parse(path: Path) -> dict[str, Any]:
    from engine.datasets.files import read_json

    entries = read_json(path)
    if not isinstance(entries, dict):
        raise _bad(
            f"{REGISTRY} must be one object that maps names to datasets.",
            str(path),
            'It looks like {"my_set": {"file_name": "my_set.json"}}.',
        )
    return entries


def _check_name(name: str, entries: Mapping[str, Any], path: Path) -> None:
    """Raise BadInput for a set that can't be meant by its name in `dataset`."""
    where = f"{path}, {name}"
    if name in getattr(entries, "repeated", ()):
        # JSON lets the last of them win: a person may well look at the other.
        raise _bad(f"The registry names {name!r} twice.", where, "Rename one of the two.")
    if not name or "," in name or name != name.strip():
        raise _bad(
            f"The name {name!r} can't be chosen: a set's name holds no comma, nor blanks at its "
            "ends.",
            where,
            "Rename it there.",
        )


def _bad(what: str, where: str, hint: str, setting: str = "dataset_dir") -> BadInput:
    return BadInput(Problem(what, where, hint, setting))
