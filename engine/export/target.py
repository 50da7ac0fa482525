"""The folder that is exported to: refused, written beside, then named; absent or whole."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from engine.problem import BadInput, JobFault, Problem
from engine.runs.atomic import settle, sync_folder

_MARGIN = 64 << 20  # tokenizer, card, and what the file system needs for itself
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_TEXT = re.compile(r"os error (?:28|122|27)\b|code: (?:28|122|27)\b")


def check_target(export_dir: str, sources: Sequence[Path]) -> Path:
    """The absolute folder to write. Raises BadInput where it would touch anything that is there.

    `sources` are the model's and adapters' folders, which an export never writes into.
    """
    target = Path(export_dir).expanduser().absolute()
    if target.exists() and not target.is_dir():
        raise _refused("export_dir is a file, not a folder.", target)
    for source in sources:
        place, taken = target.resolve(), source.resolve()
        if place == taken:
            raise _refused("export_dir is the folder that is exported from.", target)
        if taken in place.parents:
            raise _refused("export_dir lies inside a folder that is exported from.", target)
    if target.is_dir() and any(target.iterdir()):
        raise _refused("export_dir holds files already; an export never overwrites.", target)
    parent = _existing(target.parent)
    if not os.access(parent, os.W_OK | os.X_OK):
        raise _refused("finetui may not write there.", parent)
    return target


def check_room(target: Path, needed: int) -> None:
    """Raise JobFault unless the disk under `target` has `needed` bytes and a margin left."""
    free = shutil.disk_usage(_existing(target.parent)).free
    if free < needed + _MARGIN:
        raise JobFault(
            Problem(
                f"The disk has too little room: the export needs {(needed + _MARGIN) / 1e9:.2f} "
                f"GB, {free / 1e9:.2f} GB is free.",
                str(target),
                "Free some space, choose an export_dir on another disk, or export in bfloat16 "
                "(infer_dtype).",
                "export_dir",
            )
        )


@contextmanager
def written_beside(target: Path) -> Iterator[Path]:
    """A hidden folder beside `target` to write into; it gets the name at the end.

    A block that raises leaves nothing behind, a process that is killed only the hidden folder,
    which the next export to this place sweeps away. Raises JobFault for a disk that is full.
    """
    partial = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        yield partial
        for path in partial.rglob("*"):
            if path.is_file():
                settle(path)
        sync_folder(partial)
        # Takes the place of an empty folder; anything that came there meanwhile refuses it.
        partial.rename(target)
        sync_folder(target.parent)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if is_disk_full(error):
            raise JobFault(
                Problem(
                    "The disk is full: the export could not be written; nothing of it was left.",
                    str(target),
                    "Free some space, or choose an export_dir on another disk.",
                    "export_dir",
                )
            ) from error
        raise


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that nothing more can be written (safetensors tells it as text)."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _FULL:
            return True
        if type(seen).__name__ == "SafetensorError" and _FULL_TEXT.search(str(seen)):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _existing(folder: Path) -> Path:
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder


def _refused(what: str, where: Path) -> BadInput:
    return BadInput(
        Problem(what, str(where), "Name a folder that does not exist yet.", "export_dir")
    )
