"""A model's name turned into a folder on disk: demo, local folder, hub cache, hub."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engine.models import ms_cache
from engine.models.demo import DEMO, DEMO_NAME, demo_folder, demo_ready, fetch_demo
from engine.models.folder import check_folder, is_adapter
from engine.models.hub_cache import cached_models, cached_snapshot, hub_cache_dir, is_whole
from engine.models.places import place_of, places
from engine.modelscope import MASTER, ms_cache_dir
from engine.paths import state_dir
from engine.problem import BadInput, Problem
from engine.runs.atomic import write_atomic

Source = Literal["demo", "local", "cache", "hub"]
Progress = Callable[[str, float, float, str], None]

_HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
_REMEMBERED = 50
HUBS = ("huggingface", "modelscope")


@dataclass(frozen=True)
class ModelFolder:
    """A model on disk. `name` is short, for titles and run folders; `source` where it came from."""

    path: Path
    name: str
    source: Source


@dataclass(frozen=True)
class ModelEntry:
    """A model that can be picked. `id` is what model_name_or_path takes.

    `path` is None while it is not on disk; `ready` tells whether it can be loaded without a
    network; `hub` is the hub that its id is of, empty for a folder and for the demo.
    """

    id: str
    name: str
    source: Source
    path: Path | None
    ready: bool
    hub: str = ""


def resolve(
    name: str,
    config: Any = None,
    *,
    progress: Progress | None = None,
    check_stop: Callable[[], object] | None = None,
) -> ModelFolder:
    """The checked folder of the model `name` (`demo`, a path, or a hub id).

    Without `progress` nothing is fetched and no torch is imported: a model that is not on disk is a
    `BadInput`. With it, the demo and hub models are fetched (the demo's conversion imports torch,
    so that belongs on the engine thread). `config` gives hub, cache_dir, model_revision, the hubs'
    tokens and trust_remote_code; with it, a model that needs its own code is a `BadInput` unless
    that is trusted.
    """
    name = name.strip()
    if name == DEMO:
        return _demo(progress, check_stop)
    if names_folder(name):
        local = Path(name).expanduser()
        return _checked(local, short_name(local), "local", name, config)
    revision = getattr(config, "model_revision", None) or "main"
    cache = getattr(config, "cache_dir", None)
    for hub_name in HUBS if config is None else [getattr(config, "hub", None) or HUBS[0]]:
        folder = on_disk(name, revision, cache, hub_name)
        if folder is not None:
            return _checked(folder, name.rsplit("/", 1)[-1], "cache", name, config)
    choices = [entry.id for entry in known_models(cache) if entry.ready or entry.id == DEMO]
    if progress is None:
        raise BadInput(_not_on_disk(name, choices))
    folder = download(name, config, choices, progress, check_stop or (lambda: None))
    return _checked(folder, name.rsplit("/", 1)[-1], "hub", name, config)


def names_folder(name: str) -> bool:
    """Whether a model's name can only be that of a folder: nothing is fetched for it."""
    there = Path(name).expanduser().exists()
    return there or not _HUB_ID.match(name) or name.startswith((".", "/", "~"))


def on_disk(name: str, revision: str, cache_dir: str | None, hub_name: str) -> Path | None:
    """The folder of a hub model that needs no network: in the hub's cache, or where it was put
    before. A place is kept for the revision that it was fetched at; a folder that a person named
    stands for any."""
    ms = hub_name == "modelscope"
    if ms:
        found = ms_cache.cached_snapshot(name, revision, ms_cache_dir(cache_dir))
    else:
        found = cached_snapshot(name, revision, hub_cache_dir(cache_dir))
    if found is not None:
        return found
    place = place_of(name)
    if place is None or place.hub not in ("", hub_name):
        return None
    wanted = ms_cache.ms_revision(revision) if ms else revision
    if place.hub and wanted not in ("main", MASTER, place.revision):
        return None
    folder = Path(place.path)
    return folder if is_whole(folder) else None


def download(
    name: str,
    config: Any,
    choices: list[str],
    progress: Progress,
    check_stop: Callable[[], object],
) -> Path:
    """Fetch a hub model from the hub that `config` names; returns its folder."""
    # Here, as the first frame asks what is on disk and needs no download.
    from engine.models import hub, modelscope

    ms = (getattr(config, "hub", None) or "huggingface") == "modelscope"
    fetch = modelscope.download_model if ms else hub.download_model
    return fetch(
        name,
        getattr(config, "model_revision", None) or "main",
        getattr(config, "cache_dir", None),
        getattr(config, "ms_hub_token" if ms else "hf_hub_token", None),
        bool(getattr(config, "trust_remote_code", False)),
        choices,
        progress,
        check_stop,
    )


