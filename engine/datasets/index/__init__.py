"""Rows of files of any size by number: the places of rows are noted once, in the user's cache.

A file is cut into blocks of about 64 KiB that begin with a row; an index holds, a block, its first
row's number, byte and line. A row is read by looking up its block and going through that alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.datasets.index.rows import IndexedRows, open_indexed
    from engine.datasets.index.stamp import FileStamp, stamp_of

# Small sets need no index: listing them imports none of it.
_HOMES = {"IndexedRows": "rows", "open_indexed": "rows", "FileStamp": "stamp", "stamp_of": "stamp"}

__all__ = ["FileStamp", "IndexedRows", "open_indexed", "stamp_of"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
