"""Files of rows: json, jsonl, csv, parquet, arrow and txt, also packed; faults are located.

Small ones are read at once. Larger ones are opened by an index (`engine.datasets.index`), which
is made in the background while their first rows are looked at already.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from engine.datasets import repeated_keys
from engine.datasets.index.packed import PACKED, inner_suffix, is_packed
from engine.datasets.joined import JoinedRows
from engine.problem import BadInput, Problem

SUFFIXES = (".json", ".jsonl", ".csv", ".parquet", ".arrow", ".txt")
NO_ROWS = f"Put {', '.join(SUFFIXES)} files there."
NO_LIST = "A JSON dataset is one list of objects: [ {…}, {…} ]."
# Files of text up to this many bytes are read whole, without an index.
SMALL = 4 << 20
# Bytes of its beginning that a file is judged by.
HEAD = 1 << 16
# How files begin that people give the name of another kind.
_OTHER_KINDS = {
    b"\x1f\x8b": ("packed with gzip", "Give its name the ending .gz behind that of its rows."),
    b"\x28\xb5\x2f\xfd": ("packed with zstd", "Give its name the ending .zst behind its rows'."),
    b"PK\x03\x04": ("a zip archive", "Unpack it, and name the file in it."),
    b"PAR1": ("a parquet file", "Give its name the ending .parquet."),
    b"ARROW1": ("an arrow file", "Give its name the ending .arrow."),
    b"version https://git-lfs": (
        "a pointer of Git LFS, not the file itself",
        "Fetch the file: git lfs pull",
    ),
}
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_UTF32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)  # the first begins as UTF-16's does
# What a line without a row is made of.
_BLANKS = " \t\r\n\x0b\x0c"


class Rows(Protocol):
    """Rows of one file. `rows[i]` (from 0) is whatever the row holds, a dict when it is good.

    Raises BadInput, naming the line, for a row that can't be parsed.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


def open_file(path: Path) -> Rows:
    """The rows of one file, by its suffix. Raises BadInput for a file that can't be read at all.

    Faults of a large one that stand far behind its beginning are told when they are met: by the
    rows there, and by `len`.
    """
    suffix = inner_suffix(path)
    if suffix not in SUFFIXES:
        raise bad_file(
            f"Rows can't be read from a {path.suffix.lower() or 'nameless'} file.",
            path,
            f"Known kinds: {', '.join(SUFFIXES)}, and each packed: {', '.join(PACKED)}.",
        )
    try:
        if suffix in (".parquet", ".arrow"):
            from engine.datasets.tables import open_table

            return open_table(path)
        size = path.stat().st_size
        if is_packed(path) or size > SMALL:
            from engine.datasets.index import open_indexed

            rows = open_indexed(path, suffix)
            if size <= SMALL:
                len(rows)  # whatever is wrong with it is known now
            return rows
        with path.open("rb") as file:
            check_encoding(file.read(HEAD), path)
        if suffix == ".json":
            return _open_json(path)
        if suffix == ".jsonl":
            return _open_lines(path)
        return _read_csv(path) if suffix == ".csv" else _read_text(path)
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> BadInput:
    """The sentence for a file that the system won't open."""
    if isinstance(error, FileNotFoundError):
        return bad_file(f"There is no file {path.name}.", path, "Check file_name in the registry.")
    reason = error.strerror or str(error)
    return bad_file(f"{path.name} can't be read: {reason}.", path, "Check its permissions.")


def read_json(path: Path) -> Any:
    """Parse a whole JSON file (a BOM is fine). Raises BadInput with line and column."""
    try:
        raw = path.read_bytes()
        check_encoding(raw[:HEAD], path)
        return parse_json(decode(raw, path), path)
    except OSError as error:
        raise unreadable(path, error) from None