def _checked(folder: Path, short: str, source: Source, name: str, config: Any) -> ModelFolder:
    check_folder(folder)
    if config is not None:
        from engine.models.remote_code import check_own_code

        check_own_code(folder, name, bool(getattr(config, "trust_remote_code", False)))
    return ModelFolder(folder, short, source)


def short_name(folder: Path) -> str:
    """A folder's name for people: a hub snapshot by its model, anything else by its last part."""
    folder = folder.absolute()
    for parent in folder.parents:
        if parent.name.startswith("models--"):
            return parent.name.rsplit("--", 1)[-1]
    return folder.name or str(folder)


def known_models(cache_dir: str | None = None, models: Path = Path("models")) -> list[ModelEntry]:
    """What the picker lists: the demo, folders in `./models`, typed names, the hub cache."""
    ready = demo_ready()
    entries = [ModelEntry(DEMO, DEMO_NAME, "demo", demo_folder() if ready else None, ready)]
    for folder in sorted(models.glob("*")) if models.is_dir() else []:
        if (folder / "config.json").is_file() and not is_adapter(folder):
            entries.append(ModelEntry(str(folder), folder.name, "local", folder, True))
    for name in remembered():
        entries.append(_typed(name, cache_dir))
    for name, path in cached_models(hub_cache_dir(cache_dir)):
        entries.append(_cached(name, path, "huggingface"))
    for name, path in ms_cache.cached_models(ms_cache_dir(cache_dir)):
        entries.append(_cached(name, path, "modelscope"))
    for name, place in places().items():
        if is_whole(Path(place.path)):
            entries.append(_cached(name, Path(place.path), place.hub or "huggingface"))
    unique: dict[str, ModelEntry] = {}
    for entry in entries:
        unique.setdefault(entry.id, entry)
    return list(unique.values())


def remembered() -> list[str]:
    """Names that a person typed before, the latest first. A damaged file counts as empty."""
    try:
        names = json.loads(_memory().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def remember(name: str) -> None:
    """Keep a typed name for the picker."""
    name = name.strip()
    if name and name != DEMO:
        names = [name, *(other for other in remembered() if other != name)]
        write_atomic(_memory(), json.dumps(names[:_REMEMBERED], ensure_ascii=False, indent=1))


def forget(name: str) -> None:
    """Take a typed name off the picker's list."""
    names = [other for other in remembered() if other != name]
    write_atomic(_memory(), json.dumps(names, ensure_ascii=False, indent=1))


def _memory() -> Path:
    return state_dir() / "models.json"


def _demo(progress: Progress | None, check_stop: Callable[[], object] | None) -> ModelFolder:
    if not demo_ready():
        if progress is None:
            raise BadInput(
                Problem(
                    "The demo model is not on this machine yet.",
                    str(demo_folder()),
                    "Train or chat with it once (a 93 MB download), or run "
                    "`finetui models path demo`.",
                    "model_name_or_path",
                )
            )
        fetch_demo(progress, check_stop)
    return ModelFolder(demo_folder(), DEMO_NAME, "demo")


def _cached(name: str, path: Path, hub_name: str) -> ModelEntry:
    return ModelEntry(name, name.rsplit("/", 1)[-1], "cache", path, True, hub_name)


def _typed(name: str, cache_dir: str | None) -> ModelEntry:
    local = Path(name).expanduser()
    if local.is_dir():
        whole = (local / "config.json").is_file()
        return ModelEntry(name, short_name(local), "local", local, whole)
    short = name.rstrip("/").rsplit("/", 1)[-1]
    if _HUB_ID.match(name):
        for hub_name in HUBS:
            path = on_disk(name, "main", cache_dir, hub_name)
            if path is not None:
                return ModelEntry(name, short, "cache", path, True, hub_name)
    return ModelEntry(name, short, "hub", None, False, "")


def _not_on_disk(name: str, choices: list[str]) -> Problem:
    from engine.models.transfer import choices_hint

    what = f"There is no folder {name}, and the hub model {name} is not on this machine yet."
    if "/" not in name:
        what = f"There is no folder {name} and no hub model {name} on this machine."
    return Problem(
        what,
        "model_name_or_path",
        "Starting a job fetches a hub model. " + choices_hint(choices),
        "model_name_or_path",
    )
