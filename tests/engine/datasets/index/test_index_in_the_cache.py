"""The index is kept in the cache: used again, made anew when the file changed or it is damaged;
first rows come before it is made; what breaks a scan is told."""

from __future__ import annotations

import gzip
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

import engine.datasets.index.unpack as unpacking
from engine.datasets import files
from engine.datasets.index import IndexedRows, open_indexed
from engine.datasets.index.blocks import Blocks, index_path
from engine.datasets.index.layout import LineLayout
from engine.datasets.index.source import PlainSource
from engine.datasets.joined import known_rows
from engine.problem import BadInput

ROWS = [{"n": i, "text": "x" * (i * 7 % 300)} for i in range(5000)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUI_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """From which row each scan went on."""
    seen: list[int] = []
    real = LineLayout.scan

    def scan(self: LineLayout, pread: Any, blocks: Blocks, step: Any) -> None:
        seen.append(blocks.rows[-1])
        real(self, pread, blocks, step)

    monkeypatch.setattr(LineLayout, "scan", scan)
    return seen


def write(path: Path, rows: list[Any] = ROWS) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def opened(path: Path) -> IndexedRows:
    rows = open_indexed(path, ".jsonl")
    len(rows)
    rows.settle()
    return rows


def test_it_is_used_again_and_is_small(tmp_path: Path, scans: list[int]) -> None:
    path = write(tmp_path / "a.jsonl")
    assert len(opened(path)) == 5000 and scans == [0]
    again = open_indexed(path, ".jsonl")
    assert again.done and again.known == 5000 and scans == [0]
    assert [again[i]["n"] for i in (4999, 0, 2500)] == [4999, 0, 2500]
    assert index_path(path).stat().st_size < path.stat().st_size / 500


def test_a_changed_file_is_gone_through_anew(tmp_path: Path, scans: list[int]) -> None:
    path = write(tmp_path / "a.jsonl")
    state = path.stat()
    opened(path)
    changed = [*ROWS[:2500], {**ROWS[2500], "n": 7777}, *ROWS[2501:]]
    write(path, changed)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # of the same time and size, too
    assert path.stat().st_size == state.st_size
    assert opened(path)[2500]["n"] == 7777 and len(scans) == 2
    write(tmp_path / "b.jsonl", ROWS[:10])
    os.replace(tmp_path / "b.jsonl", path)
    assert len(opened(path)) == 10 and len(scans) == 3


@pytest.mark.parametrize("harm", ["cut", "turned", "empty", "other", "header"])
def test_a_damaged_index_is_made_anew(harm: str, tmp_path: Path, scans: list[int]) -> None:
    path = write(tmp_path / "a.jsonl")
    opened(path)
    place = index_path(path)
    raw = bytearray(place.read_bytes())
    if harm == "turned":
        raw[-20] ^= 0x40
    elif harm == "header":
        raw[30] ^= 0x40
    place.write_bytes({"cut": raw[:-9], "empty": b"", "other": b"something else"}.get(harm, raw))
    rows = opened(path)
    assert [rows[i]["n"] for i in range(5000)] == list(range(5000)) and scans == [0, 0]


def test_a_half_made_index_is_gone_on_with(
    tmp_path: Path, scans: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.datasets.index.layout.CHUNK", 70_000)
    path = write(tmp_path / "a.jsonl")
    hold, reached = threading.Event(), threading.Event()
    real = PlainSource.pread

    def slow(self: PlainSource, count: int, place: int) -> bytes:
        if place > 300_000 and threading.current_thread().name.startswith("finetui-index"):
            reached.set()
            hold.wait(30)
        return real(self, count, place)

    monkeypatch.setattr(PlainSource, "pread", slow)
    rows = open_indexed(path, ".jsonl")
    assert reached.wait(30)
    # While the scan stands still, what it has passed is there, and the rest is told.
    known = rows.known
    assert 0 < known < 5000 and not rows.done and 0.2 < rows.share < 0.8
    assert rows[0] == ROWS[0] and rows[known - 1] == ROWS[known - 1]
    rows.close()
    hold.set()
    with pytest.raises(BadInput, match="not read to its end"):
        len(rows)
    rows.settle()
    later = opened(path)
    assert len(scans) == 2 and scans[1] > 0
    assert [later[i] for i in range(5000)] == ROWS


def test_who_opens_a_file_that_is_open_shares_its_rows(
    tmp_path: Path, scans: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = threading.Event()
    real = PlainSource.pread

    def slow(self: PlainSource, count: int, place: int) -> bytes:
        if place and threading.current_thread().name.startswith("finetui-index"):
            hold.wait(30)
        return real(self, count, place)

    monkeypatch.setattr("engine.datasets.index.layout.CHUNK", 70_000)
    monkeypatch.setattr(PlainSource, "pread", slow)
    path = write(tmp_path / "a.jsonl")
    one, two = open_indexed(path, ".jsonl"), open_indexed(path, ".jsonl")
    assert one is two
    one.close()
    hold.set()
    assert len(two) == 5000 and len(scans) == 1, "the one who stays gets all of it"
    write(path, ROWS[:10])
    other = open_indexed(path, ".jsonl")
    assert other is not two and len(other) == 10


def test_waiting_for_a_row_ends_when_it_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = threading.Event()
    real = PlainSource.pread

    def slow(self: PlainSource, count: int, place: int) -> bytes:
        if place and threading.current_thread().name.startswith("finetui-index"):
            hold.wait(30)
        return real(self, count, place)

    monkeypatch.setattr("engine.datasets.index.layout.CHUNK", 70_000)
    monkeypatch.setattr(PlainSource, "pread", slow)
    rows = open_indexed(write(tmp_path / "a.jsonl"), ".jsonl")
    found: list[Any] = []
    waiter = threading.Thread(target=lambda: found.append(rows[4321]))
    waiter.start()
    assert rows[3] == ROWS[3] and not found
    hold.set()
    waiter.join(30)
    assert found == [ROWS[4321]]


def test_a_write_while_rows_are_read_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl")
    rows = opened(path)
    assert rows[0] == ROWS[0]
    with path.open("r+b") as file:
        file.write(b'{"n": 9')
        file.truncate(100)
    with pytest.raises(BadInput, match="was changed while it was read"):
        rows[4000]


def test_a_cache_that_cant_be_written_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FINETUI_CACHE", str(tmp_path / "file" / "cache"))
    assert len(opened(write(tmp_path / "a.jsonl"))) == 5000


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_one_very_long_row_among_others(name: str, tmp_path: Path) -> None:
    long = "y" * (20 << 20)
    rows = [{"text": "one"}, {"text": long}, {"text": "three"}]
    path = tmp_path / name
    path.write_text(
        {
            "a.jsonl": "\n".join(json.dumps(row) for row in rows),
            "a.json": json.dumps(rows),
            "a.csv": "text\n" + "\n".join(f'"{row["text"]}"' for row in rows),
        }[name]
    )
    found = files.open_file(path)
    assert isinstance(found, IndexedRows)
    assert [found[i]["text"][:5] for i in (2, 0)] == ["three", "one"]
    assert found[1]["text"] == long and len(found) == 3


def test_a_folder_of_files_large_and_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SMALL", 1000)
    folder = tmp_path / "set"
    folder.mkdir()
    write(folder / "a.jsonl", ROWS[:3])
    write(folder / "b.jsonl", ROWS[3:4000])
    (folder / "c.jsonl.gz").write_bytes(
        gzip.compress("".join(json.dumps(row) + "\n" for row in ROWS[4000:]).encode())
    )
    rows = files.open_path(folder)
    assert [rows[i] for i in (4999, 0, 3, 3999, 4000)] == [
        ROWS[i] for i in (4999, 0, 3, 3999, 4000)
    ]
    assert len(rows) == 5000 and known_rows(rows) == 5000
    assert [rows[i] for i in range(5000)] == ROWS
    with pytest.raises(IndexError):
        rows[5000]


def test_a_zip_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "RATIO_FROM", 1 << 20)
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": "' + b"0" * (8 << 20) + b'"}\n'))
    with pytest.raises(BadInput, match="zip bomb"):
        files.open_file(path)
    assert not list((tmp_path / "cache" / "rows").glob(".*")), "nothing half unpacked is left"


def test_too_large_unpacked_or_no_room_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(os.urandom(3 << 20).hex().encode()))
    monkeypatch.setattr(unpacking, "MOST_UNPACKED", 1 << 20)
    with pytest.raises(BadInput, match="unpacks to more than"):
        files.open_file(path)
    monkeypatch.undo()
    monkeypatch.setenv("FINETUI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(unpacking, "SPARE_DISK", 1 << 62)
    with pytest.raises(BadInput, match="nearly full"):
        files.open_file(path)


@pytest.mark.parametrize("packing", ["gz", "zst"])
def test_a_damaged_packed_file_is_told(packing: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.jsonl.{packing}"
    text = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    if packing == "gz":
        content = gzip.compress(text)
    else:
        import pyarrow

        content = pyarrow.compress(text, "zstd", asbytes=True)
    for bad in (b"no packed file", content[: len(content) // 2]):
        path.write_bytes(bad)
        with pytest.raises(BadInput) as caught:
            rows = files.open_file(path)
            assert len(rows) != 5000
            len(rows)
        assert f"a.jsonl.{packing}" in str(caught.value)


def test_the_cache_of_unpacked_files_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        path = tmp_path / f"{number}.jsonl.gz"
        path.write_bytes(gzip.compress(os.urandom(5000).hex().encode()))
        files.open_file(path)
        kept = unpacking.unpacked_path(path)
        os.utime(kept, (number, number))
    held = sorted((tmp_path / "cache" / "rows").glob("*.unpacked.jsonl"))
    assert len(held) == 3
    monkeypatch.setattr(unpacking, "CACHE_BYTES", 25_000)
    unpacking.make_room(tmp_path / "cache" / "rows", 0)
    left = [n for n in range(3) if unpacking.unpacked_path(tmp_path / f"{n}.jsonl.gz").exists()]
    assert left == [1, 2]
    assert len(files.open_file(tmp_path / "0.jsonl.gz")) == 1


def test_what_a_killed_process_left_half_unpacked_goes(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "rows"
    folder.mkdir(parents=True)
    dead = folder / ".abc.unpacked.jsonl.999999999.1"
    mine = folder / f".abd.unpacked.jsonl.{os.getpid()}.1"
    dead.touch()
    mine.touch()
    unpacking.make_room(folder, 0)
    assert not dead.exists() and mine.exists()


def test_small_files_are_read_without_an_index(tmp_path: Path) -> None:
    files.open_file(write(tmp_path / "a.jsonl", ROWS[:10]))
    assert not (tmp_path / "cache").exists()
