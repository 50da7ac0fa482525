"""Which layout a file of text has, by its suffix and its first bytes."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

from engine.datasets.index.json_list import JsonListLayout
from engine.datasets.index.layout import CsvLayout, Layout, LineLayout, Pread

_HEAD = 1 << 20
# A first line beyond this is not read to tell rows from one object.
_MOST_LINE = 1 << 28


def find_layout(path: Path, suffix: str, pread: Pread) -> Layout:
    """The layout of a json, jsonl, csv or txt file. Raises BadInput for one that has none."""
    from engine.datasets.files import HEAD, bad_file, check_encoding, decode, parse_json

    check_encoding(pread(HEAD, 0), path)
    if suffix == ".csv":
        return CsvLayout(path)
    if suffix == ".txt":
        return LineLayout("text", lambda raw, line: {"text": decode(raw, path, line).rstrip("\r")})

    def parse_line(raw: bytes, line: int) -> Any:
        return parse_json(decode(raw, path, line).strip("\r\n"), path, line)

    lines = LineLayout("json lines", parse_line)
    first = pread(_HEAD, 0).removeprefix(codecs.BOM_UTF8).lstrip(b" \t\r\n")
    if first.startswith(b"["):
        line, more, _rest = first.partition(b"\n")
        whole = more and _is_json(line)
        return lines if whole and suffix == ".jsonl" else JsonListLayout(path)
    if suffix == ".jsonl" or not first:
        return lines
    size = _HEAD
    while b"\n" not in first and len(first) >= size - 64 and size < _MOST_LINE:
        size *= 4
        first = pread(size, 0).removeprefix(codecs.BOM_UTF8).lstrip(b" \t\r\n")
    line = first.partition(b"\n")[0]
    if first.startswith(b"{") and (_is_json(line) or len(line) >= _MOST_LINE - 64):
        return lines
    if first.startswith(b"{"):
        raise bad_file(
            f"{path.name} holds one object, or broken ones, not a list of rows.",
            path,
            "A JSON dataset is one list of objects, [ {…}, {…} ], or one object a line.",
        )
    parse_json(decode(line, path)[:80], path)
    raise bad_file(
        f"{path.name} does not hold a list of rows.",
        path,
        "A JSON dataset is one list of objects: [ {…}, {…} ].",
    )


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
