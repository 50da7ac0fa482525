"""Media that lie inside a data file: bytes in a column, Hugging Face's `{"bytes", "path"}`, or a
`data:` URL. Each is written to the user's cache once, under the digest of its content, and is a
file like any other from then on.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from engine.datasets.formats.fields import RowFault
from engine.datasets.medium import Kind, word
from engine.paths import cache_dir
from engine.problem import BadInput, Problem

# What nobody used for so long is thrown out; it is written again when it is asked for.
UNUSED_DAYS = 60
_DAY = 86_400.0
_NAME = re.compile(r"[^\w.-]+")
# How files of a kind begin, and the suffix that says so.
_BEGINS = (
    (0, b"\x89PNG", ".png"),
    (0, b"\xff\xd8\xff", ".jpg"),
    (0, b"GIF8", ".gif"),
    (8, b"WEBP", ".webp"),
    (0, b"BM", ".bmp"),
    (8, b"WAVE", ".wav"),
    (0, b"fLaC", ".flac"),
    (0, b"ID3", ".mp3"),
    (0, b"OggS", ".ogg"),
    (4, b"ftyp", ".mp4"),
    (8, b"AVI ", ".avi"),
    (0, b"\x1a\x45\xdf\xa3", ".mkv"),
)


def media_cache() -> Path:
    """Where media that lay inside data files are kept."""
    return cache_dir() / "media"


def name_of(item: Any, kind: Kind) -> str:
    """The path of one of a row's media: its own, or of the file that its bytes were written to.

    Raises RowFault for what is none, and BadInput where the cache can't be written.
    """
    if isinstance(item, str):
        return _written(*_of_url(item, kind)) if item[:5].lower() == "data:" else item
    if isinstance(item, (bytes, bytearray, memoryview)):
        return _written(bytes(item), "", kind)
    if isinstance(item, Mapping):
        held, path = item.get("bytes"), item.get("path")
        if isinstance(held, (bytes, bytearray, memoryview)):
            return _written(bytes(held), path if isinstance(path, str) else "", kind)
        if isinstance(held, str) and held:
            return _written(_decoded(held, kind), path if isinstance(path, str) else "", kind)
        if isinstance(path, str) and path:
            return path
    if item is None:
        raise RowFault(f"a {word(kind)} of it is empty")
    raise RowFault(f"a {word(kind)} of it is neither a path nor the bytes of a file")


def is_kept(path: Path) -> bool:
    """Whether a file is one that was written here: its name tells its content."""
    return path.parent.parent.parent == media_cache()


def keep_fresh(path: Path) -> None:
    """Note that a kept file is in use."""
    with suppress(OSError):
        now = time.time()
        if now - path.stat().st_mtime > _DAY:
            os.utime(path, (now, now))


def media_in_words() -> str:
    """The folder of kept media, how much is in it and for how long."""
    held = 0
    for path in media_cache().glob("??/*/*"):
        with suppress(OSError):
            held += path.stat().st_size
    return (
        f"{media_cache()} ({held / 2**30:.1f} GB, each for {UNUSED_DAYS} days after its last use)"
    )


def throw_out(days: float = UNUSED_DAYS) -> int:
    """Throw out what was not used for so many days; returns how many files."""
    gone, oldest = 0, time.time() - days * _DAY
    for path in media_cache().glob("??/*/*"):
        with suppress(OSError):  # another process may be throwing it out
            if path.stat().st_mtime < oldest:
                path.unlink()
                gone += 1
                path.parent.rmdir()
    return gone


def _written(content: bytes, given: str, kind: Kind) -> str:
    if not content:
        raise RowFault(f"a {word(kind)} of it is empty")
    digest = hashlib.blake2b(content, digest_size=20).hexdigest()
    name = _NAME.sub("_", re.split(r"[/\\]", given)[-1])[-80:].lstrip(".") or word(kind)
    if "." not in name:
        name += next((s for at, mark, s in _BEGINS if content[at : at + len(mark)] == mark), "")
    # The name stands alone in its folder: people read it where a fault of the file is told.
    path = media_cache() / digest[:2] / digest[2:] / name
    try:
        if path.is_file() and path.stat().st_size == len(content):
            keep_fresh(path)
            return str(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=".")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            os.replace(part, path)
        except BaseException:
            os.unlink(part)
            raise
    except OSError as error:
        raise BadInput(
            Problem(
                f"A {word(kind)} from inside the data can't be written to the cache: "
                f"{error.strerror or error}.",
                str(media_cache()),
                "Free some space, or set FINETUI_CACHE to a folder on another disk.",
            )
        ) from None
    return str(path)


def _of_url(url: str, kind: Kind) -> tuple[bytes, str, Kind]:
    head, comma, body = url.partition(",")
    if not comma:
        raise RowFault(f"the data URL of a {word(kind)} has no content")
    if head.lower().endswith(";base64"):
        return _decoded(body, kind), "", kind
    return unquote_to_bytes(body), "", kind


def _decoded(text: str, kind: Kind) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise RowFault(f"the bytes of a {word(kind)} are not valid base64") from None
