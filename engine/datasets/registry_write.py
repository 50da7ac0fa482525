"""Writing an entry into a registry: every other byte of the file stays as it was."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from engine.datasets.dataset_info import REGISTRY
from engine.datasets.draft import Draft
from engine.datasets.registry import own_sets_dir
from engine.datasets.registry_text import damaged, entries_in, taken, with_entry
from engine.paths import bundled_data_dir
from engine.problem import BadInput, Problem
from engine.runs.atomic import write_atomic

Keep = Literal["own list", "folder", "copy"]
_NAME_CELLS = 100


def add_set(
    draft: Draft,
    keep: Keep,
    folder: Path | None = None,
    replace: bool = False,
    beside: Path | None = None,
) -> Path:
    """Write a draft into a registry; returns the registry's file.

    `own list`: the person's own, the file stays where it is; `beside` is the dataset folder whose
    sets would hide one of the same name. `folder`: that of `folder`, which the file lies in.
    `copy`: the file is copied into `folder` first. Raises BadInput for a name that can't be one or
    is taken (unless `replace`), a file outside `folder`, a registry that is damaged or one of the
    bundled sets; nothing is changed then.
    """
    check_name(draft.name)
    if keep == "own list" or folder is None:
        own = own_sets_dir()
        if beside is not None and beside.absolute() != own.absolute():
            check_free(beside, draft.name)
        entry = draft.entry(None if draft.path is None else str(draft.path.absolute()))
        return write_entry(own, draft.name, entry, replace)
    check_writable(folder)
    if draft.path is None:
        return write_entry(folder, draft.name, draft.entry(), replace)
    source = draft.path.absolute()
    inside = lies_in(source, folder)
    if not inside and keep == "folder":
        raise _bad(
            f"{source.name} lies outside the dataset folder.",
            folder,
            "Copy it into the folder, or add it to your own list, which takes it where it is.",
        )
    if inside:
        relative = os.path.relpath(source.resolve(), folder.resolve())
        return write_entry(folder, draft.name, draft.entry(relative), replace)
    if not replace:
        check_free(folder, draft.name)
    copy_file(source, folder / source.name)
    return write_entry(folder, draft.name, draft.entry(source.name), replace)


def write_entry(folder: Path, name: str, entry: Mapping[str, Any], replace: bool = False) -> Path:
    """Put one entry into `folder`'s registry, which is made where there is none.

    The rest of the file stays byte for byte. Raises BadInput as `add_set`, JobFault never; OSError
    of the disk is told as BadInput.
    """
    check_name(name)
    return rewrite(folder, lambda text, path: with_entry(text, name, entry, replace, path))


def rewrite(folder: Path, change: Callable[[str, Path], str]) -> Path:
    """Put in place of `folder`'s registry what `change` makes of its text (empty: there is none);
    returns its path. One writer at a time; the file is the old one or the new one, never half.

    Raises BadInput as `change` does, for the bundled sets, and where the disk refuses.
    """
    check_writable(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Behind a link stands the real file: it is that one which is written.
        path = (folder / REGISTRY).resolve()
        with _locked(folder):
            text = path.read_bytes().decode("utf-8") if path.exists() else ""
            new = change(text, path)
            if new != text:
                write_atomic(path, new)
    except UnicodeDecodeError:
        raise damaged(folder / REGISTRY, "it is not UTF-8") from None
    except OSError as error:
        raise _bad(
            f"{folder / REGISTRY} can't be written: {error.strerror or error}.",
            folder / REGISTRY,
            "Check the folder's permissions and the disk.",
        ) from None
    return folder / REGISTRY


def check_name(name: str) -> None:
    """Raise BadInput for what can't be a set's name: it stands in comma lists and on a command
    line."""
    fault = ""
    if not name.strip():
        fault = "A set needs a name."
    elif name != name.strip() or re.search(r"[,=\x00-\x1f\x7f]", name):
        fault = "A set's name has no comma, no = and no blank at its ends."
    elif len(name) > _NAME_CELLS:
        fault = f"A set's name has at most {_NAME_CELLS} characters."
    if fault:
        raise BadInput(Problem(fault, "name", "Choose another name.", "dataset"))


def check_free(folder: Path, name: str) -> None:
    """Raise BadInput where the registry of `folder` is damaged or has that name already."""
    path = folder / REGISTRY
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    if name in entries_in(text, path):
        raise taken(name, path)


def is_bundled(folder: Path) -> bool:
    """Whether a folder is that of the bundled sets, which nothing is written to."""
    bundled, real = bundled_data_dir().resolve(), folder.expanduser().resolve()
    return real == bundled or bundled in real.parents


def lies_in(path: Path, folder: Path) -> bool:
    return folder.resolve() in path.resolve().parents


def check_writable(folder: Path) -> None:
    if is_bundled(folder):
        raise _bad(
            "The folder of the bundled sets is never written to.",
            folder,
            "Add it to your own list, or choose a dataset folder of your own.",
        )


def copy_file(source: Path, target: Path) -> None:
    """Copy a file or a folder so that it is whole or not there. An equal name is never lost."""
    if target.exists():
        raise _bad(
            f"The dataset folder has a {target.name} already.", target, "Rename one of the two."
        )
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, part, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, part)
        os.replace(part, target)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink(missing_ok=True)
        raise _bad(
            f"{source.name} can't be copied: {error.strerror or error}.",
            target,
            "Add it to your own list instead, which takes it where it is.",
        ) from None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One writer at a time, without a file of its own: the folder itself is locked."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _bad(what: str, where: Path, hint: str) -> BadInput:
    return BadInput(Problem(what, str(where), hint, "dataset_dir"))
