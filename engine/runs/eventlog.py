"""`events.jsonl`: the queue between a run and whoever watches it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from engine.events import Event, from_json, to_json


class EventLog:
    """Appends events to a file, one line each; opens it on the first append."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def append(self, event: Event) -> None:
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _end_half_line(self.path)
            self._file = self.path.open("a", encoding="utf-8")
        self._file.write(to_json(event) + "\n")
        self._file.flush()

    def last_seq(self) -> int:
        """The highest sequence number on disk (0 for a new log), so that a resume goes on."""
        return max((event.seq for event in read_events(self.path)), default=0)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def read_events(path: Path) -> Iterator[Event]:
    """All whole events of a log, in order; a last line cut in half is left out."""
    try:
        file = path.open(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            event = from_json(line)
            if event is not None:
                yield event


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
