"""The media that kept tokens were counted from: whether each is still what it was.

A file of the same place, size and times is taken to be the same; else its content decides. So a
changed picture is never missed, and a set that was copied elsewhere is not made anew.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.datasets.formats import path_beside
from engine.datasets.formats.fields import RowFault
from engine.datasets.media import find_medium
from engine.datasets.media.embedded import is_kept, keep_fresh, media_cache
from engine.datasets.medium import Medium

if TYPE_CHECKING:
    from engine.datasets.dataset_info import DatasetInfo

_BLOCK = 4 << 20
# As of `engine.datasets.content`: a file written to this shortly ago may be again within one tick.
_SETTLED_NS = 2_000_000_000
_BETWEEN = 256  # files between two looks at the stop request

# Kind, name, the stamp of its file (None: not to be trusted) and the digest of its content; both
# None for a file that was not there.
Record = list[Any]


class MediaFiles:
    """The files of the media that rows name, as they were when they were looked at.

    Make it before the rows become tokens, and take `records` once they are.
    """

    def __init__(self, root: Path, media: Iterable[Medium]) -> None:
        self._root = root
        self._seen = {medium: _stamp_of(root, medium) for medium in dict.fromkeys(media)}

    def __bool__(self) -> bool:
        return bool(self._seen)

    def records(self, check_stop: Callable[[], object] | None = None) -> list[Record] | None:
        """What there is to be compared later; None where a file has changed since. Raises OSError
        for one that can't be read."""
        found: list[Record] = []
        for place, (medium, stamp) in enumerate(self._seen.items()):
            if check_stop and not place % _BETWEEN:
                check_stop()
            path = _file_of(self._root, medium)
            if path is None or stamp is None:
                if path is not None or stamp is not None:
                    return None
                found.append([*medium, None, None])
                continue
            digest = _digest(path)
            if _stamp(path) != stamp:
                return None
            found.append([*medium, stamp if _settled(stamp) else None, digest])
        return found


def still_there(
    records: Sequence[Record],
    root: Path,
    infos: Sequence[DatasetInfo],
    check_stop: Callable[[], object] | None = None,
) -> bool:
    """Whether every medium is what it was: the same content, or still not there."""
    kept = f"{media_cache()}{os.sep}"
    for place, (kind, name, stamp, digest) in enumerate(records):
        if check_stop and not place % _BETWEEN:
            check_stop()
        medium = Medium(kind, name)
        if stamp and _quick_stamp(root, name) == stamp:
            if name.startswith(kept):
                keep_fresh(Path(name))
            continue
        path = _file_of(root, medium)
        if digest is None:
            # One that was missing may have come, also beside the file of a set that lies anywhere.
            if path is not None or any(path_beside(info, name) != name for info in infos):
                return False
            continue
        if path is None:
            return False
        if is_kept(path):
            keep_fresh(path)  # named by its content
            continue
        try:
            if _stamp(path) != stamp and _digest(path) != digest:
                return False
        except OSError:
            return False
    return True


def _quick_stamp(root: Path, name: str) -> list[Any] | None:
    """The stamp of the file at its usual place, which is most often all there is to ask; None where
    that is a folder, or more is to be asked (`find_medium`)."""
    if ".." in name or "://" in name:
        return None
    place = os.path.join(root, name)
    try:
        state = os.stat(place)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(state.st_mode):
        return None
    times = (state.st_mtime_ns, state.st_ctime_ns)
    return [os.path.basename(place), state.st_ino, state.st_size, *times]


def _stamp_of(root: Path, medium: Medium) -> list[Any] | None:
    quick = _quick_stamp(root, medium.name)
    path = None if quick else _file_of(root, medium)
    try:
        return quick or (None if path is None else _stamp(path))
    except OSError:
        return None  # gone meanwhile, or not to be read: the row tells


def _file_of(root: Path, medium: Medium) -> Path | None:
    try:
        return find_medium(root, medium)
    except RowFault:
        return None


def _files(path: Path) -> list[Path]:
    """The file; of a video that is a folder of frames, those."""
    return sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else [path]


def _stamp(path: Path) -> list[Any]:
    found: list[Any] = []
    for file in _files(path):
        state = file.stat()
        found += [file.name, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns]
    return found


def _settled(stamp: Sequence[Any]) -> bool:
    return all(time.time_ns() - changed > _SETTLED_NS for changed in stamp[4::5])


def _digest(path: Path) -> str:
    found = hashlib.blake2b(digest_size=20)
    for file in _files(path):
        if file != path:
            found.update(f"\n{file.name} {file.stat().st_size}\n".encode())
        with file.open("rb") as opened:
            while block := opened.read(_BLOCK):
                found.update(block)
    return found.hexdigest()
