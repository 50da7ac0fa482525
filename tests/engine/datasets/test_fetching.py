"""A file from elsewhere over a line that breaks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.datasets import fetching
from engine.datasets.fetching import LineBroke, Stream, fetch_file
from engine.problem import BadInput, Stopped

DATA = bytes(range(200)) * 10


class Line:
    """Sends `DATA` from where it is asked, and breaks after `piece` bytes (0: at once)."""

    def __init__(self, piece: int, data: bytes = DATA) -> None:
        self.piece, self.data = piece, data
        self.asked: list[int] = []

    @contextmanager
    def open_at(self, start: int) -> Iterator[Stream]:
        self.asked.append(start)
        yield Stream(False, self._chunks(start))

    def _chunks(self, start: int) -> Iterator[bytes]:
        if self.piece:
            yield self.data[start : start + self.piece]
        if start + self.piece < len(self.data):
            raise LineBroke("the line broke")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "WAITS", (0.0, 0.0))


def ignored(_count: int) -> None:
    """Nobody watches."""


def test_a_line_that_breaks_often_brings_the_whole_file(tmp_path: Path) -> None:
    """A break after something came is not counted with those before it."""
    line = Line(piece=100)
    fetch_file(tmp_path / "set.jsonl", len(DATA), line.open_at, ignored, lambda: None)
    assert (tmp_path / "set.jsonl").read_bytes() == DATA
    assert line.asked == list(range(0, len(DATA), 100))
    assert [path.name for path in tmp_path.iterdir()] == ["set.jsonl"]


def test_a_dead_line_is_given_up_and_what_came_stays(tmp_path: Path) -> None:
    (tmp_path / ".set.jsonl.part").write_bytes(DATA[:300])
    line = Line(piece=0)
    with pytest.raises(LineBroke):
        fetch_file(tmp_path / "set.jsonl", len(DATA), line.open_at, ignored, lambda: None)
    assert line.asked == [300, 300, 300]
    assert (tmp_path / ".set.jsonl.part").read_bytes() == DATA[:300]


@pytest.mark.timeout(20)
def test_a_stop_is_felt_while_it_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "WAITS", (60.0,))
    line = Line(piece=0)

    def check_stop() -> None:
        if line.asked:
            raise Stopped(save=False)

    with pytest.raises(Stopped):
        fetch_file(tmp_path / "set.jsonl", len(DATA), line.open_at, ignored, check_stop)
    assert line.asked == [0]


@pytest.mark.parametrize("data", [DATA + b"more", DATA[:-1] + b"!"], ids=["too long", "changed"])
def test_other_bytes_than_promised_are_told(tmp_path: Path, data: bytes) -> None:
    import hashlib

    line = Line(piece=len(data), data=data)
    digest = hashlib.sha256(DATA).hexdigest()
    with pytest.raises(BadInput, match="came damaged"):
        fetch_file(tmp_path / "x", len(DATA), line.open_at, ignored, lambda: None, digest)
    assert list(tmp_path.iterdir()) == []
