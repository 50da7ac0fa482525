"""The process's file descriptors: a private way to the terminal, and a log for all the rest.

Libraries, C code, warnings and progress bars write to descriptors 1 and 2. While the screen is up
these point at a log file, and the screen writes through a descriptor that only it knows.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import sys
import termios
import threading
import time
from pathlib import Path
from typing import Any

# What undoes every mode that Textual's Linux driver sets, in its order. Begins with a string
# terminator, as the last write may have been cut inside a sequence.
LEAVE_SEQUENCE = (
    "\x1b\\\x1b[?2026l\x1b]8;;\x1b\\\x1b[m\x1b[?2004l\x1b[?7h\x1b[?2048l"
    "\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1016l\x1b[?1004l"
    "\x1b[<u\x1b[?1049l\x1b[?25h"
)


class Terminal:
    """The person's terminal, as it was when the program started.

    Attributes:
        fd: A private descriptor, not inherited by children. Non-blocking where the system lets us
            open the terminal anew; a mere duplicate would share that flag with the shell.
        attributes: Its termios settings, None if it is no terminal.
        entered: True while the screen's modes are on (the driver says so).
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.entered = False
        self.output: Any = None
        """The `Output` in use, to be silenced before the terminal is restored."""
        self._lock = threading.Lock()
        self.attributes: list[Any] | None
        try:
            self.attributes = termios.tcgetattr(fd)
        except termios.error:
            self.attributes = None

    def fileno(self) -> int:
        """The private descriptor."""
        return self.fd

    def size(self) -> tuple[int, int] | None:
        """(columns, rows), None if the terminal does not say."""
        try:
            width, height = os.get_terminal_size(self.fd)
        except OSError:
            return None
        return (width, height) if width and height else None

    def restore(self, timeout: float = 1.0) -> None:
        """Leave the screen as it was: modes, alternate screen, cursor, termios.

        Can be called from any thread, any number of times. On a line that does not drain it gives
        up after about `timeout` seconds.
        """
        with self._lock:
            if self.entered:
                self.entered = False
                if self.output is not None:
                    self.output.abandon()
                _write_in_time(self.fd, LEAVE_SEQUENCE.encode(), timeout)
            if self.attributes is not None:
                with contextlib.suppress(termios.error):
                    termios.tcsetattr(self.fd, termios.TCSANOW, self.attributes)


_terminal: Terminal | None = None
_saved: tuple[int, int] | None = None


def take_terminal() -> Terminal:
    """Open a private way to the terminal. The first call counts; later ones return the same.

    Raises:
        OSError: the process has no terminal.
    """
    global _terminal
    if _terminal is None:
        _terminal = Terminal(_open_privately(_terminal_fd()))
    return _terminal


def release_terminal() -> None:
    """Restore the terminal and close the private descriptor."""
    global _terminal
    if _terminal is not None:
        _terminal.restore()
        os.close(_terminal.fd)
        _terminal = None


def restore_terminal() -> None:
    """Leave the terminal as it was, if it was taken. Harmless when repeated."""
    if _terminal is not None:
        _terminal.restore()


def redirect_output(path: str | Path) -> None:
    """Point descriptors 1 and 2 at a log file (appended to), until `restore`.

    Take the terminal first: afterwards nothing else leads to it.

    Raises:
        OSError: the file cannot be opened.
    """
    global _saved
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    flush_output()
    try:
        if _saved is None:
            _saved = (_duplicate(1), _duplicate(2))
        os.dup2(log, 1)
        os.dup2(log, 2)
    finally:
        os.close(log)


def output_is_redirected() -> bool:
    """True between `redirect_output` and `restore`."""
    return _saved is not None


def restore() -> None:
    """Point descriptors 1 and 2 back to where they led."""
    global _saved
    if _saved is None:
        return
    flush_output()
    for fd, saved in zip((1, 2), _saved, strict=True):
        os.dup2(saved, fd)
        os.close(saved)
    _saved = None


def _duplicate(fd: int) -> int:
    """A copy above the standard descriptors, closed in children."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)


def _terminal_fd() -> int:
    for fd in (2, 1, 0):
        if os.isatty(fd):
            return fd
    raise OSError("no terminal: standard input, output and error lead elsewhere")


def _open_privately(fd: int) -> int:
    """Open the same terminal anew, so that non-blocking writes stay our own affair."""
    try:
        opened = os.open(os.ttyname(fd), os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return _duplicate(fd)
    if os.fstat(opened).st_rdev == os.fstat(fd).st_rdev:
        return opened
    os.close(opened)  # the name leads to another terminal in this mount namespace
    return _duplicate(fd)


def _write_in_time(fd: int, data: bytes, timeout: float) -> None:
    """Write what the line takes within a time; never blocks longer."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    deadline = time.monotonic() + timeout
    try:
        while data and (left := deadline - time.monotonic()) > 0:
            if not poll.poll(left * 1000):
                return
            try:
                data = data[os.write(fd, data) :]
            except BlockingIOError:
                time.sleep(0.01)  # some ttys say writable with no room for a byte
    except OSError:
        return  # the line is gone: there is nothing to restore


def flush_output() -> None:
    """Write out what Python holds back for descriptors 1 and 2."""
    # On the screen Textual has put its own objects in their place.
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
