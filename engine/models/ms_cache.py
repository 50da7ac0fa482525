"""ModelScope models that are already on disk, where its own client has them: no network.

A model lies in `models/<owner>--<name>/snapshots/<revision>/`; the client up to 1.37 had it in
`models/<owner>/<name>` with `___` for dots.
"""

from __future__ import annotations

from pathlib import Path

from engine.models.hub_cache import is_whole
from engine.modelscope import MASTER


def ms_revision(revision: str | None) -> str:
    """ModelScope's main branch is called master."""
    return MASTER if not revision or revision == "main" else revision


def ms_snapshot(model: str, revision: str, cache: Path) -> Path:
    """The folder of one model at one revision, whether it is there or not."""
    return cache / "models" / model.replace("/", "--") / "snapshots" / revision


def cached_snapshot(model: str, revision: str | None, cache: Path) -> Path | None:
    """The folder of a ModelScope model whose weights are all there; None where it has to be
    fetched. The layout of the older client (`owner/name` with `___` for dots) is looked at too."""
    owner, _slash, name = model.partition("/")
    plain = name.replace(".", "___")
    for folder in (
        ms_snapshot(model, ms_revision(revision), cache),
        cache / "models" / owner / plain,
        cache / "hub" / "models" / owner / plain,
    ):
        if name and is_whole(folder):
            return folder
    return None


def cached_models(cache: Path) -> list[tuple[str, Path]]:
    """ModelScope ids in the cache that can be loaded, with their folders, by name."""
    found = []
    for folder in sorted((cache / "models").glob("*--*")):
        whole = [path for path in (folder / "snapshots").glob("*") if is_whole(path)]
        if whole:
            newest = max(whole, key=lambda path: path.stat().st_mtime)
            found.append((folder.name.replace("--", "/", 1), newest))
    return found
