"""The thread that writes to the terminal: the latest frame wins, and nobody waits for it.

The event loop only changes the model (`ScreenModel`). This thread takes the rows that changed,
works out what to send against what has really been sent (`Differ`), and writes it as the
terminal drains.
On a line that does not drain, frames in between are never sent.
"""

from __future__ import annotations

import os
import select
import threading
import time

from tui.terminal.diff import Differ
from tui.terminal.model import ScreenModel

SYNC_START = "\x1b[?2026h"
SYNC_END = "\x1b[?2026l"
# A full screen in one go while the terminal drains; little at a time when it does not, so
# that what comes next is the latest.
_BATCH = 32_768
_SLOW_BATCH = 1_024
# Smaller updates are not worth the 16 bytes of a synchronised update.
_WORTH_SYNC = 512
_POLL_MS = 100


class Output:
    """Owns the model, the differ and the writer thread.

    Args:
        fd: The terminal. Better non-blocking (`fds.take_terminal`); a blocking one is polled, and
            written to in small pieces.
        model: What should be on the screen.
        trace: A path to which every byte sent is appended.
    """

    def __init__(self, fd: int, model: ScreenModel, *, trace: str | None = None) -> None:
        self.fd = fd
        self.model = model
        self.bytes_sent = 0
        self.frames = 0
        self._trace = trace
        self._differ = Differ(model.styles)
        self._cond = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._abandoned = False
        self._held = False
        self._waiting: dict[int, tuple[list[str], list[int]]] = {}
        self._slow = False
        self._next_row = 0
        self._gone = False
        self._blocking = os.get_blocking(fd)
        self._piece = 512 if self._blocking else 65_536

    # The face of textual.drivers._writer_thread.WriterThread, in whose place this stands.

    def start(self) -> None:
        """Start the thread (again, after `stop`)."""
        with self._cond:
            self._stopping = self._abandoned = self._gone = False
            self._thread = threading.Thread(
                target=self._run, daemon=True, name="finetui-terminal-output"
            )
        self._thread.start()

    def write(self, data: str) -> None:
        """Take a piece of Textual's output. Never waits for the terminal."""
        with self._cond:
            self.model.feed(data)
            if self._gone:
                self.model.take_passed()
            if not self.model.in_sync:
                self._cond.notify()

    def stop(self, timeout: float = 2.0) -> None:
        """Send what is left and end the thread; on a dead line give up after `timeout` seconds."""
        thread = self._thread
        if thread is None:
            return
        with self._cond:
            self._stopping = True
            self._cond.notify()
        thread.join(timeout)
        if thread.is_alive():
            self.abandon()

    def abandon(self, timeout: float = 0.3) -> None:
        """Send nothing more, from now on; what a blocked terminal did not take is dropped."""
        with self._cond:
            self._abandoned = self._stopping = True
            self._cond.notify()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def hold(self) -> None:
        """Send no cells until `resize`: the terminal's size changed, and Textual doesn't know."""
        with self._cond:
            self._held = True

    def resize(self, width: int, height: int) -> None:
        """Take a new size, and send the whole screen again."""
        with self._cond:
            self._held = False
            self.model.resize(width, height)
            self._cond.notify()

    def repaint(self) -> None:
        """Send the whole screen again."""
        with self._cond:
            self.model.repaint()
            self._cond.notify()

    @property
    def settled(self) -> bool:
        """True if nothing waits to be sent."""
        with self._cond:
            return not self._has_work()

    # The thread.

    def _has_work(self) -> bool:
        model = self.model
        if model.has_passed:
            return True
        if not model.active or self._held or model.in_sync:
            return False
        return bool(model.dirty or self._waiting or self._cursor_moved())

    def _cursor_moved(self) -> bool:
        # Input methods show their candidates at the cursor, hidden or not.
        model, differ = self.model, self._differ
        column = min(model.cursor_x, model.width - 1)
        return (differ.row, differ.column) != (model.cursor_y, column)

    def _run(self) -> None:
        while True:
            with self._cond:
                while not self._has_work() and not self._stopping:
                    self._cond.wait()
                if self._abandoned or (self._stopping and not self._has_work()):
                    return
                passed, reset, cursor = self._take()
            payload = passed + self._encode(reset, cursor)
            if payload and not self._send(payload.encode("utf-8", "replace")):
                return

    def _take(self) -> tuple[str, tuple[int, int] | None, tuple[int, int] | None]:
        """Copy what changed, under the lock: sequences, a new size to start from, the cursor."""
        model = self.model
        passed = model.take_passed()
        if not model.active or self._held or model.in_sync:
            return passed, None, None
        reset = None
        if model.reset_wanted:
            model.reset_wanted = False
            reset = (model.width, model.height)
            self._waiting.clear()
        for y in model.dirty:
            self._waiting[y] = (model.chars[y][:], model.numbers[y][:])
        model.dirty.clear()
        return passed, reset, (model.cursor_y, min(model.cursor_x, model.width - 1))

    def _encode(self, reset: tuple[int, int] | None, cursor: tuple[int, int] | None) -> str:
        """Turn rows that wait into output, as many as the line takes well."""
        if cursor is None:
            return ""
        differ = self._differ
        out: list[str] = []
        if reset is not None:
            out.append(differ.reset(*reset))
        limit = _SLOW_BATCH if self._slow else _BATCH
        size = 0
        # On a slow line begin after the last row sent: a busy top must not starve the bottom.
        start = self._next_row
        for y in sorted(self._waiting, key=lambda row: (row < start, row)):
            piece = differ.update_row(y, *self._waiting.pop(y))
            if piece:
                out.append(piece)
                size += len(piece)
            if size >= limit:
                self._next_row = y + 1
                break
        else:
            self._next_row = 0
        if not self._waiting:
            out.append(differ.move(*cursor))
        payload = "".join(out)
        if payload:
            self.frames += 1
        if self.model.sync_supported and len(payload) > _WORTH_SYNC:
            return SYNC_START + payload + SYNC_END
        return payload

    def _send(self, data: bytes) -> bool:
        """Write everything as the terminal drains; False if it is gone or was given up."""
        rest = memoryview(data)
        self._slow = False
        started = time.monotonic()
        try:
            while rest:
                if self._abandoned:
                    return False
                if self._blocking and not self._writable():
                    self._slow = True
                    continue
                try:
                    sent = os.write(self.fd, rest[: self._piece])
                except BlockingIOError:
                    self._slow = True
                    self._writable()
                    continue
                self.bytes_sent += sent
                if self._trace:
                    with open(self._trace, "ab") as trace:
                        trace.write(rest[:sent])
                rest = rest[sent:]
        except OSError:
            # The line is gone (SIGHUP tells the rest of the program): nothing can be sent.
            self._gone = True
            return False
        # A pty's buffer takes little at a time: it is slow only if it stayed full.
        self._slow = self._slow and time.monotonic() - started > 0.05
        return True

    def _writable(self) -> bool:
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        return bool(poll.poll(_POLL_MS))
