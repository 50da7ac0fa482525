"""Leaving on a signal, outside Textual's event loop, with the work saved and the terminal restored.

The event loop may be stuck or gone when the line drops. So a signal's number goes through Python's
wake-up descriptor, written at C level in whatever thread gets the signal, to a thread of our own.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any

from tui.terminal.fds import flush_output, restore_terminal

_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_current: LeaveGuard | None = None


class LeaveGuard:
    """Turns SIGTERM, SIGHUP and SIGINT into: save, restore the terminal, exit with 128 + signal.

    SIGINT is only what `kill -INT` or a terminal outside raw mode sends: on the screen Ctrl+C is a
    key. A second signal while saving changes nothing; only the deadline ends the save.

    Args:
        on_leave: Called once, in a thread of its own, with the signal's name ("SIGTERM"). What it
            raises goes to stderr (the log).
        deadline: Seconds that `on_leave` may take.
    """

    def __init__(self, on_leave: Callable[[str], object], *, deadline: float = 60.0) -> None:
        self.on_leave = on_leave
        self.deadline = deadline
        self.leaving = threading.Event()
        """Set from the first signal on: the screen can say that it is saving."""
        self._read, self._write = -1, -1
        self._previous: dict[int, Any] = {}
        self._previous_wakeup = -1
        self._thread: threading.Thread | None = None

    def install(self) -> None:
        """Install the handlers. To be called in the main thread, before the screen starts.

        Raises:
            ValueError: not in the main thread.
            RuntimeError: another guard is installed.
        """
        global _current
        if _current is not None:
            raise RuntimeError("another LeaveGuard is installed")
        self._read, self._write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._write, False)
        for number in _SIGNALS:
            self._previous[number] = signal.signal(number, self._handle)
        self._previous_wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        _current = self
        self._thread = threading.Thread(target=self._watch, daemon=True, name="finetui-leaving")
        self._thread.start()

    def uninstall(self) -> None:
        """Give the signals back. Does nothing once leaving has begun, or if not installed."""
        global _current
        if _current is not self or self.leaving.is_set():
            return
        _current = None
        signal.set_wakeup_fd(self._previous_wakeup)
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        os.close(self._write)  # ends the thread
        if self._thread is not None:
            self._thread.join()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        # The number already went through the wake-up descriptor, unless an event loop took that
        # one for itself. The watcher ignores what it has seen.
        try:
            os.write(self._write, bytes([number]))
        except OSError:
            return  # full: a signal is already waiting there

    def _watch(self) -> None:
        while numbers := os.read(self._read, 64):
            if self._previous_wakeup >= 0:
                self._pass_on(numbers)
            for number in numbers:
                if number in _SIGNALS:
                    self._leave(number)
        os.close(self._read)

    def _pass_on(self, numbers: bytes) -> None:
        try:
            os.write(self._previous_wakeup, numbers)
        except OSError:
            self._previous_wakeup = -1  # that event loop is gone

    def _leave(self, number: int) -> None:
        self.leaving.set()
        save = threading.Thread(
            target=self._save, args=(signal.Signals(number).name,), daemon=True, name="finetui-save"
        )
        try:
            save.start()
            save.join(self.deadline)
        finally:
            # Whatever happened, the terminal is given back and the process ends.
            try:
                restore_terminal()
            finally:
                os._exit(128 + number)

    def _save(self, name: str) -> None:
        try:
            self.on_leave(name)
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)  # Textual swallows sys.stderr
        finally:
            flush_output()  # here, under the deadline: a stuck thread may hold a stream's lock


# A forked child (a data loader's worker) is no screen: its signals end it, and only it. Signals
# wait over the fork: the child's first ones would still go through the wake-up descriptor to us.

_forking = threading.local()


def _before_fork() -> None:
    if _current is not None:
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def _unblock() -> None:
    mask = _forking.__dict__.pop("mask", None)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _forget_in_child() -> None:
    global _current
    guard, _current = _current, None
    if guard is not None:
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            if signal.getsignal(number) == guard._handle:
                interrupt = number == signal.SIGINT
                signal.signal(number, signal.default_int_handler if interrupt else signal.SIG_DFL)
    _unblock()


os.register_at_fork(before=_before_fork, after_in_parent=_unblock, after_in_child=_forget_in_child)
