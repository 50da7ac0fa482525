"""What a command says: results to stdout, errors and notes to stderr, nothing of the libraries."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from io import TextIOWrapper
from typing import TextIO

from engine.paths import program_log
from engine.problem import Problem


class Output:
    """The person's terminal or pipe. `divert` keeps it for us and sends all else to the log."""

    def __init__(self) -> None:
        self.out: TextIO = sys.stdout
        self.err: TextIO = sys.stderr
        self._diverted = False
        for stream in (self.out, self.err):
            # A locale that lacks a character gets a `?` for it instead of a traceback.
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="replace")

    def divert(self) -> None:
        """From here on libraries may write to stdout and stderr: it lands in the log."""
        from engine.worker.quiet import divert_output

        if not self._diverted:
            terminal = divert_output(program_log())
            self.out, self.err = terminal.out, terminal.err
            self._diverted = True

    @property
    def is_terminal(self) -> bool:
        return self.out.isatty()

    def say(self, text: str = "", end: str = "\n") -> None:
        """A line of the result."""
        _write(self.out, text + end)

    def tell(self, text: str) -> None:
        """A line about the work: a note, an error."""
        _write(self.err, text + "\n")

    def problem(self, problem: Problem) -> None:
        """One sentence, then where, then what to do, each on a line."""
        self.tell(f"error: {visible(problem.what)}")
        if problem.where:
            self.tell(f"  where: {visible(problem.where)}")
        if problem.hint:
            self.tell(f"  try:   {visible(problem.hint)}")

    def table(self, head: Sequence[str], rows: Iterable[Sequence[str]], right: str = "") -> None:
        """Columns as wide as their widest cell; those named in `right` (comma list) end flush."""
        lines = [list(map(visible, head)), *([visible(cell) for cell in row] for row in rows)]
        widths = [max(_width(line[i]) for line in lines) for i in range(len(head))]
        flush = set(right.split(","))
        for line in lines:
            cells = []
            for name, cell, width in zip(head, line, widths, strict=True):
                pad = " " * (width - _width(cell))
                cells.append(pad + cell if name in flush else cell + pad)
            self.say("  ".join(cells).rstrip())

    def flush(self) -> None:
        for stream in (self.out, self.err):
            stream.flush()


@cache
def output() -> Output:
    """The one output of this process."""
    return Output()


def visible(text: str, lines: bool = False) -> str:
    """Foreign text as plain text: control characters, escapes and bidi marks are shown by number.

    With `lines`, line breaks and tabs stay.
    """
    kept = "\n\t" if lines else ""
    return "".join(
        char
        if char in kept or unicodedata.category(char) not in _HIDDEN or char in _JOINERS
        else _shown(char)
        for char in text
    )


# Control, format (bidi marks among them), surrogates, line and paragraph separators.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Without the joiners emoji and some scripts fall apart; they move nothing.
_JOINERS = frozenset("\u200d\u200c")


def _shown(char: str) -> str:
    code = ord(char)
    if char == "\n":
        return "⏎"
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def _width(text: str) -> int:
    """Cells a text takes: East Asian wide characters two, combining ones none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _write(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()
