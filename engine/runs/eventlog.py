"""`events.jsonl`: the queue between a run and whoever watches it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from engine.events import Event, from_json, to_json
from engine.runs.tail import tail_lines


class LineFile:
    """Appends lines to a file, each one in a single write; opens it on the first append.

    Nothing is buffered: a process that is killed loses no line it appended. An append that fails
    (a full disk) raises OSError, and the half line it may have left is ended by the next one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def append(self, line: str) -> None:
        if self._descriptor is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _end_half_line(self.path)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
            self._descriptor = os.open(self.path, flags, 0o644)
        data = memoryview((line + "\n").encode("utf-8", errors="replace"))
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            self.close()
            error.filename = str(self.path)  # a write's own error does not say where
            raise

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class EventLog:
    """Appends events to a file, one line each; opens it on the first append."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = LineFile(path)

    def append(self, event: Event) -> None:
        """Write one event. Raises OSError when the disk does not take it."""
        self._file.append(to_json(event))

    def last_seq(self) -> int:
        """The highest sequence number on disk (0 for a new log), so that a resume goes on."""
        # Numbers grow, so the end of the log is enough; only a tail without one whole event
        # (a single huge line) needs the rest.
        recent = [e.seq for line in tail_lines(self.path) if (e := from_json(_text(line)))]
        if recent:
            return max(recent)
        return max((event.seq for event in read_events(self.path)), default=0)

    def close(self) -> None:
        self._file.close()


def read_events(path: Path) -> Iterator[Event]:
    """All whole events of a log, in order; a last line cut in half is left out."""
    if not path.is_file():  # to open a pipe would wait for ever
        return
    try:
        file = path.open(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            event = from_json(line)
            if event is not None:
                yield event


def _text(line: bytes) -> str:
    return line.decode("utf-8", errors="replace")


def _end_half_line(path: Path) -> None:
    """A process that was killed may have left half a line: end it, so the next one is whole."""
    try:
        with path.open("rb+") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
    except FileNotFoundError:
        return
