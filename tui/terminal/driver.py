"""Textual's Linux driver, with our own way out to the terminal.

The seam: Textual's driver writes through `self._writer_thread`. Here that name is an `Output`,
which sends only the cells that changed and never makes the event loop wait.
"""

from __future__ import annotations

import asyncio
import locale
import os
import re
import signal
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.color import ColorSystem
from textual import events
from textual.drivers.linux_driver import LinuxDriver
from textual.geometry import Size

from tui.terminal.colours import Colours, choose_depth
from tui.terminal.fds import output_is_redirected, take_terminal
from tui.terminal.model import ScreenModel
from tui.terminal.output import Output
from tui.terminal.styles import Styles

if TYPE_CHECKING:
    from textual.app import App
    from textual.message import Message

# A burst of resizes (a window dragged) is one resize, when it has been quiet for this long ...
_QUIET_SECONDS = 0.06
# ... or goes on for this long.
_LONGEST_WAIT = 0.4


def needs_ascii(environ: Mapping[str, str]) -> bool:
    """True if frames and glyphs must be drawn in ASCII.

    `FINETUI_ASCII` (1 or 0) wins; then terminals known to lack the glyphs, then the locale.
    """
    asked = environ.get("FINETUI_ASCII", "").strip()
    if asked in ("0", "1"):
        return asked == "1"
    # The Linux console's fonts have no braille, no heavy and no rounded frames.
    if re.match(r"(linux|dumb|vt\d+)\b", environ.get("TERM", "")):
        return True
    name = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG")
    if not name:
        # No locale says nothing about the terminal, which over SSH is the person's own.
        name = locale.getpreferredencoding(False)
    return "UTF8" not in name.upper().replace("-", "")


class FinetuiDriver(LinuxDriver):
    """`App(driver_class=FinetuiDriver)`: Textual draws, only the difference is sent."""

    def __init__(
        self,
        app: App[Any],
        *,
        debug: bool = False,
        mouse: bool = True,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.terminal = take_terminal()
        # True colour goes in, the diff layer decides what comes out. Rich would choose by itself.
        app.console._color_system = ColorSystem.TRUECOLOR
        if output_is_redirected():
            # Textual swallows what is printed while it runs; it belongs in the log.
            app._capture_stdout = sys.__stdout__  # type: ignore[assignment]
            app._capture_stderr = sys.__stderr__  # type: ignore[assignment]
        self.colours = Colours(choose_depth(os.environ, no_color=app.no_color))
        self.ascii = needs_ascii(os.environ)
        self._quiet_timer: asyncio.TimerHandle | None = None
        self._first_resize: float | None = None
        self._resize: events.Resize | None = None
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._file = self.terminal  # type: ignore[assignment]
        width, height = self._get_terminal_size()
        model = ScreenModel(width, height, Styles(self.colours), ascii_only=self.ascii)
        trace = os.environ.get("FINETUI_TERMINAL_TRACE")
        self.output = self.terminal.output = Output(self.terminal.fd, model, trace=trace)

    @property
    def _writer_thread(self) -> Any:
        return getattr(self, "output", None)

    @_writer_thread.setter
    def _writer_thread(self, value: object) -> None:
        # Textual makes a WriterThread of its own and then calls start() on this attribute, which
        # is the Output: the other thread is never started.
        return

    @property
    def bytes_sent(self) -> int:
        """Bytes written to the terminal since the start."""
        return self.output.bytes_sent

    @property
    def frames(self) -> int:
        """Updates sent to the terminal since the start."""
        return self.output.frames

    def repaint(self) -> None:
        """Send the whole screen again (Ctrl+L: something else wrote to the terminal)."""
        self.output.repaint()

    def _get_terminal_size(self) -> tuple[int, int]:
        # Textual asks descriptor 1, which is a log file here.
        return self.terminal.size() or super()._get_terminal_size()

    def start_application_mode(self) -> None:
        """Enter the alternate screen and start reading and writing."""
        self.output.resize(*self._get_terminal_size())
        self.terminal.entered = True
        super().start_application_mode()
        if not self._in_application_mode:
            # In the background of a shell: Textual went back to sleep before it began.
            self.terminal.entered = False
            return
        signal.signal(signal.SIGWINCH, self._on_sigwinch)

    def stop_application_mode(self) -> None:
        """Leave the alternate screen and restore the terminal's settings."""
        if self.terminal.entered:
            super().stop_application_mode()
        else:
            self.disable_input()  # the terminal was restored before, or never entered

    def close(self) -> None:
        """Send what is left, within two seconds, and end the writer thread."""
        super().close()
        # Only now has the terminal been told to leave: a signal before this restores it again.
        self.terminal.entered = False

    @property
    def _in_application_mode(self) -> bool:
        return self._key_thread is not None and self._key_thread.is_alive()

    # Ctrl+Z and fg. Python runs signal handlers between any two instructions of the main thread,
    # also inside `Output.write` with its lock held: so the loop does the work.

    def _sigtstp_application(self, *_: object) -> None:
        if self._loop.is_running():
            self._loop.call_soon_threadsafe(super()._sigtstp_application)
        else:
            os.kill(os.getpid(), signal.SIGSTOP)

    def _sigcont_application(self, *_: object) -> None:
        if self._loop.is_running():
            self._loop.call_soon_threadsafe(self._continued)

    def _continued(self) -> None:
        if self._auto_restart and self._in_application_mode:
            # Stopped by SIGSTOP, without leaving the screen. Textual would start a second input
            # thread, and take raw mode for the settings to go back to. The shell may have
            # changed both the settings and what is on the screen.
            self._raw_again()
        else:
            super()._sigcont_application()

    def _raw_again(self) -> None:
        import termios
        import tty

        try:
            attributes = termios.tcgetattr(self.fileno)
            attributes[tty.LFLAG] = self._patch_lflag(attributes[tty.LFLAG])
            attributes[tty.IFLAG] = self._patch_iflag(attributes[tty.IFLAG])
            attributes[tty.CC][termios.VMIN] = 1
            termios.tcsetattr(self.fileno, termios.TCSANOW, attributes)
        except termios.error:
            return  # still in the background: there will be another SIGCONT
        self.output.write("\x1b[?1049h\x1b[?25l\x1b[?7l")
        self._on_sigwinch()

    # Resizes.

    def _on_sigwinch(self, *_: object) -> None:
        """The kernel's word: used unless the terminal reports its size in band."""
        if not self._in_band_window_resize:
            size = Size(*self._get_terminal_size())
            self._loop.call_soon_threadsafe(self._resized, events.Resize(size, size))

    def process_message(self, message: Message) -> None:
        """Take a message of the input thread; a resize waits until the size settles."""
        if isinstance(message, events.Resize):
            self._loop.call_soon_threadsafe(self._resized, message)
            return
        super().process_message(message)

    def _resized(self, event: events.Resize) -> None:
        now = self._loop.time()
        if self._first_resize is None:
            self._first_resize = now
            self.output.hold()
        if self._quiet_timer is not None:
            self._quiet_timer.cancel()
        self._resize = event
        wait = min(_QUIET_SECONDS, max(self._first_resize + _LONGEST_WAIT - now, 0))
        self._quiet_timer = self._loop.call_later(wait, self._resize_settled)

    def _resize_settled(self) -> None:
        event, self._resize = self._resize, None
        self._quiet_timer = self._first_resize = None
        if event is not None:
            self.output.resize(event.size.width, event.size.height)
            super().process_message(event)
