"""Bytes from a hub to the disk: file by file, resumed after a break, checked before they count.

A file that is on its way has a name of its own (`….part`) and gets its real one only when its size
and its digest are right. What came before a break stays and is gone on from.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from engine.datasets.fetching import SPARE_BYTES, CheckStop, Overlong, Stream, receive
from engine.problem import BadInput, JobFault, Problem

Progress = Callable[[str, float, float, str], None]

# Progress is told again after so many bytes, or a thousandth of the whole, whichever is more.
STEP_BYTES = 1 << 16
_BLOCK = 1 << 20
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")

_SUFFIXES = (".safetensors", ".json", ".jinja", ".model")
_NAMES = ("merges.txt", "vocab.txt", "README.md")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a hub model: its path there, its bytes, and its digest as `sha256:…` or `git:…`
    (a git blob's sha1), empty where the hub tells none."""

    path: str
    size: int
    digest: str = ""


Opener = Callable[[RemoteFile, int], AbstractContextManager[Stream]]


def wanted(files: Sequence[RemoteFile], with_code: bool) -> list[RemoteFile]:
    """The files a model is loaded from, small ones first, so that whole weights mean a whole model.

    Pickled weights are never among them; the model's own code only with `with_code`. Subfolders
    hold other formats (onnx, original, gguf), `consolidated…` the same weights twice.
    """
    kept = [
        file
        for file in files
        if "/" not in file.path
        and not file.path.startswith(("consolidated", "."))
        and (
            file.path.endswith(_SUFFIXES)
            or file.path in _NAMES
            or file.path.upper().startswith("LICEN")
            or (with_code and file.path.endswith(".py"))
        )
    ]
    if with_code:
        kept += [file for file in files if "/" in file.path and file.path.endswith(".py")]
    names = {file.path for file in kept}
    kept = [file for file in kept if not _other_weights(file.path, names)]
    return sorted(kept, key=lambda file: (file.path.endswith(".safetensors"), file.path))


def _other_weights(name: str, names: set[str]) -> bool:
    """Whether these weights are left alone when the model is loaded (a variant, an adapter)."""
    if not name.endswith(".safetensors"):
        return False
    if "model.safetensors" in names:
        return name != "model.safetensors"
    if "model.safetensors.index.json" in names and any(map(_SHARD.fullmatch, names)):
        return not _SHARD.fullmatch(name)
    return False


def check_weights(model: str, files: Sequence[RemoteFile], where: str) -> None:
    """Raise `BadInput` for a hub model that has no safetensors."""
    names = [file.path for file in files]
    if any(name.endswith(".safetensors") and "/" not in name for name in names):
        return
    pickled = any(name.endswith((".bin", ".pt", ".pth")) for name in names)
    raise BadInput(
        Problem(
            f"{model} has only pickled weights, which can run code when loaded."
            if pickled
            else f"{model} has no safetensors.",
            where,
            "Look for a safetensors version (a pull request or branch of it: set model_revision).",
            "model_name_or_path",
        )
    )


def check_space(model: str, need: int, folder: Path) -> None:
    """Raise `JobFault` where `folder`'s disk has no room for `need` more bytes."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    free = shutil.disk_usage(place).free
    if need and need + SPARE_BYTES > free:
        raise JobFault(
            Problem(
                f"{model} needs {words(need)} more on the disk, and {words(free)} are free.",
                str(place),
                f"Free some space ({words(SPARE_BYTES)} are kept free), or set cache_dir to a "
                "folder on another disk.",
                "cache_dir",
            )
        )


_PLACE = "file {} of {}, {}"


def file_in(activity: str) -> tuple[int, int, str]:
    """Which file of how many an activity of `Tally` tells, and its name; zeros where none."""
    found = re.search(r": file (\d+) of (\d+), (.+)$", activity)
    return (int(found[1]), int(found[2]), found[3]) if found else (0, 0, "")


class Tally:
    """Tells how far a download is: which file, how many of how many, bytes of all bytes."""

    def __init__(self, model: str, files: Sequence[RemoteFile], progress: Progress) -> None:
        self._model = model
        self._count = len(files)
        self._total = sum(file.size for file in files)
        self._progress = progress
        self._before = 0
        self._number = 0
        self._told = 0
        self._file: RemoteFile | None = None

    def begin(self, file: RemoteFile) -> None:
        """The next file's turn."""
        self._before += self._file.size if self._file is not None else 0
        self._file, self._number = file, self._number + 1
        self.arrived(0)

    def arrived(self, count: int) -> None:
        """So many bytes of the file are there."""
        if self._file is None:
            return
        step = max(STEP_BYTES, self._total // 1000)
        if 0 < count < self._file.size and abs(count - self._told) < step:
            return
        self._told = count
        place = _PLACE.format(self._number, self._count, self._file.path)
        activity = f"Downloading {self._model}: {place}"
        self._progress(activity, self._before + count, self._total, "bytes")


def fetch(
    file: RemoteFile,
    target: Path,
    part: Path,
    open_at: Opener,
    tally: Tally,
    check_stop: CheckStop,
) -> None:
    """Bring `file` to `target` by way of `part`, going on from what `part` holds.

    Raises `LineBroke` when every try broke (the part stays), `JobFault` where what arrived is not
    what the hub lists (the part goes).
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        receive(part, file.size, lambda start: open_at(file, start), tally.arrived, check_stop)
    except Overlong:
        raise _damaged(file, part) from None
    _check(file, part, check_stop)
    os.replace(part, target)
    tally.arrived(file.size)


def _check(file: RemoteFile, part: Path, check_stop: CheckStop) -> None:
    kind, _sign, told = file.digest.partition(":")
    if not told:
        return
    digest = hashlib.sha256() if kind == "sha256" else hashlib.sha1(usedforsecurity=False)
    if kind == "git":
        digest.update(f"blob {file.size}\0".encode())
    with part.open("rb") as stream:
        while block := stream.read(_BLOCK):
            check_stop()
            digest.update(block)
    if digest.hexdigest() != told.lower():
        raise _damaged(file, part)


def _damaged(file: RemoteFile, part: Path) -> JobFault:
    part.unlink(missing_ok=True)
    return JobFault(
        Problem(
            f"{file.path} arrived damaged: it is not what the hub lists.",
            str(part.parent),
            "Start the download again; a proxy in between may have changed it.",
        )
    )


def silent(activity: str, done: float, total: float, unit: str) -> None:
    """Progress of the one small file that is looked into before the others."""


def words(count: float) -> str:
    """Bytes for people, in decimal units."""
    for unit, length in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count:.0f} B"


def choices_hint(local_choices: Sequence[str]) -> str:
    """What can be used without a network, in words."""
    return f"On this machine there are: {', '.join(local_choices[:8])}."


def unreachable(
    hub: str, model: str, where: str, why: str, local_choices: Sequence[str], switches: str
) -> JobFault:
    """One sentence for a hub that does not answer, and what is here instead."""
    return JobFault(
        Problem(
            f"{hub} can't be reached, so {model} could not be fetched ({why}).",
            where,
            f"Check the network, {switches} and proxy; what came is kept. "
            + choices_hint(local_choices),
            "model_name_or_path",
        )
    )


def short(error: BaseException) -> str:
    """An error's kind and the beginning of its text, on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:120]}" if text else type(error).__name__
