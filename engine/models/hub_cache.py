"""Hub models that are already on disk, found by walking the cache's folders (no network, no hub
library, which takes a third of a second to import)."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from engine.models.headers import weight_files
from engine.problem import BadInput

_PREFIX = "models--"


def hub_cache_dir(cache_dir: str | None = None) -> Path:
    """Where hub downloads go: the setting, else HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, ~/.cache."""
    if cache_dir:
        return Path(cache_dir).expanduser()
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if named:
        return Path(named).expanduser()
    home = os.environ.get("HF_HOME")
    if home:
        return Path(home).expanduser() / "hub"
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "huggingface" / "hub"


def model_cache(model: str, cache: Path | None = None) -> Path:
    """The folder of one model in the hub's cache, whether it is there or not."""
    return (cache or hub_cache_dir()) / (_PREFIX + model.replace("/", "--"))


def cached_snapshot(model: str, revision: str = "main", cache: Path | None = None) -> Path | None:
    """The folder of a hub model whose weights are all there; None where it has to be fetched."""
    folder = model_cache(model, cache)
    commit = revision
    # Without a ref a commit hash was given, or nothing is cached: the snapshot folder tells.
    with suppress(OSError, UnicodeDecodeError):
        commit = (folder / "refs" / revision).read_text(encoding="ascii").strip()
    snapshot = folder / "snapshots" / commit
    return snapshot if commit and is_whole(snapshot) else None


def cached_models(cache: Path | None = None) -> list[tuple[str, Path]]:
    """Hub ids in the cache that can be loaded, with their folders, by name."""
    root = cache or hub_cache_dir()
    found = []
    for folder in sorted(root.glob(_PREFIX + "*")) if root.is_dir() else []:
        name = folder.name.removeprefix(_PREFIX).replace("--", "/", 1)
        snapshot = cached_snapshot(name, cache=root) or _newest_snapshot(folder)
        if snapshot is not None:
            found.append((name, snapshot))
    return found


def _newest_snapshot(folder: Path) -> Path | None:
    whole = [path for path in (folder / "snapshots").glob("*") if is_whole(path)]
    return max(whole, key=lambda path: path.stat().st_mtime, default=None)


def is_whole(snapshot: Path) -> bool:
    """Whether a folder holds a config and every weight file that its index names."""
    if not (snapshot / "config.json").is_file():
        return False
    try:
        files = weight_files(snapshot)
    except BadInput:
        return False
    return bool(files) and all(file.is_file() for file in files)