def parse_json(text: str, path: Path, first_line: int = 1) -> Any:
    """Parse JSON text that begins at `first_line` of `path`."""
    try:
        return repeated_keys.parse(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise bad_file(
            f"{path.name} is not valid JSON: {_plain(error.msg)}.",
            f"{path}, line {line}, column {error.colno}",
            "Correct it there.",
        ) from None
    except ValueError:
        raise bad_file(
            f"{path.name} holds a number with more digits than can be read.",
            f"{path}, line {first_line}",
            "Write it as text.",
        ) from None
    except RecursionError:
        raise bad_file(
            f"{path.name} is nested too deeply to be a dataset.",
            f"{path}, line {first_line}",
            "Check its brackets.",
        ) from None


def decode(raw: bytes, path: Path, first_line: int = 1) -> str:
    """UTF-8 text without its BOM. Raises BadInput naming the line of the first bad byte."""
    try:
        return raw.decode("utf-8-sig" if first_line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        line = first_line + raw.count(b"\n", 0, error.start)
        raise bad_file(
            f"{path.name} is not UTF-8: the byte 0x{raw[error.start]:02x} does not belong there.",
            f"{path}, line {line}",
            "Convert the file to UTF-8, for example with iconv.",
        ) from None


class LineRows:
    """JSON Lines by byte offset: only the row that is asked for is read and parsed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._starts = array("Q")
        # Line numbers differ from row numbers only where lines are blank.
        self._lines = array("Q")
        position = 0
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                if text.strip(_BLANKS.encode()):
                    self._starts.append(position)
                    self._lines.append(number)
                position += len(line)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Any:
        with self._path.open("rb") as file:
            file.seek(self._starts[index])
            raw = file.readline()
        line = self._lines[index]
        return parse_json(decode(raw, self._path, line).rstrip("\r\n"), self._path, line)


class CsvRows:
    """A CSV file in memory; `lines` are the file's line numbers, for messages."""

    def __init__(self, path: Path, header: list[str], rows: list[list[str]], lines: array[int]):
        self._path = path
        self._header = header
        self._rows = rows
        self._lines = lines

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, str]:
        row = self._rows[index]
        if len(row) != len(self._header):
            raise bad_file(
                f"The row has {len(row)} fields, the header has {len(self._header)}.",
                f"{self._path}, line {self._lines[index]}",
                "Put quotes around fields that hold commas.",
            )
        return dict(zip(self._header, row, strict=True))


def open_path(path: Path) -> Rows:
    """The rows of a file, or of a folder's files in the order of their names."""
    try:
        plain, folder = path.is_file(), path.is_dir()
        if not plain and not folder and path.exists():
            raise bad_file(
                f"{path.name} is a device or a pipe, not a file of rows.", path, "Give a file."
            )
    except (OSError, ValueError) as error:  # a name too long, or a link that leads to itself
        raise unreadable(path, OSError(str(error))) from None
    if not folder:
        return open_file(path)
    files = [
        item
        for item in sorted(path.iterdir())
        if inner_suffix(item) in SUFFIXES and item.name != "dataset_info.json"
    ]
    if not files:
        raise bad_file(f"The folder {path.name} holds no rows.", path, NO_ROWS)
    return open_files(files, path)


def open_files(files: Sequence[Path], folder: Path) -> Rows:
    """The rows of several files of `folder`, one after the other."""
    kinds = {inner_suffix(item).replace("jsonl", "json") for item in files}
    if len(kinds) > 1:
        # Their rows have columns of different names as a rule: no one entry reads them all.
        raise bad_file(
            f"The folder {folder.name} holds files of different kinds: {', '.join(sorted(kinds))}.",
            folder,
            "Keep files of one kind there, or make a set of each kind.",
        )
    return JoinedRows([open_file(item) for item in files])


def _open_json(path: Path) -> Rows:
    text = decode(path.read_bytes(), path)
    if not text.strip():
        raise bad_file(f"{path.name} is empty.", path, NO_LIST)
    try:
        value = parse_json(text, path)
    except BadInput:
        # Many a .json file holds one object a line.
        if not _looks_like_lines(text):
            raise
        return LineRows(path)
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and len(text.strip().splitlines()) == 1:
        return [value]
    raise bad_file(
        f"{path.name} holds {_kind(value)}, not a list of rows.",
        path,
        NO_LIST,
    )


def _open_lines(path: Path) -> Rows:
    rows = LineRows(path)
    if len(rows):
        try:
            first = rows[0]
            if len(rows) == 1 and isinstance(first, list):
                return first  # the whole list on one line
        except BadInput:
            # A list of objects under the name .jsonl; if it is neither, the lines' faults stand.
            text = decode(path.read_bytes(), path)
            if text.lstrip().startswith("["):
                value = parse_json(text, path)
                if isinstance(value, list):
                    return value
    return rows


def _looks_like_lines(text: str) -> bool:
    first, _, rest = text.strip().partition("\n")
    if not rest.lstrip().startswith("{"):
        return False
    try:
        return isinstance(json.loads(first), dict)
    except ValueError:
        return False


def _read_csv(path: Path) -> CsvRows:
    # The default limit of 128 KiB a field is shorter than long documents are.
    csv.field_size_limit(2**31 - 1)
    text = decode(path.read_bytes(), path)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    lines = array("Q")
    try:
        header = next(reader, None)
        for row in reader:
            if row:
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise bad_file(
            f"{path.name} is not valid CSV: {error}.",
            f"{path}, line {reader.line_num}",
            "Correct the quotes there.",
        ) from None
    if not header:
        raise bad_file(
            f"{path.name} has no header line.", path, "Name the columns in its first line."
        )
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise bad_file(
            f"{path.name} has two columns named {twice!r}.", f"{path}, line 1", "Rename one."
        )
    return CsvRows(path, header, rows, lines)


def _read_text(path: Path) -> list[dict[str, str]]:
    text = decode(path.read_bytes(), path)
    return [{"text": line.rstrip("\r")} for line in text.split("\n") if line.strip(_BLANKS)]


def check_encoding(head: bytes, path: Path) -> None:
    """Refuse a file whose first bytes show that it holds no rows of text: UTF-16 or UTF-32, packed
    or a table under another name, a pointer to a file elsewhere."""
    told = next((told for start, told in _OTHER_KINDS.items() if head.startswith(start)), None)
    if told is not None:
        raise bad_file(f"{path.name} is {told[0]}.", path, told[1])
    if head and not any(head[:64]):
        raise bad_file(
            f"{path.name} begins with zero bytes: it was not written to its end.",
            path,
            "Fetch or write it again.",
        )
    _ends_of_lines(head, path)
    # Every second byte of plain text is 0 there, with a byte order mark or without.
    bare = len(head) >= 4 and (not any(head[0:16:2]) or not any(head[1:16:2]))
    if head[:4] in _UTF32:
        raise bad_file(
            f"{path.name} is UTF-32, not UTF-8.",
            path,
            f"Convert it: iconv -f UTF-32 -t UTF-8 {path.name} > new{path.suffix}",
        )
    if head[:2] in _UTF16 or bare:
        raise bad_file(
            f"{path.name} is UTF-16, not UTF-8.",
            path,
            f"Convert it: iconv -f UTF-16 -t UTF-8 {path.name} > new{path.suffix}",
        )


def _ends_of_lines(head: bytes, path: Path) -> None:
    """Refuse lines that end as on old Macs: all of the file would be one row."""
    if inner_suffix(path) in (".jsonl", ".txt") and b"\r" in head.strip() and b"\n" not in head:
        raise bad_file(
            f"{path.name} ends its lines with carriage returns alone.",
            path,
            f"Convert it: tr '\\r' '\\n' < {path.name} > new{path.suffix}",
        )


def _kind(value: Any) -> str:
    names = {dict: "one object", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _plain(message: str) -> str:
    """The parser's reason, to stand before a full stop ("Invalid control character at")."""
    return message[:1].lower() + message[1:].removesuffix(" at")


def bad_file(what: str, where: Path | str, hint: str) -> BadInput:
    """The error for a file that can't be used."""
    return BadInput(Problem(what, str(where), hint, "dataset"))
