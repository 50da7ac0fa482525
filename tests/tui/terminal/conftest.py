"""A terminal emulator to compare screens with, and programs run in a pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import pyte
import pytest
from wcwidth import wcwidth

REPOSITORY = Path(__file__).parents[3]
# pyte reads CSI with "<", "=" and ">" as text.
_NOT_FOR_PYTE = re.compile(r"\x1b\[[<=>][0-9;]*[a-zA-Z]")


class Emulator(pyte.Screen):
    """pyte, which forgets to blank the other half of a wide character that is overwritten."""

    def __init__(self, columns: int, lines: int) -> None:
        super().__init__(columns, lines)
        self._stream = pyte.Stream(self)
        self._rest = b""
        self.raw = b""

    def feed(self, data: str) -> None:
        self._stream.feed(_NOT_FOR_PYTE.sub("", data))

    def feed_bytes(self, data: bytes) -> None:
        """Feed what a pty gave, keeping back a character or sequence cut at the end."""
        self.raw += data
        data = self._rest + data
        cut = data.rfind(b"\x1b", max(len(data) - 40, 0))
        if cut >= 0 and not re.match(rb"\x1b(\[[0-?]*[ -/]*[@-~]|[^\[\]])", data[cut:]):
            data, self._rest = data[:cut], data[cut:]
        else:
            self._rest = b""
        for size in range(1, 4):  # a character of several bytes cut short
            if data[-size : -size + 1 or None] >= b"\xc0":
                if len(data[-size:].decode("utf-8", "ignore")) == 0:
                    data, self._rest = data[:-size], data[-size:] + self._rest
                break
        self.feed(data.decode())

    def draw(self, data: str) -> None:
        for char in data:
            width = wcwidth(char)
            if width > 0:
                x = min(self.cursor.x, self.columns - width)
                self._split(x)
                self._split(x + width)
            super().draw(char)

    def erase_in_line(self, how: int = 0, private: bool = False) -> None:
        self._split(self.cursor.x if how == 0 else 0)
        self._split(self.cursor.x + 1 if how == 1 else self.columns)
        super().erase_in_line(how, private)

    def _split(self, x: int) -> None:
        line = self.buffer[self.cursor.y]
        if 0 < x < self.columns and line[x].data == "":
            line[x - 1] = line[x - 1]._replace(data=" ")
            line[x] = line[x]._replace(data=" ")

    def looks(self) -> list[list[tuple]]:
        """What can be seen of each cell."""
        return [[_look(self.buffer[y][x]) for x in range(self.columns)] for y in range(self.lines)]

    def text(self) -> str:
        return "\n".join(self.display)


def _look(cell) -> tuple:
    char = unicodedata.normalize("NFC", cell.data)
    shape = (cell.bg, cell.reverse, cell.underscore, cell.strikethrough)
    if char == " ":
        return char, cell.fg if any(shape[1:]) else None, *shape
    return char, cell.fg, *shape, cell.bold, cell.italics, cell.blink


class Child:
    """A Python program in a pseudo-terminal, with an emulator that shows what it draws."""

    def __init__(self, script: str, columns: int, lines: int, environ: dict[str, str]) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(columns, lines, tell=False)
        self.attributes = termios.tcgetattr(self.slave)
        self.screen = Emulator(columns, lines)
        base = {
            name: value
            for name, value in os.environ.items()
            if name not in ("NO_COLOR", "COLUMNS", "LINES", "FINETUI_COLORS", "LC_ALL")
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            cwd=REPOSITORY,
            env=base
            | {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
            | {"PYTHONPATH": str(REPOSITORY), "TEXTUAL_ANIMATIONS": "none"}
            | environ,
            start_new_session=True,
            preexec_fn=_control_terminal,
        )

    def resize(self, columns: int, lines: int, *, tell: bool = True) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        if tell:
            self.screen.resize(lines, columns)

    def read(self, seconds: float = 0.2) -> bool:
        """Read what is there; False if there was nothing for so long."""
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.screen.feed_bytes(data)
        return bool(data)

    def settle(self, quiet: float = 0.5) -> None:
        """Read until nothing has come for a while."""
        while self.read(quiet):
            pass

    def wait_for(self, condition: str | Callable[[], bool], seconds: float = 60) -> None:
        """Read until a text is on the screen, or something holds."""
        holds = (
            (lambda: condition in self.screen.text()) if isinstance(condition, str) else condition
        )
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, f"never: {condition}\n{self.screen.text()}"
            self.read(0.1)

    def send(self, text: str) -> None:
        os.write(self.master, text.encode())

    def finish(self, seconds: float = 30) -> int:
        """Read until the program ends; its exit status."""
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            self.read(0.1)
        self.settle(0.1)
        return self.process.wait(0.1)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


def _control_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture(scope="session")
def emulator() -> type[Emulator]:
    return Emulator


@pytest.fixture
def run_in_pty() -> Iterator[Callable[..., Child]]:
    children: list[Child] = []

    def start(script: str, columns: int = 80, lines: int = 24, **environ: str) -> Child:
        child = Child(script, columns, lines, environ)
        children.append(child)
        return child

    yield start
    for child in children:
        child.close()
